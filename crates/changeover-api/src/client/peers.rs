//! Where the control plane is: one address, several replicas, or whatever the run file says now.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::error::ClientError;
use crate::runfile::RunFile;
use crate::secret::Secret;

/// Where to look for the control plane.
#[derive(Debug, Clone)]
pub enum Source {
    /// At these addresses, all of which take this token.
    Addresses {
        /// `HOST:PORT` or `http://HOST:PORT`, at least one.
        addresses: Vec<String>,
        /// The token.
        token: Secret,
    },
    /// Where the run file says; it is read again whenever what it said last doesn't let us in.
    RunFile(PathBuf),
}

/// One place to send a request to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    /// `http://HOST:PORT`.
    pub(super) base: String,
    pub(super) token: Secret,
}

/// All places, and the one that answered last.
#[derive(Debug)]
pub(super) struct Peers {
    run_file: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    all: Vec<Peer>,
    at: usize,
}

impl Peers {
    pub(super) fn new(source: Source) -> Result<Self, ClientError> {
        let (all, run_file) = match source {
            Source::Addresses { addresses, token } => {
                if addresses.is_empty() {
                    return Err(ClientError::Address { given: String::new(), problem: "there is none" });
                }
                let peer = |given: &String| Ok(Peer { base: base(given)?, token: token.clone() });
                (addresses.iter().map(peer).collect::<Result<_, ClientError>>()?, None)
            }
            Source::RunFile(path) => (Vec::new(), Some(path)),
        };
        Ok(Self { run_file, state: Mutex::new(State { all, at: 0 }) })
    }

    /// How often a request is worth trying: once at each place; with a run file, once as it was and once as it is.
    pub(super) fn tries(&self) -> usize {
        if self.run_file.is_some() { 2 } else { self.lock().all.len() }
    }

    /// The place that answered last.
    pub(super) fn current(&self) -> Result<Peer, ClientError> {
        let known = {
            let state = self.lock();
            state.all.get(state.at).cloned()
        };
        match known {
            Some(peer) => Ok(peer),
            None => self.read(),
        }
    }

    /// Goes on to another place, unless somebody has done so since. The file is read again.
    pub(super) fn move_on(&self, failed: &Peer) {
        if self.run_file.is_some() {
            // What can't be read now is tried as it was: the error of that is the one to be told.
            let _ = self.read();
            return;
        }
        let mut state = self.lock();
        if state.all.get(state.at) == Some(failed) {
            state.at = (state.at + 1) % state.all.len().max(1);
        }
    }

    fn read(&self) -> Result<Peer, ClientError> {
        let Some(path) = &self.run_file else {
            return Err(ClientError::Address { given: String::new(), problem: "there is none" });
        };
        let run = RunFile::read(path)?;
        let peer = Peer { base: base(&run.address)?, token: run.token };
        let mut state = self.lock();
        state.all = vec![peer.clone()];
        state.at = 0;
        Ok(peer)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Whoever panicked left a valid list behind: it is only ever replaced whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beginning of every URL at this address.
fn base(given: &str) -> Result<String, ClientError> {
    let wrong = |problem| Err(ClientError::Address { given: given.to_owned(), problem });
    let address = match given.split_once("://") {
        None => given,
        Some(("http", rest)) => rest.trim_end_matches('/'),
        Some(_) => return wrong("only http is spoken: put TLS in front of it, or a tunnel"),
    };
    if address.is_empty() || address.contains(['/', '?', '#', '@', ' ']) {
        return wrong("write HOST:PORT");
    }
    // A run that listens everywhere is reached here.
    let address = match address.strip_prefix("0.0.0.0:").or_else(|| address.strip_prefix("[::]:")) {
        Some(port) => format!("127.0.0.1:{port}"),
        None => address.to_owned(),
    };
    Ok(format!("http://{address}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn run(path: &Path, address: &str, token: &str) {
        RunFile { address: address.to_owned(), token: Secret::new(token), pid: 1, state: None }
            .write(path)
            .unwrap();
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(base("127.0.0.1:7400").unwrap(), "http://127.0.0.1:7400");
        assert_eq!(base("http://control:7400/").unwrap(), "http://control:7400");
        assert_eq!(base("0.0.0.0:7400").unwrap(), "http://127.0.0.1:7400");
        for wrong in ["", "https://x:1", "http://", "x:1/y", "u@x:1"] {
            assert!(base(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_next_one_is_gone_to_once_whoever_saw_the_failure() {
        let addresses = vec!["a:1".to_owned(), "b:1".to_owned()];
        let peers = Peers::new(Source::Addresses { addresses, token: Secret::new("t") }).unwrap();
        let first = peers.current().unwrap();
        peers.move_on(&first);
        peers.move_on(&first);
        assert_eq!(peers.current().unwrap().base, "http://b:1");
        peers.move_on(&peers.current().unwrap());
        assert_eq!(peers.current().unwrap(), first);
    }

    #[test]
    fn a_run_that_started_again_is_found_by_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.run");
        let peers = Peers::new(Source::RunFile(path.clone())).unwrap();
        assert!(matches!(peers.current(), Err(ClientError::RunFile(_))));
        run(&path, "127.0.0.1:1", "one");
        let first = peers.current().unwrap();
        run(&path, "127.0.0.1:2", "two");
        assert_eq!(peers.current().unwrap(), first, "not as long as it lets us in");
        peers.move_on(&first);
        assert_eq!(peers.current().unwrap().base, "http://127.0.0.1:2");
        std::fs::remove_file(&path).unwrap();
        peers.move_on(&first);
        assert_eq!(peers.current().unwrap().base, "http://127.0.0.1:2");
    }
}
