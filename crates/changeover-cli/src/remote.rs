//! A running migration, asked over its loopback API.

use std::path::PathBuf;

use changeover_api::client::{ControlClient, Source};
use changeover_api::wire::{
    Advance, Audit, AuditQuery, Done, MismatchQuery, Mismatches, Moved, Override, Retire, Rollback, Status,
};
use changeover_protocol::{Phase, Share, gate};

use crate::args::Which;
use crate::error::CliError;
use crate::locate::{self, Found};

/// A migration's run.
pub(crate) struct Remote {
    client: ControlClient,
}

impl Remote {
    /// Finds the run that is meant.
    ///
    /// # Errors
    /// If there is none, or several and none was named.
    pub(crate) fn find(which: &Which) -> Result<Self, CliError> {
        Self::of(&locate::find(which)?)
    }

    /// The run of a migration that was found.
    ///
    /// # Errors
    /// If it has none.
    pub(crate) fn of(found: &Found) -> Result<Self, CliError> {
        if !found.has_run() {
            return Err(found.not_running());
        }
        Ok(Self { client: ControlClient::new(&found.name, Source::RunFile(found.run.clone()))? })
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
        Ok(self.client.advance(&Advance { to, share_percent, overrides: words(overrides) }).await?)
    }

    pub(crate) async fn rollback(&self, to: Option<Phase>, file: Option<PathBuf>) -> Result<Moved, CliError> {
        let leave_behind = file.map(|file| file.display().to_string());
        Ok(self.client.rollback(&Rollback { to, share_percent: None, leave_behind }).await?)
    }

    pub(crate) async fn retire(&self, overrides: &[gate::Override]) -> Result<Moved, CliError> {
        Ok(self.client.retire(&Retire { overrides: words(overrides) }).await?)
    }

    pub(crate) async fn abort(&self) -> Result<Moved, CliError> {
        Ok(self.client.abort().await?)
    }

    pub(crate) async fn adopt(&self) -> Result<Moved, CliError> {
        Ok(self.client.adopt().await?)
    }

    pub(crate) async fn pause(&self, paused: bool) -> Result<Done, CliError> {
        Ok(if paused { self.client.pause().await? } else { self.client.resume().await? })
    }

    pub(crate) async fn mended(&self, reason: &str) -> Result<Done, CliError> {
        Ok(self.client.mended(reason).await?)
    }

    pub(crate) async fn forget(&self, instance: &str) -> Result<Done, CliError> {
        Ok(self.client.forget(instance).await?)
    }

    pub(crate) async fn mismatches(
        &self,
        operation: Option<&str>,
        limit: u32,
    ) -> Result<Mismatches, CliError> {
        let operation = operation.map(str::to_owned);
        Ok(self.client.mismatches(&MismatchQuery { operation, limit: Some(limit) }).await?)
    }

    pub(crate) async fn audit(&self, before: Option<i64>, limit: u32) -> Result<Audit, CliError> {
        Ok(self.client.audit(&AuditQuery { before, limit: Some(limit) }).await?)
    }
}

fn words(overrides: &[gate::Override]) -> Vec<Override> {
    overrides.iter().cloned().map(Override::from).collect()
}
