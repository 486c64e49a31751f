//! Tables: the `[[table]]` sections, which say what each row of the old side becomes on the new one.

use std::fmt;

use changeover::Value;
use changeover::keyed::RouteBy;
use changeover::rules::Rule;
use toml::de::DeValue;

use super::reader::{Fields, Findings, Node, integer};
use super::rule;

/// One `[[table]]`: a mapping between a table of the old side and one of the new.
#[derive(Debug, Clone, PartialEq)]
pub struct TableSpec {
    /// The mapping's name: the old table's, unless given.
    pub name: String,
    /// The table on the old side.
    pub old: TableRef,
    /// The table on the new side.
    pub new: TableRef,
    /// The key, in its order. It identifies a row on both sides.
    pub key: Vec<KeyColumn>,
    /// Which of the old table's rows belong to the migration: a condition in the old side's SQL.
    pub filter: Option<String>,
    /// What columns of the new side are made of.
    pub set: Vec<SetColumn>,
    /// What columns of the old side are made of on the way back.
    pub back: Vec<SetColumn>,
    /// What may differ between two rows that count as equal. The columns are the new side's.
    pub rules: Vec<Rule>,
    /// The column of the old side by whose value traffic is divided into slots; the key, if not given.
    pub route_by: Option<String>,
    /// Who chooses the keys of new rows.
    pub keys: KeysBy,
}

/// Who chooses the keys of new rows, where the database could.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeysBy {
    /// The database may: it gives a new row the next number.
    #[default]
    Database,
    /// The application always does: two databases that are written at a time give out no key twice.
    Application,
}

/// A table in a store: `store:table` or `store:schema.table`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableRef {
    /// The store's name in the spec.
    pub store: String,
    /// The schema, where one was given.
    pub schema: Option<String>,
    /// The table's name in the database.
    pub table: String,
}

/// One column of the key, on both sides.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyColumn {
    /// The same value in a column of each side.
    Columns {
        /// The old side's column.
        old: String,
        /// The new side's column.
        new: String,
    },
    /// A column of the old side's key that has this value in every row of the mapping, and none on the new side.
    OldConst {
        /// The old side's column.
        old: String,
        /// The value.
        value: Value,
    },
}

/// What one column is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct SetColumn {
    /// The column that is written.
    pub column: String,
    /// What it is made of.
    pub from: Source,
}

/// What a column's value comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// SQL over the other side's row, in the other side's dialect.
    Sql(String),
    /// Always this value.
    Const(Value),
}

impl TableSpec {
    /// By what the library puts this mapping's rows into slots: the place of `route_by` among the key's values, or a
    /// value that each operation gives.
    #[must_use]
    pub fn route(&self) -> RouteBy {
        let Some(column) = &self.route_by else { return RouteBy::Key };
        // A constant of the old key is no value of the library's: it is the same in every row.
        let mut values = self.key.iter().filter_map(|entry| match entry {
            KeyColumn::Columns { old, .. } => Some(old),
            KeyColumn::OldConst { .. } => None,
        });
        values.position(|old| old == column).map_or(RouteBy::Given, RouteBy::KeyValue)
    }

    /// The key's columns, by either side's name.
    pub fn key_columns(&self) -> impl Iterator<Item = &str> {
        let names = self.key.iter().map(|entry| match entry {
            KeyColumn::Columns { old, new } => (old, Some(new)),
            KeyColumn::OldConst { old, .. } => (old, None),
        });
        names.flat_map(|(old, new)| std::iter::once(old).chain(new)).map(String::as_str)
    }
}

impl TableRef {
    /// Reads `store:table` or `store:schema.table`; a name with a dot or a colon in it stands in double quotes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (store, rest) = text.split_once(':')?;
        let (first, rest) = name_part(rest)?;
        let (schema, table) = match rest.strip_prefix('.') {
            Some(rest) => {
                let (second, rest) = name_part(rest)?;
                if !rest.is_empty() {
                    return None;
                }
                (Some(first), second)
            }
            None if rest.is_empty() => (None, first),
            None => return None,
        };
        (!store.is_empty()).then(|| Self { store: store.to_owned(), schema, table })
    }
}

/// A name up to a dot, or in double quotes up to the closing one; and what follows.
fn name_part(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(['.', ':', '"']).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let at = rest.find('"')?;
        name.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        // A doubled quote is one quote of the name.
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return (!name.is_empty()).then_some((name, rest)),
        }
    }
}

/// As the spec has it: can be read again.
impl fmt::Display for TableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |name: &str| match name.contains(['.', ':', '"']) {
            true => format!("\"{}\"", name.replace('"', "\"\"")),
            false => name.to_owned(),
        };
        match &self.schema {
            Some(schema) => write!(f, "{}:{}.{}", self.store, quoted(schema), quoted(&self.table)),
            None => write!(f, "{}:{}", self.store, quoted(&self.table)),
        }
    }
}

/// Reads `[[table]]`; each with its path.
pub(super) fn read(tables: &Node<'_>, found: &mut Findings) -> Vec<(String, TableSpec)> {
    let items = tables.clone().items("an array of tables: write [[table]]", found).unwrap_or_default();
    items.into_iter().filter_map(|item| Some((item.path.clone(), read_one(item, found)?))).collect()
}

fn read_one(node: Node<'_>, found: &mut Findings) -> Option<TableSpec> {
    let mut fields = node.fields("a table", found)?;
    let name = fields.get("name", found).and_then(|node| node.text("a name for the mapping", found));
    let hint = "Say where the rows are, as in \"legacy:bookings\"";
    let old = fields.require("old", hint, found).and_then(|node| reference(&node, found));
    let hint = "Say where the rows go, as in \"flights:public.booking\"";
    let new = fields.require("new", hint, found).and_then(|node| reference(&node, found));
    let hint = "Say which columns identify a row: key = { old_column = \"new_column\" }";
    let key = fields.require("key", hint, found).and_then(|node| read_key(node, found));
    let filter = fields.get("where", found).and_then(|node| node.text("a condition in SQL", found));
    let set = fields.get("set", found).map(|node| read_set(node, found));
    let back = fields.get("back", found).map(|node| read_set(node, found));
    let rules = fields.get("rules", found).map(|node| rule::read(node, found));
    let route_by = read_route_by(&mut fields, found);
    let choices = [("application", KeysBy::Application), ("database", KeysBy::Database)];
    let keys = fields.get("keys", found).and_then(|node| node.one_of(&choices, found));
    fields.finish(|_| None, found);
    let old = old?;
    Some(TableSpec {
        name: name.map_or_else(|| old.table.clone(), str::to_owned),
        new: new?,
        key: key?,
        filter: filter.map(str::to_owned),
        set: set.unwrap_or_default(),
        back: back.unwrap_or_default(),
        rules: rules.unwrap_or_default(),
        route_by,
        keys: keys.unwrap_or_default(),
        old,
    })
}

fn reference(node: &Node<'_>, found: &mut Findings) -> Option<TableRef> {
    let text = node.text("a table, as in \"store:table\"", found)?;
    let reference = TableRef::parse(text);
    if reference.is_none() {
        let hint = "Write \"store:table\" or \"store:schema.table\"; a name with a dot in double quotes";
        found.error(node.at.clone(), format!("{text:?} isn't a table in a store"), hint.to_owned());
    }
    reference
}

const NO_EXPRESSION: &str = "A key takes names and constants, no expressions: an expression goes into `set`, \
                             for a column that isn't in the key; a name with such signs stands in double quotes";

fn read_key(node: Node<'_>, found: &mut Findings) -> Option<Vec<KeyColumn>> {
    let fields = node.fields("a table from old columns to new ones, as in { id = \"booking_id\" }", found)?;
    let entries = fields.all(found);
    if entries.is_empty() {
        let hint = "Name at least one column: without a key no row can be told from another";
        found.error(fields.at, format!("`{}` is empty", fields.path), hint.to_owned());
        return None;
    }
    let mut key = Vec::new();
    let mut is_whole = true;
    for (name, node) in entries {
        let old = column(name);
        if old.is_none() {
            let message = format!("`{}`: {name:?} isn't a column's name", fields.path);
            found.error(node.name_at.clone(), message, NO_EXPRESSION.to_owned());
        }
        match old.and_then(|old| key_column(old, node, found)) {
            Some(column) => key.push(column),
            None => is_whole = false,
        }
    }
    is_whole.then_some(key)
}

fn key_column(old: String, node: Node<'_>, found: &mut Findings) -> Option<KeyColumn> {
    if node.value.is_table() {
        return Some(KeyColumn::OldConst { old, value: read_const(node, found)? });
    }
    let text = node.text("the new side's column, or { const = … }", found)?;
    let new = column(text);
    if new.is_none() {
        let message = format!("`{}`: {text:?} isn't a column's name", node.path);
        found.error(node.at.clone(), message, NO_EXPRESSION.to_owned());
    }
    Some(KeyColumn::Columns { old, new: new? })
}

/// A column's name; none, if it looks like an expression. In double quotes it is taken as it is.
fn column(text: &str) -> Option<String> {
    if let Some((name, "")) = text.starts_with('"').then(|| name_part(text)).flatten() {
        return Some(name);
    }
    let is_expression = text.is_empty() || text.contains(['(', ')', '\'', '"', '+', '*', '/', '|', ',', ';']);
    (!is_expression).then(|| text.to_owned())
}

fn read_set(node: Node<'_>, found: &mut Findings) -> Vec<SetColumn> {
    let want = "a table from columns to SQL, as in { status = \"upper(state)\" }";
    let Some(fields) = node.fields(want, found) else { return Vec::new() };
    let mut columns = Vec::new();
    for (name, node) in fields.all(found) {
        let from = if node.value.is_table() {
            read_const(node, found).map(Source::Const)
        } else {
            let text = node.text("SQL over the other side's row, or { const = … }", found);
            text.map(|sql| Source::Sql(sql.to_owned()))
        };
        columns.extend(from.map(|from| SetColumn { column: name.to_owned(), from }));
    }
    columns
}

fn read_const(node: Node<'_>, found: &mut Findings) -> Option<Value> {
    let mut fields = node.fields("{ const = … }", found)?;
    let node = fields.require("const", "Write { const = \"eu\" } or { const = 7 }", found);
    fields.finish(|_| None, found);
    let node = node?;
    let value = match node.value {
        DeValue::String(text) => Some(Value::Text(text.to_string())),
        DeValue::Integer(_) => integer(node.value).map(Value::Int),
        DeValue::Float(number) => {
            number.as_str().parse().ok().filter(|x: &f64| x.is_finite()).map(Value::Real)
        }
        DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    };
    if value.is_none() {
        let message = format!("`{}` should be a text, an integer of 64 bits or a finite number", node.path);
        let hint = "Write a truth value as the database has it (1 or 0), a time as its text";
        found.error(node.at, message, hint.to_owned());
    }
    value
}

fn read_route_by(fields: &mut Fields<'_>, found: &mut Findings) -> Option<String> {
    let node = fields.get("route_by", found)?;
    let text = node.text("a column of the old side", found)?;
    let name = column(text);
    if name.is_none() {
        let message = format!("`{}`: {text:?} isn't a column's name", node.path);
        let hint = "It takes the name of one column, whose value is known to the client before a write";
        found.error(node.at, message, hint.to_owned());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_table_is_named_by_its_store() {
        let read = |text| TableRef::parse(text).map(|t| (t.store, t.schema, t.table));
        let some = |store: &str, schema: Option<&str>, table: &str| {
            Some((store.to_owned(), schema.map(str::to_owned), table.to_owned()))
        };
        assert_eq!(read("legacy:bookings"), some("legacy", None, "bookings"));
        assert_eq!(read("flights:public.booking"), some("flights", Some("public"), "booking"));
        assert_eq!(read("a:\"odd.name\""), some("a", None, "odd.name"));
        assert_eq!(read("a:\"s\"\"x\".t"), some("a", Some("s\"x"), "t"));
        for wrong in ["bookings", ":t", "a:", "a:b.c.d", "a:.t", "a:t.", "a:\"t", "a:\"\"", "a:b:c"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_expression_is_no_name() {
        for name in ["id", "Order ID", "größe", "a-b", "x.y"] {
            assert_eq!(column(name).as_deref(), Some(name));
        }
        assert_eq!(column("\"a+b\"").as_deref(), Some("a+b"));
        for wrong in ["lower(id)", "a || b", "'x'", "a+b", "a,b", "", "\"a\"b"] {
            assert_eq!(column(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_read_again(
            store in "[a-z]{1,4}",
            schema in proptest::option::of("[a-z.:\"é ]{1,6}"),
            table in "[a-z.:\"é ]{1,6}",
        ) {
            let reference = TableRef { store, schema, table };
            prop_assert_eq!(TableRef::parse(&reference.to_string()), Some(reference));
        }
    }
}
