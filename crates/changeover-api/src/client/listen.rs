//! The event stream: targets as soon as they are published, from whichever replica answers.
//!
//! The stream only makes things quicker: what it misses the pulse brings. And it says nothing before the pulse was answered:
//! a run that was started from an older state would tell everybody of a step that was left long ago, and only a beat shows
//! it that it is wrong.

use std::time::Duration;

use changeover::protocol::Target;
use changeover::switch::SwitchHandle;
use tokio::sync::{Notify, watch};

use super::error::ClientError;
use super::http::Http;
use super::pulse::{Answered, stopped};
use super::sse::{SseEvent, SseReader};
use crate::wire;

/// A stream that says nothing for so long, not even a comment, is dead.
const SILENCE: Duration = Duration::from_secs(30);

/// The first pause after a stream that broke off, and the longest.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Listens until it is told to stop; opens the stream anew whenever it breaks.
pub(super) async fn run(
    http: Http,
    switch: SwitchHandle,
    pulse: (&Notify, &Answered),
    mut stop: watch::Receiver<bool>,
) {
    let mut seen = None;
    let mut failures = 0_u32;
    loop {
        let before = seen;
        let ended = tokio::select! {
            ended = listen(&http, &switch, pulse, &mut seen) => ended,
            () = stopped(&mut stop) => return,
        };
        match ended {
            Ended::DriverGone => return,
            Ended::Broke(error) => tracing::debug!(%error, "the event stream broke off"),
        }
        failures = if seen == before { failures.saturating_add(1) } else { 0 };
        let pause = (PAUSE * 2_u32.saturating_pow(failures.min(10))).min(PAUSE_MAX);
        tokio::select! {
            () = tokio::time::sleep(spread(pause)) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

enum Ended {
    DriverGone,
    Broke(String),
}

/// One stream, from its beginning to its end.
async fn listen(
    http: &Http,
    switch: &SwitchHandle,
    (nudge, answers): (&Notify, &Answered),
    seen: &mut Option<u64>,
) -> Ended {
    let opened = switch.now();
    let mut stream = match http.events(*seen).await {
        Ok(stream) => stream,
        Err(error) => return Ended::Broke(error.to_string()),
    };
    let mut reader = SseReader::default();
    let why = loop {
        let bytes = match tokio::time::timeout(SILENCE, stream.bytes()).await {
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) => break "it ended".to_owned(),
            Ok(Err(error)) => break error.to_string(),
            Err(_) => break format!("nothing came for {} s", SILENCE.as_secs()),
        };
        let Ok(events) = reader.take(bytes.as_ref()) else {
            break "an event without an end".to_owned();
        };
        for event in events {
            if !answers.since(opened) {
                // The answer brings the same target.
                nudge.notify_one();
                continue;
            }
            match offer(&event, switch).await {
                Ok(Some(version)) => {
                    *seen = Some(version);
                    nudge.notify_one();
                }
                Ok(None) => {}
                Err(ClientError::Driver(_)) => return Ended::DriverGone,
                // One event that isn't understood says nothing of the next.
                Err(error) => tracing::warn!(%error, "an event was passed over"),
            }
        }
    };
    http.stream_broke(&stream);
    Ended::Broke(why)
}

/// Hands a target to the switch. Its version; none, if the event is of another kind.
async fn offer(event: &SseEvent, switch: &SwitchHandle) -> Result<Option<u64>, ClientError> {
    if event.kind != "target" {
        return Ok(None);
    }
    let garbled = |problem: String| ClientError::Garbled {
        doing: "listening for targets".to_owned(),
        address: "the event stream".to_owned(),
        problem,
    };
    let target: wire::Target =
        serde_json::from_str(&event.data).map_err(|error| garbled(error.to_string()))?;
    let target = Target::try_from(target).map_err(|invalid| garbled(invalid.to_string()))?;
    let version = target.version.0;
    switch.offer(target).await?;
    Ok(Some(version))
}

/// Somewhere between half of it and all of it, so that a fleet whose replica went away doesn't come back as one.
fn spread(pause: Duration) -> Duration {
    let mut byte = [0_u8];
    // Without randomness all come at once, which is bad and no reason to fail.
    let _ = getrandom::fill(&mut byte);
    pause / 2 + pause * u32::from(byte[0]) / 512
}
