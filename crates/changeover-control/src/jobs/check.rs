//! `check`: the plan in plain words, what would fail, and the SQL that removes everything. Changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use changeover::{Side, TableName};
use changeover_api::Spec;
use changeover_tables::data::{Duplicates, TableData, check_data};
use changeover_tables::database::{Probed, SideStore};
use changeover_tables::plan::{Finding, Severity, TablePlan};
use changeover_tables::words::{self, ColumnWords};
use tokio::time::Instant;

use super::create::{MissingTable, missing};
use super::locks::{LockWords, locks};
use super::verify::state_of;
use super::{JobProgress, Stage, Told};
use crate::barrier;
use crate::conductor::{
    PUT_THE_COLUMN_BACK, Plan, Sides, begun, change_it_back, lost_columns, spec_change, what_becomes_of,
};
use crate::connect::{Connected, Elsewhere, mirroring};
use crate::error::ControlError;
use crate::neighbours;
use crate::rights;
use crate::shares;
use crate::state::SqliteState;

/// What a check found.
#[derive(Debug, Clone)]
pub struct CheckReport {
    /// The mappings that can be carried out.
    pub tables: Vec<CheckedTable>,
    /// What was found, the heaviest first; what the types say of the way back is among it.
    pub findings: Vec<Finding>,
    /// Which locks are taken, and when.
    pub locks: Vec<LockWords>,
    /// The new tables that are missing, each with what would make it.
    pub missing: Vec<MissingTable>,
    /// What the rows say, where they were asked.
    pub data: Vec<TableData>,
    /// What was tried for real in each store, where that was asked for.
    pub probed: BTreeMap<String, Vec<Probed>>,
    /// For each store, the SQL that removes by hand what this migration has installed in it, and what it may come to
    /// install.
    pub removal: BTreeMap<String, String>,
    /// Whether a rehearsal can be made of these databases.
    pub rehearsable: bool,
    /// Bytes of each store.
    pub bytes: BTreeMap<String, u64>,
}

/// One mapping in plain words.
#[derive(Debug, Clone)]
pub struct CheckedTable {
    /// The plan.
    pub plan: TablePlan,
    /// What each column of the new side is made of.
    pub forward: Vec<ColumnWords>,
    /// What each column of the old side is made of on the way back.
    pub backward: Vec<ColumnWords>,
    /// About how many rows the old side has.
    pub rows: u64,
}

impl CheckReport {
    /// Whether nothing stands in the way.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty()
            && self.findings.iter().all(|finding| finding.severity < Severity::Error)
            && self.data.iter().all(TableData::is_clean)
            && self.probed.values().flatten().all(|probed| probed.failed.is_none() || probed.optional)
    }
}

/// What a check is to look at beyond the tables' definitions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask {
    /// All rows.
    pub data: bool,
    /// Whether what a migration does can be done, by doing it on a table of its own.
    pub probe: bool,
}

/// Looks at both databases.
///
/// # Errors
/// A store that can't be reached.
pub async fn check(spec: &Spec, asked: Ask, told: Told<'_>) -> Result<CheckReport, ControlError> {
    let connected = Connected::open(spec, mirroring(spec), &Elsewhere::new()).await?;
    let report = check_in(&connected, spec, asked, told).await;
    connected.close().await;
    report
}

async fn check_in(
    connected: &Connected,
    spec: &Spec,
    asked: Ask,
    told: Told<'_>,
) -> Result<CheckReport, ControlError> {
    let mut findings = connected.plan.findings.clone();
    findings.extend(shares::findings(spec, &connected.plan));
    findings.extend(rights::findings(connected));
    findings.extend(neighbours::findings(connected, &spec.name).await?);
    let mut tables = Vec::new();
    let stores = stores(connected, &spec.name).await?;
    for store in stores.values() {
        findings.extend(store.check_expressions(&connected.plan.tables).await?);
    }
    // With an expression that can't be computed there is no row to be read.
    let is_sound = findings.iter().all(|finding| finding.severity < Severity::Error);
    for table in &connected.plan.tables {
        findings.extend(words::reversibility(table));
        let rows = match stores.get(&(table.old.store.clone(), Side::Old)) {
            Some(store) if is_sound => store.estimate(&table.name).await?,
            _ => 0,
        };
        tables.push(CheckedTable {
            plan: table.clone(),
            forward: words::forward(table),
            backward: words::backward(table),
            rows,
        });
    }
    if is_sound {
        for store in stores.values() {
            findings.extend(store.check_way_back(&connected.plan.tables).await?);
        }
        let sides = connected.sides(&spec.name).await?;
        findings.extend(since_the_last_run(spec, Some(&sides)).await?);
        for (table, rows) in sides.occupied().await? {
            findings.push(Finding {
                severity: Severity::Warning,
                table,
                column: None,
                what: what_becomes_of(rows),
                remedy: "if they are somebody's own: give them a table of their own, or let a constant in `set` tell them apart"
                    .to_owned(),
            });
        }
    } else {
        findings.extend(since_the_last_run(spec, None).await?);
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let seen = if asked.data && is_sound {
        let of = |side: Side| {
            let stores = &stores;
            move |name: &str| stores.get(&(name.to_owned(), side)).map(|store| &**store as &dyn Duplicates)
        };
        // Each row is read, and then tried.
        let mut reading = Reading::of(2 * tables.iter().map(|table| table.rows).sum::<u64>(), told);
        check_data(&connected.plan, of(Side::Old), of(Side::New), &mut |rows| reading.add(rows)).await?
    } else {
        Vec::new()
    };
    let removal = removal(connected, &stores, &spec.name).await?;
    Ok(CheckReport {
        locks: locks(
            spec.phases,
            &connected.catalogs.iter().map(|catalog| catalog.kind).collect(),
            tables.iter().map(|table| table.rows).sum(),
        ),
        tables,
        findings,
        missing: missing(connected),
        data: seen,
        probed: if asked.probe { probed(connected).await? } else { BTreeMap::new() },
        removal,
        rehearsable: connected.databases.values().all(|database| database.file().is_some()),
        bytes: connected.catalogs.iter().map(|catalog| (catalog.store.clone(), catalog.bytes)).collect(),
    })
}

/// Tries what a migration does in each database. Where nothing is captured, the old side is only read.
async fn probed(connected: &Connected) -> Result<BTreeMap<String, Vec<Probed>>, ControlError> {
    let mut all = BTreeMap::new();
    for (name, database) in &connected.databases {
        let is_new = connected.mappings.iter().any(|mapping| mapping.new.store == *name);
        if is_new || connected.captures {
            all.insert(name.clone(), database.probe().await?);
        }
    }
    Ok(all)
}

/// How far the rows are read.
struct Reading<'t> {
    progress: JobProgress,
    began: Instant,
    told: Told<'t>,
}

impl<'t> Reading<'t> {
    fn of(rows_all: u64, told: Told<'t>) -> Self {
        let progress = JobProgress {
            stage: Stage::Check,
            rows: 0,
            rows_all,
            rows_per_second: 0.0,
            left: None,
            waiting: None,
        };
        Self { progress, began: Instant::now(), told }
    }

    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    fn add(&mut self, rows: u64) {
        let progress = &mut self.progress;
        progress.rows += rows;
        progress.rows_per_second =
            progress.rows as f64 / self.began.elapsed().as_secs_f64().max(f64::EPSILON);
        let left = progress.rows_all.saturating_sub(progress.rows) as f64 / progress.rows_per_second;
        progress.left = Duration::try_from_secs_f64(left).ok();
        (self.told)(progress);
    }
}

/// What changed since the last run, and keeps the next one from going on.
async fn since_the_last_run(spec: &Spec, sides: Option<&Sides>) -> Result<Vec<Finding>, ControlError> {
    let Some(state) = SqliteState::open_existing(&state_of(spec), &spec.name).await? else {
        return Ok(Vec::new());
    };
    let known = barrier::load(&state).await?.map(|(_, control)| control);
    let refused = spec_change(&Plan::of(spec.clone()), &state, known.as_ref()).await?.refused;
    let error = |table: &str, what: String, remedy: String| Finding {
        severity: Severity::Error,
        table: TableName::from(table.to_owned()),
        column: None,
        what,
        remedy,
    };
    let mut findings: Vec<Finding> = refused
        .iter()
        .map(|change| {
            error(
                change.table().unwrap_or(&spec.name),
                change.to_string(),
                change_it_back(begun(known.as_ref())),
            )
        })
        .collect();
    if let Some(sides) = sides {
        let lost = lost_columns(sides, &state, known.as_ref()).await?;
        findings.extend(lost.into_iter().map(|lost| error(&spec.name, lost, PUT_THE_COLUMN_BACK.to_owned())));
    }
    Ok(findings)
}

async fn stores(
    connected: &Connected,
    migration: &str,
) -> Result<BTreeMap<(String, Side), Arc<dyn SideStore>>, ControlError> {
    let mut stores: BTreeMap<_, Arc<dyn SideStore>> = BTreeMap::new();
    for (name, database) in &connected.databases {
        for side in [Side::Old, Side::New] {
            let store = Arc::clone(database).side(migration, side, &connected.plan).await?;
            stores.insert((name.clone(), side), store);
        }
    }
    Ok(stores)
}

/// The SQL that removes everything by hand, store by store.
async fn removal(
    connected: &Connected,
    stores: &BTreeMap<(String, Side), Arc<dyn SideStore>>,
    migration: &str,
) -> Result<BTreeMap<String, String>, ControlError> {
    let mut removal = BTreeMap::new();
    for (name, database) in &connected.databases {
        let used = |side: &Side| {
            connected.plan.tables.iter().any(|table| match side {
                Side::Old => table.old.store == *name,
                Side::New => table.new.store == *name,
            })
        };
        let sides = [Side::Old, Side::New].into_iter().filter(used);
        let sides = sides.filter_map(|side| stores.get(&(name.clone(), side)));
        let may_have = sides.flat_map(|side| side.may_install()).collect();
        removal.insert(name.clone(), database.removal_sql(migration, may_have).await?);
    }
    Ok(removal)
}
