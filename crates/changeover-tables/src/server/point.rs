//! Rows by their keys: many by one statement, and one by one where an expression fails over one of them.

use std::collections::HashMap;

use changeover::store::{Refusal, Rows};
use changeover::{Key, Row, Value};

use super::dialect::{Dialect, Statement};
use super::read::{Made, canonical_key, failed, make, own_key, refusal};
use super::session::{DbError, Session, Trouble};
use crate::shape::{ImageSql, SideTable};

/// How many keys are asked for at first, where nothing is known of how large their rows are.
const FIRST: usize = 16;

/// What is read, and how.
#[derive(Clone, Copy)]
pub(super) struct Reading<'r> {
    pub(super) dialect: &'static dyn Dialect,
    pub(super) table: &'r SideTable,
    pub(super) image: &'r ImageSql,
    /// Whether a transaction is open that must outlive a statement which fails.
    pub(super) in_transaction: bool,
}

/// What was found of some keys.
#[derive(Default)]
struct Found {
    rows: HashMap<Vec<Value>, Row>,
    refused: HashMap<Vec<Value>, Refusal>,
}

impl Reading<'_> {
    /// The rows with these keys, each at the place of its key, until there are so many bytes of them.
    pub(super) async fn rows(
        &self,
        session: &mut dyn Session,
        keys: &[Key],
        bytes: usize,
    ) -> Result<Rows, DbError> {
        let mut answer = Rows::default();
        let (mut size, mut rows_seen, mut piece) = (0_usize, 0_usize, FIRST);
        while answer.rows.len() < keys.len() && (size < bytes || answer.rows.is_empty()) {
            let rest = &keys[answer.rows.len()..];
            let asked = &rest[..piece.min(rest.len())];
            let mut found = self.some(session, asked).await?;
            for key in asked {
                if size >= bytes && !answer.rows.is_empty() {
                    break;
                }
                answer.rows.push(found.take(key, &mut answer.refused));
                size += answer.last_size();
                rows_seen += 1;
            }
            let each = (size / rows_seen.max(1)).max(1);
            piece = (bytes.saturating_sub(size) / each).clamp(1, self.dialect.keys_at_once());
        }
        Ok(answer)
    }

    async fn some(&self, session: &mut dyn Session, keys: &[Key]) -> Result<Found, DbError> {
        let mut found = Found::default();
        let mut own = Vec::with_capacity(keys.len());
        for key in keys {
            if key.values().iter().any(Value::is_null) {
                self.without_key(session, key, &mut found).await?;
            } else if let Some(values) = own_key(self.table, key) {
                own.push(values);
            }
        }
        if own.is_empty() {
            return Ok(found);
        }
        match self.ask(session, &own, &mut found).await {
            Err(error) if error.trouble == Trouble::Row => {
                for values in own {
                    if let Err(error) = self.ask(session, std::slice::from_ref(&values), &mut found).await {
                        self.name(&values, &error, &mut found)?;
                    }
                }
            }
            other => other?,
        }
        Ok(found)
    }

    fn name(&self, own: &[Value], error: &DbError, found: &mut Found) -> Result<(), DbError> {
        if error.trouble != Trouble::Row {
            return Err(error.clone());
        }
        let key = super::read::logged_key(self.table, own);
        let values = key.values().to_vec();
        found.refused.insert(values, failed(key, self.dialect.server(), error));
        Ok(())
    }

    /// One statement for all of these; nothing is found by one that fails.
    async fn ask(
        &self,
        session: &mut dyn Session,
        own: &[Vec<Value>],
        found: &mut Found,
    ) -> Result<(), DbError> {
        let Statement { sql, params } = self.dialect.has_one_of(self.table, own);
        let select = format!(
            "SELECT {} FROM {} WHERE {sql}{}",
            self.image.select,
            self.table.table,
            self.table.and_scope()
        );
        if self.in_transaction {
            session.batch("SAVEPOINT changeover_read").await?;
        }
        let answer = session.query(&select, &params).await;
        if self.in_transaction {
            let end = if answer.is_ok() { "" } else { "ROLLBACK TO SAVEPOINT changeover_read; " };
            session.batch(&format!("{end}RELEASE SAVEPOINT changeover_read")).await?;
        }
        for mut row in answer? {
            let raw = row[..self.table.key.len()].to_vec();
            let key = canonical_key(self.table, &raw).unwrap_or(raw);
            match make(self.table, self.image, &mut row, Row::default()) {
                Made::Row(row) => drop(found.rows.insert(key, row)),
                Made::Refused(refusal) => drop(found.refused.insert(key, refusal)),
            }
        }
        Ok(())
    }

    /// A row with a NULL in its key, which no comparison finds: it can't be carried, and mustn't be taken for one that is gone.
    async fn without_key(
        &self,
        session: &mut dyn Session,
        key: &Key,
        found: &mut Found,
    ) -> Result<(), DbError> {
        if key.values().len() != self.table.key.len() {
            return Ok(());
        }
        let parts = self.table.key.iter().enumerate().map(|(n, part)| {
            self.dialect.is_same(&self.dialect.name(&part.name), &self.dialect.placeholder(n + 1))
        });
        let sql = format!(
            "SELECT 1 FROM {} WHERE {}{} LIMIT 1",
            self.table.table,
            parts.collect::<Vec<_>>().join(" AND "),
            self.table.and_scope()
        );
        if !session.query(&sql, key.values()).await?.is_empty() {
            let why = canonical_key(self.table, key.values()).err().unwrap_or_default();
            found.refused.insert(key.values().to_vec(), refusal(key.clone(), why));
        }
        Ok(())
    }
}

impl Found {
    /// What was found of a key, which may be asked for more than once.
    fn take(&mut self, key: &Key, refused: &mut Vec<Refusal>) -> Option<Row> {
        if let Some(refusal) = self.refused.get(key.values()) {
            refused.push(refusal.clone());
        }
        self.rows.get(key.values()).cloned()
    }
}
