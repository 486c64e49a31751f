//! The values of MariaDB and MySQL as they travel in the binary protocol, to and from the middle form.
//!
//! The server tells a column's type with each answer, but not all of it: what it calls a text may be JSON, a UUID or the label
//! of an enumeration. Where that is known, the select list names the column so ([`Mark`]).

use changeover::Value;
use changeover::value::{Bits, Date, Decimal, Instant, Time, Timestamp, parse_uuid};
use mysql_async::Column;
use mysql_async::Value as Raw;
use mysql_async::consts::{ColumnFlags, ColumnType};

use crate::server::session::{DbError, Trouble};

/// The number of the character set of what is no text.
const BINARY: u16 = 63;

/// The kinds of the values that only these servers know.
pub(super) const ENGINE: &str = "mysql";
pub(super) const GEOMETRY: &str = "geometry";
const KIND_GEOMETRY: &str = "mysql: geometry";
const NO_LABEL: &str = "mysql: a label that the enumeration lacks";
const BAD_TEXT: &str = "mysql: text that is not UTF-8";

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

/// What a text is that the server doesn't tell apart from others: the name of its column in a select list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// A JSON document.
    Json,
    /// A UUID.
    Uuid,
    /// A label of an enumeration that hasn't the empty one: an empty text is none of them.
    Label,
}

impl Mark {
    const ALL: [Self; 3] = [Self::Json, Self::Uuid, Self::Label];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Json => "changeover: JSON",
            Self::Uuid => "changeover: UUID",
            Self::Label => "changeover: label",
        }
    }
}

/// How the values of an answer's column are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    /// Numbers, and NULL: they say themselves what they are.
    Plain,
    Decimal,
    Text,
    Bytes,
    Date,
    Timestamp,
    Instant,
    Time,
    Bits(u32),
    Set,
    Geometry,
    Marked(Mark),
}

impl Codec {
    pub(super) fn of(column: &Column) -> Self {
        match column.column_type() {
            ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => Self::Decimal,
            ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => Self::Date,
            ColumnType::MYSQL_TYPE_DATETIME | ColumnType::MYSQL_TYPE_DATETIME2 => Self::Timestamp,
            ColumnType::MYSQL_TYPE_TIMESTAMP | ColumnType::MYSQL_TYPE_TIMESTAMP2 => Self::Instant,
            ColumnType::MYSQL_TYPE_TIME | ColumnType::MYSQL_TYPE_TIME2 => Self::Time,
            ColumnType::MYSQL_TYPE_BIT => Self::Bits(column.column_length()),
            ColumnType::MYSQL_TYPE_JSON => Self::Marked(Mark::Json),
            ColumnType::MYSQL_TYPE_GEOMETRY => Self::Geometry,
            ColumnType::MYSQL_TYPE_TINY
            | ColumnType::MYSQL_TYPE_SHORT
            | ColumnType::MYSQL_TYPE_INT24
            | ColumnType::MYSQL_TYPE_LONG
            | ColumnType::MYSQL_TYPE_LONGLONG
            | ColumnType::MYSQL_TYPE_YEAR
            | ColumnType::MYSQL_TYPE_FLOAT
            | ColumnType::MYSQL_TYPE_DOUBLE
            | ColumnType::MYSQL_TYPE_NULL => Self::Plain,
            _ => Self::of_text(column),
        }
    }

    fn of_text(column: &Column) -> Self {
        let mark = Mark::ALL.into_iter().find(|mark| column.name_ref() == mark.name().as_bytes());
        if column.flags().contains(ColumnFlags::SET_FLAG) {
            Self::Set
        } else if let Some(mark) = mark {
            Self::Marked(mark)
        } else if column.character_set() == BINARY {
            Self::Bytes
        } else {
            Self::Text
        }
    }

    /// A value as the server sent it.
    pub(super) fn decode(self, raw: Raw) -> Result<Value, DbError> {
        Ok(match (self, raw) {
            (_, Raw::NULL) => Value::Null,
            (_, Raw::Int(n)) => Value::Int(n),
            (_, Raw::UInt(n)) => Value::unsigned(n),
            (_, Raw::Float(x)) => Value::Single(x),
            (_, Raw::Double(x)) => Value::Real(x),
            (_, Raw::Date(year, month, day, hour, minute, second, micros)) => self.date([
                year.into(),
                month.into(),
                day.into(),
                hour.into(),
                minute.into(),
                second.into(),
                micros,
            ])?,
            (_, Raw::Time(negative, days, hours, minutes, seconds, micros)) => {
                let hours = i64::from(days) * 24 + i64::from(hours);
                let seconds = i64::from(minutes) * 60 + i64::from(seconds);
                let all = hours * HOUR + seconds * SECOND + i64::from(micros);
                Value::Time(Time(if negative { -all } else { all }))
            }
            (_, Raw::Bytes(bytes)) => self.bytes(bytes)?,
        })
    }

    fn bytes(self, bytes: Vec<u8>) -> Result<Value, DbError> {
        Ok(match self {
            Self::Bytes => Value::Bytes(bytes),
            Self::Geometry => Value::opaque(KIND_GEOMETRY, bytes),
            Self::Bits(length) => bits(length, &bytes).ok_or_else(|| unreadable("a string of bits"))?,
            _ => match String::from_utf8(bytes) {
                Ok(text) => self.text(text)?,
                Err(error) => Value::opaque(BAD_TEXT, error.into_bytes()),
            },
        })
    }

    fn text(self, text: String) -> Result<Value, DbError> {
        Ok(match self {
            Self::Decimal => {
                Value::Decimal(Decimal::parse(&text).ok_or_else(|| unreadable("a decimal number"))?)
            }
            // No label has a comma in it.
            Self::Set if text.is_empty() => Value::Set([].into()),
            Self::Set => Value::Set(text.split(',').map(Into::into).collect()),
            Self::Marked(Mark::Json) => Value::Json(text.into()),
            Self::Marked(Mark::Uuid) => Value::Uuid(parse_uuid(&text).ok_or_else(|| unreadable("a UUID"))?),
            Self::Marked(Mark::Label) if text.is_empty() => Value::opaque(NO_LABEL, Vec::new()),
            _ => Value::Text(text),
        })
    }

    /// A date with its time of day, whichever of the three types it is of. What is no day of the calendar passes unread.
    fn date(self, [year, month, day, hour, minute, second, micros]: [u32; 7]) -> Result<Value, DbError> {
        let Some(date) = Date::from_parts(year.into(), month, day) else {
            let what = match (year, month, day) {
                (0, 0, 0) => "zero",
                (_, 0, _) | (_, _, 0) => "partial",
                _ => "impossible",
            };
            let kind = match self {
                Self::Date => "date",
                Self::Instant => "instant",
                _ => "timestamp",
            };
            let mut text = format!("{year:04}-{month:02}-{day:02}");
            if self != Self::Date {
                text.push_str(&format!(" {hour:02}:{minute:02}:{second:02}.{micros:06}"));
            }
            return Ok(Value::opaque(format!("{ENGINE}: {what} {kind}"), text.into_bytes()));
        };
        let seconds = i64::from(minute) * 60 + i64::from(second);
        let time = Time(i64::from(hour) * HOUR + seconds * SECOND + i64::from(micros));
        let at = Timestamp::from_parts(date, time).ok_or_else(|| unreadable("a date"))?;
        Ok(match self {
            Self::Date => Value::Date(date),
            Self::Instant => Value::Instant(Instant(at.0)),
            _ => Value::Timestamp(at),
        })
    }
}

fn bits(length: u32, bytes: &[u8]) -> Option<Value> {
    let number = bytes.iter().try_fold(0_u64, |n, byte| n.checked_mul(256).map(|n| n | u64::from(*byte)))?;
    Bits::of_number(length, number).map(|bits| Value::Bits(Box::new(bits)))
}

fn unreadable(what: &str) -> DbError {
    DbError::ours(Trouble::Row, format!("the server sent {what} that can't be read"))
}

/// A value as a statement's parameter.
///
/// # Errors
/// Of what no column takes.
pub(super) fn param(value: &Value) -> Result<Raw, DbError> {
    let no = || DbError::ours(Trouble::Row, format!("{} can't be written to this server", value.type_name()));
    Ok(match value {
        Value::Null => Raw::NULL,
        Value::Bool(b) => Raw::Int((*b).into()),
        Value::Int(n) => Raw::Int(*n),
        Value::Uint(n) => Raw::UInt(*n),
        Value::Single(x) if x.is_finite() => Raw::Float(*x),
        Value::Real(x) if x.is_finite() => Raw::Double(*x),
        Value::Bytes(bytes) => Raw::Bytes(bytes.clone()),
        Value::Date(date) => moment(Timestamp::from_parts(*date, Time(0)).ok_or_else(no)?).ok_or_else(no)?,
        Value::Timestamp(at) => moment(*at).ok_or_else(no)?,
        Value::Instant(at) => moment(Timestamp(at.0)).ok_or_else(no)?,
        Value::Time(time) => time_of(*time).ok_or_else(no)?,
        Value::Bits(bits) => Raw::UInt(bits.to_number().ok_or_else(no)?),
        Value::Opaque(opaque) if opaque.kind.starts_with(ENGINE) => Raw::Bytes(opaque.bytes.clone()),
        Value::Text(_) | Value::Decimal(_) | Value::Uuid(_) | Value::Json(_) | Value::Set(_) => {
            Raw::Bytes(value.plain().ok_or_else(no)?.into_owned().into_bytes())
        }
        _ => return Err(no()),
    })
}

fn moment(at: Timestamp) -> Option<Raw> {
    let (date, time) = at.parts();
    let (year, month, day) = date.parts();
    let year = u16::try_from(year).ok().filter(|year| *year <= 9_999)?;
    let (seconds, micros) = (time.0 / SECOND, u32::try_from(time.0 % SECOND).ok()?);
    let small = |n: i64| u8::try_from(n).ok();
    Some(Raw::Date(
        year,
        u8::try_from(month).ok()?,
        u8::try_from(day).ok()?,
        small(seconds / 3_600)?,
        small(seconds / 60 % 60)?,
        small(seconds % 60)?,
        micros,
    ))
}

fn time_of(time: Time) -> Option<Raw> {
    let all = time.0.unsigned_abs();
    let (seconds, micros) = (all / 1_000_000, u32::try_from(all % 1_000_000).ok()?);
    let small = |n: u64| u8::try_from(n).ok();
    let days = u32::try_from(seconds / 86_400).ok()?;
    Some(Raw::Time(
        time.0 < 0,
        days,
        small(seconds / 3_600 % 24)?,
        small(seconds / 60 % 60)?,
        small(seconds % 60)?,
        micros,
    ))
}
