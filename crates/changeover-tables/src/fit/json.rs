//! JSON in the one form in which two documents that a database takes for the same are the same text.
//!
//! Read here and not by a library: numbers have to keep all of their digits, a member that is there twice has to be seen, and
//! half a surrogate pair is JSON for one database and none for another.

mod read;

use std::borrow::Cow;

use changeover::value::Decimal;

use self::read::{DEPTH_MAX, too_deep, well_formed};
pub(super) use self::read::{Node, parse};
use crate::types::JsonForm;

/// How deep MySQL lets one go.
const DEPTH_MAX_MYSQL: usize = 100;

/// The text that stands for every spelling of the document in a column that keeps it in this form: as the database itself
/// prints it, members by the length of their names and then by their bytes.
///
/// # Errors
/// If it isn't JSON, or the column wouldn't hold it as it is: what is the matter, as *text that isn't JSON*.
pub fn normal(text: &str, form: JsonForm) -> Result<Box<str>, String> {
    let node = if form == JsonForm::Kept { well_formed(text)? } else { parse(text)? };
    if form == JsonForm::Kept {
        return Ok(text.into());
    }
    let mut out = String::with_capacity(text.len());
    let depth = if form == JsonForm::Double { DEPTH_MAX_MYSQL } else { DEPTH_MAX };
    write(&node, form, depth, &mut out)?;
    Ok(out.into())
}

fn write(node: &Node<'_>, form: JsonForm, depth: usize, out: &mut String) -> Result<(), String> {
    match node {
        Node::Null => out.push_str("null"),
        Node::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Node::Number(number) if form == JsonForm::Double => write_double(number, out)?,
        Node::Number(number) => match Decimal::parse(number) {
            Some(decimal) => out.push_str(decimal.as_str()),
            None => return Err("JSON with a number that is too large or too fine".to_owned()),
        },
        Node::String(text) => write_checked(text, form, out)?,
        Node::Array(elements) => {
            let depth = deeper(depth)?;
            out.push('[');
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                write(element, form, depth, out)?;
            }
            out.push(']');
        }
        Node::Object(members) => write_members(members, form, deeper(depth)?, out)?,
    }
    Ok(())
}

fn deeper(depth: usize) -> Result<usize, String> {
    depth.checked_sub(1).ok_or_else(too_deep)
}

fn write_members(
    members: &[(Cow<'_, str>, Node<'_>)],
    form: JsonForm,
    depth: usize,
    out: &mut String,
) -> Result<(), String> {
    let mut sorted: Vec<&(Cow<'_, str>, Node<'_>)> = members.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("JSON in which the member {} is there twice", pair[0].0));
    }
    out.push('{');
    for (at, (name, value)) in sorted.into_iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        write_checked(name, form, out)?;
        out.push_str(": ");
        write(value, form, depth, out)?;
    }
    out.push('}');
    Ok(())
}

fn write_checked(text: &str, form: JsonForm, out: &mut String) -> Result<(), String> {
    if form == JsonForm::Binary && text.contains('\0') {
        return Err("JSON with \\u0000 in a text".to_owned());
    }
    write_string(text, out);
    Ok(())
}

/// A string as JSON has it: only what has to be is written by an escape.
pub(super) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// As MySQL keeps a number: an integer of 64 bits, or else a float; here only one that stands for it exactly.
fn write_double(number: &str, out: &mut String) -> Result<(), String> {
    if let Ok(n) = number.parse::<i64>() {
        out.push_str(&n.to_string());
        return Ok(());
    }
    if let Ok(n) = number.parse::<u64>() {
        out.push_str(&n.to_string());
        return Ok(());
    }
    let inexact =
        || "JSON with a number that a 64-bit floating-point number doesn't stand for exactly".to_owned();
    let x: f64 = number.parse().map_err(|_| inexact())?;
    let shortest = format!("{x:?}");
    match (Decimal::parse(number), Decimal::parse(&shortest)) {
        (Some(is), Some(becomes)) if is.cmp_number(&becomes).is_eq() => out.push_str(&shortest),
        _ => return Err(inexact()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::read::no_json;
    use super::*;

    fn binary(text: &str) -> Result<String, String> {
        normal(text, JsonForm::Binary).map(String::from)
    }

    /// What PostgreSQL 15 prints for `'…'::jsonb`.
    #[test]
    fn a_document_is_written_as_postgresql_prints_it() {
        for (text, printed) in [
            ("-0", "0"),
            ("-0.0", "0.0"),
            ("1e2", "100"),
            ("1.10", "1.10"),
            ("1E-3", "0.001"),
            ("1.50e1", "15.0"),
            ("0e5", "0"),
            ("-0e-3", "0.000"),
            ("1.10e5", "110000"),
            ("0.0e3", "0"),
            ("0e99999", "0"),
            (" [ 1 ,\n{ } , [] ]\t", "[1, {}, []]"),
            (
                r#"{"b":1,"aa":2,"a":[1,{},[]],"\u00e9":"\u0001\u007f\/\b\f\n\r\t\"\\"}"#,
                "{\"a\": [1, {}, []], \"b\": 1, \"aa\": 2, \"é\": \"\\u0001\u{7f}/\\b\\f\\n\\r\\t\\\"\\\\\"}",
            ),
            (r#"{"é":1,"zz":2,"aaa":1}"#, r#"{"zz": 2, "é": 1, "aaa": 1}"#),
            (r#""\ud83d\ude00a\u0041""#, r#""😀aA""#),
        ] {
            assert_eq!(binary(text).as_deref(), Ok(printed), "{text}");
        }
        assert_eq!(binary("1e131071").unwrap().len(), 131_072);
        assert_eq!(binary("1e-16383").unwrap().len(), 16_385);
    }

    #[test]
    fn what_a_column_would_not_hold_is_named() {
        for (text, form, why) in [
            (r#"{"x":1,"y":2,"x":1}"#, JsonForm::Binary, "JSON in which the member x is there twice"),
            (r#"{"x":1,"\u0078":1}"#, JsonForm::Double, "JSON in which the member x is there twice"),
            (r#"["\u0000"]"#, JsonForm::Binary, "JSON with \\u0000 in a text"),
            (r#"{"\u0000":1}"#, JsonForm::Binary, "JSON with \\u0000 in a text"),
            (r#""\ud800""#, JsonForm::Binary, "JSON with half a surrogate pair"),
            (r#""\ud800\u0041""#, JsonForm::Double, "JSON with half a surrogate pair"),
            (r#""\udc00""#, JsonForm::Double, "JSON with half a surrogate pair"),
            ("1e131072", JsonForm::Binary, "JSON with a number that is too large or too fine"),
            ("1e-16384", JsonForm::Binary, "JSON with a number that is too large or too fine"),
        ] {
            assert_eq!(normal(text, form), Err(why.to_owned()), "{text}");
        }
        for number in ["1e400", "0.1234567890123456789", "1e-400", "36893488147419103232.5"] {
            assert!(normal(number, JsonForm::Double).unwrap_err().contains("floating-point"), "{number}");
        }
    }

    #[test]
    fn mysql_keeps_integers_and_floats() {
        for (text, kept) in [
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("100000000000000000000", "1e20"),
            ("1e2", "100.0"),
            ("1.10", "1.1"),
            ("-0", "0"),
            ("-0.0", "-0.0"),
            (r#""\u0000""#, r#""\u0000""#),
        ] {
            assert_eq!(normal(text, JsonForm::Double).as_deref(), Ok(kept), "{text}");
        }
        let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(normal(&nested(100), JsonForm::Double).is_ok());
        assert!(normal(&nested(101), JsonForm::Double).unwrap_err().contains("levels"));
        assert!(binary(&nested(DEPTH_MAX)).is_ok());
        assert!(binary(&nested(1_000_000)).unwrap_err().contains("levels"));
    }

    #[test]
    fn a_text_that_is_kept_is_kept_if_it_is_json() {
        for text in [r#" {"x":1, "x":2} "#, r#""\ud800\u0000""#, "1e999999", "-0"] {
            assert_eq!(normal(text, JsonForm::Kept).as_deref(), Ok(text));
        }
        for text in [
            "",
            " ",
            "nul",
            "nulll",
            "True",
            "01",
            "-",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e+",
            "\"",
            "\"\t\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u12",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{1:2}",
            "{\"a\"}",
            "{\"a\":1,}",
            "[1]]",
            "NaN",
            "'a'",
            "\u{a0}1",
            "[1",
            "{\"a\":",
        ] {
            assert_eq!(normal(text, JsonForm::Kept), Err(no_json()), "{text}");
        }
    }

    fn documents() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_spelling_comes_to_one_text(document in documents()) {
            let (plain, pretty) = (document.to_string(), serde_json::to_string_pretty(&document).unwrap());
            for form in [JsonForm::Binary, JsonForm::Double] {
                let Ok(one) = normal(&plain, form) else { continue };
                prop_assert_eq!(normal(&pretty, form), Ok(one.clone()));
                prop_assert_eq!(normal(&one, form), Ok(one.clone()));
                // Numbers are written otherwise; all else is the same to another reader.
                let back: serde_json::Value = serde_json::from_str(&one).unwrap();
                prop_assert_eq!(blind(back), blind(document.clone()));
            }
            prop_assert!(normal(&plain, JsonForm::Double).is_ok());
        }

        #[test]
        fn it_reads_just_what_another_reader_does(text in r#"[\[\]{},:" \\u0-9a-f.eE+-]{0,24}|"(\\[u"\\/bx]|[0-9a-f]){0,9}"|-?[0-9]{0,3}(\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?"#) {
            // The other looks at surrogates; and at the size of exponents, here, never.
            let known = serde_json::from_str::<serde_json::Value>(&text);
            match (normal(&text, JsonForm::Kept), known) {
                (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("surrogate") || error.to_string().contains("hex escape"), "{}", error),
                (Err(why), Ok(_)) => prop_assert!(false, "{}", why),
                _ => {}
            }
        }
    }

    /// A document without its numbers.
    fn blind(document: serde_json::Value) -> serde_json::Value {
        match document {
            serde_json::Value::Number(_) => "a number".into(),
            serde_json::Value::Array(elements) => elements.into_iter().map(blind).collect(),
            serde_json::Value::Object(members) => serde_json::Value::Object(
                members.into_iter().map(|(name, value)| (name, blind(value))).collect(),
            ),
            other => other,
        }
    }
}
