//! A database of a kind, as somebody fills it and looks at it who knows nothing of Changeover.

use std::collections::BTreeMap;

use changeover_testkit::servers::{MariaDb, Postgres};
use rusqlite::Connection;

use crate::column::{Column, Kind};
use crate::support::Place;

/// What an application may have said that lets anything pass.
const LENIENT: &str = "SET sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00'; ";

/// The values of a column that is the row's only one.
pub type Spelled = BTreeMap<(i64, &'static str), String>;

/// A database.
pub struct Base {
    pub kind: Kind,
    pub url: String,
    name: String,
}

impl Base {
    /// A new one, in which `things` has these columns.
    pub fn make(kind: Kind, place: &Place, hint: &str, first: &str, columns: &[&Column]) -> Self {
        let (url, name) = match kind {
            Kind::Postgres => {
                let name = Postgres::shared().create_database(hint);
                (Postgres::shared().url(&name), name)
            }
            Kind::MariaDb => {
                let name = MariaDb::shared().create_database(hint);
                (MariaDb::shared().url(&name), name)
            }
            Kind::Sqlite => {
                let path = place.path(&format!("{hint}.db")).display().to_string();
                (format!("sqlite:{path}"), path)
            }
        };
        let base = Self { kind, url, name };
        let declared = |column: &&Column| {
            let declared = column.declared(kind).expect("a column that it has");
            // A TIMESTAMP of MariaDB's is NOT NULL by itself.
            let null = if declared.starts_with("TIMESTAMP") { " NULL" } else { "" };
            format!(", {} {declared}{null}", column.name)
        };
        let columns: String = columns.iter().map(declared).collect();
        let key = if kind == Kind::Sqlite { "INTEGER" } else { "BIGINT" };
        base.sql(&format!("{first}; CREATE TABLE things (id {key} PRIMARY KEY{columns})"));
        base
    }

    /// Executes statements.
    #[track_caller]
    pub fn sql(&self, sql: &str) {
        match self.kind {
            Kind::Postgres => drop(Postgres::shared().psql(&self.name, sql)),
            Kind::MariaDb => drop(MariaDb::shared().sql(&self.name, &format!("{LENIENT}{sql}"))),
            Kind::Sqlite => Connection::open(&self.name).unwrap().execute_batch(sql).unwrap(),
        }
    }

    /// What stands in these places, written so that no two values look alike.
    pub fn spelled(&self, places: &[(i64, &'static Column)]) -> Spelled {
        let value = |(id, column): &(i64, &'static Column)| {
            let name = column.name;
            let value = match self.kind {
                Kind::Postgres => format!("replace(quote_nullable({name}::text), E'\\n', '\\n')"),
                Kind::MariaDb if column.declared(self.kind) == Some("FLOAT") => {
                    format!("IFNULL(HEX(CAST(CAST({name} AS DOUBLE) AS BINARY)), 'NULL')")
                }
                Kind::MariaDb => format!("IFNULL(HEX(CAST({name} AS BINARY)), 'NULL')"),
                Kind::Sqlite => name.to_owned(),
            };
            format!("SELECT id, {value} FROM things WHERE id = {id}")
        };
        let mut all = Spelled::new();
        // A statement may have only so many parts.
        for places in places.chunks(200) {
            let sql = places.iter().map(value).collect::<Vec<_>>().join(" UNION ALL ");
            let found: BTreeMap<i64, String> = self.pairs(&sql).into_iter().collect();
            for (id, column) in places {
                if let Some(text) = found.get(id) {
                    all.insert((*id, column.name), text.clone());
                }
            }
        }
        all
    }

    fn pairs(&self, sql: &str) -> Vec<(i64, String)> {
        let apart = |text: String, by: char| -> Vec<(i64, String)> {
            let pair = |line: &str| {
                let (id, value) = line.split_once(by).unwrap_or_else(|| panic!("{line}"));
                (id.parse().unwrap(), value.to_owned())
            };
            text.lines().map(pair).collect()
        };
        match self.kind {
            Kind::Postgres => apart(Postgres::shared().psql(&self.name, sql), '|'),
            Kind::MariaDb => apart(MariaDb::shared().sql(&self.name, sql), '\t'),
            Kind::Sqlite => {
                let connection = Connection::open(&self.name).unwrap();
                let mut statement = connection.prepare(sql).unwrap();
                let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, format!("{:?}", row.get_ref(1)?)));
                statement.query_map((), row).unwrap().collect::<Result<_, _>>().unwrap()
            }
        }
    }
}
