//! Which values of one column have no place in another, in words: told from the types alone.
//!
//! Whoever reads them decides by them whether there is a way back: so they name just the values, and nothing where all fit.

use std::fmt::Display;

use changeover::value::{Date, Instant, Time, Timestamp};

use super::takes::takes_all;
use crate::catalog::Domain;
use crate::types::{Charset, Exact, ExactType, JsonForm, Span, TextType};

/// The values of the one column that don't fit the other, each kind as `texts of more than 10 characters`. `None` where the types
/// don't say it: neither insists on what it holds.
pub(crate) fn gap(from: &Domain, to: &Domain) -> Option<Vec<String>> {
    if takes_all(from, to) {
        return Some(Vec::new());
    }
    match (from, to) {
        (Domain::Exact(from), Domain::Exact(to)) => Some(between(from, to)),
        (Domain::Exact(from), to) => Some(to_lenient(from, to)),
        (from, Domain::Exact(to)) => {
            let meant = |of| ExactType { engine: "sqlite", of };
            let other = |what: &str| vec![format!("values that aren't {what}")];
            Some(match from {
                Domain::Integer => {
                    between(&meant(Exact::Int { min: i64::MIN, max: i64::MAX.unsigned_abs() }), to)
                }
                Domain::Real => between(&meant(Exact::Real { non_finite: true }), to),
                Domain::Bytes => between(&meant(Exact::Bytes { max: None, padded: false }), to),
                Domain::Text => between(&meant(Exact::Text(ANY)), to),
                Domain::Any | Domain::Loose | Domain::Number | Domain::Exact(_) => other(to.of.name()),
            })
        }
        _ => None,
    }
}

const ANY: TextType =
    TextType { max_chars: None, max_bytes: None, nul: true, padded: false, charset: Charset::Utf8 };

fn between(from: &ExactType, to: &ExactType) -> Vec<String> {
    let mut gaps = kinds(&from.of, &to.of);
    if from.engine != to.engine {
        gaps.extend(unread(from).map(str::to_owned));
    }
    gaps
}

/// Whether hardly any column has such values, though its type has.
pub(crate) fn is_rare(gap: &str) -> bool {
    gap == NUL || ["NaN", "infinite ", "zero ", "dates "].iter().any(|rare| gap.starts_with(rare))
}

const NUL: &str = "NUL characters";

/// The values that only their own kind of database knows.
fn unread(from: &ExactType) -> Option<&'static str> {
    match (from.engine, &from.of) {
        ("postgres", Exact::Decimal { precision: None, .. }) => Some("NaN and the infinities"),
        ("postgres", Exact::Decimal { .. }) => Some("NaN"),
        ("postgres", Exact::Date { .. } | Exact::Timestamp(_) | Exact::Instant(_)) => Some("infinite dates"),
        ("mysql", Exact::Date { .. } | Exact::Timestamp(_)) => Some("zero and impossible dates"),
        ("mysql", Exact::Instant(_)) => Some("zero dates"),
        _ => None,
    }
}

fn kinds(from: &Exact, to: &Exact) -> Vec<String> {
    match (from, to) {
        (from, to) if from == to => Vec::new(),
        (Exact::Int { min, max }, Exact::Int { min: least, max: most }) => {
            outside((min < least).then_some(least), (max > most).then_some(most), "integers")
        }
        (Exact::Int { .. }, Exact::Bool) => vec!["integers other than 0 and 1".to_owned()],
        (Exact::Decimal { .. } | Exact::Int { .. }, Exact::Decimal { precision: Some(digits), scale }) => {
            vec![match scale {
                Some(scale) if *scale > 0 => {
                    format!("numbers of more than {digits} digits, or more than {scale} after the point")
                }
                _ => format!("numbers of more than {digits} digits"),
            }]
        }
        (Exact::Single { .. } | Exact::Real { .. }, Exact::Single { .. } | Exact::Real { .. }) => {
            floats(from, to)
        }
        (Exact::Text(from), Exact::Text(to)) => texts(from, to),
        (from, Exact::Text(to)) if printed(from).is_some_and(|most| most <= length(to)) => Vec::new(),
        (_, Exact::Text(to)) if length(to) < u64::MAX => longer(to),
        (Exact::Set(_), Exact::Text(_)) => Vec::new(),
        (Exact::Enum(labels), Exact::Enum(known)) | (Exact::Set(labels), Exact::Set(known)) => {
            let lacking: Vec<&str> = labels.iter().filter(|l| !known.contains(l)).map(|l| &**l).collect();
            vec![format!("the labels {}", lacking.join(", "))]
        }
        (Exact::Text(_), Exact::Enum(_) | Exact::Set(_)) => vec!["texts other than its labels".to_owned()],
        (Exact::Bytes { .. }, Exact::Bytes { max, padded }) => bytes(*max, *padded),
        (Exact::Date { min, max }, Exact::Date { min: first, max: last }) => {
            dates((min < first).then_some(*first), (max > last).then_some(*last))
        }
        (Exact::Time(from), Exact::Time(to)) => spans(*from, *to, "times", |at| Time(at).to_string()),
        (Exact::Timestamp(from), Exact::Timestamp(to)) => {
            let day = |at| Timestamp(at).parts().0;
            let mut gaps =
                dates((from.min < to.min).then(|| day(to.min)), (from.max > to.max).then(|| day(to.max)));
            gaps.extend(too_fine(*from, *to));
            gaps
        }
        (Exact::Instant(from), Exact::Instant(to)) => {
            spans(*from, *to, "moments", |at| Instant(at).to_string())
        }
        (Exact::Interval { .. }, Exact::Interval { digits }) => finer(*digits),
        (Exact::Json(_), Exact::Json(JsonForm::Double)) => {
            vec!["JSON numbers that no 64-bit float is exactly".to_owned()]
        }
        (Exact::Json(_), Exact::Json(JsonForm::Binary)) => {
            vec!["JSON with \\u0000 in it, or with a member twice".to_owned()]
        }
        (Exact::Array(_), Exact::Json(_)) => vec!["arrays of more than one dimension".to_owned()],
        (Exact::Array(from), Exact::Array(to)) => {
            kinds(from, to).into_iter().map(|gap| format!("arrays with {gap}")).collect()
        }
        // The labels as elements.
        (Exact::Set(_), Exact::Array(_)) => Vec::new(),
        (Exact::Array(_), Exact::Set(_)) => vec!["arrays with other than its labels".to_owned()],
        (from, to) => vec![format!("{} that aren't {}", from.name(), to.name())],
    }
}

/// What of a strict type SQLite's columns don't hold.
fn to_lenient(from: &ExactType, to: &Domain) -> Vec<String> {
    let text = matches!(to, Domain::Text | Domain::Any | Domain::Loose);
    let own = match (&from.of, to) {
        (Exact::Int { max, .. }, Domain::Integer | Domain::Number | Domain::Any | Domain::Loose)
            if i64::try_from(*max).is_err() =>
        {
            Some("integers above 9223372036854775807".to_owned())
        }
        (
            Exact::Single { non_finite: true } | Exact::Real { non_finite: true },
            Domain::Real | Domain::Any,
        ) => Some("NaN".to_owned()),
        (Exact::Array(_), _) if text => Some("arrays of more than one dimension".to_owned()),
        (Exact::Decimal { .. }, Domain::Number | Domain::Real | Domain::Any | Domain::Loose) => {
            Some("numbers that no 64-bit float is exactly".to_owned())
        }
        (Exact::Other(name), _) => Some(format!("values of the type {name}")),
        (Exact::Text(_) | Exact::Json(_) | Exact::Bits { .. } | Exact::Enum(_), Domain::Loose) => {
            Some("texts that look like numbers".to_owned())
        }
        _ if text => None,
        (of, to) => Some(format!("{} that aren't {}", of.name(), to.name())),
    };
    own.into_iter().chain(unread(from).map(str::to_owned)).collect()
}

fn outside<T: Display, U: Display>(below: Option<T>, above: Option<U>, what: &str) -> Vec<String> {
    match (below, above) {
        (Some(below), Some(above)) => vec![format!("{what} below {below} or above {above}")],
        (Some(below), None) => vec![format!("{what} below {below}")],
        (None, Some(above)) => vec![format!("{what} above {above}")],
        (None, None) => Vec::new(),
    }
}

fn spans(from: Span, to: Span, what: &str, shown: impl Fn(i64) -> String) -> Vec<String> {
    let below = (from.min < to.min).then(|| shown(to.min));
    let above = (from.max > to.max).then(|| shown(to.max));
    let mut gaps = outside(below, above, what);
    gaps.extend(too_fine(from, to));
    gaps
}

fn too_fine(from: Span, to: Span) -> Vec<String> {
    if from.digits > to.digits { finer(to.digits) } else { Vec::new() }
}

/// The same words for dates and timestamps, which mostly have the same bounds.
fn dates(before: Option<Date>, after: Option<Date>) -> Vec<String> {
    match (before, after) {
        (Some(before), Some(after)) => vec![format!("dates before {before} or after {after}")],
        (Some(before), None) => vec![format!("dates before {before}")],
        (None, Some(after)) => vec![format!("dates after {after}")],
        (None, None) => Vec::new(),
    }
}

fn finer(digits: u8) -> Vec<String> {
    vec![match digits {
        0 => "fractions of a second".to_owned(),
        digits => format!("more than {digits} digits of a second"),
    }]
}

fn floats(from: &Exact, to: &Exact) -> Vec<String> {
    let non_finite =
        |of: &Exact| matches!(of, Exact::Single { non_finite: true } | Exact::Real { non_finite: true });
    let mut gaps = Vec::new();
    if matches!((from, to), (Exact::Real { .. }, Exact::Single { .. })) {
        gaps.push("numbers that no 32-bit float is exactly".to_owned());
    }
    if non_finite(from) && !non_finite(to) {
        gaps.push("NaN and the infinities".to_owned());
    }
    gaps
}

fn longer(to: &TextType) -> Vec<String> {
    match (to.max_chars, to.max_bytes) {
        (Some(chars), _) => vec![format!("texts of more than {chars} characters")],
        (None, Some(bytes)) => vec![format!("texts of more than {bytes} bytes")],
        (None, None) => Vec::new(),
    }
}

/// How long a text may be, at most.
fn length(text: &TextType) -> u64 {
    text.max_chars.map_or(u64::MAX, u64::from).min(bytes_of(text).unwrap_or(u64::MAX))
}

/// How many bytes it may have, at most; four gigabytes are no bound, since no text comes so far.
fn bytes_of(text: &TextType) -> Option<u64> {
    text.max_bytes.filter(|max| *max < u32::MAX.into())
}

/// How many characters a value takes as text, at most, where that is known.
fn printed(of: &Exact) -> Option<u64> {
    match of {
        Exact::Bool => Some(5),
        Exact::Int { .. } => Some(20),
        Exact::Decimal { precision, .. } => precision.map(|digits| u64::from(digits) + 3),
        Exact::Single { .. } | Exact::Real { .. } | Exact::Time(_) | Exact::Date { .. } => Some(32),
        Exact::Timestamp(_) | Exact::Instant(_) | Exact::Uuid => Some(36),
        Exact::Interval { .. } => Some(80),
        Exact::Bits { max, .. } => max.map(u64::from),
        _ => None,
    }
}

fn texts(from: &TextType, to: &TextType) -> Vec<String> {
    let mut gaps = Vec::new();
    if length(from) > length(to)
        || (bytes_of(to).is_some() && from.max_bytes.is_none_or(|max| Some(max) > to.max_bytes))
    {
        gaps.extend(longer(to));
    }
    if from.nul && !to.nul {
        gaps.push(NUL.to_owned());
    }
    if to.padded && !from.padded {
        gaps.push("texts with spaces at their end".to_owned());
    }
    let rank = |charset| match charset {
        Charset::Ascii => 0,
        Charset::Latin1 => 1,
        Charset::Utf8ToFFFF => 2,
        Charset::Utf8 => 3,
    };
    if rank(from.charset) > rank(to.charset) {
        let what = match to.charset {
            Charset::Ascii => "characters other than ASCII",
            Charset::Latin1 => "characters that Latin 1 lacks",
            Charset::Utf8ToFFFF | Charset::Utf8 => "characters above U+FFFF",
        };
        gaps.push(what.to_owned());
    }
    gaps
}

fn bytes(max: Option<u64>, padded: bool) -> Vec<String> {
    match max {
        Some(max) if padded => vec![format!("other than {max} bytes")],
        Some(max) => vec![format!("more than {max} bytes")],
        None => vec!["bytes that end with zeros".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn domain(engine: &'static str, of: Exact) -> Domain {
        Domain::Exact(Arc::new(ExactType { engine, of }))
    }

    #[test]
    fn just_what_does_not_fit_is_named() {
        let int = |min, max| Exact::Int { min, max };
        let text = |max_chars, nul| Exact::Text(TextType { max_chars, nul, ..ANY });
        let date = || Exact::Date { min: Date(0), max: Date(9) };
        let stamp = |digits| Exact::Timestamp(Span { digits, min: 0, max: 9 });
        for (from, to, said) in [
            (domain("postgres", int(-9, 9)), domain("mysql", int(0, 255)), &["integers below 0"][..]),
            (
                domain("postgres", int(-9, 900)),
                domain("mysql", int(0, 255)),
                &["integers below 0 or above 255"],
            ),
            (domain("postgres", int(0, 9)), domain("mysql", int(0, 255)), &[]),
            (
                domain("mysql", text(None, true)),
                domain("postgres", text(Some(5), false)),
                &["texts of more than 5 characters", "NUL characters"],
            ),
            (domain("postgres", text(Some(5), false)), domain("mysql", text(Some(5), true)), &[]),
            (domain("postgres", date()), domain("mysql", date()), &["infinite dates"]),
            (domain("mysql", date()), domain("postgres", date()), &["zero and impossible dates"]),
            (domain("mysql", date()), Domain::Text, &["zero and impossible dates"]),
            (domain("mysql", stamp(6)), domain("mysql", stamp(0)), &["fractions of a second"]),
            (
                domain("mysql", Exact::Time(Span { digits: 0, min: 0, max: 9 })),
                domain("postgres", Exact::Time(Span { digits: 0, min: 0, max: 9 })),
                &[],
            ),
            (domain("postgres", Exact::Real { non_finite: true }), Domain::Real, &["NaN"]),
            (Domain::Integer, domain("postgres", int(-9, 9)), &["integers below -9 or above 9"]),
        ] {
            assert_eq!(gap(&from, &to).unwrap(), said, "{from:?} to {to:?}");
        }
        assert_eq!(gap(&Domain::Text, &Domain::Integer), None, "neither insists");
    }
}
