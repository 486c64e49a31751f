//! Back to `old` with no run there, because the new side's database is gone and no run starts without it.
//!
//! What `rollback --leave-behind` asks of a run, as far as it can be done by one side alone: the old side's fence is opened and
//! all of ours removed there, and the state says `old`. What the new side had is left behind; it can't be said which keys.
//! In this order a kill leaves nothing shut: it is done again, and the state is the last to change.

use std::path::Path;

use changeover::Side;
use changeover_api::Spec;
use changeover_api::wire::Moved;
use changeover_protocol::moves::{Mirror, WayBack};
use changeover_protocol::{Control, Millis, Phase, Place, Target};

use crate::asked::{Asked, asked};
use crate::barrier;
use crate::clock::Clock;
use crate::conductor::{DISAGREES, FENCE_OWED, left_behind};
use crate::connect::databases_of;
use crate::error::ControlError;
use crate::flag;
use crate::run::lock_state;
use crate::state::{AuditKind, NewAudit, SqliteState, StateStore};

/// Goes back to `old`, and leaves behind what the new side had. `file` gets a line that says so.
///
/// # Errors
/// If the new side is there, since a run can then go back in good order; if a run has the state; with dual write, where the
/// service's processes go by their run; if the old side, the state or the file can't be reached.
pub async fn abandon(spec: &Spec, state: &Path, file: &Path) -> Result<Moved, ControlError> {
    let holder = format!("changeover rollback of `{}`, process {}", spec.name, std::process::id());
    let _alone = lock_state(state, &holder).await?;
    let nothing = || {
        ControlError::Refused(format!("`{}` has no state here: there is nothing to go back from", spec.name))
    };
    let state = SqliteState::open_existing(state, &spec.name).await?.ok_or_else(nothing)?;
    let (revision, record) = barrier::load(&state).await?.ok_or_else(nothing)?;
    check(&record)?;
    let why = new_side_is_gone(spec).await?;
    left_behind::exposure(file, Side::New, &why)?;
    for (name, database) in databases_of(spec, Side::Old).await {
        database?.remove_migration(&spec.name).await.map_err(|error| {
            ControlError::Refused(format!("the old side ({name}) can't be opened: {error}"))
        })?;
    }
    let now = Clock::system().now();
    let back = in_old(&record, now);
    let text = format!(
        "rollback to old without a run, because the new side is gone ({why}): what it had is left behind, and which keys those \
         are isn't known"
    );
    let Asked { who, why: reason } = asked();
    let line = NewAudit { at_ms: now.0, who, kind: AuditKind::Move, text, why: reason };
    // Whatever comes back in the new side's place is refused to the applications before anything else.
    state.set(FENCE_OWED, Some(&format!("{} {}", Side::New, back.epoch))).await?;
    state.save(revision, &serde_json::json!(back).to_string(), &[line]).await?;
    state.set(DISAGREES, None).await?;
    let notes = flag::write_remembered(&state, Phase::Old).await?;
    Ok(Moved {
        phase: Phase::Old,
        share_percent: 100.0,
        flag: Phase::Old.flag(),
        text: "back, without a run: the old side takes writes again".to_owned(),
        held_ms: 0,
        under_way: false,
        notes,
    })
}

fn check(record: &Control) -> Result<(), ControlError> {
    if record.settings.mirror == Mirror::DualWrite {
        return Err(ControlError::Refused(
            "with dual write the service's processes go where their run says, and there is none: it needs the new side's \
             database, if only an older copy of it"
                .to_owned(),
        ));
    }
    match record.place.phase {
        Phase::Old | Phase::Shadow if record.shift.is_none() => Err(ControlError::Refused(format!(
            "the migration is in {}: the old side takes the writes, and nothing has to go back",
            record.place
        ))),
        Phase::Retired => {
            Err(ControlError::Refused("the migration is retired: there is no way back".to_owned()))
        }
        _ => Ok(()),
    }
}

/// In which way a database of the new side is gone: it can't be opened, or has nothing of this migration's.
async fn new_side_is_gone(spec: &Spec) -> Result<String, ControlError> {
    for (name, database) in databases_of(spec, Side::New).await {
        let things = match database {
            Ok(database) => database.installed().await.map_err(ControlError::from),
            Err(error) => Err(error),
        };
        match things {
            Err(error) => return Ok(error.to_string()),
            Ok(things) if !things.iter().any(|thing| thing.name.split(':').nth(1) == Some(&spec.name)) => {
                return Ok(format!("store {name} has nothing of this migration's: it is another database"));
            }
            Ok(_) => {}
        }
    }
    Err(ControlError::Refused(format!(
        "no run is there, and the new side's database is: start `changeover run {}`, which can go back in good order",
        spec.file().display()
    )))
}

/// The record after it: `old`, whatever it was.
fn in_old(record: &Control, now: Millis) -> Control {
    let version = barrier::first_version(record, now);
    Control {
        revision: record.revision + 1,
        target: Target::uniform(version, Phase::Old.step(), Phase::Old, record.settings.hold_lease_ms),
        place: Place::whole(Phase::Old),
        since: now,
        shift: None,
        backfill: None,
        epoch: changeover_protocol::control::Epoch(record.epoch.0 + 1),
        way_back: WayBack::Closed,
        last_unclean: Some(now),
        ..record.clone()
    }
}
