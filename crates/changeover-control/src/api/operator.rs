//! What people and programs ask.

use std::path::PathBuf;

use axum::extract::{Path, Query, State};
use changeover_api::wire::{
    Adopt, Advance, Audit, AuditQuery, Done, ErrorCode, Mended, MismatchQuery, Mismatches, Moved, Override,
    Retire, Rollback, Status, Verify,
};
use changeover_protocol::gate;
use changeover_protocol::{Phase, Place, Share};

use super::failure::Failure;
use super::{Json, Shared};
use crate::error::ControlError;
use crate::{archive, conductor, status};

type Answer<T> = Result<axum::Json<T>, Failure>;

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
    check_end(&api, request.to)?;
    Ok(moved(api.conductor.advance(request.to, share, &overrides).await?))
}

/// The one move without a way back is never made by an `advance` too many: it is asked for by its name.
fn check_end(api: &super::Api, to: Option<Phase>) -> Result<(), ControlError> {
    let place = api.conductor.barrier.record().place;
    let ends = match to {
        Some(to) => to == Phase::Retired,
        None => place == Place::whole(Phase::New),
    };
    if !ends || place.phase == Phase::Retired {
        return Ok(());
    }
    Err(ControlError::Refused(format!(
        "the migration is in {place}, and `advance` goes no further than new: what ends it is `changeover retire`, and \
         from there is no way back"
    )))
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

pub(super) async fn adopt(State(api): Shared, Json(request): Json<Adopt>) -> Answer<Moved> {
    Ok(moved(api.conductor.adopt_in(request.phase).await?))
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
    api.conductor.ask_verification(request.repair).await?;
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
    Ok(axum::Json(archive::mismatches(&*api.conductor.state, &query).await?))
}

pub(super) async fn audit(State(api): Shared, Query(query): Query<AuditQuery>) -> Answer<Audit> {
    Ok(axum::Json(archive::audit(&*api.conductor.state, &query).await?))
}
