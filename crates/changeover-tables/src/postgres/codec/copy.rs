//! The frame of a binary `COPY`: a header, the rows, each with the number of its fields and their lengths, and a trailer.
//!
//! A stream without its trailer is a broken one, wherever it ends: a row that is cut off between two fields, or between two
//! rows, must never pass for the end of the table.

use std::ops::Range;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use changeover::Value;

use super::{Codec, Unencodable, Why, array, encode};

const SIGNATURE: [u8; 11] = *b"PGCOPY\n\xff\r\n\0";

/// The signature, flags, and the length of what is added to the header: nothing.
const HEADER: usize = SIGNATURE.len() + 8;

/// The flags that change how rows are to be read. None is known any more.
const CRITICAL: u32 = 0xffff_0000;

/// The number of fields that means the end.
const TRAILER: i16 = -1;

/// No row that PostgreSQL sends has more bytes: what says so is no row.
const ROW_MAX: usize = 1 << 30;

/// How much memory is kept after a large row.
const KEPT: usize = 1 << 20;

/// A stream that isn't what a binary `COPY` is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the data of a COPY can't be read: {0}")]
pub(in crate::postgres) struct BrokenCopy(Why);

/// Reads rows from the pieces of a binary `COPY`, wherever their borders are. It holds a row and a piece, and no more.
#[derive(Debug)]
pub(in crate::postgres) struct CopyReader {
    held: Vec<u8>,
    /// Where the next row begins.
    at: usize,
    columns: usize,
    fields: Vec<Option<Range<usize>>>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Rows,
    Ended,
}

/// A row's fields, for [`super::decode`].
#[derive(Debug, Clone, Copy)]
pub(in crate::postgres) struct CopyRow<'r> {
    bytes: &'r [u8],
    fields: &'r [Option<Range<usize>>],
}

impl<'r> CopyRow<'r> {
    /// The bytes of each column; `None`: NULL.
    pub(in crate::postgres) fn fields(self) -> impl ExactSizeIterator<Item = Option<&'r [u8]>> {
        self.fields.iter().map(move |field| field.clone().map(|range| &self.bytes[range]))
    }

    /// How many bytes they have in all.
    pub(in crate::postgres) fn bytes(self) -> usize {
        self.fields.iter().flatten().map(Range::len).sum()
    }
}

impl CopyReader {
    /// For a stream whose rows have so many columns.
    pub(in crate::postgres) const fn new(columns: usize) -> Self {
        Self { held: Vec::new(), at: 0, columns, fields: Vec::new(), state: State::Header }
    }

    /// Takes the next piece of the stream. All rows that are already there should have been read: they are held.
    pub(in crate::postgres) fn push(&mut self, piece: &[u8]) {
        self.held.drain(..self.at);
        self.at = 0;
        if self.held.is_empty() {
            self.held.shrink_to(KEPT);
        }
        self.held.extend_from_slice(piece);
    }

    /// The next row, if all of it is there.
    ///
    /// # Errors
    /// If the stream isn't what it should be.
    pub(in crate::postgres) fn next_row(&mut self) -> Result<Option<CopyRow<'_>>, BrokenCopy> {
        let there = match self.state {
            State::Header => self.read_header()? && self.read_row()?,
            State::Rows => self.read_row()?,
            State::Ended => false,
        };
        if self.state == State::Ended && self.at < self.held.len() {
            return Err(BrokenCopy("there is more after its end".into()));
        }
        Ok(there.then_some(CopyRow { bytes: &self.held, fields: &self.fields }))
    }

    /// At the end of the stream, after the last row: whether it was the end of the data as well.
    ///
    /// # Errors
    /// If it wasn't.
    pub(in crate::postgres) fn finish(mut self) -> Result<(), BrokenCopy> {
        let left = self.next_row()?.is_some();
        match self.state {
            State::Ended => Ok(()),
            _ if left => Err(BrokenCopy("it ended with rows that were not read".into())),
            _ => Err(BrokenCopy("it ended before its end was said".into())),
        }
    }

    /// Whether the header was all there, and is read.
    fn read_header(&mut self) -> Result<bool, BrokenCopy> {
        let mut rest = &self.held[..];
        let signature = rest.len().min(SIGNATURE.len());
        if rest[..signature] != SIGNATURE[..signature] {
            return Err(BrokenCopy("it doesn't begin as one in the binary format does".into()));
        }
        if rest.len() < HEADER {
            return Ok(false);
        }
        rest.advance(SIGNATURE.len());
        let (flags, more) = (rest.get_u32(), rest.get_u32());
        if flags & CRITICAL != 0 {
            return Err(BrokenCopy(format!("its header has unknown flags ({flags:#x})").into()));
        }
        let length = usize::try_from(more).unwrap_or(usize::MAX);
        if length > ROW_MAX {
            return Err(BrokenCopy("its header is too long".into()));
        }
        if rest.len() < length {
            return Ok(false);
        }
        self.at = HEADER + length;
        self.state = State::Rows;
        Ok(true)
    }

    /// Whether a row was all there, and is now in `fields`.
    fn read_row(&mut self) -> Result<bool, BrokenCopy> {
        let mut at = self.at;
        let Some(count) = word(&self.held, &mut at) else { return Ok(false) };
        let count = i16::from_be_bytes(count);
        if count == TRAILER {
            self.state = State::Ended;
            self.at = at;
            return Ok(false);
        }
        if usize::try_from(count).ok() != Some(self.columns) {
            return Err(BrokenCopy(format!("a row has {count} fields in place of {}", self.columns).into()));
        }
        self.fields.clear();
        for _ in 0..self.columns {
            let Some(length) = word(&self.held, &mut at) else { return Ok(false) };
            self.fields.push(match i32::from_be_bytes(length) {
                -1 => None,
                length => {
                    let start = at;
                    at = end_of_field(self.at, start, length)?;
                    Some(start..at)
                }
            });
        }
        if at > self.held.len() {
            return Ok(false);
        }
        self.at = at;
        Ok(true)
    }
}

/// The bytes at a place, which then is the one behind them; `None` if they aren't there yet.
fn word<const N: usize>(held: &[u8], at: &mut usize) -> Option<[u8; N]> {
    let word = *held.get(*at..)?.first_chunk::<N>()?;
    *at += N;
    Some(word)
}

fn end_of_field(row: usize, start: usize, length: i32) -> Result<usize, BrokenCopy> {
    usize::try_from(length)
        .ok()
        .and_then(|length| start.checked_add(length))
        .filter(|end| end - row <= ROW_MAX)
        .ok_or_else(|| BrokenCopy(format!("a field has the length {length}").into()))
}

/// Makes the data of a binary `COPY`.
#[derive(Debug)]
pub(in crate::postgres) struct CopyWriter {
    out: BytesMut,
}

impl CopyWriter {
    /// With the header.
    pub(in crate::postgres) fn new() -> Self {
        let mut out = BytesMut::new();
        out.put_slice(&SIGNATURE);
        out.put_u64(0);
        Self { out }
    }

    /// Adds a row, a value for each of the columns. After an error nothing of it is there.
    ///
    /// # Errors
    /// If a column can't take its value.
    pub(in crate::postgres) fn row<'v>(
        &mut self,
        codecs: &[Codec],
        values: impl IntoIterator<Item = &'v Value>,
    ) -> Result<(), Unencodable> {
        let start = self.out.len();
        self.out.put_i16(0);
        let mut count = 0_i16;
        for (codec, value) in codecs.iter().zip(values) {
            if let Err(error) = self.field(codec, value) {
                self.out.truncate(start);
                return Err(error);
            }
            count = count.saturating_add(1);
        }
        self.out[start..start + 2].copy_from_slice(&count.to_be_bytes());
        Ok(())
    }

    fn field(&mut self, codec: &Codec, value: &Value) -> Result<(), Unencodable> {
        let field = array::begin(&mut self.out);
        let null = encode(codec, value, &mut self.out)?;
        array::end(field, &null, &mut self.out).map_err(|why| codec.unencodable(value, why))
    }

    /// How many bytes there are to be sent.
    pub(in crate::postgres) fn len(&self) -> usize {
        self.out.len()
    }

    /// What there is to be sent, for the server; the memory is used again.
    pub(in crate::postgres) fn take(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    /// The rest, with the trailer.
    pub(in crate::postgres) fn finish(mut self) -> Bytes {
        self.out.put_i16(TRAILER);
        self.out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_postgres::types::Type;

    use super::*;
    use crate::postgres::codec::decode;

    fn codecs() -> [Codec; 2] {
        [Codec::of(&Type::INT4), Codec::of(&Type::TEXT)]
    }

    fn rows(texts: &[Option<String>]) -> Vec<[Value; 2]> {
        texts.iter().zip(0_i32..).map(|(text, n)| [n.into(), text.clone().into()]).collect()
    }

    fn stream(rows: &[[Value; 2]]) -> Vec<u8> {
        let mut writer = CopyWriter::new();
        let mut all = Vec::new();
        for row in rows {
            writer.row(&codecs(), row).unwrap();
            if writer.len() > 40 {
                all.extend_from_slice(&writer.take());
            }
        }
        all.extend_from_slice(&writer.finish());
        all
    }

    fn read<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<Vec<[Value; 2]>, BrokenCopy> {
        let mut reader = CopyReader::new(2);
        let mut rows = Vec::new();
        for piece in pieces {
            reader.push(piece);
            while let Some(row) = reader.next_row()? {
                let mut values = codecs().into_iter().zip(row.fields()).map(|(c, f)| decode(&c, f).unwrap());
                rows.push([values.next().unwrap(), values.next().unwrap()]);
            }
        }
        reader.finish()?;
        Ok(rows)
    }

    #[test]
    fn the_frame_is_the_one_that_the_server_makes() {
        let expected = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x04\0\0\0\0\xff\xff\xff\xff\xff\xff";
        let rows = rows(&[None]);
        assert_eq!(stream(&rows), expected);
        assert_eq!(read([&expected[..]]), Ok(rows));
        // What is added to a header by later versions is passed over.
        let longer = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x03abc\xff\xff";
        assert_eq!(read([&longer[..]]), Ok(vec![]));
    }

    #[test]
    fn a_stream_that_ends_anywhere_else_than_at_its_end_is_broken() {
        let whole = stream(&rows(&[Some("abc".to_owned()), None, Some(String::new())]));
        for end in 0..whole.len() {
            let error = read([&whole[..end]]).unwrap_err().to_string();
            assert!(error.contains("ended before its end was said"), "{end}: {error}");
        }
        assert_eq!(read([&whole[..]]).map(|rows| rows.len()), Ok(3));
    }

    #[test]
    fn what_is_no_such_stream_is_told_at_once() {
        let with = |tail: &[u8]| [&stream(&[])[..HEADER], tail].concat();
        for (bytes, why) in [
            (b"1\tabc\n".to_vec(), "binary format"),
            (b"PGCOPY\n\xff\r\n\0\0\x01\0\0\0\0\0\0".to_vec(), "flags"),
            (b"PGCOPY\n\xff\r\n\0\0\0\0\0\xff\xff\xff\xff".to_vec(), "header is too long"),
            (with(&[0, 3]), "3 fields in place of 2"),
            (with(&[0, 2, 0xff, 0xff, 0xff, 0xfe]), "length -2"),
            (with(&[0, 2, 0x7f, 0xff, 0xff, 0xff]), "length 2147483647"),
            (with(&[0xff, 0xff, 0]), "more after its end"),
        ] {
            let error = read([&bytes[..]]).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn rows_that_nobody_read_are_told() {
        let mut reader = CopyReader::new(2);
        reader.push(&stream(&rows(&[None, None])));
        assert!(reader.finish().unwrap_err().to_string().contains("not read"));
    }

    #[test]
    fn a_row_that_can_not_be_written_leaves_nothing() {
        let mut writer = CopyWriter::new();
        writer.row(&codecs(), &[Value::Int(1), "x".into()]).unwrap();
        let before = writer.len();
        writer.row(&codecs(), &[Value::Int(2), Value::Int(2)]).unwrap_err();
        assert_eq!(writer.len(), before);
        assert_eq!(read([&writer.finish()[..]]), Ok(vec![[Value::Int(1), "x".into()]]));
    }

    #[test]
    fn memory_is_for_a_row_and_a_piece_and_goes_back_after_a_large_one() {
        let large = stream(&rows(&[Some("x".repeat(4 * KEPT))]));
        let mut reader = CopyReader::new(2);
        for piece in large.chunks(1000) {
            reader.push(piece);
            while reader.next_row().unwrap().is_some() {}
        }
        assert!(reader.held.capacity() > 4 * KEPT);
        reader.push(&[]);
        assert!(reader.held.capacity() <= KEPT);
        let small = stream(&rows(&vec![Some("x".repeat(90)); 10_000]));
        let mut reader = CopyReader::new(2);
        for piece in small.chunks(1000) {
            reader.push(piece);
            while reader.next_row().unwrap().is_some() {}
            assert!(reader.held.capacity() < 4000, "{}", reader.held.capacity());
        }
        reader.finish().unwrap();
    }

    proptest! {
        #[test]
        fn borders_may_be_anywhere(
            texts in prop::collection::vec(prop::option::of("[a-zé]{0,40}"), 0..20),
            size in 1_usize..60,
        ) {
            let rows = rows(&texts);
            let bytes = stream(&rows);
            prop_assert_eq!(read(bytes.chunks(size)), Ok(rows));
        }
    }
}
