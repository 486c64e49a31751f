//! The control plane's state, behind one narrow trait: what must outlive a process and isn't the databases' to say.
//!
//! The follower is the truth on chunk marks, the authority on dirty keys and the fence; what is kept here is the
//! target, the acknowledgements, the audit and the evidence. Every write of the control record carries a
//! precondition, and takes its audit entries along: no move without its line in the audit.
//!
//! [`SqliteState`] keeps it in one file. Whatever comes beside it passes the suite in `conformance`.

#[cfg(test)]
pub(crate) mod conformance;
mod records;
mod sqlite;
mod sqlite_evidence;
mod sqlite_file;

use async_trait::async_trait;

pub use self::records::{
    AuditEntry, AuditKind, Counter, EvidenceKey, EvidenceSum, GenerationRecord, MAX_SAMPLE_BYTES, NewAudit,
    NewSample, Revision, Sample, Saved, VerificationRecord,
};
pub use self::sqlite::SqliteState;
pub use self::sqlite_file::STATE_FORMAT;
use crate::error::ControlError;

/// How many kinds of mismatch are kept for each operation; further ones are only counted.
pub const SAMPLES_PER_OPERATION: usize = 50;

/// How many operations samples are kept for: names come from outside.
pub const SAMPLED_OPERATIONS: usize = 200;

/// The state of one migration.
///
/// # The contract
/// * A call that answers `Ok` is durable: it survives the process and the machine's loss of power.
/// * A call that is dropped may or may not have happened.
/// * [`StateStore::save`] happens wholly or not at all, and only on its revision.
#[async_trait]
pub trait StateStore: Send + Sync + 'static {
    /// An identifier that was drawn when the state was made: another one means that it was deleted and made anew.
    fn state_id(&self) -> &str;

    /// Why what is written from now on won't be found again, if so: a file that somebody has deleted or replaced takes writes
    /// without a word.
    fn lost(&self) -> Option<String> {
        None
    }

    /// The control record and its revision; `None` before the first.
    async fn load(&self) -> Result<Option<Saved>, ControlError>;

    /// Writes the control record if its revision is still `expected` (`Revision(0)`: there is none yet), with these audit
    /// entries, in one transaction. The new revision.
    ///
    /// # Errors
    /// [`ControlError::Outdated`] if somebody else has written it since.
    async fn save(
        &self,
        expected: Revision,
        record: &str,
        audit: &[NewAudit],
    ) -> Result<Revision, ControlError>;

    /// Appends to the audit. The entry's number.
    async fn append_audit(&self, entry: &NewAudit) -> Result<i64, ControlError>;

    /// The audit, newest first: at most `limit` entries with numbers below `before`.
    async fn audit(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditEntry>, ControlError>;

    /// Adds to the evidence's counters. `from`: who reports, and the number of the report, so that one sent twice counts
    /// once; a number at or below the last is answered with `false` and changes nothing.
    async fn add_evidence(
        &self,
        from: (&str, u64),
        counts: &[(EvidenceKey, u64)],
    ) -> Result<bool, ControlError>;

    /// The sums of all counters, by operation, cohort and counter, over windows that begin at `since_ms` or later.
    async fn evidence(&self, since_ms: u64) -> Result<Vec<EvidenceSum>, ControlError>;

    /// Joins windows older than `hourly_before_ms` into hours, and forgets those older than `forget_before_ms`.
    async fn compact_evidence(
        &self,
        hourly_before_ms: u64,
        forget_before_ms: u64,
    ) -> Result<(), ControlError>;

    /// Keeps a mismatch, one for each operation and shape; more of the same are counted. `false` if it wasn't kept
    /// because there are [`SAMPLES_PER_OPERATION`] already.
    async fn add_sample(&self, sample: &NewSample) -> Result<bool, ControlError>;

    /// The mismatches kept, the latest seen first.
    async fn samples(&self, operation: Option<&str>, limit: usize) -> Result<Vec<Sample>, ControlError>;

    /// Forgets all samples: after a repair, or on a new generation.
    async fn clear_samples(&self) -> Result<(), ControlError>;

    /// Keeps the result of a verification.
    async fn put_verification(&self, result: &VerificationRecord) -> Result<(), ControlError>;

    /// The last verifications that ended, newest first.
    async fn verifications(&self, limit: usize) -> Result<Vec<VerificationRecord>, ControlError>;

    /// Writes down a generation, or what became of it.
    async fn put_generation(&self, generation: &GenerationRecord) -> Result<(), ControlError>;

    /// The newest generation.
    async fn generation(&self) -> Result<Option<GenerationRecord>, ControlError>;

    /// A setting, by name.
    async fn setting(&self, name: &str) -> Result<Option<String>, ControlError>;

    /// Writes a setting; `None` removes it.
    async fn set(&self, name: &str, value: Option<&str>) -> Result<(), ControlError>;
}
