//! Whether this user may write the databases: a run that finds out in the middle of a move is late.
//!
//! The files are only asked about, never opened: closing a second handle on a SQLite database gives up the locks that
//! this process has on it.

use std::path::Path;

use changeover_tables::plan::{Finding, Severity};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::connect::Connected;
use crate::error::ControlError;

/// Looks at every database, and at its folder, in which SQLite keeps the log of its changes.
///
/// # Errors
/// [`ControlError::File`] with the first that this user may not write.
pub(crate) fn check(connected: &Connected) -> Result<(), ControlError> {
    match refused(connected).into_iter().next() {
        None => Ok(()),
        Some((_, path)) => Err(ControlError::file(
            &path,
            "the database can't be written",
            &"give this user the right to write it and its folder",
        )),
    }
}

/// The same as what `check` tells.
pub(crate) fn findings(connected: &Connected) -> Vec<Finding> {
    let finding = |(store, path): (String, std::path::PathBuf)| {
        let uses = connected.plan.tables.iter().find(|t| t.old.store == store || t.new.store == store);
        Some(Finding {
            severity: Severity::Error,
            table: uses?.name.clone(),
            column: None,
            what: format!("this user may not write the store {store}, {}", path.display()),
            remedy: "give this user the right to write the file and its folder, or run as one that has it"
                .to_owned(),
        })
    };
    refused(connected).into_iter().filter_map(finding).collect()
}

fn refused(connected: &Connected) -> Vec<(String, std::path::PathBuf)> {
    let may = |path: &Path| accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    let stores = connected.databases.iter();
    stores
        .filter_map(|(name, database)| Some((name, database.file()?)))
        .filter(|(_, file)| {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            !may(file) || !may(folder.unwrap_or(Path::new(".")))
        })
        .map(|(name, file)| (name.clone(), file.to_owned()))
        .collect()
}
