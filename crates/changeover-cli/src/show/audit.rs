//! The audit, as it happened: the oldest of what was asked for first.

use changeover_api::wire::{Audit, AuditEntry};

use super::block::Columns;
use super::words;
use crate::error::CliError;
use crate::terminal::Terminal;

/// Shows a part of the audit.
///
/// # Errors
/// If standard output can't be written.
pub(crate) fn show(audit: &Audit, terminal: &Terminal) -> Result<(), CliError> {
    if terminal.json {
        return terminal.answer_json(audit);
    }
    if audit.entries.is_empty() {
        terminal.say("The audit is empty.");
        return Ok(());
    }
    let now = words::now_ms();
    let mut table = Columns::new(terminal, terminal.out, &["##", "WHEN", "WHO", "WHAT", ""]);
    for entry in audit.entries.iter().rev() {
        let kind = super::block::Shown::from(entry.kind.clone());
        let kind = match entry.kind.as_str() {
            "failure" => kind.bad(),
            "alert" | "unclean" | "override" => kind.warn(),
            _ => kind,
        };
        table.row([
            entry.id.to_string().into(),
            words::moment(entry.at_ms, now).into(),
            words::one_line(&entry.who).into(),
            kind,
            said(entry).into(),
        ]);
    }
    terminal.answer(&table.render())?;
    if let Some(oldest) = audit.entries.last().filter(|entry| entry.id > 1) {
        terminal
            .say(terminal.err.faint(format_args!("Further back: changeover audit --before {}", oldest.id)));
    }
    Ok(())
}

fn said(entry: &AuditEntry) -> String {
    let text = match &entry.why {
        Some(why) => format!("{} (why: {why})", entry.text),
        None => entry.text.clone(),
    };
    words::one_line(&text)
}
