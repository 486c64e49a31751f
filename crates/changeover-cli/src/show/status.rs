//! A status: what a person needs first, then what explains it.

use std::time::Duration;

use changeover_api::wire::{GateStatus, Moving, RollbackStatus, Status, StatusSource};
use changeover_protocol::Phase;

use super::block::{self, Facts};
use super::{evidence, instances, words};
use crate::error::CliError;
use crate::terminal::{Paint, Terminal};

/// Shows a status.
///
/// # Errors
/// If standard output can't be written.
pub(crate) fn show(status: &Status, terminal: &Terminal) -> Result<(), CliError> {
    if terminal.json { terminal.answer_json(status) } else { terminal.answer(&text(status, terminal)) }
}

/// A status in words.
fn text(status: &Status, terminal: &Terminal) -> String {
    let paint = terminal.out;
    let mut text = block::paragraph(&headline(status, paint), 0, terminal);
    text.push_str(&lead(status, paint).render(terminal, paint));
    let mut section = |title: &str, body: String| {
        if !body.is_empty() {
            text.push_str(&format!("\n{}\n{body}", paint.strong(title)));
        }
    };
    section("Alerts", alerts(status, terminal));
    section("Progress", evidence::work(status, terminal).render(terminal, paint));
    section("Tables", evidence::tables(status, terminal));
    if status.comparisons.is_empty() {
        section("Comparisons", format!("  {}\n", paint.faint("no reads compared")));
    } else {
        section("Comparisons", evidence::comparisons(&status.comparisons, terminal));
    }
    if !status.instances.is_empty() || !status.ghosts.is_empty() {
        section("Instances", instances::table(status, terminal));
    }
    section("Installed", evidence::installed(status).render(terminal, paint));
    text
}

/// `bookings: shadow since 03:12 (2 h 5 min)`; where the state isn't believed, that.
fn headline(status: &Status, paint: Paint) -> String {
    if status.stopped.is_some() {
        let told = "state and databases disagree; nothing is done until: changeover adopt";
        return format!("{}: {}", status.migration, paint.bad(told));
    }
    format!("{}: {}", status.migration, since(status, paint))
}

/// `shadow since 03:12 (2 h 5 min)`.
fn since(status: &Status, paint: Paint) -> String {
    let place = words::place(status.phase, status.share_percent);
    let since = words::moment(status.since_ms, status.at_ms);
    let ago = words::ago(status.since_ms, status.at_ms);
    format!("{} since {since} ({ago})", paint.strong(place))
}

/// What a person needs: what is wrong, what is next, what stands in the way, how to undo.
fn lead(status: &Status, paint: Paint) -> Facts {
    let mut facts = Facts::new();
    if status.source == StatusSource::StateFile {
        let told = match status.phase {
            Phase::Retired => "no: this is what the state file says".to_owned(),
            _ => paint.warn("no: this is what the state file says. Start it: changeover run SPEC"),
        };
        facts.add("running", told);
    }
    if let Some(problem) = &status.stopped {
        facts.add("because", paint.bad(problem));
        facts.add(
            "flag",
            match status.flag.and_then(|flag| flag.to_string().parse::<Phase>().ok()) {
                Some(phase) => format!("{} ({phase}), as the databases say", phase.flag()),
                None => "not known: it stays as it was".to_owned(),
            },
        );
        facts.add("state", format!("{}, which isn't believed", since(status, paint)));
    }
    if let Some(moving) = &status.moving {
        facts.add("moving", paint.warn(self::moving(moving, status.at_ms)));
    }
    match &status.next {
        None => {
            let end = match status.phase {
                _ if status.stopped.is_some() => "changeover adopt",
                Phase::Retired => "nothing: the migration is over",
                _ => "nothing",
            };
            facts.add("next", end);
        }
        Some(next) => {
            let command = if next.phase == Phase::Retired { "retire" } else { "advance" };
            let refused = next.refused.iter().map(|why| paint.warn(words::one_line(why)));
            let mut blocked: Vec<String> =
                refused.chain(next.blocked_by().map(|one| gate(one, paint))).collect();
            if status.paused && !blocked.is_empty() {
                blocked.insert(
                    0,
                    "paused: backfill and verification rest; go on by `changeover resume`".to_owned(),
                );
            }
            facts.add("next", format!("{} (changeover {command})", next.phase));
            if blocked.is_empty() {
                facts.add("blocked by", paint.good("nothing"));
            } else {
                facts.add("blocked by", blocked.join("\n"));
            }
            for passed in next.gates.iter().filter(|gate| gate.open) {
                if let Some(because) = &passed.because {
                    facts.add("not asked", paint.faint(format_args!("{}: {because}", passed.gate)));
                }
            }
        }
    }
    facts.add("rollback", rollback(&status.rollback, status.at_ms, paint));
    if let Some(command) = &status.rollback.command {
        facts.add("to undo", paint.code(command));
    }
    facts
}

fn gate(gate: &GateStatus, paint: Paint) -> String {
    let mut text = paint.warn(gate.gate);
    if let Some(because) = &gate.because {
        text.push_str(&format!(": {because}"));
    }
    if let Some(needs) = &gate.needs {
        text.push_str(&format!("; needs {needs}"));
    }
    text
}

/// `safe, takes about 180 ms, since 03:12:00`.
fn rollback(rollback: &RollbackStatus, now: u64, paint: Paint) -> String {
    use changeover_protocol::moves::RollbackKind;
    let since = words::moment(rollback.since_ms, now);
    let takes =
        rollback.takes_ms.map(|ms| format!(", takes about {}", words::duration(Duration::from_millis(ms))));
    let takes = takes.unwrap_or_default();
    let because = &rollback.because;
    match rollback.kind {
        RollbackKind::Nothing => format!("nothing to undo: {because}"),
        _ if rollback.safe => {
            format!("{}{takes}, since {since}: {because}", paint.good("safe"))
        }
        RollbackKind::Never => format!("{}, since {since}: {because}", paint.bad("not possible")),
        _ => format!("{}{takes}, since {since}: {because}", paint.bad("not safe")),
    }
}

fn moving(moving: &Moving, now: u64) -> String {
    let to = words::place(moving.to, moving.to_share_percent);
    let mut text = format!("{} to {to}, {}", moving.from, words::ago(moving.since_ms, now));
    if moving.goal != moving.to {
        text.push_str(&format!(", on the way to {}", moving.goal));
    }
    if moving.turned {
        text.push_str(", turned around");
    }
    if let Some(held) = moving.held_since_ms {
        text.push_str(&format!("; in its hold for {}", words::ago(held, now)));
    }
    if let Some(what) = &moving.waits_for {
        text.push_str(&format!("; waits for {what}"));
    }
    if !moving.missing.is_empty() {
        text.push_str(&format!("; not acknowledged by {}", moving.missing.join(", ")));
    }
    text
}

/// What a move that is under way waits for, and what fails meanwhile; nothing if no move is.
pub(crate) fn waits(status: &Status) -> Option<String> {
    let moving = status.moving.as_ref()?;
    let mut told = vec![
        if moving.turned { "it was given up, and goes back" } else { "it is not through yet" }.to_owned(),
    ];
    told.extend(moving.waits_for.as_ref().map(|what| format!("waits for {what}")));
    let troubles = status.troubles.iter();
    told.extend(troubles.map(|trouble| format!("{} fails: {}", trouble.part, words::one_line(&trouble.why))));
    Some(told.join("; "))
}

fn alerts(status: &Status, terminal: &Terminal) -> String {
    let paint = terminal.out;
    let mut facts = Facts::new();
    for trouble in &status.troubles {
        let since = words::moment(trouble.since_ms, status.at_ms);
        facts
            .add(since, paint.bad(format_args!("{} fails: {}", trouble.part, words::one_line(&trouble.why))));
    }
    for alert in &status.alerts {
        facts.add(words::moment(alert.at_ms, status.at_ms), paint.warn(words::one_line(&alert.text)));
    }
    facts.render(terminal, paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(width: usize, colours: bool) -> Terminal {
        let paint = Paint { on: colours };
        Terminal { json: false, out: paint, err: paint, live: false, width }
    }

    fn status() -> Status {
        let now = 1_795_219_200_000_u64;
        serde_json::from_value(serde_json::json!({
            "migration": "bookings", "at_ms": now, "source": "run", "mirror": "capture",
            "phases": ["old", "shadow", "reverse-shadow", "new"], "phase": "shadow", "share_percent": 100.0,
            "flag": 1, "since_ms": now - 7_500_000,
            "next": { "phase": "reverse-shadow", "gates": [
                { "gate": "backfill", "open": false, "because": "3 of 9 chunks are done", "needs": "the other 6" },
                { "gate": "bake-time", "open": true },
                { "gate": "mismatches", "open": true, "because": "not asked for: no reads compared" } ] },
            "rollback": { "safe": true, "kind": "instant", "since_ms": now - 7_000_000,
                "because": "every change is on the old side", "takes_ms": 180, "to": "old",
                "command": "changeover rollback" },
            "moving": null,
            "instances": [
                { "id": "web-1-8f3a", "acked": 3, "current": true, "heard_ms": now - 300, "silent": false,
                  "dirty_keys": 0, "slowest_ms": 42 },
                { "id": "web-2-77b1", "acked": 2, "current": false, "heard_ms": now - 95_000, "silent": true,
                  "dirty_keys": 12 } ],
            "backfill": { "generation": 1, "toward": "new", "done": false, "rows": 1_204_000, "rows_all": 4_000_000,
                "refused": 2, "rows_per_second": 52_300, "left_ms": 54_000 },
            "verification": { "counts": false },
            "logs": [ { "side": "old", "entries": 40, "span": 51, "bound": 10_000_000, "overflowed": false, "lag_ms": 12 } ],
            "comparisons": [ { "operation": "booking.get", "cohort": "control", "matches": 120_443, "mismatches": 3,
                "errors": 0, "dropped": 17 } ],
            "installed": [
                { "side": "old", "store": "legacy", "what": "table changeover_log_old:bookings" },
                { "side": "old", "store": "legacy", "what": "trigger changeover_capture_insert_old:bookings:bookings" } ],
            "alerts": [ { "at_ms": now - 60_000, "text": "the log on the old side is half full" } ]
        }))
        .unwrap()
    }

    #[test]
    fn it_leads_with_what_a_person_needs_and_keeps_to_the_width() {
        for width in [80, 120] {
            let text = text(&status(), &screen(width, false));
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
            let lines: Vec<&str> = text.lines().take(12).collect();
            assert!(lines[0].starts_with("bookings: shadow since "), "{text}");
            for (name, fact) in [
                ("next", "reverse-shadow"),
                ("blocked by", "backfill: 3 of 9 chunks are done"),
                ("rollback", "safe, takes about 180 ms, since"),
                ("to undo", "changeover rollback"),
            ] {
                let line = lines.iter().find(|line| line.trim_start().starts_with(name));
                assert!(line.is_some_and(|line| line.contains(fact)), "{name}: {text}");
            }
            if std::env::var_os("SHOW").is_some() {
                println!("{}", super::text(&status(), &screen(width, true)));
            }
        }
    }

    #[test]
    fn what_is_not_believed_does_not_lead() {
        let stopped = Some("the state is new".to_owned());
        let text = text(&Status { stopped, flag: Some(2), next: None, ..status() }, &screen(100, false));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("bookings: state and databases disagree"), "{text}");
        assert!(lines[0].ends_with("changeover adopt") && lines[1].contains("the state is new"), "{text}");
        assert!(lines[2].contains("2 (reverse-shadow), as the databases say"), "{text}");
        assert!(lines[3].contains("shadow since") && lines[3].contains("isn't believed"), "{text}");
    }

    #[test]
    fn without_a_run_it_says_so_first() {
        let status = Status { source: StatusSource::StateFile, ..status() };
        let text = text(&status, &screen(80, false));
        assert!(
            text.lines().nth(1).is_some_and(|line| line.contains("running") && line.contains("state file")),
            "{text}"
        );
    }
}
