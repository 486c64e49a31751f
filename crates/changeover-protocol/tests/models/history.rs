//! A checker of small histories of one register: is there an order of the operations that explains what was
//! read, and that no operation breaks which ended before another began?
//!
//! After M. P. Herlihy and J. M. Wing, "Linearizability: a correctness condition for concurrent objects" (1990).
//! The histories have a handful of operations, so all orders are tried.

/// One operation of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    /// What was written; `None` for a read.
    pub(crate) wrote: Option<u8>,
    /// What was read.
    pub(crate) read: Option<u8>,
    /// Whether it must be in the order: it was answered. A write without an answer may be in it or not.
    pub(crate) answered: bool,
    /// The operations that had been answered when it began, one bit for each.
    pub(crate) before: u8,
}

/// Whether the history of a register that began as `initial` is linearizable; and, if `last` is given, whether it
/// can have ended with that value.
pub(crate) fn is_linearizable(entries: &[Entry], initial: u8, last: Option<u8>) -> bool {
    fn search(entries: &[Entry], done: u8, value: u8, last: Option<u8>) -> bool {
        let is_done = |n: usize| done & (1 << n) != 0;
        let all = entries.iter().enumerate().all(|(n, e)| is_done(n) || !e.answered);
        if all && last.is_none_or(|last| last == value) {
            return true;
        }
        entries.iter().enumerate().any(|(n, e)| {
            let can_be_next = !is_done(n) && e.before & !done == 0;
            let explains = e.read.is_none_or(|read| read == value);
            can_be_next && explains && search(entries, done | 1 << n, e.wrote.unwrap_or(value), last)
        })
    }
    search(entries, 0, initial, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: u8, answered: bool, before: u8) -> Entry {
        Entry { wrote: Some(value), read: None, answered, before }
    }

    fn read(value: u8, before: u8) -> Entry {
        Entry { wrote: None, read: Some(value), answered: true, before }
    }

    #[test]
    fn planted_faults_are_found() {
        assert!(!is_linearizable(&[write(1, true, 0), read(0, 0b1)], 0, None), "a stale read");
        assert!(!is_linearizable(&[write(1, true, 0b10), read(1, 0)], 0, None), "a read from the future");
        assert!(!is_linearizable(&[write(1, true, 0)], 0, Some(0)), "a lost write");
        let back = [write(1, true, 0), read(1, 0), read(0, 0b10)];
        assert!(!is_linearizable(&back, 0, None), "time goes back");
    }

    #[test]
    fn what_can_be_explained_is() {
        assert!(is_linearizable(&[write(1, true, 0), read(0, 0)], 0, None), "they overlap");
        assert!(is_linearizable(&[write(1, false, 0), read(0, 0b0)], 0, Some(0)), "it never took effect");
        assert!(is_linearizable(&[write(1, false, 0), read(1, 0b0)], 0, Some(1)), "it did");
        assert!(is_linearizable(&[write(1, true, 0), write(2, true, 0), read(1, 0b11)], 0, Some(1)));
    }
}
