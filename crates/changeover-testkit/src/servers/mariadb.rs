//! MariaDB servers for tests.

use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::find::{self, Binaries};
use super::mysql_family::{Kind, MySqlFamily, REDO_LOG, base};

const KIND: Kind = Kind { name: "mariadb", setup };

/// A running MariaDB server; what it can do is in [`MySqlFamily`].
#[derive(Debug)]
pub struct MariaDb(MySqlFamily);

impl MariaDb {
    /// The one server of this test process, started on first use. No test may stop it.
    ///
    /// # Panics
    /// If MariaDB isn't here; the message says what to install.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MariaDb> = OnceLock::new();
        SHARED.get_or_init(|| Self(Self::start(&[]).0.share()))
    }

    /// A server of one's own, with these settings beside ours; it ends when it is dropped.
    ///
    /// # Panics
    /// If MariaDB isn't here, or doesn't start with these settings; the message says what to do.
    #[must_use]
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let binaries = find::mariadb().unwrap_or_else(|missing| panic!("{missing}"));
        Self(MySqlFamily::start(&KIND, binaries, settings))
    }
}

impl Deref for MariaDb {
    type Target = MySqlFamily;

    fn deref(&self) -> &MySqlFamily {
        &self.0
    }
}

fn setup(binaries: &Binaries, command: &mut Command, data: &Path) {
    command.args(["--no-defaults", &format!("--basedir={}", base(binaries))]);
    command.arg(format!("--datadir={}", data.display()));
    // root by a password that is empty, and neither the database `test` nor the user without a name that goes with it.
    command.args(["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]);
    command.args([REDO_LOG, "--innodb-flush-method=nosync", "--debug-no-sync"]);
}
