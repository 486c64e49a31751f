//! `capture` on servers: pgbench's own transactions on tables with capture's triggers and without, and beside the least trigger
//! that logs a key: how many a second, and what each costs the server.

use std::process::Command;

use changeover::mapping::{TableMapping, TableRef};
use changeover::store::capture::CaptureOptions;
use changeover::{Side, StoreError};
use changeover_tables::database::Database as _;
use changeover_tables::plan::{Mirroring, plan};
use changeover_tables::postgres::{PostgresDatabase, PostgresOptions};
use changeover_testkit::servers::Postgres;

use super::{Kind, Place, Servers};
use crate::report::{Case, median};

/// How often each is run; they take turns.
const ROUNDS: usize = 5;
/// What pgbench is told: its clients, and how many transactions each of them runs.
const CLIENTS: u32 = 4;
const TRANSACTIONS: u32 = 5_000;
/// As many branches as clients would wait for each other at; each has 100,000 accounts.
const SCALE: &str = "20";

/// What a transaction of an application's may cost with capture, of what it costs without.
const COST_MAX: f64 = 1.26;

/// Its tables that have a key. Each of its transactions changes a row of each of them.
const TABLES: [(&str, &str); 3] =
    [("pgbench_accounts", "aid"), ("pgbench_tellers", "tid"), ("pgbench_branches", "bid")];

/// What a run said.
struct Run {
    per_second: f64,
    cpu_ms: f64,
}

/// Capture on PostgreSQL.
pub(crate) fn capture(only: Option<&str>) -> Result<Vec<Case>, String> {
    if only.is_some_and(|only| !"postgresql".contains(&only.to_lowercase())) {
        return Ok(Vec::new());
    }
    let servers = Servers::default();
    let mut places = Vec::new();
    for (what, prepare) in [("without", nothing as Prepare), ("captured", ours), ("bare", bare)] {
        eprintln!("bench: capture, PostgreSQL, {what} …");
        let place = servers.place(Kind::Postgres)?;
        pgbench(&place, &["-i", "-q", "-s", SCALE])?;
        prepare(&place, &servers)?;
        places.push(place);
    }
    let mut runs: [Vec<Run>; 3] = Default::default();
    for round in 1..=ROUNDS {
        for (place, runs) in places.iter().zip(&mut runs) {
            runs.push(run(place)?);
        }
        let said = runs
            .iter()
            .filter_map(|runs| runs.last())
            .map(|r| format!("{:.0}/s {:.3} ms", r.per_second, r.cpu_ms));
        eprintln!("bench:   {round}: {}", said.collect::<Vec<_>>().join(", "));
    }
    let [without, with, bare] = runs;
    let middle = |runs: &[Run], of: fn(&Run) -> f64| median(runs.iter().map(of).collect());
    let (rate, cpu) = (|run: &Run| run.per_second, |run: &Run| run.cpu_ms);
    let name = "PostgreSQL, pgbench, 3 changes a transaction";
    let cost = format!("{name}, CPU of the server");
    Ok(vec![
        Case::rate("capture", name, "tx/s", middle(&with, rate), ("without capture", middle(&without, rate))),
        Case::cost(
            "capture",
            cost.clone(),
            "ms/tx",
            middle(&with, cpu),
            ("without capture", middle(&without, cpu)),
        )
        .at_least(1.0 / COST_MAX),
        Case::cost(
            "capture",
            cost,
            "ms/tx",
            middle(&with, cpu),
            ("the least trigger that logs", middle(&bare, cpu)),
        ),
    ])
}

type Prepare = fn(&Place<'_>, &Servers) -> Result<(), String>;

fn nothing(_: &Place<'_>, _: &Servers) -> Result<(), String> {
    Ok(())
}

/// No bound, no change of keys, no rights and no search path of its own.
fn bare(place: &Place<'_>, _: &Servers) -> Result<(), String> {
    place.sql("CREATE SCHEMA changeover; CREATE TABLE changeover.changeover_log_bare (id bigserial PRIMARY KEY, k int)")?;
    for (table, key) in TABLES {
        place.sql(&format!(
            "CREATE FUNCTION bare_{key}() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN INSERT INTO changeover.changeover_log_bare (k) VALUES (NEW.{key}); RETURN NULL; END $$; \
             CREATE TRIGGER bare AFTER INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION bare_{key}()"
        ))?;
    }
    Ok(())
}

/// What `run` installs on the old side.
fn ours(place: &Place<'_>, servers: &Servers) -> Result<(), String> {
    let new = servers.place(Kind::Postgres)?;
    pgbench(&new, &["-i", "-q", "-I", "tp"])?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let work = async {
        let old = PostgresDatabase::open("old", &place.url(), PostgresOptions::default()).await?;
        let new = PostgresDatabase::open("new", &new.url(), PostgresOptions::default()).await?;
        let mapping =
            |(table, _)| TableMapping::new(TableRef::new("old", table), TableRef::new("new", table));
        let mappings: Vec<TableMapping> = TABLES.into_iter().map(mapping).collect();
        let plan = plan(&mappings, &[old.catalog().await?, new.catalog().await?], Mirroring::Capture);
        let store = old.side("bench", Side::Old, &plan).await?;
        match store.capture() {
            Some(log) => log.install(CaptureOptions { bound: 10_000_000, overflow: true }).await,
            None => Ok(()),
        }
    };
    runtime.block_on(work).map_err(|e: StoreError| e.to_string())
}

fn run(place: &Place<'_>) -> Result<Run, String> {
    let Place::Postgres { server, .. } = place else { return Err("pgbench is PostgreSQL's".to_owned()) };
    // As the mirror's worker would: the log doesn't grow for ever.
    place.sql(
        "DO $$ DECLARE log text; BEGIN FOR log IN SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'changeover' AND c.relkind = 'r' \
         AND c.relname LIKE 'changeover\\_log%' LOOP EXECUTE 'TRUNCATE ' || log; END LOOP; END $$",
    )?;
    place.sql("VACUUM pgbench_tellers; VACUUM pgbench_branches; TRUNCATE pgbench_history; CHECKPOINT")?;
    let before = cpu_ms(server)?;
    let (clients, each) = (CLIENTS.to_string(), TRANSACTIONS.to_string());
    let said = pgbench(place, &["-n", "-M", "prepared", "-c", &clients, "-j", "1", "-t", &each])?;
    let spent = cpu_ms(server)? - before;
    let rate = said.lines().find_map(|line| line.strip_prefix("tps = "));
    let rate = rate.and_then(|rest| rest.split_whitespace().next()).and_then(|rate| rate.parse().ok());
    Ok(Run {
        per_second: rate.ok_or_else(|| format!("pgbench didn't say how fast it was: {said}"))?,
        cpu_ms: spent / f64::from(CLIENTS * TRANSACTIONS),
    })
}

fn pgbench(place: &Place<'_>, args: &[&str]) -> Result<String, String> {
    let output = Command::new("pgbench").args(args).arg(place.url()).output();
    let output =
        output.map_err(|e| format!("pgbench can't be started: {e} (Debian's package postgresql-contrib)"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("pgbench: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// What the server's processes have taken so far, those that are gone too.
fn cpu_ms(server: &Postgres) -> Result<f64, String> {
    let file = server.folder().join("data/postmaster.pid");
    let pid = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let pid = pid.lines().next().unwrap_or_default().trim();
    let children = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(&children).map_err(|e| format!("{children}: {e}"))?;
    let own = ticks(pid, true).ok_or("the server's time isn't to be had")?;
    // One that ends between the two looks is in its parent's by then.
    let ticks: u64 = own + children.split_whitespace().filter_map(|child| ticks(child, false)).sum::<u64>();
    Ok(ticks as f64 * 1_000.0 / TICKS_PER_SECOND)
}

/// As Linux counts for programs, whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;

fn ticks(pid: &str, with_children: bool) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the program's name, which may have anything in it: user and system time, then those of children that are gone.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let counted = if with_children { 11..15 } else { 11..13 };
    fields.get(counted)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}
