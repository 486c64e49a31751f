//! What the codec does without a server: bytes known from the server's sources, values there and back, and what is refused.

pub(in crate::postgres) mod server;

use bytes::BytesMut;
use changeover::Value;
use changeover::value::{Array, Bits, Date, Decimal, Instant, Interval, Time, Timestamp};
use proptest::prelude::*;
use tokio_postgres::types::{Field, IsNull, Kind, Type};

use super::*;
use crate::types::{Exact, ExactType, Span};

fn bytes(ty: &Type, value: &Value) -> Result<Vec<u8>, String> {
    let mut out = BytesMut::from(&b"before"[..]);
    match encode(&Codec::of(ty), value, &mut out) {
        Ok(IsNull::No) => Ok(out[6..].to_vec()),
        Ok(IsNull::Yes) => Err("NULL".to_owned()),
        Err(error) => {
            assert_eq!(&out[..], b"before", "an error leaves nothing behind");
            Err(error.to_string())
        }
    }
}

fn value(ty: &Type, raw: &[u8]) -> Value {
    decode(&Codec::of(ty), Some(raw)).unwrap()
}

fn decimal(text: &str) -> Value {
    Value::Decimal(Decimal::parse(text).unwrap())
}

fn user(name: &str, kind: Kind) -> Type {
    Type::new(name.to_owned(), 70_000, kind, "public".to_owned())
}

fn array(name: &str, of: Type) -> Type {
    user(name, Kind::Array(of))
}

/// Written down by hand: a mistake made both ways would come back unseen.
#[test]
fn values_have_the_bytes_that_the_server_gives_them() {
    let array = Array { dimensions: vec![(2, 0)], elements: vec![Value::Int(7), Value::Null] };
    let cases: Vec<(Type, Value, &[u8])> = vec![
        (Type::BOOL, Value::Bool(true), &[1]),
        (Type::INT2, Value::Int(-2), &[0xff, 0xfe]),
        (Type::INT4, Value::Int(258), &[0, 0, 1, 2]),
        (Type::INT8, Value::Int(-1), &[0xff; 8]),
        (Type::OID, Value::Int(u32::MAX.into()), &[0xff; 4]),
        (Type::FLOAT4, Value::Single(1.0), &[0x3f, 0x80, 0, 0]),
        (Type::FLOAT8, Value::Real(-2.0), &[0xc0, 0, 0, 0, 0, 0, 0, 0]),
        (Type::TEXT, "é".into(), &[0xc3, 0xa9]),
        (Type::CHAR, "\\351".into(), &[0xe9]),
        (Type::CHAR, "".into(), &[0]),
        (Type::DATE, Value::Date(Date(10_957)), &[0; 4]),
        (Type::DATE, Value::opaque("postgres: infinite date", b"-infinity".to_vec()), &[0x80, 0, 0, 0]),
        (Type::TIME, Value::Time(Time(1)), &[0, 0, 0, 0, 0, 0, 0, 1]),
        (Type::TIMESTAMP, Value::Timestamp(Timestamp(946_684_799_999_999)), &[0xff; 8]),
        (Type::TIMESTAMPTZ, Value::Instant(Instant(946_684_800_000_000)), &[0; 8]),
        (
            Type::INTERVAL,
            Value::Interval(Interval { months: 1, days: -1, micros: 2 }),
            &[0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1],
        ),
        (Type::JSONB, Value::Json("{}".into()), b"\x01{}"),
        (Type::VARBIT, Value::Bits(Box::new(Bits::parse("101").unwrap())), &[0, 0, 0, 3, 0xa0]),
        (Type::NUMERIC, decimal("0.00"), &[0, 0, 0, 0, 0, 0, 0, 2]),
        (Type::NUMERIC, decimal("-12345.0600"), &[0, 3, 0, 1, 0x40, 0, 0, 4, 0, 1, 0x09, 0x29, 0x02, 0x58]),
        (Type::NUMERIC, decimal("0.000012"), &[0, 1, 0xff, 0xfe, 0, 0, 0, 6, 0x04, 0xb0]),
        (Type::NUMERIC, decimal("20000"), &[0, 1, 0, 1, 0, 0, 0, 0, 0, 2]),
        (
            Type::NUMERIC,
            Value::opaque("postgres: NaN decimal", b"NaN".to_vec()),
            &[0, 0, 0, 0, 0xc0, 0, 0, 0],
        ),
        (
            Type::INT4_ARRAY,
            Value::Array(Box::new(array)),
            &[
                0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 23, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 7, 0xff,
                0xff, 0xff, 0xff,
            ],
        ),
        (Type::INT4_ARRAY, Value::Array(Box::default()), &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23]),
        (
            Type::INET,
            Value::opaque("postgres: inet", vec![2, 32, 0, 4, 1, 2, 3, 4]),
            &[2, 32, 0, 4, 1, 2, 3, 4],
        ),
    ];
    for (ty, ours, raw) in cases {
        assert_eq!(bytes(&ty, &ours).as_deref(), Ok(raw), "{ours} as {ty}");
        assert_eq!(value(&ty, raw), ours, "{ty}");
    }
    assert_eq!(value(&Type::BPCHAR, b"a b  "), "a b".into());
    assert_eq!(decode(&Codec::of(&Type::INT4), None).unwrap(), Value::Null);
    assert_eq!(bytes(&Type::INT4, &Value::Null), Err("NULL".to_owned()));
}

/// Servers before PostgreSQL 14 insist on it.
#[test]
fn an_array_names_its_elements_type_by_its_number_where_it_goes() {
    let mood = |oid| Type::new("mood".to_owned(), oid, Kind::Enum(vec![]), "public".to_owned());
    let from =
        bytes(&array("_mood", mood(70_001)), &Value::Array(Box::new(Array::of(vec!["x".into()])))).unwrap();
    let value = value(&array("_mood", mood(70_001)), &from);
    let to = bytes(&array("_mood", mood(70_002)), &value).unwrap();
    assert_eq!((&from[8..12], &to[8..12]), (&70_001_u32.to_be_bytes()[..], &70_002_u32.to_be_bytes()[..]));
    assert_eq!(from[12..], to[12..]);
}

#[test]
fn what_a_type_does_not_have_is_refused_with_its_reason() {
    let lopsided = Array { dimensions: vec![(3, 1)], elements: vec![Value::Int(1)] };
    let within = Array::of(vec![Value::Int(1), Value::Int(1 << 40)]);
    for (ty, value, why) in [
        (Type::INT2, Value::Int(32_768), "32768 is out of the type's range"),
        (Type::INT4, Value::Int(-1 << 40), "out of the type's range"),
        (Type::OID, Value::Int(-1), "out of the type's range"),
        (Type::INT8, Value::Uint(u64::MAX), "18446744073709551615 is out of the type's range"),
        (Type::INT8, "1".into(), "of another kind"),
        (Type::TEXT, "a\0b".into(), "NUL"),
        (Type::TEXT, Value::Int(1), "of another kind"),
        (Type::JSON, "{}".into(), "of another kind"),
        (Type::CHAR, "ab".into(), "single ASCII character"),
        (Type::CHAR, "é".into(), "single ASCII character"),
        (Type::DATE, Value::Date(Date(i32::MAX)), "out of the type's range"),
        (Type::TIME, Value::Time(Time(-1)), "-00:00:00.000001 is out of the type's range"),
        (Type::TIMESTAMP, Value::Timestamp(Timestamp(i64::MIN)), "out of the type's range"),
        (Type::TIMESTAMP, Value::opaque("postgres: infinite date", b"infinity".to_vec()), "another kind"),
        (Type::CIDR, Value::opaque("postgres: inet", vec![]), "of another kind"),
        (Type::INT4_ARRAY, Value::Array(Box::new(lopsided)), "dimensions don't match"),
        (Type::INT4_ARRAY, Value::Array(Box::new(within)), "integer: 1099511627776 is out"),
    ] {
        let error = bytes(&ty, &value).unwrap_err();
        assert!(error.contains(why) && error.contains(Codec::of(&ty).name()), "{error}");
    }
}

#[test]
fn bytes_that_the_type_does_not_have_are_an_error() {
    let endless = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1];
    let of_text = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25];
    for (ty, raw, why) in [
        (Type::INT4, &[0_u8, 0][..], "type int4 that can't be read: it has 2 bytes in place of 4"),
        (Type::NUMERIC, &[0, 1, 0, 0, 0, 0, 0, 0], "doesn't match its digits"),
        (Type::NUMERIC, &[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10], "no digit"),
        (Type::NUMERIC, &[0, 1, 0xff, 0xff, 0, 0, 0, 2, 0, 1], "digits beyond"),
        (Type::NUMERIC, &[0, 0, 0, 0, 0x12, 0x34, 0, 0], "sign"),
        (Type::NUMERIC, &[0, 0], "cut off"),
        (Type::JSONB, b"\x02{}", "version 2"),
        (Type::JSON, &[0xff], "UTF-8"),
        (Type::BIT, &[0, 0, 0, 9, 0xff], "doesn't match its bytes"),
        (Type::INT4_ARRAY, &endless, "cut off"),
        (Type::INT4_ARRAY, &of_text, "its elements are of the type 25, and not of int4 (23)"),
    ] {
        let error = decode(&Codec::of(&ty), Some(raw)).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_text_that_is_not_utf8_passes_between_texts() {
    let bad = value(&Type::TEXT, &[0x66, 0xff]);
    assert_eq!(bad, Value::opaque("postgres: non-UTF-8 text", vec![0x66, 0xff]));
    assert_eq!(bytes(&Type::VARCHAR, &bad), Ok(vec![0x66, 0xff]));
    assert!(bytes(&Type::BYTEA, &bad).is_err());
}

#[test]
fn types_of_users_and_extensions_pass_as_text_unless_they_are_known() {
    let mood = user("mood", Kind::Enum(vec!["so so".to_owned()]));
    let street = Field::new("Street".to_owned(), Type::TEXT);
    let since = Field::new("since".to_owned(), user("day", Kind::Domain(Type::DATE)));
    let address = user("address", Kind::Composite(vec![street, since]));
    for (ty, as_text, kind) in [
        (user("hstore", Kind::Simple), true, "public.hstore"),
        (address.clone(), true, "public.address (\"Street\" text, since date)"),
        (array("_address", address.clone()), true, "public.address (\"Street\" text, since date)[]"),
        (user("home", Kind::Domain(address)), true, "public.address (\"Street\" text, since date)"),
        (user("my date", Kind::Simple), true, "public.\"my date\""),
        // A type with a fixed number of parts, which isn't an array.
        (array("pair", Type::INT4), true, "public.pair"),
        (user("floats", Kind::Range(Type::FLOAT8)), true, "public.floats"),
        (Type::REGCLASS, true, "regclass"),
        (Type::ACLITEM_ARRAY, true, "aclitem[]"),
        (Type::TS_VECTOR, false, "tsvector"),
        (Type::INT2_VECTOR, true, "int2vector"),
        (Type::TSTZ_RANGE, false, "tstzrange"),
    ] {
        let codec = Codec::of(&ty);
        assert_eq!(codec.as_text, as_text, "{ty}");
        let value = Value::opaque(format!("postgres: {kind}"), b"x".to_vec());
        assert_eq!(decode(&codec, Some(b"x")).unwrap(), value);
        assert_eq!(bytes(&ty, &value), Ok(b"x".to_vec()));
        let exact = ExactType { engine: "postgres", of: exact(&ty, -1) };
        assert!(exact.holds_unread(value.type_name()), "{exact:?}");
        let dates = ExactType { engine: "postgres", of: super::exact(&Type::DATE, -1) };
        assert!(!dates.holds_unread(value.type_name()), "{}", value.type_name());
    }
    for ty in [mood.clone(), user("citext", Kind::Simple), user("moods", Kind::Domain(mood))] {
        assert_eq!(value(&ty, b"so so"), "so so".into(), "{ty}");
    }
}

/// What the fit asks of a column's type: whether the kinds that pass unread are among its values.
#[test]
fn the_infinities_are_values_of_their_columns() {
    for (ty, raw) in [
        (Type::DATE, &[0x7f, 0xff, 0xff, 0xff][..]),
        (Type::TIMESTAMP, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        (Type::TIMESTAMP, &[0x7f, 0xff, 0xfd, 0, 0, 0, 0, 0]),
        (Type::TIMESTAMPTZ, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        (Type::NUMERIC, &[0, 0, 0, 0, 0xc0, 0, 0, 0]),
        (Type::NUMERIC, &[0, 0, 0, 0, 0xd0, 0, 0, 0]),
        (Type::NUMERIC, &[0, 0, 0, 0, 0xf0, 0, 0, 0]),
    ] {
        let value = value(&ty, raw);
        assert!(matches!(value, Value::Opaque(_)), "{value}");
        let exact = ExactType { engine: "postgres", of: exact(&ty, -1) };
        assert!(exact.holds_unread(value.type_name()), "{value}");
        assert_eq!(bytes(&ty, &value).as_deref(), Ok(raw), "{value}");
    }
}

#[test]
fn a_column_has_the_bounds_of_its_type_modifier() {
    let precise = |precision, scale| Exact::Decimal { precision: Some(precision), scale: Some(scale) };
    assert_eq!(exact(&Type::NUMERIC, (12 << 16 | 2) + 4), precise(12, 2));
    // numeric(2, -3)
    assert_eq!(exact(&Type::NUMERIC, (2 << 16 | (-3 & 0x7ff)) + 4), precise(2, -3));
    assert_eq!(exact(&Type::NUMERIC, -1), Exact::Decimal { precision: None, scale: None });
    let Exact::Text(five) = exact(&user("five", Kind::Domain(Type::BPCHAR)), 9) else { panic!() };
    assert_eq!((five.max_chars, five.padded, five.nul), (Some(5), true, false));
    let Exact::Text(name) = exact(&Type::NAME, -1) else { panic!() };
    assert_eq!((name.max_chars, name.max_bytes), (None, Some(63)));
    assert_eq!(exact(&Type::TIME, 3), Exact::Time(Span { digits: 3, min: 0, max: 86_400_000_000 }));
    assert_eq!(exact(&Type::INTERVAL, -1), Exact::Interval { digits: 6 });
    // interval(2), interval day to minute
    assert_eq!(exact(&Type::INTERVAL, 0x7fff_0002), Exact::Interval { digits: 2 });
    assert_eq!(exact(&Type::INTERVAL, 0x0c08_ffff), Exact::Interval { digits: 0 });
    assert_eq!(exact(&Type::BIT, 5), Exact::Bits { min: 5, max: Some(5) });
    assert_eq!(exact(&Type::VARBIT, 5), Exact::Bits { min: 0, max: Some(5) });
    assert_eq!(exact(&Type::VARCHAR_ARRAY, 14), Exact::Array(exact(&Type::VARCHAR, 14).into()));
    let mood = user("mood", Kind::Enum(vec!["a".to_owned(), String::new()]));
    assert_eq!(exact(&mood, -1), Exact::Enum(["a".into(), "".into()].into()));
}

#[test]
fn a_value_read_into_the_memory_of_another_is_the_value() {
    let long = "x".repeat(REUSED + 1);
    let of = [
        (Type::TEXT, &b"a text"[..]),
        (Type::TEXT, b""),
        (Type::TEXT, long.as_bytes()),
        (Type::TEXT, &[0x66, 0xff]),
        (Type::BPCHAR, b"ab  "),
        (Type::BYTEA, &[1, 2]),
        (Type::INT4, &[0, 0, 0, 7]),
    ];
    for (ty, raw) in &of {
        let codec = Codec::of(ty);
        let expected = decode(&codec, Some(raw)).unwrap();
        for (other, other_raw) in &of {
            let mut used = value(other, other_raw);
            decode_into(&codec, Some(raw), &mut used).unwrap();
            assert_eq!(used, expected, "in the memory of a {other}");
            let kept = match &used {
                Value::Text(text) => text.capacity(),
                Value::Bytes(bytes) => bytes.capacity(),
                _ => 0,
            };
            assert!(kept <= 2 * REUSED.max(raw.len()), "{kept}");
            decode_into(&codec, None, &mut used).unwrap();
            assert_eq!(used, Value::Null);
        }
    }
    let mut used = Value::from("short");
    let before = match &used {
        Value::Text(text) => text.as_ptr(),
        _ => std::ptr::null(),
    };
    decode_into(&Codec::of(&Type::TEXT), Some(b"text"), &mut used).unwrap();
    assert!(matches!(&used, Value::Text(text) if text.as_ptr() == before && text == "text"));
}

fn values() -> impl Strategy<Value = (Type, Value)> {
    let text = "[a-zA-Zé€😀 ,{}\"\\\\]{0,20}";
    prop_oneof![
        any::<i16>().prop_map(|n| (Type::INT2, Value::Int(n.into()))),
        any::<i32>().prop_map(|n| (Type::INT4, Value::Int(n.into()))),
        any::<i64>().prop_map(|n| (Type::INT8, Value::Int(n))),
        any::<u32>().prop_map(|n| (Type::OID, Value::Int(n.into()))),
        any::<u32>().prop_map(|n| (Type::FLOAT4, Value::Single(f32::from_bits(n)))),
        any::<u64>().prop_map(|n| (Type::FLOAT8, Value::Real(f64::from_bits(n)))),
        "-?[0-9]{1,60}(\\.[0-9]{0,60})?".prop_map(|text| (Type::NUMERIC, decimal(&text))),
        (any::<bool>(), "0{0,9}[1-9]?0{0,9}", -50_i64..50).prop_map(|(negative, digits, scale)| {
            (Type::NUMERIC, Value::Decimal(Decimal::from_digits(negative, &digits, scale).unwrap()))
        }),
        text.prop_map(|text| (Type::TEXT, text.into())),
        (0_u8..=255).prop_map(|byte| (Type::CHAR, value(&Type::CHAR, &[byte]))),
        any::<Vec<u8>>().prop_map(|bytes| (Type::BYTEA, bytes.into())),
        (-2_440_588..=2_145_042_905_i32).prop_map(|n| (Type::DATE, Value::Date(Date(n)))),
        (0..=86_400_000_000_i64).prop_map(|n| (Type::TIME, Value::Time(Time(n)))),
        (-210_866_803_200_000_000..=i64::MAX).prop_map(|n| (Type::TIMESTAMP, Value::Timestamp(Timestamp(n)))),
        (-210_866_803_200_000_000..=i64::MAX).prop_map(|n| (Type::TIMESTAMPTZ, Value::Instant(Instant(n)))),
        // Those that the middle form doesn't count to.
        (9_222_425_352_054_775_808..=9_223_371_331_199_999_999_i64)
            .prop_map(|n| (Type::TIMESTAMP, value(&Type::TIMESTAMP, &n.to_be_bytes()))),
        any::<(i32, i32, i64)>().prop_map(|(months, days, micros)| {
            (Type::INTERVAL, Value::Interval(Interval { months, days, micros }))
        }),
        any::<[u8; 16]>().prop_map(|bytes| (Type::UUID, Value::Uuid(bytes))),
        text.prop_map(|text| (Type::JSON, Value::Json(text.into()))),
        text.prop_map(|text| (Type::JSONB, Value::Json(text.into()))),
        "[01]{0,70}".prop_map(|text| (Type::VARBIT, Value::Bits(Box::new(Bits::parse(&text).unwrap())))),
        (1_u32..4, 1_u32..4, any::<i32>()).prop_map(|(a, b, first)| {
            let elements =
                (0..a * b).map(|n| if n == 1 { Value::Null } else { n.to_string().as_str().into() });
            let array = Array { dimensions: vec![(a, first), (b, 1)], elements: elements.collect() };
            (Type::TEXT_ARRAY, Value::Array(Box::new(array)))
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read((ty, ours) in values()) {
        let raw = bytes(&ty, &ours).unwrap();
        prop_assert_eq!(value(&ty, &raw), ours);
    }

    /// Whatever comes, it is a value or an error.
    #[test]
    fn no_bytes_are_too_strange((ty, ours) in values(), at in any::<prop::sample::Index>(), byte: u8, cut: bool) {
        let mut raw = bytes(&ty, &ours).unwrap();
        if !raw.is_empty() {
            let at = at.index(raw.len());
            raw[at] = byte;
            if cut {
                raw.truncate(at);
            }
        }
        if let Ok(read) = decode(&Codec::of(&ty), Some(&raw)) {
            prop_assert!(read.size() < 1 << 20);
        }
    }
}
