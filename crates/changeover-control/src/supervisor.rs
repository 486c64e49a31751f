//! `run` as two processes: a worker that does everything, and a parent that watches it.
//!
//! SQLite can't end the transaction of a process that stalls. So while the worker holds a fence's lock it beats, and a
//! parent that hears nothing for the hold's budget kills it; SQLite then rolls back, and the parent starts it again.
//! The worker ends when its parent does. They talk by pipes: the worker's standard output carries [`Word`]s, one a
//! line; the end of its standard input means *stop*. Standard error is shared.

mod parent;
mod words;
mod worker;

pub use self::parent::{Ended, Supervised, supervise};
pub use self::words::Word;
pub use self::worker::{Hold, Watchdog, stop_requested};
