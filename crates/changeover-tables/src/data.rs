//! What the rows themselves say of a migration, before it begins: values that don't fit the new side, values of the new side
//! that don't fit the old one or would come back as others, keys that are NULL, twice there, or in two sources. The rows
//! stream by, and of each kind of trouble only a count and some examples are kept.

mod trial;

use std::collections::BTreeMap;

use async_trait::async_trait;
use changeover::store::{BatchBudget, Image, KeyRange, Refusal, RowStream, Store};
use changeover::{Key, StoreError, TableName, Value};

pub use self::trial::{Trial, Tried};
use crate::plan::{Plan, TablePlan};

/// How many examples are kept of each kind of trouble.
const EXAMPLES: usize = 5;

/// How many kinds of trouble are told apart for each table; the rest is counted as one.
const KINDS: usize = 100;

/// One row that is in trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The row.
    pub key: Key,
    /// The value, where it is one value's fault. Whoever shows it redacts it.
    pub value: Option<Value>,
    /// What it would come back as, where that is the trouble.
    pub comes_back: Option<Value>,
}

/// Rows that are in the same trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The column, where it is one column's fault.
    pub column: Option<String>,
    /// What is wrong, and what could be done.
    pub why: String,
    /// How many rows.
    pub rows: u64,
    /// Some of them.
    pub examples: Vec<Example>,
}

/// What the rows of one mapping say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableData {
    /// The mapping.
    pub table: String,
    /// Rows of the old side that can be carried.
    pub rows: u64,
    /// About how many bytes they are.
    pub bytes: u64,
    /// Rows of the old side that can't: values that don't fit, keys that are NULL, expressions that fail.
    pub forward: Vec<Trouble>,
    /// Rows of the new side that can't come back.
    pub backward: Vec<Trouble>,
    /// Rows of the old side that would come back from the new one with other values, or not at all, once they are changed
    /// there.
    pub otherwise: Vec<Trouble>,
    /// Values of the old side that the new one wants to be unique, and that aren't.
    pub duplicates: Vec<Trouble>,
    /// Rows whose key another mapping onto the same table has too.
    pub collisions: Vec<Trouble>,
    /// Why it couldn't be tried what the new table's CHECKs say of the rows, and as what they would come back.
    pub untried: Option<String>,
}

impl TableData {
    /// Whether nothing stands in the way forward.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.forward.is_empty() && self.duplicates.is_empty() && self.collisions.is_empty()
    }
}

/// A store that can tell of its rows what only its own SQL can: which values would be the same under another's unique index,
/// and which would come back as others.
#[async_trait]
pub trait Duplicates: Store {
    /// For each unique index of the new table: rows of this, the old, side whose canonical values are the same in it.
    async fn duplicates(&self, table: &TablePlan, examples: usize) -> Result<Vec<Trouble>, StoreError>;

    /// All rows of this, the old, side that can be carried: the canonical image, and after it these columns as they are stored.
    async fn with_own(&self, table: &TablePlan, columns: &[String]) -> Result<RowStream, StoreError>;

    /// A table like this, the new, side's, for trying rows in it; or why there can be none.
    async fn trial(&self, table: &TablePlan) -> Result<Result<Box<dyn Trial>, String>, StoreError>;
}

/// Told after each batch how many rows were read in it; a row is read up to twice.
pub type ReadSoFar<'t> = &'t mut (dyn FnMut(u64) + Send);

/// Looks at the rows of every mapping. `old` and `new` give the stores of a mapping's sides by their name in the spec.
///
/// # Errors
/// What a store says. May be dropped at any await: it changes nothing.
pub async fn check_data<'s>(
    plan: &Plan,
    old: impl Fn(&str) -> Option<&'s dyn Duplicates>,
    new: impl Fn(&str) -> Option<&'s dyn Duplicates>,
    told: ReadSoFar<'_>,
) -> Result<Vec<TableData>, StoreError> {
    let mut all = Vec::with_capacity(plan.tables.len());
    for table in &plan.tables {
        let mut data = TableData { table: table.name.to_string(), ..TableData::default() };
        let rivals = rivals(plan, table);
        if let Some(store) = old(&table.old.store) {
            let rivals: Vec<Rival<'_>> = rivals
                .into_iter()
                .filter_map(|r| Some(Rival { store: old(&r.old.store)?, table: r }))
                .collect();
            data.forward = scan_old(store, table, &rivals, &mut data, told).await?;
            data.duplicates = store.duplicates(table, EXAMPLES).await?;
            if let Some(new) = new(&table.new.store) {
                trial::try_all((store, new), table, &mut data, told).await?;
            }
        }
        if let Some(store) = new(&table.new.store) {
            data.backward = refused_of(store, &table.name, Image::Back).await?;
        }
        all.push(data);
    }
    Ok(all)
}

/// Another mapping onto the same new table, whose rows no constant keeps apart in the key.
struct Rival<'s> {
    store: &'s dyn Duplicates,
    table: &'s TablePlan,
}

fn rivals<'p>(plan: &'p Plan, table: &TablePlan) -> Vec<&'p TablePlan> {
    let key = |t: &TablePlan| t.key.iter().map(|k| k.new.clone()).collect::<Vec<_>>();
    let index_has_constant = table.new_info.unique.iter().any(|index| {
        index.name == table.new_index.name
            && index.columns().is_some_and(|c| table.scope.iter().any(|(name, _)| c.contains(&name.as_str())))
    });
    let others = plan.tables.iter().filter(|t| t.name != table.name && t.new == table.new);
    others.filter(|t| !index_has_constant && key(t) == key(table)).collect()
}

async fn scan_old(
    store: &dyn Duplicates,
    table: &TablePlan,
    rivals: &[Rival<'_>],
    data: &mut TableData,
    told: ReadSoFar<'_>,
) -> Result<Vec<Trouble>, StoreError> {
    let mut troubles = Troubles::default();
    let mut collisions = Troubles::default();
    let shape = store.tables().iter().find(|shape| shape.table == table.name).cloned();
    let mut stream =
        store.scan(&table.name, &KeyRange::default(), Image::Canonical, BatchBudget::default()).await?;
    while let Some(batch) = stream.next().await? {
        told((batch.rows.len() + batch.refused.len()) as u64);
        troubles.add(batch.refused);
        data.rows += batch.rows.len() as u64;
        data.bytes += batch.rows.iter().map(|row| row.size() as u64).sum::<u64>();
        let Some(shape) = shape.as_ref().filter(|_| !rivals.is_empty()) else { continue };
        let keys: Vec<Key> = batch.rows.iter().map(|row| shape.key_of(row)).collect();
        for rival in rivals {
            collisions.add(collide(&keys, rival).await?);
        }
    }
    data.collisions = collisions.list();
    Ok(troubles.list())
}

async fn collide(keys: &[Key], rival: &Rival<'_>) -> Result<Vec<Refusal>, StoreError> {
    let theirs: Vec<Key> =
        keys.iter().map(|key| Key { table: rival.table.name.clone(), values: key.values.clone() }).collect();
    let found = rival.store.read(&rival.table.name, &theirs, Image::Canonical).await?;
    let both = keys.iter().zip(&found.rows).filter(|(_, row)| row.is_some());
    let why = format!("{} has a row with the same key, and both go to {}", rival.table.old, rival.table.new);
    Ok(both
        .map(|(key, _)| Refusal { key: key.clone(), column: None, value: None, why: why.clone() })
        .collect())
}

async fn refused_of(
    store: &dyn Duplicates,
    table: &TableName,
    image: Image,
) -> Result<Vec<Trouble>, StoreError> {
    let mut troubles = Troubles::default();
    let mut stream = store.scan(table, &KeyRange::default(), image, BatchBudget::default()).await?;
    while let Some(batch) = stream.next().await? {
        troubles.add(batch.refused);
    }
    Ok(troubles.list())
}

/// Troubles by kind, bounded in number and in examples.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    by_kind: BTreeMap<(Option<String>, String), Trouble>,
}

impl Troubles {
    fn add(&mut self, refused: Vec<Refusal>) {
        for Refusal { key, column, value, why } in refused {
            self.note(column, why, || Example { key, value, comes_back: None });
        }
    }

    /// One more row in this trouble; the example is made only if it is kept.
    pub(crate) fn note(&mut self, column: Option<String>, why: String, example: impl FnOnce() -> Example) {
        let mut kind = (column, why);
        if self.by_kind.len() >= KINDS && !self.by_kind.contains_key(&kind) {
            kind = (None, "of further kinds".to_owned());
        }
        let trouble = self.by_kind.entry(kind).or_insert_with_key(|(column, why)| Trouble {
            column: column.clone(),
            why: why.clone(),
            rows: 0,
            examples: Vec::new(),
        });
        trouble.rows += 1;
        if trouble.examples.len() < EXAMPLES {
            let Example { key, value, comes_back } = example();
            let (value, comes_back) = (value.map(shortened), comes_back.map(shortened));
            trouble.examples.push(Example { key, value, comes_back });
        }
    }

    /// The most frequent first.
    pub(crate) fn list(self) -> Vec<Trouble> {
        let mut list: Vec<Trouble> = self.by_kind.into_values().collect();
        list.sort_by_key(|trouble| std::cmp::Reverse(trouble.rows));
        list
    }
}

/// An example's value is for showing: a large one is kept by its beginning.
fn shortened(value: Value) -> Value {
    const KEPT: usize = 200;
    match value {
        Value::Text(text) if text.len() > KEPT => Value::Text(text.chars().take(KEPT).collect()),
        Value::Bytes(mut bytes) if bytes.len() > KEPT => {
            bytes.truncate(KEPT);
            bytes.shrink_to_fit();
            Value::Bytes(bytes)
        }
        other => other,
    }
}
