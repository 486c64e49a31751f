//! Which side is right: one for all rows, or, while a share of the keys has moved, each slot's own.
//!
//! Most keys tell their slot. Where `route_by` names a column outside of the key, the row tells it; if the two sides'
//! rows tell two slots of which each has another authority, nobody can say which side is right.

use changeover_protocol::slots::Slots;
use changeover_protocol::{Side, Slot, Target};

use super::pair::Link;
use super::sync::read_some;
use crate::error::StoreError;
use crate::keyed::slot_text;
use crate::store::{Image, TableShape};
use crate::value::{Key, Row, Value};

/// How many bytes of one side's rows are in memory at once; a single row may be larger.
const BYTES: usize = 8 << 20;

/// The side that answers now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// This one, for all rows.
    All(Side),
    /// That of the row's slot.
    Divided {
        /// How this migration makes slots.
        slots: Slots,
        /// What each slot is at.
        target: Target,
    },
}

impl From<Side> for Authority {
    fn from(side: Side) -> Self {
        Self::All(side)
    }
}

/// Keys that one side is the authority of; `None`: nobody can say which.
pub(super) type Sided = (Option<Side>, Vec<Key>);

impl Authority {
    /// The authority at this target of a migration.
    #[must_use]
    pub fn of(migration: &str, target: &Target) -> Self {
        match target.uniform_step() {
            Some(step) => Self::All(step.authority()),
            None => Self::Divided { slots: Slots::new(migration), target: target.clone() },
        }
    }

    /// The authority of a row as the two sides have it. Of one that neither side has, the old.
    pub(super) fn of_rows(
        &self,
        shape: &TableShape,
        key: &Key,
        old: Option<&Row>,
        new: Option<&Row>,
    ) -> Option<Side> {
        if let Some(side) = self.of_key(shape, key) {
            return Some(side);
        }
        let of = |row: &Row| self.of_values(&values_at(&shape.route, &row.0)?);
        match (old.map(of), new.map(of)) {
            (None, None) => Some(Side::Old),
            (Some(side), None) | (None, Some(side)) => side,
            (Some(old), Some(new)) => old.filter(|_| old == new),
        }
    }

    /// The authority of a key; `None` if the key alone doesn't tell it.
    fn of_key(&self, shape: &TableShape, key: &Key) -> Option<Side> {
        match self {
            Self::All(side) => Some(*side),
            Self::Divided { .. } => {
                let in_key = |at: &usize| shape.key.iter().position(|key| key == at);
                let places: Option<Vec<usize>> = shape.route.iter().map(in_key).collect();
                self.of_values(&values_at(&places?, key.values())?)
            }
        }
    }

    fn of_values(&self, values: &[Value]) -> Option<Side> {
        match self {
            Self::All(side) => Some(*side),
            Self::Divided { slots, target } => {
                let slot: Slot = slots.slot(&slot_text(values));
                Some(target.step(slot).authority())
            }
        }
    }

    /// The keys of one mapping by their authority. Rows are read only where the keys alone don't tell it.
    pub(super) async fn divide(&self, link: &Link, keys: &[Key]) -> Result<Vec<Sided>, StoreError> {
        if let Self::All(side) = self {
            return Ok(vec![(Some(*side), keys.to_vec())]);
        }
        let shape = link.shape(Side::New);
        let mut sided: Vec<Sided> = Vec::new();
        let mut put = |side: Option<Side>, key: &Key| match sided.iter_mut().find(|(of, _)| *of == side) {
            Some((_, keys)) => keys.push(key.clone()),
            None => sided.push((side, vec![key.clone()])),
        };
        let mut silent = Vec::new();
        for key in keys {
            match self.of_key(shape, key) {
                Some(side) => put(Some(side), key),
                None => silent.push(key.clone()),
            }
        }
        let mut silent = &silent[..];
        while !silent.is_empty() {
            let read =
                |side| read_some(link.store(side).as_ref(), link.table(), silent, Image::Canonical, BYTES);
            let (old, new) = tokio::join!(read(Side::Old), read(Side::New));
            let (old, new) = (old?.rows, new?.rows);
            for ((key, old), new) in silent.iter().zip(&old).zip(&new) {
                put(self.of_rows(shape, key, old.as_ref(), new.as_ref()), key);
            }
            silent = &silent[old.len().min(new.len())..];
        }
        Ok(sided)
    }
}

fn values_at(places: &[usize], values: &[Value]) -> Option<Vec<Value>> {
    places.iter().map(|&at| values.get(at).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use changeover_protocol::{Millis, Phase, Step, Version, target};

    use super::*;
    use crate::store::KeyOrder;

    fn uniform(step: Step) -> Target {
        Target::uniform(Version::default(), step, Phase::Shadow, Millis(1_000))
    }

    /// Slots below 512 are the new side's.
    fn half() -> Authority {
        let step = |slot: Slot| if slot.number() < 512 { Step::ReverseShadow } else { Step::Shadow };
        Authority::of("bookings", &Target { assignments: target::assignments(step), ..uniform(Step::Shadow) })
    }

    fn shape(key: &[usize], route: &[usize]) -> TableShape {
        TableShape {
            table: "t".into(),
            columns: ["id", "customer", "note"].map(str::to_owned).to_vec(),
            key: key.to_vec(),
            route: route.to_vec(),
            back_columns: Vec::new(),
            order: KeyOrder::Binary,
        }
    }

    fn row(id: i64, customer: i64) -> Row {
        Row(vec![Value::Int(id), Value::Int(customer), Value::Null])
    }

    /// A customer of each side, by the published hash.
    fn customers() -> (i64, i64) {
        let side = |n: i64| {
            let slot = Slots::new("bookings").slot(n.to_string().as_bytes());
            if slot.number() < 512 { Side::New } else { Side::Old }
        };
        let of = |wanted| (1..).find(|&n| side(n) == wanted).unwrap_or_default();
        (of(Side::Old), of(Side::New))
    }

    #[test]
    fn a_key_tells_its_slot_and_no_row_is_asked() {
        let (old, new) = customers();
        let shape = shape(&[0, 1], &[1]);
        let key = |customer: i64| Key::composite("t", vec![Value::Int(9), Value::Int(customer)]);
        assert_eq!(half().of_key(&shape, &key(old)), Some(Side::Old));
        assert_eq!(half().of_key(&shape, &key(new)), Some(Side::New));
    }

    #[test]
    fn where_the_key_is_silent_the_row_tells_and_two_that_contradict_each_other_tell_nothing() {
        let (old, new) = customers();
        let (half, shape, key) = (half(), shape(&[0], &[1]), Key::new("t", 9));
        assert_eq!(half.of_key(&shape, &key), None);
        let of = |a: Option<i64>, b: Option<i64>| {
            let (a, b) = (a.map(|customer| row(9, customer)), b.map(|customer| row(9, customer)));
            half.of_rows(&shape, &key, a.as_ref(), b.as_ref())
        };
        assert_eq!(of(Some(old), Some(old)), Some(Side::Old));
        assert_eq!(of(Some(new), Some(new)), Some(Side::New));
        assert_eq!(of(Some(new), None), Some(Side::New));
        assert_eq!(of(None, Some(old)), Some(Side::Old));
        assert_eq!(of(Some(old), Some(new)), None);
        assert_eq!(of(None, None), Some(Side::Old));
    }

    #[test]
    fn one_step_for_all_keys_is_one_authority() {
        assert_eq!(Authority::of("bookings", &uniform(Step::New)), Authority::All(Side::New));
    }
}
