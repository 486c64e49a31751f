//! What can go wrong between a client and the control plane.

use std::time::Duration;

use changeover::NoRuntime;
use changeover::switch::{DriverGone, MemoryError};

use crate::runfile::RunFileError;
use crate::wire::{ErrorCode, WireError};

/// An error of a client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The control plane said no.
    #[error("{doing}: {error}")]
    Said {
        /// What was being done.
        doing: String,
        /// What it said.
        error: Box<WireError>,
    },
    /// Nobody answers at the address. Nothing was done.
    #[error("{doing}: no control plane answers at {address}: {cause}. Is `changeover run` running?")]
    Unreachable {
        /// What was being done.
        doing: String,
        /// The address that was tried last.
        address: String,
        /// The cause.
        cause: String,
    },
    /// The answer didn't come, or broke off: what was asked for may have been done.
    #[error("{doing}: no answer from {address}: {cause}. It may have been done all the same")]
    NoAnswer {
        /// What was being done.
        doing: String,
        /// The address.
        address: String,
        /// The cause, or how long it was waited.
        cause: String,
    },
    /// What answered isn't a control plane, or not of this version.
    #[error(
        "{doing}: what {address} answered isn't understood: {problem}. Is it a control plane of this version?"
    )]
    Garbled {
        /// What was being done.
        doing: String,
        /// The address.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An address that can't be one.
    #[error("{given:?} isn't the address of a control plane: {problem}")]
    Address {
        /// What was given.
        given: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// What is said of who asks, or why, is too long for the audit.
    #[error("{what} has {length} characters; it may have {most}")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// Its length, in characters.
        length: usize,
        /// The most that it may have.
        most: usize,
    },
    /// The run file.
    #[error(transparent)]
    RunFile(#[from] RunFileError),
    /// The instance's step file.
    #[error(transparent)]
    StepFile(#[from] MemoryError),
    /// An instance without a step file can't start while the control plane is away: it would have to guess.
    #[error("instance {instance} can't start: it has no step to go on from, and must not guess. {cause}")]
    RefusesToGuess {
        /// The instance.
        instance: String,
        /// Why the control plane couldn't be asked.
        cause: Box<Self>,
    },
    /// The target moved on each time that the registration arrived.
    #[error("instance {instance} can't register: the target moved on {tries} times meanwhile. Try again")]
    NeverCurrent {
        /// The instance.
        instance: String,
        /// How often it was tried.
        tries: u32,
    },
    /// The control plane didn't hear the goodbye: it counts the instance until it is forgotten.
    #[error(
        "instance {instance} has stopped, but the control plane didn't hear its goodbye within {} ms ({cause}): \
         moves wait for it until `changeover instances forget {instance}`", waited.as_millis()
    )]
    GoodbyeUnheard {
        /// The instance.
        instance: String,
        /// How long it was tried.
        waited: Duration,
        /// Why.
        cause: String,
    },
    /// Operations that are under way don't end, or keys in the instance's journal stay dirty.
    #[error(
        "instance {instance} can't stop: operations are still under way, or keys dirty, after {} ms",
        waited.as_millis()
    )]
    StillRunning {
        /// The instance.
        instance: String,
        /// How long it was waited.
        waited: Duration,
    },
    /// The switch isn't driven any more.
    #[error(transparent)]
    Driver(#[from] DriverGone),
    /// The switch can't be driven.
    #[error(transparent)]
    NoRuntime(#[from] NoRuntime),
    /// The operating system has no random numbers, or the HTTP client can't be made.
    #[error("{doing}: {cause}")]
    Machine {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        cause: String,
    },
}

impl ClientError {
    /// Whether the same call may succeed later with nothing else changed.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Said { error, .. } => error.code.retryable(),
            Self::Unreachable { .. }
            | Self::NoAnswer { .. }
            | Self::NeverCurrent { .. }
            | Self::StillRunning { .. } => true,
            Self::RunFile(error) => matches!(error, RunFileError::None { .. } | RunFileError::Io { .. }),
            Self::RefusesToGuess { cause, .. } => cause.retryable(),
            Self::Garbled { .. }
            | Self::Address { .. }
            | Self::TooLong { .. }
            | Self::StepFile(_)
            | Self::GoodbyeUnheard { .. }
            | Self::Driver(_)
            | Self::NoRuntime(_)
            | Self::Machine { .. } => false,
        }
    }

    /// The exit code of a command that ends by it: 1 the answer is no, 2 usage, 3 out of reach.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Said { error, .. } => error.code.exit_code(),
            Self::Address { .. } | Self::TooLong { .. } | Self::RunFile(RunFileError::Several { .. }) => 2,
            _ => 3,
        }
    }

    /// The code of what the control plane said, if it said something.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Said { error, .. } => Some(error.code),
            _ => None,
        }
    }

    /// What the control plane said, with its remedy and its details.
    #[must_use]
    pub fn wire(&self) -> Option<&WireError> {
        match self {
            Self::Said { error, .. } => Some(error),
            _ => None,
        }
    }
}
