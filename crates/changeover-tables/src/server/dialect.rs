//! What a kind of server has to say for itself, beyond how it writes the small pieces of SQL.

use std::time::Duration;

use changeover::Value;
use changeover::store::guard::Scope;

use super::digest::Hashes;
use super::install::{Captures, Installs};
use crate::catalog::{ColumnInfo, TableInfo};
use crate::shape::{Merge, SideTable};
use crate::syntax::Syntax;

/// A statement with its parameters.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) params: Vec<Value>,
}

impl Statement {
    pub(crate) fn new(sql: impl Into<String>, params: Vec<Value>) -> Self {
        Self { sql: sql.into(), params }
    }
}

/// Statements that are tried, and what they leave when they are over: nothing.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// Before all of them.
    pub(crate) begin: &'static str,
    /// Before each, and after one that failed.
    pub(crate) save: Option<(&'static str, &'static str)>,
    /// What is tried.
    pub(crate) steps: Vec<Step>,
    /// After all of them, whatever became of them.
    pub(crate) end: &'static str,
}

/// One thing that is tried.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// What, as `make a table`.
    pub(crate) what: &'static str,
    /// The statements.
    pub(crate) sql: &'static str,
    /// What to do where they fail.
    pub(crate) remedy: &'static str,
    /// Whether what follows can be tried only if this didn't fail.
    pub(crate) first: bool,
    /// Whether there are migrations that go without.
    pub(crate) optional: bool,
}

/// A kind of server.
pub(crate) trait Dialect: Syntax + Installs {
    /// As in [`StoreInfo::kind`](changeover::store::StoreInfo::kind).
    fn kind(&self) -> &'static str;

    /// How it captures changes and refuses writes, if it does.
    fn captures(&self) -> Option<&'static dyn Captures>;

    /// How it computes digests, if it does.
    fn hashes(&self) -> Option<&'static dyn Hashes> {
        None
    }

    /// Whether its sessions have rows that pass unread.
    fn passes_unread(&self) -> bool {
        false
    }

    /// For people.
    fn server(&self) -> &'static str;

    /// Itself, as what the SQL of a side is made with.
    fn syntax(&self) -> &'static dyn Syntax;

    /// Begins a transaction that only reads, and sees one state in all its statements, which may take as long as they do.
    fn begin_snapshot(&self) -> &'static str;

    /// Begins a transaction that writes as the mirror does: each statement sees what is committed, the mark is set for it alone,
    /// and other triggers and foreign keys are silent where that is allowed.
    fn begin_mirror(&self, migration: &str, lock_wait: Duration, silent: bool) -> String;

    /// Ends what [`begin_mirror`](Self::begin_mirror) has begun, before the commit: where the mark doesn't go by itself.
    fn end_mirror(&self) -> Option<&'static str> {
        None
    }

    /// Takes the guard, in an order that all keep to; `guarded` names the side of the migration. Each statement answers a row
    /// for each lock: with it, how many they are.
    fn guard(&self, guarded: &str, scope: Scope<'_>, stripes: &[i64]) -> Vec<(Statement, usize)>;

    /// The condition that a row has one of these keys (each in the spec's order, as this side stores it), its parameters
    /// numbered from 1.
    fn has_one_of(&self, table: &SideTable, keys: &[Vec<Value>]) -> Statement;

    /// A parameter with the type of a column.
    fn typed(&self, column: &ColumnInfo, placeholder: &str) -> String;

    /// How many keys may be asked for by one statement.
    fn keys_at_once(&self) -> usize;

    /// For each of two lists of keys (each in the order of this side's index) whether the one of the first is less than the one
    /// of the second: a statement that answers rows of one boolean or integer each, in order.
    fn less(&self, table: &SideTable, left: &[Vec<Value>], right: &[Vec<Value>]) -> Statement;

    /// One of our own tables, in quotes, with its schema where it has one.
    fn own(&self, table: &str) -> String;

    /// The statements that make our own tables, and what the guards of this side of a migration are made of; may be repeated.
    fn create_own(&self, guarded: &str) -> String;

    /// Whether one of our own tables is there: a statement that answers a row if it is.
    fn own_exists(&self, table: &str) -> Statement;

    /// How rows that may be there already are put into a table all at once, by way of a temporary one; `None` where it can't be
    /// done so that what comes of it is what comes of a look at each.
    fn merge(&self, table: &SideTable) -> Option<Merge> {
        let _ = table;
        None
    }

    /// Puts a row into one of our own tables, or in the place of the one with the same first columns, of which there are so
    /// many.
    fn put(&self, table: &str, columns: &[&str], keys: usize) -> String;

    /// A condition over NULLs too.
    fn is_same(&self, left: &str, right: &str) -> String;

    /// Makes an empty table of the session's own, with the columns, defaults and CHECKs of this one, and gone with it: by the
    /// name [`Dialect::own_trial`].
    fn trial(&self, table: &TableInfo) -> String;

    /// That table's name in SQL.
    fn own_trial(&self) -> &'static str;

    /// The right that it wants, as an administrator gives it.
    fn trial_right(&self) -> &'static str;

    /// What a migration does beside reading and writing its tables, on a table of its own: for trying it.
    fn probe(&self) -> Script;

    /// About how many rows a table has: a statement that answers one number, or NULL where the server doesn't know.
    fn estimate(&self, table: &SideTable) -> Statement;

    /// How the server fares: a statement that answers rows as [`strain`](super::strain) reads them.
    fn strain(&self) -> &'static str;
}
