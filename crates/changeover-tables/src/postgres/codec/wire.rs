//! Values in statements: as the driver wants parameters and columns.

use std::error::Error;

use bytes::BytesMut;
use changeover::Value;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::{Codec, encode};

/// A column's bytes as the server sent them, of whichever type: for [`super::decode`]. `None`: NULL.
#[derive(Debug, Clone, Copy)]
pub(in crate::postgres) struct Raw<'a>(pub(in crate::postgres) Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A value as a parameter. Its codec is that of the column it is for: with one that passes as text the server is given a text,
/// whether the statement casts it (`$1::text::public.address`) or leaves the parameter its own type.
#[derive(Debug, Clone, Copy)]
pub(in crate::postgres) struct Param<'a> {
    pub(in crate::postgres) codec: &'a Codec,
    pub(in crate::postgres) value: &'a Value,
}

impl ToSql for Param<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        Ok(encode(self.codec, self.value, out)?)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        if self.codec.as_text { Format::Text } else { Format::Binary }
    }

    to_sql_checked!();
}
