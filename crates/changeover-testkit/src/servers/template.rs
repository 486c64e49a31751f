//! Data directories that are set up once for a machine and copied for each server.
//!
//! They are kept in cargo's target folder, so that `cargo clean` removes them, by the server's version and the account that
//! owns them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::account::Account;

/// Makes a data directory: by a copy of the template of this name, or by `make`, of which the template is then kept.
pub(super) fn data_directory(account: Account, name: &str, at: &Path, make: impl FnOnce(&Path)) {
    let copied = |from: &Path, to: &Path| {
        copy(account, from, to)
            .unwrap_or_else(|e| panic!("copy {} to {}: {e}", from.display(), to.display()));
    };
    let cache = cache();
    fs::create_dir_all(&cache).unwrap_or_else(|e| panic!("{}: {e}", cache.display()));
    let template = cache.join(name);
    // It is there whole or not at all, because of the rename; the lock keeps two from making it.
    if !template.exists() {
        let lock =
            File::create(cache.join(format!("{name}.lock"))).expect("a lock file in the target folder");
        lock.lock().expect("the lock of the template");
        if !template.exists() {
            make(at);
            let new = cache.join(format!("{name}.new"));
            let _ = fs::remove_dir_all(&new); // what somebody who was killed has left
            copied(at, &new);
            fs::rename(&new, &template).expect("the template's rename");
            return;
        }
    }
    copied(&template, at);
}

/// Copies a folder, for this account. By this process and not by `cp`, which would live on and write when a test is killed;
/// each folder is the account's before there is something in it, so that the supervisor can remove it at any time.
fn copy(account: Account, from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    account.own(to);
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(account, &entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            account.own(&target);
        }
    }
    Ok(())
}

/// Cargo's target folder, by the tag that cargo puts there; or wherever the test's executable is.
fn cache() -> PathBuf {
    let executable = std::env::current_exe().expect("the path of the test's executable");
    let target = executable.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    target.or(executable.parent()).expect("an executable is in a folder").join("test-servers")
}

/// A name for the template of this version and account.
pub(super) fn name(kind: &str, version: &str, uid: u32, layout: u32) -> String {
    // As in "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)" or "mariadbd  Ver 10.11.14-MariaDB-0+deb12u2 for …".
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    format!("{kind}-{}-{uid}-{layout}", number.unwrap_or("unknown"))
}
