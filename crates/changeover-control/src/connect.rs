//! From a spec to its stores: opened, their tables looked at, the plan made, the right to work on them taken.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use changeover::engine::{Links, Pair};
use changeover::store::Store;
use changeover::{Side, StoreError, TableName};
use changeover_api::Spec;
use changeover_api::spec::StoreUrl;
use changeover_tables::catalog::{Catalog, TableInfo};
use changeover_tables::database::{Database, Owned, Roads, Scope, SideStore};
use changeover_tables::mapping::{TableMapping, TableRef};
use changeover_tables::mysql::{MysqlDatabase, MysqlOptions};
use changeover_tables::plan::{Finding, Mirroring, Plan, Severity};
use changeover_tables::postgres::{PostgresDatabase, PostgresOptions};
use changeover_tables::sqlite::{SqliteDatabase, SqliteOptions};

use crate::columns::{self, Columns, Tables};
use crate::conductor::{Keeper, Sides};
use crate::error::ControlError;
use crate::place::place_of;
use crate::redaction;
use crate::shares;

/// The databases of a spec, open.
#[derive(Debug)]
pub(crate) struct Connected {
    /// By the store's name.
    pub(crate) databases: BTreeMap<String, Arc<dyn Database>>,
    pub(crate) catalogs: Vec<Catalog>,
    pub(crate) mappings: Vec<TableMapping>,
    pub(crate) plan: Plan,
    /// Whether changes are captured.
    pub(crate) captures: bool,
    /// For where in it what is found has its place.
    spec: Spec,
    /// The tables, each with its column, whose ids both sides' databases give out.
    counted_twice: Vec<(String, String)>,
}

/// Where a store's file is, if elsewhere than its spec says: for a rehearsal on copies.
pub(crate) type Elsewhere = BTreeMap<String, PathBuf>;

impl Connected {
    /// Opens the stores and looks at their tables. Changes nothing.
    ///
    /// # Errors
    /// A store that can't be reached, or a URL that isn't understood.
    pub(crate) async fn open(
        spec: &Spec,
        mirroring: Mirroring,
        elsewhere: &Elsewhere,
    ) -> Result<Self, ControlError> {
        let urls = spec.resolve_stores().map_err(|errors| ControlError::Spec(errors.to_string()))?;
        let mut databases: BTreeMap<String, Arc<dyn Database>> = BTreeMap::new();
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        let mut catalogs = Vec::new();
        for (name, url) in urls {
            let database = match elsewhere.get(&name) {
                Some(path) => file(&name, path.clone()).await?,
                None => open(&name, &url).await?,
            };
            if let Some(other) = known.insert(database.identifier(), name.clone()) {
                return Err(ControlError::Spec(format!(
                    "the stores `{other}` and `{name}` are one database, {}: give it one name, and use that for both sides",
                    database.place()
                )));
            }
            catalogs.push(database.catalog().await?);
            databases.insert(name, database);
        }
        let mappings = spec.mappings();
        let mut plan = changeover_tables::plan::plan(&mappings, &catalogs, mirroring);
        let redacted = redaction::findings(spec, &plan);
        plan.findings.extend(redacted);
        let counted_twice = shares::counted_twice(spec, &plan);
        let captures = mirroring == Mirroring::Capture;
        Ok(Self { databases, catalogs, mappings, plan, captures, spec: spec.clone(), counted_twice })
    }

    /// What stands in the way, if anything does.
    ///
    /// # Errors
    /// [`ControlError::Spec`] with every finding that is an error, and its remedy.
    pub(crate) fn check(&self) -> Result<(), ControlError> {
        refuse(&self.plan.findings, &self.spec)
    }

    /// The stores, linked.
    ///
    /// # Errors
    /// If a file can't be opened once more, a mapping's two sides don't fit, or an expression of the spec's can't be
    /// computed.
    pub(crate) async fn sides(&self, migration: &str) -> Result<Sides, ControlError> {
        let mut stores: BTreeMap<(String, Side), Arc<dyn SideStore>> = BTreeMap::new();
        let mut keepers: Vec<(Side, Arc<dyn Keeper>)> = Vec::new();
        let mut pairs = Vec::new();
        for table in &self.plan.tables {
            let mut of = async |side: Side| -> Result<Arc<dyn Store>, ControlError> {
                let name = if side == Side::Old { &table.old.store } else { &table.new.store };
                let known = (name.clone(), side);
                if let Some(store) = stores.get(&known) {
                    let store: Arc<dyn Store> = Arc::<dyn SideStore>::clone(store);
                    return Ok(store);
                }
                let database = self.databases.get(name).ok_or_else(|| {
                    ControlError::Spec(format!("table {}: there is no store `{name}`", table.name))
                })?;
                let store = Arc::clone(database).side(migration, side, &self.plan).await?;
                let kept = StoreKeeper::new((database, &store), migration, side, &self.plan);
                keepers.push((side, Arc::new(kept)));
                stores.insert(known, Arc::clone(&store));
                Ok(store)
            };
            let (old, new) = (of(Side::Old).await?, of(Side::New).await?);
            pairs.push(Pair { table: table.name.clone(), old, new, rules: table.rules.clone() });
        }
        let mut wrong = Vec::new();
        for store in stores.values() {
            wrong.extend(store.check_expressions(&self.plan.tables).await?);
        }
        refuse(&wrong, &self.spec)?;
        Ok(Sides::new(Links::new(pairs)?, keepers, self.counted_twice.clone(), Columns::of(&self.plan)))
    }

    /// Takes the right to run this migration on its tables, in every database. Whoever comes second is told `holder`.
    ///
    /// # Errors
    /// [`ControlError::Owned`] with whoever has it.
    pub(crate) async fn own(
        &self,
        migration: &str,
        holder: &str,
    ) -> Result<Vec<Box<dyn Owned>>, ControlError> {
        let mut owned = Vec::new();
        for (name, database) in &self.databases {
            let taken = database.own(migration, &self.worked_on(name), holder).await;
            owned.push(taken.map_err(|error| anothers(error, "Two runs must not meet: end that one first"))?);
        }
        Ok(owned)
    }
}

impl Connected {
    /// Closes the databases: each is one file then that has everything, unless others have it open.
    pub(crate) async fn close(&self) {
        for database in self.databases.values() {
            database.close().await;
        }
    }

    /// The tables of a store that the migration works on, each with which of its rows.
    pub(crate) fn worked_on(&self, store: &str) -> Vec<(String, Scope)> {
        let mut tables: Vec<(String, Scope)> = Vec::new();
        for table in &self.plan.tables {
            if table.old.store == store {
                let scope = table.where_.clone().map_or(Scope::Whole, Scope::Some);
                add(&mut tables, &full_name(&table.old_info), scope);
            }
            if table.new.store == store {
                let scope = if table.scope.is_empty() {
                    Scope::Whole
                } else {
                    Scope::Some(format!("{:?}", table.scope))
                };
                add(&mut tables, &full_name(&table.new_info), scope);
            }
        }
        tables
    }
}

/// That another has what is wanted.
pub(crate) fn anothers(error: StoreError, remedy: &str) -> ControlError {
    match error {
        StoreError::Busy { store, what, holder } => ControlError::Owned {
            what: format!("store {store}: {what}"),
            holder: holder.unwrap_or_else(|| "another run".to_owned()),
            remedy: remedy.to_owned(),
        },
        other => other.into(),
    }
}

/// A table's name, with its schema where there are schemas.
pub(crate) fn full_name(table: &TableInfo) -> String {
    match &table.schema {
        Some(schema) => format!("{schema}.{}", table.name),
        None => table.name.clone(),
    }
}

/// What the spec's phases ask of its databases.
pub(crate) fn mirroring(spec: &Spec) -> Mirroring {
    if spec.phases == changeover_protocol::Phases::SIMPLE { Mirroring::CopyOnly } else { Mirroring::Capture }
}

/// The mappings of a spec, linked: for a service that writes both sides itself, whose mirror is
/// [`TableMirror`](changeover::engine::TableMirror) over them.
///
/// # Errors
/// What stands in the way: a plan that can't be carried out, a store that can't be reached.
pub async fn links(spec: &Spec) -> Result<Arc<Links>, ControlError> {
    let connected = Connected::open(spec, Mirroring::Capture, &Elsewhere::new()).await?;
    connected.check()?;
    Ok(connected.sides(&spec.name).await?.links)
}

/// Every finding that is an error, as one, each with its place.
fn refuse(findings: &[Finding], spec: &Spec) -> Result<(), ControlError> {
    let errors: Vec<String> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| {
            let column = finding.column.as_ref().map(|column| format!(".{column}")).unwrap_or_default();
            let at = place_of(finding, spec);
            let place = format!("{}:{}:{}", spec.file().display(), at.line, at.column);
            format!("{place}: {}{column}: {}. {}", finding.table, finding.what, finding.remedy)
        })
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(ControlError::Spec(errors.join("\n"))) }
}

/// Several mappings of one table are one's own, and lock it once: its whole, if any of them does.
fn add(tables: &mut Vec<(String, Scope)>, table: &str, scope: Scope) {
    let same = |known: &(String, Scope)| known.0 == table && known.1 == scope;
    if tables.iter().any(|known| known.0 == table && known.1 == Scope::Whole) || tables.iter().any(same) {
        return;
    }
    if scope == Scope::Whole {
        tables.retain(|known| known.0 != table);
    }
    tables.push((table.to_owned(), scope));
}

/// The databases of a side, each by its store's name, without a plan: the tables may not be what the spec says.
pub(crate) async fn databases_of(
    spec: &Spec,
    side: Side,
) -> Vec<(String, Result<Arc<dyn Database>, ControlError>)> {
    let used = |name: &str| {
        spec.tables.iter().any(|table| match side {
            Side::Old => table.old.store == name,
            Side::New => table.new.store == name,
        })
    };
    let urls = match spec.resolve_stores() {
        Ok(urls) => urls,
        Err(errors) => return vec![(spec.name.clone(), Err(ControlError::Spec(errors.to_string())))],
    };
    let mut all = Vec::new();
    for (name, url) in urls.into_iter().filter(|(name, _)| used(name)) {
        let database = open(&name, &url).await;
        all.push((name, database));
    }
    all
}

/// Opens a store's database.
///
/// # Errors
/// If it can't be reached.
pub(crate) async fn open(store: &str, url: &StoreUrl) -> Result<Arc<dyn Database>, ControlError> {
    match url {
        StoreUrl::Sqlite { path } => file(store, path.clone()).await,
        StoreUrl::Postgres { url } => {
            // A driver's future is large, and would lie in all of those that await it.
            Ok(Box::pin(PostgresDatabase::open(store, url.expose(), PostgresOptions::default())).await?)
        }
        StoreUrl::Mysql { url } => {
            Ok(Box::pin(MysqlDatabase::open(store, url.expose(), MysqlOptions::default())).await?)
        }
        other => Err(ControlError::Spec(format!("{other}: this build can't open it"))),
    }
}

async fn file(store: &str, path: PathBuf) -> Result<Arc<dyn Database>, ControlError> {
    Ok(SqliteDatabase::open(store, &path, SqliteOptions::default()).await?)
}

/// What one database carries of ours.
struct StoreKeeper {
    database: Arc<dyn Database>,
    store: Arc<dyn SideStore>,
    migration: String,
    name: String,
    side: Side,
    /// Its tables that take part: each with its schema, and as the spec has it.
    tables: Vec<TableRef>,
}

impl StoreKeeper {
    fn new(
        (database, store): (&Arc<dyn Database>, &Arc<dyn SideStore>),
        migration: &str,
        side: Side,
        plan: &Plan,
    ) -> Self {
        let name = store.info().name.clone();
        let of_side = plan.tables.iter().map(|table| if side == Side::Old { &table.old } else { &table.new });
        let tables = of_side.filter(|table| table.store == name).cloned().collect();
        let (database, store) = (Arc::clone(database), Arc::clone(store));
        Self { database, store, migration: migration.to_owned(), name, side, tables }
    }
}

#[async_trait]
impl Keeper for StoreKeeper {
    fn store(&self) -> &str {
        &self.name
    }

    async fn installed(&self) -> Result<Vec<String>, StoreError> {
        let things = self.database.installed().await?;
        let ours = |name: &str| {
            // What is shared between migrations has no migration's name.
            name.split(':').nth(1).is_none_or(|migration| migration == self.migration)
        };
        Ok(things
            .into_iter()
            .filter(|thing| ours(&thing.name))
            .map(|thing| format!("{} {}", thing.kind, thing.name))
            .collect())
    }

    async fn roads(&self) -> Result<Roads, StoreError> {
        self.database.roads().await
    }

    async fn columns(&self) -> Result<Tables, StoreError> {
        let catalog = self.database.catalog().await?;
        let there = self.tables.iter().filter_map(|named| {
            let table = catalog.table(named.schema.as_deref(), &named.table)?;
            Some((columns::called(self.side, &self.name, &named.table), columns::of_table(table)))
        });
        Ok(there.collect())
    }

    async fn counters(&self) -> Result<Vec<(TableName, i64)>, StoreError> {
        self.store.counters().await
    }

    async fn raise_counters(&self, at_least: &[(TableName, i64)]) -> Result<(), StoreError> {
        self.store.raise_counters(at_least).await
    }

    async fn remove_installed(&self, fenced: Option<Side>) -> Result<(), StoreError> {
        self.store.remove_installed(fenced).await
    }

    async fn try_retiring(&self) -> Result<(), StoreError> {
        self.store.try_retiring().await
    }

    async fn retire(&self) -> Result<Vec<(String, Option<String>)>, StoreError> {
        self.store.retire().await
    }
}
