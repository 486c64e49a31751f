//! Whether changes can be captured on a server as it stands, and what can be done to a table that nothing tells us of.

use std::collections::HashMap;

use changeover::Value;

use super::catalog::{number, text};
use super::exact::Flavour;
use super::session::MySession;
use crate::server::session::{DbError, Session, Trouble};

/// The server's settings that decide whether changes can be captured.
const SETTINGS: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format', 'log_bin_trust_function_creators', \
    'wsrep_on', 'group_replication_single_primary_mode', 'group_replication_group_name')";

/// Whether this user may make triggers that the binary log doesn't trust.
const MAY_ALL: &str = "SELECT 1 FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE = 'SUPER' AND GRANTEE = \
    CONCAT(QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', 1)), '@', QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', -1)))";

/// Whether changes can be captured; if not, why, and what changes it.
pub(super) async fn capturable(
    session: &mut MySession,
    flavour: Flavour,
) -> Result<Result<(), (String, String)>, DbError> {
    let mut settings = HashMap::new();
    for row in session.query(SETTINGS, &[]).await? {
        settings.insert(text(&row, 0)?.to_ascii_lowercase(), text(&row, 1)?.to_ascii_uppercase());
    }
    let is = |name: &str, value: &str| settings.get(name).is_some_and(|there| there == value);
    let no = |why: &str, what: &str| Ok(Err((why.to_owned(), what.to_owned())));
    if flavour.mariadb && flavour.version < (10, 6, 0) {
        return no("it is older than MariaDB 10.6, which can't leave out locked rows", "use a later one");
    }
    let in_group = settings.get("group_replication_group_name").is_some_and(|name| !name.is_empty());
    if is("wsrep_on", "ON") || (in_group && is("group_replication_single_primary_mode", "OFF")) {
        return no(
            "it is one of several servers that take writes, and a lock on this one keeps nobody out on another",
            "move away from the cluster as a single server that takes all writes",
        );
    }
    if !is("log_bin", "ON") {
        return Ok(Ok(()));
    }
    if is("binlog_format", "STATEMENT") {
        return no(
            "its binary log has the format STATEMENT, which takes no write of a READ COMMITTED transaction",
            "SET GLOBAL binlog_format = 'ROW'",
        );
    }
    if !is("log_bin_trust_function_creators", "ON") && session.query(MAY_ALL, &[]).await?.is_empty() {
        return no(
            "it has a binary log, and lets only a user with SUPER make triggers",
            "SET GLOBAL log_bin_trust_function_creators = 1",
        );
    }
    Ok(Ok(()))
}

/// The numbers that the storage engine has given a table and its partitions. TRUNCATE gives new ones, and so does whatever puts
/// another partition in the place of one; nothing else that may be read tells of either. The engine's names are those of files.
const IDS: &str = "SELECT CONCAT(NAME, ' ', TABLE_ID) FROM information_schema./*M! INNODB_SYS_TABLES */ /*!80000 INNODB_TABLES */ \
    JOIN (SELECT CONCAT(CAST(CONVERT(COALESCE(?, DATABASE()) USING filename) AS BINARY), '/', \
    CAST(CONVERT(? USING filename) AS BINARY)) AS named) AS wanted ON CAST(NAME AS BINARY) = named \
    OR LOWER(CONVERT(LEFT(CAST(NAME AS BINARY), LENGTH(named) + 3) USING latin1)) = \
    LOWER(CONVERT(CONCAT(named, '#p#') USING latin1)) ORDER BY 1";

/// None, where the server doesn't tell; [`unseen`] tells that it doesn't.
pub(super) async fn ids(session: &mut dyn Session, named: &[Value; 2]) -> Result<Vec<String>, DbError> {
    match session.query(IDS, named).await {
        Ok(rows) => rows.iter().map(|row| text(row, 0)).collect(),
        Err(error) if matches!(error.trouble, Trouble::Gone | Trouble::Again) => Err(error),
        Err(_) => Ok(Vec::new()),
    }
}

/// What can be done to a table without our knowledge.
pub(super) async fn unseen(session: &mut MySession) -> Result<Option<(String, String)>, DbError> {
    let what = "no trigger fires for TRUNCATE, nor for what is done to a whole partition, and ";
    let (why, remedy) = match session.query(IDS, &[Value::Null, "".into()]).await {
        Ok(_) => return Ok(None),
        Err(error) if matches!(error.trouble, Trouble::Gone | Trouble::Again) => return Err(error),
        Err(error) if error.trouble == Trouble::Rights => {
            ("this user may not see that it happened", "GRANT PROCESS ON *.* TO this user")
        }
        Err(_) => {
            ("this server doesn't tell that it happened", "see that nobody does so while the migration runs")
        }
    };
    Ok(Some((format!("{what}{why}: only a full verification would find it"), remedy.to_owned())))
}

/// Whether the server is the one that decides; if not, why, and what to do. A replica applies the changes of another, for which no
/// trigger fires.
pub(super) async fn writable(
    session: &mut MySession,
    flavour: Flavour,
) -> Result<Result<(), (String, String)>, DbError> {
    let name_it = || "name the server that is written to in the store's URL".to_owned();
    let rows = session.query("SELECT @@global.read_only", &[]).await?;
    let off = |value: &Value| matches!(value.plain().as_deref(), Some("0" | "OFF"));
    if rows.first().and_then(|row| row.first()).is_some_and(|value| !off(value)) {
        let why = "read_only is on: it is a replica, or somebody has said that nobody shall write there";
        let remedy = format!("{}; or, if this is it: SET GLOBAL read_only = OFF", name_it());
        return Ok(Err((why.to_owned(), remedy)));
    }
    if applies(session, flavour).await? {
        return Ok(Err(("it is a replica, which applies what another server does".to_owned(), name_it())));
    }
    Ok(Ok(()))
}

/// Whether it applies the changes of another server. Who may not ask isn't told.
async fn applies(session: &mut MySession, flavour: Flavour) -> Result<bool, DbError> {
    let sql = if flavour.mariadb {
        "SELECT CAST(VARIABLE_VALUE AS SIGNED) FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'SLAVES_RUNNING'"
    } else {
        "SELECT COUNT(*) FROM performance_schema.replication_applier_status WHERE SERVICE_STATE = 'ON' \
         AND CHANNEL_NAME <> 'group_replication_applier'"
    };
    match session.query(sql, &[]).await {
        Ok(rows) => Ok(rows.first().and_then(|row| number(row, 0)).unwrap_or_default() > 0),
        Err(error) if matches!(error.trouble, Trouble::Rights | Trouble::Schema) => Ok(false),
        Err(error) => Err(error),
    }
}
