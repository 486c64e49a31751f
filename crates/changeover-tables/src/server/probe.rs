//! What a migration does, tried for real on a table that is made for it: rights that the catalogue shows may still fail for a reason
//! that it doesn't (a setting, an extension that forbids it, a replica).

use super::dialect::{Script, Step};
use super::session::{DbError, Session, Trouble};
use crate::database::Probed;

/// Tries all of it, and leaves nothing.
pub(super) async fn run(session: &mut dyn Session, script: &Script) -> Result<Vec<Probed>, DbError> {
    session.batch(script.begin).await?;
    let tried = all(session, script).await;
    // Whatever happened: what was made goes.
    let ended = session.batch(script.end).await;
    let mut tried = tried?;
    if let Err(error) = ended {
        tried.push(Probed {
            what: "take it away again".to_owned(),
            failed: Some(error.cause()),
            remedy: format!("by hand: {}", script.end),
            optional: false,
        });
    }
    Ok(tried)
}

async fn all(session: &mut dyn Session, script: &Script) -> Result<Vec<Probed>, DbError> {
    let mut tried: Vec<Probed> = Vec::with_capacity(script.steps.len());
    for step in &script.steps {
        let failed = one(session, script, step).await?;
        let ends = failed.is_some() && step.first;
        tried.push(Probed {
            what: step.what.to_owned(),
            failed,
            remedy: step.remedy.to_owned(),
            optional: step.optional,
        });
        if ends {
            break;
        }
    }
    Ok(tried)
}

/// What the server says of one step, if it failed.
async fn one(session: &mut dyn Session, script: &Script, step: &Step) -> Result<Option<String>, DbError> {
    if let Some((save, _)) = script.save {
        session.batch(save).await?;
    }
    match session.batch(step.sql).await {
        Ok(()) => Ok(None),
        Err(error) if error.trouble == Trouble::Gone => Err(error),
        Err(error) => {
            if let Some((_, back)) = script.save {
                session.batch(back).await?;
            }
            Ok(Some(error.cause()))
        }
    }
}
