//! What a value of the middle form becomes in a column, exactly; or why it has no place there.
//!
//! A value is never rounded, cut or turned into NULL to make it fit: what the column wouldn't hold exactly is refused, with what
//! to do about it, unless a rule of the spec allows the change by name. The result is what the column would give back when it is
//! read, so that both sides of a migration can be compared in one form. Only spellings may change, where a column keeps none:
//! `007` in a column for integers is 7.
//!
//! No reason names a value: rows that are refused for the same reason are told together, and a value may be secret.

mod array;
mod exact;
mod interval;
pub mod json;
mod lenient;
mod number;
mod text;
mod time;
mod why;

#[cfg(test)]
mod examples;
#[cfg(test)]
pub(crate) mod round_trip;

use std::borrow::Cow;

use changeover::Value;
use changeover::value::Decimal;

use self::why::Why;
use crate::catalog::{ColumnInfo, Domain, TableInfo};
use crate::types::TextType;

/// What the rules of the spec let a column's values lose.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Allowed {
    /// The digits of a second that matter (rule `round`): what is finer may be rounded to what the column keeps, half up.
    pub round: Option<u8>,
    /// By how much a number may change (rule `tolerance`): then it is rounded to what the column keeps, half away from zero.
    pub tolerance: Option<f64>,
}

/// A value that has no place in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// The value, as it was.
    pub value: Value,
    /// What is the matter with it, and what can be done.
    pub why: String,
}

/// The value as a column of this domain would give it back.
///
/// # Errors
/// If the column doesn't hold it exactly.
pub fn fit(value: Value, to: &Domain, allowed: &Allowed) -> Result<Value, Unfit> {
    fitted(value, to, allowed).map_err(|(value, why)| Unfit { value, why: why.text(None) })
}

fn fitted(value: Value, to: &Domain, allowed: &Allowed) -> Result<Value, (Value, Why)> {
    match to {
        Domain::Exact(to) => {
            let made = exact::made(&value, exact::To { engine: to.engine, of: &to.of, allowed });
            match made.map(as_new) {
                Ok(None) => Ok(value),
                Ok(Some(made)) => Ok(made),
                Err(why) => Err((value, why)),
            }
        }
        to => lenient::made(value, to, allowed),
    }
}

/// What a value became, if it isn't what it was.
fn as_new(made: Cow<'_, Value>) -> Option<Value> {
    match made {
        Cow::Borrowed(_) => None,
        Cow::Owned(value) => Some(value),
    }
}

/// Whether a text fits a column, and is given back just as it is.
pub(crate) fn keeps_text(text: &str, to: &TextType) -> bool {
    text::checked(text, to).is_ok_and(|kept| kept.len() == text.len())
}

/// Whether two values of a key are the same one: numbers are, whatever their type and however many zeros they end with, as every
/// database's index has it.
#[must_use]
pub fn same_in_key(a: &Value, b: &Value) -> bool {
    a == b
        || match (a, b) {
            (Value::Decimal(a), Value::Decimal(b)) => a.cmp_number(b).is_eq(),
            (Value::Real(a), Value::Real(b)) => a == b,
            (Value::Single(a), Value::Single(b)) => a == b,
            (Value::Int(n), Value::Real(x)) | (Value::Real(x), Value::Int(n)) => {
                number::whole(*x) == Some((*n).into())
            }
            (Value::Int(n), Value::Decimal(d)) | (Value::Decimal(d), Value::Int(n)) => {
                d.cmp_number(&Decimal::from(*n)).is_eq()
            }
            (Value::Uint(n), Value::Decimal(d)) | (Value::Decimal(d), Value::Uint(n)) => {
                d.cmp_number(&Decimal::from(*n)).is_eq()
            }
            _ => false,
        }
}

/// The column that a value is on its way to.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its name.
    pub column: String,
    /// Its type, as declared.
    pub declared: String,
    /// What it holds.
    pub domain: Domain,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// Whether the type doesn't matter, by rule. A STRICT table's type always does.
    pub carry: bool,
    /// Whether the database itself insists on the type: then no rule helps.
    pub strict: bool,
    /// What the rules let its values lose.
    pub allowed: Allowed,
}

impl Target {
    /// The target that a column is.
    #[must_use]
    pub fn of(column: &ColumnInfo, table: &TableInfo, carry: bool, allowed: Allowed) -> Self {
        Self {
            column: column.name.clone(),
            declared: column.declared.clone(),
            domain: column.domain.clone(),
            not_null: column.not_null,
            carry,
            strict: table.strict,
            allowed,
        }
    }

    /// The value as the column would give it back.
    ///
    /// # Errors
    /// The value, and why it has no place there: what is the matter, the column with its type, and what can be done.
    pub fn fit(&self, value: Value) -> Result<Value, (Value, String)> {
        let made = if value.is_null() {
            value
        } else {
            fitted(value, &self.domain, &self.allowed)
                .map_err(|(value, why)| (value, why.text(Some(self))))?
        };
        match self.objection(&made) {
            None => Ok(made),
            Some(why) => Err((made, why)),
        }
    }

    /// Why a value, already as the column would store it, doesn't fit; `None` if it does.
    #[must_use]
    pub fn objection(&self, value: &Value) -> Option<String> {
        if value.is_null() {
            return self.not_null.then(|| {
                format!("the column {} takes no NULL: give it a value by `set`, or mend the row", self.column)
            });
        }
        if self.carry || holds(&self.domain, value) {
            return None;
        }
        let remedy = if self.strict {
            "mend the row, or convert it by `set`: its table is STRICT, and holds nothing else".to_owned()
        } else {
            format!(
                "mend the row, convert it by `set`, or let it pass with rules = [{{ column = \"{}\", carry = true }}]",
                self.column
            )
        };
        Some(format!(
            "{} in a column for {} ({} {}): {remedy}",
            value.type_name(),
            self.domain.name(),
            self.column,
            if self.declared.is_empty() { "without a type" } else { &self.declared },
        ))
    }
}

/// Whether a column of this domain is meant to hold such a value.
#[must_use]
pub(crate) const fn holds(domain: &Domain, value: &Value) -> bool {
    match (domain, value) {
        (_, Value::Null) | (Domain::Any | Domain::Loose | Domain::Exact(_), _) => true,
        (Domain::Integer, Value::Int(_))
        | (Domain::Real, Value::Real(_))
        | (Domain::Number, Value::Int(_) | Value::Real(_))
        | (Domain::Text, Value::Text(_) | Value::Opaque(_))
        | (Domain::Bytes, Value::Bytes(_)) => true,
        (_, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(domain: Domain) -> Target {
        Target {
            column: "c".into(),
            declared: "T".into(),
            domain,
            not_null: false,
            carry: false,
            strict: false,
            allowed: Allowed::default(),
        }
    }

    #[test]
    fn text_in_a_column_for_integers_is_objected_to_and_carried_by_rule() {
        let mut integers = target(Domain::Integer);
        assert!(integers.objection(&Value::Int(1)).is_none());
        let why = integers.objection(&"abc".into()).unwrap();
        assert!(why.contains("text in a column for integers") && why.contains("carry"), "{why}");
        integers.carry = true;
        assert!(integers.objection(&"abc".into()).is_none());
    }

    #[test]
    fn no_rule_is_recommended_that_a_strict_table_would_not_keep() {
        let strict = Target { strict: true, ..target(Domain::Integer) };
        let why = strict.objection(&"abc".into()).unwrap();
        assert!(why.contains("STRICT") && !why.contains("carry"), "{why}");
    }

    #[test]
    fn a_fraction_does_not_fit_a_column_for_integers() {
        assert!(target(Domain::Integer).objection(&Value::Real(0.5)).is_some());
        assert!(target(Domain::Number).objection(&Value::Real(0.5)).is_none());
    }

    #[test]
    fn null_fits_unless_the_column_refuses_it_even_when_types_are_carried() {
        let mut text = target(Domain::Text);
        assert!(text.objection(&Value::Null).is_none());
        text.not_null = true;
        text.carry = true;
        assert!(text.objection(&Value::Null).is_some());
    }

    #[test]
    fn a_refusal_names_the_column_its_type_and_the_rule_that_would_help() {
        use crate::types::{Exact, ExactType, Span};
        let span = Span { digits: 3, min: 0, max: i64::MAX };
        let of = ExactType { engine: "mysql", of: Exact::Timestamp(span) };
        let mut seen_at = Target {
            column: "seen_at".into(),
            declared: "datetime(3)".into(),
            not_null: true,
            strict: true,
            ..target(Domain::Exact(of.into()))
        };
        let fine = Value::from("2026-11-22 10:00:00.123456");
        let (value, why) = seen_at.fit(fine.clone()).unwrap_err();
        assert_eq!(value, fine);
        assert_eq!(
            why,
            "more than 3 digits of a second (seen_at datetime(3)): mend the row, convert it by `set`, or let it be \
             rounded with rules = [{ column = \"seen_at\", round = \"ms\" }]"
        );
        assert!(seen_at.fit(Value::Null).unwrap_err().1.contains("takes no NULL"));
        seen_at.allowed.round = Some(3);
        assert_eq!(seen_at.fit(fine).unwrap().to_string(), "'2026-11-22 10:00:00.123'");
    }

    #[test]
    #[cfg(feature = "sqlite")]
    fn a_column_of_sqlites_takes_what_it_is_meant_to_hold() {
        assert_eq!(target(Domain::Integer).fit(Value::Bool(true)), Ok(Value::Int(1)));
        let (value, why) = target(Domain::Bytes).fit(Value::Bool(true)).unwrap_err();
        assert!(value == Value::Int(1) && why.contains("integer in a column for bytes"), "{why}");
        let carried = Target { carry: true, ..target(Domain::Integer) };
        assert_eq!(carried.fit("abc".into()), Ok("abc".into()));
        assert!(carried.fit(Value::unsigned(u64::MAX)).is_err());
    }

    #[test]
    fn a_key_is_one_number_however_it_is_written() {
        let decimal = |text| Value::Decimal(Decimal::parse(text).unwrap());
        for (a, b, same) in [
            (decimal("1.50"), decimal("1.5"), true),
            (Value::Int(1), Value::Real(1.0), true),
            (Value::Int(1), decimal("1.0"), true),
            (Value::unsigned(u64::MAX), decimal("18446744073709551615"), true),
            (Value::Real(0.0), Value::Real(-0.0), true),
            (Value::Int(1), "1".into(), false),
            (Value::Int(i64::MAX), Value::Real(9_223_372_036_854_775_807.0), false),
            ("1.5".into(), "1.50".into(), false),
        ] {
            assert_eq!((same_in_key(&a, &b), same_in_key(&b, &a)), (same, same), "{a} and {b}");
        }
    }
}
