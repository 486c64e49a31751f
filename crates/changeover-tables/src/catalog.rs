//! What a database says of its tables, in a form that no dialect owns.

use std::sync::Arc;

use crate::types::ExactType;

/// How a column treats what is stored in it, and what it is meant to hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Domain {
    /// Takes every value as it is.
    Any,
    /// Integers.
    Integer,
    /// Binary floating-point numbers; integers become such.
    Real,
    /// Numbers of either kind: `NUMERIC`, `DECIMAL(10, 2)`, `BOOLEAN`.
    Number,
    /// Numbers where they look like it, and anything else too: `DATE`, or a type that the database doesn't know.
    Loose,
    /// Text; numbers become text.
    Text,
    /// Bytes.
    Bytes,
    /// Just what a strict type says.
    Exact(Arc<ExactType>),
}

impl Domain {
    /// For messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Any => "any value",
            Self::Integer => "integers",
            Self::Real => "floating-point numbers",
            Self::Number => "numbers",
            Self::Loose => "numbers or text",
            Self::Text => "text",
            Self::Bytes => "bytes",
            Self::Exact(exact) => exact.of.name(),
        }
    }
}

/// Whether a column's value is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Generated {
    /// It is written.
    #[default]
    No,
    /// Computed when it is read.
    Virtual,
    /// Computed when the row is written.
    Stored,
}

/// The default of a column that the database numbers by itself, and whose value no UPDATE may set.
pub(crate) const ALWAYS_IDENTITY: &str = "GENERATED ALWAYS AS IDENTITY";

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnInfo {
    /// Its name.
    pub name: String,
    /// Its type, as it was declared; empty if it wasn't.
    pub declared: String,
    /// What it holds.
    pub domain: Domain,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// Its default, as SQL.
    pub default: Option<String>,
    /// Whether it is computed.
    pub generated: Generated,
    /// How its texts are compared, where nothing else is said.
    pub collation: String,
    /// Whether its values travel as the text that its database writes and reads, where their own form means nothing to another.
    pub as_text: bool,
    /// What the database computes it by, as SQL, where it says so.
    pub computed_by: Option<String>,
    /// What its owner has noted about it.
    pub comment: Option<String>,
}

/// One column, or expression, of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexPart {
    /// A column, with the collation that the index compares it by.
    Column {
        /// Its name.
        name: String,
        /// The collation.
        collation: String,
    },
    /// An expression, as SQL.
    Expression {
        /// The SQL.
        sql: String,
        /// The collation.
        collation: String,
    },
}

/// Where a unique index comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The primary key.
    PrimaryKey,
    /// A `UNIQUE` in the table's definition.
    Constraint,
    /// A `CREATE UNIQUE INDEX`.
    Index,
}

/// A set of columns whose values are unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueIndex {
    /// The index's name; the table's, where the table is its own index.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Its parts, in order.
    pub parts: Vec<IndexPart>,
    /// The condition of a partial index.
    pub partial: Option<String>,
    /// Whether it may be asked only at the end of a transaction.
    pub deferrable: bool,
}

impl UniqueIndex {
    /// The names of its columns, if it has nothing but columns.
    #[must_use]
    pub fn columns(&self) -> Option<Vec<&str>> {
        self.parts
            .iter()
            .map(|part| match part {
                IndexPart::Column { name, .. } => Some(name.as_str()),
                IndexPart::Expression { .. } => None,
            })
            .collect()
    }
}

/// A foreign key of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// The columns.
    pub columns: Vec<String>,
    /// The table that they refer to.
    pub parent: String,
    /// The columns there; empty: its primary key.
    pub parent_columns: Vec<String>,
    /// What happens to this table's rows when a parent's row is deleted, as SQL says it.
    pub on_delete: String,
    /// The constraint with what it does to this table's rows, where it does so without any trigger firing for them.
    pub unseen: Option<String>,
}

/// A trigger of a table that isn't Changeover's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerInfo {
    /// Its name.
    pub name: String,
    /// Its definition.
    pub sql: String,
}

/// For what a right is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// To read the table.
    Read,
    /// To write it, as the mirror does.
    Write,
    /// To capture and to fence it.
    Capture,
}

/// A right that this role lacks on a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingRight {
    /// For what it is needed.
    pub need: Need,
    /// Which it is, as a sentence without its full stop.
    pub what: String,
    /// The SQL that gives it.
    pub grant: String,
}

/// What a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// A table.
    Table,
    /// A view.
    View,
    /// A virtual table, or a part of one.
    Virtual,
    /// A table from which others inherit: whoever reads it sees their rows, and its triggers don't fire for them.
    Inherited,
    /// A table whose storage engine knows no transactions.
    WithoutTransactions,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// Its schema, where the database has them.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: TableKind,
    /// Its columns, in order.
    pub columns: Vec<ColumnInfo>,
    /// The columns of the primary key, in its order.
    pub primary_key: Vec<String>,
    /// What is unique in it, the primary key first.
    pub unique: Vec<UniqueIndex>,
    /// The names of its other indexes.
    pub indexes: Vec<String>,
    /// What its definition says beyond what is listed here, as SQL: its CHECKs, its exclusion constraints, and what is done `ON
    /// CONFLICT` or `ON UPDATE`.
    pub clauses: Vec<String>,
    /// Its foreign keys.
    pub foreign_keys: Vec<ForeignKey>,
    /// Its triggers.
    pub triggers: Vec<TriggerInfo>,
    /// The column whose values the database gives out by a counter that never falls.
    pub counter: Option<String>,
    /// The column that is the row's own number (SQLite's INTEGER PRIMARY KEY).
    pub row_number: Option<String>,
    /// Whether it has no row number of its own (SQLite's WITHOUT ROWID).
    pub without_row_number: bool,
    /// Whether the declared types are enforced by the database.
    pub strict: bool,
    /// Its definition with that of its indexes, in a form that changes when they do.
    pub definition: String,
    /// The rights that this role lacks on it, where the database has rights.
    pub missing_rights: Vec<MissingRight>,
    /// What its owner has noted about it.
    pub comment: Option<String>,
}

impl TableInfo {
    /// The column with this name; names are compared as SQL does, without regard to ASCII case.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&ColumnInfo> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

/// Which database it is, as far as a table that is made there depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MariaDB, from this version's first two numbers on.
    MariaDb(u16, u16),
    /// MySQL.
    MySql,
}

impl Engine {
    /// For messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::MariaDb(..) => "MariaDB",
            Self::MySql => "MySQL",
        }
    }
}

/// All that a database says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// The store's name in the spec.
    pub store: String,
    /// The kind of database: `sqlite`.
    pub kind: &'static str,
    /// Which one of its kind.
    pub engine: Engine,
    /// Where it is, without any password.
    pub place: String,
    /// Its tables and views, without Changeover's own.
    pub tables: Vec<TableInfo>,
    /// Whether changes can be captured in it as it stands; if not, why, and the SQL that changes it.
    pub capturable: Result<(), (String, String)>,
    /// What can be done to a captured table that nothing tells us of, as a sentence without its full stop, and what would.
    pub unseen: Option<(String, String)>,
    /// Whether it takes writes, and is nobody's replica; if not, why, and what to do.
    pub writable: Result<(), (String, String)>,
    /// Whether the mirror can silence other triggers while it writes; if not, why, and what would let it.
    pub silences: Result<(), (String, String)>,
    /// Whether foreign keys aren't asked while it writes.
    pub ignores_foreign_keys: bool,
    /// Whether texts are ordered by their UTF-8 bytes.
    pub utf8_order: bool,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Catalog {
    /// The table with this name.
    #[must_use]
    pub fn table(&self, schema: Option<&str>, name: &str) -> Option<&TableInfo> {
        self.tables.iter().find(|table| {
            table.name.eq_ignore_ascii_case(name) && (schema.is_none() || table.schema.as_deref() == schema)
        })
    }
}
