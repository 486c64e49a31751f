//! A connection to a database server, as what is common to all of them needs it: statements with values of the middle form,
//! and errors told apart by what they mean.
//!
//! A session that is dropped is closed, and the server rolls back what was open; one that is to be used again is given back by
//! [`Session::release`].

use async_trait::async_trait;
use changeover::store::unread::{UnreadSender, UnreadStream};
use changeover::{Row, StoreError, Value};

use crate::catalog::ColumnInfo;
use crate::database::Roads;

/// One connection, for one user at a time.
#[async_trait]
pub(crate) trait Session: Send {
    /// The rows of an answer, all of them.
    async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>, DbError>;

    /// How many rows a statement has changed.
    async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, DbError>;

    /// One statement for each set of parameters, in order; how many rows they have changed. Ends at the first that fails.
    async fn execute_many(&mut self, sql: &str, params: &[Vec<Value>]) -> Result<u64, DbError>;

    /// Statements without parameters, one after the other.
    async fn batch(&mut self, sql: &str) -> Result<(), DbError>;

    /// Commits; an error where nothing was committed, also where the transaction had failed before.
    async fn commit(&mut self) -> Result<(), DbError>;

    /// The rows of an answer as they come, none of them kept. The session is free again when the answer is dropped.
    async fn stream<'s>(&'s mut self, sql: &str, params: &[Value]) -> Result<Box<dyn Answer + 's>, DbError>;

    /// Puts rows into a table by the fastest road that the server has, all or none: so many values for each row, in the order of
    /// these columns.
    async fn load(&mut self, table: &str, columns: &[&ColumnInfo], rows: &[Row]) -> Result<u64, DbError>;

    /// By which roads rows come out and go in, many at once.
    fn roads(&self) -> Roads;

    /// Whether its connection was made for it, and by nobody used before.
    fn is_new(&self) -> bool;

    /// Itself, where its server's rows can pass unread.
    fn unread(&mut self) -> Option<&mut dyn UnreadSession> {
        None
    }

    /// Gives the session back, with no transaction open.
    fn release(self: Box<Self>);
}

/// The rows of an answer, one after the other.
#[async_trait]
pub(crate) trait Answer: Send {
    /// The next row, into values whose memory may be used; `false` at the end.
    async fn next(&mut self, into: &mut Vec<Value>) -> Result<bool, DbError>;
}

/// A session whose server gives and takes rows in one form of its own, that nobody on the way has to understand.
#[async_trait]
pub(crate) trait UnreadSession: Send {
    /// What the values of these columns are in that form; `None` where it isn't the same on every server of the kind.
    async fn layout(&mut self, table: &str, columns: &[String]) -> Result<Option<String>, DbError>;

    /// Values as literals that mean the same when they are compared with the columns that they are of.
    async fn literals(&mut self, values: &[(&ColumnInfo, &Value)]) -> Result<Vec<String>, DbError>;

    /// Sends the answer of a query with so many columns to its end; that end isn't said.
    async fn unload(&mut self, query: &str, columns: usize, to: &UnreadSender) -> Result<(), DbError>;

    /// Puts all of a stream's rows into these columns of a table.
    async fn load_unread(
        &mut self,
        table: &str,
        columns: &[String],
        from: &mut UnreadStream,
    ) -> Result<Loading, DbError>;
}

/// What came of putting a stream's rows into a table.
#[derive(Debug)]
pub(crate) enum Loading {
    /// Its end was reached.
    Ended {
        /// How many rows the stream had.
        rows: u64,
        /// How many bytes.
        bytes: u64,
        /// How many rows the server has put in.
        written: u64,
    },
    /// The stream says that a row can't pass this way.
    Careful,
    /// It broke off.
    Broken(StoreError),
}

/// Where sessions come from.
#[async_trait]
pub(crate) trait Sessions: Send + Sync + std::fmt::Debug {
    /// A session with nothing open. Waits for one within a bound.
    async fn take(&self) -> Result<Box<dyn Session>, DbError>;

    /// Gives none any more, and closes those that are at rest.
    fn close(&self);
}

/// What an error means for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A unique value is taken by another row.
    Taken,
    /// The row can't be there, or can't be computed: a constraint, a type, an expression that fails over its values.
    Row,
    /// A lock wasn't got in time.
    Locked,
    /// The transaction has lost against another, and may be tried again.
    Again,
    /// The connection is gone, or the server is going down or coming up.
    Gone,
    /// There is no right to do this.
    Rights,
    /// A table, a column or another thing isn't there, or isn't what it was.
    Schema,
    /// Nothing of these.
    Other,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.cause())]
pub(crate) struct DbError {
    pub(crate) trouble: Trouble,
    /// The server's code; empty where the driver speaks.
    pub(crate) code: String,
    /// Its words.
    pub(crate) message: String,
    /// The column that it names.
    pub(crate) column: Option<String>,
}

impl DbError {
    /// An error that isn't the server's.
    pub(crate) fn ours(trouble: Trouble, message: impl Into<String>) -> Self {
        Self { trouble, code: String::new(), message: message.into(), column: None }
    }

    /// Its words with its code.
    pub(crate) fn cause(&self) -> String {
        if self.code.is_empty() { self.message.clone() } else { format!("{} ({})", self.message, self.code) }
    }

    /// Whether it may pass by itself, or has ended the transaction.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self.trouble, Trouble::Gone | Trouble::Locked | Trouble::Again)
    }

    /// Whether a row was refused, and the rest may go on.
    pub(crate) const fn is_of_row(&self) -> bool {
        matches!(self.trouble, Trouble::Taken | Trouble::Row)
    }
}

/// Where an error happened: for its message.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The store's name in the spec.
    pub(crate) store: String,
    /// What the server is called: `PostgreSQL`.
    pub(crate) server: &'static str,
    /// Where it is, without any password.
    pub(crate) at: String,
}

impl Place {
    /// What the server said, while something was being done.
    pub(crate) fn error(&self, doing: &str, error: &DbError) -> StoreError {
        let (store, doing) = (self.store.clone(), doing.to_owned());
        match error.trouble {
            Trouble::Gone => StoreError::Unreachable {
                store,
                doing,
                cause: format!("{} ({} at {})", error.cause(), self.server, self.at),
            },
            Trouble::Locked | Trouble::Again => StoreError::Busy {
                store,
                what: format!("what it needs while {doing} ({})", error.message),
                holder: None,
            },
            trouble => {
                StoreError::Refused { store, doing, cause: error.cause(), remedy: self.remedy(trouble) }
            }
        }
    }

    fn remedy(&self, trouble: Trouble) -> String {
        match trouble {
            Trouble::Rights => {
                format!("Run `changeover check`: it prints the rights that are missing on {}", self.at)
            }
            Trouble::Schema => {
                "The schema isn't what the plan was made for: run `changeover check` again".to_owned()
            }
            _ => "See the cause; `changeover check` tells what the migration needs".to_owned(),
        }
    }

    /// An error that isn't the server's own.
    pub(crate) fn refused(
        &self,
        doing: &str,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> StoreError {
        StoreError::Refused {
            store: self.store.clone(),
            doing: doing.to_owned(),
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }
}
