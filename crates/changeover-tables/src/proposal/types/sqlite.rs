//! What a column is in a table that is proposed to SQLite: what its own kinds of values hold exactly, and text for the rest.

use super::{Typed, only_there};
use crate::types::Exact;

pub(super) fn typed(of: &Exact) -> Typed {
    match of {
        Exact::Bool => Typed::plain("INTEGER"),
        Exact::Int { max, .. } => Typed::plain("INTEGER")
            .without_if(i64::try_from(*max).is_err(), "integers above 9223372036854775807"),
        Exact::Single { non_finite } | Exact::Real { non_finite } => {
            Typed::plain("REAL").without_if(*non_finite, "NaN")
        }
        Exact::Bytes { .. } => Typed::plain("BLOB"),
        // As text a number keeps all of its digits, and the zeros at its end.
        Exact::Decimal { .. }
        | Exact::Text(_)
        | Exact::Date { .. }
        | Exact::Time(_)
        | Exact::Timestamp(_)
        | Exact::Instant(_)
        | Exact::Interval { .. }
        | Exact::Uuid
        | Exact::Json(_)
        | Exact::Enum(_)
        | Exact::Set(_)
        | Exact::Bits { .. } => Typed::plain("TEXT").without_if(of.family().is_some(), unread(of)),
        Exact::Array(_) => Typed::plain("TEXT").without("arrays of more than one dimension"),
        Exact::Other(name) => Typed::plain("TEXT").without(only_there(name)),
    }
}

/// What the middle form doesn't know of such values.
const fn unread(of: &Exact) -> &'static str {
    match of {
        Exact::Decimal { .. } => "NaN and the infinities",
        Exact::Interval { .. } => "infinite intervals",
        _ => "zero, impossible and infinite dates",
    }
}
