//! Whatever fits a column stays what it has become there, and comes back as what it was, or not at all.

use std::sync::Arc;

use changeover::Value;
use changeover::value::{Array, Bits, Date, Decimal, Instant, Interval, Time, Timestamp};
use proptest::prelude::*;

use super::examples::{ANY_TEXT, DAY, exact, labels, span};
use super::json::{self, Node};
use super::{Allowed, fit, holds, same_in_key};
use crate::catalog::Domain;
use crate::types::{Charset, Exact, JsonForm, Span, TextType};

fn types() -> impl Strategy<Value = Exact> {
    let plain = prop_oneof![
        Just(Exact::Bool),
        prop_oneof![Just((-128_i64, 127_u64)), Just((0, u64::MAX)), Just((i64::MIN, i64::MAX as u64))]
            .prop_map(|(min, max)| Exact::Int { min, max }),
        prop_oneof![
            Just((None, None)),
            Just((Some(10), Some(2))),
            Just((Some(25), Some(0))),
            Just((Some(40), Some(20))),
            Just((Some(3), Some(5))),
            Just((Some(4), Some(-2))),
            Just((Some(6), None)),
        ]
        .prop_map(|(precision, scale)| Exact::Decimal { precision, scale }),
        any::<bool>().prop_map(|non_finite| Exact::Single { non_finite }),
        any::<bool>().prop_map(|non_finite| Exact::Real { non_finite }),
        (
            prop::option::of(0_u32..40),
            prop::option::of(0_u64..80),
            any::<[bool; 2]>(),
            prop_oneof![
                Just(Charset::Utf8),
                Just(Charset::Utf8ToFFFF),
                Just(Charset::Latin1),
                Just(Charset::Ascii)
            ],
        )
            .prop_map(|(max_chars, max_bytes, [nul, padded], charset)| {
                Exact::Text(TextType { max_chars, max_bytes, nul, padded, charset })
            }),
        (prop::option::of(0_u64..24), any::<bool>()).prop_map(|(max, padded)| Exact::Bytes { max, padded }),
        Just(Exact::Date { min: Date(-1_000), max: Date(50_000) }),
        (0_u8..=6).prop_map(|digits| Exact::Time(Span { digits, min: -DAY, max: 2 * DAY })),
        (0_u8..=6).prop_map(|digits| Exact::Timestamp(span(digits))),
        (0_u8..=6).prop_map(|digits| Exact::Instant(span(digits))),
        (0_u8..=6).prop_map(|digits| Exact::Interval { digits }),
        Just(Exact::Uuid),
        prop_oneof![Just(JsonForm::Kept), Just(JsonForm::Binary), Just(JsonForm::Double)]
            .prop_map(Exact::Json),
        Just(Exact::Enum(labels(&["a", "b", "true", "1"]))),
        Just(Exact::Set(labels(&["a", "", "b", "c,d", "1"]))),
        prop_oneof![
            Just((0, None)),
            Just((0, Some(8))),
            Just((8, Some(8))),
            Just((1, Some(1))),
            Just((64, Some(64)))
        ]
        .prop_map(|(min, max)| Exact::Bits { min, max }),
    ];
    plain.prop_recursive(1, 2, 1, |of| of.prop_map(|of| Exact::Array(Arc::new(of))))
}

pub(crate) fn domains() -> impl Strategy<Value = Domain> {
    prop_oneof![
        5 => types().prop_map(exact),
        1 => prop_oneof![
            Just(Domain::Any),
            Just(Domain::Integer),
            Just(Domain::Real),
            Just(Domain::Number),
            Just(Domain::Loose),
            Just(Domain::Text),
            Just(Domain::Bytes),
        ],
    ]
}

/// Times of which many are whole seconds, minutes or days.
fn micros() -> impl Strategy<Value = i64> {
    (
        -3_000_i64..3_000,
        prop_oneof![Just(1), Just(100), Just(1_000), Just(1_000_000), Just(60_000_000), Just(DAY)],
    )
        .prop_map(|(n, unit)| n * unit)
}

fn numbers() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3_i64..300).prop_map(Value::Int),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::unsigned),
        (0_u32..64, -1_i64..2).prop_map(|(shift, by)| Value::Int((1_i64 << shift).wrapping_add(by))),
        "-?[0-9]{1,6}(\\.[0-9]{1,4}|0{1,4}|\\.0{1,3})?"
            .prop_map(|text| Value::Decimal(Decimal::parse(&text).unwrap())),
        "-?[0-9]{0,30}\\.[0-9]{1,25}".prop_map(|text| Value::Decimal(Decimal::parse(&text).unwrap())),
        any::<f32>().prop_map(Value::Single),
        any::<f64>().prop_map(Value::Real),
        (-1_000_i32..1_000, 0..4_i32)
            .prop_map(|(n, shift)| Value::Real(f64::from(n) / f64::from(1 << shift))),
        (-1_000_i16..1_000, 0..4_u8)
            .prop_map(|(n, shift)| Value::Single(f32::from(n) / f32::from(1_u8 << shift))),
        prop_oneof![Just(0.0), Just(-0.0), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(f64::NAN)]
            .prop_map(Value::Real),
        prop_oneof![Just(0.0), Just(-0.0), Just(f32::INFINITY), Just(f32::NAN)].prop_map(Value::Single),
    ]
}

fn plain_values() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => any::<bool>().prop_map(Value::Bool),
        6 => numbers(),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        1 => any::<[u8; 16]>().prop_map(|bytes| Value::Bytes(bytes.to_vec())),
        1 => any::<[u8; 16]>().prop_map(Value::Uuid),
        1 => (-2_000_i32..60_000).prop_map(|day| Value::Date(Date(day))),
        1 => micros().prop_map(|n| Value::Time(Time(n))),
        1 => micros().prop_map(|n| Value::Timestamp(Timestamp(n))),
        1 => micros().prop_map(|n| Value::Instant(Instant(n))),
        1 => (any::<i32>(), any::<i32>(), micros())
            .prop_map(|(months, days, micros)| Value::Interval(Interval { months, days, micros })),
        1 => "[01]{0,10}|[01]{64}".prop_map(|text| Value::Bits(Box::new(Bits::parse(&text).unwrap()))),
        1 => prop::sample::subsequence(vec!["a", "", "b", "c,d", "1"], 0..4)
            .prop_map(|all| Value::Set(all.into_iter().map(Box::from).collect())),
        1 => prop_oneof![Just("{\"b\":[1,2.50],\"a\":null}"), Just("[1, true,\"a\"]"), Just("[\"a\",\"1\"]"), Just("[1.0,-2]"), Just("5")]
            .prop_map(|text| Value::Json(text.into())),
        1 => prop_oneof![
            ".{0,8}",
            "[ab1, ]{0,6}",
            prop_oneof![Just("007"), Just("1e2"), Just(" 1"), Just("P14M"), Just("[1, 2]"), Just("{\"a\":1,\"a\":2}")]
                .prop_map(str::to_owned),
        ].prop_map(Value::Text),
        1 => Just(Value::Null),
    ]
}

/// Values of all kinds; many of the texts are those of other values.
pub(crate) fn values() -> impl Strategy<Value = Value> {
    let spelled = plain_values()
        .prop_map(|value| value.plain().map_or(Value::Null, |text| Value::Text(text.into_owned())));
    let array = prop::collection::vec(
        prop_oneof![Just(Value::Null), numbers(), ".{0,3}".prop_map(Value::Text)],
        0..4,
    )
    .prop_map(|elements| Value::Array(Box::new(Array::of(elements))));
    prop_oneof![6 => plain_values(), 3 => spelled, 1 => array]
}

/// Whether what has come back is what was there, but for how it is written.
fn is_the_same(was: &Value, is: &Value, to: &Domain) -> bool {
    let decimal = |value: &Value| value.plain().and_then(|text| Decimal::parse(text.trim()));
    let numbers = match (decimal(was), decimal(is)) {
        (Some(was), Some(is)) => was.cmp_number(&is).is_eq(),
        _ => false,
    };
    match (was, is) {
        _ if was == is => true,
        // Zeros at the end of a decimal number, those of bytes that are filled up, and the sign of SQLite's zero.
        (Value::Decimal(_), Value::Decimal(_)) => numbers,
        (Value::Bytes(was), Value::Bytes(is)) => {
            let padded =
                matches!(to, Domain::Exact(to) if matches!(to.of, Exact::Bytes { padded: true, .. }));
            padded && is.starts_with(was) && is[was.len()..].iter().all(|byte| *byte == 0)
        }
        (Value::Real(-0.0) | Value::Single(-0.0), Value::Real(0.0) | Value::Single(0.0) | Value::Int(0)) => {
            !matches!(to, Domain::Exact(_))
        }
        (Value::Array(was), Value::Array(is)) => {
            let Domain::Exact(exact_to) = to else { return is_the_same_json(was, is) };
            let Exact::Array(of) = &exact_to.of else { return is_the_same_json(was, is) };
            let of = exact((**of).clone());
            was.dimensions == is.dimensions
                && was.elements.iter().zip(&is.elements).all(|(was, is)| is_the_same(was, is, &of))
        }
        (Value::Text(_) | Value::Json(_), Value::Text(_) | Value::Json(_)) => {
            numbers || text_of(was) == text_of(is) || is_the_same_text(&text_of(was), &text_of(is), to)
        }
        // A column of SQLite's without a type takes numbers of either kind, and as text.
        (
            Value::Int(_) | Value::Real(_) | Value::Text(_),
            Value::Int(_) | Value::Real(_) | Value::Text(_),
        ) => numbers,
        _ => false,
    }
}

fn text_of(value: &Value) -> String {
    value.plain().unwrap_or_default().into_owned()
}

fn is_the_same_json(was: &Array, is: &Array) -> bool {
    was.elements.len() == is.elements.len()
        && was
            .elements
            .iter()
            .zip(&is.elements)
            .all(|(was, is)| same_in_key(was, is) || is_the_same(was, is, &Domain::Any))
}

/// The spellings that columns don't keep.
fn is_the_same_text(was: &str, is: &str, to: &Domain) -> bool {
    let Domain::Exact(to) = to else { return false };
    let infinity = |text: &str| text.to_lowercase().replace("infinity", "inf");
    let bare = |text: &str| text.replace(['-', '{', '}'], "").to_lowercase();
    match &to.of {
        Exact::Single { .. } | Exact::Real { .. } => infinity(was) == infinity(is),
        Exact::Text(text) => text.padded && was.trim_end_matches(' ') == is,
        Exact::Uuid => bare(was) == bare(is),
        Exact::Date { .. } | Exact::Timestamp(_) => Timestamp::parse(was) == Timestamp::parse(is),
        Exact::Time(_) => Time::parse(was) == Time::parse(is),
        Exact::Instant(_) => Instant::parse(was) == Instant::parse(is),
        Exact::Interval { .. } => was == "P14M" && is == "P1Y2M",
        Exact::Set(_) => {
            let sorted = |text: &str| {
                let mut labels: Vec<String> = text.split(',').map(str::to_owned).collect();
                labels.sort();
                labels
            };
            sorted(was) == sorted(is)
        }
        Exact::Json(_) | Exact::Array(_) => match (json::parse(was), json::parse(is)) {
            (Ok(was), Ok(is)) => is_the_same_node(&was, &is),
            _ => false,
        },
        _ => false,
    }
}

fn is_the_same_node(was: &Node<'_>, is: &Node<'_>) -> bool {
    match (was, is) {
        (Node::Number(was), Node::Number(is)) => {
            Decimal::parse(was).zip(Decimal::parse(is)).is_some_and(|(was, is)| was.cmp_number(&is).is_eq())
        }
        (Node::Array(was), Node::Array(is)) => {
            was.len() == is.len() && was.iter().zip(is).all(|(was, is)| is_the_same_node(was, is))
        }
        (Node::Object(was), Node::Object(is)) => {
            was.len() == is.len()
                && was
                    .iter()
                    .all(|(name, was)| is.iter().any(|(n, is)| n == name && is_the_same_node(was, is)))
        }
        // An array's texts may be numbers, dates or anything else that is written otherwise in the end.
        (Node::String(was), Node::String(is)) => was == is || Timestamp::parse(was) == Timestamp::parse(is),
        _ => was == is,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_000))]

    #[test]
    fn what_fits_stays_as_it_is_and_comes_back_as_it_was(value in values(), from in domains(), to in domains()) {
        let none = Allowed::default();
        let Some(value) = fit(value, &from, &none).ok().filter(|value| holds(&from, value)) else { return Ok(()) };
        prop_assert_eq!(fit(value.clone(), &from, &none), Ok(value.clone()), "in {:?}", from);
        let there = match fit(value.clone(), &to, &none) {
            Ok(there) => there,
            Err(unfit) => {
                prop_assert_eq!(unfit.value, value);
                return Ok(());
            }
        };
        prop_assert_eq!(fit(there.clone(), &to, &none), Ok(there.clone()), "in {:?}", to);
        prop_assert_eq!(value.is_null(), there.is_null());
        if let Some(back) = fit(there.clone(), &from, &none).ok().filter(|back| holds(&from, back)) {
            // A column of SQLite's that takes more than one kind of value may give another, which is the same over there.
            let other_kind = matches!(from, Domain::Any | Domain::Loose | Domain::Number)
                && value.type_name() != back.type_name()
                && fit(back.clone(), &to, &none) == Ok(there.clone());
            prop_assert!(other_kind || is_the_same(&value, &back, &to), "{:?} is {:?} there, and comes back as {:?}", value, there, back);
        }
    }

    #[test]
    fn a_rule_changes_no_more_than_it_allows(
        d in "-?[0-9]{1,4}\\.[0-9]{1,5}",
        scale in -2_i32..5,
        tolerance in prop_oneof![Just(0.0), Just(0.005), Just(0.5), Just(1.0), Just(1e9)],
        micros in any::<i32>(),
        (digits, matters) in (0_u8..=6, 0_u8..=6),
    ) {
        let allowed = Allowed { tolerance: Some(tolerance), round: Some(matters) };
        let decimal = Value::Decimal(Decimal::parse(&d).unwrap());
        let number = |value: &Value| value.plain().unwrap().parse::<f64>().unwrap();
        let column = exact(Exact::Decimal { precision: None, scale: Some(scale) });
        let unit = 10_f64.powi(-scale);
        match fit(decimal.clone(), &column, &allowed) {
            Ok(made) => {
                let by = (number(&made) - number(&decimal)).abs();
                prop_assert!(by <= tolerance + 1e-9 && by <= unit / 2.0 + 1e-9, "{} became {}", decimal, made);
                prop_assert_eq!(fit(made.clone(), &column, &Allowed::default()), Ok(made));
            }
            Err(_) => {
                let beyond = number(&decimal).abs() % unit;
                prop_assert!(beyond.min(unit - beyond) >= tolerance - 1e-9, "{} is refused", decimal);
            }
        }
        let time = Value::Timestamp(Timestamp(micros.into()));
        let unit = 10_i64.pow(6 - u32::from(digits));
        let made = fit(time.clone(), &exact(Exact::Timestamp(span(digits))), &allowed);
        let nearest = (i64::from(micros) * 2 + unit).div_euclid(2 * unit) * unit;
        if i64::from(micros) % unit == 0 || matters <= digits {
            prop_assert_eq!(made, Ok(Value::Timestamp(Timestamp(nearest))));
        } else {
            prop_assert!(made.is_err());
        }
    }
}

/// The property would hold of a `fit` that refuses everything, too: this much has to get through, and back.
#[test]
fn plain_texts_get_everywhere_and_back() {
    let text = exact(Exact::Text(ANY_TEXT));
    for (sample, of) in [
        ("true", Exact::Bool),
        ("-7", Exact::Int { min: -7, max: 7 }),
        ("0.50", Exact::Decimal { precision: Some(4), scale: Some(2) }),
        ("0.5", Exact::Real { non_finite: true }),
        ("0.1", Exact::Single { non_finite: false }),
        ("6f1e4c2a-0000-4000-8000-0123456789ab", Exact::Uuid),
        ("[1, {\"a\": null}]", Exact::Json(JsonForm::Binary)),
        ("2026-11-22 10:00:00.000001", Exact::Timestamp(span(6))),
        ("0101", Exact::Bits { min: 0, max: Some(8) }),
        ("b", Exact::Enum(labels(&["a", "b"]))),
    ] {
        let there = fit(sample.into(), &exact(of), &Allowed::default()).unwrap();
        assert_eq!(fit(there, &text, &Allowed::default()), Ok(sample.into()));
    }
}
