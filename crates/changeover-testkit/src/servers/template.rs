//! Data directories that are set up once for a machine and copied for each server.
//!
//! They are kept in cargo's target folder, so that `cargo clean` removes them, by the server's version and the account that
//! owns them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes a data directory: by a copy of the template of this name, or by `make`, of which the template is then kept.
pub(super) fn data_directory(name: &str, at: &Path, make: impl FnOnce(&Path)) {
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
            copy(at, &new);
            fs::rename(&new, &template).expect("the template's rename");
            return;
        }
    }
    copy(&template, at);
}

/// With owners and modes, and holes in files kept; where the file system can, without copying a byte.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-Rp").arg(from).arg(to).output().expect("cp");
    let said = String::from_utf8_lossy(&copied.stderr);
    assert!(copied.status.success(), "cp -Rp {} {}: {said}", from.display(), to.display());
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
