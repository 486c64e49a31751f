//! The instances: who takes part, who is late, whose writes may still live.

use std::time::Duration;

use changeover_api::wire::{InstanceStatus, Status};
use serde_json::json;

use super::block::{Columns, Shown};
use super::words;
use crate::error::CliError;
use crate::terminal::Terminal;

/// Shows the instances of a migration.
///
/// # Errors
/// If standard output can't be written.
pub(crate) fn show(status: &Status, terminal: &Terminal) -> Result<(), CliError> {
    if terminal.json {
        return terminal.answer_json(&json!({ "instances": status.instances, "ghosts": status.ghosts }));
    }
    if status.instances.is_empty() && status.ghosts.is_empty() {
        terminal.say("No instance takes part: services read the flag, or haven't started yet.");
        return Ok(());
    }
    terminal.answer(&table(status, terminal))
}

/// The instances as a table.
pub(crate) fn table(status: &Status, terminal: &Terminal) -> String {
    let now = status.at_ms;
    let mut table =
        Columns::new(terminal, terminal.out, &["INSTANCE", "", "HEARD", "#DIRTY KEYS", "#SLOWEST"]);
    for instance in &status.instances {
        table.row([
            words::one_line(&instance.id).into(),
            standing(instance),
            format!("{} ago", words::ago(instance.heard_ms, now)).into(),
            Shown::from(words::count(instance.dirty_keys)),
            instance
                .slowest_ms
                .map_or_else(String::new, |ms| words::duration(Duration::from_millis(ms)))
                .into(),
        ]);
    }
    for ghost in &status.ghosts {
        let left = words::duration(Duration::from_millis(ghost.until_ms.saturating_sub(now)));
        table.row([
            words::one_line(&ghost.id).into(),
            Shown::from("gone").warn(),
            format!("its writes may live for {left}").into(),
            "".into(),
            "".into(),
        ]);
    }
    table.render()
}

fn standing(instance: &InstanceStatus) -> Shown {
    match instance {
        InstanceStatus { lapsed: true, .. } => Shown::from("lapsed").warn(),
        InstanceStatus { silent: true, .. } => Shown::from("silent").bad(),
        InstanceStatus { current: true, .. } => Shown::from("up to date").good(),
        _ => Shown::from("catching up").warn(),
    }
}
