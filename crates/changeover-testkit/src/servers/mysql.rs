//! MySQL servers for tests, where there is a real one: Debian hasn't got it, and what it calls `mysqld` is MariaDB.
//!
//! Name the folder of its binaries in `CHANGEOVER_MYSQL` if it isn't in `PATH`.

use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::find::{self, Binaries};
use super::mysql_family::{Kind, MySqlFamily, REDO_LOG, base};

const KIND: Kind = Kind { name: "mysql", setup };

/// A running MySQL server; what it can do is in [`MySqlFamily`].
#[derive(Debug)]
pub struct MySql(MySqlFamily);

impl MySql {
    /// The one server of this test process, started on first use, if there is a real MySQL. No test may stop it.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<MySql>> = OnceLock::new();
        SHARED.get_or_init(|| Some(Self(Self::start(&[])?.0.share()))).as_ref()
    }

    /// A server of one's own, with these settings beside ours, if there is a real MySQL; it ends when it is dropped.
    ///
    /// # Panics
    /// If it doesn't start with these settings.
    #[must_use]
    pub fn start(settings: &[(&str, &str)]) -> Option<Self> {
        let binaries = find::mysql().ok()?;
        Some(Self(MySqlFamily::start(&KIND, binaries, settings)))
    }
}

impl Deref for MySql {
    type Target = MySqlFamily;

    fn deref(&self) -> &MySqlFamily {
        &self.0
    }
}

fn setup(binaries: &Binaries, command: &mut Command, data: &Path) {
    command.args(["--no-defaults", "--initialize-insecure", &format!("--basedir={}", base(binaries))]);
    command.arg(format!("--datadir={}", data.display()));
    command.args([REDO_LOG, "--innodb-flush-method=nosync"]);
}
