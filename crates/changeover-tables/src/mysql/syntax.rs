//! How MariaDB and MySQL write the small pieces of SQL.

use std::fmt::Write as _;

use changeover::Value;

use super::codec::Mark;
use crate::catalog::{ColumnInfo, Domain, TableInfo};
use crate::syntax::Syntax;
use crate::types::Exact;

/// MariaDB and MySQL.
#[derive(Debug)]
pub(crate) struct Mysql;

/// What stands for the order of sets.
pub(super) const SETS: &str = "SETS";
/// And for that of UUIDs in MariaDB, which has some of them by their parts, the last first.
pub(super) const UUIDS: &str = "UUIDS";

/// Whether a type's values travel as text and are ordered by themselves.
pub(super) fn is_address(data_type: &str) -> bool {
    matches!(data_type, "inet4" | "inet6")
}

/// What a column holds.
pub(super) fn exact(column: &ColumnInfo) -> Option<&Exact> {
    match &column.domain {
        Domain::Exact(exact) => Some(&exact.of),
        _ => None,
    }
}

impl Syntax for Mysql {
    fn name(&self, name: &str) -> String {
        format!("`{}`", name.replace('`', "``"))
    }

    fn table(&self, info: &TableInfo) -> String {
        match &info.schema {
            Some(schema) => format!("{}.{}", self.name(schema), self.name(&info.name)),
            None => self.name(&info.name),
        }
    }

    fn literal(&self, value: &Value) -> String {
        match value {
            Value::Null => "NULL".to_owned(),
            Value::Bool(b) => u8::from(*b).to_string(),
            Value::Int(_) | Value::Uint(_) | Value::Decimal(_) => {
                value.plain().unwrap_or_default().into_owned()
            }
            // Without an exponent it would be a decimal number. As one with 64 bits it is what it was.
            Value::Single(x) => format!("{:e}", f64::from(*x)),
            Value::Real(x) => format!("{x:e}"),
            Value::Bytes(bytes) => hex(bytes),
            Value::Instant(at) => quoted(changeover::value::Timestamp(at.0).to_string().as_bytes()),
            Value::Bits(_) => format!("b{}", quoted(value.plain().unwrap_or_default().as_bytes())),
            Value::Opaque(opaque) => match std::str::from_utf8(&opaque.bytes) {
                Ok(text) => quoted(text.as_bytes()),
                Err(_) => hex(&opaque.bytes),
            },
            other => quoted(other.plain().unwrap_or_default().as_bytes()),
        }
    }

    fn placeholder(&self, _number: usize) -> String {
        "?".to_owned()
    }

    /// What the server doesn't tell of a value is told by the column's name in the answer.
    fn read(&self, column: &ColumnInfo) -> String {
        let name = self.name(&column.name);
        let mark = match exact(column) {
            Some(Exact::Json(_)) => Mark::Json,
            Some(Exact::Uuid) => Mark::Uuid,
            Some(Exact::Enum(labels)) if labels.iter().all(|label| !label.is_empty()) => Mark::Label,
            _ => return name,
        };
        format!("{name} AS {}", self.name(mark.name()))
    }

    /// A text beside a decimal number would have both compared as floating-point numbers, and one beside a label both as texts,
    /// where an index has the labels in the order of their list.
    fn compared_with(&self, column: Option<&ColumnInfo>, placeholder: String) -> String {
        match column.and_then(exact) {
            Some(Exact::Decimal { precision, scale }) => decimal(&placeholder, *precision, *scale),
            Some(Exact::Enum(labels)) => label(&placeholder, labels),
            _ => placeholder,
        }
    }

    /// An index always has its columns' own. Sets alone are ordered by their text: nothing makes their number of a parameter.
    fn collated(&self, column: &str, _own: Option<&str>, collation: &str) -> String {
        let name = self.name(column);
        if collation == SETS { format!("CONVERT({name} USING utf8mb4) COLLATE utf8mb4_bin") } else { name }
    }

    fn is_constant(&self, info: &TableInfo, quoted: &str, column: &str, literal: &str) -> String {
        if literal == "NULL" {
            return format!("{quoted} IS NULL");
        }
        let texts = info
            .column(column)
            .and_then(exact)
            .is_some_and(|exact| matches!(exact, Exact::Text(_) | Exact::Enum(_) | Exact::Set(_)));
        if texts {
            // Found by the column's collation, which may take others for the same, and then by its bytes.
            format!(
                "{quoted} = {literal} AND CAST(CONVERT({quoted} USING utf8mb4) AS BINARY) = CAST({literal} AS BINARY)"
            )
        } else {
            format!("{quoted} = {literal}")
        }
    }

    /// Column by column: neither server looks into an index by a row of values.
    fn compare_rows(&self, left: &[String], operator: &str, right: &[String]) -> String {
        match (left, right) {
            ([left], [right]) => format!("{left} {operator} {right}"),
            ([left, lefts @ ..], [right, rights @ ..]) => {
                let strict = operator.trim_end_matches('=');
                let rest = self.compare_rows(lefts, operator, rights);
                format!("({left} {strict} {right} OR ({left} = {right} AND {rest}))")
            }
            _ => "true".to_owned(),
        }
    }

    fn compared_in_order(&self, columns: usize) -> Vec<usize> {
        (0..columns).flat_map(|at| std::iter::repeat_n(at, if at + 1 < columns { 2 } else { 1 })).collect()
    }
}

/// A text as the number of a label.
pub(super) fn label(text: &str, labels: &[Box<str>]) -> String {
    let labels: Vec<String> = labels.iter().map(|label| quoted(label.as_bytes())).collect();
    format!("FIELD({text}, {})", labels.join(", "))
}

/// A text as a decimal number.
pub(super) fn decimal(text: &str, precision: Option<u32>, scale: Option<i32>) -> String {
    format!("CAST({text} AS DECIMAL({}, {}))", precision.unwrap_or(65), scale.unwrap_or(30))
}

/// A text as a literal, whatever is in it. Our sessions take a backslash for what it is by default.
pub(super) fn quoted(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for c in text.chars() {
        match c {
            '\'' => literal.push_str("''"),
            '\\' => literal.push_str("\\\\"),
            '\0' => literal.push_str("\\0"),
            c => literal.push(c),
        }
    }
    literal.push('\'');
    literal
}

fn hex(bytes: &[u8]) -> String {
    let mut literal = "x'".to_owned();
    for byte in bytes {
        // Writing into memory doesn't fail.
        let _ = write!(literal, "{byte:02x}");
    }
    literal.push('\'');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_names_survive_what_is_in_them() {
        assert_eq!(Mysql.name("a`b"), "`a``b`");
        assert_eq!(Mysql.literal(&"it's \\ \0".into()), "'it''s \\\\ \\0'");
        assert_eq!(Mysql.literal(&vec![1_u8, 0xff].into()), "x'01ff'");
        assert_eq!(Mysql.literal(&Value::Real(1.0)), "1e0");
        assert_eq!(Mysql.literal(&Value::Single(0.1)), "1.0000000149011612e-1");
    }

    #[test]
    fn a_comparison_of_rows_names_its_parameters_in_the_order_that_is_told() {
        let columns: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        for n in 1..=3 {
            let numbers: Vec<String> = (0..n).map(|at| format!("<{at}>")).collect();
            let sql = Mysql.compare_rows(&columns[..n], ">", &numbers);
            let named: Vec<usize> =
                sql.split('<').skip(1).filter_map(|s| s.split('>').next()?.parse().ok()).collect();
            assert_eq!(named, Mysql.compared_in_order(n), "{sql}");
        }
        let sql = Mysql.compare_rows(&columns[..2], "<=", &["x".to_owned(), "y".to_owned()]);
        assert_eq!(sql, "(a < x OR (a = x AND b <= y))");
    }
}
