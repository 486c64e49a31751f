//! One mapping as one side carries it out: the SQL that reads, finds and writes its rows, made once from the plan, whatever
//! the dialect.

use std::sync::OnceLock;

use changeover::rules::RowRules;
use changeover::store::{KeyOrder, TableShape};
use changeover::{Side, TableName, Value};

use crate::catalog::{ALWAYS_IDENTITY, Domain, Generated, TableInfo};
use crate::fit::Target;
use crate::plan::{ColumnPlan, KeyPlan, Route, Source, TablePlan};
use crate::syntax::{Syntax, expression};
use crate::types::Exact;

/// One mapping on one side.
#[derive(Debug)]
pub(crate) struct SideTable {
    /// How its database writes SQL.
    pub(crate) syntax: &'static dyn Syntax,
    /// What the engine is told of it.
    pub(crate) shape: TableShape,
    /// The side.
    pub(crate) side: Side,
    /// What stands for the mapping in the log: a number made from its name, so that it outlives a reordered spec.
    pub(crate) tag: i64,
    /// This side's table.
    pub(crate) info: TableInfo,
    /// Its name, in quotes.
    pub(crate) table: String,
    /// The other side's table, for messages.
    pub(crate) other: String,
    /// The key's columns on this side, in the spec's order.
    pub(crate) key: Vec<KeyColumn>,
    /// Whether the key's values are the same in the canonical key as on this side.
    pub(crate) same_key: bool,
    /// The positions of the key's columns in the order of this side's index.
    pub(crate) order: Vec<usize>,
    /// Whether this side's texts are ordered by their UTF-8 bytes.
    pub(crate) utf8_order: bool,
    /// Which rows are the mapping's, as SQL over this side's row.
    pub(crate) scope: Option<String>,
    /// The constants among them, as this side's columns and literals.
    pub(crate) constants: Vec<(String, String)>,
    /// The canonical image.
    pub(crate) canonical: ImageSql,
    /// The write-back image; only the new side has it.
    pub(crate) back: Option<ImageSql>,
    /// This side's columns in the order of the canonical image, where both sides store each of them in the very same type, and
    /// each row has a key: then a digest of what is stored is one of the image.
    pub(crate) alike: Option<Vec<String>>,
    /// This side's columns in the order of the rows that are written to it.
    pub(crate) written: Vec<String>,
    /// Where the key stands in a row that is written.
    pub(crate) written_key: Vec<usize>,
    /// The statements that write a row, each made when it is first needed.
    pub(crate) statements: Statements,
    /// What may differ.
    pub(crate) rules: RowRules,
    /// The column whose values a counter gives out, where it goes to or comes from the other side's counter.
    pub(crate) counter: Option<String>,
    /// This side's columns in the order of the canonical image, where each is a column of the same type on both sides and no rule
    /// can refuse or change a value: such rows may pass unread.
    pub(crate) unread: Option<Vec<String>>,
    /// The column by which rows are put into slots, if it isn't the key: this side's, and the new side's.
    pub(crate) route: Option<(String, Target)>,
}

/// The statements that read and write one row by its key.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    pub(crate) current: OnceLock<String>,
    pub(crate) insert: OnceLock<String>,
    pub(crate) update: OnceLock<String>,
    pub(crate) delete: OnceLock<String>,
    pub(crate) merge: OnceLock<Option<Merge>>,
}

/// The statements that put rows into a table where some of them may be already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Merge {
    /// Makes the temporary table, if this transaction hasn't yet, and empties it.
    pub(crate) stage: String,
    /// Its name, as it stands in a statement.
    pub(crate) staged: String,
    /// Puts its rows into the table: writes those that are missing and those that differ in any bit, and no others.
    pub(crate) put: String,
}

/// One column of the key on this side.
#[derive(Debug)]
pub(crate) struct KeyColumn {
    /// Its name, bare.
    pub(crate) name: String,
    /// As it stands in a select list.
    pub(crate) read: String,
    /// Its name in quotes, with the collation of the index by which it is found.
    pub(crate) collated: String,
    /// The collation of that index.
    pub(crate) collation: String,
    /// What this side's column holds.
    pub(crate) own: Domain,
    /// What the canonical key's column holds.
    pub(crate) canonical: Domain,
    /// Whether it may be NULL.
    pub(crate) nullable: bool,
    /// Whether every value of it is its own canonical form.
    pub(crate) canonical_as_it_is: bool,
}

/// The SQL of an image, and how its columns are made of what the database answers.
#[derive(Debug, Clone)]
pub(crate) struct ImageSql {
    /// The select list: the key's columns as they are, then the expressions.
    pub(crate) select: String,
    /// The columns of the image, in order.
    pub(crate) columns: Vec<ImageColumn>,
}

/// Where a column of an image is in the database's answer.
#[derive(Debug, Clone)]
pub(crate) struct ImageColumn {
    /// Its position.
    pub(crate) at: usize,
    /// The column that it is on its way to; `None` where it is there already.
    pub(crate) target: Option<Target>,
    /// Whether that column changes values as it stores them, other than the one that they come from.
    pub(crate) converts: bool,
}

impl ImageSql {
    /// The same with these columns of the side's own after it, each as it stands in a select list.
    pub(crate) fn beside(&self, own: impl Iterator<Item = String>) -> Self {
        let mut wider = self.clone();
        let from = self.columns.iter().map(|column| column.at + 1).max().unwrap_or_default();
        for (n, column) in own.enumerate() {
            wider.select.push_str(", ");
            wider.select.push_str(&column);
            wider.columns.push(ImageColumn { at: from + n, target: None, converts: false });
        }
        wider
    }
}

impl SideTable {
    pub(crate) fn new(syntax: &'static dyn Syntax, plan: &TablePlan, side: Side) -> Self {
        let (info, index, other) = match side {
            Side::Old => (&plan.old_info, &plan.old_index, &plan.new),
            Side::New => (&plan.new_info, &plan.new_index, &plan.old),
        };
        let key = key_columns(syntax, plan, side);
        let constants = match side {
            Side::Old => Vec::new(),
            Side::New => plan.scope.iter().map(|(c, v)| (c.clone(), syntax.literal(v))).collect(),
        };
        let columns: Vec<String> = plan.columns.iter().map(|c| c.target.column.clone()).collect();
        let back_columns: Vec<String> = plan.back.iter().map(|c| c.target.column.clone()).collect();
        let order = if plan.same_order { KeyOrder::Binary } else { KeyOrder::Own };
        let positions: Vec<usize> = plan.key.iter().map(|part| part.at).collect();
        let (written, written_key) = match side {
            Side::Old => (back_columns.clone(), (0..plan.key.len()).collect()),
            Side::New => (columns.clone(), positions.clone()),
        };
        Self {
            syntax,
            tag: tag(plan.name.as_str()),
            info: info.clone(),
            table: syntax.table(info),
            other: other.to_string(),
            order: index.order.clone(),
            same_key: key.iter().all(|part| part.own == part.canonical),
            utf8_order: match side {
                Side::Old => plan.utf8_order.0,
                Side::New => plan.utf8_order.1,
            },
            scope: scope(syntax, plan, side, info, &constants),
            constants,
            canonical: canonical_image(syntax, plan, side, &key),
            back: (side == Side::New).then(|| back_image(syntax, plan, &key)),
            alike: alike(plan, side),
            written,
            written_key,
            statements: Statements::default(),
            // The plan has kept only rules over these columns, as they are spelled.
            rules: RowRules::new(&columns, plan.rules.clone()).unwrap_or_default(),
            unread: unread(plan, side),
            route: route(plan, side),
            counter: counter(plan, side),
            shape: TableShape {
                table: plan.name.clone(),
                route: routed_by(plan, &columns, &positions),
                columns,
                key: positions,
                back_columns,
                order,
            },
            side,
            key,
        }
    }

    pub(crate) const fn name(&self) -> &TableName {
        &self.shape.table
    }

    /// `AND …` for the rows that are the mapping's; nothing where all are.
    pub(crate) fn and_scope(&self) -> String {
        self.scope.as_ref().map(|scope| format!(" AND {scope}")).unwrap_or_default()
    }

    /// The condition that a row has the key given as parameters from this number on, in the spec's order.
    pub(crate) fn has_key(&self, from: usize) -> String {
        let parts = self
            .key
            .iter()
            .enumerate()
            .map(|(i, part)| format!("{} = {}", part.collated, self.compared_with(part, from + i)));
        parts.collect::<Vec<_>>().join(" AND ")
    }

    fn compared_with(&self, part: &KeyColumn, number: usize) -> String {
        self.syntax.compared_with(self.info.column(&part.name), self.syntax.placeholder(number))
    }

    /// The key's columns in the order of this side's index, as `"a", "b" COLLATE NOCASE`.
    pub(crate) fn ordered_key(&self) -> String {
        self.order.iter().map(|&at| self.key[at].collated.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Columns of the table as they stand in a select list.
    pub(crate) fn own_columns(&self, names: &[String]) -> impl Iterator<Item = String> {
        names.iter().map(|name| read_column(self.syntax, name, &self.info))
    }

    /// The key's columns as a select list, in the spec's order.
    pub(crate) fn key_list(&self) -> String {
        self.key.iter().map(|part| part.read.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// A comparison of the key with literals (in the order of this side's index).
    pub(crate) fn compare_literals(&self, operator: &str, literals: &[String]) -> String {
        let columns: Vec<String> = self.order.iter().map(|&at| self.key[at].collated.clone()).collect();
        self.syntax.compare_rows(&columns, operator, literals)
    }

    /// A comparison of the key with parameters from this number on (in the order of this side's index): those that
    /// [`SideTable::compared`] makes of the values.
    pub(crate) fn compare(&self, operator: &str, from: usize) -> String {
        let columns: Vec<String> = self.order.iter().map(|&at| self.key[at].collated.clone()).collect();
        let parts = self.order.iter().map(|&at| &self.key[at]).enumerate();
        let parameters: Vec<String> = parts.map(|(n, part)| self.compared_with(part, from + n)).collect();
        self.syntax.compare_rows(&columns, operator, &parameters)
    }

    /// The parameters of a comparison with these values of a key (in the order of this side's index).
    pub(crate) fn compared(&self, values: &[Value]) -> Vec<Value> {
        let named = self.syntax.compared_in_order(values.len());
        named.into_iter().filter_map(|at| values.get(at).cloned()).collect()
    }

    /// The condition that no part of the key is NULL; nothing where none can be.
    pub(crate) fn and_key_not_null(&self) -> String {
        self.key
            .iter()
            .filter(|k| k.nullable)
            .map(|k| format!(" AND {} IS NOT NULL", self.syntax.name(&k.name)))
            .collect()
    }

    /// The condition that some part of the key is NULL; `None` where none can be.
    pub(crate) fn key_is_null(&self) -> Option<String> {
        let parts: Vec<String> = self
            .key
            .iter()
            .filter(|k| k.nullable)
            .map(|k| format!("{} IS NULL", self.syntax.name(&k.name)))
            .collect();
        (!parts.is_empty()).then(|| format!("({})", parts.join(" OR ")))
    }

    /// This side's columns that are written, but for the key's.
    fn others(&self) -> impl Iterator<Item = (usize, &str)> {
        self.written
            .iter()
            .enumerate()
            .filter(|(at, _)| !self.written_key.contains(at))
            .map(|(at, c)| (at, c.as_str()))
    }

    fn may_be_updated(&self, column: &str) -> bool {
        let default = self.info.column(column).and_then(|column| column.default.as_deref());
        default != Some(ALWAYS_IDENTITY)
    }

    /// Those of them that an UPDATE sets.
    pub(crate) fn updated(&self) -> impl Iterator<Item = (usize, &str)> {
        self.others().filter(|(_, column)| self.may_be_updated(column))
    }

    /// Those of them that only an INSERT sets.
    pub(crate) fn inserted_only(&self) -> impl Iterator<Item = (usize, &str)> {
        self.others().filter(|(_, column)| !self.may_be_updated(column))
    }

    /// The columns of the table that aren't computed.
    pub(crate) fn stored_columns(&self) -> Vec<&str> {
        self.info.columns.iter().filter(|c| c.generated == Generated::No).map(|c| c.name.as_str()).collect()
    }
}

fn key_columns(syntax: &dyn Syntax, plan: &TablePlan, side: Side) -> Vec<KeyColumn> {
    let (info, index) = match side {
        Side::Old => (&plan.old_info, &plan.old_index),
        Side::New => (&plan.new_info, &plan.new_index),
    };
    let made = plan.key.iter().enumerate().map(|(i, part)| {
        let own_name = match side {
            Side::Old => &part.old,
            Side::New => &part.new,
        };
        let canonical = plan.columns[part.at].target.domain.clone();
        let column = info.column(own_name);
        let collation = index.collations[i].clone();
        KeyColumn {
            // Said only where it differs: SQLite's ranges over several columns want plain columns.
            collated: syntax.collated(own_name, column.map(|c| c.collation.as_str()), &collation),
            read: column.map_or_else(|| syntax.name(own_name), |c| syntax.read(c)),
            name: own_name.clone(),
            collation,
            canonical_as_it_is: holds_as_they_are(&canonical, column.map_or(&Domain::Any, |c| &c.domain)),
            own: column.map_or(Domain::Any, |c| c.domain.clone()),
            canonical,
            nullable: column.is_some_and(|c| !c.not_null),
        }
    });
    made.collect()
}

fn scope(
    syntax: &dyn Syntax,
    plan: &TablePlan,
    side: Side,
    info: &TableInfo,
    constants: &[(String, String)],
) -> Option<String> {
    match side {
        Side::Old => plan.where_.as_deref().map(expression),
        Side::New => (!constants.is_empty()).then(|| {
            let parts: Vec<String> =
                constants.iter().map(|(c, v)| syntax.is_constant(info, &syntax.name(c), c, v)).collect();
            format!("({})", parts.join(" AND "))
        }),
    }
}

fn canonical_image(syntax: &dyn Syntax, plan: &TablePlan, side: Side, key: &[KeyColumn]) -> ImageSql {
    let mut list: Vec<String> = key.iter().map(|part| part.read.clone()).collect();
    let mut columns = Vec::new();
    for (position, column) in plan.columns.iter().enumerate() {
        let at = plan.key.iter().position(|part| part.at == position).unwrap_or_else(|| {
            list.push(match side {
                Side::Old => source_sql(syntax, &column.source, &plan.old_info),
                Side::New => read_column(syntax, &column.target.column, &plan.new_info),
            });
            list.len() - 1
        });
        let target = (side == Side::Old).then(|| column.target.clone());
        // The key's values are converted already.
        let converts = at >= key.len() && converts(&column.source, &plan.old_info, &column.target);
        columns.push(ImageColumn { at, target, converts });
    }
    ImageSql { select: list.join(", "), columns }
}

fn back_image(syntax: &dyn Syntax, plan: &TablePlan, key: &[KeyColumn]) -> ImageSql {
    let mut list: Vec<String> = key.iter().map(|part| part.read.clone()).collect();
    let mut columns = Vec::new();
    for (position, column) in plan.back.iter().enumerate() {
        let at = if position < plan.key.len() {
            position
        } else {
            list.push(source_sql(syntax, &column.source, &plan.new_info));
            list.len() - 1
        };
        let converts = converts(&column.source, &plan.new_info, &column.target);
        columns.push(ImageColumn { at, target: Some(column.target.clone()), converts });
    }
    ImageSql { select: list.join(", "), columns }
}

/// This side's columns, in the order of the image, where they are the same on both sides.
fn alike(plan: &TablePlan, side: Side) -> Option<Vec<String>> {
    let same = |column: &ColumnPlan| {
        let Source::Column(name) = &column.source else { return None };
        let (old, new) = (plan.old_info.column(name)?, plan.new_info.column(&column.target.column)?);
        let same = old.declared == new.declared && old.domain == new.domain && old.as_text == new.as_text;
        let own = if side == Side::Old { old } else { new };
        same.then(|| own.name.clone())
    };
    let has_key = |key: &KeyPlan| {
        let (old, new) = (plan.old_info.column(&key.old), plan.new_info.column(&key.new));
        [old, new].into_iter().all(|column| column.is_some_and(|c| c.not_null && !c.as_text))
    };
    if !plan.key.iter().all(has_key) {
        return None;
    }
    plan.columns.iter().map(same).collect()
}

/// A column of the same kind holds its values as the target would.
fn converts(source: &Source, from: &TableInfo, target: &Target) -> bool {
    match source {
        Source::Column(name) => {
            from.column(name).is_none_or(|column| !holds_as_they_are(&target.domain, &column.domain))
        }
        Source::Sql(_) | Source::Const(_) => true,
    }
}

/// Whether every value of a column, as it is, is what the other would give back.
pub(crate) fn holds_as_they_are(to: &Domain, from: &Domain) -> bool {
    let (Domain::Exact(to), Domain::Exact(from)) = (to, from) else { return to == from };
    match (&to.of, &from.of) {
        // The servers' numbers of the same or of a smaller width; a YEAR may be 0, which is outside of its bounds.
        (Exact::Int { min, max }, Exact::Int { min: least, max: most }) if from.of != Exact::YEAR => {
            min <= least && most <= max
        }
        _ => to == from,
    }
}

fn source_sql(syntax: &dyn Syntax, source: &Source, from: &TableInfo) -> String {
    match source {
        Source::Column(column) => read_column(syntax, column, from),
        Source::Sql(sql) => expression(sql),
        Source::Const(value) => syntax.literal(value),
    }
}

fn read_column(syntax: &dyn Syntax, column: &str, of: &TableInfo) -> String {
    of.column(column).map_or_else(|| syntax.name(column), |column| syntax.read(column))
}

/// Where the values stand that make a row's slot.
fn routed_by(plan: &TablePlan, columns: &[String], key: &[usize]) -> Vec<usize> {
    match &plan.route {
        Route::Key => key.to_vec(),
        Route::Column { new, .. } => columns.iter().position(|column| column == new).into_iter().collect(),
    }
}

fn route(plan: &TablePlan, side: Side) -> Option<(String, Target)> {
    match &plan.route {
        Route::Key => None,
        Route::Column { old, new, target } => Some(match side {
            Side::Old => (old.clone(), target.clone()),
            Side::New => (new.clone(), target.clone()),
        }),
    }
}

/// The columns of rows that may pass unread. The declared types have to be the same, not only what they hold: a database fits
/// what it takes to the type by its own rules, and rounds, cuts or pads it in silence.
fn unread(plan: &TablePlan, side: Side) -> Option<Vec<String>> {
    // A row whose key has a NULL in it is in no range, and is refused by name.
    if plan.key.iter().any(|part| plan.old_info.column(&part.old).is_none_or(|column| !column.not_null)) {
        return None;
    }
    let columns = plan.columns.iter().map(|column| {
        let Source::Column(old) = &column.source else { return None };
        let (old, new) = (plan.old_info.column(old)?, plan.new_info.column(&column.target.column)?);
        let same = matches!(old.domain, Domain::Exact(_))
            && old.domain == new.domain
            && old.declared == new.declared
            && !old.as_text
            && !new.as_text
            && new.generated == Generated::No;
        let here = if side == Side::Old { old } else { new };
        same.then(|| here.name.clone())
    });
    columns.collect()
}

/// Ids that the authority has given out must not be given out again by the other side, even if their rows are gone.
fn counter(plan: &TablePlan, side: Side) -> Option<String> {
    let new = plan.new_info.counter.as_ref()?;
    let column = plan.columns.iter().find(|c| c.target.column == *new)?;
    match (side, &column.source) {
        (Side::New, _) => Some(new.clone()),
        (Side::Old, Source::Column(old)) if plan.old_info.row_number.as_ref() == Some(old) => {
            Some(old.clone())
        }
        (Side::Old, _) => None,
    }
}

/// The number that stands for a mapping: FNV-1a with 32 bits over its name.
pub(crate) fn tag(name: &str) -> i64 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    i64::from(hash)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::types::ExactType;

    fn int(engine: &'static str, min: i64, max: u64) -> Domain {
        Domain::Exact(Arc::new(ExactType { engine, of: Exact::Int { min, max } }))
    }

    #[test]
    fn integers_are_taken_as_they_are_only_where_all_of_them_fit() {
        let (small, large) = (int("mysql", -128, 127), int("postgres", i64::MIN, i64::MAX.unsigned_abs()));
        assert!(holds_as_they_are(&large, &small) && !holds_as_they_are(&small, &large));
        assert!(!holds_as_they_are(&large, &int("mysql", 0, u64::MAX)));
        assert!(
            !holds_as_they_are(&large, &Domain::Integer) && holds_as_they_are(&Domain::Text, &Domain::Text)
        );
        let year = Domain::Exact(Arc::new(ExactType { engine: "mysql", of: Exact::YEAR }));
        assert!(!holds_as_they_are(&large, &year) && holds_as_they_are(&year, &year));
    }
}
