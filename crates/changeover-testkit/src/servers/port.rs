//! Free ports for servers and relays that must keep theirs while they are down.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range that the kernel takes ports for outgoing connections from (32768 and up on Linux): a port of that range
/// may be somebody's while its server restarts.
const FIRST: u32 = 17_000;
const COUNT: u32 = 15_000;

/// A listener on a free port of the loopback interface. No two calls of a process give the same, in its first thousands.
pub(crate) fn free() -> TcpListener {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes that run side by side begin far from each other.
    let begin = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let at = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + at).expect("a port");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener;
        }
    }
    panic!("no free port from {FIRST} to {}", FIRST + COUNT);
}

/// The number of a free port. Somebody else may take it before a server does: whoever starts one tries again then.
pub(super) fn number() -> u16 {
    free().local_addr().expect("the address of a listener").port()
}
