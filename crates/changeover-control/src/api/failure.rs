//! How the API says no: the crate's errors in the wire's one shape.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use changeover::StoreError;
use changeover_api::wire::{ErrorBody, ErrorCode, Target, WireError};
use changeover_protocol::control::Refusal;

use crate::error::ControlError;

/// An error on its way out.
#[derive(Debug)]
pub(super) struct Failure(pub(super) WireError);

impl Failure {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(WireError::new(code, message))
    }

    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self(self.0.remedy(remedy))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(ErrorBody { error: self.0 })).into_response()
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let wire = wire_error(&error);
        if wire.code.http_status() >= 500 {
            tracing::warn!(%error, "a request failed");
        }
        Self(wire)
    }
}

/// The wire's form of an error.
#[must_use]
pub fn wire_error(error: &ControlError) -> WireError {
    let code = match error {
        ControlError::Protocol(refusal) => return refused(refusal),
        ControlError::Gates { blocked, .. } => {
            return WireError::new(ErrorCode::Gates, error.to_string())
                .remedy("Wait for what they need, or pass one by --override GATE --reason TEXT")
                .details(serde_json::json!({ "gates": blocked }));
        }
        ControlError::State { .. } | ControlError::NewerState { .. } => ErrorCode::State,
        ControlError::Outdated { .. } => ErrorCode::Outdated,
        ControlError::Disagreement { .. } => ErrorCode::Disagreement,
        ControlError::Store(StoreError::Busy { .. }) => ErrorCode::Refused,
        ControlError::Store(_) => ErrorCode::Store,
        ControlError::Spec(_) | ControlError::Listen { .. } => ErrorCode::Spec,
        ControlError::Refused(_) | ControlError::Over { .. } => ErrorCode::Refused,
        ControlError::GivenUp { .. } => ErrorCode::GivenUp,
        ControlError::Owned { .. } => ErrorCode::Owned,
        ControlError::File { .. } => ErrorCode::File,
        ControlError::Stopped { .. } => ErrorCode::Stopped,
    };
    WireError::new(code, error.to_string())
}

fn refused(refusal: &Refusal) -> WireError {
    let message = refusal.to_string();
    match refusal {
        Refusal::VersionMoved { current } => WireError::new(ErrorCode::VersionMoved, message)
            .details(serde_json::json!({ "target": Target::from(current) })),
        Refusal::IdentityTaken(_) => WireError::new(ErrorCode::IdentityTaken, message),
        Refusal::UnknownInstance(_) => WireError::new(ErrorCode::UnknownInstance, message),
        Refusal::VersionUnknown { .. } => WireError::new(ErrorCode::BadRequest, message),
        _ => WireError::new(ErrorCode::Refused, message),
    }
}
