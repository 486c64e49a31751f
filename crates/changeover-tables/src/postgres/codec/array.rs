//! Arrays: dimensions, each with its first index, and the elements in the element type's own form.
//!
//! An array says again of which type its elements are, by the server's own number of that type. It is never carried over: what
//! is written has the number that the type has where it goes.

use bytes::{Buf as _, BufMut as _, BytesMut};
use changeover::Value;
use changeover::value::Array;
use tokio_postgres::types::IsNull;

use super::{Element, Why, decode, encode};

/// PostgreSQL has no arrays of more dimensions.
const DIMENSIONS_MAX: usize = 6;

pub(super) fn read(element: &Element, mut raw: &[u8]) -> Result<Value, Why> {
    let raw = &mut raw;
    let count = take(raw)?;
    let count = usize::try_from(count).ok().filter(|count| *count <= DIMENSIONS_MAX);
    let count = count.ok_or("it has more dimensions than there are")?;
    let _nulls = take(raw)?;
    let oid = take(raw)?.cast_unsigned();
    if oid != element.oid {
        let name = element.codec.name();
        return Err(format!("its elements are of the type {oid}, and not of {name} ({})", element.oid).into());
    }
    let mut dimensions = Vec::with_capacity(count);
    let mut length = usize::from(count > 0);
    for _ in 0..count {
        let size = u32::try_from(take(raw)?).map_err(|_| "a dimension's length is negative")?;
        dimensions.push((size, take(raw)?));
        length =
            usize::try_from(size).ok().and_then(|size| length.checked_mul(size)).ok_or("it is too long")?;
    }
    // Each element takes at least the four bytes of its length: memory only for what can be there.
    if length > raw.len() / 4 {
        return Err(CUT_OFF.into());
    }
    let mut elements = Vec::with_capacity(length);
    for _ in 0..length {
        let field = field(raw)?;
        elements.push(decode(&element.codec, field).map_err(|e| e.why)?);
    }
    if !raw.is_empty() {
        return Err("there is more after its last element".into());
    }
    Ok(Value::Array(Box::new(Array { dimensions, elements })))
}

const CUT_OFF: &str = "it is cut off";

fn take(raw: &mut &[u8]) -> Result<i32, Why> {
    raw.try_get_i32().map_err(|_| CUT_OFF.into())
}

/// An element's bytes, after their length; `None`: NULL.
fn field<'r>(raw: &mut &'r [u8]) -> Result<Option<&'r [u8]>, Why> {
    let length = match take(raw)? {
        -1 => return Ok(None),
        length => usize::try_from(length).map_err(|_| "an element's length is negative")?,
    };
    let (field, rest) = raw.split_at_checked(length).ok_or(CUT_OFF)?;
    *raw = rest;
    Ok(Some(field))
}

pub(super) fn write(element: &Element, array: &Array, out: &mut BytesMut) -> Result<(), Why> {
    let nulls = array.elements.iter().any(Value::is_null);
    let dimensions = if array.elements.is_empty() { &[][..] } else { &array.dimensions };
    let counted = dimensions.iter().try_fold(usize::from(!dimensions.is_empty()), |all, (length, _)| {
        usize::try_from(*length).ok().and_then(|length| all.checked_mul(length))
    });
    if counted != Some(array.elements.len()) {
        return Err("its dimensions don't match the number of its elements".into());
    }
    if dimensions.len() > DIMENSIONS_MAX {
        return Err(format!("it has more than {DIMENSIONS_MAX} dimensions").into());
    }
    out.put_i32(i32::try_from(dimensions.len()).unwrap_or_default());
    out.put_i32(i32::from(nulls));
    out.put_u32(element.oid);
    for (length, first) in dimensions {
        out.put_i32(i32::try_from(*length).map_err(|_| "it is too long")?);
        out.put_i32(*first);
    }
    for value in &array.elements {
        let field = begin(out);
        let null = encode(&element.codec, value, out).map_err(|e| format!("{}: {}", e.what, e.why))?;
        end(field, &null, out)?;
    }
    Ok(())
}

/// Begins a field, which has its length before its bytes: where that is to be put.
pub(super) fn begin(out: &mut BytesMut) -> usize {
    out.put_i32(-1);
    out.len()
}

/// Ends the field that began there, with its length; NULL has no bytes and the length -1.
pub(super) fn end(field: usize, null: &IsNull, out: &mut BytesMut) -> Result<(), Why> {
    if let IsNull::No = null {
        let length =
            i32::try_from(out.len() - field).map_err(|_| "it has more bytes than PostgreSQL takes")?;
        out[field - 4..field].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
