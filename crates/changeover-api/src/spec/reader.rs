//! Reading a TOML tree with its spans: every look at a value names what it should be, notes where it stands,
//! and puts what is wrong into one list, so that a person sees all mistakes of a file at once.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::{Source, SpecError};
use super::suggest::nearest;
use super::units::{self, Unreadable};

/// Where the reading puts what it finds.
pub(super) struct Findings {
    pub(super) source: Source,
    pub(super) errors: Vec<SpecError>,
}

impl Findings {
    pub(super) fn error(
        &mut self,
        at: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) {
        self.errors.push(self.source.error(at, message.into(), hint.into()));
    }
}

/// One value, with its name.
#[derive(Clone)]
pub(super) struct Node<'t> {
    /// The path, as in `table[0].set.status`.
    pub(super) path: String,
    pub(super) name_at: Range<usize>,
    pub(super) at: Range<usize>,
    pub(super) value: &'t DeValue<'t>,
}

impl<'t> Node<'t> {
    fn mistyped(&self, want: &str, found: &mut Findings) {
        let is = match self.value {
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            other => with_article(other).to_owned(),
        };
        let message = format!("`{}` should be {want}, and is {is}", self.path);
        found.error(self.at.clone(), message, None);
    }

    pub(super) fn text(&self, want: &str, found: &mut Findings) -> Option<&'t str> {
        match self.value.as_str() {
            Some("") => {
                found.error(self.at.clone(), format!("`{}` is empty", self.path), format!("Give {want}"));
                None
            }
            Some(text) => Some(text),
            None => {
                self.mistyped(want, found);
                None
            }
        }
    }

    pub(super) fn boolean(&self, found: &mut Findings) -> Option<bool> {
        let value = self.value.as_bool();
        if value.is_none() {
            self.mistyped("true or false", found);
        }
        value
    }

    /// A whole number of at least 1.
    pub(super) fn count(&self, found: &mut Findings) -> Option<u64> {
        let number = integer(self.value).and_then(|number| u64::try_from(number).ok()).filter(|&n| n > 0);
        if number.is_none() {
            self.mistyped("a whole number of at least 1", found);
        }
        number
    }

    /// A decimal number greater than 0, whole or not; the hint says what for.
    pub(super) fn above_zero(&self, hint: &str, found: &mut Findings) -> Option<f64> {
        let text = match self.value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => "",
        };
        let number = text.parse().ok().filter(|&x: &f64| x > 0.0 && x.is_finite());
        if number.is_none() {
            let message = format!("`{}` should be a number greater than 0", self.path);
            found.error(self.at.clone(), message, hint.to_owned());
        }
        number
    }

    pub(super) fn duration(&self, found: &mut Findings) -> Option<Duration> {
        self.measured(units::duration, found)
    }

    pub(super) fn percent(&self, found: &mut Findings) -> Option<f64> {
        self.measured(units::percent, found)
    }

    pub(super) fn size(&self, found: &mut Findings) -> Option<u64> {
        self.measured(units::size, found)
    }

    pub(super) fn rate(&self, found: &mut Findings) -> Option<u64> {
        if self.value.is_str() {
            return self.measured(units::rate, found);
        }
        let number = integer(self.value).and_then(|number| u64::try_from(number).ok()).filter(|&n| n > 0);
        if number.is_none() {
            self.mistyped(units::rate_form(), found);
        }
        number
    }

    fn measured<T>(&self, read: fn(&str) -> Result<T, Unreadable>, found: &mut Findings) -> Option<T> {
        let Unreadable(form) = match read(self.value.as_str().unwrap_or_default()) {
            Ok(value) => return Some(value),
            Err(unreadable) => unreadable,
        };
        let is = match self.value {
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            other => with_article(other).to_owned(),
        };
        found.error(self.at.clone(), format!("`{}` should be {form}, and is {is}", self.path), None);
        None
    }

    /// One of some names.
    pub(super) fn one_of<T: Copy>(&self, names: &[(&'static str, T)], found: &mut Findings) -> Option<T> {
        let list = names.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let Some(given) = self.value.as_str() else {
            self.mistyped(&format!("one of {list}"), found);
            return None;
        };
        if let Some(&(_, value)) = names.iter().find(|(name, _)| *name == given) {
            return Some(value);
        }
        let hint = match nearest(given, names.iter().map(|(name, _)| *name)) {
            Some(name) => format!("Did you mean \"{name}\"?"),
            None => format!("It is one of {list}"),
        };
        found.error(self.at.clone(), format!("`{}` can't be {given:?}", self.path), hint);
        None
    }

    pub(super) fn fields(self, want: &str, found: &mut Findings) -> Option<Fields<'t>> {
        let Some(table) = self.value.as_table() else {
            self.mistyped(want, found);
            return None;
        };
        found.source.note(&self.path, self.name_at, self.at.clone());
        Some(Fields { path: self.path, at: self.at, table, known: Vec::new() })
    }

    pub(super) fn items(self, want: &str, found: &mut Findings) -> Option<Vec<Self>> {
        let Some(array) = self.value.as_array() else {
            self.mistyped(want, found);
            return None;
        };
        found.source.note(&self.path, self.name_at.clone(), self.at.clone());
        let node = |(n, value): (usize, &'t Spanned<DeValue<'t>>)| Node {
            path: format!("{}[{n}]", self.path),
            name_at: value.span(),
            at: value.span(),
            value: value.get_ref(),
        };
        let items: Vec<_> = array.iter().enumerate().map(node).collect();
        for item in &items {
            found.source.note(&item.path, item.name_at.clone(), item.at.clone());
        }
        Some(items)
    }
}

/// The fields of one table; each that is looked at becomes a known one.
pub(super) struct Fields<'t> {
    pub(super) path: String,
    pub(super) at: Range<usize>,
    table: &'t DeTable<'t>,
    known: Vec<&'static str>,
}

impl<'t> Fields<'t> {
    /// The whole file.
    pub(super) fn root(table: &'t Spanned<DeTable<'t>>) -> Self {
        Self { path: String::new(), at: 0..0, table: table.get_ref(), known: Vec::new() }
    }

    /// This field, if it is there.
    pub(super) fn get(&mut self, name: &'static str, found: &mut Findings) -> Option<Node<'t>> {
        self.known.push(name);
        let (key, value) = self.table.get_key_value(name)?;
        Some(self.node(key.get_ref(), key.span(), value, found))
    }

    /// This field, which must be there.
    pub(super) fn require(
        &mut self,
        name: &'static str,
        hint: &str,
        found: &mut Findings,
    ) -> Option<Node<'t>> {
        let node = self.get(name, found);
        // A slip in the name is told as such, with its own hint.
        if node.is_none() && !self.is_meant_elsewhere(name) {
            let what = if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.path) };
            found.error(self.at.clone(), format!("`{name}` is missing{what}"), hint.to_owned());
        }
        node
    }

    fn is_meant_elsewhere(&self, name: &'static str) -> bool {
        self.table.iter().any(|(key, _)| nearest(key.get_ref(), [name]).is_some())
    }

    /// All fields, whatever their names.
    pub(super) fn all(&self, found: &mut Findings) -> Vec<(&'t str, Node<'t>)> {
        self.table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), self.node(key.get_ref(), key.span(), value, found)))
            .collect()
    }

    fn node(
        &self,
        name: &str,
        name_at: Range<usize>,
        value: &'t Spanned<DeValue<'t>>,
        found: &mut Findings,
    ) -> Node<'t> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        found.source.note(&path, name_at.clone(), value.span());
        Node { path, name_at, at: value.span(), value: value.get_ref() }
    }

    /// Names every field that isn't known. `elsewhere` says of a name which other place it belongs in.
    pub(super) fn finish(self, elsewhere: impl Fn(&str) -> Option<&'static str>, found: &mut Findings) {
        for (key, _) in self.table {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let place = if self.path.is_empty() { "a spec".to_owned() } else { format!("`{}`", self.path) };
            let hint = if let Some(place) = elsewhere(name) {
                format!("It belongs {place}")
            } else if let Some(known) = nearest(name, self.known.iter().copied()) {
                format!("Did you mean `{known}`?")
            } else {
                format!("There is {}", listed(&self.known))
            };
            found.error(key.span(), format!("{place} has no `{name}`"), hint);
        }
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The integer that this is, if it is one that fits.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn with_article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a floating-point number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
