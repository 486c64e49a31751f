//! Whether every value that one column is meant to hold fits another: told from the types alone, and only where it is certain.

use crate::catalog::Domain;
use crate::fit;
use crate::types::{Charset, Exact, ExactType, JsonForm, Span, TextType};

/// Whether every value that the one domain is meant to hold fits the other, and comes back from it; `false` where that isn't
/// certain.
pub(crate) fn takes_all(from: &Domain, to: &Domain) -> bool {
    if from == to {
        return true;
    }
    match (from, to) {
        (Domain::Exact(from), Domain::Exact(to)) => {
            // What passes unread does so only to its like.
            (from.engine == to.engine || from.of.family().is_none()) && takes(&from.of, &to.of)
        }
        (Domain::Exact(from), to) => lenient_takes(to, from),
        (from, Domain::Exact(to)) => takes_lenient(&to.of, from),
        (_, Domain::Any | Domain::Loose) => true,
        (Domain::Integer, Domain::Integer | Domain::Number | Domain::Real | Domain::Text)
        | (Domain::Real, Domain::Real | Domain::Number | Domain::Text)
        | (Domain::Number, Domain::Number | Domain::Text)
        | (Domain::Text, Domain::Text)
        | (Domain::Bytes, Domain::Bytes) => true,
        (_, _) => false,
    }
}

/// Whether a column of SQLite's takes all that a strict type holds. Where it may hold what passes unread, it doesn't.
fn lenient_takes(to: &Domain, from: &ExactType) -> bool {
    let is_signed = |max: u64| i64::try_from(max).is_ok();
    match (&from.of, to) {
        (Exact::Bool, Domain::Integer | Domain::Number | Domain::Text | Domain::Any | Domain::Loose) => true,
        (Exact::Int { .. }, Domain::Text) => true,
        (Exact::Int { max, .. }, Domain::Integer | Domain::Number | Domain::Any | Domain::Loose) => {
            is_signed(*max)
        }
        (Exact::Int { min, max }, Domain::Real) => within(*min, *max, 1 << 53),
        (Exact::Single { non_finite } | Exact::Real { non_finite }, Domain::Real | Domain::Any) => {
            !non_finite
        }
        (Exact::Text(_) | Exact::Enum(_), Domain::Text | Domain::Any) => true,
        (Exact::Uuid | Exact::Json(_), Domain::Text) => true,
        (Exact::Bytes { .. } | Exact::Uuid, Domain::Bytes) | (Exact::Bytes { .. }, Domain::Any) => true,
        (_, _) => false,
    }
}

/// Whether a strict type takes all that a column of SQLite's is meant to hold.
fn takes_lenient(to: &Exact, from: &Domain) -> bool {
    match (from, to) {
        (Domain::Integer, Exact::Int { min, max }) => *min == i64::MIN && *max >= i64::MAX as u64,
        (Domain::Integer, Exact::Decimal { precision, scale }) => takes_digits((19, 0), *precision, *scale),
        (Domain::Integer, Exact::Text(text)) => holds_ascii(text, 20),
        (Domain::Real, Exact::Real { non_finite }) => *non_finite,
        (Domain::Bytes, Exact::Bytes { max: None, padded: false }) => true,
        (_, _) => false,
    }
}

fn takes(from: &Exact, to: &Exact) -> bool {
    match (from, to) {
        (from, to) if from == to => true,
        (Exact::Bool, Exact::Int { min, max }) => *min <= 0 && *max >= 1,
        (Exact::Bool, Exact::Bits { min, max }) => *min == 1 && *max == Some(1),
        (Exact::Int { min, max }, Exact::Int { min: least, max: most }) => min >= least && max <= most,
        (Exact::Int { min, max }, Exact::Decimal { precision, scale }) => {
            let digits = min.unsigned_abs().max(*max).checked_ilog10().map_or(1, |log| log + 1);
            takes_digits((digits, 0), *precision, *scale)
        }
        (Exact::Int { min, max }, Exact::Real { .. }) => within(*min, *max, 1 << 53),
        (Exact::Int { min, max }, Exact::Single { .. }) => within(*min, *max, 1 << 24),
        (Exact::Decimal { precision, scale }, Exact::Decimal { precision: digits, scale: after }) => {
            match (precision, scale) {
                (Some(precision), Some(scale)) => takes_digits((*precision, *scale), *digits, *after),
                _ => digits.is_none() && after.is_none(),
            }
        }
        (Exact::Single { non_finite } | Exact::Real { non_finite }, Exact::Real { non_finite: also })
        | (Exact::Single { non_finite }, Exact::Single { non_finite: also }) => *also || !non_finite,
        (Exact::Text(from), Exact::Text(to)) => takes_text(from, to),
        (Exact::Bool, Exact::Text(text)) => holds_ascii(text, 5),
        (Exact::Int { .. }, Exact::Text(text)) => holds_ascii(text, 20),
        (Exact::Uuid, Exact::Text(text)) => holds_ascii(text, 36),
        (Exact::Json(_), Exact::Text(text)) => text.charset == Charset::Utf8 && holds_ascii(text, u64::MAX),
        (Exact::Enum(labels), Exact::Text(text)) => labels.iter().all(|label| fit::keeps_text(label, text)),
        (Exact::Enum(few), Exact::Enum(many)) | (Exact::Set(few), Exact::Set(many)) => {
            few.iter().all(|label| many.contains(label))
        }
        (Exact::Bytes { max, padded }, Exact::Bytes { max: most, padded: filled }) => {
            // What is filled up comes back longer than it was.
            takes_up_to(*max, *most) && (!filled || (*padded && max == most))
        }
        (Exact::Uuid, Exact::Bytes { max, padded }) => {
            max.is_none_or(|max| max == 16 || (max > 16 && !padded))
        }
        (Exact::Date { min, max }, Exact::Date { min: first, max: last }) => min >= first && max <= last,
        (Exact::Time(from), Exact::Time(to))
        | (Exact::Timestamp(from), Exact::Timestamp(to))
        | (Exact::Instant(from), Exact::Instant(to)) => takes_span(*from, *to),
        (Exact::Interval { digits }, Exact::Interval { digits: kept }) => digits <= kept,
        (Exact::Json(from), Exact::Json(to)) => {
            matches!((from, to), (JsonForm::Binary | JsonForm::Double, JsonForm::Kept))
        }
        (Exact::Array(from), Exact::Array(to)) => takes(from, to),
        (Exact::Bits { min, max }, Exact::Bits { min: least, max: most }) => {
            min >= least && takes_up_to(max.map(u64::from), most.map(u64::from))
        }
        (_, _) => false,
    }
}

const fn within(min: i64, max: u64, bound: u64) -> bool {
    min.unsigned_abs() <= bound && max <= bound
}

/// Whether there is no bound, or one that the other doesn't go beyond.
fn takes_up_to(max: Option<u64>, most: Option<u64>) -> bool {
    most.is_none_or(|most| max.is_some_and(|max| max <= most))
}

/// Whether numbers of so many digits, so many of them after the point, fit these bounds.
fn takes_digits((digits, after): (u32, i32), precision: Option<u32>, scale: Option<i32>) -> bool {
    let before = i64::from(digits) - i64::from(after);
    match (precision, scale) {
        (None, None) => true,
        (None, Some(scale)) => scale >= after,
        (Some(precision), Some(scale)) => scale >= after && i64::from(precision) - i64::from(scale) >= before,
        // Digits on both sides of the point count, zeros at the end too.
        (Some(precision), None) => i64::from(precision) >= before.max(0) + i64::from(after.max(0)),
    }
}

fn takes_span(from: Span, to: Span) -> bool {
    from.digits <= to.digits && from.min >= to.min && from.max <= to.max
}

/// Whether a text of so many ASCII characters fits.
fn holds_ascii(text: &TextType, length: u64) -> bool {
    !text.padded
        && text.max_chars.is_none_or(|max| u64::from(max) >= length)
        && text.max_bytes.is_none_or(|max| max >= length)
}

fn takes_text(from: &TextType, to: &TextType) -> bool {
    let rank = |charset| match charset {
        Charset::Ascii => 0,
        Charset::Latin1 => 1,
        Charset::Utf8ToFFFF => 2,
        Charset::Utf8 => 3,
    };
    // Every text that fits one fits the next; how many bytes a character takes at most in it.
    let widest: u64 = match (from.charset, to.charset) {
        (Charset::Ascii, _) | (_, Charset::Ascii | Charset::Latin1) => 1,
        (Charset::Latin1 | Charset::Utf8ToFFFF, _) => 3,
        (Charset::Utf8, _) => 4,
    };
    // In Latin 1 a byte is a character, which takes up to three elsewhere.
    let grown = if from.charset == Charset::Latin1 { widest } else { 1 };
    let bytes = [
        from.max_bytes.map(|max| max.saturating_mul(grown)),
        from.max_chars.map(|max| u64::from(max) * widest),
    ];
    let chars = [from.max_chars.map(u64::from), from.max_bytes];
    let least = |bounds: [Option<u64>; 2]| bounds.into_iter().flatten().min();
    rank(from.charset) <= rank(to.charset)
        && (!from.nul || to.nul)
        && (from.padded || !to.padded)
        && takes_up_to(least(chars), to.max_chars.map(u64::from))
        && takes_up_to(least(bytes), to.max_bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use changeover::value::Date;
    use proptest::prelude::*;

    use super::*;
    use crate::fit::Allowed;
    use crate::fit::round_trip::{domains, values};

    const ANY: TextType =
        TextType { max_chars: None, max_bytes: None, nul: false, padded: false, charset: Charset::Utf8 };

    fn in_engine(engine: &'static str, of: Exact) -> Domain {
        Domain::Exact(Arc::new(ExactType { engine, of }))
    }

    fn all(from: Exact, to: Exact) -> bool {
        takes_all(&in_engine("postgres", from), &in_engine("postgres", to))
    }

    fn decimal(precision: u32, scale: i32) -> Exact {
        Exact::Decimal { precision: Some(precision), scale: Some(scale) }
    }

    fn varchar(max: u32) -> Exact {
        Exact::Text(TextType { max_chars: Some(max), ..ANY })
    }

    const BIGINT: Exact = Exact::Int { min: i64::MIN, max: i64::MAX as u64 };
    const UNSIGNED: Exact = Exact::Int { min: 0, max: u64::MAX };
    const SMALLINT: Exact = Exact::Int { min: -32_768, max: 32_767 };

    #[test]
    fn a_wider_type_takes_all_and_a_narrower_one_does_not() {
        let numeric = || Exact::Decimal { precision: None, scale: None };
        let stamp = |digits| Exact::Timestamp(Span { digits, min: -9, max: 9 });
        let bytes = |max, padded| Exact::Bytes { max, padded };
        let real = |non_finite| Exact::Real { non_finite };
        let text = |change: fn(&mut TextType)| {
            let mut of = ANY;
            change(&mut of);
            Exact::Text(of)
        };
        let mood = |labels: &[&str]| Exact::Enum(labels.iter().map(|label| Box::from(*label)).collect());
        for (narrow, wide) in [
            (SMALLINT, BIGINT),
            (Exact::Bool, SMALLINT),
            (BIGINT, decimal(19, 0)),
            (BIGINT, numeric()),
            (SMALLINT, Exact::Single { non_finite: false }),
            (decimal(10, 2), decimal(12, 2)),
            (decimal(10, 2), decimal(12, 4)),
            (decimal(10, 2), numeric()),
            (varchar(10), varchar(20)),
            (varchar(10), text(|t| t.max_bytes = Some(40))),
            (text(|t| (t.max_bytes, t.charset) = (Some(10), Charset::Latin1)), varchar(10)),
            (
                text(|t| (t.max_bytes, t.charset) = (Some(10), Charset::Latin1)),
                text(|t| t.max_bytes = Some(30)),
            ),
            (text(|t| t.charset = Charset::Latin1), text(|t| t.charset = Charset::Utf8ToFFFF)),
            (text(|t| t.padded = true), text(|_| {})),
            (stamp(3), stamp(6)),
            (real(false), real(true)),
            (Exact::Single { non_finite: false }, real(false)),
            (mood(&["a"]), mood(&["b", "a"])),
            (mood(&["abc"]), varchar(3)),
            (bytes(Some(3), true), bytes(Some(4), false)),
            (Exact::Uuid, bytes(Some(16), true)),
            (Exact::Uuid, varchar(36)),
            (Exact::Json(JsonForm::Binary), Exact::Json(JsonForm::Kept)),
            (Exact::Bits { min: 0, max: Some(4) }, Exact::Bits { min: 0, max: None }),
            (Exact::Interval { digits: 3 }, Exact::Interval { digits: 6 }),
            (Exact::Array(Arc::new(SMALLINT)), Exact::Array(Arc::new(BIGINT))),
        ] {
            assert!(all(narrow.clone(), wide.clone()), "{wide:?} takes all of {narrow:?}");
            assert!(!all(wide.clone(), narrow.clone()), "{narrow:?} takes all of {wide:?}");
            assert!(all(narrow.clone(), narrow) && all(wide.clone(), wide));
        }
        for (from, to) in [
            (UNSIGNED, BIGINT),
            (BIGINT, UNSIGNED),
            (BIGINT, decimal(18, 0)),
            (BIGINT, decimal(20, 2)),
            (BIGINT, real(false)),
            (decimal(10, 2), decimal(10, 3)),
            (varchar(10), text(|t| t.max_bytes = Some(39))),
            (
                text(|t| (t.max_bytes, t.charset) = (Some(10), Charset::Latin1)),
                text(|t| t.max_bytes = Some(29)),
            ),
            (text(|_| {}), text(|t| t.padded = true)),
            (text(|t| t.nul = true), text(|_| {})),
            (mood(&["abcd"]), varchar(3)),
            (bytes(Some(3), false), bytes(Some(4), true)),
            (Exact::Uuid, bytes(Some(20), true)),
            (Exact::Json(JsonForm::Binary), Exact::Json(JsonForm::Double)),
            (Exact::Json(JsonForm::Double), Exact::Json(JsonForm::Binary)),
            (varchar(10), SMALLINT),
        ] {
            assert!(!all(from.clone(), to.clone()), "{to:?} takes all of {from:?}");
        }
    }

    #[test]
    fn another_kind_of_database_does_not_take_what_passes_unread() {
        let date = || Exact::Date { min: Date(0), max: Date(9) };
        assert!(takes_all(&in_engine("postgres", date()), &in_engine("postgres", date())));
        assert!(!takes_all(&in_engine("postgres", date()), &in_engine("mysql", date())));
        assert!(takes_all(&in_engine("postgres", SMALLINT), &in_engine("mysql", SMALLINT)));
    }

    #[test]
    fn sqlite_takes_what_it_has_a_kind_for() {
        let exact = |of| in_engine("postgres", of);
        for (from, to, takes) in [
            (exact(SMALLINT), Domain::Integer, true),
            (exact(UNSIGNED), Domain::Integer, false),
            (exact(UNSIGNED), Domain::Text, true),
            (exact(BIGINT), Domain::Real, false),
            (exact(SMALLINT), Domain::Real, true),
            (exact(Exact::Real { non_finite: true }), Domain::Real, false),
            (exact(Exact::Text(ANY)), Domain::Text, true),
            (exact(Exact::Text(ANY)), Domain::Loose, false),
            (exact(decimal(10, 2)), Domain::Number, false),
            (exact(Exact::Uuid), Domain::Bytes, true),
            (Domain::Integer, exact(BIGINT), true),
            (Domain::Integer, exact(SMALLINT), false),
            (Domain::Integer, exact(decimal(21, 2)), true),
            (Domain::Real, exact(Exact::Real { non_finite: true }), true),
            (Domain::Real, exact(Exact::Real { non_finite: false }), false),
            (Domain::Text, exact(Exact::Text(ANY)), false),
            (Domain::Bytes, exact(Exact::Bytes { max: None, padded: false }), true),
            (Domain::Integer, Domain::Text, true),
            (Domain::Text, Domain::Integer, false),
        ] {
            assert_eq!(takes_all(&from, &to), takes, "{from:?} to {to:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn what_is_said_to_take_all_refuses_nothing(value in values(), from in domains(), to in domains()) {
            // Among SQLite's own columns a text may also look like a number.
            let exact = |domain: &Domain| matches!(domain, Domain::Exact(_));
            let asked = if cfg!(feature = "sqlite") { exact(&from) || exact(&to) } else { exact(&from) && exact(&to) };
            if !asked || !takes_all(&from, &to) {
                return Ok(());
            }
            let none = Allowed::default();
            let Ok(value) = fit::fit(value, &from, &none) else { return Ok(()) };
            if fit::holds(&from, &value) {
                let there = fit::fit(value.clone(), &to, &none);
                prop_assert!(there.is_ok(), "{:?} in {:?} isn't taken by {:?}: {:?}", value, from, to, there);
            }
        }
    }
}
