//! Whether a pooler gives each of our transactions another session of the server's. Then our locks, our settings and what is
//! prepared would be whoever's comes next, and theirs ours.

use std::time::Duration;

use tokio_postgres::SimpleQueryMessage;

use super::session::{Connector, PgSession, meaning};
use crate::server::pool::SessionPool;
use crate::server::session::{DbError, Session as _, Trouble};

/// How long a session may take to say which it is. One whose pooler has no other to give waits for longer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Two sessions are told apart by the server's processes: two that have one, or one that has another after the second has
/// begun a transaction, aren't ours alone.
pub(super) async fn is_between(sessions: &SessionPool<Connector>) -> Result<bool, DbError> {
    let (mut one, mut two) = (sessions.connect().await?, sessions.connect().await?);
    let before = process(&mut one).await?;
    two.batch("BEGIN").await?;
    let of_two = process(&mut two).await?;
    let after = match tokio::time::timeout(ANSWERS_WITHIN, process(&mut one)).await {
        Ok(answer) => Some(answer?),
        Err(_) => None,
    };
    if before == of_two || after.as_ref() != Some(&before) {
        // Neither is given back: they aren't what they seem.
        return Ok(true);
    }
    two.batch("ROLLBACK").await?;
    Box::new(one).release();
    Box::new(two).release();
    Ok(false)
}

/// The server's process, without anything being prepared for it.
async fn process(session: &mut PgSession) -> Result<String, DbError> {
    let answer = session.client()?.simple_query("SELECT pg_catalog.pg_backend_pid()").await;
    let answer = answer.map_err(|error| meaning(&error))?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    row.ok_or_else(|| DbError::ours(Trouble::Other, "the server doesn't say which process it is"))
}
