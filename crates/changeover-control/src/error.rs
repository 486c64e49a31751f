//! What can go wrong in the control plane, each with its context, its remedy, and whether trying again may help.

use std::path::PathBuf;

use changeover::StoreError;

/// What an error means for whoever asked: the exit codes of the command and the status codes of the API follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The answer is no: a gate is shut, a move was given up, a difference was found.
    No,
    /// The call or the spec is wrong.
    Usage,
    /// A store or a server is out of reach.
    OutOfReach,
}

/// An error of the control plane.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The state's file can't be read or written.
    #[error("state {}: {doing}: {cause}. {remedy}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The cause.
        cause: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The state was written by a newer version.
    #[error(
        "state {}: it has format {found}, and this version knows formats up to {known}. \
         Use the newer version that wrote it", path.display()
    )]
    NewerState {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// Somebody else wrote the control record meanwhile.
    #[error(
        "the control record changed meanwhile (expected revision {expected}): another run may be at work"
    )]
    Outdated {
        /// The revision that was expected.
        expected: u64,
    },
    /// The state and the databases disagree.
    #[error("{problem}. The databases win; nothing is done until you say `changeover adopt`")]
    Disagreement {
        /// Where they disagree.
        problem: String,
    },
    /// The protocol refuses.
    #[error("{0}")]
    Protocol(changeover_protocol::control::Refusal),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The spec asks for what can't be.
    #[error("{0}")]
    Spec(String),
    /// A call that makes no sense as things stand.
    #[error("{0}")]
    Refused(String),
    /// The migration was retired: nothing can be asked of it any more.
    #[error(
        "the migration `{migration}` is over: it was retired on {since}. To begin another, give its spec a name of its own; \
         to use this name once more, remove {state} first"
    )]
    Over {
        /// Its name.
        migration: String,
        /// When it was retired.
        since: String,
        /// Its state.
        state: String,
    },
    /// A gate is shut.
    #[error("not into {into} yet: {}", blocked.join("; "))]
    Gates {
        /// The phase.
        into: String,
        /// Each gate that is shut, and why.
        blocked: Vec<String>,
    },
    /// A move was begun and given up.
    #[error("the move to {to} was given up, and the migration is back in {back_in}: {why}")]
    GivenUp {
        /// Where to.
        to: String,
        /// Where it is.
        back_in: String,
        /// Why.
        why: String,
    },
    /// A migration is run twice, or two migrations are in each other's way.
    #[error("{what} is taken by {holder}. {remedy}")]
    Owned {
        /// The migration or the table.
        what: String,
        /// By whom.
        holder: String,
        /// What to do.
        remedy: String,
    },
    /// The address can't be listened on.
    #[error("{address} can't be listened on: {cause}. Name another by --listen ADDRESS")]
    Listen {
        /// The address.
        address: String,
        /// The cause.
        cause: String,
    },
    /// A file can't be read or written.
    #[error("{}: {doing}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The cause.
        cause: String,
    },
    /// A part of the run stopped that should have gone on.
    #[error("{part} stopped: {cause}")]
    Stopped {
        /// The part.
        part: &'static str,
        /// The cause.
        cause: String,
    },
}

impl ControlError {
    /// Whether the same call may succeed later with nothing else changed.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.retryable(),
            Self::Gates { .. } | Self::GivenUp { .. } | Self::Outdated { .. } => true,
            _ => false,
        }
    }

    /// What the error means for whoever asked.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Spec(_) | Self::NewerState { .. } | Self::Listen { .. } => ErrorClass::Usage,
            Self::Store(StoreError::Unreachable { .. } | StoreError::BrokenOff { .. }) => {
                ErrorClass::OutOfReach
            }
            Self::State { .. } | Self::File { .. } | Self::Stopped { .. } => ErrorClass::OutOfReach,
            _ => ErrorClass::No,
        }
    }

    /// A stable name for the wire.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::State { .. } | Self::NewerState { .. } => "state",
            Self::Outdated { .. } => "outdated",
            Self::Disagreement { .. } => "disagreement",
            Self::Store(_) => "store",
            Self::Protocol(_) => "protocol",
            Self::Spec(_) => "spec",
            Self::Refused(_) => "refused",
            Self::Over { .. } => "over",
            Self::Gates { .. } => "gates",
            Self::GivenUp { .. } => "given-up",
            Self::Owned { .. } => "owned",
            Self::Listen { .. } => "listen",
            Self::File { .. } => "file",
            Self::Stopped { .. } => "stopped",
        }
    }

    pub(crate) fn file(path: &std::path::Path, doing: &'static str, cause: &dyn std::fmt::Display) -> Self {
        Self::File { path: path.to_owned(), doing, cause: cause.to_string() }
    }
}
