//! Who works on a table: locks of the operating system on files beside the database, free again when their holder dies.
//!
//! There is one for the migration, and one for each table and scope. A scope is the whole table, or some of its rows: two
//! migrations may share a table as long as their scopes differ, and neither is the whole.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use changeover::StoreError;

use super::errors::Place;
use super::pool::SqliteDatabase;
use crate::database::Scope;
use crate::shape::tag;

/// The right to work on a migration's tables in one database, until it is dropped.
#[derive(Debug)]
pub(super) struct Ownership {
    _files: Vec<File>,
}

impl Ownership {
    /// Takes the right to run this migration on these tables of the database. `holder` is shown to whoever comes second: say
    /// the migration, the process, and since when.
    ///
    /// # Errors
    /// [`StoreError::Busy`] with the present holder.
    pub(super) async fn take(
        database: &SqliteDatabase,
        migration: &str,
        tables: &[(String, Scope)],
        holder: &str,
    ) -> Result<Self, StoreError> {
        let place = database.place.clone();
        let (path, holder, migration) =
            (database.path().to_path_buf(), holder.to_owned(), migration.to_owned());
        let tables = tables.to_vec();
        let taken =
            tokio::task::spawn_blocking(move || take(&place, &path, &migration, &tables, &holder)).await;
        taken.map_err(|_| database.place.gone("locking the migration", "the task was cancelled"))?
    }
}

fn take(
    place: &Place,
    database: &Path,
    migration: &str,
    tables: &[(String, Scope)],
    holder: &str,
) -> Result<Ownership, StoreError> {
    let mut files = vec![exclusively(
        place,
        &beside(database, "run", migration),
        &format!("the migration {migration}"),
        holder,
    )?];
    for (table, scope) in tables {
        let what = format!("the table {table}");
        let whole = beside(database, "table", table);
        match scope {
            Scope::Whole => files.push(exclusively(place, &whole, &what, holder)?),
            Scope::Some(rows) => {
                files.push(shared(place, &whole, &what, holder)?);
                let part = beside(database, "rows", &format!("{table}\0{rows}"));
                files.push(exclusively(place, &part, &format!("{what} where {rows}"), holder)?);
            }
        }
    }
    Ok(Ownership { _files: files })
}

/// The lock file of a thing: its name, as far as a file's name can hold it, and a number that tells it from others.
fn beside(database: &Path, kind: &str, thing: &str) -> PathBuf {
    let plain: String =
        thing.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).take(40).collect();
    let mut name = database.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".changeover-{kind}-{plain}-{:08x}.lock", tag(thing)));
    database.with_file_name(name)
}

fn open(place: &Place, path: &Path) -> Result<File, StoreError> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(|error| {
        place.refused(
            "locking the migration",
            format!("{}: {error}", path.display()),
            "Give this user the right to write beside the database: two runs of one migration must not meet",
        )
    })
}

fn exclusively(place: &Place, path: &Path, what: &str, holder: &str) -> Result<File, StoreError> {
    let mut file = open(place, path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(place.busy(what, Some(holder_in(&mut file)))),
        Err(TryLockError::Error(error)) => return Err(cannot(place, path, &error)),
    }
    // For whoever comes second; the lock itself doesn't depend on it.
    let said = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
    if let Err(error) = said {
        tracing::warn!(%error, path = %path.display(), "writing the holder's name");
    }
    Ok(file)
}

/// A shared lock: many hold it at once, so none writes its name there but the first to come.
fn shared(place: &Place, path: &Path, what: &str, holder: &str) -> Result<File, StoreError> {
    let mut file = open(place, path)?;
    match file.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(place.busy(what, Some(holder_in(&mut file)))),
        Err(TryLockError::Error(error)) => return Err(cannot(place, path, &error)),
    }
    if let Err(error) =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()))
    {
        tracing::warn!(%error, path = %path.display(), "writing the holder's name");
    }
    Ok(file)
}

fn cannot(place: &Place, path: &Path, error: &std::io::Error) -> StoreError {
    place.refused(
        "locking the migration",
        format!("{}: {error}", path.display()),
        "Put the database on a file system that has locks",
    )
}

fn holder_in(file: &mut File) -> String {
    let mut said = String::new();
    match file.rewind().and_then(|()| file.read_to_string(&mut said)) {
        Ok(_) if !said.trim().is_empty() => said.trim().to_owned(),
        _ => "another run".to_owned(),
    }
}
