//! Texts, and the labels of enumerations and sets.

use std::borrow::Cow;

use changeover::Value;

use super::array;
use super::exact::{Made, new, same};
use super::why::Why;
use crate::types::{Charset, Exact, TextType};

/// The characters beyond ISO 8859-1 that Windows-1252 has in the place of its control characters.
const WINDOWS_1252: &str = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ";

pub(super) fn to_text<'v>(value: &'v Value, of: &Exact, to: &TextType) -> Made<'v> {
    let text = match value {
        Value::Text(text) => {
            let kept = checked(text, to)?;
            return if kept.len() == text.len() { same(value) } else { new(Value::Text(kept.to_owned())) };
        }
        Value::Bytes(_) => return Err(Why::kind(value, of).by("with an encoding: none is known for it")),
        Value::Array(list) => Cow::Owned(array::as_json(list)?),
        Value::Set(labels) => Cow::Owned(joined(labels)?),
        _ => value.plain().ok_or_else(|| Why::kind(value, of))?,
    };
    new(Value::Text(checked(&text, to)?.to_owned()))
}

/// The text, as the column would give it back.
pub(super) fn checked<'t>(text: &'t str, to: &TextType) -> Result<&'t str, Why> {
    let text = if to.padded { text.trim_end_matches(' ') } else { text };
    if !to.nul && text.contains('\0') {
        return Err(Why::new("text with a NUL character, which the column doesn't hold"));
    }
    if let Some(foreign) = foreign(to.charset)
        && text.chars().any(foreign)
    {
        let charset = match to.charset {
            Charset::Utf8 => "Unicode",
            Charset::Utf8ToFFFF => "UTF-8 with at most 3 bytes each",
            Charset::Latin1 => "Latin 1",
            Charset::Ascii => "ASCII",
        };
        return Err(Why::new(format!(
            "text with characters that the column's character set ({charset}) lacks"
        )));
    }
    // A text never has more characters than bytes: only long ones need to be counted.
    if let Some(max) = to.max_chars
        && text.len() as u64 > max.into()
        && text.chars().count() as u64 > max.into()
    {
        return Err(Why::new(format!("text of more than {max} characters")));
    }
    if let Some(max) = to.max_bytes
        && bytes_in(text, to.charset) > max
    {
        return Err(Why::new(format!("text of more than {max} bytes")));
    }
    Ok(text)
}

/// Which characters a character set lacks; `None`: none.
fn foreign(charset: Charset) -> Option<fn(char) -> bool> {
    match charset {
        Charset::Utf8 => None,
        Charset::Utf8ToFFFF => Some(|c| c > '\u{ffff}'),
        Charset::Latin1 => Some(|c| !is_latin1(c)),
        Charset::Ascii => Some(|c| !c.is_ascii()),
    }
}

const fn is_c1_of_windows_1252(c: char) -> bool {
    matches!(c, '\u{81}' | '\u{8d}' | '\u{8f}' | '\u{90}' | '\u{9d}')
}

/// As MySQL has it: Windows-1252, whose five undefined bytes are the control characters of the same number.
fn is_latin1(c: char) -> bool {
    c.is_ascii() || matches!(c, '\u{a0}'..='\u{ff}') || is_c1_of_windows_1252(c) || WINDOWS_1252.contains(c)
}

fn bytes_in(text: &str, charset: Charset) -> u64 {
    match charset {
        Charset::Latin1 => text.chars().count() as u64,
        Charset::Utf8 | Charset::Utf8ToFFFF | Charset::Ascii => text.len() as u64,
    }
}

pub(super) fn to_enum<'v>(value: &'v Value, of: &Exact, labels: &[Box<str>]) -> Made<'v> {
    match value {
        Value::Text(text) if labels.iter().any(|label| **label == **text) => same(value),
        Value::Text(_) => Err(Why::new("text that is none of the column's labels")),
        _ => Err(Why::kind(value, of)),
    }
}

pub(super) fn to_set<'v>(value: &'v Value, of: &Exact, labels: &[Box<str>]) -> Made<'v> {
    match value {
        Value::Set(given) => {
            let places = places(given.iter().map(|label| &**label), labels)?;
            if places.is_sorted() { same(value) } else { new(set_of(places, labels)) }
        }
        Value::Text(text) if text.is_empty() => new(Value::Set([].into())),
        Value::Text(text) => places(text.split(','), labels).and_then(|at| new(set_of(at, labels))),
        Value::Array(list) => {
            let Some(elements) = list.as_list() else { return Err(Why::kind(value, of)) };
            let texts = elements.iter().map(|element| match element {
                Value::Text(text) => Ok(text.as_str()),
                _ => Err(Why::kind(value, of)),
            });
            let places = places(texts.collect::<Result<Vec<_>, _>>()?.into_iter(), labels)?;
            // An array has an order, which a set doesn't keep.
            if places.is_sorted() {
                new(set_of(places, labels))
            } else {
                Err(Why::new("an array whose labels aren't in the order of the column's list"))
            }
        }
        _ => Err(Why::kind(value, of)),
    }
}

/// Where labels stand in the column's list.
fn places<'l>(given: impl Iterator<Item = &'l str>, labels: &[Box<str>]) -> Result<Vec<usize>, Why> {
    let mut found = Vec::new();
    for label in given {
        let at = labels.iter().position(|known| **known == *label);
        let at = at.ok_or_else(|| Why::new("a label that isn't in the column's list"))?;
        if found.contains(&at) {
            return Err(Why::new("a label that is there twice, in a column for sets"));
        }
        found.push(at);
    }
    Ok(found)
}

fn set_of(mut places: Vec<usize>, labels: &[Box<str>]) -> Value {
    places.sort_unstable();
    Value::Set(places.into_iter().filter_map(|at| labels.get(at).cloned()).collect())
}

/// The labels with commas between, where that can be read back.
pub(super) fn joined(labels: &[Box<str>]) -> Result<String, Why> {
    let alone_and_empty = labels.len() == 1 && labels[0].is_empty();
    if alone_and_empty || labels.iter().any(|label| label.contains(',')) {
        return Err(Why::new("a set with an empty label alone, or with a comma in a label, as text"));
    }
    Ok(labels.join(","))
}
