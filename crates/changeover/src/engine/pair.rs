//! What is linked to what: for each mapping its store on either side, its rules, and how far the backfill has
//! come towards either side.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use changeover_protocol::Side;

use super::marks::Marks;
use crate::error::StoreError;
use crate::rules::{RowRules, Rule};
use crate::store::{KeyOrder, Store, TableShape};
use crate::value::TableName;

/// One mapping, as it is given: `[[table]]` of the spec.
#[derive(Clone)]
pub struct Pair {
    /// The mapping's name.
    pub table: TableName,
    /// Its old side.
    pub old: Arc<dyn Store>,
    /// Its new side.
    pub new: Arc<dyn Store>,
    /// What may differ.
    pub rules: Vec<Rule>,
}

/// One mapping, checked: both stores know it.
#[derive(Clone)]
pub struct Link {
    table: TableName,
    stores: [Arc<dyn Store>; 2],
    shapes: [TableShape; 2],
    rules: RowRules,
}

/// All mappings of a migration. Their order is the order of writing: tables that others refer to come first.
pub struct Links {
    links: Vec<Link>,
    covered: [RwLock<Covered>; 2],
    working: [Arc<AtomicU64>; 2],
}

/// Somebody who is at work on syncs from one side, from before their claim to after their discard. See
/// [`Links::under_way`].
#[derive(Debug)]
pub(super) struct Working(Arc<AtomicU64>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Which of a follower's rows the mirror keeps in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// None: a generation of the backfill is to come, which will read every row. Claims are dropped.
    Nothing,
    /// Those in the chunks that this generation has done.
    Generation(u64),
    /// All: the follower was the authority before, or its generation is complete.
    All,
}

/// A coverage, with what is known of its chunk marks.
#[derive(Clone)]
pub(super) enum Covered {
    Nothing,
    Generation(Arc<Marks>),
    All,
}

impl Covered {
    /// Whether it is the same word, of the same generation.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, Self::Nothing) | (Self::All, Self::All) => true,
            (Self::Generation(a), Self::Generation(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

const fn place(side: Side) -> usize {
    match side {
        Side::Old => 0,
        Side::New => 1,
    }
}

impl Link {
    /// The mapping's name.
    #[must_use]
    pub const fn table(&self) -> &TableName {
        &self.table
    }

    /// The mapping's store on this side.
    #[must_use]
    pub fn store(&self, side: Side) -> &Arc<dyn Store> {
        &self.stores[place(side)]
    }

    /// How the store on this side carries the mapping out.
    #[must_use]
    pub const fn shape(&self, side: Side) -> &TableShape {
        &self.shapes[place(side)]
    }

    /// What may differ.
    #[must_use]
    pub const fn rules(&self) -> &RowRules {
        &self.rules
    }

    /// Whether both sides' scans come in the same order, so that they may be merged and ranges mean the same.
    #[must_use]
    pub fn ordered_alike(&self) -> bool {
        self.shapes.iter().all(|shape| shape.order == KeyOrder::Binary)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |side| &self.store(side).info().name;
        write!(f, "{}: {} -> {}", self.table, name(Side::Old), name(Side::New))
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.links).finish()
    }
}

impl Links {
    /// Links the mappings. Both directions are covered in full until [`Links::cover`] says otherwise, which is
    /// the side to err on: nothing that is claimed is dropped.
    ///
    /// # Errors
    /// [`StoreError::Schema`] if a store doesn't know a mapping, if the two see different columns or keys, or if a
    /// rule names a column that there isn't.
    pub fn new(pairs: Vec<Pair>) -> Result<Self, StoreError> {
        let links = pairs.into_iter().map(link).collect::<Result<Vec<_>, _>>()?;
        for (at, link) in links.iter().enumerate() {
            if links[..at].iter().any(|other| other.table == link.table) {
                return Err(schema(&link.stores[0], &link.table, "is mapped twice under one name"));
            }
        }
        Ok(Self {
            links,
            covered: [RwLock::new(Covered::All), RwLock::new(Covered::All)],
            working: Default::default(),
        })
    }

    /// The mappings, in their order.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The mapping of this name.
    ///
    /// # Errors
    /// [`StoreError::Schema`] if there is none.
    pub fn link(&self, table: &TableName) -> Result<&Link, StoreError> {
        Ok(&self.links[self.place_of(table)?])
    }

    pub(super) fn place_of(&self, table: &TableName) -> Result<usize, StoreError> {
        self.links.iter().position(|link| link.table == *table).ok_or_else(|| StoreError::Schema {
            store: String::new(),
            table: table.clone(),
            problem: "is no mapping of this migration".into(),
            remedy: "Name one that the spec has.".into(),
        })
    }

    /// The stores of one side, each once, in the order of the mappings.
    #[must_use]
    pub fn stores(&self, side: Side) -> Vec<Arc<dyn Store>> {
        let mut stores: Vec<Arc<dyn Store>> = Vec::new();
        for link in &self.links {
            if !stores.iter().any(|store| same(store, link.store(side))) {
                stores.push(Arc::clone(link.store(side)));
            }
        }
        stores
    }

    /// Says what the mirror covers towards this side, from now on. The owner of the phase calls it with each move and
    /// each new generation, before the generation's first chunk is begun. What counts is what was said last when a sync
    /// has its guard.
    pub fn cover(&self, toward: Side, coverage: Coverage) {
        let covered = match coverage {
            Coverage::Nothing => Covered::Nothing,
            Coverage::All => Covered::All,
            Coverage::Generation(generation) => match self.covered(toward) {
                Covered::Generation(marks) if marks.generation() == generation => return,
                _ => Covered::Generation(Arc::new(Marks::new(
                    generation,
                    self.links.iter().map(|link| link.table.clone()),
                ))),
            },
        };
        *self.covered[place(toward)].write().unwrap_or_else(PoisonError::into_inner) = covered;
    }

    /// What the mirror covers towards this side.
    #[must_use]
    pub fn coverage(&self, toward: Side) -> Coverage {
        match self.covered(toward) {
            Covered::Nothing => Coverage::Nothing,
            Covered::Generation(marks) => Coverage::Generation(marks.generation()),
            Covered::All => Coverage::All,
        }
    }

    /// How many in this process are at work on syncs from this authority: from before their claim to after their discard.
    ///
    /// *No dirty key* is two looks, in this order: the log is empty, and then nobody is at work. The log alone isn't
    /// enough: two may have claimed one key, of which the faster has discarded the entry, and the slower still holds an
    /// older value that it would write over the application's own, once this follower has become the authority.
    #[must_use]
    pub fn under_way(&self, authority: Side) -> u64 {
        self.working[place(authority)].load(Ordering::SeqCst)
    }

    pub(super) fn work(&self, authority: Side) -> Working {
        let working = &self.working[place(authority)];
        working.fetch_add(1, Ordering::SeqCst);
        Working(Arc::clone(working))
    }

    pub(super) fn covered(&self, toward: Side) -> Covered {
        self.covered[place(toward)].read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether these are one store, and not only equal in name.
pub(super) fn same(a: &Arc<dyn Store>, b: &Arc<dyn Store>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(a), Arc::as_ptr(b))
}

fn link(pair: Pair) -> Result<Link, StoreError> {
    let Pair { table, old, new, rules } = pair;
    let shape = |store: &Arc<dyn Store>| {
        let found = store.tables().iter().find(|shape| shape.table == table).cloned();
        found.ok_or_else(|| schema(store, &table, "isn't one that this store knows"))
    };
    let shapes = [shape(&old)?, shape(&new)?];
    if shapes[0].columns != shapes[1].columns || shapes[0].key != shapes[1].key {
        return Err(schema(&new, &table, "has other columns or another key here than on the old side"));
    }
    let rules = RowRules::new(&shapes[1].columns, rules)
        .map_err(|unknown| schema(&new, &table, &format!("has a rule that can't hold: {unknown}")))?;
    Ok(Link { table, stores: [old, new], shapes, rules })
}

fn schema(store: &Arc<dyn Store>, table: &TableName, problem: &str) -> StoreError {
    StoreError::Schema {
        store: store.info().name.clone(),
        table: table.clone(),
        problem: problem.to_owned(),
        remedy: "Look at the spec's [[table]] of this name.".into(),
    }
}
