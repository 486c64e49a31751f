//! The messages of the control plane's HTTP API, and its paths. Version 1; JSON throughout.
//!
//! All paths lie under `/v1/migrations/NAME/`; [`path`] has them. Every request but the flag's brings the run's token as
//! `Authorization: Bearer TOKEN`. Times are in milliseconds since 1970 (`…_ms` of a moment) or in milliseconds (of a
//! length); names are the design's, in kebab-case.
//!
//! A request may say who makes it, and why, in the headers of [`asked`]: the audit keeps both.
//!
//! Requests refuse fields that they don't know, so that a slip isn't taken for a wish; answers may gain fields, and
//! whoever reads them passes over what it doesn't know. An error is always an [`ErrorBody`].
//!
//! | method and path | request | answer |
//! |---|---|---|
//! | `GET flag` | | [`Flag`] |
//! | `GET target` | | [`TargetAnswer`] |
//! | `GET events` | `Last-Event-ID` | server-sent events: `target`, whose id is the version and whose data is a [`Target`] |
//! | `POST instances` | [`Register`] | [`TargetAnswer`]; `version-moved` (409) with the present target in its details |
//! | `POST instances/ID/resume` | [`Resume`] | [`TargetAnswer`]; `unknown-instance` (410) |
//! | `POST instances/ID/heartbeat` | [`Heartbeat`] | [`TargetAnswer`]; `unknown-instance` (410) |
//! | `POST instances/ID/acknowledge` | [`Acknowledge`] | [`TargetAnswer`]; `unknown-instance` (410) |
//! | `POST instances/ID/evidence` | [`EvidenceBatch`] | [`EvidenceTaken`] |
//! | `POST instances/ID/goodbye` | | [`Done`] |
//! | `POST instances/ID/forget` | | [`Done`] |
//! | `GET status` | | [`Status`] |
//! | `GET mismatches` | [`MismatchQuery`] in the query | [`Mismatches`] |
//! | `GET audit` | [`AuditQuery`] in the query | [`Audit`] |
//! | `POST advance` | [`Advance`] | [`Moved`]; `gates` (409), `given-up` (409) |
//! | `POST rollback` | [`Rollback`] | [`Moved`] |
//! | `POST retire` | [`Retire`] | [`Moved`] |
//! | `POST abort` | | [`Moved`] |
//! | `POST adopt` | [`Adopt`] | [`Moved`] |
//! | `POST pause`, `POST resume` | | [`Done`] |
//! | `POST verify` | [`Verify`] | [`Done`] |
//! | `POST mended` | [`Mended`] | [`Done`] |

pub mod asked;
mod error;
mod evidence;
mod fleet;
mod operator;
pub mod path;
mod status;
mod target;

pub use self::error::{ErrorBody, ErrorCode, WireError};
pub use self::evidence::{
    EventReport, EvidenceBatch, EvidenceTaken, MAX_EVENTS, MAX_SAMPLES, OperationEvidence, SampleReport,
    SideEvidence,
};
pub use self::fleet::{
    Acknowledge, Flag, Heartbeat, InstanceSettings, Redact, Register, Resume, Route, TargetAnswer, Vitals,
};
pub use self::operator::{
    Adopt, Advance, Audit, AuditEntry, AuditQuery, Done, Mended, Mismatch, MismatchQuery, Mismatches, Moved,
    Override, Retire, Rollback, Verify,
};
pub use self::status::{
    Alert, BackfillStatus, ComparisonStatus, GateStatus, Ghost, Installed, InstanceStatus, LogStatus, Moving,
    Next, RoadStatus, RollbackStatus, Status, StatusSource, TableBackfill, Trouble, VerificationResult,
    VerificationStatus,
};
pub use self::target::{Assignment, Target};
