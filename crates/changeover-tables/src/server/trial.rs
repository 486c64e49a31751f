//! Rows tried in a temporary table like the new one, of a session of its own: what its CHECKs refuse, and what would be written back.
//!
//! Each batch is a transaction that is rolled back, so that no snapshot and no lock of ours outlives it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use changeover::{Key, Row, StoreError, TableName};

use super::read::{Made, failed, logged_key, make, refusal};
use super::session::{DbError, Session, Trouble};
use super::store::Inner;
use crate::catalog::ColumnInfo;
use crate::data::{Trial, Tried};
use crate::shape::SideTable;

/// The new table's like, and the session that has it: it goes when that is closed.
pub(super) struct ServerTrial {
    inner: Arc<Inner>,
    table: TableName,
    session: Box<dyn Session>,
}

/// Where a batch failed.
enum Failed {
    Going(DbError),
    ComingBack(DbError),
}

impl Failed {
    const fn error(&self) -> &DbError {
        match self {
            Self::Going(error) | Self::ComingBack(error) => error,
        }
    }
}

const DOING: &str = "trying rows in a temporary table like the new one";

impl ServerTrial {
    /// Makes the table; or says why it can't be made.
    pub(super) async fn begin(
        inner: &Arc<Inner>,
        table: &TableName,
    ) -> Result<Result<Box<dyn Trial>, String>, StoreError> {
        let known = inner.table(table)?;
        let mut session = inner.session(DOING).await?;
        match session.batch(&inner.dialect.trial(&known.info)).await {
            Ok(()) => Ok(Ok(Box::new(Self { inner: Arc::clone(inner), table: table.clone(), session }))),
            Err(error) if error.trouble == Trouble::Gone => Err(inner.place.error(DOING, &error)),
            Err(error) => {
                let right = match error.trouble {
                    Trouble::Rights => format!("; {}", inner.dialect.trial_right()),
                    _ => String::new(),
                };
                Ok(Err(format!(
                    "{} makes no temporary table like it: {}{right}",
                    inner.dialect.server(),
                    error.cause()
                )))
            }
        }
    }

    async fn attempt(&mut self, rows: &[Row]) -> Result<Vec<Tried>, Failed> {
        let inner = Arc::clone(&self.inner);
        let Some(table) = inner.tables.iter().find(|table| *table.name() == self.table) else {
            return Ok(Vec::new());
        };
        let session = self.session.as_mut();
        session.batch("BEGIN").await.map_err(Failed::Going)?;
        let tried = there_and_back(&inner, table, session, rows).await;
        session.batch("ROLLBACK").await.map_err(Failed::Going)?;
        tried
    }

    /// What a single row's failure means.
    fn told(&self, failed_by: Failed) -> Tried {
        match failed_by {
            Failed::Going(error) => {
                let why = format!("the new table refuses it: {}", self.as_the_table(&error));
                Tried::Refused { column: error.column, why }
            }
            Failed::ComingBack(error) => {
                let key = Key::composite(self.table.clone(), Vec::new());
                Tried::Stuck(failed(key, self.inner.dialect.server(), &error))
            }
        }
    }

    /// What the server says of the temporary table, as it would of the new one.
    fn as_the_table(&self, error: &DbError) -> String {
        let name = self.inner.table(&self.table).map_or_else(|_| "", |table| table.info.name.as_str());
        error.cause().replace("changeover_trial", name)
    }
}

#[async_trait]
impl Trial for ServerTrial {
    async fn try_rows(&mut self, rows: Vec<Row>) -> Result<Vec<Tried>, StoreError> {
        let mut tried: Vec<Option<Tried>> = rows.iter().map(|_| None).collect();
        // Halved until the rows that fail are alone.
        let mut todo: Vec<Range<usize>> = Vec::from([Range { start: 0, end: rows.len() }]);
        while let Some(range) = todo.pop().filter(|range| !range.is_empty()) {
            match self.attempt(&rows[range.clone()]).await {
                Ok(some) => {
                    for (at, one) in range.zip(some) {
                        tried[at] = Some(one);
                    }
                }
                Err(failed) if !failed.error().is_of_row() => {
                    return Err(self.inner.place.error(DOING, failed.error()));
                }
                Err(failed) if range.len() == 1 => tried[range.start] = Some(self.told(failed)),
                Err(_) => {
                    let middle = range.start + range.len() / 2;
                    todo.extend([middle..range.end, range.start..middle]);
                }
            }
        }
        let gone = || Tried::Refused {
            column: None,
            why: "the new table hasn't got it after it was put there".to_owned(),
        };
        Ok(tried.into_iter().map(|one| one.unwrap_or_else(gone)).collect())
    }
}

async fn there_and_back(
    inner: &Inner,
    table: &SideTable,
    session: &mut dyn Session,
    rows: &[Row],
) -> Result<Vec<Tried>, Failed> {
    let trial = inner.dialect.own_trial();
    let columns: Vec<&ColumnInfo> = table.written.iter().filter_map(|name| table.info.column(name)).collect();
    session.load(trial, &columns, rows).await.map_err(Failed::Going)?;
    let Some(image) = &table.back else { return Ok(Vec::new()) };
    // By the table's own name, as the spec's expressions may have it.
    let sql = format!("SELECT {} FROM {trial} AS {}", image.select, inner.dialect.name(&table.info.name));
    let mut back: HashMap<Key, Made> = HashMap::with_capacity(rows.len());
    for mut row in session.query(&sql, &[]).await.map_err(Failed::ComingBack)? {
        let key = logged_key(table, &row[..table.key.len()]);
        back.insert(key, make(table, image, &mut row, Row::default()));
    }
    let came = |row: &Row| {
        let key = table.shape.key_of(row);
        match back.remove(&key) {
            Some(Made::Row(row)) => Tried::Taken(row),
            Some(Made::Refused(refusal)) => Tried::Stuck(refusal),
            None => Tried::Stuck(refusal(key, "it isn't found by its key there")),
        }
    };
    Ok(rows.iter().map(came).collect())
}
