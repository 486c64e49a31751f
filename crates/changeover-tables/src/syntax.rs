//! How a dialect writes the small pieces of which the statements are made that all dialects share.

use std::fmt::Debug;

use changeover::Value;

use crate::catalog::{ColumnInfo, TableInfo};

/// A dialect's small pieces of SQL.
pub(crate) trait Syntax: Debug + Send + Sync + 'static {
    /// A name in quotes, so that no name is ever taken for anything else.
    fn name(&self, name: &str) -> String;

    /// A table's name in quotes, with its schema where there are schemas.
    fn table(&self, info: &TableInfo) -> String;

    /// A value as a literal, exact to the last bit.
    fn literal(&self, value: &Value) -> String;

    /// The parameter with this number, from 1.
    fn placeholder(&self, number: usize) -> String;

    /// A column in a select list, in the form in which its values travel.
    fn read(&self, column: &ColumnInfo) -> String {
        self.name(&column.name)
    }

    /// What is written into a column, given a parameter in the form in which its values travel.
    fn write(&self, column: Option<&ColumnInfo>, placeholder: String) -> String {
        let _ = column;
        placeholder
    }

    /// A parameter that a column is compared with, in the form in which its values travel.
    fn compared_with(&self, column: Option<&ColumnInfo>, placeholder: String) -> String {
        let _ = column;
        placeholder
    }

    /// What makes rows go in that have a value for a column whose values the database gives out itself: stands after the list
    /// of columns.
    fn overriding(&self) -> &'static str {
        ""
    }

    /// A column, compared by this collation; said only where it isn't the column's own.
    fn collated(&self, column: &str, own: Option<&str>, collation: &str) -> String;

    /// The condition that a column (as `quoted`) holds exactly this constant.
    fn is_constant(&self, info: &TableInfo, quoted: &str, column: &str, literal: &str) -> String;

    /// That the first of two rows of values comes before (`<`) or after (`>`) the second, by the whole of it, as an index over
    /// just these columns would be asked.
    fn compare_rows(&self, left: &[String], operator: &str, right: &[String]) -> String {
        match (left, right) {
            ([left], [right]) => format!("{left} {operator} {right}"),
            _ => format!("({}) {operator} ({})", left.join(", "), right.join(", ")),
        }
    }

    /// Which of the second row's values the SQL of [`Syntax::compare_rows`] names, one after the other, where its parameters have
    /// no numbers: for so many columns.
    fn compared_in_order(&self, columns: usize) -> Vec<usize> {
        (0..columns).collect()
    }
}

/// An expression of the spec's as part of a statement: in parentheses, with its end on a line of its own, so that a
/// comment in it can't swallow what follows.
#[must_use]
pub(crate) fn expression(sql: &str) -> String {
    format!("({sql}\n)")
}
