//! The order of keys that [`KeyOrder::Binary`](crate::store::KeyOrder::Binary) names: NULL, then numbers by their value,
//! then text by its bytes, then bytes. Exact: an integer and a float are compared without rounding either.

use std::cmp::Ordering;

use crate::value::{Decimal, Value, code};

/// Compares two keys of one mapping, value by value.
#[must_use]
pub fn cmp_keys(a: &[Value], b: &[Value]) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        match cmp_values(a, b) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    a.len().cmp(&b.len())
}

/// Compares two values. `1` and `1.0` are the same place in the order, though not the same value.
#[must_use]
pub fn cmp_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Real(a), Value::Real(b)) => cmp_reals(*a, *b),
        (Value::Int(a), Value::Real(b)) => cmp_int_real(*a, *b),
        (Value::Real(a), Value::Int(b)) => cmp_int_real(*b, *a).reverse(),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Time(a), Value::Time(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Instant(a), Value::Instant(b)) => a.cmp(b),
        (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
        (Value::Opaque(a), Value::Opaque(b)) => a.kind.cmp(&b.kind).then_with(|| a.bytes.cmp(&b.bytes)),
        _ => match (exact(a), exact(b)) {
            (Some(a), Some(b)) => a.cmp_number(&b),
            _ => cmp_others(a, b),
        },
    }
}

/// Numbers that aren't both integers or both floats.
fn exact(value: &Value) -> Option<Decimal> {
    match value {
        Value::Int(n) => Some((*n).into()),
        Value::Uint(n) => Some((*n).into()),
        Value::Decimal(d) => Some(d.clone()),
        _ => None,
    }
}

fn cmp_others(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Single(a), Value::Single(b)) => cmp_reals((*a).into(), (*b).into()),
        // Databases have orders of their own for these: a store says `KeyOrder::Own` over such a key.
        _ if rank(a) == rank(b) => {
            code::encode(std::slice::from_ref(a)).cmp(&code::encode(std::slice::from_ref(b)))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

const fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Int(_) | Value::Uint(_) | Value::Decimal(_) | Value::Real(_) => 1,
        Value::Text(_) => 2,
        Value::Bytes(_) => 3,
        // No column holds two of these kinds.
        Value::Bool(_) => 4,
        Value::Single(_) => 5,
        Value::Date(_) => 6,
        Value::Time(_) => 7,
        Value::Timestamp(_) => 8,
        Value::Instant(_) => 9,
        Value::Interval(_) => 10,
        Value::Uuid(_) => 11,
        Value::Json(_) => 12,
        Value::Array(_) => 13,
        Value::Set(_) => 14,
        Value::Bits(_) => 15,
        Value::Opaque(_) => 16,
    }
}

/// NaN comes before all other numbers; the two zeros are one place.
fn cmp_reals(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

fn cmp_int_real(a: i64, b: f64) -> Ordering {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    if b.is_nan() {
        return Ordering::Greater;
    }
    if b >= TWO_TO_63 {
        return Ordering::Less;
    }
    if b < -TWO_TO_63 {
        return Ordering::Greater;
    }
    // Within the range of an i64, so the cast only cuts the fraction off.
    let whole = b.trunc() as i64;
    a.cmp(&whole).then_with(|| 0.0_f64.partial_cmp(&(b - b.trunc())).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Int),
            (-3_i64..3).prop_map(Value::Int),
            any::<f64>().prop_map(Value::Real),
            (-3_i64..3).prop_map(|n| Value::Real(n as f64 / 2.0)),
            any::<i64>().prop_map(|n| Value::Real(n as f64)),
            "[a-cÄ]{0,3}".prop_map(Value::Text),
            prop::collection::vec(any::<u8>(), 0..3).prop_map(Value::Bytes),
        ]
    }

    #[test]
    fn large_integers_beside_floats_are_told_apart() {
        let exact = 9_007_199_254_740_993_i64; // 2^53 + 1, which no float holds
        assert_eq!(cmp_values(&Value::Int(exact), &Value::Real(9_007_199_254_740_992.0)), Ordering::Greater);
        assert_eq!(cmp_values(&Value::Int(i64::MAX), &Value::Real(9.3e18)), Ordering::Less);
        assert_eq!(cmp_values(&Value::Int(-2), &Value::Real(-2.5)), Ordering::Greater);
        assert_eq!(cmp_values(&Value::Int(2), &Value::Real(2.5)), Ordering::Less);
    }

    proptest! {
        #[test]
        fn it_is_an_order(a in value(), b in value(), c in value()) {
            prop_assert_eq!(cmp_values(&a, &b), cmp_values(&b, &a).reverse());
            if cmp_values(&a, &b).is_le() && cmp_values(&b, &c).is_le() {
                prop_assert!(cmp_values(&a, &c).is_le());
            }
            prop_assert_eq!(cmp_values(&a, &a), Ordering::Equal);
        }
    }
}
