//! A new table that isn't there yet, proposed from what the mapping gives it and from the old table's definition.
//!
//! Whatever of that definition isn't taken over is named in a comment: nobody would miss it before the new side is in use.

mod between;
mod defaults;
mod types;
mod unique;

use changeover::Value;
use changeover::mapping::{SetExpr, TableMapping};

use crate::catalog::{ColumnInfo, Engine, Generated, TableInfo};
use crate::words::words_of;

/// Functions whose value is of the kind of their argument, and NULL only if that is.
const SAME_KIND: [&str; 8] = ["upper", "lower", "trim", "ltrim", "rtrim", "coalesce", "ifnull", "abs"];

/// One line of the definition: a column or a constraint, or only something to be known.
struct Line {
    column: Option<String>,
    /// Not after `--`: whoever copies the statement may do so as one line.
    comment: Option<String>,
}

impl Line {
    const fn sql(sql: String) -> Self {
        Self { column: Some(sql), comment: None }
    }

    const fn comment(comment: String) -> Self {
        Self { column: None, comment: Some(comment) }
    }
}

/// What a column of the new table is made of.
enum What<'o> {
    /// The old column, as it is.
    Whole(&'o ColumnInfo),
    /// A function of the old column that keeps its kind; and whether it is NULL just where that is.
    Kind(&'o ColumnInfo, bool),
    /// A constant.
    Const(&'o Value),
    /// An expression whose type doesn't follow from one column.
    Unknown(&'o str),
    /// No column: the old one of this name is used by another only.
    UsedBy(&'o str),
}

/// A table that could be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// The SQL, with what isn't taken over as comments.
    pub sql: String,
    /// The columns whose type somebody has to choose first.
    pub to_choose: Vec<String>,
    /// What isn't taken over, and which values won't fit.
    pub lost: Vec<String>,
}

impl Proposed {
    fn of(sql: String, columns: &[(String, What<'_>)], lines: &[Line]) -> Self {
        let open = |what: &What<'_>| match what {
            What::Const(value) => !matches!(value, Value::Int(_) | Value::Text(_) | Value::Real(_)),
            What::Unknown(_) => true,
            What::Whole(_) | What::Kind(..) | What::UsedBy(_) => false,
        };
        let to_choose = columns.iter().filter(|(_, what)| open(what)).map(|(name, _)| name.clone());
        let alone = lines.iter().filter(|line| line.column.is_none());
        Self {
            sql,
            to_choose: to_choose.collect(),
            lost: alone.filter_map(|line| line.comment.clone()).collect(),
        }
    }
}

/// A CREATE TABLE for what the mapping gives: the key, what `set` makes, and the old columns that go over under their own
/// names. A column whose type doesn't follow from one old column says so; whatever the new database has no word for is named.
#[must_use]
pub fn proposed_table(mapping: &TableMapping, (from, old): (Engine, &TableInfo), to: Engine) -> Proposed {
    if (from, to) != (Engine::Sqlite, Engine::Sqlite) {
        return between::proposed(mapping, (from, old), to);
    }
    let columns = made_of(mapping, old);
    let mut lines: Vec<Line> = columns.iter().map(|(name, what)| line(mapping, name, what, old)).collect();
    lines.extend(unique::constraints(mapping, old));
    lines.extend(not_taken_over(old));
    let options = [(old.strict, "STRICT"), (old.without_row_number, "WITHOUT ROWID")];
    let options: Vec<&str> = options.into_iter().filter_map(|(has, word)| has.then_some(word)).collect();
    let options = if options.is_empty() { String::new() } else { format!(" {}", options.join(", ")) };
    let sql = format!("CREATE TABLE {} (\n{}\n){options};", quoted(&mapping.new.table), written(&lines));
    Proposed::of(sql, &columns, &lines)
}

/// A column in SQLite's words, of a table of SQLite's.
fn line(mapping: &TableMapping, name: &str, what: &What<'_>, old: &TableInfo) -> Line {
    // A STRICT table's columns all have a type.
    let any = || if old.strict { " ANY" } else { "" }.to_owned();
    let (declared, comment) = match what {
        What::UsedBy(by) => return Line::comment(used(name, by)),
        What::Whole(column) => (whole(mapping, column, old), None),
        What::Kind(column, null_alike) => (typed(column, *null_alike), None),
        What::Const(Value::Int(_)) => (" INTEGER NOT NULL".to_owned(), None),
        What::Const(Value::Text(_)) => (" TEXT NOT NULL".to_owned(), None),
        What::Const(Value::Real(_)) => (" REAL NOT NULL".to_owned(), None),
        What::Const(_) => (any(), Some("its type is to be chosen".to_owned())),
        What::Unknown(sql) => (any(), Some(format!("its type is to be chosen: {sql}"))),
    };
    Line { column: Some(format!("{}{declared}", quoted(name))), comment }
}

fn used(column: &str, by: &str) -> String {
    format!("{column} is used by {by}: a column of its own, if it is wanted")
}

/// What the definition of the old table has beyond its columns and what is unique.
fn not_taken_over(old: &TableInfo) -> Vec<Line> {
    let computed = old.columns.iter().filter(|column| column.generated != Generated::No);
    let computed = computed.map(|column| format!("{}, which the database computes", column.name));
    let parents = old.foreign_keys.iter().map(|key| {
        let to = key.parent_columns.join(", ");
        let to = if to.is_empty() { String::new() } else { format!(" ({to})") };
        format!("FOREIGN KEY ({}) REFERENCES {}{to}", key.columns.join(", "), key.parent)
    });
    let indexes = old.indexes.iter().map(|index| format!("the index {index}"));
    let triggers = old.triggers.iter().map(|trigger| format!("the trigger {}", trigger.name));
    let all = computed.chain(old.clauses.iter().cloned()).chain(parents).chain(indexes).chain(triggers);
    all.map(|what| Line::comment(format!("not taken over: {what}"))).collect()
}

/// The new table's columns, and what each is made of: those of the old one first, but for those that go over under another
/// name.
fn made_of<'o>(mapping: &'o TableMapping, old: &'o TableInfo) -> Vec<(String, What<'o>)> {
    let mut made = Vec::new();
    for column in old.columns.iter().filter(|column| column.generated == Generated::No) {
        let part = mapping.key.iter().find(|part| part.old.eq_ignore_ascii_case(&column.name));
        let name = part.map_or(&column.name, |part| &part.new);
        if mapping.set.iter().any(|(set, _)| set.eq_ignore_ascii_case(name)) {
            continue;
        }
        if part.is_none()
            && let Some(used_by) = used_by(mapping, old, &column.name)
        {
            let comes_back = mapping.back.iter().any(|(back, _)| back.eq_ignore_ascii_case(&column.name));
            if !comes_back && !used_by.1 {
                made.push((column.name.clone(), What::UsedBy(used_by.0)));
            }
            continue;
        }
        made.push((name.clone(), What::Whole(column)));
    }
    made.extend(mapping.set.iter().map(|(name, expr)| (name.clone(), set_to(expr, old))));
    made
}

fn set_to<'o>(expr: &'o SetExpr, old: &'o TableInfo) -> What<'o> {
    match expr {
        SetExpr::Const(value) => What::Const(value),
        SetExpr::Sql(sql) => match (old.column(&bare(sql)), of_one(sql, old)) {
            (Some(same), _) => What::Whole(same),
            (None, Some((column, null_alike))) => What::Kind(column, null_alike),
            (None, None) => What::Unknown(sql),
        },
    }
}

/// The name under which an old column goes over as it is, if it does.
fn goes_over_as(mapping: &TableMapping, old: &TableInfo, column: &str) -> Option<String> {
    if let Some(part) = mapping.key.iter().find(|part| part.old.eq_ignore_ascii_case(column)) {
        return Some(part.new.clone());
    }
    let renamed = mapping.set.iter().find(|(_, expr)| match expr {
        SetExpr::Sql(sql) => bare(sql).eq_ignore_ascii_case(column),
        SetExpr::Const(_) => false,
    });
    if let Some((name, _)) = renamed {
        return Some(name.clone());
    }
    let made_of_else = mapping.set.iter().any(|(name, _)| name.eq_ignore_ascii_case(column));
    let own = old.column(column).filter(|column| column.generated == Generated::No)?;
    (!made_of_else && used_by(mapping, old, column).is_none()).then(|| own.name.clone())
}

/// The `set` column that an old column goes into, and whether it does so as a whole.
fn used_by<'m>(mapping: &'m TableMapping, old: &TableInfo, column: &str) -> Option<(&'m str, bool)> {
    let uses = mapping.set.iter().filter_map(|(name, expr)| match expr {
        SetExpr::Sql(sql) if words_of(sql).any(|word| word.eq_ignore_ascii_case(column)) => Some((
            name.as_str(),
            of_one(sql, old).is_some_and(|(one, _)| one.name.eq_ignore_ascii_case(column)),
        )),
        _ => None,
    });
    uses.max_by_key(|(_, whole)| *whole)
}

/// The one old column that an expression is, or is a plain function of, whose kind it keeps; and whether it is NULL
/// just where that is.
fn of_one<'o>(sql: &str, old: &'o TableInfo) -> Option<(&'o ColumnInfo, bool)> {
    let sql = sql.trim();
    if let Some(column) = old.column(&bare(sql)) {
        return Some((column, true));
    }
    let (function, arguments) = sql.strip_suffix(')')?.split_once('(')?;
    if arguments.contains(['(', ')'])
        || !SAME_KIND.iter().any(|known| function.trim().eq_ignore_ascii_case(known))
    {
        return None;
    }
    let (first, rest) = arguments.split_once(',').unwrap_or((arguments, ""));
    let column = old.column(&bare(first))?;
    let alone = words_of(rest).all(|word| old.column(word).is_none());
    alone.then_some((column, rest.is_empty()))
}

fn typed(column: &ColumnInfo, null_alike: bool) -> String {
    let declared = if column.declared.is_empty() { String::new() } else { format!(" {}", column.declared) };
    let not_null = if column.not_null && null_alike { " NOT NULL" } else { "" };
    format!("{declared}{not_null}")
}

/// A column's name that is all of an expression, without its quotes.
fn bare(sql: &str) -> String {
    let sql = sql.trim();
    let without = |quote: char| {
        let inner = sql.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote))?;
        Some(inner.replace(&format!("{quote}{quote}"), &quote.to_string()))
    };
    without('"').or_else(|| without('`')).unwrap_or_else(|| sql.to_owned())
}

/// All that is said of a column that goes over as it is.
fn whole(mapping: &TableMapping, column: &ColumnInfo, old: &TableInfo) -> String {
    if unique::row_number(mapping, old).is_some_and(|number| number == column.name) {
        let counts = if old.counter.is_some() { " AUTOINCREMENT" } else { "" };
        return format!(" INTEGER PRIMARY KEY{counts}");
    }
    let mut said = typed(column, true);
    if let Some(default) = &column.default {
        said.push_str(&format!(" DEFAULT {}", default_sql(default)));
    }
    if !column.collation.is_empty() && !column.collation.eq_ignore_ascii_case("BINARY") {
        said.push_str(&collate(&column.collation));
    }
    said
}

fn collate(collation: &str) -> String {
    let is_word = collation.chars().all(|c| c.is_ascii_alphabetic());
    if is_word { format!(" COLLATE {collation}") } else { format!(" COLLATE {}", quoted(collation)) }
}

/// A default as it may stand in a definition: the catalogue has an expression without its parentheses.
fn default_sql(default: &str) -> String {
    let is_one_text = ['\'', '"'].iter().any(|quote| {
        let inner = default.strip_prefix(*quote).and_then(|rest| rest.strip_suffix(*quote));
        inner.is_some_and(|inner| !inner.replace(&format!("{quote}{quote}"), "").contains(*quote))
    });
    let is_word = default.chars().all(|c| c.is_alphanumeric() || c == '_');
    if is_one_text || is_word || default.parse::<f64>().is_ok() {
        default.to_owned()
    } else {
        format!("({default})")
    }
}

/// An expression without the parentheses around the whole of it.
fn without_parentheses(sql: &str) -> &str {
    let Some(inner) = sql.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) else { return sql };
    let mut open = 0_i32;
    let is_whole = inner.chars().all(|c| {
        open += i32::from(c == '(') - i32::from(c == ')');
        open >= 0
    });
    if is_whole { inner } else { sql }
}

fn written(lines: &[Line]) -> String {
    let last = lines.iter().rposition(|line| line.column.is_some()).unwrap_or(0);
    let line = |(at, line): (usize, &Line)| {
        let comma = if line.column.is_some() && at < last { "," } else { "" };
        let column = line.column.as_ref().map(|column| format!("{column}{comma}"));
        let comment = line.comment.as_ref().map(|comment| format!("/* {} */", comment.replace("*/", "* /")));
        format!("    {}", [column, comment].into_iter().flatten().collect::<Vec<_>>().join("  "))
    };
    lines.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Domain, TableKind};
    use changeover::mapping::{KeyColumn, TableRef};

    fn column(name: &str, declared: &str, not_null: bool) -> ColumnInfo {
        ColumnInfo {
            name: name.into(),
            declared: declared.into(),
            domain: Domain::Any,
            not_null,
            default: None,
            generated: Generated::No,
            collation: String::new(),
            as_text: false,
            computed_by: None,
            comment: None,
        }
    }

    fn old() -> TableInfo {
        TableInfo {
            schema: None,
            name: "bookings".into(),
            kind: TableKind::Table,
            columns: vec![
                column("id", "INTEGER", true),
                column("state", "TEXT", true),
                column("first", "TEXT", false),
                column("price", "INTEGER", false),
                column("note", "", false),
            ],
            primary_key: vec!["id".into()],
            unique: Vec::new(),
            indexes: Vec::new(),
            clauses: Vec::new(),
            foreign_keys: Vec::new(),
            triggers: Vec::new(),
            counter: None,
            row_number: None,
            without_row_number: false,
            strict: false,
            definition: String::new(),
            missing_rights: Vec::new(),
            comment: None,
        }
    }

    fn proposed(set: &[(&str, &str)], back: &[&str]) -> String {
        let mut mapping = TableMapping::new(TableRef::new("a", "bookings"), TableRef::new("b", "booking"));
        mapping.key = vec![KeyColumn { old: "id".into(), new: "booking_id".into() }];
        mapping.set = set.iter().map(|(c, sql)| ((*c).to_owned(), SetExpr::Sql((*sql).to_owned()))).collect();
        mapping.back = back.iter().map(|c| ((*c).to_owned(), "x".to_owned())).collect();
        proposed_table(&mapping, (Engine::Sqlite, &old()), Engine::Sqlite).sql
    }

    #[test]
    fn a_column_that_goes_over_under_another_name_is_there_once_with_its_type() {
        let sql = proposed(
            &[("status", "upper(state)"), ("given", "\"first\""), ("note", "coalesce(note, 'x')")],
            &[],
        );
        assert_eq!(
            sql,
            "CREATE TABLE \"booking\" (\n    \"booking_id\" INTEGER NOT NULL,\n    \"price\" INTEGER,\n    \"status\" TEXT NOT NULL,\n    \
             \"given\" TEXT,\n    \"note\",\n    PRIMARY KEY (\"booking_id\")\n);"
        );
    }

    #[test]
    fn where_the_type_does_not_follow_it_is_to_be_chosen_and_nothing_is_lost_unsaid() {
        let sql = proposed(&[("dear", "price > 100"), ("whole", "first || state")], &["state"]);
        assert!(sql.contains("\"dear\",  /* its type is to be chosen: price > 100 */"), "{sql}");
        assert!(sql.contains("/* price is used by dear: a column of its own, if it is wanted */"), "{sql}");
        assert!(sql.contains("/* first is used by whole"), "{sql}");
        assert!(!sql.contains("state is used by"), "it comes back: {sql}");
        #[cfg(feature = "sqlite")]
        rusqlite::Connection::open_in_memory().unwrap().execute_batch(&sql).unwrap();
    }
}
