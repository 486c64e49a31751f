//! Numbers, booleans and bits: one becomes another only where it stays the same number.

use std::borrow::Cow;

use changeover::Value;
use changeover::value::{Bits, Decimal};

use super::exact::{Made, To, new, same};
use super::why::Why;
use crate::types::Exact;

pub(super) fn to_bool<'v>(value: &'v Value, of: &Exact) -> Made<'v> {
    match value {
        Value::Bool(_) => same(value),
        Value::Int(0) => new(Value::Bool(false)),
        Value::Int(1) => new(Value::Bool(true)),
        Value::Int(_) | Value::Uint(_) => {
            Err(Why::new("an integer other than 0 and 1 in a column for booleans"))
        }
        Value::Bits(bits) if bits.len() == 1 => new(Value::Bool(bits.iter().all(|bit| bit))),
        Value::Text(text) => match text.as_str() {
            "true" => new(Value::Bool(true)),
            "false" => new(Value::Bool(false)),
            _ => Err(Why::new("text other than `true` and `false` in a column for booleans")),
        },
        _ => Err(Why::kind(value, of)),
    }
}

pub(super) fn to_int<'v>(value: &'v Value, to: To<'_>, min: i64, max: u64) -> Made<'v> {
    let number: i128 = match value {
        Value::Int(n) => (*n).into(),
        Value::Uint(n) => (*n).into(),
        Value::Bool(b) => (*b).into(),
        Value::Single(x) => whole((*x).into()).ok_or_else(|| no_integer(value))?,
        Value::Real(x) => whole(*x).ok_or_else(|| no_integer(value))?,
        Value::Bits(bits) => bits.to_number().ok_or_else(|| beyond(min, max))?.into(),
        Value::Decimal(d) => integer(d, to.allowed.tolerance, min, max)?,
        Value::Text(text) => {
            let d = Decimal::parse(text).ok_or_else(|| Why::unreadable(to.of))?;
            integer(&d, to.allowed.tolerance, min, max)?
        }
        _ => return Err(Why::kind(value, to.of)),
    };
    let year_zero = number == 0 && *to.of == Exact::YEAR;
    if (number < min.into() || number > max.into()) && !year_zero {
        return Err(beyond(min, max));
    }
    match (value, i64::try_from(number), u64::try_from(number)) {
        (Value::Int(_) | Value::Uint(_), _, _) => same(value),
        (_, Ok(n), _) => new(Value::Int(n)),
        (_, _, Ok(n)) => new(Value::Uint(n)),
        _ => Err(beyond(min, max)),
    }
}

fn beyond(min: i64, max: u64) -> Why {
    Why::new(format!("an integer below {min} or above {max}"))
}

fn no_integer(value: &Value) -> Why {
    match value {
        Value::Single(-0.0) | Value::Real(-0.0) => negative_zero(),
        Value::Single(x) if !x.is_finite() => not_finite(),
        Value::Real(x) if !x.is_finite() => not_finite(),
        _ => Why::new("a number that is no integer, or too large for one, in a column for integers"),
    }
}

fn negative_zero() -> Why {
    Why::new("-0.0, whose sign the column doesn't keep")
}

fn not_finite() -> Why {
    Why::new("a NaN or an infinity, which the column doesn't hold")
}

/// The integer that a float is, if it is one and not absurdly large.
#[allow(clippy::cast_possible_truncation, reason = "it is whole, and within the bounds")]
pub(super) fn whole(x: f64) -> Option<i128> {
    let fits = x.fract() == 0.0 && x.abs() < 1e30 && !(x == 0.0 && x.is_sign_negative());
    fits.then_some(x as i128)
}

fn integer(d: &Decimal, tolerance: Option<f64>, min: i64, max: u64) -> Result<i128, Why> {
    let exact = d.with_scale(0).or_else(|| rounded(d, 0, tolerance?));
    let whole = exact.ok_or_else(|| Why::inexact("a fraction in a column for integers"))?;
    whole.to_integer().ok_or_else(|| beyond(min, max))
}

pub(super) fn to_decimal<'v>(
    value: &'v Value,
    to: To<'_>,
    precision: Option<u32>,
    scale: Option<i32>,
) -> Made<'v> {
    let number = match value {
        Value::Decimal(d) => Cow::Borrowed(d),
        Value::Int(n) => Cow::Owned(Decimal::from(*n)),
        Value::Uint(n) => Cow::Owned(Decimal::from(*n)),
        Value::Single(x) if !x.is_finite() => return Err(not_finite()),
        Value::Real(x) if !x.is_finite() => return Err(not_finite()),
        Value::Single(-0.0) | Value::Real(-0.0) => return Err(negative_zero()),
        Value::Single(x) => Cow::Owned(shortest(&format!("{x:?}")).ok_or_else(|| Why::unreadable(to.of))?),
        Value::Real(x) => Cow::Owned(shortest(&format!("{x:?}")).ok_or_else(|| Why::unreadable(to.of))?),
        Value::Text(text) => Cow::Owned(Decimal::parse(text).ok_or_else(|| Why::unreadable(to.of))?),
        _ => return Err(Why::kind(value, to.of)),
    };
    let scaled = match scale {
        Some(scale) if usize::try_from(scale).ok() != Some(number.scale()) => {
            let made = scaled(&number, scale).or_else(|| rounded(&number, scale, to.allowed.tolerance?));
            Cow::Owned(made.ok_or_else(|| finer(scale))?)
        }
        _ => number,
    };
    if let Some(precision) = precision
        && digits(&scaled, scale) > precision as usize
    {
        return Err(Why::new(match scale {
            Some(scale) if scale > 0 => {
                format!("a number with more than {precision} digits, {scale} of them after the point")
            }
            _ => format!("a number with more than {precision} digits"),
        }));
    }
    match scaled {
        Cow::Borrowed(_) if matches!(value, Value::Decimal(_)) => same(value),
        scaled => new(Value::Decimal(scaled.into_owned())),
    }
}

fn finer(scale: i32) -> Why {
    Why::inexact(if scale < 0 {
        format!("a number whose last {} digits before the point aren't zeros", scale.unsigned_abs())
    } else {
        format!("a number with more than {scale} digits after the point")
    })
}

/// The decimal that is written with the fewest digits.
fn shortest(text: &str) -> Option<Decimal> {
    Decimal::parse(text).map(|d| d.shortest())
}

/// The same number with just so many digits after the point, or so many zeros before it.
fn scaled(d: &Decimal, scale: i32) -> Option<Decimal> {
    let Ok(after) = usize::try_from(scale) else {
        let zeros = usize::try_from(scale.unsigned_abs()).ok()?;
        let whole = d.with_scale(0)?;
        let digits = whole.as_str();
        let rest = digits.len() - digits.trim_end_matches('0').len();
        return (rest >= zeros || digits == "0").then_some(whole);
    };
    d.with_scale(after)
}

/// How many digits count for the precision: without zeros at the start, nor those that a scale below zero implies.
fn digits(d: &Decimal, scale: Option<i32>) -> usize {
    let mut count = 0_usize;
    for digit in d.as_str().bytes().filter(u8::is_ascii_digit) {
        if count > 0 || digit != b'0' {
            count += 1;
        }
    }
    let implied = scale.filter(|scale| *scale < 0).map_or(0, i32::unsigned_abs);
    count.saturating_sub(usize::try_from(implied).unwrap_or(usize::MAX))
}

/// The number rounded to this scale, half away from zero; `None` if it changes by more than the tolerance.
fn rounded(d: &Decimal, scale: i32, tolerance: f64) -> Option<Decimal> {
    let (negative, unsigned) = d.as_str().strip_prefix('-').map_or((false, d.as_str()), |rest| (true, rest));
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let mut all = format!("{whole}{fraction}");
    let cut = usize::try_from(i64::try_from(fraction.len()).ok()? - i64::from(scale)).ok()?;
    // So that there is a digit before the cut.
    if all.len() <= cut {
        all.insert_str(0, &"0".repeat(cut + 1 - all.len()));
    }
    let (kept, lost) = all.split_at(all.len() - cut);
    let up = lost.as_bytes().first().is_some_and(|digit| *digit >= b'5');
    let by = if up { complement(lost) } else { lost.to_owned() };
    let by = Decimal::from_digits(false, &by, i64::try_from(fraction.len()).ok()?)?;
    let by: f64 = by.as_str().parse().ok()?;
    if by > tolerance {
        return None;
    }
    let kept = if up { incremented(kept) } else { kept.to_owned() };
    Decimal::from_digits(negative, &kept, scale.into())
}

/// What these digits lack to a one and zeros.
fn complement(digits: &str) -> String {
    let nines: String = digits.bytes().map(|c| char::from(b'9' - (c - b'0'))).collect();
    incremented(&nines)
}

/// The number plus one.
fn incremented(digits: &str) -> String {
    let head = digits.trim_end_matches('9');
    let zeros = "0".repeat(digits.len() - head.len());
    match head.as_bytes().split_last() {
        Some((last, front)) => {
            format!("{}{}{zeros}", String::from_utf8_lossy(front), char::from(last + 1))
        }
        None => format!("1{zeros}"),
    }
}

pub(super) fn to_real<'v>(value: &'v Value, to: To<'_>, non_finite: bool) -> Made<'v> {
    let x = match value {
        Value::Real(x) => *x,
        Value::Single(x) => f64::from(*x),
        Value::Int(n) => real_of((*n).into(), to)?,
        Value::Uint(n) => real_of((*n).into(), to)?,
        Value::Decimal(d) => real(d.as_str(), d, to.allowed.tolerance)?,
        Value::Text(text) => match special(text) {
            Some(x) => x,
            None => {
                let d = Decimal::parse(text).ok_or_else(|| Why::unreadable(to.of))?;
                real(text, &d, to.allowed.tolerance)?
            }
        },
        _ => return Err(Why::kind(value, to.of)),
    };
    if !x.is_finite() && !non_finite {
        return Err(not_finite());
    }
    if matches!(value, Value::Real(_)) { same(value) } else { new(Value::Real(x)) }
}

pub(super) fn to_single<'v>(value: &'v Value, to: To<'_>, non_finite: bool) -> Made<'v> {
    let x = match value {
        Value::Single(x) => *x,
        Value::Real(x) => narrowed(*x, to)?,
        Value::Int(n) => single_of((*n).into(), to)?,
        Value::Uint(n) => single_of((*n).into(), to)?,
        Value::Decimal(d) => single(d.as_str(), d, to)?,
        #[allow(clippy::cast_possible_truncation, reason = "NaN and the infinities have their like")]
        Value::Text(text) => match special(text) {
            Some(x) => x as f32,
            None => single(text, &Decimal::parse(text).ok_or_else(|| Why::unreadable(to.of))?, to)?,
        },
        _ => return Err(Why::kind(value, to.of)),
    };
    if !x.is_finite() && !non_finite {
        return Err(not_finite());
    }
    if matches!(value, Value::Single(_)) { same(value) } else { new(Value::Single(x)) }
}

/// As floats are written that aren't numbers, here and in databases.
fn special(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "inf" | "Inf" | "Infinity" => Some(f64::INFINITY),
        "-inf" | "-Inf" | "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn imprecise() -> Why {
    Why::inexact("a number that no floating-point number of the column's size stands for exactly")
}

#[allow(clippy::cast_precision_loss, reason = "checked by going back")]
fn real_of(n: i128, to: To<'_>) -> Result<f64, Why> {
    let x = n as f64;
    let near = to.allowed.tolerance.is_some_and(|by| x.next_up() - x <= by);
    if whole(x) == Some(n) || near { Ok(x) } else { Err(imprecise()) }
}

#[allow(clippy::cast_precision_loss, reason = "checked by going back")]
fn single_of(n: i128, to: To<'_>) -> Result<f32, Why> {
    let x = n as f32;
    let near = to.allowed.tolerance.is_some_and(|by| f64::from(x.next_up() - x) <= by);
    if whole(x.into()) == Some(n) || near { Ok(x) } else { Err(imprecise()) }
}

#[allow(clippy::cast_possible_truncation, reason = "checked by going back")]
fn narrowed(x: f64, to: To<'_>) -> Result<f32, Why> {
    let narrow = x as f32;
    let back = f64::from(narrow);
    let exact = x.is_nan() || back.to_bits() == x.to_bits();
    let near = || narrow.is_finite() && to.allowed.tolerance.is_some_and(|by| (back - x).abs() <= by);
    if exact || near() { Ok(narrow) } else { Err(imprecise()) }
}

/// The float that stands for a decimal: its shortest text is the very number. (A float in the neighbourhood isn't it, though
/// every reader would make that of the text.)
pub(super) fn real(text: &str, d: &Decimal, tolerance: Option<f64>) -> Result<f64, Why> {
    let x: f64 = text.parse().map_err(|_| imprecise())?;
    let near = || tolerance.is_some_and(|by| x.abs().next_up() - x.abs() <= by);
    let exact =
        x.is_finite() && Decimal::parse(&format!("{x:?}")).is_some_and(|back| back.cmp_number(d).is_eq());
    if exact || (x.is_finite() && near()) { Ok(x) } else { Err(imprecise()) }
}

fn single(text: &str, d: &Decimal, to: To<'_>) -> Result<f32, Why> {
    let x: f32 = text.parse().map_err(|_| imprecise())?;
    let near = || to.allowed.tolerance.is_some_and(|by| f64::from(x.abs().next_up() - x.abs()) <= by);
    let exact =
        x.is_finite() && Decimal::parse(&format!("{x:?}")).is_some_and(|back| back.cmp_number(d).is_eq());
    if exact || (x.is_finite() && near()) { Ok(x) } else { Err(imprecise()) }
}

pub(super) fn to_bits<'v>(value: &'v Value, of: &Exact, min: u32, max: Option<u32>) -> Made<'v> {
    let made = match value {
        Value::Bits(bits) => return check_bits(bits, min, max).map(|()| Cow::Borrowed(value)),
        Value::Text(text) => Bits::parse(text).ok_or_else(|| Why::unreadable(of))?,
        Value::Bool(_) | Value::Int(_) | Value::Uint(_) => {
            let number = match value {
                Value::Bool(b) => (min == 1).then_some(u64::from(*b)),
                Value::Int(n) => u64::try_from(*n).ok(),
                Value::Uint(n) => Some(*n),
                _ => None,
            };
            // Only in a fixed width is a number one string of bits.
            if max != Some(min) || min > 64 {
                return Err(Why::kind(value, of));
            }
            let fits = number.filter(|n| min == 64 || n >> min == 0);
            fits.and_then(|n| Bits::of_number(min, n))
                .ok_or_else(|| Why::new(format!("a number that {min} bits don't hold")))?
        }
        _ => return Err(Why::kind(value, of)),
    };
    check_bits(&made, min, max)?;
    new(Value::Bits(Box::new(made)))
}

fn check_bits(bits: &Bits, min: u32, max: Option<u32>) -> Result<(), Why> {
    if bits.len() >= min && max.is_none_or(|max| bits.len() <= max) {
        return Ok(());
    }
    Err(Why::new(match max {
        Some(max) if max == min => format!("other than {min} bits"),
        Some(max) => format!("fewer than {min} bits or more than {max}"),
        None => format!("fewer than {min} bits"),
    }))
}
