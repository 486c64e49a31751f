//! A value in a column of SQLite's, which changes what is stored in it by its declared type's name (SQLite calls it affinity).
//!
//! First a value becomes one of the five that SQLite has; then SQLite itself says what the column makes of that. A number that it
//! would change, as a REAL column changes large integers, is refused.

use changeover::Value;

use super::why::Why;
use crate::catalog::Domain;

/// The value as the column would give it back.
#[cfg(feature = "sqlite")]
pub(super) fn made(value: Value, to: &Domain) -> Result<Value, (Value, Why)> {
    let made = match sqlite::class(&value, to) {
        Ok(None) if !sqlite::may_change(&value, to) => return Ok(value),
        Ok(None) => sqlite::converted(value.clone(), to),
        Ok(Some(classed)) => {
            let was_text = matches!(classed, Value::Text(_));
            sqlite::converted(classed, to).and_then(|made| {
                if was_text && !matches!(made, Value::Text(_)) {
                    return Err(Why::new(format!(
                        "{} that SQLite would take for a number in a column for {}",
                        value.type_name(),
                        to.name()
                    )));
                }
                Ok(made)
            })
        }
        Err(why) => Err(why),
    };
    made.map_err(|why| (value, why))
}

/// Without SQLite there is no such column.
#[cfg(not(feature = "sqlite"))]
pub(super) fn made(value: Value, to: &Domain) -> Result<Value, (Value, Why)> {
    let what =
        format!("{} in a column for {} of SQLite's, which isn't built in", value.type_name(), to.name());
    Err((value, Why::new(what)))
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::cell::RefCell;

    use changeover::Value;
    use changeover::value::Decimal;
    use rusqlite::Connection;

    use super::super::why::Why;
    use super::super::{array, number, text};
    use crate::catalog::Domain;
    use crate::sqlite::value::stored;

    thread_local! {
        /// What SQLite makes of a value is asked of an empty database of the thread's own.
        static ASKED: RefCell<Option<Connection>> = const { RefCell::new(None) };
    }

    /// One of SQLite's own kinds of values, made of any other; `None` for what is one already.
    pub(super) fn class(value: &Value, to: &Domain) -> Result<Option<Value>, Why> {
        let wrong = || Why::new(format!("{} in a column for {} of SQLite's", value.type_name(), to.name()));
        let text = || value.plain().map(|text| Value::Text(text.into_owned())).ok_or_else(wrong);
        Ok(Some(match value {
            Value::Real(x) if x.is_nan() => return Err(nan()),
            Value::Single(x) if x.is_nan() => return Err(nan()),
            Value::Null | Value::Int(_) | Value::Real(_) | Value::Text(_) | Value::Bytes(_) => {
                return Ok(None);
            }
            Value::Opaque(opaque) if opaque.kind.starts_with("sqlite: ") => return Ok(None),
            Value::Opaque(opaque) => {
                return Err(Why::new(format!("{} has no place in SQLite", opaque.kind)));
            }
            // As text each keeps what a number of SQLite's may not: the zeros at its end, and all of its digits.
            Value::Bool(_) | Value::Uint(_) | Value::Decimal(_) | Value::Single(_) if *to == Domain::Text => {
                text()?
            }
            Value::Bool(b) => Value::Int((*b).into()),
            Value::Uint(_) => {
                return Err(Why::new("an integer above 9223372036854775807, which SQLite doesn't hold"));
            }
            Value::Decimal(d) => decimal(d)?,
            Value::Single(x) => Value::Real((*x).into()),
            Value::Array(list) => Value::Text(array::as_json(list)?),
            Value::Set(labels) => Value::Text(text::joined(labels)?),
            Value::Date(_)
            | Value::Time(_)
            | Value::Timestamp(_)
            | Value::Instant(_)
            | Value::Interval(_)
            | Value::Uuid(_)
            | Value::Json(_)
            | Value::Bits(_) => text()?,
            _ => return Err(wrong()),
        }))
    }

    fn nan() -> Why {
        Why::new("NaN, of which SQLite makes NULL")
    }

    fn decimal(d: &Decimal) -> Result<Value, Why> {
        if let Some(n) = d.to_integer().and_then(|n| i64::try_from(n).ok()) {
            return Ok(Value::Int(n));
        }
        number::real(d.as_str(), d, None).map(Value::Real)
    }

    /// Whether the column may make another value of one that SQLite has.
    pub(super) const fn may_change(value: &Value, to: &Domain) -> bool {
        match (to, value) {
            (Domain::Integer | Domain::Number | Domain::Loose, Value::Real(_) | Value::Text(_))
            | (Domain::Real, Value::Int(_) | Value::Real(_) | Value::Text(_))
            | (Domain::Text, Value::Int(_) | Value::Real(_)) => true,
            (_, _) => false,
        }
    }

    /// What SQLite makes of one of its own values, if that says the same.
    pub(super) fn converted(value: Value, to: &Domain) -> Result<Value, Why> {
        let made = ASKED.with_borrow_mut(|asked| {
            let connection = match asked {
                Some(connection) => connection,
                None => asked.insert(Connection::open_in_memory()?),
            };
            stored(connection, to, value.clone())
        });
        match made {
            Ok(made) if says_the_same(&value, &made) => Ok(made),
            Ok(_) => {
                Err(Why::inexact(format!("a number that SQLite would change in a column for {}", to.name())))
            }
            Err(error) => {
                tracing::warn!(%error, "asking SQLite for what a column makes of a value");
                Err(Why::new("a value of which SQLite couldn't say what the column makes of it"))
            }
        }
    }

    fn says_the_same(value: &Value, made: &Value) -> bool {
        let is = |x: f64, n: i64| number::whole(x + 0.0) == Some(n.into());
        match (value, made) {
            // The sign of zero is the one thing that SQLite keeps for itself.
            (Value::Real(a), Value::Real(b)) => a == b,
            (Value::Int(n), Value::Real(x)) | (Value::Real(x), Value::Int(n)) => is(*x, *n),
            (Value::Real(x), Value::Text(text)) => text.parse::<f64>().is_ok_and(|back| back == *x),
            (Value::Text(text), Value::Int(n)) => {
                Decimal::parse(text.trim()).is_some_and(|d| d.cmp_number(&Decimal::from(*n)).is_eq())
            }
            (Value::Text(text), Value::Real(x)) => Decimal::parse(text.trim())
                .is_some_and(|d| number::real(d.as_str(), &d, None).is_ok_and(|back| back == *x)),
            (Value::Int(_), Value::Text(_)) => true,
            (value, made) => value == made,
        }
    }
}
