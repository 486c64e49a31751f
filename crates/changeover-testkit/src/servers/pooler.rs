//! PgBouncer in front of a PostgreSQL for tests.

use super::account::Account;
use super::find;
use super::instance::{self, Instance};
use super::postgres::Postgres;
use super::supervisor::Supervisor;

/// A running pooler; it ends when it is dropped.
#[derive(Debug)]
pub struct Pooler {
    instance: Instance,
}

impl Pooler {
    /// One that gives out the server's sessions for a `session`, a `transaction` or a `statement`.
    ///
    /// # Panics
    /// If PgBouncer isn't here; the message says what to install.
    #[must_use]
    pub fn start(server: &Postgres, mode: &str) -> Self {
        let binaries = find::pooler().unwrap_or_else(|missing| panic!("{missing}"));
        let account = Account::unprivileged(&["postgres", "nobody"]);
        let folder = instance::folder(account);
        let settings = folder.path().join("pooler.ini").display().to_string();
        let command = [binaries.server.display().to_string(), settings];
        let supervisor = Supervisor::new(account, folder.path(), &command);
        let mut instance = Instance::new(folder, account, supervisor);
        let target = format!("host=127.0.0.1 port={} user={}", server.port(), Postgres::SUPERUSER);
        instance.start_on_free_port(
            |instance| {
                let text = format!(
                    "[databases]\n* = {target}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\n\
                     auth_type = any\npool_mode = {mode}\n",
                    instance.port
                );
                instance::write(account, &instance.path("pooler.ini"), &text);
            },
            |instance| server.psql_at(&url(instance.port, "postgres"), "SELECT 1").map(drop),
        );
        Self { instance }
    }

    /// The URL of a database by way of it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        url(self.instance.port, database)
    }
}

fn url(port: u16, database: &str) -> String {
    format!("postgres://{}@127.0.0.1:{port}/{database}", Postgres::SUPERUSER)
}
