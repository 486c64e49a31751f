//! Where the servers' binaries are, and what to install where they aren't.
//!
//! This is the one place that knows: the tests start what it finds, and `cargo xtask test` asks it for what is missing, by
//! the example `servers`.

use std::cmp::Reverse;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The binaries of one kind of server.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The server itself.
    pub server: PathBuf,
    /// What makes a new data directory.
    pub setup: PathBuf,
    /// The command-line client.
    pub client: PathBuf,
    /// What the server says to `--version`.
    pub version: String,
}

/// A kind of server that isn't here.
#[derive(Debug, Clone)]
pub struct Missing {
    /// Which.
    pub kind: &'static str,
    /// The Debian packages that have it; empty where Debian has none.
    pub packages: &'static [&'static str],
    /// The variable that names a folder to look into first.
    pub variable: &'static str,
    looked: Vec<PathBuf>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let looked: Vec<String> = self.looked.iter().map(|folder| folder.display().to_string()).collect();
        write!(f, "{} isn't here (looked into {}). ", self.kind, looked.join(", "))?;
        if !self.packages.is_empty() {
            let packages = self.packages.join(" ");
            write!(
                f,
                "Install Debian's packages: apt-get install {packages} (`cargo xtask test` does). Or name "
            )?;
        } else {
            write!(f, "Name ")?;
        }
        write!(f, "the folder of its binaries in {}", self.variable)
    }
}

/// Those of the servers that the tests can't do without and that aren't here. MySQL isn't among them: Debian has none.
#[must_use]
pub fn missing() -> Vec<Missing> {
    [postgres(), mariadb(), pooler()].into_iter().filter_map(Result::err).collect()
}

/// PostgreSQL: that of `PATH`, or else the newest.
///
/// # Errors
/// If there is none.
pub fn postgres() -> Result<Binaries, Missing> {
    let wanted = Wanted {
        kind: "PostgreSQL",
        packages: &["postgresql"],
        variable: "CHANGEOVER_POSTGRES",
        server: &["postgres"],
        is: |_| true,
        setup: &["initdb"],
        client: &["psql"],
    };
    // Debian has the server and its tools in a folder for each version, which isn't in PATH.
    let versions = versions("/usr/lib/postgresql").into_iter().chain(["/usr/local/pgsql/bin".into()]);
    wanted.find(&versions.collect::<Vec<_>>())
}

/// MariaDB, by whichever of its two names.
///
/// # Errors
/// If there is none.
pub fn mariadb() -> Result<Binaries, Missing> {
    let wanted = Wanted {
        kind: "MariaDB",
        // What `mariadb-server` needs of them, without the service that it starts.
        packages: &["mariadb-server-core", "mariadb-client-core"],
        variable: "CHANGEOVER_MARIADB",
        server: &["mariadbd", "mysqld"],
        is: |version| version.contains("MariaDB"),
        setup: &["mariadb-install-db", "mysql_install_db"],
        client: &["mariadb", "mysql"],
    };
    wanted.find(&["/usr/local/mariadb/bin".into(), "/usr/local/mariadb/scripts".into()])
}

/// PgBouncer, a pooler for PostgreSQL.
///
/// # Errors
/// If there is none.
pub fn pooler() -> Result<Binaries, Missing> {
    let wanted = Wanted {
        kind: "PgBouncer",
        packages: &["pgbouncer"],
        variable: "CHANGEOVER_PGBOUNCER",
        server: &["pgbouncer"],
        is: |_| true,
        // It has neither: nothing is set up, and PostgreSQL's client is its own.
        setup: &["pgbouncer"],
        client: &["pgbouncer"],
    };
    wanted.find(&[])
}

/// A real MySQL: Debian's `mysqld` is MariaDB.
///
/// # Errors
/// If there is none.
pub fn mysql() -> Result<Binaries, Missing> {
    let wanted = Wanted {
        kind: "MySQL",
        packages: &[],
        variable: "CHANGEOVER_MYSQL",
        server: &["mysqld"],
        is: |version| !version.contains("MariaDB"),
        setup: &["mysqld"],
        client: &["mysql", "mariadb"],
    };
    wanted.find(&["/usr/local/mysql/bin".into()])
}

/// What is looked for.
struct Wanted {
    kind: &'static str,
    packages: &'static [&'static str],
    variable: &'static str,
    /// The names of the server, and what its version must be.
    server: &'static [&'static str],
    is: fn(&str) -> bool,
    setup: &'static [&'static str],
    client: &'static [&'static str],
}

impl Wanted {
    fn find(&self, usual: &[PathBuf]) -> Result<Binaries, Missing> {
        let folders = folders(self.variable, usual);
        let server = programs(&folders, self.server).find_map(|server| {
            let version = version(&server)?;
            (self.is)(&version).then_some((server, version))
        });
        let found = server.and_then(|(server, version)| {
            // The others of the same version, not those that PATH happens to have.
            let beside = [vec![server.parent()?.to_owned()], folders.clone()].concat();
            let setup = programs(&beside, self.setup).next()?;
            let client = programs(&beside, self.client).next()?;
            Some(Binaries { server, setup, client, version })
        });
        let Self { kind, packages, variable, .. } = *self;
        found.ok_or(Missing { kind, packages, variable, looked: folders })
    }
}

/// The folder that the variable names, those of `PATH`, and where distributions put what they don't have in `PATH`.
fn folders(variable: &str, usual: &[PathBuf]) -> Vec<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let always = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"].map(PathBuf::from);
    let mut folders = Vec::new();
    for folder in named.into_iter().chain(path).chain(usual.iter().cloned()).chain(always) {
        if !folders.contains(&folder) && folder.is_dir() {
            folders.push(folder);
        }
    }
    folders
}

/// `…/15/bin` and its like, the newest first.
fn versions(parent: &str) -> Vec<PathBuf> {
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| number(path).is_some()).collect();
    found.sort_by_key(|path| Reverse(number(path)));
    found.into_iter().map(|path| path.join("bin")).collect()
}

/// The programs of these names, by their real paths, in the folders' order.
fn programs<'a>(folders: &'a [PathBuf], names: &'a [&str]) -> impl Iterator<Item = PathBuf> + 'a {
    let all = folders.iter().flat_map(move |folder| names.iter().map(move |name| folder.join(name)));
    all.filter(|path| path.is_file()).filter_map(|path| real(&path))
}

/// Where a link leads: Debian's `/usr/local/bin/postgres` may be one into the folder that has all the others. A link that
/// chooses what the program does by its name stays as it is.
fn real(path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().ok()?;
    Some(if real.file_name() == path.file_name() { real } else { path.to_owned() })
}

fn version(server: &Path) -> Option<String> {
    let output = Command::new(server).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !said.is_empty()).then_some(said)
}
