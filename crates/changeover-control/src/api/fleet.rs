//! What instances and flag readers ask.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use changeover_api::wire::{
    Acknowledge, Done, EvidenceBatch, EvidenceTaken, Flag, Heartbeat, InstanceSettings, Register, Resume,
    Target, TargetAnswer,
};
use changeover_protocol::control::ControlEvent;
use changeover_protocol::{Control, InstanceId, Version};
use futures_util::Stream;

use super::failure::Failure;
use super::{Json, Shared};
use crate::error::ControlError;
use crate::state::{AuditKind, NewAudit};

/// How often a silent stream says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The longest name of an instance.
const ID_MAX: usize = 100;

type Answer<T> = Result<axum::Json<T>, Failure>;

fn answer(api: &super::Api, record: &Control) -> TargetAnswer {
    TargetAnswer {
        target: Target::from(&record.target),
        settings: InstanceSettings::of(&api.conductor.plan.spec),
    }
}

pub(super) async fn flag(State(api): Shared) -> Answer<Flag> {
    match api.conductor.flag().await {
        Some(phase) => Ok(axum::Json(Flag::from(phase))),
        None => Err(stopped(&api.conductor.stopped().unwrap_or_default())),
    }
}

fn stopped(problem: &str) -> Failure {
    let cause = format!("{problem}: waiting for adopt");
    ControlError::Stopped { part: "the control plane", cause }.into()
}

pub(super) async fn target(State(api): Shared) -> axum::Json<TargetAnswer> {
    axum::Json(answer(&api, &api.conductor.barrier.record()))
}

/// Whether the record is one for this instance to go by. See [`crate::conductor::Conductor::believed`].
async fn believed(api: &super::Api, id: &str, acked: Version) -> Result<(), Failure> {
    let believed = api.conductor.believed(id, acked).await;
    believed.map_err(|cause| ControlError::Stopped { part: "the control plane", cause }.into())
}

pub(super) async fn register(State(api): Shared, Json(request): Json<Register>) -> Answer<TargetAnswer> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let id = request.instance;
    if id.is_empty() || id.len() > ID_MAX || !id.chars().all(plain) {
        let text = format!("an instance is called by letters, digits, `-`, `_` and `.`, at most {ID_MAX}");
        return Err(Failure::new(changeover_api::wire::ErrorCode::BadRequest, text));
    }
    api.conductor.instances_heard().await;
    if let Some(problem) = api.conductor.stopped() {
        return Err(stopped(&problem));
    }
    let event =
        ControlEvent::Register { id: InstanceId::new(id.as_str()), expected: Version(request.expected) };
    let record = api.conductor.barrier.apply(event, line(&api, &id, "registers")).await?;
    Ok(axum::Json(answer(&api, &record)))
}

pub(super) async fn resume(
    State(api): Shared,
    Path(id): Path<String>,
    Json(request): Json<Resume>,
) -> Answer<TargetAnswer> {
    believed(&api, &id, Version(request.version)).await?;
    let event = ControlEvent::Resume { id: InstanceId::new(id.as_str()) };
    let record = api.conductor.barrier.apply(event, line(&api, &id, "goes on from its step file")).await?;
    Ok(axum::Json(answer(&api, &record)))
}

pub(super) async fn heartbeat(
    State(api): Shared,
    Path(id): Path<String>,
    Json(request): Json<Heartbeat>,
) -> Answer<TargetAnswer> {
    believed(&api, &id, Version(request.acked)).await?;
    let event = ControlEvent::Heartbeat {
        id: InstanceId::new(id),
        acked: Version(request.acked),
        vitals: request.vitals.into(),
    };
    let record = api.conductor.barrier.apply(event, None).await?;
    Ok(axum::Json(answer(&api, &record)))
}

pub(super) async fn acknowledge(
    State(api): Shared,
    Path(id): Path<String>,
    Json(request): Json<Acknowledge>,
) -> Answer<TargetAnswer> {
    believed(&api, &id, Version(request.version)).await?;
    let event = ControlEvent::Acknowledge {
        id: InstanceId::new(id),
        version: Version(request.version),
        vitals: request.vitals.into(),
    };
    let record = api.conductor.barrier.apply(event, None).await?;
    Ok(axum::Json(answer(&api, &record)))
}

pub(super) async fn evidence(
    State(api): Shared,
    Path(id): Path<String>,
    Json(batch): Json<EvidenceBatch>,
) -> Answer<EvidenceTaken> {
    Ok(axum::Json(api.conductor.take_evidence(&id, batch).await?))
}

pub(super) async fn goodbye(State(api): Shared, Path(id): Path<String>) -> Answer<Done> {
    let event = ControlEvent::Goodbye { id: InstanceId::new(id.as_str()) };
    api.conductor.barrier.apply(event, line(&api, &id, "says goodbye")).await?;
    Ok(axum::Json(Done { text: format!("instance {id} is no longer counted") }))
}

fn line(api: &super::Api, id: &str, what: &str) -> Option<NewAudit> {
    Some(NewAudit {
        at_ms: api.conductor.clock.now().0,
        who: id.to_owned(),
        kind: AuditKind::Instance,
        text: format!("instance {id} {what}"),
        why: None,
    })
}

/// The targets, as they are published: the present one first. Ends with the run; whoever listens comes again.
pub(super) async fn events(State(api): Shared) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (mut targets, ending) = (api.conductor.barrier.targets(), api.ending.clone());
    targets.mark_changed();
    let stream = futures_util::stream::unfold((targets, ending.clone()), move |(mut targets, ended)| {
        let mut ending = ending.clone();
        async move {
            tokio::select! {
                biased;
                _ = ending.wait_for(|ending| *ending) => return None,
                changed = targets.changed() => changed.ok()?,
            }
            let target = Target::from(&*targets.borrow_and_update());
            let event = Event::default().event("target").id(target.version.to_string());
            let event = event.json_data(&target).ok()?;
            Some((Ok(event), (targets, ended)))
        }
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
