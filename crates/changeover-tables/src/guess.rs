//! Guesses for a new spec: which old table becomes which new one, and which column which. Every guess says how sure it is;
//! whoever writes the spec marks them.

use std::collections::BTreeSet;

use crate::catalog::{Catalog, ColumnInfo, Generated, TableInfo, TableKind};
use crate::plan::key_choices;
use crate::words::{gap, is_rare};
use changeover::Side;
use changeover::mapping::{KeyColumn, TableRef};

/// How sure a guess is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// Names alike, but not the same.
    Guess,
    /// The same name.
    SameName,
}

/// A column of a new table, and what it may be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuessedColumn {
    /// The new column.
    pub new: String,
    /// The old column that it may be; `None`: nothing comes near.
    pub old: Option<String>,
    /// How sure that is.
    pub certainty: Certainty,
    /// Whether something must be given for it: NOT NULL, without a default, and nothing found.
    pub needed: bool,
    /// What differs, in words; empty if nothing does.
    pub note: String,
}

/// A mapping that may be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuessedTable {
    /// The old table.
    pub old: TableRef,
    /// The new table.
    pub new: TableRef,
    /// Whether the new table isn't there yet: it is guessed to be meant as the old one is.
    pub to_be_made: bool,
    /// How sure that is.
    pub certainty: Certainty,
    /// The key.
    pub key: Vec<KeyColumn>,
    /// How sure the key is.
    pub key_certainty: Certainty,
    /// Why there is no key, and what could be one.
    pub key_note: String,
    /// The new table's columns, but for those that are computed.
    pub columns: Vec<GuessedColumn>,
    /// Old columns that nothing is made of.
    pub left_behind: Vec<String>,
}

/// What `init` writes a spec from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Guesses {
    /// The mappings.
    pub tables: Vec<GuessedTable>,
    /// Old tables that resemble no new one.
    pub old_alone: Vec<String>,
    /// New tables that resemble no old one.
    pub new_alone: Vec<String>,
    /// What has columns and isn't a table: it is no mapping's.
    pub no_tables: Vec<NoTable>,
}

/// A view or a virtual table, which is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoTable {
    /// The side that it is on.
    pub side: Side,
    /// What it is.
    pub kind: TableKind,
    /// Its name.
    pub name: String,
}

/// Below this, two names have nothing to do with each other.
const ALIKE: f64 = 0.45;

/// Guesses which tables and columns of two databases belong together.
#[must_use]
pub fn guess(old: &Catalog, new: &Catalog) -> Guesses {
    let tables = |catalog: &'_ Catalog| -> Vec<TableInfo> {
        catalog.tables.iter().filter(|t| t.kind == TableKind::Table).cloned().collect()
    };
    let (old_tables, new_tables) = (tables(old), tables(new));
    if new_tables.is_empty() {
        return all_to_be_made(old, &old_tables, new);
    }
    let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
    for (i, a) in old_tables.iter().enumerate() {
        for (j, b) in new_tables.iter().enumerate() {
            let score = table_likeness(a, b);
            if score >= ALIKE {
                pairs.push((score, i, j));
            }
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut used_old, mut used_new) = (BTreeSet::new(), BTreeSet::new());
    let mut guesses = Guesses::default();
    for (_, i, j) in pairs {
        // An old table may feed several new ones; init proposes each new table once, and each old one once.
        if used_old.insert(i) {
            if used_new.insert(j) {
                guesses.tables.push(table(old, &old_tables[i], new, &new_tables[j]));
            } else {
                used_old.remove(&i);
            }
        }
    }
    guesses.tables.sort_by(|a, b| a.old.cmp(&b.old));
    let alone = |tables: &[TableInfo], used: &BTreeSet<usize>| {
        tables.iter().enumerate().filter(|(i, _)| !used.contains(i)).map(|(_, t)| t.name.clone()).collect()
    };
    guesses.old_alone = alone(&old_tables, &used_old);
    guesses.new_alone = alone(&new_tables, &used_new);
    guesses.no_tables = no_tables(Side::Old, old).chain(no_tables(Side::New, new)).collect();
    guesses
}

/// Into a database without tables all of the old one's go, as they are: the plan then proposes each.
fn all_to_be_made(old: &Catalog, tables: &[TableInfo], new: &Catalog) -> Guesses {
    let made = |info: &TableInfo| GuessedTable {
        to_be_made: true,
        certainty: Certainty::Guess,
        ..table(old, info, new, &TableInfo { schema: None, ..info.clone() })
    };
    Guesses {
        tables: tables.iter().map(made).collect(),
        no_tables: no_tables(Side::Old, old).chain(no_tables(Side::New, new)).collect(),
        ..Guesses::default()
    }
}

fn no_tables(side: Side, catalog: &Catalog) -> impl Iterator<Item = NoTable> {
    let others = catalog.tables.iter().filter(|table| table.kind != TableKind::Table);
    others.map(move |table| NoTable { side, kind: table.kind, name: table.name.clone() })
}

fn table(old_in: &Catalog, old: &TableInfo, new_in: &Catalog, new: &TableInfo) -> GuessedTable {
    let columns = columns(old, new);
    let (key, key_certainty, key_note) = key(old, new, &columns);
    let taken = |name: &str| {
        columns.iter().any(|c| c.old.as_deref() == Some(name)) || key.iter().any(|k| k.old == name)
    };
    // What the database computes is made of other columns, and can't be written on the way back either.
    let own = old.columns.iter().filter(|column| column.generated == Generated::No);
    let left_behind = own.map(|c| c.name.clone()).filter(|name| !taken(name)).collect();
    let place = |catalog: &Catalog, table: &TableInfo| TableRef {
        store: catalog.store.clone(),
        // There a schema is the database, which the store names.
        schema: table.schema.clone().filter(|_| catalog.kind != "mysql"),
        table: table.name.clone(),
    };
    GuessedTable {
        old: place(old_in, old),
        new: place(new_in, new),
        to_be_made: false,
        certainty: if old.name.eq_ignore_ascii_case(&new.name) {
            Certainty::SameName
        } else {
            Certainty::Guess
        },
        key,
        key_certainty,
        key_note,
        columns,
        left_behind,
    }
}

fn columns(old: &TableInfo, new: &TableInfo) -> Vec<GuessedColumn> {
    let writable = |table: &'_ TableInfo| -> Vec<ColumnInfo> {
        table.columns.iter().filter(|c| c.generated == Generated::No).cloned().collect()
    };
    let news = writable(new);
    let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
    for (i, a) in old.columns.iter().enumerate() {
        for (j, b) in news.iter().enumerate() {
            let score = column_likeness(old, a, new, b);
            if score >= ALIKE {
                pairs.push((score, i, j));
            }
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut found: Vec<Option<usize>> = vec![None; news.len()];
    let mut used = BTreeSet::new();
    for (_, i, j) in pairs {
        if found[j].is_none() && used.insert(i) {
            found[j] = Some(i);
        }
    }
    news.iter().zip(found).map(|(column, found)| guessed(column, found.map(|i| &old.columns[i]))).collect()
}

fn guessed(new: &ColumnInfo, old: Option<&ColumnInfo>) -> GuessedColumn {
    let same = old.is_some_and(|old| old.name.eq_ignore_ascii_case(&new.name));
    let note = match old {
        Some(old) if !is_alike(old, new) => format!("{} there, {} here", old.declared, new.declared),
        _ => String::new(),
    };
    GuessedColumn {
        new: new.name.clone(),
        old: old.map(|old| old.name.clone()),
        certainty: if same { Certainty::SameName } else { Certainty::Guess },
        needed: old.is_none() && new.not_null && new.default.is_none(),
        note,
    }
}

/// Whether two columns hold the same values, but for those that hardly any column has.
fn is_alike(old: &ColumnInfo, new: &ColumnInfo) -> bool {
    let fits = |from: &ColumnInfo, to: &ColumnInfo| {
        gap(&from.domain, &to.domain).is_some_and(|gaps| gaps.iter().all(|gap| is_rare(gap)))
    };
    old.domain == new.domain || (fits(old, new) && fits(new, old))
}

/// The old primary key, as the new table's columns that it becomes.
fn key(old: &TableInfo, new: &TableInfo, columns: &[GuessedColumn]) -> (Vec<KeyColumn>, Certainty, String) {
    if old.primary_key.is_empty() {
        let choices = key_choices(old);
        let note = if choices.is_empty() {
            format!("{} has no primary key and no unique index: it needs one", old.name)
        } else {
            format!("{} has no primary key; it could be {}", old.name, choices.join(", or "))
        };
        return (Vec::new(), Certainty::Guess, note);
    }
    let mut key = Vec::new();
    for name in &old.primary_key {
        let Some(column) = columns.iter().find(|c| c.old.as_ref() == Some(name)) else {
            return (
                Vec::new(),
                Certainty::Guess,
                format!("nothing in {} looks like the key's column {name}", new.name),
            );
        };
        key.push(KeyColumn { old: name.clone(), new: column.new.clone() });
    }
    let sure = key.iter().all(|part| part.old.eq_ignore_ascii_case(&part.new));
    (key, if sure { Certainty::SameName } else { Certainty::Guess }, String::new())
}

fn table_likeness(a: &TableInfo, b: &TableInfo) -> f64 {
    let names = likeness(&a.name, &b.name);
    let shared = a.columns.iter().filter(|c| b.column(&c.name).is_some()).count();
    let most = a.columns.len().max(b.columns.len()).max(1);
    #[allow(clippy::cast_precision_loss, reason = "a share of some columns")]
    let columns = shared as f64 / most as f64;
    if names >= 0.999 { 1.0 + columns } else { 0.6 * names + 0.4 * columns }
}

fn column_likeness(old: &TableInfo, a: &ColumnInfo, new: &TableInfo, b: &ColumnInfo) -> f64 {
    let names = likeness(&a.name, &b.name);
    if names >= 0.999 {
        return 2.0;
    }
    let is_key = |table: &TableInfo, c: &ColumnInfo| table.primary_key == [c.name.clone()];
    // `id` there, `booking_id` here: the only key columns of their tables.
    let keys = if is_key(old, a) && is_key(new, b) { 0.6 } else { 0.0 };
    let types = if a.domain == b.domain { 0.1 } else { 0.0 };
    (0.8 * names + types).max(keys)
}

/// How alike two names are, from 0 to 1: by the pairs of letters that they share (Dice's coefficient), after case, separators
/// and a plural's s are taken away.
fn likeness(a: &str, b: &str) -> f64 {
    let (a, b) = (plain(a), plain(b));
    if a == b {
        return 1.0;
    }
    let pairs = |s: &str| -> Vec<(char, char)> { s.chars().zip(s.chars().skip(1)).collect() };
    let (first, mut second) = (pairs(&a), pairs(&b));
    let all = first.len() + second.len();
    if all == 0 {
        return 0.0;
    }
    let mut shared = 0_u32;
    for pair in first {
        if let Some(at) = second.iter().position(|p| *p == pair) {
            second.swap_remove(at);
            shared += 1;
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "lengths of names")]
    let all = all as f64;
    (2.0 * f64::from(shared) / all).min(0.95)
}

fn plain(name: &str) -> String {
    let mut plain: String =
        name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    if plain.len() > 3 && plain.ends_with('s') {
        plain.pop();
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_alike_by_what_they_share() {
        assert!((likeness("Bookings", "booking") - 1.0).abs() < 1e-9);
        assert!((likeness("user_name", "userName") - 1.0).abs() < 1e-9);
        assert!(likeness("cancelled_at", "cancellation_at") > ALIKE);
        assert!(likeness("bookings", "users") < ALIKE);
        assert!(likeness("a", "b") < ALIKE);
    }
}
