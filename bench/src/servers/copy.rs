//! `copy` on servers: `changeover copy` beside the databases' own clients, one piped into the other, with the key there in both.
//! The comparison that ends a copy isn't in its time; its memory is in the peak.

use super::{Kind, Place, Servers, Table, pipe, spec};
use crate::command::{changeover, number};
use crate::report::{Case, median};

/// How often each is run; the limit and ours take turns.
const ROUNDS: usize = 5;

/// The most memory that a copy may take, whatever the size of the table.
const MEMORY_MB_MAX: f64 = 100.0;

/// Which copies there are, and the share of the limit that is aimed at.
const COPIES: [(Kind, Table); 4] = [
    (Kind::Postgres, Table::Narrow),
    (Kind::Postgres, Table::Wide),
    (Kind::MariaDb, Table::Narrow),
    (Kind::Sqlite, Table::Narrow),
];

/// All copies whose name has this text in it.
pub(crate) fn copy(rows: Option<u64>, only: Option<&str>) -> Result<Vec<Case>, String> {
    let servers = Servers::default();
    let mut cases = Vec::new();
    for (from, table) in COPIES {
        let name = format!("{} → PostgreSQL, {}", from.name(), table.name());
        if only.is_some_and(|only| !name.to_lowercase().contains(&only.to_lowercase())) {
            continue;
        }
        let rows = table.rows(rows);
        eprintln!("bench: copy, {name}, {rows} rows …");
        let (old, new) = (servers.place(from)?, servers.place(Kind::Postgres)?);
        old.fill(table, rows)?;
        new.fill(table, 0)?;
        cases.extend(measure(&old, &new, table, rows, &format!("{name}, {rows} rows"))?);
    }
    Ok(cases)
}

fn measure(
    old: &Place<'_>,
    new: &Place<'_>,
    table: Table,
    rows: u64,
    name: &str,
) -> Result<[Case; 2], String> {
    let folder = spec(old, new, table)?;
    let (mut ours, mut limit, mut peak, mut limit_is) = (Vec::new(), Vec::new(), Vec::new(), "");
    for round in 1..=ROUNDS {
        new.empty(table)?;
        let (took, what) = pipe::copy(old, new, table, rows)?;
        new.empty(table)?;
        let report = changeover(folder.path(), &["copy", "bench.toml", "--json"])?;
        let seconds = number(&report, "copy_seconds")?;
        eprintln!("bench:   {round}: the limit {:.2} s, ours {seconds:.2} s", took.as_secs_f64());
        limit.push(rows as f64 / took.as_secs_f64());
        ours.push(rows as f64 / seconds);
        peak.push(number(&report, "peak_memory_bytes")? / 1e6);
        limit_is = what;
    }
    new.empty(table)?;
    let speed = Case::rate("copy", name, "rows/s", median(ours), (limit_is, median(limit)));
    let memory = ("what a copy may take", MEMORY_MB_MAX);
    let memory = Case::cost("copy", format!("{name}, memory"), "MB", median(peak), memory).at_least(1.0);
    Ok([speed, memory])
}
