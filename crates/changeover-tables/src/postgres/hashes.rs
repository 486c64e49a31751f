//! PostgreSQL's own hash functions as the digest of a row.
//!
//! The columns are hashed one after the other, each with the hash so far as its seed: so a value is bound to its place and to all
//! values before it, and none runs into its neighbour. Which of them are NULL is hashed first. What has no hash that tells all
//! of its values apart (a `numeric` with its zeros, `-0.0`, JSON) is hashed as the bytes in which the server sends a record: a
//! type, a length (-1: NULL) and the value's bytes for each.
//!
//! Three of the server's functions look as if they would do and don't. `hash_record_extended` adds its columns up: two rows that
//! exchange a value leave the sum of their hashes as it was. `hashint8extended` folds its value to 32 bits before the seed is
//! seen: 1 and 4294967296 are the same to it whatever the seed. And the hash of a text goes by its collation, to which two texts
//! may be equal.

use changeover::Value;

use super::syntax::{Postgres, unbounded};
use crate::catalog::{ColumnInfo, Domain};
use crate::server::dialect::Statement;
use crate::server::digest::Hashes;
use crate::shape::SideTable;
use crate::syntax::Syntax as _;
use crate::types::Exact;

/// How many columns are hashed one by one: the others are sent as a record. Calls within calls have a depth that a server takes.
const ONE_BY_ONE: usize = 64;
/// How many bits of an `integer` say what is NULL.
const BITS: usize = 31;

/// How the values of a column are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hashed {
    /// As an `integer`.
    Int,
    /// As a `bigint`.
    Long,
    Uuid,
    /// As `text`, after a cast if it isn't one.
    Text(bool),
    /// As `text`, without the spaces at its end.
    Padded,
    /// As the server sends them.
    Sent,
}

/// How a column is hashed, if it can be.
fn hashed(column: &ColumnInfo) -> Option<Hashed> {
    if column.as_text {
        return Some(Hashed::Text(true));
    }
    let (element, is_array) = match column.declared.strip_suffix("[]") {
        Some(element) => (unbounded(element), true),
        None => (unbounded(&column.declared), false),
    };
    Some(match element.as_str() {
        known if is_array => return SENT.contains(&known).then_some(Hashed::Sent),
        "boolean" | "smallint" | "integer" => Hashed::Int,
        "bigint" => Hashed::Long,
        "uuid" => Hashed::Uuid,
        "text" | "character varying" => Hashed::Text(false),
        "bpchar" => Hashed::Padded,
        known if SENT.contains(&known) => Hashed::Sent,
        // A type that a user made has another number in each database, and so no bytes that are alike. As text its values are
        // told apart as well, but for the kinds of NaN of floats.
        _ => match &column.domain {
            Domain::Exact(exact) => match &exact.of {
                Exact::Bool
                | Exact::Int { .. }
                | Exact::Decimal { .. }
                | Exact::Text(_)
                | Exact::Bytes { .. }
                | Exact::Date { .. }
                | Exact::Time(_)
                | Exact::Timestamp(_)
                | Exact::Instant(_)
                | Exact::Interval { .. }
                | Exact::Uuid
                | Exact::Json(_)
                | Exact::Enum(_)
                | Exact::Bits { .. } => Hashed::Text(true),
                _ => return None,
            },
            _ => return None,
        },
    })
}

/// Types of PostgreSQL's own: their numbers, and how they are sent, are the same in each database of a version.
const SENT: &[&str] = &[
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "oid",
    "real",
    "double precision",
    "numeric",
    "text",
    "character varying",
    "bpchar",
    "uuid",
    "bytea",
    "date",
    "time without time zone",
    "time with time zone",
    "timestamp without time zone",
    "timestamp with time zone",
    "interval",
    "json",
    "jsonb",
    "bit",
    "bit varying",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "money",
    "tsvector",
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "int4range",
    "int8range",
    "numrange",
    "daterange",
    "tsrange",
    "tstzrange",
    "xid8",
    "pg_lsn",
];

impl Hashes for Postgres {
    fn maker(&self) -> &'static str {
        "SELECT (pg_catalog.current_setting('server_version_num')::int4 / 10000)::text || ', ' || \
         pg_catalog.current_setting('server_encoding')"
    }

    fn row_hash(&self, columns: &[&ColumnInfo], seed: i64) -> Option<String> {
        let ways: Vec<(&ColumnInfo, Hashed)> =
            columns.iter().map(|column| Some((*column, hashed(column)?))).collect::<Option<_>>()?;
        let is_sent =
            |at: usize, way: Hashed| way == Hashed::Sent || (at >= ONE_BY_ONE && way != Hashed::Text(true));
        let (mut alone, mut sent) = (Vec::new(), Vec::new());
        for (at, (column, way)) in ways.into_iter().enumerate() {
            if is_sent(at, way) {
                sent.push(self.name(&column.name));
            } else if at >= ONE_BY_ONE {
                sent.push(format!("{}::text", self.name(&column.name)));
            } else {
                alone.push((column, way));
            }
        }
        let mut hash = format!("({seed})::int8");
        let nulls: Vec<String> =
            alone.iter().filter(|(c, _)| !c.not_null).map(|(c, _)| self.name(&c.name)).collect();
        for some in nulls.chunks(BITS) {
            let bit = |(n, name): (usize, &String)| {
                format!("CASE WHEN {name} IS NULL THEN {} ELSE 0 END", 1_u32 << n)
            };
            let bits: Vec<String> = some.iter().enumerate().map(bit).collect();
            hash = format!("pg_catalog.hashint4extended({}, {hash})", bits.join(" + "));
        }
        for (column, way) in alone {
            hash = self.with_column(column, way, &hash);
        }
        if !sent.is_empty() {
            let record = format!("pg_catalog.record_send(ROW({}))", sent.join(", "));
            hash = format!("pg_catalog.hash_record_extended(ROW({record}), {hash})");
        }
        Some(hash)
    }

    fn bounds(&self, table: &SideTable, after: bool, rows: u64, most: usize) -> String {
        let columns = table.key.len();
        let names: Vec<String> = (0..columns).map(|n| format!("k{n}")).collect();
        let collated: Vec<String> = table.order.iter().map(|&at| table.key[at].collated.clone()).collect();
        let before: Vec<String> = table.order.iter().map(|&at| format!("changeover_bound.k{at}")).collect();
        let next = |condition: String| {
            format!(
                "(SELECT {} FROM {} WHERE {condition} ORDER BY {} OFFSET {} LIMIT 1)",
                table.key_list(),
                table.table,
                table.ordered_key(),
                rows - 1
            )
        };
        let first = next(if after { table.compare(">", 1) } else { "true".to_owned() });
        let names = names.join(", ");
        format!(
            "WITH RECURSIVE changeover_bound({names}, n) AS (SELECT changeover_next.*, 1 FROM {first} AS changeover_next \
             UNION ALL SELECT changeover_next.*, changeover_bound.n + 1 FROM changeover_bound CROSS JOIN LATERAL {} AS changeover_next \
             WHERE changeover_bound.n < {most}) SELECT {names} FROM changeover_bound ORDER BY n",
            next(self.compare_rows(&collated, ">", &before))
        )
    }

    fn each_range(
        &self,
        table: &SideTable,
        aggregates: &[&str],
        ranges: &[(Vec<Value>, Vec<Value>)],
    ) -> Statement {
        let columns = table.order.len();
        let (after, upto): (Vec<Vec<Value>>, Vec<Vec<Value>>) = ranges.iter().cloned().unzip();
        let mut params = Self::columns_of(&after, columns);
        params.extend(Self::columns_of(&upto, columns));
        let arrays: Vec<String> = (0..2 * columns)
            .map(|n| format!("${}::{}", n + 1, self.array_type(table, table.order[n % columns])))
            .collect();
        let names = |end: &str| (0..columns).map(|n| format!("{end}{n}")).collect::<Vec<_>>();
        let of_range =
            |end: &str| (0..columns).map(|n| format!("changeover_range.{end}{n}")).collect::<Vec<_>>();
        let collated: Vec<String> = table.order.iter().map(|&at| table.key[at].collated.clone()).collect();
        let sql = format!(
            "SELECT changeover_digest.* FROM unnest({}) WITH ORDINALITY AS changeover_range({}, {}, n) \
             CROSS JOIN LATERAL (SELECT {} FROM {} WHERE {} AND {}{}) AS changeover_digest ORDER BY changeover_range.n",
            arrays.join(", "),
            names("a").join(", "),
            names("z").join(", "),
            aggregates.join(", "),
            table.table,
            self.compare_rows(&collated, ">", &of_range("a")),
            self.compare_rows(&collated, "<=", &of_range("z")),
            table.and_scope()
        );
        Statement { sql, params }
    }
}

impl Postgres {
    /// A hash that a column's value is added to; a NULL as any value of its type.
    fn with_column(&self, column: &ColumnInfo, way: Hashed, hash: &str) -> String {
        let name = self.name(&column.name);
        let value = |cast: &str, instead: &str| {
            if column.not_null {
                format!("{name}{cast}")
            } else {
                format!("coalesce({name}{cast}, {instead})")
            }
        };
        match way {
            Hashed::Int => format!("pg_catalog.hashint4extended({}, {hash})", value("::int4", "0")),
            // Its bits into those of the hash: all of them count, as they don't in the server's own function.
            Hashed::Long => {
                format!("pg_catalog.hashint4extended(0, {hash} OPERATOR(pg_catalog.#) {})", value("", "0"))
            }
            Hashed::Uuid => {
                let nil = "'00000000-0000-0000-0000-000000000000'::uuid";
                format!("pg_catalog.uuid_hash_extended({}, {hash})", value("", nil))
            }
            Hashed::Text(cast) => {
                let value = value(if cast { "::text" } else { "" }, "''");
                format!("pg_catalog.hashtextextended({value} COLLATE \"C\", {hash})")
            }
            Hashed::Padded | Hashed::Sent => {
                format!("pg_catalog.hashbpcharextended({} COLLATE \"C\", {hash})", value("", "''"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
