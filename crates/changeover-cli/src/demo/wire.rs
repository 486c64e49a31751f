//! What the demo's clients and instances say to each other: one JSON object a line, over loopback.

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::world::Booking;

/// The longest line that either side takes.
const LINE_MAX: u64 = 64 * 1024;

/// What a client asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(super) enum Request {
    /// Show this cancellation.
    Get { id: u64 },
    /// Make it so: whether it is there yet or not.
    Put { booking: Booking },
    /// Remove it.
    Delete { id: u64 },
    /// Mend the bugs that were planted in the new side's read path: stands for a deployment.
    Mend,
}

/// What an instance answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub(super) enum Answer {
    /// What was asked for; `None`: there is none.
    Found { booking: Option<Booking> },
    /// It was done.
    Done,
    /// It certainly was not done.
    Failed { why: String },
    /// It may have been done, or may yet be.
    Unknown { why: String },
}

/// A connection, from either end.
pub(super) struct Line {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    buffer: Vec<u8>,
}

impl Line {
    pub(super) fn new(stream: TcpStream) -> Self {
        // Latency is what the demo shows; without this, an answer may wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::new(reader), writer, buffer: Vec::new() }
    }

    /// The next message; `None` at the end of the connection.
    pub(super) async fn receive<T: for<'a> Deserialize<'a>>(&mut self) -> std::io::Result<Option<T>> {
        use tokio::io::AsyncReadExt;
        self.buffer.clear();
        let read = (&mut self.reader).take(LINE_MAX).read_until(b'\n', &mut self.buffer).await?;
        if read == 0 || self.buffer.last() != Some(&b'\n') {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&self.buffer)?))
    }

    /// Sends a message.
    pub(super) async fn send<T: Serialize>(&mut self, message: &T) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.writer.write_all(&line).await
    }
}
