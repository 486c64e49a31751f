//! The parts of a status that explain it: copy, verification, logs, comparisons, what is installed.

use std::time::Duration;

use changeover_api::wire::{BackfillStatus, ComparisonStatus, LogStatus, Status, VerificationStatus};

use super::block::{Columns, Facts, Shown};
use super::words;
use crate::terminal::Terminal;

/// The copy, the verification and the logs, as facts.
pub(crate) fn work(status: &Status, terminal: &Terminal) -> Facts {
    let paint = terminal.out;
    let mut facts = Facts::new();
    if let Some(backfill) = &status.backfill {
        facts.add("backfill", self::backfill(backfill));
    }
    if let Some(text) = verification(&status.verification, status.at_ms) {
        let text = match &status.verification.last {
            Some(last) if !last.clean => paint.bad(text),
            _ => text,
        };
        facts.add("verification", text);
    }
    for log in &status.logs {
        let text = self::log(log);
        let is_half_full = log.span.saturating_mul(2) >= log.bound;
        let name = format!("log ({} side)", log.side);
        facts.add(name, if log.overflowed || is_half_full { paint.warn(text) } else { text });
    }
    for road in &status.roads {
        let because = road.because.as_ref().map(|why| format!(", because {why}")).unwrap_or_default();
        let text = format!("{}: read by {}; written by {}{because}", road.store, road.reads, road.writes);
        facts.add(format!("road ({} side)", road.side), text);
    }
    if status.paused {
        facts.add("paused", "backfill and verification rest; the mirror goes on. On: changeover resume");
    }
    facts
}

fn backfill(backfill: &BackfillStatus) -> String {
    let mut text = format!("towards the {} side, ", backfill.toward);
    let rows = backfill.rows.unwrap_or(0);
    match (backfill.done, backfill.rows_all) {
        // A run that didn't keep what it has counted.
        (true, None) => text.push_str("complete"),
        (true, Some(_)) => text.push_str(&format!("complete: {}", words::counted(rows, "row"))),
        (false, Some(all)) => {
            let share = words::percent(rows, all.max(rows));
            text.push_str(&format!(
                "{share}: {} of {} rows",
                words::count(rows),
                words::count(all.max(rows))
            ));
        }
        (false, None) => text.push_str("not complete; how far it is, a run knows"),
    }
    if let Some(rate) = backfill.rows_per_second.filter(|_| !backfill.done) {
        text.push_str(&format!(", {}", words::rate(rate as f64)));
    }
    if let Some(left) = backfill.left_ms.filter(|_| !backfill.done) {
        text.push_str(&format!(", {} left", words::duration(Duration::from_millis(left))));
    }
    if let Some(why) = &backfill.waits_for {
        text.push_str(&format!("; waits: {why}"));
    }
    if backfill.refused > 0 {
        let refused = words::counted(backfill.refused, "row");
        text.push_str(&format!("; {refused} refused: `changeover verify SPEC` names them"));
    }
    text
}

/// The copy of each table, where there are several.
pub(crate) fn tables(status: &Status, terminal: &Terminal) -> String {
    let Some(backfill) = status.backfill.as_ref().filter(|backfill| backfill.tables.len() > 1) else {
        return String::new();
    };
    let mut table = Columns::new(terminal, terminal.out, &["TABLE", "COPIED", "#ROWS", "#OF", "#REFUSED"]);
    for one in &backfill.tables {
        let copied = if one.done { "complete".to_owned() } else { format!("{} %", one.percent) };
        table.row([
            words::one_line(&one.table).into(),
            copied.into(),
            words::count(one.rows).into(),
            words::count(one.rows_all).into(),
            Shown::from(words::count(one.refused)).bad_unless(one.refused == 0),
        ]);
    }
    table.render()
}

fn verification(verification: &VerificationStatus, now: u64) -> Option<String> {
    let mut parts = Vec::new();
    if let Some((rows, all)) = verification.running {
        let mut part = format!("under way: {} of {} rows", words::count(rows), words::count(all.max(rows)));
        if verification.running_differences > 0 {
            part.push_str(&format!(
                ", {} so far",
                words::counted(verification.running_differences, "difference")
            ));
        }
        parts.push(part);
    }
    if let Some(last) = &verification.last {
        let result = match (last.clean, last.refused) {
            (true, _) => "clean".to_owned(),
            (false, 0) => words::counted(last.differences, "difference"),
            (false, n) => {
                format!(
                    "{}, {} refused",
                    words::counted(last.differences, "difference"),
                    words::counted(n, "row")
                )
            }
        };
        let at = words::moment(last.ended_ms, now);
        parts.push(format!("{result} at {at}, {}", words::counted(last.rows, "row")));
        if !verification.counts {
            let why = verification.because.as_deref().unwrap_or("something happened since");
            parts.push(format!("it no longer counts: {why}"));
        }
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn log(log: &LogStatus) -> String {
    let mut text = match log.entries {
        0 => "empty".to_owned(),
        n => format!("{} waiting", words::counted(n, "change")),
    };
    if let Some(lag) = log.lag_ms.filter(|_| log.entries > 0) {
        text.push_str(&format!(", {} behind", words::duration(Duration::from_millis(lag))));
    }
    text.push_str(&format!(" (bound {})", words::count(log.bound)));
    if log.overflowed {
        text.push_str("; it reached its bound, and changes were not logged");
    }
    text
}

/// Comparisons of shadow calls, by operation and cohort.
pub(crate) fn comparisons(list: &[ComparisonStatus], terminal: &Terminal) -> String {
    let headings = ["OPERATION", "KEYS", "#MATCH", "#MISMATCH", "#ERROR", "#DROPPED"];
    let mut table = Columns::new(terminal, terminal.out, &headings);
    for one in list {
        let cohort = match one.cohort.as_str() {
            "treatment" => "moved",
            "control" => "not moved",
            other => other,
        };
        table.row([
            words::one_line(&one.operation).into(),
            cohort.into(),
            words::count(one.matches).into(),
            Shown::from(words::count(one.mismatches)).bad_unless(one.mismatches == 0),
            Shown::from(words::count(one.errors)).bad_unless(one.errors == 0),
            words::count(one.dropped).into(),
        ]);
    }
    table.render()
}

/// What is installed, store by store.
pub(crate) fn installed(status: &Status) -> Facts {
    let mut facts = Facts::new();
    let mut stores: Vec<(String, Vec<&str>)> = Vec::new();
    for one in &status.installed {
        let store = format!("{} ({} side)", one.store, one.side);
        match stores.iter_mut().find(|(name, _)| *name == store) {
            Some((_, list)) => list.push(&one.what),
            None => stores.push((store, vec![&one.what])),
        }
    }
    for (store, list) in stores {
        facts.add(store, list.join("\n"));
    }
    facts
}
