//! Small pieces of SQL: names, literals, and the parts of an index's definition that SQLite doesn't list.

use std::fmt::Write as _;

use changeover::Value;

use crate::catalog::TableInfo;
use crate::shape::SideTable;
use crate::syntax::Syntax;

/// SQLite's way to write the pieces that all dialects have.
#[derive(Debug)]
pub(super) struct Sqlite;

impl Syntax for Sqlite {
    fn name(&self, plain: &str) -> String {
        name(plain)
    }

    fn table(&self, info: &TableInfo) -> String {
        name(&info.name)
    }

    fn literal(&self, value: &Value) -> String {
        literal(value)
    }

    fn placeholder(&self, number: usize) -> String {
        format!("?{number}")
    }

    fn collated(&self, column: &str, own: Option<&str>, collation: &str) -> String {
        let quoted = name(column);
        let is_own = own.is_some_and(|own| own.eq_ignore_ascii_case(collation));
        if is_own { quoted } else { format!("{quoted} COLLATE {}", name(collation)) }
    }

    fn is_constant(&self, info: &TableInfo, quoted: &str, column: &str, literal: &str) -> String {
        if literal == "NULL" {
            return format!("{quoted} IS NULL");
        }
        let binary = info.column(column).is_none_or(|c| c.collation.eq_ignore_ascii_case("BINARY"));
        if binary {
            format!("{quoted} = {literal}")
        } else {
            format!("{quoted} = {literal} AND {quoted} = {literal} COLLATE BINARY")
        }
    }
}

impl SideTable {
    /// That the columns are there that a trigger of ours names. SQLite doesn't ask as it is made, but at every write to the
    /// table, and refuses that.
    pub(super) fn check_named_columns(&self, connection: &rusqlite::Connection) -> rusqlite::Result<()> {
        let sql = format!("SELECT {} FROM {} WHERE true{}", self.key_list(), self.table, self.and_scope());
        connection.prepare(&sql).map(drop)
    }

    /// A name for the row's number that no column hides, where rows have one beside their columns.
    pub(super) fn hidden_row_number(&self) -> Option<&'static str> {
        if self.info.without_row_number || self.info.row_number.is_some() {
            return None;
        }
        ["rowid", "_rowid_", "oid"].into_iter().find(|name| self.info.column(name).is_none())
    }
}

/// A name in quotes, so that no name is ever taken for anything else.
#[must_use]
pub fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a literal.
#[must_use]
pub fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A value as a literal, exact to the last bit. Text that a literal can't hold is written by its bytes.
#[must_use]
pub fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(n) => n.to_string(),
        Value::Real(x) if x.is_infinite() => if *x > 0.0 { "9e999" } else { "-9e999" }.to_owned(),
        // Rust's shortest form reads back as the same number.
        Value::Real(x) => format!("{x:?}"),
        Value::Text(s) if s.contains('\0') => format!("CAST({} AS TEXT)", hex(s.as_bytes())),
        Value::Text(s) => text(s),
        Value::Bytes(bytes) => hex(bytes),
        Value::Opaque(opaque) => format!("CAST({} AS TEXT)", hex(&opaque.bytes)),
        _ => "NULL".to_owned(),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2 + 3);
    out.push_str("x'");
    for byte in bytes {
        // Writing into memory doesn't fail.
        let _ = write!(out, "{byte:02x}");
    }
    out.push('\'');
    out
}

/// One step of the way through a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'s> {
    Word(&'s str),
    Open,
    Close,
    Comma,
    Other,
}

/// The tokens of a statement with where each begins and ends; strings, quoted names and comments count as one.
fn tokens(sql: &str) -> Vec<(Token<'_>, usize, usize)> {
    let bytes = sql.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let from = at;
        let token = match bytes[at] {
            b'\'' | b'"' | b'`' => {
                at = after_quoted(bytes, at, bytes[at]);
                Token::Other
            }
            b'[' => {
                at = position(bytes, at + 1, b"]").map_or(bytes.len(), |p| p + 1);
                Token::Other
            }
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                at = position(bytes, at, b"\n").unwrap_or(bytes.len());
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at = position(bytes, at + 2, b"*/").map_or(bytes.len(), |p| p + 2);
                continue;
            }
            b'(' => one(&mut at, Token::Open),
            b')' => one(&mut at, Token::Close),
            b',' => one(&mut at, Token::Comma),
            b if is_word(b) => {
                while at < bytes.len() && is_word(bytes[at]) {
                    at += 1;
                }
                Token::Word(&sql[from..at])
            }
            b if b.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            _ => one(&mut at, Token::Other),
        };
        found.push((token, from, at));
    }
    found
}

fn one<'s>(at: &mut usize, token: Token<'s>) -> Token<'s> {
    *at += 1;
    token
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn after_quoted(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from + 1;
    while at < bytes.len() {
        if bytes[at] == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 1;
        }
        at += 1;
    }
    bytes.len()
}

fn position(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    bytes.get(from..)?.windows(what.len()).position(|w| w == what).map(|p| p + from)
}

/// The parts of a `CREATE INDEX` as they were written: its columns or expressions, and the condition of a partial one.
#[must_use]
pub fn index_parts(sql: &str) -> (Vec<String>, Option<String>) {
    let tokens = tokens(sql);
    let mut parts = Vec::new();
    let mut depth = 0_usize;
    let mut from = 0;
    let mut closed = None;
    let is_on = |t: &(Token<'_>, usize, usize)| matches!(t.0, Token::Word(w) if w.eq_ignore_ascii_case("on"));
    let start = tokens.iter().position(is_on).unwrap_or(0);
    for (i, (token, begin, end)) in tokens.iter().enumerate().skip(start) {
        match token {
            Token::Open => {
                if depth == 0 {
                    from = *end;
                }
                depth += 1;
            }
            Token::Comma if depth == 1 => {
                parts.push(strip_order(&sql[from..*begin]));
                from = *end;
            }
            Token::Close => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    parts.push(strip_order(&sql[from..*begin]));
                    closed = Some(i);
                    break;
                }
            }
            _ => {}
        }
    }
    let condition = closed.and_then(|i| {
        let (token, _, end) = tokens.get(i + 1)?;
        matches!(token, Token::Word(w) if w.eq_ignore_ascii_case("where"))
            .then(|| sql[*end..].trim().to_owned())
    });
    (parts, condition)
}

/// What a `CREATE TABLE` says of its rows beyond columns, keys and types: each CHECK and each ON CONFLICT, as it was written.
#[must_use]
pub fn table_clauses(sql: &str) -> Vec<String> {
    let tokens = tokens(sql);
    let is = |at: usize, word: &str| matches!(tokens.get(at), Some((Token::Word(w), ..)) if w.eq_ignore_ascii_case(word));
    let mut clauses = Vec::new();
    let mut depth = 0_usize;
    let mut check = None;
    for (at, (token, begin, end)) in tokens.iter().enumerate() {
        match token {
            Token::Open => depth += 1,
            Token::Close => {
                depth = depth.saturating_sub(1);
                if depth == 1
                    && let Some(from) = check.take()
                {
                    clauses.push(sql[from..*end].to_owned());
                }
            }
            Token::Word(_) if depth == 1 && is(at, "check") => check = Some(*begin),
            Token::Word(_) if depth == 1 && is(at, "on") && is(at + 1, "conflict") => {
                let end = tokens.get(at + 2).map_or(sql.len(), |(.., end)| *end);
                clauses.push(sql[*begin..end].to_owned());
            }
            _ => {}
        }
    }
    clauses
}

/// An index part without its `ASC`, `DESC` and `COLLATE`, which SQLite lists.
fn strip_order(part: &str) -> String {
    let tokens = tokens(part);
    let mut end = part.len();
    let mut depth = 0_usize;
    for (token, from, _) in &tokens {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            Token::Word(w)
                if depth == 0 && ["asc", "desc", "collate"].iter().any(|o| w.eq_ignore_ascii_case(o)) =>
            {
                end = *from;
                break;
            }
            _ => {}
        }
    }
    part[..end].trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_literals_survive_quotes() {
        assert_eq!(name("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal(&"it's".into()), "'it''s'");
        assert_eq!(literal(&vec![1_u8, 0xff].into()), "x'01ff'");
        assert_eq!(literal(&Value::Real(0.1)), "0.1");
        assert_eq!(literal(&"a\0b".into()), "CAST(x'610062' AS TEXT)");
    }

    #[test]
    fn an_index_is_taken_apart_around_strings_and_nested_parentheses() {
        let (parts, condition) = index_parts(
            "CREATE UNIQUE INDEX \"on (x\" ON t(lower(a || ',)') DESC, b COLLATE NOCASE ASC, coalesce(c, (1))) \
             WHERE d IS NOT NULL -- (end",
        );
        assert_eq!(parts, ["lower(a || ',)')", "b", "coalesce(c, (1))"]);
        assert_eq!(condition.as_deref(), Some("d IS NOT NULL -- (end"));
    }

    #[test]
    fn a_tables_clauses_are_found_between_its_columns_and_nowhere_else() {
        let clauses = table_clauses(
            "CREATE TABLE t (\"check\" INT CHECK (\"check\" > (0)) DEFAULT (iif(1, 2, 3)), -- CHECK (no)\n \
             b TEXT UNIQUE ON CONFLICT REPLACE REFERENCES p ON DELETE CASCADE, c AS (b || ' check (x)'), CHECK(b <> ')'))",
        );
        assert_eq!(clauses, ["CHECK (\"check\" > (0))", "ON CONFLICT REPLACE", "CHECK(b <> ')')"]);
    }

    #[test]
    fn an_index_without_a_condition_has_none() {
        assert_eq!(index_parts("create unique index i on t ( a )"), (vec!["a".to_owned()], None));
    }
}
