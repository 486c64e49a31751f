//! Who is taken for a server: real ones with a certificate of an authority of their own, and without any.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by panicking, their helpers too"
)]

mod tls {
    mod certificates;

    mod mysql;
    mod postgres;
}
