//! What everybody does today: a four-value flag, read by each process when it gets to it, and two writes in a row.
//!
//! No barrier, no journal, no guard. This is the demo's foil: the same traffic on the same databases, and the same
//! checker finds what it loses.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use changeover::{Phase, Side};

use super::service::Service;
use super::wire::{Answer, Request};

/// How often an instance looks at the flag. Flag services poll every 10 to 60 s, which would be much worse.
const POLL: Duration = Duration::from_secs(2);

/// An instance of the service that moves by the flag alone.
#[derive(Clone)]
pub(super) struct Naive {
    service: Service,
    flag: Arc<AtomicU8>,
}

impl Naive {
    /// Reads the flag from a file, again and again, beginning at an offset of its own as separate processes do.
    pub(super) fn new(service: Service, file: PathBuf, offset: Duration) -> Self {
        let flag = Arc::new(AtomicU8::new(read(&file).unwrap_or(0)));
        let seen = Arc::clone(&flag);
        tokio::spawn(async move {
            tokio::time::sleep(offset).await;
            loop {
                if let Some(value) = read(&file) {
                    seen.store(value, Ordering::Relaxed);
                }
                tokio::time::sleep(POLL).await;
            }
        });
        Self { service, flag }
    }

    /// Answers one request.
    pub(super) async fn answer(&self, request: Request) -> Answer {
        let plan = match self.flag.load(Ordering::Relaxed) {
            0 => Phase::Old,
            1 => Phase::Shadow,
            2 => Phase::ReverseShadow,
            _ => Phase::New,
        }
        .step();
        let first = plan.authority();
        match request {
            Request::Get { id } => match self.service.get(first, id).await {
                Ok(booking) => Answer::Found { booking },
                Err(why) => Answer::Failed { why },
            },
            Request::Mend => {
                self.service.mend();
                Answer::Done
            }
            write => {
                if let Err(why) = self.write(first, &write).await {
                    return Answer::Unknown { why };
                }
                // The second write of a hand-written dual write: its failure is logged somewhere, and that is all.
                if plan.is_mirrored() {
                    let _ = self.write(first.other(), &write).await;
                }
                Answer::Done
            }
        }
    }

    async fn write(&self, side: Side, request: &Request) -> Result<(), String> {
        match request {
            Request::Put { booking } => self.service.put(side, booking.clone()).await,
            Request::Delete { id } => self.service.delete(side, *id).await,
            Request::Get { .. } | Request::Mend => Ok(()),
        }
    }
}

fn read(file: &PathBuf) -> Option<u8> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}
