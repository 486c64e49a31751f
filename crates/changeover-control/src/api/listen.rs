//! The listener: an address that is ours, and a bounded number of connections.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ControlError;

/// How many connections are open at once: an event stream for each instance, and people. Further ones wait in the
/// kernel's queue.
const CONNECTIONS: usize = 4_096;

/// What is said of a port that somebody else listens on.
const TAKEN: &str = "the port is taken";

/// How often a port that is taken is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// A listener that accepts no more connections than it may hold.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: TcpListener,
    room: Arc<Semaphore>,
    address: SocketAddr,
}

impl Bound {
    /// The same as [`Bound::listen`], but a port that is taken is tried for so long: a run that was killed a moment ago may
    /// have it still.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn listen_within(address: &str, within: Duration) -> Result<Self, ControlError> {
        let deadline = tokio::time::Instant::now() + within;
        let mut is_told = false;
        loop {
            match Self::listen(address).await {
                Err(ControlError::Listen { cause, .. })
                    if cause == TAKEN && tokio::time::Instant::now() < deadline =>
                {
                    if !is_told {
                        tracing::warn!("{address}: {TAKEN}; it is tried for {} s more", within.as_secs());
                        is_told = true;
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                answer => return answer,
            }
        }
    }

    /// Listens on the address; port 0 takes any that is free.
    ///
    /// # Errors
    /// [`ControlError::Listen`], which names `--listen`.
    pub(crate) async fn listen(address: &str) -> Result<Self, ControlError> {
        let fail = |cause: io::Error| {
            let cause = match cause.kind() {
                io::ErrorKind::AddrInUse => TAKEN.to_owned(),
                _ => cause.to_string(),
            };
            ControlError::Listen { address: address.to_owned(), cause }
        };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let local = listener.local_addr().map_err(fail)?;
        Ok(Self { listener, room: Arc::new(Semaphore::new(CONNECTIONS)), address: local })
    }

    /// Where it listens.
    #[must_use]
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl axum::serve::Listener for Bound {
    type Io = Held;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Held, SocketAddr) {
        loop {
            let room = Arc::clone(&self.room).acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    // Heartbeats are small and must not wait for more.
                    let _ = stream.set_nodelay(true);
                    return (Held { stream, _room: room }, from);
                }
                Err(error) => {
                    // Out of file descriptors, most likely: going round at once would only burn the processor.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// A connection that gives its place back when it ends.
#[derive(Debug)]
pub(crate) struct Held {
    stream: TcpStream,
    _room: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_names_the_option_that_helps() {
        let first = Bound::listen("127.0.0.1:0").await.unwrap();
        let error = Bound::listen(&first.address().to_string()).await.unwrap_err();
        assert!(error.to_string().contains("the port is taken"), "{error}");
        assert!(error.to_string().contains("--listen"), "{error}");
    }
}
