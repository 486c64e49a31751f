//! What each kind of column makes of values, by example.

use std::sync::Arc;

use changeover::Value;
use changeover::value::{Array, Bits, Date, Decimal, Instant, Interval, Time, Timestamp, parse_uuid};

use super::{Allowed, fit};
use crate::catalog::Domain;
use crate::types::{Charset, Exact, ExactType, JsonForm, Span, TextType};

pub(super) fn exact(of: Exact) -> Domain {
    Domain::Exact(Arc::new(ExactType { engine: "postgres", of }))
}

pub(super) const ANY_TEXT: TextType =
    TextType { max_chars: None, max_bytes: None, nul: false, padded: false, charset: Charset::Utf8 };
pub(super) const DAY: i64 = 86_400_000_000;

pub(super) fn labels(all: &[&str]) -> Arc<[Box<str>]> {
    all.iter().map(|label| Box::from(*label)).collect()
}

pub(super) const fn span(digits: u8) -> Span {
    Span { digits, min: -100_000 * DAY, max: 100_000 * DAY }
}

fn becomes(value: impl Into<Value>, of: Exact, expected: impl Into<Value>) {
    let (value, expected) = (value.into(), expected.into());
    let shown = format!("{value} ({}) in {of:?}", value.type_name());
    assert_eq!(fit(value, &exact(of), &Allowed::default()), Ok(expected), "{shown}");
}

fn refused(value: impl Into<Value>, of: Exact, why: &str) {
    let value = value.into();
    let shown = format!("{value} ({}) in {of:?}", value.type_name());
    let unfit = fit(value.clone(), &exact(of), &Allowed::default()).expect_err(&shown);
    assert_eq!(unfit.value, value);
    assert!(unfit.why.contains(why) && unfit.why.contains("mend the row"), "{shown}: {}", unfit.why);
}

fn decimal(text: &str) -> Value {
    Value::Decimal(Decimal::parse(text).unwrap())
}

fn bits(text: &str) -> Value {
    Value::Bits(Box::new(Bits::parse(text).unwrap()))
}

fn set(labels: &[&str]) -> Value {
    Value::Set(labels.iter().map(|label| Box::from(*label)).collect())
}

fn list(elements: Vec<Value>) -> Value {
    Value::Array(Box::new(Array::of(elements)))
}

const SMALL: Exact = Exact::Int { min: -100, max: 100 };
const BIG: Exact = Exact::Int { min: i64::MIN, max: u64::MAX };
const MONEY: Exact = Exact::Decimal { precision: Some(5), scale: Some(2) };
const NUMERIC: Exact = Exact::Decimal { precision: None, scale: None };
const REAL: Exact = Exact::Real { non_finite: true };
const FINITE: Exact = Exact::Real { non_finite: false };
const SINGLE: Exact = Exact::Single { non_finite: false };

#[test]
fn booleans_are_zero_and_one_and_nothing_else() {
    becomes(0, Exact::Bool, false);
    becomes(1, Exact::Bool, true);
    becomes("true", Exact::Bool, true);
    becomes(bits("1"), Exact::Bool, true);
    becomes(bits("0"), Exact::Bool, false);
    becomes(true, SMALL, 1);
    becomes(true, Exact::Bits { min: 1, max: Some(1) }, bits("1"));
    becomes(false, Exact::Text(ANY_TEXT), "false");
    refused(2, Exact::Bool, "an integer other than 0 and 1");
    refused(-1, Exact::Bool, "an integer other than 0 and 1");
    refused("t", Exact::Bool, "text other than `true` and `false`");
    refused(1.0, Exact::Bool, "real in a column for booleans");
    refused(bits("01"), Exact::Bool, "bit string in a column for booleans");
    refused(true, NUMERIC, "boolean in a column for decimal numbers");
    refused(true, Exact::Bits { min: 2, max: Some(2) }, "a number that 2 bits don't hold");
}

#[test]
fn integers_stay_the_same_number_within_their_bounds() {
    becomes(-100, SMALL, -100);
    becomes(Value::unsigned(u64::MAX), BIG, Value::Uint(u64::MAX));
    becomes("18446744073709551615", BIG, Value::Uint(u64::MAX));
    becomes("007", SMALL, 7);
    becomes(decimal("7.00"), SMALL, 7);
    becomes(1.0, SMALL, 1);
    becomes(Value::Single(-3.0), SMALL, -3);
    becomes(9_223_372_036_854_775_808.0, BIG, Value::Uint(1 << 63));
    becomes(bits("101"), SMALL, 5);
    refused(101, SMALL, "an integer below -100 or above 100");
    refused(
        Value::unsigned(u64::MAX),
        Exact::Int { min: i64::MIN, max: i64::MAX as u64 },
        "an integer below",
    );
    refused("18446744073709551616", BIG, "an integer below");
    refused(18_446_744_073_709_551_616.0, BIG, "an integer below");
    refused(decimal("7.01"), SMALL, "a fraction in a column for integers");
    refused(0.5, SMALL, "a number that is no integer");
    refused(f64::NAN, SMALL, "a NaN or an infinity");
    refused(-0.0, SMALL, "-0.0");
    becomes(0, Exact::YEAR, 0);
    becomes("2155", Exact::YEAR, 2_155);
    refused(99, Exact::YEAR, "an integer below 1901");
    refused("seven", SMALL, "text that can't be read");
    refused(" 7", SMALL, "text that can't be read");
    refused(Value::Date(Date(1)), SMALL, "date in a column for integers");
}

#[test]
fn decimals_take_the_columns_scale_and_lose_no_digit() {
    becomes(decimal("1.5"), MONEY, decimal("1.50"));
    becomes(decimal("999.99"), MONEY, decimal("999.99"));
    becomes(7, MONEY, decimal("7.00"));
    becomes(0.1, NUMERIC, decimal("0.1"));
    becomes(1e22, NUMERIC, decimal("10000000000000000000000"));
    becomes(Value::Single(0.1), NUMERIC, decimal("0.1"));
    becomes("1.50", NUMERIC, decimal("1.50"));
    becomes(Value::Uint(u64::MAX), NUMERIC, decimal("18446744073709551615"));
    refused(decimal("1.505"), MONEY, "a number with more than 2 digits after the point");
    refused(decimal("1000.00"), MONEY, "more than 5 digits");
    refused(0.1 + 0.2, MONEY, "more than 2 digits after the point");
    refused(f64::INFINITY, NUMERIC, "a NaN or an infinity");
    refused(-0.0, NUMERIC, "-0.0");
    let thousands = || Exact::Decimal { precision: Some(2), scale: Some(-3) };
    becomes(99_000, thousands(), decimal("99000"));
    becomes(0, thousands(), decimal("0"));
    refused(99_100, thousands(), "last 3 digits before the point aren't zeros");
    refused(100_000, thousands(), "more than 2 digits");
    let small = || Exact::Decimal { precision: Some(2), scale: Some(4) };
    becomes(decimal("0.0099"), small(), decimal("0.0099"));
    refused(decimal("0.0100"), small(), "more than 2 digits");
    refused(decimal("123456"), Exact::Decimal { precision: Some(5), scale: None }, "more than 5 digits");
}

#[test]
fn floats_stand_for_a_number_exactly_or_not_at_all() {
    becomes(1_i64 << 53, REAL, 9_007_199_254_740_992.0);
    becomes(decimal("0.10"), REAL, 0.1);
    becomes("1e300", REAL, 1e300);
    becomes("-0.0", REAL, -0.0);
    becomes("NaN", REAL, f64::NAN);
    becomes("-Infinity", REAL, f64::NEG_INFINITY);
    becomes(Value::Single(0.1), REAL, f64::from(0.1_f32));
    becomes(0.5, SINGLE, Value::Single(0.5));
    becomes("0.1", SINGLE, Value::Single(0.1));
    becomes(16_777_216, SINGLE, Value::Single(16_777_216.0));
    refused((1_i64 << 53) + 1, REAL, "no floating-point number");
    refused(i64::MAX, REAL, "no floating-point number");
    refused(16_777_217, SINGLE, "no floating-point number");
    refused(0.1, SINGLE, "no floating-point number");
    refused(decimal("0.1000000000000000000001"), REAL, "no floating-point number");
    refused("1e400", REAL, "no floating-point number");
    refused(decimal("1e-400"), REAL, "no floating-point number");
    refused(f64::NAN, FINITE, "a NaN or an infinity");
    refused("inf", SINGLE, "a NaN or an infinity");
    refused("nan", REAL, "text that can't be read");
}

#[test]
fn a_tolerance_rounds_half_away_from_zero_and_no_further_than_it_says() {
    let within =
        |value: Value, of, by| fit(value, &exact(of), &Allowed { tolerance: Some(by), round: None }).ok();
    assert_eq!(within(decimal("1.005"), MONEY, 0.005), Some(decimal("1.01")));
    assert_eq!(within(decimal("-1.005"), MONEY, 0.005), Some(decimal("-1.01")));
    assert_eq!(within(decimal("1.004"), MONEY, 0.005), Some(decimal("1.00")));
    assert_eq!(within(decimal("1.005"), MONEY, 0.004), None);
    assert_eq!(within(decimal("1.997"), MONEY, 0.003), Some(decimal("2.00")));
    assert_eq!(within(decimal("1.997"), MONEY, 0.002_999), None);
    assert_eq!(within(decimal("999.995"), MONEY, 0.01), None);
    assert_eq!(within(decimal("-0.001"), MONEY, 0.01), Some(decimal("0.00")));
    assert_eq!(within((0.1 + 0.2).into(), MONEY, 1e-9), Some(decimal("0.30")));
    assert_eq!(within(decimal("0.5"), SMALL, 0.5), Some(Value::Int(1)));
    assert_eq!(within(0.1.into(), SINGLE, 1e-8), Some(Value::Single(0.1)));
    assert_eq!(within(0.1.into(), SINGLE, 1e-9), None);
    assert_eq!(within(((1_i64 << 53) + 1).into(), REAL, 2.0), Some(Value::Real(9_007_199_254_740_992.0)));
    assert_eq!(within(((1_i64 << 53) + 1).into(), REAL, 0.5), None);
    let thousands = Exact::Decimal { precision: None, scale: Some(-3) };
    assert_eq!(within(1_500.into(), thousands.clone(), 500.0), Some(decimal("2000")));
    assert_eq!(within(1_500.into(), thousands.clone(), 499.0), None);
    assert_eq!(within(decimal("499"), thousands, 500.0), Some(decimal("0")));
}

#[test]
fn texts_are_measured_in_characters_bytes_and_character_sets() {
    let text = |change: fn(&mut TextType)| {
        let mut of = ANY_TEXT;
        change(&mut of);
        Exact::Text(of)
    };
    becomes("ééé", text(|t| t.max_chars = Some(3)), "ééé");
    refused("éééé", text(|t| t.max_chars = Some(3)), "text of more than 3 characters");
    becomes("éé", text(|t| t.max_bytes = Some(4)), "éé");
    refused("ééé", text(|t| t.max_bytes = Some(4)), "text of more than 4 bytes");
    refused("a\0", text(|_| {}), "a NUL character");
    becomes("a\0", text(|t| t.nul = true), "a\0");
    let char_3 = || text(|t| (t.max_chars, t.padded) = (Some(3), true));
    becomes("ab   ", char_3(), "ab");
    becomes("ab\t", char_3(), "ab\t");
    refused("abcd ", char_3(), "text of more than 3 characters");
    becomes("\u{ffff}", text(|t| t.charset = Charset::Utf8ToFFFF), "\u{ffff}");
    refused("😀", text(|t| t.charset = Charset::Utf8ToFFFF), "at most 3 bytes");
    let latin1 = || text(|t| (t.charset, t.max_bytes) = (Charset::Latin1, Some(4)));
    becomes("é€\u{81}\u{9f}".replace('\u{9f}', "Ÿ"), latin1(), "é€\u{81}Ÿ");
    for lacking in ["\u{80}", "\u{9f}", "Ā", "😀"] {
        refused(lacking, latin1(), "(Latin 1) lacks");
    }
    becomes("~", text(|t| t.charset = Charset::Ascii), "~");
    refused("é", text(|t| t.charset = Charset::Ascii), "(ASCII) lacks");
}

#[test]
fn latin1_has_256_characters() {
    let of = exact(Exact::Text(TextType { charset: Charset::Latin1, nul: true, ..ANY_TEXT }));
    let fits = |c: &char| fit(Value::from(c.to_string()), &of, &Allowed::default()).is_ok();
    assert_eq!(('\0'..=char::MAX).filter(fits).count(), 256);
}

#[test]
fn every_plain_value_has_a_text_and_comes_back_from_it() {
    let id = parse_uuid("6f1e4c2a-0000-4000-8000-0123456789ab").unwrap();
    for (value, of, text) in [
        (Value::Bool(true), Exact::Bool, "true"),
        (Value::Int(-5), SMALL, "-5"),
        (decimal("1.50"), NUMERIC, "1.50"),
        (Value::Real(1.5e-7), REAL, "1.5e-7"),
        (Value::Real(f64::NEG_INFINITY), REAL, "-inf"),
        (Value::Single(0.1), SINGLE, "0.1"),
        (Value::Date(Date(20_779)), Exact::Date { min: Date(0), max: Date(99_999) }, "2026-11-22"),
        (Value::Time(Time(-1_500_000)), Exact::Time(span(6)), "-00:00:01.5"),
        (Value::Timestamp(Timestamp(DAY)), Exact::Timestamp(span(6)), "1970-01-02 00:00:00"),
        (Value::Instant(Instant(DAY)), Exact::Instant(span(6)), "1970-01-02T00:00:00Z"),
        (
            Value::Interval(Interval { months: 14, days: -3, micros: -500_000 }),
            Exact::Interval { digits: 6 },
            "P1Y2M-3DT-0.5S",
        ),
        (Value::Uuid(id), Exact::Uuid, "6f1e4c2a-0000-4000-8000-0123456789ab"),
        (Value::Json("{\"a\": 1}".into()), Exact::Json(JsonForm::Binary), "{\"a\": 1}"),
        (bits("0101"), Exact::Bits { min: 4, max: Some(4) }, "0101"),
        (set(&["a", "c"]), Exact::Set(labels(&["a", "b", "c"])), "a,c"),
        (set(&[]), Exact::Set(labels(&["a"])), ""),
        (list(vec![1.into(), Value::Null]), Exact::Array(Arc::new(SMALL)), "[1, null]"),
        (list(vec!["a\"".into()]), Exact::Array(Arc::new(Exact::Text(ANY_TEXT))), "[\"a\\\"\"]"),
    ] {
        becomes(value.clone(), Exact::Text(ANY_TEXT), text);
        becomes(text, of, value);
    }
    refused(vec![1_u8], Exact::Text(ANY_TEXT), "with an encoding");
    refused(set(&["a,b"]), Exact::Text(ANY_TEXT), "a comma in a label");
    refused(set(&[""]), Exact::Text(ANY_TEXT), "an empty label alone");
}

#[test]
fn labels_are_those_of_the_list() {
    let mood = || Exact::Enum(labels(&["sad", "ok"]));
    becomes("ok", mood(), "ok");
    refused("OK", mood(), "none of the column's labels");
    refused(1, mood(), "integer in a column for one of its labels");
    let days = || Exact::Set(labels(&["mo", "tu", "we"]));
    becomes(set(&["we", "mo"]), days(), set(&["mo", "we"]));
    becomes("we,mo", days(), set(&["mo", "we"]));
    becomes(list(vec!["mo".into(), "we".into()]), days(), set(&["mo", "we"]));
    becomes(set(&["mo"]), Exact::Array(Arc::new(Exact::Text(ANY_TEXT))), list(vec!["mo".into()]));
    refused("mo,mo", days(), "twice");
    refused("mo, tu", days(), "isn't in the column's list");
    refused(list(vec!["we".into(), "mo".into()]), days(), "the order of the column's list");
    refused(list(vec![Value::Null]), days(), "array in a column");
}

#[test]
fn bytes_uuids_and_bits_are_as_long_as_they_are() {
    let bytes = |max, padded| Exact::Bytes { max, padded };
    becomes(vec![1_u8, 2], bytes(Some(2), false), vec![1_u8, 2]);
    becomes(vec![1_u8], bytes(Some(3), true), vec![1_u8, 0, 0]);
    refused(vec![1_u8, 2, 3], bytes(Some(2), true), "more than 2 bytes");
    refused("ab", bytes(None, false), "with an encoding");
    becomes(Value::Uuid([7; 16]), bytes(Some(16), true), vec![7_u8; 16]);
    becomes(vec![7_u8; 16], Exact::Uuid, Value::Uuid([7; 16]));
    becomes("{07070707070707070707070707070707}", Exact::Uuid, Value::Uuid([7; 16]));
    refused(vec![7_u8; 15], Exact::Uuid, "other than 16 bytes");
    let fixed = |n| Exact::Bits { min: n, max: Some(n) };
    becomes(5, fixed(8), bits("00000101"));
    becomes(Value::Uint(u64::MAX), fixed(64), bits(&"1".repeat(64)));
    refused(256, fixed(8), "a number that 8 bits don't hold");
    refused(-1, fixed(8), "a number that 8 bits don't hold");
    refused(5, Exact::Bits { min: 0, max: Some(8) }, "integer in a column for bit strings");
    refused(5, fixed(65), "integer in a column for bit strings");
    refused(bits("0101"), fixed(8), "other than 8 bits");
    refused(bits("0101"), Exact::Bits { min: 0, max: Some(3) }, "more than 3");
    refused(bits(&"1".repeat(65)), BIG, "an integer below");
}

#[test]
fn days_and_times_stay_where_they_are() {
    let date = || Exact::Date { min: Date(0), max: Date(20_779) };
    becomes("2026-11-22", date(), Value::Date(Date(20_779)));
    becomes("2026-11-22 00:00:00", date(), Value::Date(Date(20_779)));
    becomes(Value::Timestamp(Timestamp(DAY)), date(), Value::Date(Date(1)));
    becomes(Value::Date(Date(1)), Exact::Timestamp(span(0)), Value::Timestamp(Timestamp(DAY)));
    refused("2026-11-23", date(), "a date before 1970-01-01 or after 2026-11-22");
    refused(Value::Date(Date(-1)), date(), "a date before");
    refused(Value::Timestamp(Timestamp(DAY + 1)), date(), "a time other than midnight");
    refused("0000-00-00", date(), "text that can't be read");
    refused(Value::Timestamp(Timestamp(0)), Exact::Instant(span(6)), "with the zone");
    refused(Value::Instant(Instant(0)), Exact::Timestamp(span(6)), "with the zone");
    refused("2026-11-22 10:00:00", Exact::Instant(span(6)), "text without a zone");
    refused("2026-11-22 10:00:00Z", Exact::Timestamp(span(6)), "text with a zone");
    refused(Value::Instant(Instant(0)), date(), "with the zone");
    let clock = || Exact::Time(Span { digits: 0, min: 0, max: DAY - 1_000_000 });
    refused(Value::Time(Time(DAY)), clock(), "a time before 00:00:00 or after 23:59:59");
    refused("25:00:00", clock(), "a time before 00:00:00 or after 23:59:59");
    refused(Value::Timestamp(Timestamp(0)), clock(), "timestamp in a column for times");
    refused(Value::Timestamp(Timestamp(i64::MAX)), Exact::Timestamp(span(6)), "a time before");
}

#[test]
fn digits_of_a_second_are_lost_only_where_a_rule_lets_them_go() {
    let with = |round, value: Value, of| {
        fit(value, &exact(of), &Allowed { round, tolerance: None }).map_err(|unfit| unfit.why)
    };
    let stamp = |micros| Value::Timestamp(Timestamp(micros));
    let ms = || Exact::Timestamp(span(3));
    assert_eq!(with(None, stamp(123_000), ms()), Ok(stamp(123_000)));
    let why = with(None, stamp(123_456), ms()).unwrap_err();
    assert!(why.contains("more than 3 digits of a second") && why.contains("round = \"ms\""), "{why}");
    assert!(with(Some(6), stamp(123_456), ms()).is_err(), "a rule for microseconds lets no microsecond go");
    for rule in [0, 3] {
        assert_eq!(with(Some(rule), stamp(123_456), ms()), Ok(stamp(123_000)));
        assert_eq!(with(Some(rule), stamp(123_500), ms()), Ok(stamp(124_000)));
        assert_eq!(with(Some(rule), stamp(DAY - 1), ms()), Ok(stamp(DAY)));
        assert_eq!(with(Some(rule), stamp(-1_500), ms()), Ok(stamp(-1_000)));
    }
    let clock = || Exact::Time(Span { digits: 0, min: 0, max: DAY - 1_000_000 });
    assert!(with(Some(0), Value::Time(Time(DAY - 1)), clock()).unwrap_err().contains("or after 23:59:59"));
    assert_eq!(with(Some(0), Value::Time(Time(499_999)), clock()), Ok(Value::Time(Time(0))));
    let interval = |micros| Value::Interval(Interval { months: 1, days: 2, micros });
    assert_eq!(with(Some(0), interval(1_500_000), Exact::Interval { digits: 0 }), Ok(interval(2_000_000)));
    assert!(with(None, interval(1_500_000), Exact::Interval { digits: 0 }).is_err());
    // Text may have more digits than the middle form keeps.
    let nanos = || Value::from("1970-01-01 00:00:00.123456500");
    let us = || Exact::Timestamp(span(6));
    assert!(with(None, nanos(), us()).unwrap_err().contains("round = \"us\""));
    assert_eq!(with(Some(6), nanos(), us()), Ok(stamp(123_457)));
    assert_eq!(with(Some(3), "1970-01-01 00:00:00.1234999999".into(), ms()), Ok(stamp(123_000)));
    assert_eq!(
        with(Some(3), "1970-01-01T00:00:00.1235000+00:00".into(), Exact::Instant(span(3))),
        Ok(Value::Instant(Instant(124_000)))
    );
    assert!(with(Some(0), "-00:00:00.5000001".into(), Exact::Time(span(0))).is_err());
}

#[test]
fn json_is_json_and_nothing_else() {
    let (binary, kept) = (|| Exact::Json(JsonForm::Binary), || Exact::Json(JsonForm::Kept));
    let json = |text: &str| Value::Json(text.into());
    becomes("{\"b\":1,\"a\":2}", binary(), json("{\"a\": 2, \"b\": 1}"));
    becomes(json("{\"b\":1,\"a\":2}"), binary(), json("{\"a\": 2, \"b\": 1}"));
    becomes(json("{\"b\":1,\"a\":2}"), kept(), json("{\"b\":1,\"a\":2}"));
    becomes(" [1]", kept(), json(" [1]"));
    becomes(
        list(vec![1.into(), "x".into(), Value::Null, true.into()]),
        binary(),
        json("[1, \"x\", null, true]"),
    );
    becomes(json("[1.0, null]"), Exact::Array(Arc::new(SMALL)), list(vec![1.into(), Value::Null]));
    becomes(json("[]"), Exact::Array(Arc::new(SMALL)), list(vec![]));
    refused("{", binary(), "text that isn't JSON");
    refused(json("{\"a\":1,\"a\":2}"), binary(), "the member a is there twice");
    refused(1, binary(), "integer in a column for JSON");
    refused(true, kept(), "boolean in a column for JSON");
    refused(json("1"), SMALL, "JSON in a column for integers");
    refused(json("[\"1\"]"), Exact::Array(Arc::new(SMALL)), "strings in a column for arrays of integers");
    refused(
        json("[1]"),
        Exact::Array(Arc::new(Exact::Text(ANY_TEXT))),
        "numbers in a column for arrays of text",
    );
    refused(json("[[1]]"), Exact::Array(Arc::new(SMALL)), "more than plain values");
    refused(json("{}"), Exact::Array(Arc::new(SMALL)), "JSON other than an array");
    let square = Array { dimensions: vec![(1, 1), (1, 1)], elements: vec![1.into()] };
    becomes(
        Value::Array(Box::new(square.clone())),
        Exact::Array(Arc::new(SMALL)),
        Value::Array(Box::new(square.clone())),
    );
    refused(Value::Array(Box::new(square)), binary(), "several dimensions");
    refused(list(vec![vec![1_u8].into()]), binary(), "an array with bytes in it");
    refused(list(vec![Value::Real(-0.0)]), binary(), "an array with real in it");
    refused(list(vec![1.into(), 101.into()]), Exact::Array(Arc::new(SMALL)), "in an array, an integer below");
}

#[test]
fn what_passes_unread_goes_only_to_its_like() {
    let infinite = || Value::opaque("postgres: infinite date", b"infinity".to_vec());
    becomes(infinite(), Exact::Date { min: Date(0), max: Date(1) }, infinite());
    becomes(
        list(vec![infinite()]),
        Exact::Array(Arc::new(Exact::Date { min: Date(0), max: Date(1) })),
        list(vec![infinite()]),
    );
    refused(
        infinite(),
        Exact::Timestamp(span(6)),
        "postgres: infinite date has no place in a column for timestamps",
    );
    refused(infinite(), Exact::Text(ANY_TEXT), "has no place in a column for text");
    refused(
        Value::opaque("mysql: zero date", vec![]),
        Exact::Date { min: Date(0), max: Date(1) },
        "mysql: zero date",
    );
    let point = || Exact::Other("point".into());
    becomes(Value::opaque("postgres: point", vec![1]), point(), Value::opaque("postgres: point", vec![1]));
    refused("(1,2)", point(), "text in a column of the type point");
    becomes(Value::Null, point(), Value::Null);
}
