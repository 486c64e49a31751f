//! `cargo xtask tidy`: what a machine can see of the house rules.
//!
//! It sees: an arrow between crates that the design doesn't have; a source file without a header, or longer than any
//! file may be; a lint exception without its reason; a dead link in the docs; a path of somebody's machine; a stub. It
//! can't see whether a header is true.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::links;
use crate::run::Outcome;

/// Which of our crates each may use, outside of its tests. The table of the design, section 9.
const ARROWS: &[(&str, &[&str])] = &[
    ("changeover-protocol", &[]),
    ("changeover", &["changeover-protocol"]),
    ("changeover-tables", &["changeover-protocol", "changeover"]),
    ("changeover-api", &["changeover-protocol", "changeover"]),
    ("changeover-control", &["changeover-protocol", "changeover", "changeover-tables", "changeover-api"]),
    (
        "changeover-cli",
        &[
            "changeover-protocol",
            "changeover",
            "changeover-tables",
            "changeover-api",
            "changeover-control",
            "changeover-history",
        ],
    ),
    ("changeover-history", &[]),
    ("changeover-testkit", &["changeover-protocol", "changeover"]),
    ("changeover-bench", &["changeover-protocol", "changeover", "changeover-tables", "changeover-testkit"]),
    ("xtask", &[]),
];

/// A file longer than this holds more than one concept.
const LINES_MAX: usize = 600;

/// Looks at every file that git tracks or would track.
pub(crate) fn tidy() -> Outcome {
    let files = tracked()?;
    let mut faults = Vec::new();
    for file in &files {
        let Ok(text) = fs::read_to_string(file) else { continue };
        if file.ends_with("Cargo.toml") {
            arrows(file, &text, &mut faults);
        }
        if file.ends_with(".rs") {
            source(file, &text, &mut faults);
        }
        if file.ends_with(".md") {
            links::check(file, &text, &mut faults);
        }
        machine_paths(file, &text, &mut faults);
    }
    if faults.is_empty() {
        eprintln!("tidy: {} files, nothing to mend", files.len());
        return Ok(());
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    Err(format!("tidy: {} things to mend", faults.len()))
}

fn tracked() -> Result<Vec<String>, String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .map_err(|e| format!("git can't be started: {e}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let files = String::from_utf8_lossy(&output.stdout);
    Ok(files.lines().filter(|f| Path::new(f).is_file()).map(str::to_owned).collect())
}

fn arrows(file: &str, text: &str, faults: &mut Vec<String>) {
    let Ok(manifest) = text.parse::<toml::Table>() else {
        faults.push(format!("{file}: not TOML"));
        return;
    };
    let Some(name) = manifest.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str()) else {
        return; // the workspace's own
    };
    let Some((_, allowed)) = ARROWS.iter().find(|(crate_name, _)| *crate_name == name) else {
        faults.push(format!("{file}: the crate {name} isn't in the table of arrows (xtask/src/tidy.rs)"));
        return;
    };
    let ours: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let dependencies = manifest.get("dependencies").and_then(|d| d.as_table());
    for dependency in dependencies.into_iter().flatten().map(|(name, _)| name.as_str()) {
        if ours.contains(dependency) && !allowed.contains(&dependency) {
            faults.push(format!("{file}: {name} must not know {dependency}"));
        }
    }
}

fn source(file: &str, text: &str, faults: &mut Vec<String>) {
    if !text.starts_with("//!") {
        faults.push(format!("{file}:1: no header that says what this file is and why"));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        faults.push(format!("{file}: {lines} lines, more than {LINES_MAX}: split it by concept"));
    }
    let own = file.ends_with("tidy.rs");
    for (number, line) in text.lines().enumerate() {
        let code = line.trim_start();
        let at = || format!("{file}:{}", number + 1);
        let exception = code.starts_with("#[allow(") || code.starts_with("#![allow(");
        if exception && code.ends_with(']') && !code.contains("reason") {
            faults.push(format!("{}: a lint exception without its reason", at()));
        }
        let stub = ["todo!(", "unimplemented!(", "#[ignore", "FIXME"];
        if !own && stub.iter().any(|s| code.contains(s)) {
            faults.push(format!("{}: a stub or a skipped test", at()));
        }
    }
}

fn machine_paths(file: &str, text: &str, faults: &mut Vec<String>) {
    if file.ends_with("tidy.rs") {
        return;
    }
    for (number, line) in text.lines().enumerate() {
        if ["/root/", "/home/", "/work/"].iter().any(|path| line.contains(path)) {
            faults.push(format!("{file}:{}: a path of somebody's machine", number + 1));
        }
    }
}
