//! What the audit says of the machine's actions: one sentence each, for a person.

use changeover_protocol::Millis;
use changeover_protocol::control::{ControlAction, MoveReport, Outcome};

use crate::state::{AuditKind, NewAudit};

/// The audit's line for an action; none for what only asks.
pub(super) fn line(now: Millis, action: &ControlAction) -> Option<NewAudit> {
    let (kind, text) = match action {
        ControlAction::BeginGeneration { generation, toward, in_hold } => {
            let held = if *in_hold { ", with writes refused meanwhile" } else { "" };
            (
                AuditKind::Copy,
                format!("generation {generation} of the backfill begins, towards {toward}{held}"),
            )
        }
        ControlAction::EndGeneration { generation } => (
            AuditKind::Copy,
            format!("generation {generation} of the backfill ends: its chunk marks no longer count"),
        ),
        ControlAction::DrainWayBack => {
            (AuditKind::Move, "the log kept for the way back is drained".to_owned())
        }
        ControlAction::StartFence { epoch, from, .. } => {
            (AuditKind::Move, format!("the fence of {from} is being moved, epoch {epoch}"))
        }
        ControlAction::OpenFence { epoch, side } => (
            AuditKind::Move,
            format!("the fence of {side} is being opened, epoch {epoch}: from here only forward"),
        ),
        ControlAction::UndoFence { epoch, from } => (
            AuditKind::Move,
            format!("the fence is being undone, epoch {epoch}, so that {from} takes writes again"),
        ),
        ControlAction::Void(id) => (AuditKind::Instance, format!("instance {id} is forgotten")),
        ControlAction::Unclean(event) => {
            (AuditKind::Unclean, format!("{event}: the last verification no longer counts"))
        }
        ControlAction::Report(report) => (AuditKind::Move, sentence(report)),
        ControlAction::Publish(_) | ControlAction::CheckSync { .. } => return None,
    };
    Some(NewAudit { at_ms: now.0, who: "run".to_owned(), kind, text, why: None })
}

/// What a report says, in a sentence.
pub(crate) fn sentence(report: &MoveReport) -> String {
    let (from, to) = (report.from, report.to);
    let held = match report.held_ms.0 {
        0 => String::new(),
        ms => format!(", writes held for {ms} ms"),
    };
    let missing = if report.missing.is_empty() {
        String::new()
    } else {
        let names: Vec<String> = report.missing.iter().map(ToString::to_string).collect();
        format!("; not acknowledged by {}", names.join(", "))
    };
    let longest = match &report.longest {
        Some((id, ms)) => format!("; longest operations: {id}, {ms} ms (p99.9)"),
        None => String::new(),
    };
    match &report.outcome {
        Outcome::Reached => format!("from {from} to {to}{held}"),
        Outcome::WentBack => format!("back in {to}{held}"),
        Outcome::TurnedAround(reason) => {
            format!("the move from {from} to {to} turns around: {reason}{missing}{longest}")
        }
        Outcome::Waiting(what) => format!("the move from {from} to {to} waits: {what}{missing}{longest}"),
    }
}
