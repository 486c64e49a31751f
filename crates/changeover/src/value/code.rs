//! Values as bytes, for what outlives a process: chunk marks, journals. Each has its kind and its length, so that nothing runs
//! together.

use super::{Array, Bits, Date, Decimal, Instant, Interval, Opaque, Time, Timestamp, Value};

/// How deep arrays may lie within arrays: no database has any within another.
const DEPTH_MAX: usize = 4;

/// The values as bytes.
#[must_use]
pub fn encode(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        one(value, &mut out);
    }
    out
}

fn one(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => put(out, b'n', &[]),
        Value::Bool(b) => put(out, b'B', &[u8::from(*b)]),
        Value::Int(n) => put(out, b'i', &n.to_be_bytes()),
        Value::Uint(n) => put(out, b'u', &n.to_be_bytes()),
        Value::Decimal(d) => put(out, b'd', d.as_str().as_bytes()),
        Value::Single(x) => put(out, b's', &x.to_bits().to_be_bytes()),
        Value::Real(x) => put(out, b'r', &x.to_bits().to_be_bytes()),
        Value::Text(text) => put(out, b't', text.as_bytes()),
        Value::Bytes(bytes) => put(out, b'b', bytes),
        Value::Date(d) => put(out, b'D', &d.0.to_be_bytes()),
        Value::Time(t) => put(out, b'C', &t.0.to_be_bytes()),
        Value::Timestamp(t) => put(out, b'L', &t.0.to_be_bytes()),
        Value::Instant(t) => put(out, b'I', &t.0.to_be_bytes()),
        Value::Interval(i) => {
            let mut content = i.months.to_be_bytes().to_vec();
            content.extend(i.days.to_be_bytes());
            content.extend(i.micros.to_be_bytes());
            put(out, b'v', &content);
        }
        Value::Uuid(u) => put(out, b'U', u),
        Value::Json(text) => put(out, b'j', text.as_bytes()),
        Value::Array(array) => {
            let mut content =
                u64::try_from(array.dimensions.len()).unwrap_or_default().to_be_bytes().to_vec();
            for (length, first) in &array.dimensions {
                content.extend(length.to_be_bytes());
                content.extend(first.to_be_bytes());
            }
            content.extend(encode(&array.elements));
            put(out, b'a', &content);
        }
        Value::Set(labels) => {
            let labels: Vec<Value> = labels.iter().map(|label| Value::Text(label.to_string())).collect();
            put(out, b'S', &encode(&labels));
        }
        Value::Bits(bits) => {
            let mut content = bits.len().to_be_bytes().to_vec();
            content.extend(bits.bytes());
            put(out, b'x', &content);
        }
        Value::Opaque(opaque) => {
            put(out, b'k', opaque.kind.as_bytes());
            put(out, b'o', &opaque.bytes);
        }
    }
}

fn put(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The values again; `None` if these bytes were never made by [`encode`].
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Vec<Value>> {
    decode_within(bytes, DEPTH_MAX)
}

fn decode_within(mut bytes: &[u8], depth: usize) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        let (kind, content) = piece(&mut bytes)?;
        values.push(if kind == b'k' {
            let name = String::from_utf8(content.to_vec()).ok()?;
            let (b'o', content) = piece(&mut bytes)? else { return None };
            Value::Opaque(Box::new(Opaque { kind: name.into(), bytes: content.to_vec() }))
        } else {
            value(kind, content, depth)?
        });
    }
    Some(values)
}

fn piece<'b>(bytes: &mut &'b [u8]) -> Option<(u8, &'b [u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
    let (content, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some((kind, content))
}

fn value(kind: u8, content: &[u8], depth: usize) -> Option<Value> {
    let text = || String::from_utf8(content.to_vec()).ok();
    let long = || content.try_into().ok().map(i64::from_be_bytes);
    Some(match kind {
        b'n' if content.is_empty() => Value::Null,
        b'B' => Value::Bool(*content.first()? != 0),
        b'i' => Value::Int(long()?),
        b'u' => Value::unsigned(u64::from_be_bytes(content.try_into().ok()?)),
        b'd' => Value::Decimal(Decimal::parse(&text()?)?),
        b's' => Value::Single(f32::from_bits(u32::from_be_bytes(content.try_into().ok()?))),
        b'r' => Value::Real(f64::from_bits(u64::from_be_bytes(content.try_into().ok()?))),
        b't' => Value::Text(text()?),
        b'b' => Value::Bytes(content.to_vec()),
        b'D' => Value::Date(Date(i32::from_be_bytes(content.try_into().ok()?))),
        b'C' => Value::Time(Time(long()?)),
        b'L' => Value::Timestamp(Timestamp(long()?)),
        b'I' => Value::Instant(Instant(long()?)),
        b'v' => {
            let (months, rest) = content.split_first_chunk::<4>()?;
            let (days, micros) = rest.split_first_chunk::<4>()?;
            Value::Interval(Interval {
                months: i32::from_be_bytes(*months),
                days: i32::from_be_bytes(*days),
                micros: i64::from_be_bytes(micros.try_into().ok()?),
            })
        }
        b'U' => Value::Uuid(content.try_into().ok()?),
        b'j' => Value::Json(text()?.into()),
        b'a' => Value::Array(Box::new(array(content, depth.checked_sub(1)?)?)),
        b'S' => {
            let labels = decode_within(content, depth.checked_sub(1)?)?;
            let labels = labels.into_iter().map(|label| match label {
                Value::Text(label) => Some(label.into_boxed_str()),
                _ => None,
            });
            Value::Set(labels.collect::<Option<_>>()?)
        }
        b'x' => {
            let (length, bytes) = content.split_first_chunk::<4>()?;
            Value::Bits(Box::new(Bits::new(u32::from_be_bytes(*length), bytes)?))
        }
        _ => return None,
    })
}

fn array(content: &[u8], depth: usize) -> Option<Array> {
    let (count, mut rest) = content.split_first_chunk::<8>()?;
    let mut dimensions = Vec::new();
    for _ in 0..u64::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (first, after) = after.split_first_chunk::<4>()?;
        dimensions.push((u32::from_be_bytes(*length), i32::from_be_bytes(*first)));
        rest = after;
    }
    Some(Array { dimensions, elements: decode_within(rest, depth)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_comes_back() {
        let array = Array { dimensions: vec![(1, 0), (2, 1)], elements: vec![Value::Null, "x".into()] };
        let values = vec![
            Value::Null,
            Value::Bool(true),
            Value::Int(-5),
            Value::unsigned(u64::MAX),
            Value::Decimal(Decimal::parse("-1.50").unwrap()),
            Value::Single(f32::MIN_POSITIVE),
            Value::Real(f64::NAN),
            "t\0i".into(),
            vec![0_u8, 255].into(),
            Value::Date(Date(-1)),
            Value::Time(Time(1)),
            Value::Timestamp(Timestamp(i64::MIN)),
            Value::Instant(Instant(i64::MAX)),
            Value::Interval(Interval { months: 1, days: -2, micros: 3 }),
            Value::Uuid([7; 16]),
            Value::Json("{}".into()),
            Value::Array(Box::new(array)),
            Value::Set(["a".into(), "".into()].into()),
            Value::Bits(Box::new(Bits::parse("101").unwrap())),
            Value::opaque("postgres: inet", vec![0xff]),
        ];
        assert_eq!(decode(&encode(&values)), Some(values));
    }

    #[test]
    fn what_was_never_encoded_is_none() {
        for bytes in [&b"i\0\0"[..], b"?\0\0\0\0\0\0\0\0", b"k\0\0\0\0\0\0\0\0", b"o\0\0\0\0\0\0\0\0"] {
            assert_eq!(decode(bytes), None);
        }
    }
}
