//! Which locks a migration takes on the application's tables, when, and for how long: in plain words, from the spec.

use changeover_api::Spec;
use changeover_protocol::Phase;
use changeover_protocol::moves::Mirror;
use serde::Serialize;

use super::words;

/// One lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Lock {
    /// When it is taken.
    pub(crate) when: String,
    /// On what, what for, and how long.
    pub(crate) what: String,
}

/// The locks of a migration, in the order in which they come.
pub(crate) fn locks(spec: &Spec) -> Vec<Lock> {
    let mut locks = Vec::new();
    let mut add = |when: &str, what: String| locks.push(Lock { when: when.to_owned(), what });
    let (old, new) = (stores(spec, true), stores(spec, false));
    let budget = words::duration(spec.fleet.hold_budget);
    if spec.phases.has(Phase::Shadow) {
        let installed = match spec.mirror {
            Mirror::Capture => "triggers and a log of changed keys",
            Mirror::DualWrite => "a journal of keys",
        };
        add(
            "into shadow",
            format!(
                "one short write transaction on {old} (to install {installed}) and one on {new}: milliseconds. Not got at \
                 once, it gives way and tries again"
            ),
        );
        add(
            "while it copies",
            format!("{new} is written chunk by chunk, and its other writers wait for a chunk at most; {old} is only read"),
        );
        add(
            "between shadow and reverse-shadow, either way",
            format!(
                "writes wait while the last changes are carried over: {budget} at most (`hold_budget`), or it goes back. \
                 Readers never wait"
            ),
        );
    } else {
        add(
            "between old and new, either way",
            "writes are refused while everything is copied and compared; readers never wait".to_owned(),
        );
    }
    add("on retire or abort", format!("one short write transaction on {old} and one on {new}, to remove what was installed"));
    locks
}

/// The databases of a side, by name and place.
fn stores(spec: &Spec, old: bool) -> String {
    let mut names: Vec<&str> = spec
        .tables
        .iter()
        .map(|table| if old { table.old.store.as_str() } else { table.new.store.as_str() })
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}
