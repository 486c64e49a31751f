//! The frame of a binary `COPY`: a header, the rows, each with the number of its fields and their lengths, and a trailer.
//!
//! A stream without its trailer is a broken one, wherever it ends: a row that is cut off between two fields, or between two
//! rows, must never pass for the end of the table.

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

/// No field that PostgreSQL sends has more bytes, nor has its header: what says so is neither.
const FIELD_MAX: usize = 1 << 30;

/// A stream that isn't what a binary `COPY` is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the data of a COPY can't be read: {0}")]
pub(in crate::postgres) struct BrokenCopy(Why);

/// Follows the frame through the pieces of a binary `COPY`, wherever their borders are: counts the rows, and knows the end. It
/// holds nothing of them.
#[derive(Debug)]
pub(in crate::postgres) struct CopyFrame {
    columns: usize,
    state: State,
    /// What is there of a word that a border cuts.
    part: [u8; HEADER],
    parts: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    /// So many bytes that are added to the header are still to come.
    More(usize),
    /// The number of a row's fields comes, or the trailer.
    Row,
    /// The length of a field comes, after which so many fields are left of the row.
    Length(usize),
    /// So many bytes of a field are still to come, and so many fields after it.
    Field(usize, usize),
    Ended,
}

impl CopyFrame {
    /// For a stream whose rows have so many columns.
    pub(in crate::postgres) const fn new(columns: usize) -> Self {
        Self { columns, state: State::Header, part: [0; HEADER], parts: 0 }
    }

    /// Takes the next piece of the stream: how many rows end in it.
    ///
    /// # Errors
    /// If the stream isn't what it should be.
    pub(in crate::postgres) fn pass(&mut self, mut piece: &[u8]) -> Result<u64, BrokenCopy> {
        let mut rows = 0;
        loop {
            self.state = match self.state {
                State::Header => match self.word(&mut piece) {
                    None => return Ok(rows),
                    Some(header) => header_end(&header)?,
                },
                State::More(left) if left > piece.len() => State::More(left - skip(&mut piece, left)),
                State::More(left) => {
                    skip(&mut piece, left);
                    State::Row
                }
                State::Row => match self.word(&mut piece).map(i16::from_be_bytes) {
                    None => return Ok(rows),
                    Some(TRAILER) => State::Ended,
                    Some(count) if usize::try_from(count).ok() == Some(self.columns) => {
                        rows += u64::from(self.columns == 0);
                        self.columns.checked_sub(1).map_or(State::Row, State::Length)
                    }
                    Some(count) => {
                        let wanted = self.columns;
                        return Err(BrokenCopy(
                            format!("a row has {count} fields in place of {wanted}").into(),
                        ));
                    }
                },
                State::Length(after) => match self.word(&mut piece).map(i32::from_be_bytes) {
                    None => return Ok(rows),
                    Some(-1) => State::Field(0, after),
                    Some(length) => State::Field(field_length(length)?, after),
                },
                State::Field(left, after) if left > piece.len() => {
                    State::Field(left - skip(&mut piece, left), after)
                }
                State::Field(left, after) => {
                    skip(&mut piece, left);
                    rows += u64::from(after == 0);
                    after.checked_sub(1).map_or(State::Row, State::Length)
                }
                State::Ended if piece.is_empty() => return Ok(rows),
                State::Ended => return Err(BrokenCopy("there is more after its end".into())),
            };
            if piece.is_empty() && matches!(self.state, State::More(1..) | State::Field(1.., _)) {
                return Ok(rows);
            }
        }
    }

    /// At the end of the stream: whether it was the end of the data as well.
    ///
    /// # Errors
    /// If it wasn't.
    pub(in crate::postgres) fn finish(self) -> Result<(), BrokenCopy> {
        match self.state {
            State::Ended => Ok(()),
            _ => Err(BrokenCopy("it ended before its end was said".into())),
        }
    }

    /// The next bytes, once they are all there.
    fn word<const N: usize>(&mut self, piece: &mut &[u8]) -> Option<[u8; N]> {
        if self.parts == 0
            && let Some((word, rest)) = piece.split_first_chunk::<N>()
        {
            *piece = rest;
            return Some(*word);
        }
        let (some, rest) = piece.split_at(piece.len().min(N - self.parts));
        self.part[self.parts..self.parts + some.len()].copy_from_slice(some);
        self.parts += some.len();
        *piece = rest;
        if self.parts < N {
            return None;
        }
        self.parts = 0;
        self.part.first_chunk::<N>().copied()
    }
}

/// Leaves out so many bytes, or all that there are; how many they were.
fn skip(piece: &mut &[u8], many: usize) -> usize {
    let many = many.min(piece.len());
    *piece = &piece[many..];
    many
}

fn header_end(header: &[u8; HEADER]) -> Result<State, BrokenCopy> {
    let mut rest = &header[..];
    if rest[..SIGNATURE.len()] != SIGNATURE {
        return Err(BrokenCopy("it doesn't begin as one in the binary format does".into()));
    }
    rest.advance(SIGNATURE.len());
    let (flags, more) = (rest.get_u32(), rest.get_u32());
    if flags & CRITICAL != 0 {
        return Err(BrokenCopy(format!("its header has unknown flags ({flags:#x})").into()));
    }
    let more = usize::try_from(more).ok().filter(|more| *more <= FIELD_MAX);
    more.map(State::More).ok_or_else(|| BrokenCopy("its header is too long".into()))
}

fn field_length(length: i32) -> Result<usize, BrokenCopy> {
    let there = usize::try_from(length).ok().filter(|length| *length <= FIELD_MAX);
    there.ok_or_else(|| BrokenCopy(format!("a field has the length {length}").into()))
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

    fn counted<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<u64, BrokenCopy> {
        let mut frame = CopyFrame::new(2);
        let mut rows = 0;
        for piece in pieces {
            rows += frame.pass(piece)?;
        }
        frame.finish()?;
        Ok(rows)
    }

    #[test]
    fn the_frame_is_the_one_that_the_server_makes() {
        let expected = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x04\0\0\0\0\xff\xff\xff\xff\xff\xff";
        let rows = rows(&[None]);
        assert_eq!(stream(&rows), expected);
        assert_eq!(counted([&expected[..]]), Ok(1));
        // What is added to a header by later versions is passed over.
        let longer = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x03abc\xff\xff";
        assert_eq!(counted([&longer[..]]), Ok(0));
    }

    #[test]
    fn a_stream_that_ends_anywhere_else_than_at_its_end_is_broken() {
        let whole = stream(&rows(&[Some("abc".to_owned()), None, Some(String::new())]));
        for end in 0..whole.len() {
            let error = counted([&whole[..end]]).unwrap_err().to_string();
            assert!(error.contains("ended before its end was said"), "{end}: {error}");
        }
        assert_eq!(counted([&whole[..]]), Ok(3));
    }

    #[test]
    fn what_is_no_such_stream_is_told_at_once() {
        let with = |tail: &[u8]| [&stream(&[])[..HEADER], tail].concat();
        for (bytes, why) in [
            (b"1\tabcdefghijklmnopqrstuvw\n".to_vec(), "binary format"),
            (b"PGCOPY\n\xff\r\n\0\0\x01\0\0\0\0\0\0".to_vec(), "flags"),
            (b"PGCOPY\n\xff\r\n\0\0\0\0\0\xff\xff\xff\xff".to_vec(), "header is too long"),
            (with(&[0, 3]), "3 fields in place of 2"),
            (with(&[0, 2, 0xff, 0xff, 0xff, 0xfe]), "length -2"),
            (with(&[0, 2, 0x7f, 0xff, 0xff, 0xff]), "length 2147483647"),
            (with(&[0xff, 0xff, 0]), "more after its end"),
        ] {
            let error = counted([&bytes[..]]).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_row_that_can_not_be_written_leaves_nothing() {
        let mut writer = CopyWriter::new();
        writer.row(&codecs(), &[Value::Int(1), "x".into()]).unwrap();
        let before = writer.len();
        writer.row(&codecs(), &[Value::Int(2), Value::Int(2)]).unwrap_err();
        assert_eq!(writer.len(), before);
        assert_eq!(counted([&writer.finish()[..]]), Ok(1));
    }

    proptest! {
        #[test]
        fn borders_may_be_anywhere(
            texts in prop::collection::vec(prop::option::of("[a-zé]{0,40}"), 0..20),
            size in 1_usize..60,
        ) {
            let rows = rows(&texts);
            let bytes = stream(&rows);
            prop_assert_eq!(counted(bytes.chunks(size)), Ok(rows.len() as u64));
        }
    }
}
