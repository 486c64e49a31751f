//! Finding the migration that a command is about: by its spec, by its name, or because it is the only one here.
//!
//! A running migration leaves `.changeover/NAME.run` beside its spec (or beside its state), with its address and token.
//! Without a run its state file is still there, `.changeover/NAME.db`.

use std::path::{Path, PathBuf};

use changeover_api::Spec;
use changeover_api::runfile::{FOLDER, RunFile};

use crate::args::Which;
use crate::error::CliError;

/// A migration that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its name.
    pub(crate) name: String,
    /// Where its run's file is, if it runs.
    pub(crate) run: PathBuf,
    /// Where its state is.
    pub(crate) state: PathBuf,
}

impl Found {
    fn in_folder(folder: &Path, name: &str) -> Self {
        let run = folder.join(format!("{name}.run"));
        // A run that was killed has left its file, and says there where it kept its state.
        let elsewhere = RunFile::read(&run).ok().and_then(|run| run.state);
        let state = elsewhere.unwrap_or_else(|| folder.join(format!("{name}.db")));
        Self { name: name.to_owned(), run, state }
    }

    /// Whether a run has left its file: it runs, or was killed.
    pub(crate) fn has_run(&self) -> bool {
        self.run.exists()
    }

    /// Its spec: the file in the folder above that has its name.
    pub(crate) fn spec(&self) -> Option<Spec> {
        let folder = self.run.parent().and_then(Path::parent)?;
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let specs = files.filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
        // Other TOML files are none of ours.
        specs.filter_map(|path| Spec::read(&path).ok()).find(|spec| spec.name == self.name)
    }

    /// That the migration is over, if its state says so. A state that can't be read says nothing.
    pub(crate) async fn over(&self) -> Option<CliError> {
        let over = changeover_control::over(&self.state, &self.name).await;
        over.ok().flatten().map(CliError::from)
    }

    /// The error of a command that needs a run, where there is none.
    pub(crate) fn not_running(&self) -> CliError {
        let known = if self.state.exists() {
            "its state is there, and it goes on from it"
        } else {
            "it has no state here"
        };
        CliError::NotRunning {
            message: format!("{} isn't running: there is no {}", self.name, self.run.display()),
            hint: format!("Start it with `changeover run SPEC` ({known})."),
        }
    }
}

/// Finds the migration that is meant, from the working folder.
///
/// # Errors
/// If there is none, or more than one and no name was given, or the spec can't be read.
pub(crate) fn find(which: &Which) -> Result<Found, CliError> {
    find_from(which, Path::new(""))
}

fn find_from(which: &Which, here: &Path) -> Result<Found, CliError> {
    // `changeover status bookings.toml`: a migration's name has neither dots nor slashes.
    let named_file = which.name.as_ref().filter(|name| name.contains(['.', '/'])).map(PathBuf::from);
    if let Some(file) = which.spec.clone().or(named_file) {
        let spec = Spec::read(&here.join(file))?;
        let state = spec.state_path();
        let found = Found::in_folder(state.parent().unwrap_or(here), &spec.name);
        return match &which.name {
            Some(name) if !name.contains(['.', '/']) && *name != spec.name => Err(CliError::usage(
                format!("{} is the spec of `{}`, not of `{name}`", spec.file().display(), spec.name),
                "Give the name or the spec; one is enough.",
            )),
            _ => Ok(found),
        };
    }
    let folder = here.join(FOLDER);
    if let Some(name) = &which.name {
        let found = Found::in_folder(&folder, name);
        if found.run.exists() || found.state.exists() {
            return Ok(found);
        }
        let others = known(&folder);
        let hint = match others.as_slice() {
            [] => nothing_here(),
            names => format!("Here are: {}. Or give its spec: --spec FILE.", names.join(", ")),
        };
        return Err(CliError::NotRunning { message: format!("no migration `{name}` is known here"), hint });
    }
    let running = names_with(&folder, "run");
    let names = if running.is_empty() { known(&folder) } else { running };
    match names.as_slice() {
        [name] => Ok(Found::in_folder(&folder, name)),
        [] => Err(CliError::NotRunning {
            message: "no migration is known in this folder".to_owned(),
            hint: nothing_here(),
        }),
        names => Err(CliError::usage(
            format!("there are {} migrations here: {}", names.len(), names.join(", ")),
            "Say which: give its name, or its spec by --spec FILE.",
        )),
    }
}

fn nothing_here() -> String {
    "Go to the folder of its spec, or give it by --spec FILE; `changeover run SPEC` starts one.".to_owned()
}

/// The migrations that have run here, in order.
fn known(folder: &Path) -> Vec<String> {
    let mut names = names_with(folder, "run");
    names.extend(names_with(folder, "db"));
    names.sort_unstable();
    names.dedup();
    names
}

fn names_with(folder: &Path, ending: &str) -> Vec<String> {
    // A folder that isn't there, or can't be read, has no migration for us.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let path = entry.path();
            let is_one = path.extension().is_some_and(|found| found == ending) && path.is_file();
            is_one.then(|| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))?
        })
        .collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(FOLDER)).unwrap();
        for file in files {
            std::fs::write(folder.path().join(FOLDER).join(file), "").unwrap();
        }
        folder
    }

    fn named(name: Option<&str>) -> Which {
        Which { name: name.map(str::to_owned), spec: None }
    }

    #[test]
    fn the_only_one_needs_no_name() {
        let folder = folder(&["bookings.run", "bookings.db", "older.db"]);
        assert_eq!(find_from(&named(None), folder.path()).unwrap().name, "bookings");
        assert_eq!(find_from(&named(Some("older")), folder.path()).unwrap().name, "older");
    }

    #[test]
    fn two_are_told_by_their_names() {
        let folder = folder(&["a.run", "b.run"]);
        let error = find_from(&named(None), folder.path()).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.to_string().contains("a, b"), "{error}");
    }

    #[test]
    fn none_is_out_of_reach_and_says_what_to_do() {
        let folder = folder(&["a.run"]);
        for (which, at) in [(named(Some("b")), folder.path()), (named(None), Path::new("/nonexistent"))] {
            let error = find_from(&which, at).unwrap_err();
            assert_eq!(error.exit(), Exit::OutOfReach);
            assert!(error.hint().unwrap().contains("--spec"), "{error:?}");
        }
    }

    #[test]
    fn a_spec_is_found_from_anywhere_and_must_fit_the_name() {
        let folder = folder(&[]);
        let text = "format = 1\nname = \"b\"\n[store.a]\nurl = \"sqlite:a.db\"\n[store.c]\nurl = \"sqlite:c.db\"\n\
                    [[table]]\nold = \"a:t\"\nnew = \"c:t\"\nkey = { id = \"id\" }\n";
        std::fs::write(folder.path().join("b.toml"), text).unwrap();
        let found = find_from(&named(Some("b.toml")), folder.path()).unwrap();
        assert_eq!(found.run, folder.path().join(".changeover/b.run"));
        let which = Which { name: Some("x".to_owned()), spec: Some("b.toml".into()) };
        assert_eq!(find_from(&which, folder.path()).unwrap_err().exit(), Exit::Usage);
    }
}
