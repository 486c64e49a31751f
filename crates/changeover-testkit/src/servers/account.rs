//! Whom a server runs as: never root, which PostgreSQL refuses and no production has.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Whom a server runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    /// Whoever runs the tests.
    Ourselves,
    /// Another, because we are root.
    Other { uid: u32, gid: u32 },
}

impl Account {
    /// Ourselves, or the first of these accounts that exists if we are root.
    ///
    /// # Panics
    /// If we are root, and there is none of them.
    pub(super) fn unprivileged(preferred: &[&str]) -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self::Ourselves;
        }
        let known =
            fs::read_to_string("/etc/passwd").expect("/etc/passwd, to find an account that isn't root");
        let other = preferred.iter().find_map(|name| known.lines().find_map(|line| ids(line, name)));
        let (uid, gid) = other.unwrap_or_else(|| {
            panic!("database servers don't run as root: /etc/passwd has none of {}", preferred.join(", "))
        });
        Self::Other { uid, gid }
    }

    /// The user's number.
    pub(super) fn uid(self) -> u32 {
        match self {
            Self::Ourselves => rustix::process::geteuid().as_raw(),
            Self::Other { uid, .. } => uid,
        }
    }

    /// A command as this account, without the groups of root.
    pub(super) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Gives a file or folder to this account.
    pub(super) fn own(self, path: &Path) {
        if let Self::Other { uid, gid } = self {
            chown(path, Some(uid), Some(gid)).unwrap_or_else(|e| panic!("chown {}: {e}", path.display()));
        }
    }
}

/// The numbers in a line of `/etc/passwd`, if it is this account's.
fn ids(line: &str, name: &str) -> Option<(u32, u32)> {
    let mut fields = line.split(':');
    if fields.next() != Some(name) {
        return None;
    }
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    (uid != 0).then_some((uid, gid))
}
