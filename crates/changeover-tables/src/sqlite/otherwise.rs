//! What `check --data` tries in memory: each row of the old side goes to the new table, whose CHECKs may refuse it, and back; what
//! would come back as another value is counted.
//!
//! The mirror leaves such a row alone as long as nobody changes it on the new side: only then it is written back, whole.

use std::sync::Arc;

use changeover::store::{BatchBudget, Image, KeyRange, RowStream, Store as _, TableShape};
use changeover::{Row, Side, StoreError};

use super::errors;
use super::read::Made;
use super::scan;
use super::scratch::Scratch;
use super::store::SqliteStore;
use crate::data::{Example, Trouble, Troubles};
use crate::plan::{BackPlan, Source, TablePlan};
use crate::words::looks_elsewhere;

impl SqliteStore {
    pub(super) async fn come_back_otherwise(&self, plan: &TablePlan) -> Result<Vec<Trouble>, StoreError> {
        let watched = watched(plan);
        let inner = &self.inner;
        if inner.info.side != Side::Old || watched.is_empty() {
            return Ok(Vec::new());
        }
        let shape = inner.table(&plan.name)?.shape.clone();
        let scratch = match Scratch::new(plan, Side::New) {
            Ok(scratch) => scratch,
            Err(error) => return Ok(not_tried(plan, &error)),
        };
        let mut trial = Trial { scratch, shape, watched, found: Troubles::default() };
        let mut stream = self.with_their_own(plan, &trial.watched).await?;
        while let Some(batch) = stream.next().await? {
            // Off the runtime, as all that SQLite does.
            let tried = tokio::task::spawn_blocking(move || {
                batch.rows.into_iter().try_for_each(|row| trial.try_row(row)).map(|()| trial)
            });
            let gone = |_| inner.database.place.gone("trying the way back", "its thread ended");
            trial = match tried.await.map_err(gone)? {
                Ok(trial) => trial,
                Err(error) => return Ok(not_tried(plan, &error)),
            };
        }
        Ok(trial.found.list())
    }

    /// Rows that fit the new table's columns and that its CHECKs refuse.
    pub(super) async fn refused_by_checks(&self, plan: &TablePlan) -> Result<Vec<Trouble>, StoreError> {
        let inner = &self.inner;
        if inner.info.side != Side::Old || !plan.new_info.definition.to_ascii_uppercase().contains("CHECK") {
            return Ok(Vec::new());
        }
        let shape = inner.table(&plan.name)?.shape.clone();
        let mut trial = match Scratch::with_checks(plan, Side::New) {
            Ok(scratch) => Checked { scratch, shape, found: Troubles::default() },
            Err(error) => return Ok(not_tried(plan, &error)),
        };
        let mut stream =
            self.scan(&plan.name, &KeyRange::default(), Image::Canonical, BatchBudget::default()).await?;
        while let Some(batch) = stream.next().await? {
            let tried = tokio::task::spawn_blocking(move || {
                batch.rows.iter().try_for_each(|row| trial.try_row(row)).map(|()| trial)
            });
            let gone = |_| inner.database.place.gone("trying the new table's checks", "its thread ended");
            trial = match tried.await.map_err(gone)? {
                Ok(trial) => trial,
                Err(error) => return Ok(not_tried(plan, &error)),
            };
        }
        Ok(trial.found.list())
    }

    /// All rows that can be carried: the canonical image, and after it the watched columns as they are stored.
    async fn with_their_own(&self, plan: &TablePlan, watched: &[Watched]) -> Result<RowStream, StoreError> {
        let inner = Arc::clone(&self.inner);
        let (sender, stream) = RowStream::channel(inner.info.name.clone(), plan.name.clone());
        let own: Vec<String> = watched.iter().map(|watched| watched.column.clone()).collect();
        let name = plan.name.clone();
        let scanned = self.inner.database.scan(move |session| {
            if let Ok(table) = inner.table(&name) {
                let image = table.canonical.beside(table.syntax, own.iter().map(String::as_str));
                let what = (&KeyRange::default(), &image, BatchBudget::default());
                scan::run_image(&session.connection, table, &inner.database.place, what, sender);
            }
        });
        scanned.await?;
        Ok(stream)
    }
}

/// Where the new table can't be made in memory (one whose CHECK calls a function of the application's, say), nothing is known.
fn not_tried(plan: &TablePlan, error: &rusqlite::Error) -> Vec<Trouble> {
    tracing::warn!(table = %plan.name, %error, "what becomes of its rows in the new table couldn't be tried");
    Vec::new()
}

/// A column of the old side whose value may come back as another.
struct Watched {
    column: String,
    /// Where it stands in the write-back image.
    at: usize,
}

/// All that is written back, but for the key, which refuses what doesn't find back, for plain copies there and back, and for
/// what is made of other rows.
fn watched(plan: &TablePlan) -> Vec<Watched> {
    let written = plan.back.iter().enumerate().skip(plan.key.len());
    written
        .filter(|(_, back)| !is_copied(plan, back))
        .filter(|(_, back)| !matches!(&back.source, Source::Sql(sql) if looks_elsewhere(sql)))
        .map(|(at, back)| Watched { column: back.target.column.clone(), at })
        .collect()
}

/// Whether a column comes back from the very column that it has gone to, and both hold their values alike.
fn is_copied(plan: &TablePlan, back: &BackPlan) -> bool {
    let Source::Column(new) = &back.source else { return false };
    plan.columns.iter().any(|column| {
        column.target.column.eq_ignore_ascii_case(new)
            && column.target.domain == back.target.domain
            && matches!(&column.source, Source::Column(old) if old.eq_ignore_ascii_case(&back.target.column))
    })
}

/// Row for row, there.
struct Checked {
    scratch: Scratch,
    shape: TableShape,
    found: Troubles,
}

impl Checked {
    fn try_row(&mut self, row: &Row) -> rusqlite::Result<()> {
        if let Some(error) = self.scratch.refused(row)? {
            let why = format!("the new table refuses it: {}", errors::cause(&error));
            let key = || self.shape.key_of(row);
            self.found.note(errors::column_of(&error), why, || Example {
                key: key(),
                value: None,
                comes_back: None,
            });
        }
        Ok(())
    }
}

/// Row for row, there and back.
struct Trial {
    scratch: Scratch,
    shape: TableShape,
    watched: Vec<Watched>,
    found: Troubles,
}

impl Trial {
    fn try_row(&mut self, mut row: Row) -> rusqlite::Result<()> {
        let own = row.0.split_off(self.shape.columns.len());
        // A row that the new side doesn't take is told as such.
        if !self.scratch.put(&row)? {
            return Ok(());
        }
        let key = || self.shape.key_of(&row);
        match self.scratch.write_back()? {
            Some(Made::Row(Row(back))) => {
                for (watched, is) in self.watched.iter().zip(own) {
                    let becomes = &back[watched.at];
                    if is != *becomes {
                        let why = format!(
                            "what comes back in {} isn't what was there; the mirror leaves such a row alone unless it is \
                             changed on the new side",
                            watched.column
                        );
                        self.found.note(Some(watched.column.clone()), why, || Example {
                            key: key(),
                            value: Some(is),
                            comes_back: Some(becomes.clone()),
                        });
                    }
                }
            }
            Some(Made::Refused(refusal)) => {
                let why = format!("not at all, once it is changed on the new side: {}", refusal.why);
                let (column, value) = (refusal.column, refusal.value);
                self.found.note(column, why, || Example { key: key(), value, comes_back: None });
            }
            None => {}
        }
        Ok(())
    }
}
