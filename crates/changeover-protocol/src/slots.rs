//! Slots: how keys are cut into shares of the traffic.
//!
//! Every key hashes to one of 1,024 slots, the same in every process and every language, so that all
//! writers of a row agree on the share it belongs to. The hash is FNV-1a (Fowler, Noll, Vo) with 64 bits
//! over the migration's name, a zero byte, and the slot key's decimal or UTF-8 text; the halves are folded
//! because FNV's low bits alone spread short keys badly.

use std::fmt;

/// How many slots there are.
pub const SLOTS: u16 = 1024;

/// One slot: a number below [`SLOTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Slot(u16);

impl Slot {
    /// The slot of a key: `text` is the slot key's value, in decimal if it is an integer.
    #[must_use]
    pub fn of(migration: &str, text: &[u8]) -> Self {
        Slots::new(migration).slot(text)
    }

    /// The slot with this number; the number is taken modulo [`SLOTS`].
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number & (SLOTS - 1))
    }

    /// The number, below [`SLOTS`].
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The hash with the migration's name already taken in, for the hot path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    prefix: u64,
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

const fn fnv1a(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(FNV_PRIME);
        i += 1;
    }
    hash
}

impl Slots {
    /// The slots of the migration with this name.
    #[must_use]
    pub const fn new(migration: &str) -> Self {
        Self { prefix: fnv1a(fnv1a(FNV_OFFSET, migration.as_bytes()), &[0]) }
    }

    /// The slot of this text.
    #[must_use]
    pub const fn slot(self, text: &[u8]) -> Slot {
        let hash = fnv1a(self.prefix, text);
        Slot::new(((hash ^ (hash >> 32)) & 1023) as u16)
    }
}

/// A run of slots: `from` to `to`, the latter not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SlotRange {
    /// The first slot.
    pub from: u16,
    /// The slot after the last.
    pub to: u16,
}

impl SlotRange {
    /// All slots.
    pub const ALL: Self = Self { from: 0, to: SLOTS };

    /// The slots that a share of P per cent takes: those below ⌈10.24 · P⌉. `None` outside 0 to 100.
    #[must_use]
    pub fn share(percent: f64) -> Option<Self> {
        if !(0.0..=100.0).contains(&percent) {
            return None;
        }
        // In range, so the cast neither truncates nor changes the sign.
        Some(Self { from: 0, to: (percent * f64::from(SLOTS) / 100.0).ceil() as u16 })
    }

    /// Whether the slot lies in this run.
    #[must_use]
    pub const fn contains(self, slot: Slot) -> bool {
        self.from <= slot.0 && slot.0 < self.to
    }

    /// How many slots it holds.
    #[must_use]
    pub const fn len(self) -> u16 {
        self.to.saturating_sub(self.from)
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published in the guide: an implementation in another language must give these.
    const VECTORS: [(&str, &str, u16); 8] = [
        ("bookings", "1", 334),
        ("bookings", "42", 411),
        ("bookings", "-7", 713),
        ("bookings", "9223372036854775807", 427),
        ("bookings", "", 863),
        ("bookings", "Zoë", 241),
        ("a", "b", 939),
        ("orders", "customer-10", 406),
    ];

    #[test]
    fn the_published_vectors_hold() {
        for (migration, text, slot) in VECTORS {
            assert_eq!(Slot::of(migration, text.as_bytes()).number(), slot, "{migration} {text}");
        }
    }

    #[test]
    fn shares_take_the_slots_below_their_ceiling() {
        for (percent, slots) in [(0.0, 0), (1.0, 11), (10.0, 103), (50.0, 512), (100.0, 1024)] {
            assert_eq!(SlotRange::share(percent).unwrap().len(), slots, "{percent} %");
        }
        assert_eq!(SlotRange::share(100.1), None);
        assert_eq!(SlotRange::share(f64::NAN), None);
    }

    #[test]
    fn sequential_keys_spread_over_the_slots() {
        let slots = Slots::new("bookings");
        let mut counts = [0_u32; SLOTS as usize];
        for key in 0..102_400 {
            counts[usize::from(slots.slot(key.to_string().as_bytes()).number())] += 1;
        }
        // 100 expected in each; a binomial's standard deviation is 10.
        assert!(counts.iter().all(|&n| (50..=150).contains(&n)), "{counts:?}");
    }
}
