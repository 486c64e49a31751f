//! How the API says no: one shape for every error, with a code that programs can rely on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The body of every answer that isn't a success: `{"error": {"code": …, "message": …, "remedy": …}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: WireError,
}

/// An error as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WireError {
    /// What kind it is. A code doesn't change its meaning.
    pub code: ErrorCode,
    /// What is wrong, in a sentence for a person.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What a program may want to know: `{"target": …}` with `version-moved`, `{"gates": […]}` with `gates`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
}

impl WireError {
    /// An error without a remedy.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), remedy: None, details: None }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// The same with something for programs.
    #[must_use]
    pub fn details(self, details: serde_json::Value) -> Self {
        Self { details: Some(details), ..self }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, ". {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for WireError {}

/// The kinds of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The request isn't understood: not JSON, a field too many or too few, a value out of range.
    BadRequest,
    /// There is no such path, or no such migration here.
    NotFound,
    /// A token is missing, or isn't this run's.
    Token,
    /// The `Host` isn't one of this server's.
    Host,
    /// A page of another origin may not call this.
    Origin,
    /// The body is longer than it may be.
    TooLarge,
    /// Too many at once: later.
    TooMany,
    /// The target is of another version than the registration expected; the details have it. Register again.
    VersionMoved,
    /// This identity is counted, or was. Take another.
    IdentityTaken,
    /// The barrier doesn't count this instance: it said goodbye or was forgotten. Stop, or register anew.
    UnknownInstance,
    /// What was asked for can't be done as things stand.
    Refused,
    /// Gates are closed; the details have them.
    Gates,
    /// A move was begun, and went back.
    GivenUp,
    /// State and databases disagree, and nothing is done until `adopt`.
    Disagreement,
    /// Another run has this migration, or another migration these tables.
    Owned,
    /// Somebody else wrote the state meanwhile.
    Outdated,
    /// The spec is wrong, or changed in a way that it can't.
    Spec,
    /// A store is out of reach, or refuses.
    Store,
    /// The control plane's own state can't be read or written.
    State,
    /// A part of the control plane has stopped, or is stopping.
    Stopped,
    /// A file can't be read or written.
    File,
    /// Something that nobody foresaw.
    Internal,
    /// A code of a newer version.
    #[serde(other)]
    Other,
}

impl ErrorCode {
    /// Every code but `Other`.
    pub const ALL: [Self; 22] = [
        Self::BadRequest,
        Self::NotFound,
        Self::Token,
        Self::Host,
        Self::Origin,
        Self::TooLarge,
        Self::TooMany,
        Self::VersionMoved,
        Self::IdentityTaken,
        Self::UnknownInstance,
        Self::Refused,
        Self::Gates,
        Self::GivenUp,
        Self::Disagreement,
        Self::Owned,
        Self::Outdated,
        Self::Spec,
        Self::Store,
        Self::State,
        Self::Stopped,
        Self::File,
        Self::Internal,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::NotFound => "not-found",
            Self::Token => "token",
            Self::Host => "host",
            Self::Origin => "origin",
            Self::TooLarge => "too-large",
            Self::TooMany => "too-many",
            Self::VersionMoved => "version-moved",
            Self::IdentityTaken => "identity-taken",
            Self::UnknownInstance => "unknown-instance",
            Self::Refused => "refused",
            Self::Gates => "gates",
            Self::GivenUp => "given-up",
            Self::Disagreement => "disagreement",
            Self::Owned => "owned",
            Self::Outdated => "outdated",
            Self::Spec => "spec",
            Self::Store => "store",
            Self::State => "state",
            Self::Stopped => "stopped",
            Self::File => "file",
            Self::Internal => "internal",
            Self::Other => "other",
        }
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Token => 401,
            Self::Origin => 403,
            Self::NotFound => 404,
            Self::VersionMoved
            | Self::IdentityTaken
            | Self::Refused
            | Self::Gates
            | Self::GivenUp
            | Self::Disagreement
            | Self::Owned
            | Self::Outdated => 409,
            Self::UnknownInstance => 410,
            Self::TooLarge => 413,
            Self::Host => 421,
            Self::Spec => 422,
            Self::TooMany => 429,
            Self::Internal | Self::File | Self::Other => 500,
            Self::Store => 502,
            Self::State | Self::Stopped => 503,
        }
    }

    /// The exit code of a command that ends by it: 1 the answer is no, 2 usage or spec, 3 out of reach.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::VersionMoved
            | Self::IdentityTaken
            | Self::UnknownInstance
            | Self::Refused
            | Self::Gates
            | Self::GivenUp
            | Self::Disagreement
            | Self::Owned
            | Self::Outdated
            | Self::Other => 1,
            Self::BadRequest
            | Self::NotFound
            | Self::Token
            | Self::Host
            | Self::Origin
            | Self::TooLarge
            | Self::Spec => 2,
            Self::TooMany | Self::Store | Self::State | Self::Stopped | Self::File | Self::Internal => 3,
        }
    }

    /// Whether the same request may succeed later with nothing else changed.
    #[must_use]
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Self::TooMany | Self::Outdated | Self::Store | Self::State | Self::Stopped | Self::Internal
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_wire_are_the_names() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
            assert!(code.http_status() >= 400 && (1..=3).contains(&code.exit_code()));
        }
        assert_eq!(serde_json::from_str::<ErrorCode>("\"of-next-year\"").unwrap(), ErrorCode::Other);
    }

    #[test]
    fn the_shape_is_the_documented_one() {
        let body = ErrorBody { error: WireError::new(ErrorCode::Gates, "two gates are closed") };
        let text = serde_json::to_string(&body).unwrap();
        assert_eq!(text, r#"{"error":{"code":"gates","message":"two gates are closed"}}"#);
    }
}
