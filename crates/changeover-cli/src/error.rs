//! What can go wrong in a command, and the exit code that follows.

use std::path::PathBuf;
use std::process::ExitCode;

use changeover::StoreError;
use changeover_api::ClientError;
use changeover_api::spec::SpecErrors;
use changeover_control::{ControlError, ErrorClass};

/// How a command ends. Scripts rely on these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It is done.
    Done = 0,
    /// The answer is no: there are differences, a gate is closed, a move was given up.
    No = 1,
    /// The command or the spec is wrong.
    Usage = 2,
    /// A store, a server or a file is out of reach.
    OutOfReach = 3,
}

impl Exit {
    /// The name that `--json` gives.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::No => "no",
            Self::Usage => "usage",
            Self::OutOfReach => "out-of-reach",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error of a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The spec is wrong: where, and what to do.
    #[error(transparent)]
    Spec(#[from] SpecErrors),
    /// The control plane's work failed, in this process.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A running migration said no, or doesn't answer.
    #[error("{}", said(.0))]
    Client(Box<ClientError>),
    /// The command makes no sense as it was given.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What would be right.
        hint: String,
    },
    /// No running migration answers.
    #[error("{message}")]
    NotRunning {
        /// What was looked for, and where.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A file can't be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: String,
        /// What to do about it.
        hint: String,
    },
    /// The machine gives no more.
    #[error("{doing}: {cause}")]
    Machine {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        cause: String,
    },
}

/// What the run said, without what was being asked: whoever asked knows.
fn said(error: &ClientError) -> String {
    error.wire().map_or_else(|| error.to_string(), |wire| wire.message.clone())
}

/// A store that refuses, or is locked, is as good as out of reach; one whose tables are others than the spec says isn't.
const fn of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::Conflict { .. } | StoreError::TooManyConflicts { .. } => Exit::No,
        StoreError::Schema { .. } => Exit::Usage,
        _ => Exit::OutOfReach,
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        Self::Client(Box::new(error))
    }
}

impl CliError {
    /// A command that makes no sense as it was given.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    /// Whether it says only that no run answers.
    pub(crate) fn is_no_answer(&self) -> bool {
        match self {
            Self::Client(error) => matches!(**error, ClientError::Unreachable { .. }),
            Self::NotRunning { .. } => true,
            _ => false,
        }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Spec(_) | Self::Usage { .. } => Exit::Usage,
            Self::Control(ControlError::Store(error)) | Self::Store(error) => of_store(error),
            Self::Control(error) => match error.class() {
                ErrorClass::No => Exit::No,
                ErrorClass::Usage => Exit::Usage,
                ErrorClass::OutOfReach => Exit::OutOfReach,
            },
            Self::Client(error) => match error.exit_code() {
                1 => Exit::No,
                2 => Exit::Usage,
                _ => Exit::OutOfReach,
            },
            Self::NotRunning { .. } | Self::File { .. } | Self::Machine { .. } => Exit::OutOfReach,
        }
    }

    /// A stable name for programs.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Spec(_) => "spec",
            Self::Control(error) => error.code(),
            Self::Store(_) => "store",
            Self::Client(error) => error.code().map_or("unreachable", changeover_api::wire::ErrorCode::name),
            Self::Usage { .. } => "usage",
            Self::NotRunning { .. } => "not-running",
            Self::File { .. } => "file",
            Self::Machine { .. } => "machine",
        }
    }

    /// What to do about it, where the message doesn't say so itself.
    pub(crate) fn hint(&self) -> Option<&str> {
        match self {
            Self::Usage { hint, .. } | Self::NotRunning { hint, .. } | Self::File { hint, .. } => Some(hint),
            Self::Client(error) => error.wire().and_then(|wire| wire.remedy.as_deref()),
            _ => None,
        }
    }

    /// What a program may want to know besides: the gates that are closed.
    pub(crate) fn details(&self) -> Option<&serde_json::Value> {
        match self {
            Self::Client(error) => error.wire().and_then(|wire| wire.details.as_ref()),
            _ => None,
        }
    }

    /// The errors of a spec, each with its place.
    pub(crate) const fn places(&self) -> Option<&SpecErrors> {
        match self {
            Self::Spec(errors) => Some(errors),
            _ => None,
        }
    }
}
