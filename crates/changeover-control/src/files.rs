//! The small files beside the state: written whole or not at all, and found or not found by others.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::error::ControlError;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner alone: it holds a secret.
    Owner,
    /// Whoever could read the file that is there; whoever the process's mask allows, where there is none.
    All,
}

/// Puts a file's content in place atomically: a reader sees the old one or the new one. Only one process may write it at a
/// time; the file beside it has one name, so that what a process that was killed leaves there is the next one's to replace.
pub(crate) fn write(path: &Path, content: &[u8], readers: Readers) -> Result<(), ControlError> {
    let named = path;
    let path = &if readers == Readers::All { behind_links(path) } else { path.to_owned() };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = PathBuf::from(beside);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if readers == Readers::Owner {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let put = || {
        // A file that somebody else had put there would keep its own mode, and a link lead elsewhere.
        match fs::remove_file(&beside) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        let mut file = options.open(&beside)?;
        file.write_all(content)?;
        if readers == Readers::All && !is_as_before(path, &file)? {
            fs::remove_file(&beside)?;
            return in_place(path, content);
        }
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    put().map_err(|cause| {
        let _ = fs::remove_file(&beside);
        let meant = if path == named { String::new() } else { format!(" (a link to {})", path.display()) };
        ControlError::File {
            path: named.to_owned(),
            doing: "it can't be written",
            cause: format!("{cause}{meant}. {}", remedy(cause.kind())),
        }
    })
}

fn remedy(kind: std::io::ErrorKind) -> &'static str {
    match kind {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
            "Make the folder that it lies in, or name a file in one that is there"
        }
        std::io::ErrorKind::IsADirectory => "That is a folder: name a file in it",
        std::io::ErrorKind::StorageFull => "Free some space on its disk",
        _ => "This user must be able to write it and the folder that it lies in",
    }
}

/// The file that is meant, where the path is a link: in the link's own place others would never see it.
fn behind_links(path: &Path) -> PathBuf {
    if let Ok(file) = fs::canonicalize(path) {
        return file;
    }
    // A link to what isn't there yet.
    match fs::read_link(path) {
        Ok(to) => path.parent().unwrap_or(Path::new("")).join(to),
        Err(_) => path.to_owned(),
    }
}

/// Gives the new file the owner and the mode of the one that it is to replace. Whether it could.
fn is_as_before(path: &Path, file: &fs::File) -> std::io::Result<bool> {
    let Ok(before) = fs::metadata(path) else { return Ok(true) };
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, fchown};
        let now = file.metadata()?;
        let same = (before.uid(), before.gid()) == (now.uid(), now.gid());
        if !same && fchown(file, Some(before.uid()), Some(before.gid())).is_err() {
            return Ok(false);
        }
    }
    file.set_permissions(before.permissions())?;
    Ok(true)
}

/// Another's file that we may write but not give back to them: a few bytes are written over at once.
fn in_place(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(content)?;
    file.set_len(content.len() as u64)?;
    file.sync_all()
}

/// Removes a file; one that isn't there is as good as removed.
pub(crate) fn remove(path: &Path) -> Result<(), ControlError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(ControlError::file(path, "it can't be removed", &cause))
        }
        _ => Ok(()),
    }
}

/// A lock on a file, held as long as this lives and given up by the operating system when the process dies.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: fs::File,
}

/// What came of trying for a lock.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is had.
    Ours(FileLock),
    /// Another process has it: as it has said of itself, if it has.
    Theirs(Option<String>),
}

/// What a holder says of itself is a line.
const HOLDER_BYTES: u64 = 1_000;

impl FileLock {
    /// Takes the lock, and says there who has it, for whoever comes second; the lock itself doesn't depend on that.
    pub(crate) fn take(path: &Path, holder: &str) -> Result<Taken, ControlError> {
        let fail = |cause: std::io::Error| {
            let why = format!("{cause}. {}", remedy(cause.kind()));
            ControlError::file(path, "it can't be locked", &why)
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(fail)?;
        }
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.create(true).truncate(false).read(true).write(true).open(path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {
                if let Err(error) = file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())) {
                    tracing::warn!(%error, path = %path.display(), "writing the holder's name");
                }
                Ok(Taken::Ours(Self { _file: file }))
            }
            Err(fs::TryLockError::WouldBlock) => {
                let mut said = String::new();
                let read = file.take(HOLDER_BYTES).read_to_string(&mut said);
                Ok(Taken::Theirs(read.ok().map(|_| said.trim().to_owned()).filter(|said| !said.is_empty())))
            }
            Err(fs::TryLockError::Error(cause)) => Err(fail(cause)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_secret_is_its_owner_s_alone_and_nothing_is_left_beside_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bookings.run");
        fs::write(&path, "old").unwrap();
        write(&path, b"token", Readers::Owner).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(&path).unwrap(), b"token");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // What a process left that was killed in the midst.
        fs::write(folder.path().join("bookings.run.part"), "half").unwrap();
        write(&path, b"again", Readers::All).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"again");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_read_stays_theirs_to_read_and_is_found_behind_a_link() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("shared.flag"), folder.path().join("bookings.flag"));
        symlink("shared.flag", &link).unwrap();
        write(&link, b"0\n", Readers::All).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o664)).unwrap();
        // Only root may give a file away; for anybody else it is theirs already.
        let _ = std::os::unix::fs::chown(&real, Some(1234), Some(1234));
        let owner = fs::metadata(&real).unwrap().uid();
        write(&link, b"1\n", Readers::All).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"1\n");
        let after = fs::metadata(&real).unwrap();
        assert_eq!((after.permissions().mode() & 0o777, after.uid()), (0o664, owner));
        in_place(&real, b"2\n").unwrap();
        assert_eq!(fs::read(&link).unwrap(), b"2\n");
    }

    #[test]
    fn a_lock_is_had_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bookings.lock");
        fs::write(&path, "one that was longer, and is dead").unwrap();
        let first = FileLock::take(&path, "process 7").unwrap();
        assert!(matches!(first, Taken::Ours(_)));
        let second = FileLock::take(&path, "process 8").unwrap();
        assert!(matches!(second, Taken::Theirs(Some(holder)) if holder == "process 7"));
        drop(first);
        assert!(matches!(FileLock::take(&path, "process 8").unwrap(), Taken::Ours(_)));
    }
}
