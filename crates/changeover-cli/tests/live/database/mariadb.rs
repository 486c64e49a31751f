//! A MariaDB database, as the application connects to it: with the isolation that servers have by default.

use std::time::Duration;

use changeover_testkit::servers::MariaDb;
use mysql_async::consts::ColumnType;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Column, Conn, Opts, OptsBuilder, Params, Row, Value as Raw};
use rusqlite::types::Value;
use tokio::runtime::Runtime;

use super::{Application, Database, Failed, Why};
use crate::live::shape::Kind;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// The number of the character set of what is no text.
const BINARY: u16 = 63;

/// A table of the application's own, by which it finds out what became of a COMMIT.
const OUTCOMES: &str = "CREATE TABLE outcomes (token VARCHAR(40) PRIMARY KEY)";

/// A database on a server.
pub struct MariaDbTables {
    /// As the application reaches it.
    direct: String,
    /// As the spec has it: maybe by way of a relay.
    told: String,
}

impl MariaDbTables {
    /// A new one on this server.
    pub fn make(server: &MariaDb, hint: &str) -> Self {
        let url = server.url(&server.create_database(hint));
        let made = Self { direct: url.clone(), told: url };
        (&made as &dyn Database).sql(OUTCOMES);
        made
    }

    /// The same, which the spec has by another URL.
    pub fn told(self, as_url: impl FnOnce(&str) -> String) -> Self {
        Self { told: as_url(&self.direct), ..self }
    }
}

impl Database for MariaDbTables {
    fn url(&self) -> String {
        self.told.clone()
    }

    fn connect(&self) -> Result<Box<dyn Application>, Failed> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let opts = Opts::from_url(&self.direct).expect("a URL");
        // An update counts the rows that it has found.
        let opts = OptsBuilder::from_opts(opts)
            .prefer_socket(false)
            .client_found_rows(true)
            .init(vec!["SET time_zone = '+00:00', NAMES utf8mb4"]);
        let connecting = async {
            match tokio::time::timeout(CONNECT, Conn::new(opts)).await {
                Ok(connected) => connected.map_err(|error| meaning(&error)),
                Err(_) => Err(Failed { why: Why::Lost, said: "no connection in time".to_owned() }),
            }
        };
        let conn = runtime.block_on(connecting)?;
        Ok(Box::new(Connected { conn: Some(conn), transactions: 0, runtime }))
    }

    fn parameter(&self, _: usize, kind: Kind) -> String {
        match kind {
            Kind::Moment => "CAST(REPLACE(REPLACE(?, 'T', ' '), 'Z', '') AS DATETIME(6))".to_owned(),
            _ => "?".to_owned(),
        }
    }

    fn read(&self, column: &str, kind: Kind) -> String {
        match kind {
            Kind::Number | Kind::Flag => format!("CAST({column} AS SIGNED)"),
            Kind::Bytes => column.to_owned(),
            Kind::Moment => format!("CONCAT(DATE_FORMAT({column}, '%Y-%m-%dT%H:%i:%s.%f'), 'Z')"),
            _ => format!("CAST({column} AS CHAR)"),
        }
    }

    fn column(&self, kind: Kind) -> Option<&'static str> {
        match kind {
            Kind::Number => Some("BIGINT"),
            Kind::Flag => Some("BOOLEAN"),
            Kind::Bytes => Some("BLOB"),
            Kind::Word | Kind::Unique => Some("VARCHAR(80)"),
            Kind::Money => Some("DECIMAL(14, 2)"),
            Kind::Moment => Some("TIMESTAMP(6)"),
            Kind::Json => Some("JSON"),
            Kind::Uuid => Some("UUID"),
            Kind::List => None,
        }
    }

    fn generated(&self) -> &'static str {
        "BIGINT AUTO_INCREMENT PRIMARY KEY"
    }

    fn replaces(&self) -> bool {
        true
    }

    fn begin(&self) -> &'static str {
        "START TRANSACTION"
    }

    fn installed(&self) -> Vec<String> {
        (self as &dyn Database).rows(
            "SELECT CONCAT('table ', TABLE_NAME) AS name FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE 'changeover%' \
             UNION ALL SELECT CONCAT('trigger ', TRIGGER_NAME) FROM information_schema.TRIGGERS \
             WHERE TRIGGER_SCHEMA = DATABASE() AND TRIGGER_NAME LIKE 'changeover%' ORDER BY name",
        )
    }
}

struct Connected {
    /// There until it is dropped.
    conn: Option<Conn>,
    /// How many it has committed.
    transactions: u64,
    /// Dropped after the connection, which is closed here.
    runtime: Runtime,
}

impl Connected {
    fn conn(&mut self) -> (&Runtime, &mut Conn) {
        (&self.runtime, self.conn.as_mut().expect("a connection"))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            // One that is lost can't say goodbye.
            drop(self.runtime.block_on(async { tokio::time::timeout(CONNECT, conn.disconnect()).await }));
        }
    }
}

impl Application for Connected {
    fn batch(&mut self, sql: &str) -> Result<(), Failed> {
        let (runtime, conn) = self.conn();
        runtime.block_on(conn.query_drop(sql)).map_err(|error| meaning(&error))
    }

    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<usize, Failed> {
        let (runtime, conn) = self.conn();
        runtime.block_on(conn.exec_drop(sql, sent(parameters))).map_err(|error| meaning(&error))?;
        let rows = usize::try_from(conn.affected_rows()).expect("few rows");
        // It counts those that made way too.
        Ok(if sql.starts_with("REPLACE") { rows.min(1) } else { rows })
    }

    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Vec<Value>>, Failed> {
        let (runtime, conn) = self.conn();
        let rows: Vec<Row> =
            runtime.block_on(conn.exec(sql, sent(parameters))).map_err(|error| meaning(&error))?;
        Ok(rows.into_iter().map(received).collect())
    }

    fn commit(&mut self) -> Result<(), Failed> {
        self.transactions += 1;
        let number = self.transactions;
        let id = self.conn().1.id();
        // Unlike any other's, also after the server has counted its connections anew.
        let token = format!("{}-{id}-{number}-{}", std::process::id(), fresh());
        self.execute("INSERT INTO outcomes VALUES (?)", &[Value::Text(token.clone())])?;
        self.batch("COMMIT").map_err(|failed| match failed.why {
            Why::Lost => {
                let ask = format!("SELECT COUNT(*) FROM outcomes WHERE token = '{token}'");
                Failed { why: Why::InDoubt(ask), ..failed }
            }
            _ => failed,
        })
    }
}

fn fresh() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn sent(parameters: &[Value]) -> Params {
    let one = |value: &Value| match value {
        Value::Null => Raw::NULL,
        Value::Integer(n) => Raw::Int(*n),
        Value::Real(x) => Raw::Double(*x),
        Value::Text(text) => Raw::Bytes(text.clone().into_bytes()),
        Value::Blob(bytes) => Raw::Bytes(bytes.clone()),
    };
    if parameters.is_empty() {
        Params::Empty
    } else {
        Params::Positional(parameters.iter().map(one).collect())
    }
}

fn received(row: Row) -> Vec<Value> {
    let columns = row.columns();
    columns.iter().zip(row.unwrap()).map(|(column, raw)| value(column, raw)).collect()
}

fn value(column: &Column, raw: Raw) -> Value {
    match raw {
        Raw::NULL => Value::Null,
        Raw::Int(n) => Value::Integer(n),
        Raw::UInt(n) => Value::Integer(i64::try_from(n).expect("a number that isn't large")),
        Raw::Float(x) => Value::Real(x.into()),
        Raw::Double(x) => Value::Real(x),
        Raw::Bytes(bytes) if is_bytes(column) => Value::Blob(bytes),
        Raw::Bytes(bytes) => Value::Text(String::from_utf8(bytes).expect("a text")),
        other @ (Raw::Date(..) | Raw::Time(..)) => panic!("{} is {other:?}", column.name_str()),
    }
}

fn is_bytes(column: &Column) -> bool {
    column.character_set() == BINARY && column.column_type() == ColumnType::MYSQL_TYPE_BLOB
}

/// The fence, a deadlock, a lock that wasn't got: the transaction may be tried again. A server that goes away, that it's gone.
fn meaning(error: &mysql_async::Error) -> Failed {
    let why = match error {
        mysql_async::Error::Server(said) => match (said.code, said.state.as_str()) {
            (1644, "40001") | (1205 | 1213 | 1020, _) => Why::Again,
            (1053 | 1077 | 1079 | 1927 | 2002..=2013 | 4031, _) => Why::Lost,
            (_, state) if state.starts_with("08") => Why::Lost,
            _ => Why::Other,
        },
        mysql_async::Error::Url(_) => Why::Other,
        _ => Why::Lost,
    };
    Failed { why, said: format!("{error:?}") }
}
