//! A record of the journal: its length, a checksum, and either a ticket with its keys or a ticket that is taken out.
//!
//! Numbers are little-endian. The checksum is FNV-1a with 64 bits over the body: a record that was cut off, or into
//! which the disk wrote nothing, doesn't pass.

use changeover_protocol::Side;

use crate::mirror::Ticket;
use crate::value::{Key, TableName, Value, code};

/// What a record says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    /// These keys are about to be written, on this side. None: by a write that generates them.
    Put(Ticket, Side, Vec<Key>),
    /// They are level.
    Clear(Ticket),
}

const HEAD: usize = 12;
const PUT_OLD: u8 = 1;
const CLEAR: u8 = 2;
const PUT_NEW: u8 = 3;

pub(super) fn encode(record: &Record, into: &mut Vec<u8>) {
    let start = into.len();
    into.extend_from_slice(&[0; HEAD]);
    match record {
        Record::Put(ticket, side, keys) => {
            into.push(match side {
                Side::Old => PUT_OLD,
                Side::New => PUT_NEW,
            });
            into.extend_from_slice(&ticket.0.to_le_bytes());
            length(keys.len(), into);
            for key in keys {
                bytes(key.table.as_str().as_bytes(), into);
                length(key.values().len(), into);
                key.values().iter().for_each(|value| encode_value(value, into));
            }
        }
        Record::Clear(ticket) => {
            into.push(CLEAR);
            into.extend_from_slice(&ticket.0.to_le_bytes());
        }
    }
    let body = &into[start + HEAD..];
    let (sum, len) = (checksum(body), u32::try_from(body.len()).unwrap_or(u32::MAX));
    into[start..start + 4].copy_from_slice(&len.to_le_bytes());
    into[start + 4..start + HEAD].copy_from_slice(&sum.to_le_bytes());
}

/// The first record of these bytes, and how many it takes; `None` where there is no whole one.
pub(super) fn decode(bytes: &[u8]) -> Option<(Record, usize)> {
    let mut head = Reader(bytes);
    let len = head.length()?;
    let sum = u64::from_le_bytes(head.take(8)?.try_into().ok()?);
    let body = head.take(len)?;
    if checksum(body) != sum {
        return None;
    }
    let mut body = Reader(body);
    let kind = *body.take(1)?.first()?;
    let ticket = Ticket(u64::from_le_bytes(body.take(8)?.try_into().ok()?));
    let record = match kind {
        PUT_OLD | PUT_NEW => {
            let keys = body.length()?;
            let side = if kind == PUT_OLD { Side::Old } else { Side::New };
            // Not with that capacity: what a file says isn't trusted with memory.
            Record::Put(ticket, side, (0..keys).map(|_| body.key()).collect::<Option<_>>()?)
        }
        CLEAR => Record::Clear(ticket),
        _ => return None,
    };
    Some((record, HEAD + len))
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn length(n: usize, into: &mut Vec<u8>) {
    into.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
}

fn bytes(bytes: &[u8], into: &mut Vec<u8>) {
    length(bytes.len(), into);
    into.extend_from_slice(bytes);
}

fn encode_value(value: &Value, into: &mut Vec<u8>) {
    match value {
        Value::Null => into.push(0),
        Value::Int(n) => {
            into.push(1);
            into.extend_from_slice(&n.to_le_bytes());
        }
        Value::Real(x) => {
            into.push(2);
            into.extend_from_slice(&x.to_bits().to_le_bytes());
        }
        Value::Text(text) => {
            into.push(3);
            bytes(text.as_bytes(), into);
        }
        Value::Bytes(b) => {
            into.push(4);
            bytes(b, into);
        }
        other => {
            into.push(6);
            bytes(&code::encode(std::slice::from_ref(other)), into);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.take(4)?.try_into().ok()?)).ok()
    }

    fn text(&mut self) -> Option<String> {
        let len = self.length()?;
        String::from_utf8(self.take(len)?.to_vec()).ok()
    }

    fn key(&mut self) -> Option<Key> {
        let table: TableName = self.text()?.into();
        let values = self.length()?;
        Some(Key::composite(table, (0..values).map(|_| self.value()).collect::<Option<_>>()?))
    }

    fn value(&mut self) -> Option<Value> {
        Some(match *self.take(1)?.first()? {
            0 => Value::Null,
            1 => Value::Int(i64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => Value::Real(f64::from_bits(u64::from_le_bytes(self.take(8)?.try_into().ok()?))),
            3 => Value::Text(self.text()?),
            4 => {
                let len = self.length()?;
                Value::Bytes(self.take(len)?.to_vec())
            }
            6 => {
                let len = self.length()?;
                code::decode(self.take(len)?)?.pop()?
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_map(Value::Real),
            ".{0,12}".prop_map(Value::Text),
            prop::collection::vec(any::<u8>(), 0..12).prop_map(Value::Bytes),
        ]
    }

    fn record() -> impl Strategy<Value = Record> {
        let key = (".{1,8}", prop::collection::vec(value(), 1..4))
            .prop_map(|(table, values)| Key::composite(table, values));
        prop_oneof![
            (any::<u64>(), any::<bool>(), prop::collection::vec(key, 0..4)).prop_map(|(t, new, keys)| {
                let side = if new { Side::New } else { Side::Old };
                Record::Put(Ticket(t), side, keys)
            }),
            any::<u64>().prop_map(|t| Record::Clear(Ticket(t))),
        ]
    }

    proptest! {
        #[test]
        fn a_record_comes_back_and_one_cut_off_anywhere_does_not(record in record()) {
            let mut bytes = Vec::new();
            encode(&record, &mut bytes);
            prop_assert_eq!(decode(&bytes), Some((record, bytes.len())));
            for end in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..end]), None);
            }
        }

        #[test]
        fn a_flipped_bit_is_seen(record in record(), at in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            encode(&record, &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= 0x10;
            prop_assert_ne!(decode(&bytes).map(|(record, _)| record), Some(record));
        }
    }
}
