//! Arrays: of another type's elements, out of JSON, and as JSON.

use std::borrow::Cow;

use changeover::Value;
use changeover::value::{Array, Decimal};

use super::exact::{Made, To, made, new, same};
use super::json::{self, Node};
use super::why::Why;
use crate::types::Exact;

pub(super) fn to_array<'v>(value: &'v Value, to: To<'_>, of: &Exact) -> Made<'v> {
    let element = To { of, ..to };
    match value {
        Value::Array(array) => match elements(&array.elements, element)? {
            None => same(value),
            Some(elements) => {
                let dimensions = array.dimensions.clone();
                new(Value::Array(Box::new(Array { dimensions, elements })))
            }
        },
        Value::Set(labels) => {
            let texts: Vec<Value> = labels.iter().map(|label| Value::from(&**label)).collect();
            let made = elements(&texts, element)?.unwrap_or(texts);
            new(Value::Array(Box::new(Array::of(made))))
        }
        Value::Json(text) => new(from_json(text, to, element)?),
        Value::Text(text) => new(from_json(text, to, element)?),
        _ => Err(Why::kind(value, to.of)),
    }
}

/// The elements as the column would give them back; `None` where all are that already.
fn elements(given: &[Value], to: To<'_>) -> Result<Option<Vec<Value>>, Why> {
    let mut changed: Option<Vec<Value>> = None;
    for (at, element) in given.iter().enumerate() {
        let element =
            made(element, to).map_err(|why| Why { what: format!("in an array, {}", why.what), ..why })?;
        if changed.is_none() && matches!(element, Cow::Owned(_)) {
            changed = Some(given[..at].to_vec());
        }
        if let Some(changed) = &mut changed {
            changed.push(element.into_owned());
        }
    }
    Ok(changed)
}

fn from_json(text: &str, to: To<'_>, element: To<'_>) -> Result<Value, Why> {
    let node = json::parse(text).map_err(|what| Why::new(format!("{what}, in a column for arrays")))?;
    let Node::Array(nodes) = node else {
        return Err(Why::new(format!("JSON other than an array in a column for {}", to.of.name())));
    };
    let values = nodes.iter().map(|node| match node {
        Node::Null => Ok(Value::Null),
        Node::Bool(b) => Ok(Value::Bool(*b)),
        Node::String(text) => match element.of {
            // Numbers and booleans are no strings in JSON: such a string isn't one.
            Exact::Bool
            | Exact::Int { .. }
            | Exact::Decimal { .. }
            | Exact::Single { .. }
            | Exact::Real { .. } => Err(Why::new(format!(
                "a JSON array with strings in a column for arrays of {}",
                element.of.name()
            ))),
            _ => Ok(Value::Text(text.clone().into_owned())),
        },
        Node::Number(number) => match (element.of, Decimal::parse(number)) {
            (Exact::Text(_) | Exact::Enum(_), _) => {
                Err(Why::new("a JSON array with numbers in a column for arrays of text"))
            }
            (_, Some(number)) => Ok(Value::Decimal(number)),
            (_, None) => Err(Why::unreadable(element.of)),
        },
        Node::Array(_) | Node::Object(_) => {
            Err(Why::new("a JSON array with more than plain values in it, in a column for arrays"))
        }
    });
    let values = values.collect::<Result<Vec<_>, Why>>()?;
    let made = elements(&values, element)?.unwrap_or(values);
    Ok(Value::Array(Box::new(Array::of(made))))
}

/// The array as JSON, where that says all there is to know of it.
pub(super) fn as_json(array: &Array) -> Result<String, Why> {
    let list = array.as_list().ok_or_else(|| {
        Why::new("an array of several dimensions, or one that isn't counted from 1, as JSON")
    })?;
    let mut text = String::from("[");
    for (at, element) in list.iter().enumerate() {
        if at > 0 {
            text.push_str(", ");
        }
        write_element(element, &mut text)?;
    }
    text.push(']');
    Ok(text)
}

fn write_element(element: &Value, out: &mut String) -> Result<(), Why> {
    let plain = element.plain();
    match (element, plain.as_deref()) {
        (Value::Null, _) => out.push_str("null"),
        (Value::Single(x), Some(plain)) if x.is_finite() && x.to_bits() != (-0.0_f32).to_bits() => {
            out.push_str(plain);
        }
        (Value::Real(x), Some(plain)) if x.is_finite() && x.to_bits() != (-0.0_f64).to_bits() => {
            out.push_str(plain);
        }
        (Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Decimal(_), Some(plain)) => {
            out.push_str(plain);
        }
        (
            Value::Text(_)
            | Value::Date(_)
            | Value::Time(_)
            | Value::Timestamp(_)
            | Value::Instant(_)
            | Value::Interval(_)
            | Value::Uuid(_),
            Some(plain),
        ) => json::write_string(plain, out),
        _ => {
            return Err(Why::new(format!("an array with {} in it as JSON", element.type_name())));
        }
    }
    Ok(())
}
