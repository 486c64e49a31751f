//! The state in one SQLite file: WAL, `synchronous = FULL`, one connection, one transaction a call.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use changeover_protocol::Side;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::records::{
    AuditEntry, AuditKind, EvidenceKey, EvidenceSum, GenerationRecord, NewAudit, NewSample, Revision, Sample,
    Saved, VerificationRecord,
};
use super::sqlite_file::state_error;
use super::{StateStore, sqlite_evidence, sqlite_file};
use crate::error::ControlError;

/// How many verifications and generations are kept.
const KEPT_RESULTS: u32 = 200;

/// The state of one migration in a file. Cheap to clone; all clones share one connection.
#[derive(Clone)]
pub struct SqliteState {
    inner: Arc<Inner>,
    /// Whether a call may wait for a disk, and so needs a thread of its own.
    blocks: bool,
}

struct Inner {
    path: PathBuf,
    /// What lay there when it was opened.
    file: Option<(u64, u64)>,
    state_id: String,
    connection: Mutex<Connection>,
}

impl std::fmt::Debug for SqliteState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteState").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl SqliteState {
    /// Opens the file of this migration, or makes it, with its folder.
    ///
    /// # Errors
    /// [`ControlError::NewerState`] for a newer version's file; [`ControlError::State`] where it isn't a state, is another
    /// migration's, or can't be written.
    pub async fn open(path: &Path, migration: &str) -> Result<Self, ControlError> {
        let (path, migration) = (path.to_owned(), migration.to_owned());
        blocking(move || {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder).map_err(|cause| {
                    ControlError::file(folder, "the state's folder can't be made", &cause)
                })?;
            }
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            Self::connect(&path, flags, &migration)
        })
        .await
    }

    /// Opens the file for reading alone, as `status` does while no run is there; `None` where there is no file.
    ///
    /// # Errors
    /// As [`SqliteState::open`].
    pub async fn open_existing(path: &Path, migration: &str) -> Result<Option<Self>, ControlError> {
        let (path, migration) = (path.to_owned(), migration.to_owned());
        blocking(move || {
            if !path.exists() {
                return Ok(None);
            }
            // Not SQLITE_OPEN_READ_ONLY: after a crash the WAL has to be recovered by whoever comes first.
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            Self::connect(&path, flags, &migration).map(Some)
        })
        .await
    }

    /// A state in memory, whose calls block nobody: for a simulation, in which no thread but its own may run.
    ///
    /// # Errors
    /// As [`SqliteState::open`].
    #[cfg(test)]
    pub(crate) fn in_memory(migration: &str) -> Result<Self, ControlError> {
        let mut state = Self::connect(Path::new(":memory:"), OpenFlags::default(), migration)?;
        state.blocks = false;
        Ok(state)
    }

    /// A copy of it as it is, in memory.
    #[cfg(test)]
    pub(crate) fn copied(&self) -> Result<Self, rusqlite::Error> {
        let copy = Self::in_memory("simulation").map_err(|_| rusqlite::Error::InvalidQuery)?;
        {
            let from = self.inner.connection.lock().unwrap_or_else(PoisonError::into_inner);
            let mut to = copy.inner.connection.lock().unwrap_or_else(PoisonError::into_inner);
            let backup = rusqlite::backup::Backup::new(&from, &mut to)?;
            backup.run_to_completion(1_000, std::time::Duration::ZERO, None)?;
        }
        Ok(copy)
    }

    fn connect(path: &Path, flags: OpenFlags, migration: &str) -> Result<Self, ControlError> {
        let (connection, state_id) = sqlite_file::open(path, flags, migration)?;
        let inner = Inner {
            path: path.to_owned(),
            file: file_at(path),
            state_id,
            connection: Mutex::new(connection),
        };
        Ok(Self { inner: Arc::new(inner), blocks: true })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Runs `work` in a transaction on a thread where blocking is no harm.
    async fn tx<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ControlError> {
        let inner = Arc::clone(&self.inner);
        let work = move || {
            // A panic while the lock was held has rolled its transaction back: the connection is whole.
            let mut connection = inner.connection.lock().unwrap_or_else(PoisonError::into_inner);
            let run = |connection: &mut Connection| {
                let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
                let result = work(&tx)?;
                tx.commit()?;
                Ok(result)
            };
            run(&mut connection).map_err(|cause| state_error(&inner.path, doing, &cause))
        };
        if self.blocks { blocking(work).await } else { work() }
    }
}

/// Which file lies at this path, as the file system tells them apart.
fn file_at(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((std::os::unix::fs::MetadataExt::dev(&metadata), std::os::unix::fs::MetadataExt::ino(&metadata)))
}

#[async_trait]
impl StateStore for SqliteState {
    fn state_id(&self) -> &str {
        &self.inner.state_id
    }

    fn lost(&self) -> Option<String> {
        let Inner { path, file, .. } = &*self.inner;
        (file_at(path) != *file).then(|| {
            format!(
                "the state's file {} was deleted or replaced while this run uses it: what is noted from now on goes with the \
                 run. Stop the run, put the file back if you have it, and start it again: without the file it takes the \
                 databases' word (`changeover adopt`)",
                path.display()
            )
        })
    }

    async fn load(&self) -> Result<Option<Saved>, ControlError> {
        self.tx("the control record can't be read", |tx| {
            tx.query_row("SELECT revision, record FROM control", [], |row| {
                Ok(Saved { revision: Revision(row.get(0)?), record: row.get(1)? })
            })
            .optional()
        })
        .await
    }

    async fn save(
        &self,
        expected: Revision,
        record: &str,
        audit: &[NewAudit],
    ) -> Result<Revision, ControlError> {
        let (record, audit) = (record.to_owned(), audit.to_vec());
        let written = self
            .tx("the control record can't be written", move |tx| {
                let changed = if expected == Revision(0) {
                    tx.execute("INSERT OR IGNORE INTO control VALUES (1, 1, ?1)", [&record])?
                } else {
                    tx.execute(
                        "UPDATE control SET revision = revision + 1, record = ?1 WHERE revision = ?2",
                        params![record, expected.0],
                    )?
                };
                if changed == 1 {
                    for entry in &audit {
                        insert_audit(tx, entry)?;
                    }
                }
                Ok(changed == 1)
            })
            .await?;
        if written {
            Ok(Revision(expected.0 + 1))
        } else {
            Err(ControlError::Outdated { expected: expected.0 })
        }
    }

    async fn append_audit(&self, entry: &NewAudit) -> Result<i64, ControlError> {
        let entry = entry.clone();
        self.tx("the audit can't be written", move |tx| insert_audit(tx, &entry)).await
    }

    async fn audit(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditEntry>, ControlError> {
        self.tx("the audit can't be read", move |tx| {
            let mut select = tx.prepare_cached(
                "SELECT id, at_ms, who, kind, text, why FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
            )?;
            let rows = select.query_map(params![before.unwrap_or(i64::MAX), limit as i64], |row| {
                let kind: String = row.get(3)?;
                // A kind that a later version of the same format knows is shown as what it most resembles.
                let kind = AuditKind::named(&kind).unwrap_or(AuditKind::Alert);
                let entry = NewAudit {
                    at_ms: row.get(1)?,
                    who: row.get(2)?,
                    kind,
                    text: row.get(4)?,
                    why: row.get(5)?,
                };
                Ok(AuditEntry { id: row.get(0)?, entry })
            })?;
            rows.collect()
        })
        .await
    }

    async fn add_evidence(
        &self,
        from: (&str, u64),
        counts: &[(EvidenceKey, u64)],
    ) -> Result<bool, ControlError> {
        let (reporter, number, counts) = (from.0.to_owned(), from.1, counts.to_vec());
        self.tx("the evidence can't be written", move |tx| {
            sqlite_evidence::add(tx, &reporter, number, &counts)
        })
        .await
    }

    async fn evidence(&self, since_ms: u64) -> Result<Vec<EvidenceSum>, ControlError> {
        self.tx("the evidence can't be read", move |tx| sqlite_evidence::sums(tx, since_ms)).await
    }

    async fn compact_evidence(
        &self,
        hourly_before_ms: u64,
        forget_before_ms: u64,
    ) -> Result<(), ControlError> {
        self.tx("the evidence can't be joined", move |tx| {
            sqlite_evidence::compact(tx, hourly_before_ms, forget_before_ms)
        })
        .await
    }

    async fn add_sample(&self, sample: &NewSample) -> Result<bool, ControlError> {
        let sample = sample.clone();
        self.tx("a mismatch can't be kept", move |tx| sqlite_evidence::add_sample(tx, &sample)).await
    }

    async fn samples(&self, operation: Option<&str>, limit: usize) -> Result<Vec<Sample>, ControlError> {
        let operation = operation.map(str::to_owned);
        self.tx("the mismatches can't be read", move |tx| {
            sqlite_evidence::samples(tx, operation.as_deref(), limit)
        })
        .await
    }

    async fn clear_samples(&self) -> Result<(), ControlError> {
        self.tx("the mismatches can't be cleared", |tx| tx.execute("DELETE FROM sample", []).map(drop)).await
    }

    async fn put_verification(&self, result: &VerificationRecord) -> Result<(), ControlError> {
        let ended_ms = result.ended_ms;
        let (evidence, report) = (in_json(&result.evidence)?, result.report.clone());
        self.tx("the verification's result can't be written", move |tx| {
            tx.execute(
                "INSERT INTO verification (ended_ms, evidence, report) VALUES (?1, ?2, ?3)",
                params![ended_ms, evidence, report],
            )?;
            tx.execute(
                "DELETE FROM verification WHERE id <= (SELECT max(id) FROM verification) - ?1",
                [KEPT_RESULTS],
            )
            .map(drop)
        })
        .await
    }

    async fn verifications(&self, limit: usize) -> Result<Vec<VerificationRecord>, ControlError> {
        let rows = self
            .tx("the verifications can't be read", move |tx| {
                let mut select = tx.prepare_cached(
                    "SELECT ended_ms, evidence, report FROM verification ORDER BY id DESC LIMIT ?1",
                )?;
                let rows = select.query_map([limit as i64], |row| {
                    Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
                })?;
                rows.collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        rows.into_iter()
            .map(|(ended_ms, evidence, report)| {
                let evidence = serde_json::from_str(&evidence).map_err(not_json)?;
                Ok(VerificationRecord { ended_ms, evidence, report })
            })
            .collect()
    }

    async fn put_generation(&self, generation: &GenerationRecord) -> Result<(), ControlError> {
        let g = generation.clone();
        self.tx("the generation can't be written down", move |tx| {
            tx.execute(
                "INSERT INTO generation VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (number) DO UPDATE
                 SET toward = ?2, began_ms = ?3, done_ms = ?4, ended_ms = ?5, plan = ?6",
                params![g.number, g.toward.name(), g.began_ms, g.done_ms, g.ended_ms, g.plan],
            )?;
            tx.execute(
                "DELETE FROM generation WHERE number <= (SELECT max(number) FROM generation) - ?1",
                [KEPT_RESULTS],
            )
            .map(drop)
        })
        .await
    }

    async fn generation(&self) -> Result<Option<GenerationRecord>, ControlError> {
        self.tx("the generation can't be read", |tx| {
            tx.query_row(
                "SELECT number, toward, began_ms, done_ms, ended_ms, plan FROM generation
                 ORDER BY number DESC LIMIT 1",
                [],
                |row| {
                    let toward: String = row.get(1)?;
                    Ok(GenerationRecord {
                        number: row.get(0)?,
                        toward: if toward == Side::Old.name() { Side::Old } else { Side::New },
                        began_ms: row.get(2)?,
                        done_ms: row.get(3)?,
                        ended_ms: row.get(4)?,
                        plan: row.get(5)?,
                    })
                },
            )
            .optional()
        })
        .await
    }

    async fn setting(&self, name: &str) -> Result<Option<String>, ControlError> {
        let name = name.to_owned();
        self.tx("a setting can't be read", move |tx| {
            tx.query_row("SELECT value FROM setting WHERE name = ?1", [name], |row| row.get(0)).optional()
        })
        .await
    }

    async fn set(&self, name: &str, value: Option<&str>) -> Result<(), ControlError> {
        let (name, value) = (name.to_owned(), value.map(str::to_owned));
        self.tx("a setting can't be written", move |tx| {
            match value {
                Some(value) => tx.execute("INSERT OR REPLACE INTO setting VALUES (?1, ?2)", [name, value]),
                None => tx.execute("DELETE FROM setting WHERE name = ?1", [name]),
            }
            .map(drop)
        })
        .await
    }
}

fn insert_audit(tx: &rusqlite::Transaction<'_>, entry: &NewAudit) -> rusqlite::Result<i64> {
    tx.prepare_cached("INSERT INTO audit (at_ms, who, kind, text, why) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .insert(params![entry.at_ms, entry.who, entry.kind.name(), entry.text, entry.why])
}

/// Runs `work` where blocking is no harm. A panic in it is an error here, by name.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ControlError> + Send + 'static,
) -> Result<T, ControlError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(cause) => Err(ControlError::Stopped { part: "the state's thread", cause: cause.to_string() }),
    }
}

fn in_json(value: &impl serde::Serialize) -> Result<String, ControlError> {
    serde_json::to_string(value).map_err(not_json)
}

fn not_json(cause: serde_json::Error) -> ControlError {
    ControlError::Stopped { part: "the state", cause: format!("a value in it isn't understood: {cause}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::conformance;

    async fn state(folder: &tempfile::TempDir) -> SqliteState {
        SqliteState::open(&folder.path().join("x/bookings.db"), "bookings").await.unwrap()
    }

    #[tokio::test]
    async fn it_passes_the_suite() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().to_owned();
        let n = std::sync::atomic::AtomicU32::new(0);
        conformance::suite(|| {
            let n = n.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let path = at.join(format!("{n}.db"));
            async move { SqliteState::open(&path, "bookings").await.unwrap() }
        })
        .await;
    }

    #[tokio::test]
    async fn what_was_saved_is_there_when_it_is_opened_again_and_has_the_same_identity() {
        let folder = tempfile::tempdir().unwrap();
        let first = state(&folder).await;
        first.save(Revision(0), "{}", &[]).await.unwrap();
        let id = first.state_id().to_owned();
        drop(first);
        let again = state(&folder).await;
        assert_eq!(again.state_id(), id);
        assert_eq!(again.load().await.unwrap().unwrap().revision, Revision(1));
    }

    #[tokio::test]
    async fn a_newer_file_another_s_file_and_no_state_at_all_are_each_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        drop(SqliteState::open(&path, "bookings").await.unwrap());
        let error = SqliteState::open(&path, "orders").await.unwrap_err();
        assert!(error.to_string().contains("belongs to the migration `bookings`"), "{error}");
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = SqliteState::open(&path, "bookings").await.unwrap_err();
        assert!(matches!(error, ControlError::NewerState { found: 99, .. }), "{error}");

        let other = folder.path().join("b.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
        let error = SqliteState::open(&other, "bookings").await.unwrap_err();
        assert!(error.to_string().contains("not a state of Changeover's"), "{error}");

        let text = folder.path().join("c.db");
        std::fs::write(&text, "not a database at all, but long enough to be looked at as one").unwrap();
        let error = SqliteState::open(&text, "bookings").await.unwrap_err();
        assert!(error.to_string().contains("--state"), "{error}");
        assert!(
            SqliteState::open_existing(&folder.path().join("none.db"), "bookings").await.unwrap().is_none()
        );
    }
}
