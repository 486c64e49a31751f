//! `verify` on servers: `changeover verify` beside what the databases take for a digest of both tables at once, or, where they
//! aren't of one kind, beside both clients that read them in the order of their keys into nothing. Where `reladiff` is in the
//! PATH (`pip install 'reladiff[postgresql,mysql]'`) it compares the same tables, by turns with ours.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Kind, Place, Servers, Table, pipe, spec};
use crate::command::{asked, number};
use crate::report::{Case, median};

/// How often each is run; the limit and ours take turns.
const ROUNDS: usize = 5;

/// How many rows differ where some do, evenly spread.
const DIFFERING: u64 = 100;

/// Which comparisons there are.
const PAIRS: [(Kind, Kind, Table); 4] = [
    (Kind::Postgres, Kind::Postgres, Table::Narrow),
    (Kind::Postgres, Kind::Postgres, Table::Wide),
    (Kind::Postgres, Kind::MariaDb, Table::Narrow),
    (Kind::Sqlite, Kind::Postgres, Table::Narrow),
];

/// All comparisons whose name has this text in it: of sides that are the same, and of sides that differ in a few rows.
pub(crate) fn verify(rows: Option<u64>, only: Option<&str>) -> Result<Vec<Case>, String> {
    let servers = Servers::default();
    let mut cases = Vec::new();
    for (from, to, table) in PAIRS {
        let name = format!("{} → {}, {}", from.name(), to.name(), table.name());
        if only.is_some_and(|only| !name.to_lowercase().contains(&only.to_lowercase())) {
            continue;
        }
        let rows = table.rows(rows);
        eprintln!("bench: verify, {name}, {rows} rows a side …");
        let (old, new) = (servers.place(from)?, servers.place(to)?);
        old.fill(table, rows)?;
        fill_alike(&old, &new, table, rows)?;
        cases.extend(measure(&old, &new, table, rows, (&format!("{name}, {rows} rows a side, equal"), 0))?);
        let differing = DIFFERING.min(rows);
        new.sql(&table.damage(rows, differing))?;
        let name = format!("{name}, {rows} rows a side, {differing} differ");
        cases.extend(measure(&old, &new, table, rows, (&name, differing))?);
    }
    Ok(cases)
}

/// What a file can't compute as a server does is copied.
fn fill_alike(old: &Place<'_>, new: &Place<'_>, table: Table, rows: u64) -> Result<(), String> {
    if old.kind() != Kind::Sqlite {
        return new.fill(table, rows);
    }
    new.fill(table, 0)?;
    pipe::copy(old, new, table, rows)?;
    new.rest(table)
}

fn measure(
    old: &Place<'_>,
    new: &Place<'_>,
    table: Table,
    rows: u64,
    (name, differing): (&str, u64),
) -> Result<Vec<Case>, String> {
    let folder = spec(old, new, table)?;
    let (mut ours, mut limit, mut others, mut limit_is) = (Vec::new(), Vec::new(), Vec::new(), "");
    for round in 1..=ROUNDS {
        let (took, what) = both_read(old, new, table)?;
        let report = asked(folder.path(), &["verify", "bench.toml", "--json"])?;
        let seconds = number(&report, "seconds")?;
        let found = report.pointer("/tables/0/differing").and_then(serde_json::Value::as_u64);
        if found != Some(differing) {
            return Err(format!("{name}: {found:?} rows were found to differ"));
        }
        eprintln!("bench:   {round}: the limit {:.2} s, ours {seconds:.2} s", took.as_secs_f64());
        limit.push(rows as f64 / took.as_secs_f64());
        ours.push(rows as f64 / seconds);
        limit_is = what;
        if let Some(took) = reladiff(old, new, table)? {
            eprintln!("bench:      reladiff {:.2} s", took.as_secs_f64());
            others.push(rows as f64 / took.as_secs_f64());
        }
    }
    let ours = median(ours);
    let mut cases = vec![Case::rate("verify", name, "rows/s", ours, (limit_is, median(limit)))];
    if !others.is_empty() {
        let times = if old.kind() == new.kind() { TIMES_ONE_KIND } else { TIMES_TWO_KINDS };
        let other = ("reladiff", median(others));
        cases.push(Case::rate("verify", name, "rows/s", ours, other).at_least(times));
    }
    Ok(cases)
}

/// How many times as fast as reladiff a comparison is to be.
const TIMES_ONE_KIND: f64 = 4.0;
const TIMES_TWO_KINDS: f64 = 2.5;

/// What reladiff takes for the same tables, if it is here and knows both databases and all columns.
fn reladiff(old: &Place<'_>, new: &Place<'_>, table: Table) -> Result<Option<Duration>, String> {
    let knows = |place: &Place<'_>| matches!(place.kind(), Kind::Postgres | Kind::MariaDb);
    if table != Table::Narrow || !knows(old) || !knows(new) {
        return Ok(None);
    }
    let name = table.name();
    let mut command = Command::new("reladiff");
    let [old, new] = [old, new].map(|place| place.url().replacen("postgres://", "postgresql://", 1));
    command.args([&*old, name, &*new, name, "--key-columns", "id", "--stats"]);
    for column in ["account", "amount", "filler"] {
        command.args(["--columns", column]);
    }
    let started = Instant::now();
    match command.stdout(Stdio::null()).stderr(Stdio::piped()).output() {
        Ok(output) if output.status.success() => Ok(Some(started.elapsed())),
        Ok(output) => Err(format!("reladiff: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("reladiff: {error}")),
    }
}

/// Both sides at once, as fast as they give anything that could be compared.
fn both_read(old: &Place<'_>, new: &Place<'_>, table: Table) -> Result<(Duration, &'static str), String> {
    let name = table.name();
    let one_kind = old.kind() == Kind::Postgres && new.kind() == Kind::Postgres;
    let digest = format!("SELECT count(*), sum(hashtextextended({name}::text, 0)) FROM {name}");
    let reader = |place: &Place<'_>| -> Result<Command, String> {
        Ok(match place {
            Place::Postgres { .. } if one_kind => pipe::psql(place, &digest),
            Place::Postgres { .. } => pipe::psql(
                place,
                &format!("COPY (SELECT * FROM {name} ORDER BY id) TO STDOUT (FORMAT binary)"),
            ),
            _ => pipe::reader(place, table)?.0,
        })
    };
    let started = Instant::now();
    let mut both = Vec::new();
    for place in [old, new] {
        both.push(pipe::start(reader(place)?.stdout(Stdio::null()))?);
    }
    for mut one in both {
        let status = one.wait().map_err(|e| e.to_string())?;
        if !status.success() {
            return Err(format!("reading {name}: {status}"));
        }
    }
    let what = if one_kind { "the servers' hash of both at once" } else { "reading both at once" };
    Ok((started.elapsed(), what))
}
