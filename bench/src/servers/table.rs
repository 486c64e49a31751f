//! The tables that are measured on servers: one of narrow rows, one of wide rows. Their rows are made in the database, and
//! are the same each time.

use super::Kind;

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// Three integers and 84 characters: 114 bytes of a binary COPY.
    Narrow,
    /// One column of each type that costs something, some 500 bytes; PostgreSQL's only.
    Wide,
}

const WIDE: &str = "CREATE TABLE wide (
  id bigint PRIMARY KEY, document jsonb NOT NULL, at timestamptz NOT NULL, amount numeric(20, 6) NOT NULL,
  note text, data bytea, ref uuid NOT NULL, tags text[] NOT NULL, counts int[])";

const FILL_WIDE: &str = "INSERT INTO wide SELECT n,
  jsonb_build_object('id', n, 'state', (ARRAY['booked', 'flown', 'cancelled'])[(n % 3)::int + 1], 'price', n % 90000 / 100.0,
    'seats', jsonb_build_array(n % 30, n % 7), 'passenger', jsonb_build_object('name', md5(n::text), 'vip', n % 2 = 0)),
  timestamptz '2020-01-01 00:00:00Z' + n * interval '1.000001 seconds',
  (n * 7919 % 1000000007)::numeric / 1000000,
  CASE WHEN n % 10 > 0 THEN repeat(md5((n + 1)::text) || ' ', 4) END,
  CASE WHEN n % 10 > 1 THEN decode(repeat(md5((n + 2)::text), 4), 'hex') END,
  md5((n + 3)::text)::uuid,
  ARRAY['north', md5((n % 100)::text), 'window ' || n % 30],
  CASE WHEN n % 10 > 2 THEN ARRAY[n % 11, n % 101, n % 1009, n % 10007, n]::int[] END
  FROM generate_series(1::bigint, $rows) n";

impl Table {
    /// Its name, on both sides.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Narrow => "narrow",
            Self::Wide => "wide",
        }
    }

    /// How many rows it has where nobody says.
    pub(crate) const fn rows(self, asked: Option<u64>) -> u64 {
        match (self, asked) {
            (Self::Narrow, None) => 5_000_000,
            (Self::Wide, None) => 1_000_000,
            (Self::Narrow, Some(rows)) => rows,
            (Self::Wide, Some(rows)) => {
                if rows < 5 {
                    1
                } else {
                    rows / 5
                }
            }
        }
    }

    pub(super) fn create(self, kind: Kind) -> String {
        match (self, kind) {
            (Self::Narrow, _) => "CREATE TABLE narrow (id int PRIMARY KEY, account int NOT NULL, \
                                  amount int NOT NULL, filler char(84) NOT NULL)"
                .to_owned(),
            (Self::Wide, _) => WIDE.to_owned(),
        }
    }

    /// Makes so many of its rows others, evenly spread.
    pub(super) fn damage(self, rows: u64, differing: u64) -> String {
        let step = rows / differing;
        format!("UPDATE {} SET amount = amount + 1 WHERE id % {step} = {}", self.name(), step / 2)
    }

    pub(super) fn fill(self, kind: Kind, rows: u64) -> String {
        let numbers = "n, n * 7919 % 1000003, n % 90000 - 45000";
        match (self, kind) {
            (Self::Narrow, Kind::Postgres) => format!(
                "INSERT INTO narrow SELECT {numbers}, repeat(md5(n::text), 2) || left(md5(n::text), 20) \
                 FROM generate_series(1::bigint, {rows}) n"
            ),
            (Self::Narrow, Kind::MariaDb) => {
                // Without a sign it is out of range below 0.
                let numbers = numbers.replace('n', "CAST(seq AS SIGNED)");
                format!(
                    "INSERT INTO narrow SELECT {numbers}, concat(md5(seq), md5(seq), left(md5(seq), 20)) \
                     FROM seq_1_to_{rows}"
                )
            }
            (Self::Narrow, Kind::Sqlite) => format!(
                "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows}) \
                 INSERT INTO narrow SELECT {numbers}, printf('%028d%028d%028d', n, n * 7919, n * 104729) FROM s"
            ),
            (Self::Wide, _) => FILL_WIDE.replace("$rows", &rows.to_string()),
        }
    }
}
