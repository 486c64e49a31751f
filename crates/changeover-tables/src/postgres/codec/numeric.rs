//! `numeric`: digits in groups of four, the place of the first group, a sign, and how many digits are shown after the point.
//!
//! The last is a part of the value: `1.5` and `1.50` differ, here as in the middle form.

use bytes::{BufMut as _, BytesMut};
use changeover::Value;
use changeover::value::Decimal;

use super::scalar::sized;
use super::{OTHER_KIND, Why};

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITE: u16 = 0xd000;
const MINUS_INFINITE: u16 = 0xf000;

const NAN_KIND: &str = "postgres: NaN decimal";
const INFINITE_KIND: &str = "postgres: infinite decimal";

/// Digits in a group, and the number that a group stays below.
const GROUP: usize = 4;
const BASE: u16 = 10_000;

/// How many bytes come before the groups.
const HEADER: usize = 8;

pub(super) fn read(raw: &[u8]) -> Result<Value, Why> {
    let (header, groups) = raw.split_first_chunk::<HEADER>().ok_or("it is cut off")?;
    let [a, b, c, d, e, f, g, h] = *header;
    let count = usize::from(u16::from_be_bytes([a, b]));
    let weight = i64::from(i16::from_be_bytes([c, d]));
    let scale = u16::from_be_bytes([g, h]);
    let negative = match u16::from_be_bytes([e, f]) {
        0 => false,
        NEGATIVE => true,
        NAN => return Ok(Value::opaque(NAN_KIND, b"NaN".to_vec())),
        INFINITE => return Ok(Value::opaque(INFINITE_KIND, b"Infinity".to_vec())),
        MINUS_INFINITE => return Ok(Value::opaque(INFINITE_KIND, b"-Infinity".to_vec())),
        sign => return Err(format!("its sign is the unknown {sign:#x}").into()),
    };
    if groups.len() != count * 2 {
        return Err("its length doesn't match its digits".into());
    }
    let sent = (i64::try_from(count).unwrap_or(i64::MAX) - 1 - weight) * 4;
    let unsent = usize::try_from(i64::from(scale) - sent).unwrap_or_default();
    // Of most numbers all digits fit here.
    let mut few = [b'0'; 64];
    let mut many = Vec::new();
    let needed = count * GROUP + unsent;
    let digits = if needed <= few.len() {
        &mut few[..needed]
    } else {
        many.resize(needed, b'0');
        &mut many[..]
    };
    unpack(groups, digits)?;
    let digits = cut(digits, usize::try_from(sent - i64::from(scale)).unwrap_or_default())?;
    Decimal::from_digits(negative, digits, scale.into())
        .map(Value::Decimal)
        .ok_or_else(|| "it is larger than a numeric may be".into())
}

/// The groups as digits.
fn unpack(groups: &[u8], digits: &mut [u8]) -> Result<(), Why> {
    for (group, place) in groups.chunks_exact(2).zip(digits.chunks_exact_mut(GROUP)) {
        let group = u16::from_be_bytes(sized(group)?);
        if group >= BASE {
            return Err("one of its digits is no digit".into());
        }
        let mut rest = group;
        for digit in place.iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
    }
    Ok(())
}

/// The digits without so many at the end, which have to be zeros.
fn cut(digits: &[u8], beyond: usize) -> Result<&str, Why> {
    let (kept, beyond) = digits.split_at(digits.len().saturating_sub(beyond));
    if beyond.iter().any(|digit| *digit != b'0') {
        return Err("it has digits beyond those that it says it has".into());
    }
    std::str::from_utf8(kept).map_err(|_| "one of its digits is no digit".into())
}

pub(super) fn write(value: &Value, out: &mut BytesMut) -> Result<(), Why> {
    match value {
        Value::Decimal(d) => write_decimal(d, out),
        Value::Int(n) => write_decimal(&Decimal::from(*n), out),
        Value::Uint(n) => write_decimal(&Decimal::from(*n), out),
        Value::Opaque(opaque) => {
            let sign = match (&*opaque.kind, opaque.bytes.as_slice()) {
                (NAN_KIND, b"NaN") => NAN,
                (INFINITE_KIND, b"Infinity") => INFINITE,
                (INFINITE_KIND, b"-Infinity") => MINUS_INFINITE,
                _ => return Err(OTHER_KIND.into()),
            };
            put_header(0, 0, sign, 0, out);
            Ok(())
        }
        _ => Err(OTHER_KIND.into()),
    }
}

fn write_decimal(decimal: &Decimal, out: &mut BytesMut) -> Result<(), Why> {
    let too_large = |_| Why::from("it is larger than a numeric may be");
    let text = decimal.as_str();
    let (sign, text) = text.strip_prefix('-').map_or((0, text), |rest| (NEGATIVE, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let scale = u16::try_from(fraction.len()).map_err(|_| Why::from("it has too many digits"))?;
    let start = out.len();
    put_header(0, 0, sign, scale, out);
    // The first group of the whole digits is the short one, the last of those behind the point.
    let (first, rest) = whole.as_bytes().split_at(whole.len() % GROUP);
    let groups = std::iter::once(first)
        .filter(|first| !first.is_empty())
        .chain(rest.chunks(GROUP))
        .map(|group| number(group, group.len()))
        .chain(fraction.as_bytes().chunks(GROUP).map(|group| number(group, GROUP)));
    let mut weight = i32::try_from(whole.len().div_ceil(GROUP)).unwrap_or(i32::MAX) - 1;
    let (mut count, mut last) = (0_usize, 0);
    for group in groups {
        if count == 0 && group == 0 {
            weight -= 1;
            continue;
        }
        out.put_u16(group);
        count += 1;
        if group != 0 {
            last = count;
        }
    }
    out.truncate(start + HEADER + last * 2);
    let weight = if last == 0 { 0 } else { i16::try_from(weight).map_err(too_large)? };
    let count = u16::try_from(last).map_err(too_large)?;
    out[start..start + 2].copy_from_slice(&count.to_be_bytes());
    out[start + 2..start + 4].copy_from_slice(&weight.to_be_bytes());
    Ok(())
}

/// The number that these digits are, followed by zeros up to so many digits.
fn number(digits: &[u8], width: usize) -> u16 {
    let zeros = std::iter::repeat_n(&b'0', width - digits.len());
    digits.iter().chain(zeros).fold(0, |number, digit| number * 10 + u16::from(digit - b'0'))
}

fn put_header(count: u16, weight: i16, sign: u16, scale: u16, out: &mut BytesMut) {
    out.put_u16(count);
    out.put_i16(weight);
    out.put_u16(sign);
    out.put_u16(scale);
}
