//! The file that services without the library read the flag from: written with each move, put right when somebody has altered
//! or deleted it, and remembered by the state, so that a run that is started again without the option keeps it.
//!
//! Whoever reads a stale flag is refused by the fence at every write. So no move begins while the file can't be written, and
//! none is said to have arrived before it says so, or why it doesn't.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use changeover_protocol::Phase;
use tokio::sync::watch;

use crate::conductor::Conductor;
use crate::error::ControlError;
use crate::files::{self, Readers};
use crate::state::{AuditKind, StateStore};

/// The setting that the file's path is kept by.
const SETTING: &str = "flag-file";

/// How often is looked whether the file says what it should, and how long a move waits for it.
const LOOK: Duration = Duration::from_secs(1);
const SHOWN_WITHIN: Duration = Duration::from_secs(3);

/// The file, if there is one.
#[derive(Debug)]
pub(crate) struct FlagFile {
    path: Option<PathBuf>,
    /// It wasn't asked for: the last run had it.
    remembered: bool,
    /// The one that the last run kept, and this one doesn't.
    left: Option<PathBuf>,
    shown: watch::Sender<Option<Phase>>,
}

impl FlagFile {
    /// No file.
    pub(crate) fn none() -> Self {
        Self { path: None, remembered: false, left: None, shown: watch::Sender::new(None) }
    }

    /// The file that a run was told to keep; or the one that the last run kept, if that is still there.
    pub(crate) async fn of_run(told: Option<PathBuf>, state: &dyn StateStore) -> Result<Self, ControlError> {
        if let Some(path) = told {
            let path = std::path::absolute(&path).unwrap_or(path);
            let known = state.setting(SETTING).await?.map(PathBuf::from);
            let left = known.filter(|known| *known != path && known.exists());
            state.set(SETTING, Some(&path.to_string_lossy())).await?;
            return Ok(Self { path: Some(path), left, ..Self::none() });
        }
        let known = state.setting(SETTING).await?.map(PathBuf::from).filter(|path| path.exists());
        if known.is_none() {
            state.set(SETTING, None).await?;
        }
        Ok(Self { remembered: known.is_some(), path: known, ..Self::none() })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

fn write(path: &Path, phase: Phase) -> Result<(), ControlError> {
    files::write(path, format!("{}\n", phase.flag()).as_bytes(), Readers::All)
}

/// Writes the file that the last run kept, where none is there. What a person should know of it.
///
/// # Errors
/// If the state can't be read.
pub(crate) async fn write_remembered(
    state: &dyn StateStore,
    phase: Phase,
) -> Result<Vec<String>, ControlError> {
    let Some(path) = state.setting(SETTING).await?.map(PathBuf::from) else {
        return Ok(vec![format!(
            "Services that ask the run for the flag don't reach it: tell them that it is {}",
            phase.flag()
        )]);
    };
    Ok(match write(&path, phase) {
        Ok(()) => vec![format!("The flag file {} says {}", path.display(), phase.flag())],
        Err(error) => {
            vec![format!("{error}. Services that read it are refused until it says {}", phase.flag())]
        }
    })
}

fn says(path: &Path, phase: Phase) -> bool {
    std::fs::read(path).is_ok_and(|text| text == format!("{}\n", phase.flag()).as_bytes())
}

impl Conductor {
    /// Writes the file.
    ///
    /// # Errors
    /// If it can't be written.
    pub(crate) async fn show_flag(&self) -> Result<(), ControlError> {
        let Some(path) = self.flag_file.path() else { return Ok(()) };
        if self.flag_file.remembered {
            let text = format!("the flag file is kept on, as the last run did: {}", path.display());
            self.note(AuditKind::Run, text).await;
        }
        if let Some(left) = &self.flag_file.left {
            self.alert(format!(
                "the flag file is {} now: {}, which the last run kept, stays as it is, and services that read it are refused \
                 after the next move",
                path.display(),
                left.display()
            ))
            .await;
        }
        // Where nobody knows what it should say it stays as it is.
        match self.flag().await {
            Some(phase) => write(path, phase),
            None => Ok(()),
        }
    }

    /// Keeps the file in step with the target, until the run ends.
    pub(crate) async fn keep_flag(self: Arc<Self>) {
        let Some(path) = self.flag_file.path() else { return };
        let (mut targets, mut progress) = (self.barrier.targets(), self.progress.subscribe());
        loop {
            targets.mark_unchanged();
            let is_stopped = self.stopped().is_some();
            if let Some(phase) = self.flag().await {
                let written = if says(path, phase) { Ok(()) } else { write(path, phase) };
                match written {
                    Ok(()) => {
                        self.flag_file.shown.send_replace(Some(phase));
                        self.well("flag file").await;
                    }
                    Err(error) => self.trouble("flag file", &error.to_string()).await,
                }
            }
            tokio::select! {
                changed = targets.changed() => if changed.is_err() { return },
                turned = progress.wait_for(|now| now.stopped.is_some() != is_stopped) => if turned.is_err() { return },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// That the file can be written: services would not follow a move, and be refused.
    ///
    /// # Errors
    /// If it can't.
    pub(crate) async fn check_flag_file(&self) -> Result<(), ControlError> {
        let (Some(path), Some(phase)) = (self.flag_file.path(), self.flag().await) else { return Ok(()) };
        write(path, phase).map_err(|error| {
            ControlError::Refused(format!(
                "{error}. Services that read it would not follow, and be refused at every write: nothing moves before it can be \
                 written, or the run is started with another --flag-file"
            ))
        })?;
        self.well("flag file").await;
        Ok(())
    }

    /// Waits until the file says what the target says; why it doesn't, if it doesn't.
    pub(crate) async fn flag_is_shown(&self) -> Option<String> {
        let path = self.flag_file.path()?;
        let wanted = self.barrier.record().target.phase_shown;
        let mut shown = self.flag_file.shown.subscribe();
        let told = tokio::time::timeout(SHOWN_WITHIN, shown.wait_for(|phase| *phase == Some(wanted))).await;
        (!matches!(told, Ok(Ok(_)))).then(|| {
            format!(
                "the flag file {} doesn't say {} yet: services that read it are refused until it does. `changeover status` \
                 says why; it is tried again every second",
                path.display(),
                wanted.flag()
            )
        })
    }
}
