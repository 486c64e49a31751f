//! A MariaDB or MySQL database: its sessions, what it says of itself, and its stores.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use changeover::{Side, StoreError, TableName, Value};
use mysql_async::Opts;

use super::catalog::{self, text};
use super::exact::Flavour;
use super::own::Ownership;
use super::session::{MySession, MySessions};
use super::syntax::Mysql;
use crate::catalog::Catalog;
use crate::database::{Database, Owned, Scope, SideStore, Watch};
use crate::installed::Installed;
use crate::plan::Plan;
use crate::server::ServerStore;
use crate::server::install::Installs as _;
use crate::server::remove::{removal_sql, remove_of, strangers};
use crate::server::session::{DbError, Place, Session, Trouble};
use crate::server::store::{Inner, Manners, Server};

/// How Changeover behaves towards a MariaDB or MySQL database.
#[derive(Debug, Clone, Copy)]
pub struct MysqlOptions {
    /// How long it waits for a lock; the servers count whole seconds.
    pub lock_wait: Duration,
    /// How many sessions it has at once, at most.
    pub sessions: usize,
    /// Whether rows may be loaded by LOAD DATA LOCAL, where the server lets it. It asks for no file of this machine's: what is
    /// sent is made here, whatever the server asks for.
    pub load_files: bool,
}

impl Default for MysqlOptions {
    fn default() -> Self {
        Self { lock_wait: Duration::from_secs(2), sessions: 16, load_files: true }
    }
}

/// A MariaDB or MySQL database.
#[derive(Debug)]
pub struct MysqlDatabase {
    place: Place,
    sessions: Arc<MySessions>,
    manners: Manners,
    flavour: Flavour,
    server: String,
    database: String,
}

impl MysqlDatabase {
    /// Connects, once, to see that it can be reached. `store` is the store's name in the spec, `url` as in
    /// `mysql://user:password@host:3306/database`; `mariadb://` means the same.
    ///
    /// # Errors
    /// If the URL isn't understood, or the server can't be reached or refuses.
    pub async fn open(
        store: impl Into<String>,
        url: &str,
        options: MysqlOptions,
    ) -> Result<Arc<Self>, StoreError> {
        let (store, doing) = (store.into(), "connecting");
        let refused = |cause: String| StoreError::Refused {
            store: store.clone(),
            doing: doing.to_owned(),
            cause,
            remedy: "Write mysql://user@host:port/database".to_owned(),
        };
        let url =
            url.strip_prefix("mariadb://").map_or_else(|| url.to_owned(), |rest| format!("mysql://{rest}"));
        let opts =
            Opts::from_url(&url).map_err(|error| refused(format!("its URL isn't understood: {error}")))?;
        let Some(database) = opts.db_name().filter(|name| !name.is_empty()).map(str::to_owned) else {
            return Err(refused("its URL names no database".to_owned()));
        };
        let at = match opts.socket() {
            Some(socket) => format!("{socket}/{database}"),
            None => format!("{}:{}/{database}", opts.ip_or_hostname(), opts.tcp_port()),
        };
        let mut place = Place { store: store.clone(), server: "MySQL", at };
        let told = |error: DbError| place.error(doing, &error);
        let sessions = Arc::new(MySessions::new(opts, options.sessions, options.load_files).map_err(told)?);
        let mut session = sessions.connect().await.map_err(told)?;
        let flavour = flavour(&mut session).await.map_err(told)?;
        let server = server_of(&mut session).await.map_err(told)?;
        Box::new(session).release();
        place.server = if flavour.mariadb { "MariaDB" } else { "MySQL" };
        // Other triggers can't be silenced here.
        let manners = Manners { lock_wait: options.lock_wait, silent: false };
        Ok(Arc::new(Self { place, sessions, manners, flavour, server, database }))
    }

    /// What the database says of itself.
    ///
    /// # Errors
    /// What the server says.
    pub async fn catalog(&self) -> Result<Catalog, StoreError> {
        let told = |error: DbError| self.place.error("reading the catalogue", &error);
        let mut session = self.sessions.connect().await.map_err(told)?;
        let tables = catalog::tables(&mut session, self.flavour, &self.database).await.map_err(told)?;
        let bytes = catalog::bytes(&mut session).await.map_err(told)?;
        let written = catalog::capturable(&mut session).await.map_err(told)?;
        let captured = Err((
            "changes aren't captured on MariaDB and MySQL by this version".to_owned(),
            "nothing does: copy it by phases = [\"old\", \"new\"] and `changeover copy`".to_owned(),
        ));
        Box::new(session).release();
        Ok(Catalog {
            store: self.place.store.clone(),
            kind: "mysql",
            place: self.place.at.clone(),
            tables,
            capturable: written.and(captured),
            ignores_foreign_keys: true,
            silences: Err((
                "MariaDB and MySQL can't silence a trigger for one session".to_owned(),
                "drop the triggers for as long as the mirror writes".to_owned(),
            )),
            // Those that are ordered by their bytes at all are of a character set of Unicode's.
            utf8_order: true,
            bytes,
        })
    }

    async fn session(&self, doing: &str) -> Result<MySession, StoreError> {
        self.sessions.connect().await.map_err(|error| self.place.error(doing, &error))
    }
}

#[async_trait]
impl Database for MysqlDatabase {
    fn kind(&self) -> &'static str {
        "mysql"
    }

    fn identifier(&self) -> String {
        format!("{}, database {}", self.server, self.database)
    }

    fn place(&self) -> String {
        self.place.at.clone()
    }

    async fn catalog(&self) -> Result<Catalog, StoreError> {
        self.catalog().await
    }

    async fn side(
        self: Arc<Self>,
        migration: &str,
        side: Side,
        plan: &Plan,
    ) -> Result<Arc<dyn SideStore>, StoreError> {
        let sessions = Arc::<MySessions>::clone(&self.sessions);
        let inner = Inner::new(&Mysql, (sessions, self.place.clone(), self.manners), migration, side, plan);
        Ok(Arc::new(ServerStore::new(inner, Arc::new(MysqlServer))))
    }

    async fn own(
        &self,
        migration: &str,
        tables: &[(String, Scope)],
        _holder: &str,
    ) -> Result<Box<dyn Owned>, StoreError> {
        let session = self.session("locking the migration").await?;
        Ok(Box::new(Ownership::take(session, (&self.place, &self.database), migration, tables).await?))
    }

    async fn installed(&self) -> Result<Vec<Installed>, StoreError> {
        let doing = "listing what is installed";
        let mut session = self.session(doing).await?;
        let list = Mysql.list(&mut session).await.map_err(|error| self.place.error(doing, &error))?;
        Box::new(session).release();
        Ok(list)
    }

    async fn strangers(
        &self,
        migration: &str,
        tables: &[(String, Scope)],
    ) -> Result<Vec<(String, String)>, StoreError> {
        Ok(strangers(&self.installed().await?, migration, tables))
    }

    async fn removal_sql(&self, migration: &str, may_have: Vec<Installed>) -> Result<String, StoreError> {
        let doing = "listing what is installed";
        let mut session = self.session(doing).await?;
        let sql = removal_sql(&mut session, &Mysql, migration, may_have).await;
        let sql = sql.map_err(|error| self.place.error(doing, &error))?;
        Box::new(session).release();
        Ok(sql)
    }

    async fn remove_migration(self: Arc<Self>, migration: &str) -> Result<(), StoreError> {
        let doing = "removing what was installed";
        let mut session = self.session(doing).await?;
        let removed = async {
            session.batch(&Mysql.begin_change(self.manners.lock_wait)).await?;
            remove_of(&mut session, &Mysql, migration, None).await?;
            session.commit().await
        };
        removed.await.map_err(|error| self.place.error(doing, &error))?;
        Box::new(session).release();
        Ok(())
    }

    async fn watch(&self, tables: &[(Option<String>, String)]) -> Result<Box<dyn Watch>, StoreError> {
        let (sessions, place) = (Arc::clone(&self.sessions), self.place.clone());
        let tables = tables.iter().map(|(_, table)| table.as_str().into()).collect();
        let mut watch = TimesWatch { sessions, place, tables, before: Vec::new() };
        watch.before = watch.look().await?;
        Ok(Box::new(watch))
    }

    async fn close(&self) {
        self.sessions.close();
    }
}

/// When the server says that some tables were last written, to the second.
struct TimesWatch {
    sessions: Arc<MySessions>,
    place: Place,
    tables: Vec<Value>,
    before: Vec<Vec<Value>>,
}

impl TimesWatch {
    async fn look(&self) -> Result<Vec<Vec<Value>>, StoreError> {
        let places = vec!["?"; self.tables.len()].join(", ");
        let sql = format!(
            "SELECT TABLE_NAME, UPDATE_TIME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() \
             AND TABLE_NAME IN ({places}) ORDER BY TABLE_NAME"
        );
        let looked = async {
            let mut session = self.sessions.connect().await?;
            let rows = session.query(&sql, &self.tables).await?;
            Box::new(session).release();
            Ok(rows)
        };
        looked.await.map_err(|error: DbError| self.place.error("watching it", &error))
    }
}

#[async_trait]
impl Watch for TimesWatch {
    async fn changed(&mut self) -> Result<bool, StoreError> {
        Ok(self.look().await? != self.before)
    }
}

async fn flavour(session: &mut MySession) -> Result<Flavour, DbError> {
    let rows = session.query("SELECT VERSION()", &[]).await?;
    let said = rows.first().map(|row| text(row, 0)).transpose()?.unwrap_or_default();
    let mut numbers =
        said.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u16>().unwrap_or_default());
    let mut next = || numbers.next().unwrap_or_default();
    let version = (next(), next(), next());
    let mariadb = said.to_ascii_lowercase().contains("mariadb");
    let oldest = if mariadb { (10, 4, 0) } else { (8, 0, 0) };
    if version < oldest {
        let what = format!(
            "the server says that it is {said}: MariaDB 10.4 and MySQL 8.0 are the oldest that are known"
        );
        return Err(DbError::ours(Trouble::Other, what));
    }
    Ok(Flavour { mariadb, version })
}

/// What MariaDB and MySQL add to what all servers have in common.
#[derive(Debug)]
struct MysqlServer;

#[async_trait]
impl Server for MysqlServer {
    async fn identity(
        &self,
        session: &mut dyn Session,
        inner: &Inner,
    ) -> Result<(String, Vec<(TableName, String)>), DbError> {
        let server = server_of(session).await?;
        let mut tables = Vec::new();
        for table in &inner.tables {
            let definition = catalog::definition(session, &table.info).await?;
            tables.push((table.name().clone(), definition.unwrap_or_else(|| "gone".to_owned())));
        }
        Ok((server, tables))
    }
}

/// A server is told by a number of its own, where it has one, and by where it keeps its data.
async fn server_of(session: &mut dyn Session) -> Result<String, DbError> {
    let variables = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid', 'hostname', 'port', 'datadir')";
    let mut parts = Vec::new();
    for row in session.query(variables, &[]).await? {
        parts.push(format!("{} {}", text(&row, 0)?, text(&row, 1)?));
    }
    parts.sort_unstable();
    Ok(parts.join(", "))
}
