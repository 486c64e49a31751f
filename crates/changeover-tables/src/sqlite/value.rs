//! Values in SQLite: read, bound, and changed as a column would change them when it stores them.

use changeover::Value;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement};

use crate::catalog::Domain;

/// The kind of a text whose bytes aren't UTF-8: it passes between two SQLite databases as it is.
pub(super) const BAD_TEXT: &str = "sqlite: text that is not UTF-8";

/// A value as SQLite gives it.
pub(super) fn read(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Int(n),
        ValueRef::Real(x) => Value::Real(x),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::opaque(BAD_TEXT, bytes.to_vec()),
        },
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

/// The longest text and the longest bytes whose memory is used again: what is longer is worth an allocation of its own, and
/// would stay allocated for a short one.
const REUSED: usize = 256;

/// [`read`], in the memory of a value that is no longer needed.
pub(super) fn read_into(value: ValueRef<'_>, used: &mut Value) {
    match (value, &mut *used) {
        (ValueRef::Text(bytes), Value::Text(text)) if fits(bytes, text.capacity()) => {
            if let Ok(read) = std::str::from_utf8(bytes) {
                text.clear();
                text.push_str(read);
            } else {
                *used = read(value);
            }
        }
        (ValueRef::Blob(bytes), Value::Bytes(kept)) if fits(bytes, kept.capacity()) => {
            kept.clear();
            kept.extend_from_slice(bytes);
        }
        _ => *used = read(value),
    }
}

fn fits(bytes: &[u8], capacity: usize) -> bool {
    bytes.len() <= REUSED && capacity <= REUSED
}

/// A value on its way into a statement, without a copy of our own.
pub(super) struct Bound<'v>(pub(super) &'v Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(as_sqlite_gives_it(self.0)))
    }
}

/// What [`read`] makes this value of.
pub(super) fn as_sqlite_gives_it(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Int(n) => ValueRef::Integer(*n),
        Value::Real(x) => ValueRef::Real(*x),
        Value::Text(text) => ValueRef::Text(text.as_bytes()),
        Value::Bytes(bytes) => ValueRef::Blob(bytes),
        Value::Opaque(opaque) => ValueRef::Text(&opaque.bytes),
        _ => ValueRef::Null,
    }
}

/// Binds values from this position (from 1) on; the position after the last.
pub(super) fn bind<'v>(
    statement: &mut Statement<'_>,
    from: usize,
    values: impl IntoIterator<Item = &'v Value>,
) -> rusqlite::Result<usize> {
    let mut at = from;
    for value in values {
        statement.raw_bind_parameter(at, Bound(value))?;
        at += 1;
    }
    Ok(at)
}

/// Changes a value as a column of this domain changes what is stored in it (SQLite calls it affinity).
///
/// The common cases are done here; what depends on how SQLite reads and prints numbers is asked of SQLite.
///
/// # Errors
/// What SQLite says; never for a value as such.
pub(crate) fn stored(connection: &Connection, domain: &Domain, value: Value) -> rusqlite::Result<Value> {
    match (domain, value) {
        (Domain::Integer | Domain::Number | Domain::Loose, Value::Real(x)) => {
            Ok(whole(x).map_or(Value::Real(x), Value::Int))
        }
        #[allow(clippy::cast_precision_loss, reason = "this is what a REAL column does to an integer")]
        (Domain::Real, Value::Int(n)) => Ok(Value::Real(n as f64)),
        (Domain::Integer | Domain::Number | Domain::Loose | Domain::Real, Value::Text(text)) => {
            number_from_text(connection, domain, text)
        }
        // On disk it is the integer 0, and comes back without its sign.
        (Domain::Real, Value::Real(-0.0)) => Ok(Value::Real(0.0)),
        (Domain::Text, Value::Int(n)) => Ok(Value::Text(n.to_string())),
        (Domain::Text, Value::Real(x)) => {
            let mut statement = connection.prepare_cached("SELECT CAST(?1 AS TEXT)")?;
            statement.query_row([x], |row| row.get_ref(0).map(read))
        }
        (_, value) => Ok(value),
    }
}

/// A number that is whole and within what SQLite takes for an integer without loss.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "checked by going there and back"
)]
fn whole(x: f64) -> Option<i64> {
    let n = x as i64;
    // SQLite leaves the outermost integers alone: near them, going there and back proves nothing.
    (n as f64 == x && n > i64::MIN && n < i64::MAX).then_some(n)
}

/// Text that looks like a number becomes one. The comparison applies the affinity; the cast alone would make 0 of `abc`.
fn number_from_text(connection: &Connection, domain: &Domain, text: String) -> rusqlite::Result<Value> {
    let may_be_number = |b: u8| b.is_ascii_digit() || b.is_ascii_whitespace() || b"+-.".contains(&b);
    if !text.bytes().next().is_some_and(may_be_number) {
        return Ok(Value::Text(text));
    }
    let mut statement = connection
        .prepare_cached("SELECT CASE WHEN CAST(?1 AS NUMERIC) = ?1 THEN CAST(?1 AS NUMERIC) END")?;
    let number = statement.query_row([&text], |row| row.get_ref(0).map(read))?;
    match number {
        Value::Null => Ok(Value::Text(text)),
        number => stored(connection, domain, number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever SQLite makes of a value in a column of the type, `stored` makes too.
    #[test]
    fn values_change_just_as_columns_change_them() {
        let connection = Connection::open_in_memory().unwrap();
        let cases = [
            ("INTEGER", Domain::Integer),
            ("NUMERIC", Domain::Number),
            ("DATE", Domain::Loose),
            ("REAL", Domain::Real),
            ("TEXT", Domain::Text),
            ("BLOB", Domain::Bytes),
        ];
        let texts = [
            "",
            "abc",
            "12",
            " 12 ",
            "12abc",
            "+7",
            "-0",
            "1e3",
            "1.50",
            "0x1A",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "123456789012345678901234567890",
            ".5",
            "5.",
            "1e400",
            "- 1",
            "Inf",
            "nan",
            "\u{a0}12",
            "12\0",
            "1_000",
        ];
        let mut values: Vec<Value> = texts.iter().map(|t| Value::from(*t)).collect();
        values.extend([0, 1, -1, i64::MAX, i64::MIN, 1 << 53, (1 << 53) + 1].map(Value::Int));
        values.extend(
            [0.0, -0.0, 1.0, 1.5, 1e15, 1e16, 9.3e18, -9.3e18, 1e300, 0.1, 1.0 / 3.0, f64::INFINITY]
                .map(Value::Real),
        );
        values.extend([vec![], b"12".to_vec(), vec![0xff]].map(Value::Bytes));
        for (declared, domain) in cases {
            connection
                .execute_batch(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t (c {declared})"))
                .unwrap();
            for value in &values {
                connection.execute("DELETE FROM t", []).unwrap();
                connection.execute("INSERT INTO t VALUES (?1)", [Bound(value)]).unwrap();
                let column = connection.query_row("SELECT c FROM t", [], |r| r.get_ref(0).map(read)).unwrap();
                let ours = stored(&connection, &domain, value.clone()).unwrap();
                // SQLite stores -0.0 in a numeric column as the integer 0.
                assert_eq!(ours, column, "{value} in {declared}");
            }
        }
    }

    #[test]
    fn a_value_read_into_the_memory_of_another_is_the_value() {
        let long = "x".repeat(REUSED + 1);
        let read_from = |value: &Value| {
            let connection = Connection::open_in_memory().unwrap();
            connection.query_row("SELECT ?1", [Bound(value)], |row| row.get_ref(0).map(read)).unwrap()
        };
        let bad = Value::opaque(BAD_TEXT, vec![0x66, 0xff]);
        let values = [
            Value::Null,
            Value::Int(7),
            Value::Real(0.5),
            Value::from(""),
            Value::from("a text"),
            Value::from(long.as_str()),
            Value::Bytes(vec![1, 2, 3]),
            Value::Bytes(vec![0; REUSED + 1]),
            bad,
        ];
        for value in &values {
            for used in &values {
                let connection = Connection::open_in_memory().unwrap();
                let mut into = used.clone();
                connection
                    .query_row("SELECT ?1", [Bound(value)], |row| {
                        read_into(row.get_ref(0)?, &mut into);
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(into, read_from(value), "{value} in the memory of {used}");
                let kept = match &into {
                    Value::Text(text) => text.capacity(),
                    Value::Bytes(bytes) => bytes.capacity(),
                    _ => 0,
                };
                assert!(kept <= 2 * REUSED.max(value.bytes()), "{value} keeps {kept} bytes of {used}");
            }
        }
    }

    #[test]
    fn text_that_is_not_utf8_goes_through_as_it_is() {
        let connection = Connection::open_in_memory().unwrap();
        let bad = read(ValueRef::Text(&[0x66, 0xff]));
        let back = connection
            .query_row("SELECT typeof(?1), ?1", [Bound(&bad)], |r| {
                Ok((r.get::<_, String>(0)?, read(r.get_ref(1)?)))
            })
            .unwrap();
        assert_eq!(back, ("text".to_owned(), bad));
    }
}
