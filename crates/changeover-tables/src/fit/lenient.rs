//! A value in a column of SQLite's, which changes what is stored in it by its declared type's name (SQLite calls it affinity).
//!
//! First a value becomes one of the five that SQLite has; then SQLite itself says what the column makes of that. A number that it
//! would change, as a REAL column changes large integers, is refused.

use changeover::Value;

use super::Allowed;
use super::why::Why;
use crate::catalog::Domain;

/// The value as the column would give it back.
#[cfg(feature = "sqlite")]
pub(super) fn made(value: Value, to: &Domain, allowed: &Allowed) -> Result<Value, (Value, Why)> {
    let by = allowed.tolerance;
    let made = match sqlite::class(&value, to, by) {
        Ok(None) if !sqlite::may_change(&value, to) => return Ok(value),
        Ok(None) => sqlite::converted(value.clone(), to, by),
        Ok(Some(classed)) => {
            let was_text = matches!(classed, Value::Text(_));
            sqlite::converted(classed, to, by).and_then(|made| {
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
pub(super) fn made(value: Value, to: &Domain, _: &Allowed) -> Result<Value, (Value, Why)> {
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
    pub(super) fn class(value: &Value, to: &Domain, tolerance: Option<f64>) -> Result<Option<Value>, Why> {
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
            Value::Uuid(uuid) if *to == Domain::Bytes => Value::Bytes(uuid.to_vec()),
            Value::Bool(b) => Value::Int((*b).into()),
            Value::Uint(_) => {
                return Err(Why::new("an integer above 9223372036854775807, which SQLite doesn't hold"));
            }
            Value::Decimal(d) => decimal(d, tolerance)?,
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

    fn decimal(d: &Decimal, tolerance: Option<f64>) -> Result<Value, Why> {
        if let Some(n) = d.to_integer().and_then(|n| i64::try_from(n).ok()) {
            return Ok(Value::Int(n));
        }
        number::real(d.as_str(), d, tolerance).map(Value::Real)
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
    pub(super) fn converted(value: Value, to: &Domain, tolerance: Option<f64>) -> Result<Value, Why> {
        let made = ASKED.with_borrow_mut(|asked| {
            let connection = match asked {
                Some(connection) => connection,
                None => asked.insert(Connection::open_in_memory()?),
            };
            stored(connection, to, value.clone())
        });
        match made {
            Ok(made) if says_the_same(&value, &made) || is_near(&value, &made, tolerance) => Ok(made),
            Ok(_) => {
                Err(Why::inexact(format!("a number that SQLite would change in a column for {}", to.name())))
            }
            Err(error) => {
                tracing::warn!(%error, "asking SQLite for what a column makes of a value");
                Err(Why::new("a value of which SQLite couldn't say what the column makes of it"))
            }
        }
    }

    /// Whether a number has changed by no more than a rule allows.
    fn is_near(value: &Value, made: &Value, tolerance: Option<f64>) -> bool {
        let number = |value: &Value| value.plain().and_then(|text| text.trim().parse::<f64>().ok());
        // Both are rounded as they are read here: by less than the distance to the next float.
        let by = number(value).zip(number(made)).map(|(a, b)| (a - b).abs() + b.abs().next_up() - b.abs());
        by.zip(tolerance).is_some_and(|(by, tolerance)| by <= tolerance)
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

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use changeover::value::{Bits, Date, Decimal};
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;
    use crate::sqlite::value::stored;

    const DOMAINS: [Domain; 7] = [
        Domain::Any,
        Domain::Integer,
        Domain::Real,
        Domain::Number,
        Domain::Loose,
        Domain::Text,
        Domain::Bytes,
    ];

    fn decimal(text: &str) -> Value {
        Value::Decimal(Decimal::parse(text).unwrap())
    }

    #[test]
    fn each_kind_has_one_of_sqlites() {
        let bits = || Value::Bits(Box::new(Bits::parse("0101").unwrap()));
        for (value, to, expected) in [
            (Value::Bool(true), Domain::Integer, Value::Int(1)),
            (Value::Bool(true), Domain::Text, "true".into()),
            (Value::Uint(u64::MAX), Domain::Text, "18446744073709551615".into()),
            (decimal("2.00"), Domain::Number, Value::Int(2)),
            (decimal("2.00"), Domain::Real, Value::Real(2.0)),
            (decimal("1.50"), Domain::Number, Value::Real(1.5)),
            (decimal("1.50"), Domain::Text, "1.50".into()),
            (Value::Single(0.1), Domain::Text, "0.1".into()),
            (Value::Single(0.1), Domain::Real, Value::Real(0.1_f32.into())),
            (Value::Date(Date(20_779)), Domain::Loose, "2026-11-22".into()),
            (Value::Json("{}".into()), Domain::Text, "{}".into()),
            (Value::Uuid([0; 16]), Domain::Bytes, vec![0_u8; 16].into()),
            (Value::Uuid([0; 16]), Domain::Text, "00000000-0000-0000-0000-000000000000".into()),
            (bits(), Domain::Text, "0101".into()),
            (Value::Null, Domain::Real, Value::Null),
        ] {
            let shown = format!("{value:?} in {to:?}");
            assert_eq!(made(value, &to, &Allowed::default()), Ok(expected), "{shown}");
        }
        for (value, to, why) in [
            (bits(), Domain::Number, "would take for a number"),
            (Value::Json("5".into()), Domain::Loose, "would take for a number"),
            (Value::Uint(u64::MAX), Domain::Number, "above 9223372036854775807"),
            (decimal("0.1000000000000000000001"), Domain::Number, "no floating-point number"),
            (Value::Real(f64::NAN), Domain::Real, "NaN"),
            (Value::Single(f32::NAN), Domain::Any, "NaN"),
            (Value::Int((1 << 53) + 1), Domain::Real, "a number that SQLite would change"),
            (decimal("9007199254740993"), Domain::Real, "a number that SQLite would change"),
            ("123456789012345678901".into(), Domain::Number, "a number that SQLite would change"),
            (Value::Real(0.1 + 0.2), Domain::Text, "a number that SQLite would change"),
            (Value::opaque("postgres: infinite date", vec![]), Domain::Text, "has no place in SQLite"),
        ] {
            let (unfit, found) = made(value.clone(), &to, &Allowed::default()).unwrap_err();
            assert!(unfit == value && found.what.contains(why), "{value} in {to:?}: {}", found.what);
        }
        let bad = Value::opaque("sqlite: text that is not UTF-8", vec![0xff]);
        assert_eq!(made(bad.clone(), &Domain::Text, &Allowed::default()), Ok(bad));
    }

    #[test]
    fn a_tolerance_lets_sqlite_round() {
        let large = || Value::Int((1 << 53) + 1);
        let within = |by| made(large(), &Domain::Real, &Allowed { tolerance: Some(by), round: None });
        assert_eq!(within(2.0), Ok(Value::Real(9_007_199_254_740_992.0)));
        assert!(within(0.9).is_err());
        let fine = || decimal("0.1000000000000000000001");
        let within = |by| made(fine(), &Domain::Number, &Allowed { tolerance: Some(by), round: None });
        assert_eq!(within(1e-9), Ok(Value::Real(0.1)));
        assert!(within(1e-20).is_err());
    }

    fn own() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_map(Value::Real),
            (-1_000_i64..1_000).prop_map(|n| Value::Real(n as f64 / 4.0)),
            "[ +-]?[0-9]{0,20}(\\.[0-9]{0,4})?(e[0-9]{1,2})?[ a]?".prop_map(Value::Text),
            prop::collection::vec(any::<u8>(), 0..4).prop_map(Value::Bytes),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_sqlite_stores_is_what_it_stores_or_nothing(value in own(), to in prop::sample::select(&DOMAINS)) {
            let connection = Connection::open_in_memory().unwrap();
            let there = stored(&connection, &to, value.clone()).unwrap();
            match made(value.clone(), &to, &Allowed::default()) {
                Ok(made) => prop_assert_eq!(made, there),
                // Only a number that is another one there.
                Err(_) => prop_assert!(value != there && !matches!(value, Value::Bytes(_)), "{} is {}", value, there),
            }
        }
    }
}
