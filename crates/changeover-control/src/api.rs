//! The control plane's HTTP API: version 1, as `changeover_api::wire` documents it.
//!
//! It listens on loopback unless told otherwise. Every request is guarded (token, Host, Origin), bounded (body, time,
//! connections) and answered in one shape. Nothing here decides: handlers hand events to the barrier and requests to the
//! conductor.

mod asked;
mod failure;
mod fleet;
mod guard;
mod listen;
pub(crate) mod metrics;
mod operator;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use changeover_api::wire::ErrorCode;
use changeover_api::wire::path::ROOT;
use tokio::sync::watch;

use self::failure::Failure;
pub use self::failure::wire_error;
use self::guard::Guard;
pub(crate) use self::listen::Bound;
use crate::conductor::Conductor;

/// The longest body that is read: a batch of evidence, with room.
const BODY_BYTES: usize = 4 << 20;

/// How long a request may take; asking for a move has longer, and streams have no end.
const REQUEST_WITHIN: Duration = Duration::from_secs(20);
const MOVE_WITHIN: Duration = Duration::from_secs(200);

/// What every handler has.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) conductor: Arc<Conductor>,
    /// Turns true when the run ends: streams end then.
    pub(crate) ending: watch::Receiver<bool>,
}

/// Serves until `ending` turns true; then lets what is under way end, for a moment.
///
/// # Errors
/// None that a caller could act on: a listener that fails is logged, and tried again by itself.
pub(crate) async fn serve(bound: Bound, listen_host: &str, token: String, api: Api) {
    let guard = Guard { token, listen_host: guard::host_name(listen_host).to_owned() };
    let mut ending = api.ending.clone();
    let app = router(api, guard);
    let end = async move {
        // A sender that is gone is an end as well.
        let _ = ending.wait_for(|ending| *ending).await;
    };
    if let Err(error) = axum::serve(bound, app).with_graceful_shutdown(end).await {
        tracing::error!(%error, "the API has ended");
    }
}

fn router(api: Api, guard: Guard) -> Router {
    let name = api.conductor.plan.name.clone();
    let quick = Router::new()
        .route("/flag", get(fleet::flag))
        .route("/target", get(fleet::target))
        .route("/instances", post(fleet::register))
        .route("/instances/{id}/resume", post(fleet::resume))
        .route("/instances/{id}/heartbeat", post(fleet::heartbeat))
        .route("/instances/{id}/acknowledge", post(fleet::acknowledge))
        .route("/instances/{id}/evidence", post(fleet::evidence))
        .route("/instances/{id}/goodbye", post(fleet::goodbye))
        .route("/instances/{id}/forget", post(operator::forget))
        .route("/status", get(operator::status))
        .route("/mismatches", get(operator::mismatches))
        .route("/mended", post(operator::mended))
        .route("/audit", get(operator::audit))
        .route("/pause", post(operator::pause))
        .route("/resume", post(operator::resume))
        .route("/verify", post(operator::verify))
        .layer(middleware::from_fn(|request: Request, next: Next| within(REQUEST_WITHIN, request, next)));
    let moves = Router::new()
        .route("/advance", post(operator::advance))
        .route("/rollback", post(operator::rollback))
        .route("/retire", post(operator::retire))
        .route("/abort", post(operator::abort))
        .route("/adopt", post(operator::adopt))
        .layer(middleware::from_fn(|request: Request, next: Next| within(MOVE_WITHIN, request, next)));
    let of_migration = quick.merge(moves).route("/events", get(fleet::events));
    Router::new()
        .nest(&format!("{ROOT}/{name}"), of_migration)
        .route("/metrics", get(metrics::show))
        .fallback(async move |request: Request| {
            let text = format!("there is no {} {} here", request.method(), request.uri().path());
            Failure::new(ErrorCode::NotFound, text).remedy(format!("This run has the migration `{name}`"))
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn(asked::know))
        .layer(middleware::from_fn_with_state(guard, guard::check))
        .with_state(api)
}

async fn within(limit: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let text = format!("no answer within {} s; what was asked for may go on", limit.as_secs());
            Failure::new(ErrorCode::Stopped, text).remedy("Look at `changeover status`").into_response()
        }
    }
}

/// What the handlers' state gives them.
type Shared = State<Api>;

/// A body in JSON. What isn't understood is answered in the one shape.
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> axum::extract::FromRequest<S> for Json<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let bytes = axum::body::Bytes::from_request(request, state).await.map_err(|cause| {
            let code = match cause.status().as_u16() {
                413 => ErrorCode::TooLarge,
                _ => ErrorCode::BadRequest,
            };
            Failure::new(code, cause.body_text()).into_response()
        })?;
        // No body is an empty request.
        let bytes = if bytes.is_empty() { axum::body::Bytes::from_static(b"{}") } else { bytes };
        serde_json::from_slice(&bytes).map(Json).map_err(|cause| {
            Failure::new(ErrorCode::BadRequest, format!("the body isn't understood: {cause}")).into_response()
        })
    }
}
