//! Mismatches that are kept to be shown: bounded, one for each shape with a count, redacted before they are kept.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use changeover_protocol::Side;

use crate::render;
use crate::value::Key;

/// What must not be shown of answers and inputs.
#[derive(Clone, Default)]
pub struct Redaction {
    columns: Vec<String>,
    keys: bool,
    function: Option<Redactor>,
}

type Redactor = Arc<dyn Fn(&'static str, String) -> String + Send + Sync>;

impl Redaction {
    /// Nothing is taken out.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Takes out the values of fields and map keys of these names, with all that lies under them, wherever a
    /// rendering is a pretty `Debug`.
    #[must_use]
    pub fn columns<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.columns.extend(columns.into_iter().map(Into::into));
        self
    }

    /// Takes out the values of keys, which tell who somebody is.
    #[must_use]
    pub const fn keys(mut self) -> Self {
        self.keys = true;
        self
    }

    /// Passes every rendering (of an input, an answer, an error, a difference) through a function, given the
    /// operation's name, after the columns were taken out. One that panics loses the rendering, and nothing else.
    #[must_use]
    pub fn function(
        mut self,
        function: impl Fn(&'static str, String) -> String + Send + Sync + 'static,
    ) -> Self {
        self.function = Some(Arc::new(function));
        self
    }

    pub(crate) fn text(&self, operation: &'static str, text: &str) -> String {
        let text = render::redact(text, &self.columns);
        let Some(function) = &self.function else { return text };
        catch_unwind(AssertUnwindSafe(|| function(operation, text)))
            .unwrap_or_else(|_| "(the redactor panicked)".to_owned())
    }

    fn key(&self, key: &Key) -> String {
        if self.keys { format!("{}({})", key.table, render::REDACTED) } else { key.to_string() }
    }
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redaction")
            .field("columns", &self.columns)
            .field("keys", &self.keys)
            .field("function", &self.function.is_some())
            .finish()
    }
}

/// A mismatch that is kept, standing for all of its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The operation.
    pub operation: &'static str,
    /// What differs, without the values.
    pub shape: String,
    /// The key, if there was one; redacted as configured.
    pub key: Option<String>,
    /// The input, if it was given; redacted as configured.
    pub input: Option<String>,
    /// The authority when it was found.
    pub authority: Side,
    /// The old side's answer; redacted as configured.
    pub old: String,
    /// The new side's.
    pub new: String,
    /// What the comparison said, if it explained.
    pub detail: Option<String>,
    /// How many mismatches of this shape there were.
    pub count: u64,
    /// When the first was found, in milliseconds by the instance's clock.
    pub first_ms: u64,
    /// When the last was.
    pub last_ms: u64,
}

/// A mismatch as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) operation: &'static str,
    pub(crate) key: Option<Key>,
    pub(crate) input: Option<String>,
    pub(crate) authority: Side,
    pub(crate) old: String,
    pub(crate) new: String,
    pub(crate) shape: Option<String>,
    pub(crate) detail: Option<String>,
}

/// The samples of one migration.
#[derive(Debug)]
pub(crate) struct Samples {
    kept: Mutex<Kept>,
    max: usize,
    redaction: Redaction,
}

#[derive(Debug, Default)]
struct Kept {
    samples: Vec<Sample>,
    dropped: u64,
}

impl Samples {
    pub(crate) fn new(max: usize, redaction: Redaction) -> Self {
        Self { kept: Mutex::default(), max, redaction }
    }

    /// Keeps a mismatch, or counts it with its like.
    pub(crate) fn keep(&self, found: Found, now_ms: u64) {
        let shape = found.shape.unwrap_or_else(|| render::shape(&found.old, &found.new));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let like = |sample: &&mut Sample| sample.operation == found.operation && sample.shape == shape;
        if let Some(sample) = kept.samples.iter_mut().find(like) {
            sample.count += 1;
            sample.last_ms = now_ms;
            return;
        }
        if kept.samples.len() >= self.max {
            kept.dropped += 1;
            return;
        }
        // The redactor is the user's code: not to be run under the lock.
        drop(kept);
        let redact = |text: &str| self.redaction.text(found.operation, text);
        let sample = Sample {
            operation: found.operation,
            key: found.key.as_ref().map(|key| self.redaction.key(key)),
            input: found.input.as_deref().map(redact),
            authority: found.authority,
            old: redact(&found.old),
            new: redact(&found.new),
            detail: found.detail.as_deref().map(redact),
            shape,
            count: 1,
            first_ms: now_ms,
            last_ms: now_ms,
        };
        self.insert(sample);
    }

    fn insert(&self, sample: Sample) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let like = |other: &&mut Sample| other.operation == sample.operation && other.shape == sample.shape;
        if let Some(other) = kept.samples.iter_mut().find(like) {
            other.count += 1;
            other.last_ms = sample.last_ms;
        } else if kept.samples.len() < self.max {
            kept.samples.push(sample);
        } else {
            kept.dropped += 1;
        }
    }

    /// What is kept, and how many mismatches of further shapes had no room.
    pub(crate) fn snapshot(&self) -> (Vec<Sample>, u64) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.samples.clone(), kept.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(old: &str, new: &str) -> Found {
        Found {
            operation: "booking.get",
            key: Some(Key::new("bookings", 42)),
            input: Some("Get {\n    phone: \"0170\",\n}".to_owned()),
            authority: Side::Old,
            old: format!("Booking {{\n    state: {old:?},\n}}"),
            new: format!("Booking {{\n    state: {new:?},\n}}"),
            shape: None,
            detail: None,
        }
    }

    #[test]
    fn mismatches_of_one_shape_are_one_sample_with_a_count() {
        let samples = Samples::new(10, Redaction::none());
        samples.keep(found("a", "b"), 1);
        samples.keep(found("c", "d"), 2);
        let (kept, dropped) = samples.snapshot();
        assert_eq!((kept.len(), kept[0].count, kept[0].last_ms, dropped), (1, 2, 2, 0));
        assert_eq!(kept[0].shape, "state");
        assert_eq!(kept[0].key.as_deref(), Some("bookings(42)"));
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let samples = Samples::new(1, Redaction::none());
        samples.keep(found("a", "b"), 1);
        samples.keep(Found { operation: "other", ..found("a", "b") }, 1);
        assert_eq!(samples.snapshot().1, 1);
    }

    #[test]
    fn samples_are_redacted_before_they_are_kept() {
        let redaction = Redaction::none().columns(["phone"]).keys().function(|_, text| {
            assert!(!text.contains("boom"), "planted");
            text.replace("secret", "S")
        });
        let samples = Samples::new(10, redaction);
        samples.keep(Found { detail: Some("boom".to_owned()), ..found("secret", "b") }, 1);
        let sample = samples.snapshot().0.remove(0);
        assert_eq!(sample.key.as_deref(), Some("bookings((redacted))"));
        assert!(!format!("{sample:?}").contains("secret") && !format!("{sample:?}").contains("0170"));
        assert_eq!(sample.detail.as_deref(), Some("(the redactor panicked)"));
    }
}
