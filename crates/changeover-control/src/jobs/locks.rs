//! Which locks are taken, and when. SQLite has one for the whole file, which readers don't notice; a server has one for each
//! table; and where no phase mirrors, the move itself is one: it refuses writes for as long as a copy takes.

use std::collections::BTreeSet;

use changeover_protocol::{Phase, Phases};

/// A lock that will be taken on a user's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockWords {
    /// When.
    pub when: String,
    /// Which, and what it keeps out.
    pub lock: String,
}

/// The locks of a migration with these phases, between databases of these kinds, and about so many rows; the longest first.
pub(super) fn locks(phases: Phases, kinds: &BTreeSet<&str>, rows: u64) -> Vec<LockWords> {
    let rehearsable = kinds.iter().all(|kind| *kind == "sqlite");
    let mut locks = refusals(phases, rows, rehearsable);
    for kind in kinds {
        // Of two kinds, each is told which locks are its own.
        let on = if kinds.len() > 1 { format!(" ({kind})") } else { String::new() };
        let of_kind = if *kind == "sqlite" { of_files(phases) } else { of_servers(phases) };
        locks
            .extend(of_kind.into_iter().map(|lock| LockWords { when: format!("{}{on}", lock.when), ..lock }));
    }
    locks
}

/// Those of a server with a lock for each table.
fn of_servers(phases: Phases) -> Vec<LockWords> {
    let lock = |when: &str, lock: &str| LockWords { when: when.to_owned(), lock: lock.to_owned() };
    let mut locks = vec![lock(
        "while rows are copied or levelled",
        "the rows that are written, as any writer locks them, and no table",
    )];
    if phases == Phases::SIMPLE {
        return locks;
    }
    let first = phases.after(Phase::Old).unwrap_or(Phase::New);
    locks.push(lock(
        &format!("into {first}"),
        "each table against writers, readers free, once, while its triggers are made: milliseconds, and waited for no longer than the \
         lock time-out (2 s) at a time, so that nobody queues behind us",
    ));
    locks.push(lock(
        held(phases),
        "all tables of the side that is left against writers, readers free, while the log is drained and the fence is set: within the \
         hold budget, or it is given up",
    ));
    locks.push(lock(
        "when it is retired or removed",
        "each table against readers too, while triggers are dropped: milliseconds, and waited for no longer than the lock time-out",
    ));
    locks
}

const fn held(phases: Phases) -> &'static str {
    match (phases.shadow, phases.reverse_shadow) {
        (true, true) => "into reverse-shadow, and on a rollback",
        (true, false) => "into new",
        (false, _) => "on a rollback from reverse-shadow",
    }
}

/// Those of a file, of which there is one for all tables.
fn of_files(phases: Phases) -> Vec<LockWords> {
    let lock = |when: String, lock: &str| LockWords { when, lock: lock.to_owned() };
    let mut locks = vec![lock(
        "while rows are copied or levelled".to_owned(),
        "the follower's file against other writers, for each chunk or set of keys: milliseconds",
    )];
    if phases == Phases::SIMPLE {
        return locks;
    }
    let first = phases.after(Phase::Old).unwrap_or(Phase::New);
    locks.push(lock(
        format!("into {first}"),
        "the old file against writers, once, while the triggers are made: milliseconds; and, as long as the mirror runs, \
         whenever entries of the log are discarded: well below a millisecond; an application that sets no busy_timeout \
         is told SQLITE_BUSY then, and has to try again",
    ));
    locks.push(lock(
        held(phases).to_owned(),
        "both files against writers, while the log is drained and the fence is set: within the hold budget, or it is given up",
    ));
    locks.push(lock(
        "when it is retired or removed".to_owned(),
        "the file against writers, while triggers are dropped: milliseconds",
    ));
    locks
}

/// The moves on which everything is copied while writes are refused, because no phase mirrors before them.
fn refusals(phases: Phases, rows: u64, rehearsable: bool) -> Vec<LockWords> {
    let mut locks = Vec::new();
    let many = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
    // Behind a server there is no rehearsal.
    let measures = if rehearsable { "; `changeover rehearse` measures how long that takes" } else { "" };
    if !phases.shadow {
        let into = phases.after(Phase::Old).unwrap_or(Phase::New);
        locks.push(LockWords {
            when: format!("into {into}"),
            lock: format!(
                "writes are refused on both sides, from the move's beginning to its end: without `shadow` nothing is mirrored before it, so \
                 everything (about {many}) is copied and compared meanwhile{measures}"
            ),
        });
    }
    if !phases.reverse_shadow {
        locks.push(LockWords {
            when: "on a rollback from new".to_owned(),
            lock: "writes are refused on both sides, from its beginning to its end: without `reverse-shadow` nothing is carried back, so the old \
                   side is filled anew from the new one and compared meanwhile, which takes about as long as the copy did"
                .to_owned(),
        });
    }
    locks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_that_copies_while_writes_are_refused_is_told_first() {
        let told = |shadow, reverse_shadow| {
            let locks = locks(Phases { shadow, reverse_shadow }, &["sqlite"].into(), 3);
            locks.into_iter().take_while(|l| l.lock.contains("refused")).map(|l| l.when).collect::<Vec<_>>()
        };
        let back = "on a rollback from new";
        assert_eq!(told(true, true), [""; 0]);
        assert_eq!(told(true, false), [back]);
        assert_eq!(told(false, true), ["into reverse-shadow"]);
        assert_eq!(told(false, false), ["into new", back]);
    }
}
