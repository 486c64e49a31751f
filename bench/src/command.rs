//! The command itself, run as a user runs it: what is measured is what is shipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Runs `changeover` in a folder; its report, as `--json` gives it.
pub(crate) fn changeover(folder: &Path, args: &[&str]) -> Result<Value, String> {
    run(folder, args, 0)
}

/// The same for a command whose answer may be no.
pub(crate) fn asked(folder: &Path, args: &[&str]) -> Result<Value, String> {
    run(folder, args, 1)
}

fn run(folder: &Path, args: &[&str], code_max: i32) -> Result<Value, String> {
    let output =
        Command::new(binary()?).args(args).current_dir(folder).output().map_err(|e| e.to_string())?;
    if output.status.code().is_none_or(|code| code > code_max) {
        return Err(format!(
            "changeover {} exited with {}: {}",
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|e| format!("changeover {}: not JSON: {e}", args.join(" ")))
}

/// A number of a report.
pub(crate) fn number(report: &Value, field: &str) -> Result<f64, String> {
    report.get(field).and_then(Value::as_f64).ok_or_else(|| format!("the report has no number `{field}`"))
}

/// The binary beside this one.
fn binary() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let binary = own.with_file_name("changeover");
    if binary.is_file() {
        Ok(binary)
    } else {
        Err("build the command first: cargo build --release -p changeover-cli".to_owned())
    }
}
