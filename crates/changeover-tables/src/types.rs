//! What a column of a database with strict types holds, in terms of the middle form: the meeting point of all dialects.
//!
//! A dialect's catalogue says for each of its types which of these it is; [`crate::fit`] says whether, and as what, a value of
//! any other dialect goes into it.

use std::sync::Arc;

use changeover::value::Date;

/// The type of a column in a database that insists on its types.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExactType {
    /// The kind of database, with which the kinds of values begin that pass unread: `postgres`, `mysql`.
    pub engine: &'static str,
    /// What it holds.
    pub of: Exact,
}

/// What a column holds: of which kind, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Exact {
    /// True or false.
    Bool,
    /// Integers.
    Int {
        /// The least.
        min: i64,
        /// The greatest.
        max: u64,
    },
    /// Exact decimal numbers.
    Decimal {
        /// How many digits in all; `None`: any.
        precision: Option<u32>,
        /// How many of them after the point: each value has just so many. Less than none: so many zeros before the point.
        /// `None`: each value keeps its own.
        scale: Option<i32>,
    },
    /// Binary floating-point numbers with 32 bits.
    Single {
        /// Whether NaN and the infinities are among them.
        non_finite: bool,
    },
    /// Binary floating-point numbers with 64 bits.
    Real {
        /// Whether NaN and the infinities are among them.
        non_finite: bool,
    },
    /// Text.
    Text(TextType),
    /// Bytes.
    Bytes {
        /// At most so many; `None`: any number.
        max: Option<u64>,
        /// Each value is filled up with zero bytes to just `max`.
        padded: bool,
    },
    /// Days.
    Date {
        /// The first.
        min: Date,
        /// The last.
        max: Date,
    },
    /// Times of day, or lengths of time.
    Time(Span),
    /// Dates with a time of day, without a zone.
    Timestamp(Span),
    /// Moments.
    Instant(Span),
    /// Spans of the calendar and the clock.
    Interval {
        /// Digits of a second's fraction that are kept.
        digits: u8,
    },
    /// UUIDs.
    Uuid,
    /// JSON documents.
    Json(JsonForm),
    /// Arrays of a type.
    Array(Arc<Exact>),
    /// One of these labels.
    Enum(Arc<[Box<str>]>),
    /// Any of these labels, each once.
    Set(Arc<[Box<str>]>),
    /// Strings of bits.
    Bits {
        /// At least so many.
        min: u32,
        /// At most so many; `None`: any number.
        max: Option<u32>,
    },
    /// What passes unread between two databases of one kind: the type's name there.
    Other(Arc<str>),
}

/// A column's bounds on its texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TextType {
    /// At most so many characters; `None`: any number.
    pub max_chars: Option<u32>,
    /// At most so many bytes; `None`: any number.
    pub max_bytes: Option<u64>,
    /// Whether NUL characters are among them.
    pub nul: bool,
    /// Spaces at the end aren't kept (`char(n)`): a value is the one without them.
    pub padded: bool,
    /// Which characters there are.
    pub charset: Charset,
}

/// The characters that a column's texts are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Charset {
    /// All of Unicode.
    Utf8,
    /// Those of Unicode up to U+FFFF (MySQL's `utf8mb3`).
    Utf8ToFFFF,
    /// Those of ISO 8859-1, and what Windows-1252 has in the place of its control characters (MySQL's `latin1`).
    Latin1,
    /// ASCII.
    Ascii,
}

/// Bounds on times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// Digits of a second's fraction that are kept, up to 6.
    pub digits: u8,
    /// The earliest, in the middle form's microseconds.
    pub min: i64,
    /// The latest.
    pub max: i64,
}

/// What a database keeps of a JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JsonForm {
    /// The text, as it was given.
    Kept,
    /// The document: neither its spaces nor the order of its members; numbers with all of their digits (PostgreSQL's `jsonb`).
    Binary,
    /// The document, with numbers as 64-bit integers or floats where they aren't exact decimals (MySQL's `json`).
    Double,
}

impl Exact {
    /// What a YEAR of MariaDB's holds, beside 0. What is less is taken for a year's last two digits.
    pub const YEAR: Self = Self::Int { min: 1_901, max: 2_155 };

    /// For messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bool => "booleans",
            Self::Int { .. } => "integers",
            Self::Decimal { .. } => "decimal numbers",
            Self::Single { .. } | Self::Real { .. } => "floating-point numbers",
            Self::Text(_) => "text",
            Self::Bytes { .. } => "bytes",
            Self::Date { .. } => "dates",
            Self::Time(_) => "times",
            Self::Timestamp(_) => "timestamps without a zone",
            Self::Instant(_) => "moments",
            Self::Interval { .. } => "intervals",
            Self::Uuid => "UUIDs",
            Self::Json(_) => "JSON",
            Self::Array(_) => "arrays",
            Self::Enum(_) => "one of its labels",
            Self::Set(_) => "a set of its labels",
            Self::Bits { .. } => "bit strings",
            Self::Other(_) => "values of its own kind",
        }
    }

    /// The word at the end of the kinds of those values that a column of this type holds and the middle form doesn't know, as in
    /// `postgres: infinite date` and `mysql: zero date`; `None` where there are no such.
    #[must_use]
    pub const fn family(&self) -> Option<&'static str> {
        match self {
            Self::Decimal { .. } => Some("decimal"),
            Self::Date { .. } => Some("date"),
            Self::Time(_) => Some("time"),
            Self::Timestamp(_) => Some("timestamp"),
            Self::Instant(_) => Some("instant"),
            Self::Interval { .. } => Some("interval"),
            _ => None,
        }
    }

    /// Whether a column of this type, in this kind of database, holds the values that pass unread and are of this kind.
    #[must_use]
    pub fn holds_unread(&self, engine: &str, kind: &str) -> bool {
        let Some(what) = kind.strip_prefix(engine).and_then(|rest| rest.strip_prefix(": ")) else {
            return false;
        };
        match self {
            Self::Other(name) => **name == *what,
            of => of.family().is_some_and(|family| what.rsplit(' ').next() == Some(family)),
        }
    }
}

impl ExactType {
    /// Whether a column of this type holds the values that pass unread and are of this kind.
    #[must_use]
    pub fn holds_unread(&self, kind: &str) -> bool {
        self.of.holds_unread(self.engine, kind)
    }
}
