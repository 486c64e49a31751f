//! `changeover rehearse`: forward, back, forward on copies of the databases.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use changeover_control::jobs;
use clap::Args;

use super::read_spec;
use crate::error::{CliError, Exit};
use crate::show;
use crate::show::progress::Meter;
use crate::terminal::Terminal;

/// What to rehearse.
#[derive(Debug, Args)]
#[command(after_help = "\
Both databases are copied (a snapshot: their users notice nothing), and the copies go through the \
whole migration: forward, back, forward. Told are how long locks were held, which rows were refused, \
and how long the real one would take. The databases of the spec are only read.")]
pub(crate) struct RehearseArgs {
    /// The spec: a TOML file, as `changeover init` writes one
    #[arg(value_name = "SPEC")]
    spec: PathBuf,

    /// Where to put the copies, and to leave them. Default: a temporary folder that is removed afterwards
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Rehearses, and tells.
///
/// # Errors
/// Whatever would stand in the way of the real one, or of copying the databases.
pub(crate) async fn answer(args: &RehearseArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    let spec = read_spec(&args.spec)?;
    let folder = Folder::make(args.folder.as_deref(), &spec.name)?;
    let mut meter = Meter::new(terminal);
    let mut tell = |progress: &jobs::JobProgress| meter.show(progress);
    let done = tokio::select! {
        done = jobs::rehearse(&spec, &folder.path, &mut tell) => Some(done),
        _ = tokio::signal::ctrl_c() => None,
    };
    meter.end();
    let Some(report) = done else {
        terminal.say("Stopped; the databases of the spec were only read.");
        return Ok(Exit::No);
    };
    let report = report?;
    show::rehearsal::show(&report, &spec, terminal)?;
    Ok(if report.is_clean() { Exit::Done } else { Exit::No })
}

/// Where the copies lie: the user's folder, or one of ours that goes when this does.
struct Folder {
    path: PathBuf,
    is_ours: bool,
}

impl Folder {
    fn make(given: Option<&Path>, migration: &str) -> Result<Self, CliError> {
        let (path, is_ours) = match given {
            Some(path) => (path.to_owned(), false),
            None => {
                let name = format!("changeover-rehearsal-{migration}-{}", std::process::id());
                (std::env::temp_dir().join(name), true)
            }
        };
        // The copies are the application's data: nobody else's to read. One of ours must not be there yet.
        let made = std::fs::DirBuilder::new().recursive(!is_ours).mode(0o700).create(&path);
        made.map_err(|cause| CliError::File {
            path: path.clone(),
            cause: cause.to_string(),
            hint: "Name a folder with room for both databases by --folder DIR.".to_owned(),
        })?;
        Ok(Self { path, is_ours })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(folder = %self.path.display(), %error, "the copies can't be removed");
        }
    }
}
