//! Which of the database servers that the tests start are missing: their Debian packages on stdout, one a line, and what is
//! there on stderr.
//!
//! `cargo xtask test` asks this before it runs the tests, and installs what is named.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command")]

use changeover_testkit::servers::find;

fn main() {
    for found in [find::postgres(), find::mariadb(), find::pooler(), find::mysql()] {
        match found {
            Ok(binaries) => eprintln!("{}: {}", binaries.server.display(), binaries.version),
            Err(missing) => eprintln!("{missing}"),
        }
    }
    for missing in find::missing() {
        missing.packages.iter().for_each(|package| println!("{package}"));
    }
}
