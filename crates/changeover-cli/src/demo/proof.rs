//! The proof at the end: what the clients saw and what the databases hold, judged by `changeover-history`.

use std::collections::HashSet;
use std::path::Path;

use changeover_history::{Action, Bounds, Content, Final, History, Initial, Outcome, Verdict, check};
use rusqlite::Connection;

use super::traffic::{Did, Ended, Operation};
use super::world::{World, open};

/// The judgement over one demo.
pub(super) struct Proof {
    pub(super) history: History,
    pub(super) verdict: Verdict,
}

/// Judges what the clients recorded against what this side holds at rest.
pub(super) fn prove(
    world: &World,
    rows: u64,
    operations: &[Operation],
    side: changeover::Side,
) -> Result<Proof, String> {
    let mut history = History::new(Initial::absent());
    let keys: HashSet<u64> = operations.iter().map(|o| o.key).collect();
    for key in keys.iter().filter(|key| **key <= rows) {
        history.set_initial(&name(*key), Initial::Known(Content::value(0)));
    }
    for operation in operations {
        record(&mut history, operation)?;
    }
    let told = |e: rusqlite::Error| format!("the databases couldn't be read for the proof: {e}");
    let file = match side {
        changeover::Side::Old => world.old_side(),
        changeover::Side::New => world.new_side(),
    };
    let db = open(&file).map_err(told)?;
    for key in &keys {
        let content = revision(&db, side, *key).map_err(told)?.map_or(Content::Absent, Content::value);
        history.set_final(side.name(), &name(*key), content);
    }
    let verdict = check(&history, &Bounds::default());
    Ok(Proof { history, verdict })
}

impl Proof {
    /// Keeps the history, for somebody who wants to judge it again.
    pub(super) fn keep(&self, folder: &Path) -> Result<(), String> {
        let path = folder.join("history.txt");
        let file = std::fs::File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        self.history.write_text(std::io::BufWriter::new(file)).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// How many acknowledged writes are neither there nor overwritten.
    pub(super) fn lost_writes(&self) -> u64 {
        self.verdict.lost.lost_writes()
    }

    /// One lost write, in words.
    pub(super) fn example(&self) -> Option<String> {
        let lost = self.verdict.lost.lost.first()?;
        let Final { content, side, .. } = &lost.found;
        let wrote = match &lost.write.action {
            Action::Write(revision) => format!("revision {revision} of"),
            Action::Delete => "the removal of".to_owned(),
            Action::Read => return None,
        };
        Some(format!(
            "client {} was told that {wrote} {} was stored; the {side} side has {}",
            lost.write.client,
            lost.write.key,
            match content {
                Content::Absent => "no such row".to_owned(),
                Content::Value(revision) => format!("revision {revision}"),
            }
        ))
    }
}

fn name(key: u64) -> String {
    format!("cancellation/{key}")
}

fn record(history: &mut History, operation: &Operation) -> Result<(), String> {
    let action = match operation.did {
        Did::Read(_) => Action::Read,
        Did::Put(revision) => Action::Write(revision.to_string().into()),
        Did::Delete => Action::Delete,
    };
    let id = history.begin(operation.client, &name(operation.key), action, operation.from_ns);
    let outcome = match (operation.ended, operation.did) {
        (Ended::Well, Did::Read(seen)) => {
            Outcome::Saw { returned: operation.to_ns, content: seen.map_or(Content::Absent, Content::value) }
        }
        (Ended::Well, Did::Put(_) | Did::Delete) => Outcome::Acknowledged { returned: operation.to_ns },
        (Ended::Failed, _) => Outcome::Failed,
        (Ended::Unknown, _) => Outcome::Unknown,
    };
    history.complete(id, outcome).map_err(|e| format!("the demo recorded its own history wrongly: {e}"))
}

fn revision(db: &Connection, side: changeover::Side, key: u64) -> rusqlite::Result<Option<u64>> {
    use rusqlite::OptionalExtension;
    let sql = match side {
        changeover::Side::Old => "SELECT revision FROM cancellations WHERE id = ?1",
        changeover::Side::New => "SELECT revision FROM flight_cancellation WHERE cancellation_id = ?1",
    };
    db.prepare_cached(sql)?
        .query_row([key as i64], |row| row.get::<_, i64>(0))
        .optional()
        .map(|r| r.map(|n| n as u64))
}
