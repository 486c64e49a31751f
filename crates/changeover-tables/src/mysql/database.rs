//! A MariaDB or MySQL database: how it is opened, and what it says of itself.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use changeover::{StoreError, TableName};

use super::catalog::text;
use super::exact::Flavour;
use super::load::Load;
use super::session::{Connector, MySession};
use super::syntax::Mysql;
use super::{capturable, catalog, own, rights, url};
use crate::catalog::Catalog;
use crate::server::database::ServerDatabase;
use crate::server::dialect::{Dialect, Statement};
use crate::server::own::{Former, Held, Wanted};
use crate::server::pool::SessionPool;
use crate::server::session::{DbError, Place, Session, Trouble};
use crate::server::store::{Inner, Manners, Server};

/// How Changeover behaves towards a MariaDB or MySQL database.
#[derive(Debug, Clone, Copy)]
pub struct MysqlOptions {
    /// How long it waits for a lock; the servers count whole seconds.
    pub lock_wait: Duration,
    /// How many sessions it has at once, at most.
    pub sessions: usize,
    /// How a table is filled.
    pub load: Load,
}

impl Default for MysqlOptions {
    fn default() -> Self {
        Self { lock_wait: Duration::from_secs(2), sessions: 16, load: Load::Fastest }
    }
}

/// A MariaDB or MySQL database.
pub type MysqlDatabase = ServerDatabase<MysqlServer>;

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
        let target = url::target(url).map_err(|cause| StoreError::Refused {
            store: store.clone(),
            doing: doing.to_owned(),
            cause: format!("its URL isn't understood: {cause}"),
            remedy: "Write mysql://user@host:port/database".to_owned(),
        })?;
        let (place, database) = (Place { store, server: "MySQL", at: target.at }, target.database);
        let told = |error: DbError| not_let_in(&place, doing, &error);
        let connector = Connector::new(target.opts, options.load);
        let sessions = SessionPool::new(connector, options.sessions).map_err(told)?;
        let mut session = sessions.connect().await.map_err(told)?;
        let flavour = flavour(&mut session).await.map_err(told)?;
        let server = server_of(&mut session).await.map_err(told)?;
        Box::new(session).release();
        let place = Place { server: if flavour.mariadb { "MariaDB" } else { "MySQL" }, ..place };
        // Other triggers can't be silenced here.
        let manners = Manners { lock_wait: options.lock_wait, silent: false };
        let identifier = format!("{server}, database {database}");
        let kind = MysqlServer { sessions: Arc::clone(&sessions), flavour, database };
        Ok(Self::new(kind, sessions, (place, manners), identifier))
    }
}

/// Why we weren't let in, with what to do about it.
fn not_let_in(place: &Place, doing: &str, error: &DbError) -> StoreError {
    let remedy = match error.code.split(',').next() {
        Some("1049") => "See the database's name in the store's URL",
        Some("1044" | "1045" | "1698") => {
            "See the user in the store's URL, and its password: in the URL, in MYSQL_PWD, or in ~/.my.cnf"
        }
        _ => return place.error(doing, error),
    };
    place.refused(doing, format!("{} ({})", error.cause(), place.at), remedy)
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
pub struct MysqlServer {
    sessions: Arc<SessionPool<Connector>>,
    flavour: Flavour,
    database: String,
}

#[async_trait]
impl Server for MysqlServer {
    fn dialect(&self) -> &'static dyn Dialect {
        &Mysql
    }

    async fn catalog(&self, place: &Place, _: Manners) -> Result<Catalog, DbError> {
        let mut session = self.sessions.connect().await?;
        let mut tables = catalog::tables(&mut session, self.flavour, &self.database).await?;
        rights::look(&mut session, &self.database, &mut tables).await?;
        let bytes = catalog::bytes(&mut session).await?;
        let capturable = capturable::capturable(&mut session, self.flavour).await?;
        let unseen = capturable::unseen(&mut session).await?;
        let writable = capturable::writable(&mut session, self.flavour).await?;
        Box::new(session).release();
        Ok(Catalog {
            store: place.store.clone(),
            kind: Mysql.kind(),
            engine: self.flavour.engine(),
            place: place.at.clone(),
            tables,
            capturable,
            unseen,
            writable,
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

    async fn own(&self, session: &mut dyn Session, wanted: &Wanted) -> Result<Option<Held>, DbError> {
        own::take(session, &self.database, wanted).await
    }

    async fn identify(&self, session: &mut dyn Session) -> Result<Former, DbError> {
        own::identify(session).await
    }

    async fn end(&self, session: &mut dyn Session, former: &Former) -> Result<(), DbError> {
        own::end(session, former).await
    }

    /// By when the server says that they were last written, to the second.
    fn writes_to(&self, tables: &[(Option<String>, String)]) -> Statement {
        let places = vec!["?"; tables.len()].join(", ");
        let sql = format!(
            "SELECT TABLE_NAME, UPDATE_TIME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() \
             AND TABLE_NAME IN ({places}) ORDER BY TABLE_NAME"
        );
        Statement::new(sql, tables.iter().map(|(_, table)| table.as_str().into()).collect())
    }

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
