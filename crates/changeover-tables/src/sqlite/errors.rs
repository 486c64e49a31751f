//! SQLite's errors as the store's, with what to do about each.

use changeover::StoreError;
use rusqlite::ErrorCode;
use rusqlite::ffi;

/// Where an error happened: for its message.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The store's name in the spec.
    pub(super) store: String,
    /// The file.
    pub(super) file: String,
}

impl Place {
    /// What SQLite said, while something was being done.
    pub(super) fn error(&self, doing: &str, error: &rusqlite::Error) -> StoreError {
        let code = error.sqlite_error_code();
        let cause = cause(error);
        match code {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy {
                store: self.store.clone(),
                what: format!("the database file {}", self.file),
                holder: super::holder::of_write_lock(std::path::Path::new(&self.file)),
            },
            Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::OperationInterrupted) => {
                StoreError::Unreachable {
                    store: self.store.clone(),
                    doing: doing.to_owned(),
                    cause: format!("{cause} ({})", self.file),
                }
            }
            _ => StoreError::Refused {
                store: self.store.clone(),
                doing: doing.to_owned(),
                cause,
                remedy: self.remedy(code, error),
            },
        }
    }

    fn remedy(&self, code: Option<ErrorCode>, error: &rusqlite::Error) -> String {
        let file = &self.file;
        match code {
            Some(ErrorCode::ReadOnly) => format!("Give this user the right to write {file} and its folder"),
            Some(ErrorCode::DiskFull) => format!("Free some space on the disk that holds {file}, and go on"),
            Some(ErrorCode::NotADatabase) => {
                format!("{file} is no SQLite database, or is encrypted: check the path")
            }
            Some(ErrorCode::DatabaseCorrupt) => {
                format!("Run PRAGMA integrity_check on {file}, and restore it if it is damaged")
            }
            Some(ErrorCode::PermissionDenied) => format!("Give this user the right to read and write {file}"),
            Some(ErrorCode::SchemaChanged) => "The schema changed: run `changeover check` again".to_owned(),
            _ if cause(error).contains("no such collation sequence") => {
                "The application defines this collation itself: a table that is ordered by it can't be moved"
                    .to_owned()
            }
            _ if is_about_schema(error) => {
                "The schema isn't what the plan was made for: run `changeover check` again".to_owned()
            }
            _ => "See the cause; `changeover check` tells what the migration needs".to_owned(),
        }
    }

    /// An error that isn't SQLite's own.
    pub(super) fn refused(
        &self,
        doing: &str,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> StoreError {
        StoreError::Refused {
            store: self.store.clone(),
            doing: doing.to_owned(),
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }

    /// The thread that had the connection is gone, or the lock was.
    pub(super) fn gone(&self, doing: &str, cause: impl Into<String>) -> StoreError {
        StoreError::Unreachable { store: self.store.clone(), doing: doing.to_owned(), cause: cause.into() }
    }

    pub(super) fn busy(&self, what: impl Into<String>, holder: Option<String>) -> StoreError {
        StoreError::Busy { store: self.store.clone(), what: what.into(), holder }
    }
}

/// SQLite's own words.
pub(super) fn cause(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqlInputError { msg, sql, .. } => format!("{msg} in `{sql}`"),
        other => other.to_string(),
    }
}

fn is_about_schema(error: &rusqlite::Error) -> bool {
    let said = cause(error);
    ["no such column", "no such table", "has no column named", "no such index"]
        .iter()
        .any(|s| said.contains(s))
}

/// Whether an error is one row's fault: an expression that fails over its values.
pub(super) fn is_of_row(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            matches!(
                failure.code,
                ErrorCode::Unknown
                    | ErrorCode::TooBig
                    | ErrorCode::TypeMismatch
                    | ErrorCode::ParameterOutOfRange
            ) && !is_about_schema(error)
        }
        _ => false,
    }
}

/// Whether a row was refused by a constraint or its type, and the statement with it undone.
pub(super) fn is_refusal(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
    ) || is_of_row(error)
}

/// Whether a unique value is taken.
pub(super) fn is_taken(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error().map(|e| e.extended_code),
        Some(
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID
        )
    )
}

/// The column that a constraint's message names, as in `NOT NULL constraint failed: t.c`.
pub(super) fn column_of(error: &rusqlite::Error) -> Option<String> {
    let said = cause(error);
    let (_, named) = said.split_once("constraint failed: ").or_else(|| said.split_once("column "))?;
    let (_, column) = named.split_once('.')?;
    (!column.contains([',', ' '])).then(|| column.to_owned())
}
