//! Chunks whose rows pass unread, from one server to another of its kind.
//!
//! The range's ends stand in the query as literals that the server itself has made of the key's values: a query whose answer
//! passes unread takes no parameters. What a row's error on either side means is said by the careful road, which reads the
//! chunk again.

use std::sync::Arc;

use async_trait::async_trait;
use changeover::store::KeyRange;
use changeover::store::unread::{Layout, Unread, UnreadLoad, UnreadSender, UnreadStream};
use changeover::{Key, StoreError, TableName, Value};

use super::read::{ordered, own_key};
use super::scan::condition_of;
use super::session::{DbError, Loading, Session, Trouble, UnreadSession};
use super::store::{Inner, ServerStore};
use crate::catalog::ColumnInfo;
use crate::shape::SideTable;

const SAVE: &str = "SAVEPOINT changeover_unread";
const BACK: &str = "ROLLBACK TO SAVEPOINT changeover_unread; RELEASE SAVEPOINT changeover_unread";
const KEEP: &str = "RELEASE SAVEPOINT changeover_unread";

#[async_trait]
impl Unread for ServerStore {
    async fn layout(&self, table: &TableName) -> Result<Option<Layout>, StoreError> {
        let doing = "reading the types of the columns";
        let known = self.inner.table(table)?;
        let Some(columns) = known.unread.as_deref() else { return Ok(None) };
        let mut session = self.inner.session(doing).await?;
        let layout = async { capable(session.as_mut())?.layout(&known.table, columns).await };
        let layout = layout.await;
        Ok(self.inner.given_back(doing, session, layout)?.map(Layout))
    }

    async fn scan_unread(&self, table: &TableName, range: &KeyRange) -> Result<UnreadStream, StoreError> {
        let known = self.inner.table(table)?;
        let session = self.inner.session("scanning").await?;
        let (sender, stream) = UnreadStream::channel(self.inner.info.name.clone(), table.clone());
        if known.unread.is_none() {
            sender.careful().await;
            return Ok(stream);
        }
        tokio::spawn(scan(Arc::clone(&self.inner), table.clone(), session, range.clone(), sender));
        Ok(stream)
    }
}

/// Sends the range, and says the end, or the error, to the receiver.
async fn scan(
    inner: Arc<Inner>,
    table: TableName,
    mut session: Box<dyn Session>,
    range: KeyRange,
    sender: UnreadSender,
) {
    let sent = async {
        let known = inner.tables.iter().find(|known| *known.name() == table);
        let known = known.ok_or_else(|| DbError::ours(Trouble::Other, "no such mapping"))?;
        send(known, session.as_mut(), &range, &sender).await
    };
    match sent.await {
        Ok(()) => {
            session.release();
            sender.end().await;
        }
        Err(error) if error.trouble == Trouble::Row => sender.careful().await,
        Err(error) => sender.fail(inner.place.error("scanning", &error)).await,
    }
}

async fn send(
    table: &SideTable,
    session: &mut dyn Session,
    range: &KeyRange,
    sender: &UnreadSender,
) -> Result<(), DbError> {
    let session = capable(session)?;
    let columns = table.unread.as_deref().unwrap_or_default();
    let after = end(table, session, range.after.as_ref(), ">").await?;
    let upto = end(table, session, range.upto.as_ref(), "<=").await?;
    let names: Vec<String> = columns.iter().map(|column| table.syntax.name(column)).collect();
    let (names, condition) = (names.join(", "), condition_of(table, [after, upto], true));
    let query =
        format!("SELECT {names} FROM {} WHERE {condition} ORDER BY {}", table.table, table.ordered_key());
    session.unload(&query, columns.len(), sender).await
}

/// The comparison of the key with one end of a range.
async fn end(
    table: &SideTable,
    session: &mut dyn UnreadSession,
    key: Option<&Key>,
    operator: &str,
) -> Result<Option<String>, DbError> {
    let Some(key) = key else { return Ok(None) };
    let own = own_key(table, key)
        .ok_or_else(|| DbError::ours(Trouble::Other, format!("{key} isn't a key that this side can have")))?;
    let own = ordered(table, &own);
    let columns = table.order.iter().filter_map(|&at| table.info.column(&table.key[at].name));
    let values: Vec<(&ColumnInfo, &Value)> = columns.zip(&own).collect();
    if values.len() != table.key.len() {
        return Err(DbError::ours(Trouble::Schema, "a column of the key isn't there"));
    }
    Ok(Some(table.compare_literals(operator, &session.literals(&values).await?)))
}

/// Puts all of a stream's rows into the table, or none.
pub(super) async fn load(
    session: &mut dyn Session,
    table: &SideTable,
    columns: &[String],
    mut stream: UnreadStream,
) -> Result<Result<UnreadLoad, StoreError>, DbError> {
    session.batch(SAVE).await?;
    match capable(session)?.load_unread(&table.table, columns, &mut stream).await {
        Ok(Loading::Ended { rows, bytes, written }) if rows == written => {
            session.batch(KEEP).await?;
            return Ok(Ok(UnreadLoad::Written { rows, bytes }));
        }
        // A trigger of the table's own may leave rows out: as the careful road has it.
        Ok(Loading::Ended { .. } | Loading::Careful) => {}
        Ok(Loading::Broken(error)) => return Ok(Err(error)),
        Err(error) if error.is_of_row() => {}
        Err(error) => return Err(error),
    }
    // What isn't read any more is cut off.
    drop(stream);
    session.batch(BACK).await?;
    Ok(Ok(UnreadLoad::Careful))
}

fn capable(session: &mut dyn Session) -> Result<&mut dyn UnreadSession, DbError> {
    session.unread().ok_or_else(|| DbError::ours(Trouble::Other, "this server's rows don't pass unread"))
}
