//! The database servers that the tests start: finds out which are missing, and installs them where it may.
//!
//! What is looked for, and where, is the test kit's to know: it is asked by its example `servers`. So that it needn't be
//! built twice, that is built as the tests are.

use std::io::stderr;
use std::process::{Command, Stdio};

use crate::run::{Outcome, TESTS};

/// Makes sure that the servers are there.
pub(crate) fn provide() -> Outcome {
    let packages = missing()?;
    if packages.is_empty() {
        return Ok(());
    }
    let told = packages.join(" ");
    let by_hand = format!("the tests need database servers that aren't here: apt-get install {told}");
    let mut installer = installer().ok_or_else(|| format!("{by_hand} (as root; here it can't be done)"))?;
    eprintln!("installing {told}, which the tests start servers of; no service is started");
    installer.args(["sh", "-c", include_str!("install.sh"), "sh"]).args(&packages);
    // What apt-get says belongs to the telling, not to the output.
    let status = installer.stdout(stderr()).status().map_err(|e| format!("{by_hand}: {e}"))?;
    if !status.success() {
        return Err(format!("{by_hand}: apt-get has failed, as it says above"));
    }
    match missing()?.as_slice() {
        [] => Ok(()),
        still => Err(format!("installed {told}, and yet there is no server of {}", still.join(" "))),
    }
}

/// The Debian packages of the servers that aren't here.
fn missing() -> Result<Vec<String>, String> {
    let told = [&TESTS[..], &["--quiet", "--example", "servers"]].concat();
    eprintln!("$ cargo {}", told.join(" "));
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(&told)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cargo can't be started: {e}"))?;
    if !output.status.success() {
        return Err("the test kit doesn't say which servers are missing".to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// A command that runs its arguments as root, where there is apt-get and we are root, or may be without a password.
fn installer() -> Option<Command> {
    let works = |program: &str, args: &[&str]| {
        let tried = Command::new(program).args(args).stdin(Stdio::null()).stderr(Stdio::null()).output();
        tried.ok().filter(|output| output.status.success()).map(|output| output.stdout)
    };
    works("apt-get", &["--version"])?;
    if works("id", &["-u"])?.trim_ascii() == b"0" {
        return Some(Command::new("env"));
    }
    works("sudo", &["-n", "true"])?;
    let mut sudo = Command::new("sudo");
    sudo.arg("-n");
    Some(sudo)
}
