//! The run file: `.changeover/NAME.run`, by which commands and services find a migration's control plane.
//!
//! It holds the address, the token and the process of the run, and is its owner's alone (mode 0600). A run that
//! starts again has another token, so whoever keeps a connection reads the file again when it is turned away.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// The folder beside a spec that holds what is known of its migration.
pub const FOLDER: &str = ".changeover";

/// The format that this version reads and writes.
const FORMAT: u32 = 1;

/// A run file is a few lines; what is longer is none.
const MAX_BYTES: u64 = 64 << 10;

/// Where a run is, and how to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFile {
    /// The address of its API, as in `127.0.0.1:7400`.
    pub address: String,
    /// The token that every request brings.
    pub token: Secret,
    /// Its process.
    pub pid: u32,
    /// Where it keeps the migration's state, for commands that read that themselves.
    pub state: Option<PathBuf>,
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Content {
    format: u32,
    address: String,
    token: String,
    pid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<PathBuf>,
}

/// What went wrong with a run file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunFileError {
    /// There is none: nothing runs, or it runs elsewhere.
    #[error("{}: there is no such file, so no run has this migration here. Start one with `changeover run SPEC`", path.display())]
    None {
        /// The file.
        path: PathBuf,
    },
    /// There are several, and none was named.
    #[error("{}: there are {} migrations here: {}. Say which, by its name", folder.display(), names.len(), names.join(", "))]
    Several {
        /// The folder.
        folder: PathBuf,
        /// Their names.
        names: Vec<String>,
    },
    /// The file system said no.
    #[error("{}: {doing}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The cause.
        cause: io::Error,
    },
    /// It isn't what a run writes.
    #[error("{}: {problem}. Start the run again: it writes a new one", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl RunFile {
    /// Where the run file of a migration is, given its spec's folder (or the working folder).
    #[must_use]
    pub fn path_of(folder: &Path, migration: &str) -> PathBuf {
        folder.join(FOLDER).join(format!("{migration}.run"))
    }

    /// Writes it: whole or not at all, and readable by its owner alone from the first byte on.
    ///
    /// # Errors
    /// [`RunFileError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), RunFileError> {
        let content = Content {
            format: FORMAT,
            address: self.address.clone(),
            token: self.token.expose().to_owned(),
            pid: self.pid,
            state: self.state.clone(),
        };
        let fail = |cause| RunFileError::Io { path: path.to_owned(), doing: "it can't be written", cause };
        let mut text = serde_json::to_vec_pretty(&content).map_err(|error| fail(error.into()))?;
        text.push(b'\n');
        let mut beside = path.as_os_str().to_owned();
        // One name: what a run that was killed leaves there, with its token, is the next one's to replace.
        beside.push(".next");
        let beside = PathBuf::from(beside);
        let put = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            // One that somebody had put there would keep its own mode.
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&beside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&beside, path)
        };
        put().map_err(|cause| {
            // It is only half written; that it can't be removed either is no news.
            let _ = fs::remove_file(&beside);
            fail(cause)
        })
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`RunFileError`]: it isn't there, can't be read, or isn't what a run writes.
    pub fn read(path: &Path) -> Result<Self, RunFileError> {
        let invalid = |problem: String| RunFileError::Invalid { path: path.to_owned(), problem };
        let text = match fs::metadata(path).and_then(|meta| match meta.len() > MAX_BYTES {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => fs::read(path),
        }) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RunFileError::None { path: path.to_owned() });
            }
            Err(cause) => {
                return Err(RunFileError::Io { path: path.to_owned(), doing: "it can't be read", cause });
            }
        };
        // serde's message could quote the token.
        let content: Content =
            serde_json::from_slice(&text).map_err(|_| invalid("this isn't a run file".to_owned()))?;
        if content.format != FORMAT {
            return Err(invalid(format!(
                "it has format {}, and this version knows {FORMAT}",
                content.format
            )));
        }
        Ok(Self {
            address: content.address,
            token: Secret::new(content.token),
            pid: content.pid,
            state: content.state,
        })
    }

    /// Removes it, if it is still this one: a run that started meanwhile keeps its own.
    ///
    /// # Errors
    /// [`RunFileError::Io`].
    pub fn remove(&self, path: &Path) -> Result<(), RunFileError> {
        match Self::read(path) {
            Ok(found) if found == *self => match fs::remove_file(path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    Err(RunFileError::Io { path: path.to_owned(), doing: "it can't be removed", cause })
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Finds the run of a migration in a folder; of the only one there, if no name is given. Its name, and the file.
    ///
    /// # Errors
    /// [`RunFileError::None`], or [`RunFileError::Several`] where a name is needed.
    pub fn find(folder: &Path, migration: Option<&str>) -> Result<(String, PathBuf), RunFileError> {
        if let Some(name) = migration {
            let path = Self::path_of(folder, name);
            return if path.is_file() {
                Ok((name.to_owned(), path))
            } else {
                Err(RunFileError::None { path })
            };
        }
        let inside = folder.join(FOLDER);
        // A folder that isn't there has no runs.
        let mut names: Vec<String> = fs::read_dir(&inside)
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let is_run = path.extension().is_some_and(|ending| ending == "run");
                is_run.then(|| path.file_stem()?.to_str().map(str::to_owned)).flatten()
            })
            .collect();
        names.sort_unstable();
        match names.pop() {
            None => Err(RunFileError::None { path: inside.join("*.run") }),
            Some(name) if names.is_empty() => {
                let path = Self::path_of(folder, &name);
                Ok((name, path))
            }
            Some(name) => {
                names.push(name);
                Err(RunFileError::Several { folder: folder.to_owned(), names })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(token: &str) -> RunFile {
        RunFile {
            address: "127.0.0.1:7400".to_owned(),
            token: Secret::new(token),
            pid: 4711,
            state: Some("/var/state/b.db".into()),
        }
    }

    #[test]
    fn it_is_its_owner_s_alone_and_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = RunFile::path_of(folder.path(), "bookings");
        run("s3cret").write(&path).unwrap();
        run("other").write(&path).unwrap();
        assert_eq!(RunFile::read(&path).unwrap(), run("other"));
        assert!(!format!("{:?}", RunFile::read(&path)).contains("other"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_run_removes_its_own_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = RunFile::path_of(folder.path(), "bookings");
        run("later").write(&path).unwrap();
        run("earlier").remove(&path).unwrap();
        assert!(path.exists());
        run("later").remove(&path).unwrap();
        assert!(!path.exists());
        run("later").remove(&path).unwrap();
    }

    #[test]
    fn the_only_one_is_found_without_a_name() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(RunFile::find(folder.path(), None), Err(RunFileError::None { .. })));
        run("a").write(&RunFile::path_of(folder.path(), "b")).unwrap();
        assert_eq!(RunFile::find(folder.path(), None).unwrap().0, "b");
        run("a").write(&RunFile::path_of(folder.path(), "a")).unwrap();
        let error = RunFile::find(folder.path(), None).unwrap_err();
        assert!(error.to_string().contains("2 migrations here: a, b"), "{error}");
        assert_eq!(RunFile::find(folder.path(), Some("a")).unwrap().0, "a");
        let error = RunFile::find(folder.path(), Some("c")).unwrap_err();
        assert!(
            error.to_string().contains("c.run") && error.to_string().contains("changeover run"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_run_file_says_so_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.run");
        for text in ["", "token = \"s3cret\"", r#"{"format":9,"address":"","token":"s3cret","pid":1}"#] {
            fs::write(&path, text).unwrap();
            let error = RunFile::read(&path).unwrap_err();
            assert!(matches!(error, RunFileError::Invalid { .. }), "{error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
