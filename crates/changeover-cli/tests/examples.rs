//! The examples at the repository's root: each README's commands are run as they stand there, and what comes is what it says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

#[track_caller]
fn walked(example: &str) {
    let walk = Command::new("python3")
        .arg(examples().join("walk.py"))
        .arg(example)
        .env("CHANGEOVER", env!("CARGO_BIN_EXE_changeover"))
        .env_remove("RUST_LOG")
        .output()
        .expect("the examples' services are Python: python3 has to be installed");
    let said = [walk.stdout, walk.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(walk.status.success(), "{example}\n{}\n{}", said[0], said[1]);
}

#[test]
fn two_old_stacks_are_consolidated_as_the_readme_says() {
    walked("consolidation");
}

#[test]
fn customer_ids_move_to_pending_payments_as_the_readme_says() {
    walked("pending-payments");
}

/// A folder that nobody walks through would rot.
#[test]
fn these_are_all_examples() {
    let entries = std::fs::read_dir(examples()).expect("the examples");
    let mut folders: Vec<String> = entries
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.path().join("README.md").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    folders.sort();
    assert_eq!(folders, ["consolidation", "pending-payments"]);
}
