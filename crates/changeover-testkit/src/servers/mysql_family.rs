//! What MariaDB and MySQL servers for tests have in common: all but how a data directory is set up.
//!
//! The superuser `root` needs no password; every other user needs its own. The server's character set is utf8mb4, as
//! Debian's packages and MySQL 8 have it; else what isn't for speed or for running beside others is the server's default.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::account::Account;
use super::find::Binaries;
use super::instance::{self, Instance};
use super::supervisor::Supervisor;
use super::template;

/// To be counted up when what sets up a data directory is given something else.
const LAYOUT: u32 = 1;

/// Fast, and true to what a commit promises when the server is killed: nothing waits for the disk, but what is committed is
/// in the kernel's hands (`flush_log_at_trx_commit` is not 0, the double-write buffer stays on).
const SETTINGS: &[(&str, &str)] = &[
    ("bind_address", "127.0.0.1"),
    ("max_connections", "200"),
    ("character_set_server", "utf8mb4"),
    ("innodb_flush_log_at_trx_commit", "2"),
    ("innodb_flush_method", "nosync"),
    // MariaDB's, for its frm files, Aria and the binlog; MySQL hasn't got it.
    ("loose_debug_no_sync", "1"),
    // MySQL's second protocol, on a port that others would use too.
    ("loose_mysqlx", "0"),
];

/// Fit for copying: by default it is the largest file of a data directory.
pub(super) const REDO_LOG: &str = "--innodb-log-file-size=16M";

/// Sessions are ended, all is written: what an administrator's restart does.
const TERMINATE: &str = "TERM";
/// For the end, when nothing is needed any more.
const KILL: &str = "KILL";

/// A running MariaDB or MySQL server, whichever it is.
#[derive(Debug)]
pub struct MySqlFamily {
    instance: Instance,
    binaries: Binaries,
}

/// How one of the family differs from the other.
pub(super) struct Kind {
    /// What its templates are called.
    pub(super) name: &'static str,
    /// What its data directory is set up by.
    pub(super) setup: fn(&Binaries, &mut Command, data: &Path),
}

impl MySqlFamily {
    /// The superuser, who needs no password.
    pub const SUPERUSER: &str = "root";

    pub(super) fn start(kind: &Kind, binaries: Binaries, settings: &[(&str, &str)]) -> Self {
        let account = Account::unprivileged(&["mysql", "nobody"]);
        let folder = instance::folder(account);
        let [data, temporary, options] =
            ["data", "tmp", "my.cnf"].map(|name| folder.path().join(name).display().to_string());
        let command = [binaries.server.display().to_string(), format!("--defaults-file={options}")];
        let supervisor = Supervisor::new(account, folder.path(), KILL, &command);
        fs::create_dir(&temporary).expect("a folder for temporary tables");
        account.own(Path::new(&temporary));

        let name = template::name(kind.name, &binaries.version, account.uid(), LAYOUT);
        template::data_directory(&name, Path::new(&data), |data| {
            let mut command = account.command(&binaries.setup);
            command.current_dir(folder.path()).env("HOME", folder.path());
            (kind.setup)(&binaries, &mut command, data);
            let said = command.output().unwrap_or_else(|e| panic!("{}: {e}", binaries.setup.display()));
            let text = [&*said.stdout, &*said.stderr].map(String::from_utf8_lossy).concat();
            assert!(said.status.success(), "{}: {text}", binaries.setup.display());
        });
        let mut instance = Instance::new(folder, account, supervisor);
        instance.start_on_free_port(
            |instance| configure(instance, &binaries, settings),
            |i| answers(i, &binaries),
        );
        Self { instance, binaries }
    }

    pub(super) fn share(mut self) -> Self {
        self.instance.shared = true;
        self
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.instance.port
    }

    /// The folder of its Unix socket (`mysql.sock`), which is its own.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.instance.folder.path()
    }

    /// The URL of a database, as the superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("mysql://{}@127.0.0.1:{}/{database}", Self::SUPERUSER, self.port())
    }

    /// The URL of a database, as a user with a password.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        let (user, password) = (instance::percent(user), instance::percent(password));
        format!("mysql://{user}:{password}@127.0.0.1:{}/{database}", self.port())
    }

    /// A fresh, empty database, whose name begins with the hint and is nobody else's.
    pub fn create_database(&self, hint: &str) -> String {
        self.create_database_with(hint, "")
    }

    /// The same, with a clause of CREATE DATABASE, such as `CHARACTER SET latin1 COLLATE latin1_german2_ci`.
    pub fn create_database_with(&self, hint: &str, clause: &str) -> String {
        let name = self.instance.unique(hint);
        self.sql("", &format!("CREATE DATABASE {name} {clause}"));
        name
    }

    /// A user who may log in with this password from anywhere and do nothing yet; its name begins with the hint.
    pub fn create_user(&self, hint: &str, password: &str) -> String {
        let name = self.instance.unique(hint);
        let password = password.replace('\\', "\\\\").replace('\'', "''");
        self.sql("", &format!("CREATE USER {name}@'%' IDENTIFIED BY '{password}'"));
        name
    }

    /// Runs SQL as the superuser, in this database or in none, and gives the rows: a line each, their columns apart by a
    /// tab.
    ///
    /// # Panics
    /// If a statement fails.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// The same, for what may fail; the error is what the client says.
    ///
    /// # Errors
    /// If the server can't be reached, or a statement fails; those before it are done.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        self.try_sql_as(Self::SUPERUSER, "", database, sql)
    }

    /// The same, as a user with a password.
    ///
    /// # Errors
    /// If the server can't be reached, or a statement fails; those before it are done.
    pub fn try_sql_as(
        &self,
        user: &str,
        password: &str,
        database: &str,
        sql: &str,
    ) -> Result<String, String> {
        let mut command = client(&self.binaries, user, password);
        command.args(["--protocol=tcp", "--host=127.0.0.1", &format!("--port={}", self.port()), database]);
        instance::run_client(command, sql)
    }

    /// As an administrator restarts it: sessions are ended, the rest is written. Starts it if it is stopped.
    pub fn restart(&self) {
        self.instance.restart(TERMINATE, |i| answers(i, &self.binaries));
    }

    /// As a power cut does, but for the kernel: the server is killed, and started again.
    pub fn kill_and_restart(&self) {
        self.instance.restart(KILL, |i| answers(i, &self.binaries));
    }

    /// Ends it as an administrator does; [`restart`](Self::restart) starts it again, on the same port.
    pub fn stop(&self) {
        self.instance.stop(TERMINATE);
    }

    /// Kills it; [`restart`](Self::restart) starts it again, on the same port.
    pub fn kill(&self) {
        self.instance.stop(KILL);
    }

    /// Whether its process runs.
    #[must_use]
    pub fn running(&self) -> bool {
        self.instance.alive()
    }

    /// What it has logged, in all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        self.instance.log()
    }
}

/// Where it is installed, which its setup and its messages are found by.
pub(super) fn base(binaries: &Binaries) -> String {
    let base = binaries.server.parent().and_then(Path::parent).unwrap_or(Path::new("/usr"));
    base.display().to_string()
}

fn configure(instance: &Instance, binaries: &Binaries, settings: &[(&str, &str)]) {
    let path = |name| instance.path(name).display().to_string();
    let redo_log = REDO_LOG.trim_start_matches("--").split_once('=').expect("a setting and its value");
    let own = [
        ("basedir", base(binaries)),
        ("datadir", path("data")),
        ("tmpdir", path("tmp")),
        ("socket", path("mysql.sock")),
        ("pid_file", path("pid")),
        ("port", instance.port.to_string()),
        (redo_log.0, redo_log.1.to_owned()),
    ];
    let own = own.iter().map(|(name, value)| (*name, value.as_str()));
    let lines = own.chain(SETTINGS.iter().copied()).chain(settings.iter().copied());
    let lines: Vec<String> = lines.map(|(name, value)| format!("{name} = {value}\n")).collect();
    instance::write(instance.account, &instance.path("my.cnf"), &format!("[mysqld]\n{}", lines.concat()));
}

/// By the socket in its own folder, so that it is this server that answers.
fn answers(instance: &Instance, binaries: &Binaries) -> Result<(), String> {
    let mut command = client(binaries, MySqlFamily::SUPERUSER, "");
    command.args(["--protocol=socket", &format!("--socket={}", instance.path("mysql.sock").display())]);
    instance::run_client(command, "SELECT 1").map(drop)
}

fn client(binaries: &Binaries, user: &str, password: &str) -> Command {
    let mut command = Command::new(&binaries.client);
    // What the caller's environment and option files say of other servers isn't for this one.
    let ours = |name: &str| ["MYSQL_", "MARIADB_"].iter().any(|prefix| name.starts_with(prefix));
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command.args(["--no-defaults", "--batch", "--raw", "--skip-column-names"]);
    command.arg("--default-character-set=utf8mb4");
    command.args([format!("--user={user}"), format!("--password={password}")]);
    command
}
