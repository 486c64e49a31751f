//! PostgreSQL servers for tests.
//!
//! The superuser `postgres` needs no password; every other role needs its own (scram-sha-256), as in production. Encoding
//! and locale are the same everywhere (UTF-8, `C.UTF-8`), whatever the machine's are: a database with another collation is
//! made by [`Postgres::create_database_with`].

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::account::Account;
use super::find::{self, Binaries};
use super::instance::{self, Instance};
use super::supervisor::Supervisor;
use super::template;

/// To be counted up when what `initdb` is given changes.
const LAYOUT: u32 = 1;

/// Fast, and true to what a commit promises when the server is killed: nothing waits for the disk, but what is committed is
/// in the kernel's hands (`synchronous_commit` and `full_page_writes` stay on).
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("max_connections", "200"),
    ("fsync", "off"),
    ("max_wal_size", "2GB"),
    // In its folder, so that it goes with that even if the server is killed.
    ("dynamic_shared_memory_type", "mmap"),
];

const HBA: &str = "\
local all,replication postgres              trust
host  all,replication postgres 127.0.0.1/32 trust
local all,replication all                   scram-sha-256
host  all,replication all      127.0.0.1/32 scram-sha-256
";

/// Sessions are ended, all is written: what an administrator's restart does.
const FAST: &str = "INT";

/// A running PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    instance: Instance,
    binaries: Binaries,
}

impl Postgres {
    /// The superuser, who needs no password.
    pub const SUPERUSER: &str = "postgres";

    /// The one server of this test process, started on first use. No test may stop it.
    ///
    /// # Panics
    /// If PostgreSQL isn't here; the message says what to install.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| {
            let mut server = Self::start(&[]);
            server.instance.shared = true;
            server
        })
    }

    /// A server of one's own, with these settings beside ours; it ends when it is dropped.
    ///
    /// # Panics
    /// If PostgreSQL isn't here, or doesn't start with these settings; the message says what to do.
    #[must_use]
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let binaries = find::postgres().unwrap_or_else(|missing| panic!("{missing}"));
        let account = Account::unprivileged(&["postgres", "nobody"]);
        let folder = instance::folder(account);
        let data = folder.path().join("data");
        let command = [binaries.server.display().to_string(), "-D".to_owned(), data.display().to_string()];
        let mut supervisor = Supervisor::new(account, folder.path(), &command);

        let name = template::name("postgres", &binaries.version, account.uid(), LAYOUT);
        template::data_directory(account, &name, &data, |data| supervisor.run(&initdb(&binaries, data)));
        instance::write(account, &data.join("pg_hba.conf"), HBA);
        let mut instance = Instance::new(folder, account, supervisor);
        instance.start_on_free_port(|instance| configure(instance, settings), |i| answers(i, &binaries));
        Self { instance, binaries }
    }

    /// A standby of it: a server of its own that replays what this one does, and takes no writes.
    ///
    /// # Panics
    /// If it can't be made, or doesn't start.
    #[must_use]
    pub fn standby(&self) -> Self {
        let (binaries, account) = (self.binaries.clone(), self.instance.account);
        let folder = instance::folder(account);
        let data = folder.path().join("data").display().to_string();
        let command = [binaries.server.display().to_string(), "-D".to_owned(), data.clone()];
        let mut supervisor = Supervisor::new(account, folder.path(), &command);
        let copier = binaries.setup.with_file_name("pg_basebackup").display().to_string();
        let from = format!("host=127.0.0.1 port={} user={}", self.port(), Self::SUPERUSER);
        let copy =
            [&copier, "-D", &data, "-d", &from, "-R", "-X", "stream", "--checkpoint=fast", "--no-sync"];
        supervisor.run(&copy.map(str::to_owned));
        let mut instance = Instance::new(folder, account, supervisor);
        instance.start_on_free_port(|instance| configure(instance, &[]), |i| answers(i, &binaries));
        Self { instance, binaries }
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.instance.port
    }

    /// The folder of its Unix socket, which is its own.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.instance.folder.path()
    }

    /// The URL of a database, as the superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{}@127.0.0.1:{}/{database}", Self::SUPERUSER, self.port())
    }

    /// The URL of a database, as a role with a password.
    #[must_use]
    pub fn url_as(&self, role: &str, password: &str, database: &str) -> String {
        let (role, password) = (instance::percent(role), instance::percent(password));
        format!("postgres://{role}:{password}@127.0.0.1:{}/{database}", self.port())
    }

    /// A fresh, empty database, whose name begins with the hint and is nobody else's.
    pub fn create_database(&self, hint: &str) -> String {
        self.create_database_with(hint, "")
    }

    /// The same, with a clause of CREATE DATABASE, such as
    /// `TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'`.
    pub fn create_database_with(&self, hint: &str, clause: &str) -> String {
        let name = self.instance.unique(hint);
        self.psql("postgres", &format!("CREATE DATABASE {name} {clause}"));
        name
    }

    /// A role that may log in with this password and own nothing yet; its name begins with the hint.
    pub fn create_role(&self, hint: &str, password: &str) -> String {
        let name = self.instance.unique(hint);
        let password = password.replace('\'', "''");
        self.psql("postgres", &format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'"));
        name
    }

    /// Runs SQL as the superuser, and gives the rows: a line each, their columns apart by `|`.
    ///
    /// # Panics
    /// If a statement fails.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        self.try_psql(database, sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// The same, for what may fail; the error is what psql says.
    ///
    /// # Errors
    /// If the server can't be reached, or a statement fails; those before it are done.
    pub fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        self.psql_at(&self.url(database), sql)
    }

    /// The same, by another URL: another role's, or by way of a relay.
    ///
    /// # Errors
    /// If the server can't be reached, or a statement fails; those before it are done.
    pub fn psql_at(&self, url: &str, sql: &str) -> Result<String, String> {
        run_psql(&self.binaries, url, sql)
    }

    /// As an administrator restarts it: sessions are ended, the rest is written. Starts it if it is stopped.
    pub fn restart(&self) {
        self.instance.restart(FAST, |i| answers(i, &self.binaries));
    }

    /// As a power cut does, but for the kernel: the server and all its backends are killed at once, and it is started again.
    pub fn kill_and_restart(&self) {
        self.instance.restart("KILL", |i| answers(i, &self.binaries));
    }

    /// Ends it as an administrator does; [`restart`](Self::restart) starts it again, on the same port.
    pub fn stop(&self) {
        self.instance.stop(FAST);
    }

    /// Kills it and all its backends; [`restart`](Self::restart) starts it again, on the same port.
    pub fn kill(&self) {
        self.instance.stop("KILL");
    }

    /// Whether its process runs.
    #[must_use]
    pub fn running(&self) -> bool {
        self.instance.alive()
    }

    /// Where its programs are, those that come with the server.
    pub(super) fn folder_of_programs(&self) -> &Path {
        self.binaries.server.parent().expect("a program is in a folder")
    }

    /// What it has logged, in all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        self.instance.log()
    }
}

fn initdb(binaries: &Binaries, data: &Path) -> Vec<String> {
    let setup =
        [&binaries.setup.display().to_string(), "--pgdata", &data.display().to_string()].map(str::to_owned);
    let options = ["--username", Postgres::SUPERUSER, "--auth", "trust", "--no-sync", "--no-instructions"];
    let encoding = ["--encoding", "UTF8", "--locale", "C.UTF-8"];
    setup.into_iter().chain(options.into_iter().chain(encoding).map(str::to_owned)).collect()
}

/// The settings are in a file and not on the command line, so that ALTER SYSTEM may change them.
fn configure(instance: &Instance, settings: &[(&str, &str)]) {
    let folder = instance.folder.path().display().to_string();
    let own = [("port", &*instance.port.to_string()), ("unix_socket_directories", &*folder)].map(line);
    let text: Vec<String> =
        SETTINGS.iter().copied().map(line).chain(own).chain(settings.iter().copied().map(line)).collect();
    instance::write(instance.account, &instance.path("data/changeover.conf"), &text.concat());
    let main = instance.path("data/postgresql.conf");
    let text = std::fs::read_to_string(&main).expect("initdb makes postgresql.conf");
    let include = "include 'changeover.conf'\n";
    if !text.ends_with(include) {
        instance::write(instance.account, &main, &format!("{text}{include}"));
    }
}

fn line((name, value): (&str, &str)) -> String {
    format!("{name} = '{}'\n", value.replace('\'', "''"))
}

/// By the socket in its own folder, so that it is this server that answers.
fn answers(instance: &Instance, binaries: &Binaries) -> Result<(), String> {
    let folder = instance::percent(&instance.folder.path().display().to_string());
    let url = format!("postgres://{}@{folder}:{}/postgres", Postgres::SUPERUSER, instance.port);
    run_psql(binaries, &url, "SELECT 1").map(drop)
}

fn run_psql(binaries: &Binaries, url: &str, sql: &str) -> Result<String, String> {
    let mut command = without_surroundings(Command::new(&binaries.client));
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url]);
    instance::run_client(command, sql)
}

/// A client's command without what the caller's environment says of other servers (PGPASSWORD, PGOPTIONS, …).
pub(super) fn without_surroundings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    command
}
