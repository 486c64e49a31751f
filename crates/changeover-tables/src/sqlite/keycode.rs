//! A key's values as bytes, for the chunk marks: each with its type and length, so that nothing runs together.

use changeover::Value;
use changeover::value::Opaque;

use super::value::BAD_TEXT;

/// The values as bytes.
pub(super) fn encode(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        match value {
            Value::Int(n) => put(&mut out, b'i', &n.to_be_bytes()),
            Value::Real(x) => put(&mut out, b'r', &x.to_bits().to_be_bytes()),
            Value::Text(text) => put(&mut out, b't', text.as_bytes()),
            Value::Bytes(bytes) => put(&mut out, b'b', bytes),
            Value::Opaque(opaque) => put(&mut out, b'o', &opaque.bytes),
            _ => put(&mut out, b'n', &[]),
        }
    }
    out
}

fn put(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The values again; `None` if these bytes were never made by [`encode`].
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    while let Some((&kind, rest)) = bytes.split_first() {
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
        let (content, rest) = rest.split_at_checked(length)?;
        values.push(match kind {
            b'n' => Value::Null,
            b'i' => Value::Int(i64::from_be_bytes(content.try_into().ok()?)),
            b'r' => Value::Real(f64::from_bits(u64::from_be_bytes(content.try_into().ok()?))),
            b't' => Value::Text(String::from_utf8(content.to_vec()).ok()?),
            b'b' => Value::Bytes(content.to_vec()),
            b'o' => Value::Opaque(Box::new(Opaque { kind: BAD_TEXT, bytes: content.to_vec() })),
            _ => return None,
        });
        bytes = rest;
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_comes_back() {
        let values = vec![
            Value::Null,
            Value::Int(-5),
            Value::Real(f64::NAN),
            "t\0i".into(),
            vec![0_u8, 255].into(),
            Value::Opaque(Box::new(Opaque { kind: BAD_TEXT, bytes: vec![0xff] })),
        ];
        assert_eq!(decode(&encode(&values)), Some(values));
        assert_eq!(decode(b"i\0\0"), None);
        assert_eq!(decode(b"?\0\0\0\0\0\0\0\0"), None);
    }
}
