//! A control plane for tests: the protocol's own machine behind a small HTTP server on a loopback port, that loses
//! answers and breaks off streams when it is told to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use changeover::protocol::control::{Control, ControlAction, ControlEvent, Refusal};
use changeover::protocol::{InstanceId, Millis, Place, Settings, Version};
use changeover_api::wire::{
    Acknowledge, Done, ErrorBody, ErrorCode, EvidenceBatch, EvidenceTaken, Heartbeat, InstanceSettings,
    Register, Target, TargetAnswer, WireError,
};
use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// The token of all test planes.
pub(crate) const TOKEN: &str = "s3cret";

/// What a plane does to the next request whose path ends so.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It is carried out, and the connection closed without an answer.
    LoseAnswer(&'static str),
    /// It is answered by this.
    Answer(&'static str, ErrorCode),
    /// Before it is carried out, the target moves on.
    MoveOn(&'static str),
}

/// The state that replicas share.
pub(crate) struct State {
    pub(crate) control: Control,
    pub(crate) batches: Vec<EvidenceBatch>,
    pub(crate) requests: Vec<String>,
    pub(crate) faults: VecDeque<Fault>,
    start: Instant,
    published: watch::Sender<Target>,
}

/// The migration's state. Replicas are servers over it.
#[derive(Clone)]
pub(crate) struct Plane(Arc<Mutex<State>>);

/// One replica, that serves until it is stopped.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    server: AbortHandle,
}

impl Replica {
    /// Closes its port and every connection.
    pub(crate) fn stop(&self) {
        self.server.abort();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Plane {
    pub(crate) fn new(place: Place, settings: Settings) -> Self {
        let mut control = Control::new(settings, Millis(0));
        control.place = place;
        control.target = changeover::protocol::Target::uniform(
            Version(1),
            place.phase.step(),
            place.phase,
            settings.hold_lease_ms,
        );
        let published = watch::Sender::new(Target::from(&control.target));
        let state = State {
            control,
            batches: Vec::new(),
            requests: Vec::new(),
            faults: VecDeque::new(),
            start: Instant::now(),
            published,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    /// How many requests had this end of a path.
    pub(crate) fn count(&self, end: &str) -> usize {
        self.state().requests.iter().filter(|path| path.ends_with(end)).count()
    }

    /// Serves on a port; on any, if it is 0.
    pub(crate) async fn serve(&self, port: u16) -> Replica {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let plane = self.clone();
        let server = tokio::spawn(async move {
            // Aborted with the server, and all connections with it.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(plane.clone().connection(stream));
            }
        });
        Replica { address, server: server.abort_handle() }
    }

    async fn connection(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some((request, body)) = read_request(&mut stream).await {
            if request.path.ends_with("/events") {
                self.stream_events(&mut stream).await;
                return;
            }
            let Some((status, answer)) = self.answer(&request, &body) else { return };
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            if stream.write_all(format!("{head}{answer}").as_bytes()).await.is_err() {
                return;
            }
        }
    }

    async fn stream_events(&self, stream: &mut BufReader<TcpStream>) {
        let mut published = self.state().published.subscribe();
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n: hello\n\n";
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        loop {
            let event = {
                let target = published.borrow_and_update();
                let data = serde_json::to_string(&*target).unwrap();
                format!("event: target\nid: {}\ndata: {data}\n\n", target.version)
            };
            if stream.write_all(event.as_bytes()).await.is_err() || published.changed().await.is_err() {
                return;
            }
        }
    }

    /// The answer; none, if it is lost.
    fn answer(&self, request: &Request, body: &[u8]) -> Option<(u16, String)> {
        let mut state = self.state();
        state.requests.push(request.path.clone());
        if request.token.as_deref() != Some(TOKEN) {
            return Some(no(WireError::new(ErrorCode::Token, "the token is not this run's")));
        }
        let at = state.faults.iter().position(|fault| match fault {
            Fault::LoseAnswer(end) | Fault::Answer(end, _) | Fault::MoveOn(end) => {
                request.path.ends_with(end)
            }
        });
        let fault = at.and_then(|at| state.faults.remove(at));
        match fault {
            Some(Fault::Answer(_, code)) => return Some(no(WireError::new(code, "as the test says"))),
            Some(Fault::MoveOn(_)) => {
                // A move that nobody stands in the way of, as far as the version goes.
                state.control.target.version = state.control.target.version.next();
            }
            _ => {}
        }
        let answer = state.route(&request.path, body);
        (!matches!(fault, Some(Fault::LoseAnswer(_)))).then_some(answer)
    }

    /// Tells the machine something from outside, and carries out what it says.
    pub(crate) fn tell(&self, event: ControlEvent) -> Result<(), Refusal> {
        self.state().apply(event)
    }
}

impl State {
    fn now(&self) -> Millis {
        Millis(u64::try_from(self.start.elapsed().as_millis()).unwrap())
    }

    fn apply(&mut self, event: ControlEvent) -> Result<(), Refusal> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let change = self.control.apply(self.now(), event)?;
            self.control = change.next;
            for action in change.actions {
                match action {
                    ControlAction::Publish(target) => {
                        self.published.send_replace(Target::from(&target));
                    }
                    ControlAction::BeginGeneration { generation, .. } => {
                        events.push_back(ControlEvent::GenerationDone { generation });
                    }
                    ControlAction::CheckSync { version } => events.push_back(ControlEvent::KeysInSync {
                        version,
                        dirty: 0,
                        backfill_under_way: false,
                    }),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn route(&mut self, path: &str, body: &[u8]) -> (u16, String) {
        let path = path.strip_prefix("/v1/migrations/bookings/").unwrap_or_default().to_owned();
        let parts: Vec<&str> = path.split('/').collect();
        let event = match parts.as_slice() {
            ["target"] => return yes(&self.present()),
            ["flag"] => return yes(&json!({"flag": 1, "phase": "shadow"})),
            ["instances"] => {
                let request: Register = serde_json::from_slice(body).unwrap();
                ControlEvent::Register {
                    id: InstanceId::new(request.instance),
                    expected: Version(request.expected),
                }
            }
            ["instances", id, "resume"] => ControlEvent::Resume { id: InstanceId::new(*id) },
            ["instances", id, "heartbeat"] => {
                let request: Heartbeat = serde_json::from_slice(body).unwrap();
                let (acked, vitals) = (Version(request.acked), request.vitals.into());
                ControlEvent::Heartbeat { id: InstanceId::new(*id), acked, vitals }
            }
            ["instances", id, "acknowledge"] => {
                let request: Acknowledge = serde_json::from_slice(body).unwrap();
                let (version, vitals) = (Version(request.version), request.vitals.into());
                ControlEvent::Acknowledge { id: InstanceId::new(*id), version, vitals }
            }
            ["instances", id, "goodbye"] => ControlEvent::Goodbye { id: InstanceId::new(*id) },
            ["instances", _, "evidence"] => {
                let batch: EvidenceBatch = serde_json::from_slice(body).unwrap();
                let number = batch.number;
                let again = self.batches.iter().any(|kept| kept.number == number);
                if !again {
                    self.batches.push(batch);
                }
                return yes(&EvidenceTaken { number, again });
            }
            _ => return no(WireError::new(ErrorCode::NotFound, format!("there is no {path}"))),
        };
        let is_goodbye = matches!(event, ControlEvent::Goodbye { .. });
        match self.apply(event) {
            Ok(()) if is_goodbye => yes(&Done { text: "goodbye".to_owned() }),
            Ok(()) => yes(&self.present()),
            Err(refusal) => no(refused(&refusal)),
        }
    }

    fn present(&self) -> TargetAnswer {
        TargetAnswer {
            target: Target::from(&self.control.target),
            settings: InstanceSettings::from(&self.control.settings),
        }
    }
}

fn refused(refusal: &Refusal) -> WireError {
    let code = match refusal {
        Refusal::VersionMoved { .. } => ErrorCode::VersionMoved,
        Refusal::IdentityTaken(_) => ErrorCode::IdentityTaken,
        Refusal::UnknownInstance(_) => ErrorCode::UnknownInstance,
        _ => ErrorCode::Refused,
    };
    let error = WireError::new(code, refusal.to_string());
    match refusal {
        Refusal::VersionMoved { current } => error.details(json!({"target": Target::from(current)})),
        _ => error,
    }
}

fn yes(answer: &impl Serialize) -> (u16, String) {
    (200, serde_json::to_string(answer).unwrap())
}

fn no(error: WireError) -> (u16, String) {
    (error.code.http_status(), serde_json::to_string(&ErrorBody { error }).unwrap())
}

struct Request {
    path: String,
    token: Option<String>,
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<(Request, Vec<u8>)> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|&n| n > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut token) = (0, None);
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok().filter(|&n| n > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => token = value.strip_prefix("Bearer ").map(str::to_owned),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((Request { path, token }, body))
}
