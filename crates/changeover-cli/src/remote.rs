//! A running migration, asked over its loopback API.

use std::path::PathBuf;

use changeover_api::client::{ClientError, ControlClient, Source};
use changeover_api::wire::{
    Adopt, Advance, Audit, AuditQuery, Done, MismatchQuery, Mismatches, Moved, Override, Retire, Rollback,
    Status,
};
use changeover_control::ControlError;
use changeover_protocol::{Phase, Share, gate};

use crate::args::{Because, Which};
use crate::error::CliError;
use crate::locate::{self, Found};
use crate::terminal::Terminal;
use crate::who::who;

/// A migration's run.
pub(crate) struct Remote {
    client: ControlClient,
    found: Found,
}

impl Remote {
    /// Finds the run that is meant.
    ///
    /// # Errors
    /// If there is none, or several and none was named.
    pub(crate) async fn find(which: &Which) -> Result<Self, CliError> {
        let found = locate::find(which)?;
        match Self::of(&found) {
            Err(not_running @ CliError::NotRunning { .. }) => Err(found.over().await.unwrap_or(not_running)),
            remote => remote,
        }
    }

    /// The run of a migration that was found.
    ///
    /// # Errors
    /// If it has none.
    pub(crate) fn of(found: &Found) -> Result<Self, CliError> {
        if !found.has_run() {
            return Err(found.not_running());
        }
        let client = ControlClient::new(&found.name, Source::RunFile(found.run.clone()))?;
        Ok(Self { client: client.by(&who())?, found: found.clone() })
    }

    /// For this reason, if one was given: the audit keeps it.
    ///
    /// # Errors
    /// If it is too long.
    pub(crate) fn because(self, because: &Because) -> Result<Self, CliError> {
        match &because.reason {
            Some(reason) => Ok(Self { client: self.client.because(reason)?, found: self.found }),
            None => Ok(self),
        }
    }

    /// Where nobody answers any more, the state may say why: the migration is over.
    async fn answered<A>(&self, answer: Result<A, ClientError>) -> Result<A, CliError> {
        match answer {
            Err(gone @ ClientError::Unreachable { .. }) => {
                Err(self.found.over().await.unwrap_or_else(|| gone.into()))
            }
            answer => Ok(answer?),
        }
    }

    pub(crate) async fn status(&self) -> Result<Status, CliError> {
        Ok(self.client.status().await?)
    }

    pub(crate) async fn advance(
        &self,
        to: Option<Phase>,
        share: Option<Share>,
        overrides: &[gate::Override],
    ) -> Result<Moved, CliError> {
        let share_percent = share.map(Share::as_percent);
        self.answered(self.client.advance(&Advance { to, share_percent, overrides: words(overrides) }).await)
            .await
    }

    pub(crate) async fn rollback(&self, to: Option<Phase>, file: Option<PathBuf>) -> Result<Moved, CliError> {
        let leave_behind = file.map(|file| file.display().to_string());
        self.answered(self.client.rollback(&Rollback { to, share_percent: None, leave_behind }).await).await
    }

    pub(crate) async fn retire(&self, overrides: &[gate::Override]) -> Result<Moved, CliError> {
        self.answered(self.client.retire(&Retire { overrides: words(overrides) }).await).await
    }

    pub(crate) async fn abort(&self) -> Result<Moved, CliError> {
        self.answered(self.client.abort().await).await
    }

    pub(crate) async fn adopt(&self, request: &Adopt) -> Result<Moved, CliError> {
        self.answered(self.client.adopt(request).await).await
    }

    pub(crate) async fn pause(&self, paused: bool) -> Result<Done, CliError> {
        let answer = if paused { self.client.pause().await } else { self.client.resume().await };
        self.answered(answer).await
    }

    pub(crate) async fn mended(&self, reason: &str) -> Result<Done, CliError> {
        self.answered(self.client.mended(reason).await).await
    }

    pub(crate) async fn forget(&self, instance: &str) -> Result<Done, CliError> {
        self.answered(self.client.forget(instance).await).await
    }

    pub(crate) async fn mismatches(&self, query: &MismatchQuery) -> Result<Mismatches, CliError> {
        Ok(self.client.mismatches(query).await?)
    }

    pub(crate) async fn audit(&self, query: &AuditQuery) -> Result<Audit, CliError> {
        Ok(self.client.audit(query).await?)
    }
}

/// Asks the run; where none is there, or it was killed and only its file is, reads the state file.
///
/// # Errors
/// If there is neither; what the run says; if the file can't be read.
pub(crate) async fn ask_or_read<A>(
    found: &Found,
    ask: impl AsyncFnOnce(Remote) -> Result<A, CliError>,
    read: impl AsyncFnOnce() -> Result<Option<A>, ControlError>,
) -> Result<A, CliError> {
    let asked = match Remote::of(found) {
        Ok(remote) => ask(remote).await,
        Err(not_running) => Err(not_running),
    };
    match asked {
        Err(gone) if gone.is_no_answer() => read().await?.ok_or(gone),
        answer => answer,
    }
}

/// Says that an answer is the state file's.
pub(crate) fn say_where_from(found: &Found, terminal: &Terminal) {
    if !found.has_run() {
        let text =
            format!("{} isn't running; this is from its state, {}.", found.name, found.state.display());
        terminal.say(terminal.err.faint(text));
    }
}

fn words(overrides: &[gate::Override]) -> Vec<Override> {
    overrides.iter().cloned().map(Override::from).collect()
}
