//! A small fixed set of slot numbers. The operations of a key that are under way at once share a handful of slots, so
//! a configuration is two of these and a value: it is copied, hashed and compared as a few machine words.

/// A set of the numbers below `64 * N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Slots<const N: usize>([u64; N]);

impl<const N: usize> Slots<N> {
    pub(crate) const EMPTY: Self = Self([0; N]);

    pub(crate) fn contains(&self, slot: usize) -> bool {
        self.0[slot / 64] >> (slot % 64) & 1 == 1
    }

    pub(crate) fn insert(&mut self, slot: usize) {
        self.0[slot / 64] |= 1 << (slot % 64);
    }

    pub(crate) fn remove(&mut self, slot: usize) {
        self.0[slot / 64] &= !(1 << (slot % 64));
    }

    pub(crate) fn union(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }

    pub(crate) fn contains_all(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(mine, theirs)| theirs & !mine == 0)
    }

    pub(crate) fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn slots_in_every_word_are_kept_apart() {
        let mut set = Slots::<2>::EMPTY;
        for slot in [0, 63, 64, 127] {
            assert!(!set.contains(slot));
            set.insert(slot);
            assert!(set.contains(slot));
        }
        let mut fewer = set;
        fewer.remove(64);
        assert_eq!((set.len(), fewer.len()), (4, 3));
        assert!(set.contains_all(&fewer) && !fewer.contains_all(&set));
        fewer.union(&set);
        assert_eq!(fewer, set);
    }
}
