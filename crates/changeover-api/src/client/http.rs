//! Requests to the control plane: bounded in time and size, with the token, at the next place when one fails.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ClientError;
use super::peers::{Peer, Peers, Source};
use crate::wire::{ErrorBody, ErrorCode, WireError, path};

/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// How long a connection may take to be made. Loopback and a machine room need milliseconds.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// The HTTP side of one migration. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: reqwest::Client,
    peers: Arc<Peers>,
    migration: Arc<str>,
}

/// One request.
#[derive(Debug)]
pub(super) struct Call {
    method: Method,
    path: String,
    doing: String,
    body: Option<Vec<u8>>,
    within: Duration,
    repeatable: bool,
    headers: Vec<(&'static str, HeaderValue)>,
}

impl Call {
    /// Asks for something.
    pub(super) fn get(path: impl Into<String>, doing: impl Into<String>, within: Duration) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            doing: doing.into(),
            body: None,
            within,
            repeatable: true,
            headers: Vec::new(),
        }
    }

    /// Asks for something to be done.
    pub(super) fn post(path: impl Into<String>, doing: impl Into<String>, within: Duration) -> Self {
        Self { method: Method::POST, repeatable: false, ..Self::get(path, doing, within) }
    }

    /// With this body.
    pub(super) fn json(mut self, body: &impl Serialize) -> Result<Self, ClientError> {
        let text = serde_json::to_vec(body)
            .map_err(|error| ClientError::Machine { doing: "writing a request", cause: error.to_string() })?;
        self.body = Some(text);
        Ok(self)
    }

    /// With these headers.
    pub(super) fn headers(mut self, headers: &[(&'static str, HeaderValue)]) -> Self {
        self.headers.extend_from_slice(headers);
        self
    }

    /// Whether it was done or not, it may be done again: after a lost answer it is sent to the next place.
    pub(super) const fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }
}

impl Http {
    pub(super) fn new(migration: &str, source: Source) -> Result<Self, ClientError> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .pool_idle_timeout(Duration::from_secs(30))
            .build()
            .map_err(|error| ClientError::Machine {
                doing: "making the HTTP client",
                cause: reason(&error),
            })?;
        Ok(Self { client, peers: Arc::new(Peers::new(source)?), migration: migration.into() })
    }

    pub(super) fn migration(&self) -> &str {
        &self.migration
    }

    /// The path of something of an instance, for [`Call`].
    pub(super) fn instance_path(&self, instance: &str, rest: &str) -> String {
        path::of_instance(&self.migration, instance, rest)
    }

    /// The path of something of the migration.
    pub(super) fn path(&self, rest: &str) -> String {
        path::of(&self.migration, rest)
    }

    /// Sends a request and reads its answer. `within` is for each try.
    pub(super) async fn send<A: DeserializeOwned>(&self, call: Call) -> Result<A, ClientError> {
        let mut last = None;
        for _ in 0..self.peers.tries().max(1) {
            let peer = self.peers.current()?;
            let tried = tokio::time::timeout(call.within, self.try_at(&peer, &call)).await;
            let tried = tried.unwrap_or_else(|_| {
                let cause = format!("none within {} ms", call.within.as_millis());
                Err(ClientError::NoAnswer { doing: call.doing.clone(), address: peer.base.clone(), cause })
            });
            let error = match tried {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let try_elsewhere = match &error {
                // Another run, that has another token; or a replica that stops.
                ClientError::Unreachable { .. } => true,
                ClientError::Said { error, .. } => {
                    matches!(error.code, ErrorCode::Token | ErrorCode::Stopped)
                }
                ClientError::NoAnswer { .. } => call.repeatable,
                _ => false,
            };
            if matches!(error, ClientError::NoAnswer { .. }) || try_elsewhere {
                self.peers.move_on(&peer);
            }
            let is_same_place = self.peers.current().is_ok_and(|next| next == peer);
            if !try_elsewhere || is_same_place {
                return Err(error);
            }
            last = Some(error);
        }
        Err(last.unwrap_or_else(|| ClientError::Machine {
            doing: "sending a request",
            cause: "there was nowhere to send it to".to_owned(),
        }))
    }

    async fn try_at<A: DeserializeOwned>(&self, peer: &Peer, call: &Call) -> Result<A, ClientError> {
        let mut request = self
            .client
            .request(call.method.clone(), format!("{}{}", peer.base, call.path))
            .bearer_auth(peer.token.expose());
        for (name, value) in &call.headers {
            request = request.header(*name, value.clone());
        }
        if let Some(body) = &call.body {
            request = request.header("content-type", "application/json").body(body.clone());
        }
        let response = request.send().await.map_err(|error| lost(&call.doing, peer, &error))?;
        answer(response, peer, &call.doing).await
    }

    /// Opens the stream of events; `after` is the id of the last one seen. The answer's body is the stream.
    pub(super) async fn events(&self, after: Option<u64>) -> Result<Stream, ClientError> {
        let peer = self.peers.current()?;
        let doing = "listening for targets";
        let mut request = self
            .client
            .get(format!("{}{}", peer.base, self.path("events")))
            .bearer_auth(peer.token.expose())
            .header("accept", "text/event-stream");
        if let Some(after) = after {
            request = request.header("last-event-id", after.to_string());
        }
        let response = tokio::time::timeout(CONNECT_WITHIN * 2, request.send()).await;
        let opened = match response {
            Ok(Ok(response)) if response.status() == StatusCode::OK => {
                return Ok(Stream { response, peer });
            }
            Ok(Ok(response)) => match answer::<serde_json::Value>(response, &peer, doing).await {
                Err(error) => error,
                Ok(_) => garbled(doing, &peer, "it isn't a stream of events"),
            },
            Ok(Err(error)) => lost(doing, &peer, &error),
            Err(_) => no_answer(doing, &peer, "none in time"),
        };
        self.peers.move_on(&peer);
        Err(opened)
    }

    /// The stream from there broke off: the next one is opened elsewhere, if there is an elsewhere.
    pub(super) fn stream_broke(&self, stream: &Stream) {
        self.peers.move_on(&stream.peer);
    }
}

/// An open stream of events.
pub(super) struct Stream {
    response: Response,
    peer: Peer,
}

impl Stream {
    /// The next bytes; `None` at the end.
    pub(super) async fn bytes(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, ClientError> {
        self.response.chunk().await.map_err(|error| lost("listening for targets", &self.peer, &error))
    }
}

/// Reads an answer: what was asked for, or what is said in its place.
async fn answer<A: DeserializeOwned>(
    mut response: Response,
    peer: &Peer,
    doing: &str,
) -> Result<A, ClientError> {
    let status = response.status();
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(|error| lost(doing, peer, &error))? {
        if body.len() + bytes.len() > MAX_ANSWER_BYTES {
            return Err(garbled(doing, peer, "it is longer than any answer should be"));
        }
        body.extend_from_slice(&bytes);
    }
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|error| garbled(doing, peer, &error.to_string()));
    }
    match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(body) => Err(ClientError::Said { doing: doing.to_owned(), error: Box::new(body.error) }),
        Err(_) if status.is_server_error() => {
            let error = WireError::new(ErrorCode::Internal, format!("it answered {status}"));
            Err(ClientError::Said { doing: doing.to_owned(), error: Box::new(error) })
        }
        Err(_) => Err(garbled(doing, peer, &format!("{status}, without a reason"))),
    }
}

fn garbled(doing: &str, peer: &Peer, problem: &str) -> ClientError {
    ClientError::Garbled { doing: doing.to_owned(), address: peer.base.clone(), problem: problem.to_owned() }
}

fn no_answer(doing: &str, peer: &Peer, cause: &str) -> ClientError {
    ClientError::NoAnswer { doing: doing.to_owned(), address: peer.base.clone(), cause: cause.to_owned() }
}

fn lost(doing: &str, peer: &Peer, error: &reqwest::Error) -> ClientError {
    let cause = reason(error);
    if error.is_connect() {
        return ClientError::Unreachable { doing: doing.to_owned(), address: peer.base.clone(), cause };
    }
    no_answer(doing, peer, &cause)
}

/// The innermost cause: the outer ones only say that there was an error, and repeat the URL.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    // A chain of causes has an end; a bound keeps a strange one from being walked for ever.
    for _ in 0..16 {
        match cause.source() {
            Some(inner) => cause = inner,
            None => break,
        }
    }
    cause.to_string()
}
