//! What people and programs ask.

use std::path::PathBuf;

use axum::extract::{Path, Query, State};
use changeover_api::wire::{
    Advance, Audit, AuditEntry, AuditQuery, Done, ErrorCode, Mended, Mismatch, MismatchQuery, Mismatches,
    Moved, Override, Retire, Rollback, Status, Verify,
};
use changeover_protocol::gate;
use changeover_protocol::{Phase, Share};

use super::failure::Failure;
use super::{Json, Shared};
use crate::conductor;
use crate::evidence::SAMPLES_DROPPED;
use crate::status;

type Answer<T> = Result<axum::Json<T>, Failure>;

/// The most that one page has.
const PAGE_MAX: u32 = 1_000;

pub(super) async fn status(State(api): Shared) -> Answer<Status> {
    Ok(axum::Json(status::of_run(&api.conductor).await?))
}

fn share(percent: Option<f64>) -> Result<Share, Failure> {
    let Some(percent) = percent else { return Ok(Share::ALL) };
    Share::percent(percent).ok_or_else(|| {
        Failure::new(ErrorCode::BadRequest, format!("{percent} is no share: 0 to 100 per cent"))
    })
}

fn overrides(given: Vec<Override>) -> Result<Vec<gate::Override>, Failure> {
    if given.iter().any(|word| word.reason.trim().is_empty()) {
        return Err(Failure::new(ErrorCode::BadRequest, "an override needs a reason")
            .remedy("It is kept in the audit: --override GATE --reason TEXT"));
    }
    Ok(given.into_iter().map(Into::into).collect())
}

fn moved(moved: conductor::Moved) -> axum::Json<Moved> {
    axum::Json(moved_on_the_wire(moved))
}

pub(crate) fn moved_on_the_wire(moved: conductor::Moved) -> Moved {
    Moved {
        phase: moved.place.phase,
        share_percent: moved.place.share.as_percent(),
        flag: moved.place.phase_shown().flag(),
        text: moved.text,
        held_ms: moved.held_ms,
        under_way: moved.under_way,
        notes: moved.notes,
    }
}

pub(super) async fn advance(State(api): Shared, Json(request): Json<Advance>) -> Answer<Moved> {
    let (share, overrides) = (share(request.share_percent)?, overrides(request.overrides)?);
    Ok(moved(api.conductor.advance(request.to, share, &overrides).await?))
}

pub(super) async fn rollback(State(api): Shared, Json(request): Json<Rollback>) -> Answer<Moved> {
    let share = share(request.share_percent)?;
    let file = request.leave_behind.map(PathBuf::from);
    Ok(moved(api.conductor.rollback(request.to, share, file).await?))
}

pub(super) async fn retire(State(api): Shared, Json(request): Json<Retire>) -> Answer<Moved> {
    let overrides = overrides(request.overrides)?;
    Ok(moved(api.conductor.advance(Some(Phase::Retired), Share::ALL, &overrides).await?))
}

pub(super) async fn abort(State(api): Shared) -> Answer<Moved> {
    Ok(moved(api.conductor.abort().await?))
}

pub(super) async fn adopt(State(api): Shared) -> Answer<Moved> {
    Ok(moved(api.conductor.adopt().await?))
}

pub(super) async fn pause(State(api): Shared) -> Answer<Done> {
    api.conductor.pause(true).await?;
    Ok(axum::Json(Done { text: "backfill and verification rest; the mirror goes on".to_owned() }))
}

pub(super) async fn resume(State(api): Shared) -> Answer<Done> {
    api.conductor.pause(false).await?;
    Ok(axum::Json(Done { text: "backfill and verification go on".to_owned() }))
}

pub(super) async fn mended(State(api): Shared, Json(request): Json<Mended>) -> Answer<Done> {
    api.conductor.mended(&request.reason).await?;
    Ok(axum::Json(Done { text: "comparisons count anew; the audit says why".to_owned() }))
}

pub(super) async fn verify(State(api): Shared, Json(request): Json<Verify>) -> Answer<Done> {
    api.conductor.ask_verification(request.repair)?;
    let what = if request.repair {
        "a full verification begins, and repairs what it finds"
    } else {
        "a full verification begins"
    };
    Ok(axum::Json(Done { text: format!("{what}; `changeover status` shows how far it is") }))
}

pub(super) async fn forget(State(api): Shared, Path(id): Path<String>) -> Answer<Done> {
    api.conductor.forget(&id).await?;
    Ok(axum::Json(Done {
        text: format!("instance {id} is forgotten; the last verification no longer counts"),
    }))
}

pub(super) async fn mismatches(State(api): Shared, Query(query): Query<MismatchQuery>) -> Answer<Mismatches> {
    let limit = query.limit.unwrap_or(20).min(PAGE_MAX) as usize;
    let samples = api.conductor.state.samples(query.operation.as_deref(), limit).await?;
    let dropped = api.conductor.state.setting(SAMPLES_DROPPED).await?;
    let mismatches = samples
        .into_iter()
        .map(|sample| {
            let detail: serde_json::Value = serde_json::from_str(&sample.detail).unwrap_or_default();
            let text = |name: &str| detail.get(name).and_then(|value| value.as_str()).map(str::to_owned);
            Mismatch {
                key: text("key"),
                input: text("input"),
                old: text("old"),
                new: text("new"),
                detail: text("detail"),
                operation: sample.operation,
                shape: sample.shape,
                count: sample.count,
                first_ms: sample.first_ms,
                last_ms: sample.last_ms,
            }
        })
        .collect();
    Ok(axum::Json(Mismatches {
        mismatches,
        dropped: dropped.and_then(|text| text.parse().ok()).unwrap_or(0),
    }))
}

pub(super) async fn audit(State(api): Shared, Query(query): Query<AuditQuery>) -> Answer<Audit> {
    let limit = query.limit.unwrap_or(50).min(PAGE_MAX) as usize;
    let entries = api.conductor.state.audit(query.before, limit).await?;
    let entries = entries
        .into_iter()
        .map(|entry| AuditEntry {
            id: entry.id,
            at_ms: entry.entry.at_ms,
            who: entry.entry.who,
            kind: entry.entry.kind.name().to_owned(),
            text: entry.entry.text,
        })
        .collect();
    Ok(axum::Json(Audit { entries }))
}
