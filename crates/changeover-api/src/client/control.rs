//! What a person or a program asks of a running migration. Each call is one request.

use std::path::Path;
use std::time::Duration;

use reqwest::header::HeaderValue;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ClientError;
use super::http::{Call, Http};
use super::peers::Source;
use crate::runfile::RunFile;
use crate::wire::asked::{MAX_WHO, MAX_WHY, WHO, WHY, on_one_line};
use crate::wire::{
    Adopt, Advance, Audit, AuditQuery, Done, Flag, Mended, MismatchQuery, Mismatches, Moved, Retire,
    Rollback, Status, TargetAnswer, Verify,
};

/// For what only reads memory and a small state.
const SOON: Duration = Duration::from_secs(10);

/// For moves: longer than the control plane's own patience, after which it answers that the move is under way.
const MOVE: Duration = Duration::from_secs(240);

/// A client of a running migration's control plane. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ControlClient {
    http: Http,
    /// Who asks, and why.
    asked: Vec<(&'static str, HeaderValue)>,
}

impl ControlClient {
    /// The client of the run whose file this is; the migration's name is the file's.
    ///
    /// # Errors
    /// [`ClientError::RunFile`]: there is no such file, or it isn't one.
    pub fn of_run(run_file: &Path) -> Result<Self, ClientError> {
        // Read once now, so that a missing run is told as such and not by the first request.
        RunFile::read(run_file)?;
        let name = run_file.file_stem().unwrap_or_default().to_string_lossy();
        Self::new(&name, Source::RunFile(run_file.to_owned()))
    }

    /// The client of a migration's control plane, wherever it is. No request is made yet.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn new(migration: &str, source: Source) -> Result<Self, ClientError> {
        Ok(Self { http: Http::new(migration, source)?, asked: Vec::new() })
    }

    /// Says who asks, as in `ann@db-admin-1`, for the audit.
    ///
    /// # Errors
    /// [`ClientError::TooLong`] above [`MAX_WHO`] characters.
    pub fn by(self, who: &str) -> Result<Self, ClientError> {
        self.saying(WHO, who, MAX_WHO)
    }

    /// Says why all of this client's requests are made, for the audit.
    ///
    /// # Errors
    /// [`ClientError::TooLong`] above [`MAX_WHY`] characters.
    pub fn because(self, why: &str) -> Result<Self, ClientError> {
        self.saying(WHY, why, MAX_WHY)
    }

    fn saying(mut self, name: &'static str, text: &str, most: usize) -> Result<Self, ClientError> {
        let text = on_one_line(text);
        let length = text.chars().count();
        let too_long = || ClientError::TooLong { what: name, length, most };
        if length > most {
            return Err(too_long());
        }
        // On one line all text is a header's value.
        let value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| too_long())?;
        self.asked.retain(|(said, _)| *said != name);
        self.asked.push((name, value));
        Ok(self)
    }

    /// The migration's name.
    #[must_use]
    pub fn migration(&self) -> &str {
        self.http.migration()
    }

    /// How the migration stands.
    ///
    /// # Errors
    /// [`ClientError`], as of every call here: out of reach, or what the control plane says.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.ask("status", "asking for the status").await
    }

    /// The flag.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn flag(&self) -> Result<Flag, ClientError> {
        self.ask("flag", "asking for the flag").await
    }

    /// The present target.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn target(&self) -> Result<TargetAnswer, ClientError> {
        self.ask("target", "asking for the target").await
    }

    /// Goes forward, and answers when the move has come to an end, or is known to take long. Dropping the call doesn't
    /// stop the move.
    ///
    /// # Errors
    /// As [`Self::status`]; with code `gates` if gates are closed, `given-up` if the move went back. After
    /// [`ClientError::NoAnswer`] the status says what became of it.
    pub async fn advance(&self, request: &Advance) -> Result<Moved, ClientError> {
        self.tell("advance", "advance", request, MOVE).await
    }

    /// Goes back.
    ///
    /// # Errors
    /// As [`Self::advance`], but for the gates.
    pub async fn rollback(&self, request: &Rollback) -> Result<Moved, ClientError> {
        self.tell("rollback", "rollback", request, MOVE).await
    }

    /// Ends the migration.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub async fn retire(&self, request: &Retire) -> Result<Moved, ClientError> {
        self.tell("retire", "retire", request, MOVE).await
    }

    /// Goes back to `old` and removes what was installed.
    ///
    /// # Errors
    /// As [`Self::rollback`]; with code `refused` once the new side is the authority.
    pub async fn abort(&self) -> Result<Moved, ClientError> {
        self.tell("abort", "abort", &Nothing {}, MOVE).await
    }

    /// Takes what the databases say for the state.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn adopt(&self, request: &Adopt) -> Result<Moved, ClientError> {
        self.tell("adopt", "adopt", request, MOVE).await
    }

    /// Lets backfill and verification rest.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn pause(&self) -> Result<Done, ClientError> {
        self.tell("pause", "pause", &Nothing {}, SOON).await
    }

    /// Lets backfill and verification go on.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn resume(&self) -> Result<Done, ClientError> {
        self.tell("resume", "resume", &Nothing {}, SOON).await
    }

    /// Says that what caused the mismatches so far was mended: comparisons count anew, and the audit says why.
    ///
    /// # Errors
    /// As [`Self::status`]; without a reason.
    pub async fn mended(&self, reason: &str) -> Result<Done, ClientError> {
        self.tell("mended", "mended", &Mended { reason: reason.to_owned() }, SOON).await
    }

    /// Begins a full verification; the status shows how far it is.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn verify(&self, request: Verify) -> Result<Done, ClientError> {
        self.tell("verify", "verify", &request, SOON).await
    }

    /// Declares an instance gone: its process *and* its step file. An unclean event.
    ///
    /// # Errors
    /// As [`Self::status`]; with code `unknown-instance` if nobody of this name is counted.
    pub async fn forget(&self, instance: &str) -> Result<Done, ClientError> {
        let doing = format!("forgetting {instance}");
        let path = self.http.instance_path(instance, "forget");
        self.http.send(Call::post(path, doing, SOON).headers(&self.asked).json(&Nothing {})?).await
    }

    /// The mismatches that are kept.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn mismatches(&self, query: &MismatchQuery) -> Result<Mismatches, ClientError> {
        let limit = query.limit.map(|n| n.to_string());
        let rest = with_query(
            "mismatches",
            &[("operation", query.operation.as_deref()), ("limit", limit.as_deref())],
        );
        self.ask(&rest, "asking for the mismatches").await
    }

    /// The audit, newest first.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn audit(&self, query: &AuditQuery) -> Result<Audit, ClientError> {
        let (before, limit) = (query.before.map(|n| n.to_string()), query.limit.map(|n| n.to_string()));
        let rest = with_query("audit", &[("before", before.as_deref()), ("limit", limit.as_deref())]);
        self.ask(&rest, "asking for the audit").await
    }

    async fn ask<A: DeserializeOwned>(&self, rest: &str, doing: &str) -> Result<A, ClientError> {
        self.http.send(Call::get(self.http.path(rest), doing, SOON)).await
    }

    async fn tell<A: DeserializeOwned>(
        &self,
        rest: &str,
        doing: &str,
        request: &impl Serialize,
        within: Duration,
    ) -> Result<A, ClientError> {
        let call = Call::post(self.http.path(rest), doing, within).headers(&self.asked);
        self.http.send(call.json(request)?).await
    }
}

/// A request that has nothing to say.
#[derive(Debug, Serialize)]
struct Nothing {}

fn with_query(rest: &str, fields: &[(&str, Option<&str>)]) -> String {
    let given: Vec<_> = fields
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", crate::wire::path::escaped((*value)?))))
        .collect();
    if given.is_empty() { rest.to_owned() } else { format!("{rest}?{}", given.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_escaped() {
        assert_eq!(with_query("audit", &[("before", None), ("limit", None)]), "audit");
        let rest = with_query("mismatches", &[("operation", Some("a&b=c d")), ("limit", Some("5"))]);
        assert_eq!(rest, "mismatches?operation=a%26b%3Dc%20d&limit=5");
    }
}
