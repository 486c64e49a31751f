//! What operations take as keys, and the slot that a key lies in.
//!
//! A key stays as the caller gave it until somebody needs it: a read at a step that all slots share never makes
//! one. The slot key's text is the value's decimal or UTF-8 text; of a composite key without `route_by` it is the
//! values' texts with a unit separator (0x1F) between them; bytes count as lower-case hexadecimal digits, NULL as
//! nothing, and all else as [`Value::plain`] writes it, decimal numbers without zeros at their end.

use std::collections::HashMap;
use std::io::Write as _;

use changeover_protocol::Slot;
use changeover_protocol::slots::Slots;

use crate::refused::Refused;
use crate::value::{Key, TableName, Value};

/// What an operation on one row takes as its key: a [`Key`], `("booking", 42)`, or `()` for none.
pub trait Keyed {
    /// The key, made now.
    fn to_key(&self) -> Option<Key>;
}

/// What a write takes as its keys: what is [`Keyed`], or an array or `Vec` of it.
pub trait Keys {
    /// The keys, made now.
    fn into_keys(self) -> Vec<Key>;
}

impl Keyed for () {
    fn to_key(&self) -> Option<Key> {
        None
    }
}

impl Keyed for Key {
    fn to_key(&self) -> Option<Key> {
        Some(self.clone())
    }
}

impl Keyed for &Key {
    fn to_key(&self) -> Option<Key> {
        Some((*self).clone())
    }
}

impl<V: Clone + Into<Value>> Keyed for (&'static str, V) {
    fn to_key(&self) -> Option<Key> {
        Some(Key::new(self.0, self.1.clone()))
    }
}

impl<V: Clone + Into<Value>, W: Clone + Into<Value>> Keyed for (&'static str, V, W) {
    fn to_key(&self) -> Option<Key> {
        Some(Key::composite(self.0, vec![self.1.clone().into(), self.2.clone().into()]))
    }
}

macro_rules! keys_of_one {
    ($([$($bound:tt)*] $t:ty),* $(,)?) => {
        $(impl<$($bound)*> Keys for $t {
            fn into_keys(self) -> Vec<Key> {
                self.to_key().into_iter().collect()
            }
        })*
    };
}
keys_of_one!(
    [] (),
    [] Key,
    [] &Key,
    [V: Clone + Into<Value>] (&'static str, V),
    [V: Clone + Into<Value>, W: Clone + Into<Value>] (&'static str, V, W),
);

impl<K: Keyed, const N: usize> Keys for [K; N] {
    fn into_keys(self) -> Vec<Key> {
        self.iter().filter_map(Keyed::to_key).collect()
    }
}

impl<K: Keyed> Keys for Vec<K> {
    fn into_keys(self) -> Vec<Key> {
        self.iter().filter_map(Keyed::to_key).collect()
    }
}

/// By what the rows of a mapping are put into slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouteBy {
    /// The key itself.
    #[default]
    Key,
    /// This value of the key, from 0 in the order of the spec's `key`.
    KeyValue(usize),
    /// A value outside of the key, which each operation gives with `route_by`.
    Given,
}

/// How keys are put into slots in one migration.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    slots: Slots,
    tables: HashMap<TableName, RouteBy>,
}

impl Router {
    pub(crate) fn new(migration: &str, tables: HashMap<TableName, RouteBy>) -> Self {
        Self { slots: Slots::new(migration), tables }
    }

    /// The slot of a value given by `route_by`.
    pub(crate) fn slot_of_value(&self, value: &Value) -> Slot {
        self.slot_of(std::slice::from_ref(value))
    }

    /// The slot of a key, or `None` where it isn't told by the key.
    pub(crate) fn slot_of_key(&self, key: &Key) -> Option<Slot> {
        match self.tables.get(&key.table).copied().unwrap_or_default() {
            RouteBy::Key => Some(self.slot_of(key.values())),
            RouteBy::KeyValue(at) => key.values().get(at).map(|value| self.slot_of_value(value)),
            RouteBy::Given => None,
        }
    }

    /// The one slot that all of these keys lie in; `given` is `route_by`'s value. `None` where there is no key.
    pub(crate) fn one_slot(
        &self,
        operation: &'static str,
        keys: &[Key],
        given: Option<&Value>,
    ) -> Result<Option<Slot>, Refused> {
        if let Some(value) = given {
            return Ok(Some(self.slot_of_value(value)));
        }
        let Some(first) = keys.first() else { return Ok(None) };
        let slot_of = |key: &Key| {
            self.slot_of_key(key).ok_or_else(|| Refused::NoSlotKey { operation, table: key.table.clone() })
        };
        let slot = slot_of(first)?;
        for key in &keys[1..] {
            if slot_of(key)? != slot {
                let (first, other) = (Box::new(first.clone()), Box::new(key.clone()));
                return Err(Refused::SlotsDiffer { operation, first, other });
            }
        }
        Ok(Some(slot))
    }

    fn slot_of(&self, values: &[Value]) -> Slot {
        // The two common cases need no text made.
        match values {
            [Value::Text(text)] => self.slots.slot(text.as_bytes()),
            _ => self.slots.slot(&slot_text(values)),
        }
    }
}

/// The text whose hash is the slot. See the module.
#[must_use]
pub fn slot_text(values: &[Value]) -> Vec<u8> {
    let mut text = Vec::with_capacity(24);
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            text.push(0x1f);
        }
        // Writing into memory doesn't fail.
        let _ = match value {
            Value::Null => Ok(()),
            Value::Int(n) => write!(text, "{n}"),
            Value::Text(s) => text.write_all(s.as_bytes()),
            Value::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(text, "{byte:02x}")),
            Value::Opaque(opaque) => opaque.bytes.iter().try_for_each(|byte| write!(text, "{byte:02x}")),
            // Of one number there is one text, however many zeros a database keeps behind it.
            Value::Decimal(number) => text.write_all(number.shortest().as_str().as_bytes()),
            other => text.write_all(other.plain().unwrap_or_default().as_bytes()),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(tables: &[(&'static str, RouteBy)]) -> Router {
        Router::new("bookings", tables.iter().map(|&(table, by)| (table.into(), by)).collect())
    }

    #[test]
    fn a_number_and_its_text_share_a_slot_as_published() {
        let router = router(&[]);
        assert_eq!(router.slot_of_key(&Key::new("t", 42)).unwrap().number(), 411);
        assert_eq!(router.slot_of_key(&Key::new("t", "42")).unwrap().number(), 411);
        assert_eq!(router.slot_of_key(&Key::new("t", "Zoë")).unwrap().number(), 241);
    }

    #[test]
    fn a_composite_key_is_no_concatenation() {
        let key = |a: &str, b: &str| slot_text(&[a.into(), b.into()]);
        assert_ne!(key("ab", "c"), key("a", "bc"));
    }

    #[test]
    fn keys_in_different_slots_are_refused_by_name() {
        let router = router(&[]);
        let keys = [Key::new("t", 1), Key::new("t", 2)];
        let refused = router.one_slot("transfer", &keys, None).unwrap_err();
        assert!(refused.to_string().contains("t(1)") && refused.to_string().contains("t(2)"), "{refused}");
        assert!(!refused.retryable());
        assert!(router.one_slot("transfer", &keys, Some(&7.into())).unwrap().is_some());
    }

    #[test]
    fn a_table_is_routed_as_declared() {
        let router = router(&[("seats", RouteBy::KeyValue(0)), ("notes", RouteBy::Given)]);
        let seats = [("seats", 7, "A").to_key().unwrap(), ("seats", 7, "B").to_key().unwrap()];
        assert_eq!(router.one_slot("book", &seats, None).unwrap(), Some(router.slot_of_value(&7.into())));
        let note = [Key::new("notes", 1)];
        assert!(matches!(router.one_slot("note", &note, None), Err(Refused::NoSlotKey { .. })));
    }
}
