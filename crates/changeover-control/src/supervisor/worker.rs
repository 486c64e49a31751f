//! The worker's end: beats while a lock is held, and hears that it shall stop.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::words::Word;

/// The way to the parent that watches; or to nobody, where a migration is run within another program.
#[derive(Clone, Default)]
pub struct Watchdog {
    out: Option<Arc<Mutex<Box<dyn std::io::Write + Send>>>>,
    /// The parent's process.
    parent: Option<u32>,
}

impl std::fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watchdog").field("watched", &self.out.is_some()).finish()
    }
}

impl Watchdog {
    /// Nobody watches.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The parent at the other end of standard output.
    #[must_use]
    pub fn parent() -> Self {
        let parent =
            rustix::process::getppid().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
        // A parent that is gone already has left its child to the system's first process.
        Self { parent: parent.filter(|pid| *pid > 1), ..Self::to(std::io::stdout()) }
    }

    /// The process that is to be ended to end this run: a worker's parent, which would start another worker.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.parent.unwrap_or_else(std::process::id)
    }

    /// Whoever reads this.
    pub fn to(out: impl std::io::Write + Send + 'static) -> Self {
        Self { out: Some(Arc::new(Mutex::new(Box::new(out)))), parent: None }
    }

    /// Tells the parent a word. A parent that is gone isn't told: the worker learns of it by its standard input.
    pub fn tell(&self, word: &Word) {
        let Some(out) = &self.out else { return };
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = writeln!(out, "{}", word.line()).and_then(|()| out.flush());
        if let Err(error) = sent {
            tracing::debug!(%error, "the supervisor is gone");
        }
    }

    /// Says that a lock is about to be taken, whose holder must beat within `budget` each time. Given up on drop.
    #[must_use]
    pub fn hold(&self, budget: Duration) -> Hold {
        self.tell(&Word::Hold(u64::try_from(budget.as_millis()).unwrap_or(u64::MAX)));
        Hold { watchdog: self.clone() }
    }
}

/// A lock of the application's tables is held. To be dropped after the lock is given up.
#[derive(Debug)]
pub struct Hold {
    watchdog: Watchdog,
}

impl Hold {
    /// The holder is alive. To be called by whoever does the work under the lock, never by a task beside it: that would
    /// go on beating while the work stalls.
    pub fn beat(&self) {
        self.watchdog.tell(&Word::Beat);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.watchdog.tell(&Word::Free);
    }
}

/// Turns true when the parent closes the worker's standard input, or is gone.
#[must_use]
pub fn stop_requested() -> watch::Receiver<bool> {
    let (stop, stopped) = watch::channel(false);
    // A thread of its own: a blocking read must not keep the runtime from ending.
    let reader = move || {
        let mut buffer = [0_u8; 64];
        let mut stdin = std::io::stdin();
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => break,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
                Ok(_) => {}
            }
        }
        stop.send_replace(true);
    };
    if let Err(error) = std::thread::Builder::new().name("parent".to_owned()).spawn(reader) {
        tracing::error!(%error, "no thread to hear the supervisor by: a stop comes by signal only");
    }
    stopped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Pipe(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_hold_says_when_it_begins_and_when_it_ends() {
        let pipe = Pipe::default();
        let hold = Watchdog::to(pipe.clone()).hold(Duration::from_secs(2));
        hold.beat();
        drop(hold);
        assert_eq!(String::from_utf8(pipe.0.lock().unwrap().clone()).unwrap(), "hold 2000\nbeat\nfree\n");
    }
}
