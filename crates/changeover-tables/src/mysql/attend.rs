//! Whether a server is still there while it is at work for us.
//!
//! The driver hears of a network that has fallen silent when the system gives the connection up, which takes a quarter of an
//! hour. So while a statement takes long, the server is asked by another connection what becomes of ours.

use std::pin::pin;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, IoError, Opts};

use crate::server::pool::CONNECT;

/// How long a statement may take before the server is asked for it, and how often then.
const ASKED_EVERY: Duration = Duration::from_secs(10);

/// So often in a row the server may say that it has done what we still wait for: the answer may be on its way.
const RESTS: u32 = 2;

/// A connection, for whoever asks about it by another.
#[derive(Debug)]
pub(super) struct Attendant {
    opts: Opts,
    id: u32,
}

/// What the server says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    AtWork,
    /// It waits for a statement of ours.
    AtRest,
    /// It isn't there, or the server isn't.
    Gone,
}

impl Attendant {
    pub(super) fn of(conn: &Conn) -> Self {
        Self { opts: conn.opts().clone(), id: conn.id() }
    }

    /// What comes of work on the connection; an error if its other end isn't there any more.
    pub(super) async fn attend<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut work = pin!(work);
        let mut rests = 0;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(ASKED_EVERY) => {}
            }
            // A connection's beginning is a large future.
            let said = tokio::select! {
                biased;
                done = &mut work => return done,
                said = Box::pin(self.ask()) => said,
            };
            rests = if said == Said::AtRest { rests + 1 } else { 0 };
            if said == Said::Gone || rests >= RESTS {
                return Err(silent(said));
            }
        }
    }

    async fn ask(&self) -> Said {
        let asked = async {
            let mut other = Conn::new(self.opts.clone()).await?;
            let sql = format!("SELECT COMMAND FROM information_schema.PROCESSLIST WHERE ID = {}", self.id);
            let command: Option<String> = other.query_first(sql).await?;
            other.disconnect().await?;
            Ok(command)
        };
        match tokio::time::timeout(CONNECT, asked).await {
            Ok(Ok(None)) | Err(_) => Said::Gone,
            Ok(Ok(Some(command))) if command == "Sleep" => Said::AtRest,
            // A server that refuses is there: it has too many connections.
            Ok(Ok(Some(_)) | Err(Error::Server(_))) => Said::AtWork,
            Ok(Err(_)) => Said::Gone,
        }
    }
}

fn silent(said: Said) -> Error {
    let what = match said {
        Said::AtRest => {
            "the server has answered, and the answer doesn't come: the network has dropped the connection"
        }
        Said::AtWork | Said::Gone => {
            "the connection has fallen silent: the server isn't to be reached, or knows it no more"
        }
    };
    Error::Io(IoError::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, what)))
}
