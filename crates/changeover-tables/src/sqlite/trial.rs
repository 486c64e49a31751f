//! What `check --data` tries in memory: each row goes to the new table, whose CHECKs may refuse it, and back.

use std::sync::Arc;

use async_trait::async_trait;
use changeover::store::{BatchBudget, KeyRange, Refusal, RowStream};
use changeover::{Key, Row, Side, StoreError};

use super::errors::{self, Place};
use super::read::Made;
use super::scan;
use super::scratch::Scratch;
use super::store::SqliteStore;
use crate::data::{Trial, Tried};
use crate::plan::TablePlan;

impl SqliteStore {
    /// All rows that can be carried: the canonical image, and after it these columns as they are stored.
    pub(super) async fn with_their_own(
        &self,
        plan: &TablePlan,
        columns: &[String],
    ) -> Result<RowStream, StoreError> {
        let inner = Arc::clone(&self.inner);
        let (sender, stream) = RowStream::channel(inner.info.name.clone(), plan.name.clone());
        let (own, name) = (columns.to_vec(), plan.name.clone());
        let scanned = self.inner.database.scan(move |session| {
            if let Ok(table) = inner.table(&name) {
                let image = table.canonical.beside(table.own_columns(&own));
                let what = (&KeyRange::default(), &image, BatchBudget::default());
                scan::run_image(&session.connection, table, &inner.database.place, what, sender);
            }
        });
        scanned.await?;
        Ok(stream)
    }

    /// The new table, made in memory; or why it can't be (one whose CHECK calls a function of the application's, say).
    pub(super) fn try_in_memory(&self, plan: &TablePlan) -> Result<Box<dyn Trial>, String> {
        match Scratch::with_checks(plan, Side::New) {
            Ok(scratch) => {
                Ok(Box::new(InMemory { scratch: Some(scratch), place: self.inner.database.place.clone() }))
            }
            Err(error) => Err(format!("the new table can't be made in memory: {}", errors::cause(&error))),
        }
    }
}

/// The new table in memory.
struct InMemory {
    /// Gone where its thread has ended.
    scratch: Option<Scratch>,
    place: Place,
}

#[async_trait]
impl Trial for InMemory {
    async fn try_rows(&mut self, rows: Vec<Row>) -> Result<Vec<Tried>, StoreError> {
        let doing = "trying rows in the new table";
        let gone = || self.place.gone(doing, "its thread ended");
        let scratch = self.scratch.take().ok_or_else(gone)?;
        // Off the runtime, as all that SQLite does.
        let tried = tokio::task::spawn_blocking(move || {
            let tried: rusqlite::Result<Vec<Tried>> = rows.iter().map(|row| try_row(&scratch, row)).collect();
            (scratch, tried)
        });
        let (scratch, tried) = tried.await.map_err(|_| gone())?;
        self.scratch = Some(scratch);
        tried.map_err(|error| self.place.error(doing, &error))
    }
}

fn try_row(scratch: &Scratch, row: &Row) -> rusqlite::Result<Tried> {
    if let Some(error) = scratch.refused(row)? {
        let why = format!("the new table refuses it: {}", errors::cause(&error));
        return Ok(Tried::Refused { column: errors::column_of(&error), why });
    }
    Ok(match scratch.write_back()? {
        Some(Made::Row(back)) => Tried::Taken(back),
        Some(Made::Refused(refusal)) => Tried::Stuck(refusal),
        None => Tried::Stuck(Refusal {
            key: Key::composite(scratch.name().clone(), Vec::new()),
            column: None,
            value: None,
            why: "the new table took the row, and hasn't got it".to_owned(),
        }),
    })
}
