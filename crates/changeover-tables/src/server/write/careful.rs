//! The careful road: within savepoints, so that the rows that are refused leave the others alone. A set that is refused is cut in
//! two until those rows are found: where there are few of them, most rows still go many at a time.
//!
//! Rows that want each other's unique values are taken out whole and put back with their new values, with every column that
//! the mapping doesn't know as it was. Rows outside of the set that are in the way are asked to join it. Rows that can't be
//! written are left out one after the other, by name, and the rest is tried again: each round leaves out one at least, so there
//! are no more rounds than rows.

use std::collections::HashMap;

use changeover::store::Refusal;
use changeover::store::guard::{Applied, Change};
use changeover::{Key, Value};

use super::super::read::refusal;
use super::super::session::{DbError, Trouble};
use super::unique::{Holder, Wanted, holders, put_whole, whole_row};
use super::{BACK, Intent, KEEP, SAVE, Step, Writer, written};

const ROW: &str = "SAVEPOINT changeover_row";
const ROW_BACK: &str = "ROLLBACK TO SAVEPOINT changeover_row";
const ROW_KEEP: &str = "RELEASE SAVEPOINT changeover_row";

/// A statement for the change at this place.
struct Attempt {
    at: usize,
    sql: String,
    params: Vec<Value>,
}

enum Round {
    Done(Applied),
    Joins(Vec<Key>),
    Without(Vec<(usize, Refusal)>),
}

pub(super) async fn apply(writer: &mut Writer<'_>, steps: &[Step<'_>]) -> Result<Applied, DbError> {
    let mut without: HashMap<usize, Refusal> = HashMap::new();
    loop {
        writer.session.batch(SAVE).await?;
        let round = writer.round(steps, &without).await?;
        if !matches!(round, Round::Done(_)) {
            writer.session.batch(BACK).await?;
        }
        writer.session.batch(KEEP).await?;
        match round {
            Round::Done(applied) => return Ok(applied),
            Round::Joins(joins) => return Ok(Applied { joins, ..Applied::default() }),
            Round::Without(more) => without.extend(more),
        }
    }
}

impl Writer<'_> {
    async fn round(
        &mut self,
        steps: &[Step<'_>],
        without: &HashMap<usize, Refusal>,
    ) -> Result<Round, DbError> {
        let mut applied = Applied { refused: without.values().cloned().collect(), ..Applied::default() };
        let active: Vec<(usize, &Step<'_>)> =
            steps.iter().enumerate().filter(|(at, _)| !without.contains_key(at)).collect();
        let (mut blocked, mut bad) = (Vec::new(), Vec::new());
        let (mut deletes, mut writes) = (Vec::new(), Vec::new());
        for (at, step) in &active {
            match &step.intent {
                Intent::Nothing => applied.unchanged += 1,
                Intent::Refuse(refusal) => applied.refused.push(refusal.clone()),
                Intent::Delete => deletes.push(Attempt {
                    at: *at,
                    sql: super::delete_sql(step.table).to_owned(),
                    params: step.own.clone(),
                }),
                Intent::Insert(_) | Intent::Update(_) => match written(step) {
                    Some((sql, params)) => writes.push(Attempt { at: *at, sql, params }),
                    None => applied.written += u64::from(matches!(step.intent, Intent::Update(_))),
                },
            }
        }
        let (deleted, failed) = self.attempt_all(&deletes).await?;
        applied.deleted += deleted;
        bad.extend(failed.into_iter().map(|(at, error)| (at, self.refused(&steps[at].change.key, &error))));
        let (_, failed) = self.attempt_all(&writes).await?;
        applied.written += (writes.len() - failed.len()) as u64;
        for (at, error) in failed {
            if error.trouble == Trouble::Taken {
                blocked.push(at);
            } else {
                applied.refused.push(self.refused(&steps[at].change.key, &error));
            }
        }
        if bad.is_empty()
            && !blocked.is_empty()
            && let Some(round) = self.exchange(steps, &blocked, &mut applied).await?
        {
            return Ok(round);
        }
        let refused = |step: &Step<'_>| applied.refused.iter().any(|refusal| refusal.key == step.change.key);
        bad.extend(self.wrongly_written(active.into_iter().filter(|(_, step)| !refused(step))).await?);
        Ok(if bad.is_empty() { Round::Done(applied) } else { Round::Without(bad) })
    }

    /// What each would come to if they were made one after the other, each within a savepoint of its own: how many rows that
    /// has changed, and which failed.
    async fn attempt_all(&mut self, attempts: &[Attempt]) -> Result<(u64, Vec<(usize, DbError)>), DbError> {
        let (mut changed, mut failed) = (0, Vec::new());
        // The next is the last: what is cut in two is made from left to right.
        let mut left = Vec::from([attempts]);
        while let Some(some) = left.pop() {
            match some {
                [] => {}
                [one] => match self.attempt(&one.sql, &one.params).await? {
                    Ok(rows) => changed += rows,
                    Err(error) => failed.push((one.at, error)),
                },
                many => match self.attempt_at_once(many).await? {
                    Some(rows) => changed += rows,
                    None => {
                        let (first, last) = many.split_at(many.len() / 2);
                        left.extend([last, first]);
                    }
                },
            }
        }
        Ok((changed, failed))
    }

    /// All of them within one savepoint: nothing is done where a row is refused.
    async fn attempt_at_once(&mut self, attempts: &[Attempt]) -> Result<Option<u64>, DbError> {
        self.session.batch(ROW).await?;
        let mut changed = 0;
        for run in attempts.chunk_by(|a, b| a.sql == b.sql) {
            let params: Vec<Vec<Value>> = run.iter().map(|attempt| attempt.params.clone()).collect();
            match self.session.execute_many(&run[0].sql, &params).await {
                Ok(rows) => changed += rows,
                Err(error) if error.is_of_row() => {
                    self.session.batch(ROW_BACK).await?;
                    self.session.batch(ROW_KEEP).await?;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        self.session.batch(ROW_KEEP).await?;
        Ok(Some(changed))
    }

    /// A statement within a savepoint of its own; the inner error is the row's.
    async fn attempt(&mut self, sql: &str, params: &[Value]) -> Result<Result<u64, DbError>, DbError> {
        self.session.batch(ROW).await?;
        match self.session.execute(sql, params).await {
            Ok(rows) => {
                self.session.batch(ROW_KEEP).await?;
                Ok(Ok(rows))
            }
            Err(error) if error.is_of_row() => {
                self.session.batch(ROW_BACK).await?;
                self.session.batch(ROW_KEEP).await?;
                Ok(Err(error))
            }
            Err(error) => Err(error),
        }
    }

    async fn attempt_delete(&mut self, step: &Step<'_>) -> Result<Result<u64, DbError>, DbError> {
        self.attempt(super::delete_sql(step.table), &step.own).await
    }

    /// Rows whose unique values others hold: those in the set exchange them; others must join the set. A row may only look as
    /// if it were in the way (a partial index may not have the row as it shall be): so who can't move is named only once the
    /// row was really refused.
    async fn exchange(
        &mut self,
        steps: &[Step<'_>],
        blocked: &[usize],
        applied: &mut Applied,
    ) -> Result<Option<Round>, DbError> {
        let place: HashMap<&Key, usize> =
            steps.iter().enumerate().map(|(at, s)| (&s.change.key, at)).collect();
        let mut joins: Vec<Key> = Vec::new();
        let mut moving: Vec<(usize, Wanted)> = Vec::new();
        let mut objections: HashMap<usize, String> = HashMap::new();
        for &at in blocked {
            let step = &steps[at];
            let wanted = self.wanted(step).await?;
            for holder in holders(self, step, &wanted).await? {
                match holder {
                    Holder::Foreign(what) => drop(objections.insert(at, foreign(&what))),
                    Holder::Mapped(key) => match place.get(&key) {
                        None if !joins.contains(&key) => joins.push(key),
                        Some(&other)
                            if matches!(steps[other].intent, Intent::Nothing | Intent::Refuse(_)) =>
                        {
                            objections.insert(at, shared(&key));
                        }
                        _ => {}
                    },
                }
            }
            moving.push((at, wanted));
        }
        if !joins.is_empty() {
            return Ok(Some(Round::Joins(joins)));
        }
        let mut bad = Vec::new();
        for (at, _) in &moving {
            if matches!(steps[*at].intent, Intent::Update(_))
                && let Err(error) = self.attempt_delete(&steps[*at]).await?
            {
                bad.push((*at, self.refused(&steps[*at].change.key, &error)));
            }
        }
        for (at, wanted) in &moving {
            let (sql, params) = put_whole(steps[*at].table, wanted);
            match self.attempt(&sql, &params).await? {
                Ok(_) => applied.written += 1,
                Err(error) => {
                    let key = &steps[*at].change.key;
                    let why = objections.remove(at).filter(|_| error.trouble == Trouble::Taken);
                    bad.push((
                        *at,
                        why.map_or_else(|| self.refused(key, &error), |why| refusal(key.clone(), why)),
                    ));
                }
            }
        }
        Ok((!bad.is_empty()).then_some(Round::Without(bad)))
    }

    /// Mapped rows that hold a unique value which one of these rows wants, without any of them being written.
    pub(in super::super) async fn in_the_way(&mut self, changes: &[Change]) -> Result<Vec<Key>, DbError> {
        let steps = self.plan(changes).await?;
        let mut keys = Vec::new();
        for step in &steps {
            if !matches!(step.intent, Intent::Insert(_) | Intent::Update(_)) {
                continue;
            }
            let wanted = self.wanted(step).await?;
            for holder in holders(self, step, &wanted).await? {
                match holder {
                    Holder::Mapped(key) if !keys.contains(&key) => keys.push(key),
                    Holder::Mapped(_) | Holder::Foreign(_) => {}
                }
            }
        }
        Ok(keys)
    }

    /// The row as it shall be, with the columns that the mapping doesn't know as they are.
    async fn wanted(&mut self, step: &Step<'_>) -> Result<Wanted, DbError> {
        let (row, mut wanted) = match &step.intent {
            Intent::Insert(row) => (*row, Wanted::new()),
            Intent::Update(row) => (*row, whole_row(self, step).await?.unwrap_or_default()),
            _ => return Ok(Wanted::new()),
        };
        for (column, value) in step.table.written.iter().zip(&row.0) {
            match wanted.iter_mut().find(|(known, _)| known == column) {
                Some((_, old)) => old.clone_from(value),
                None => wanted.push((column.clone(), value.clone())),
            }
        }
        Ok(wanted)
    }

    fn refused(&self, key: &Key, error: &DbError) -> Refusal {
        Refusal {
            key: key.clone(),
            column: error.column.clone(),
            value: None,
            why: format!("{} refused the row: {}", self.inner.dialect.server(), error.cause()),
        }
    }
}

fn foreign(what: &str) -> String {
    format!(
        "its unique value of ({what}) is taken by a row that isn't this mapping's (outside of `where`, or of another source): \
         one of the two must change"
    )
}

fn shared(key: &Key) -> String {
    format!(
        "a unique value of it is that of {key} too, and both are so on the other side: this side allows only one"
    )
}
