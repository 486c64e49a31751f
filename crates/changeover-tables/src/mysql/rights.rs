//! Which rights this user lacks, by what the server tells of its grants.
//!
//! Those of a role aren't told in a way that could be relied on: a user with a role is believed to have them, and what it lacks
//! is an error when it is needed.

use changeover::Value;

use super::catalog::text;
use super::session::MySession;
use super::syntax::Mysql;
use crate::catalog::{MissingRight, Need, TableInfo};
use crate::server::session::{DbError, Session as _};
use crate::syntax::Syntax as _;

/// What is to be had on the whole database: what is ours lies there, under names that nobody knows beforehand.
const ON_ALL: [(Need, &[&str], &str); 3] = [
    (Need::Read, &["SELECT"], "read"),
    (Need::Write, &["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER"], "write"),
    (Need::Capture, &["TRIGGER"], "make triggers in"),
];

/// The user as the grants name it, and whether it has roles.
const USER: &str = "SELECT CONCAT(QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', 1)), '@', QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', -1))), \
    COALESCE(NULLIF(CURRENT_ROLE(), 'NONE'), '')";

/// What is granted on everything, or on this database, whose name a grant may have with wildcards.
const GRANTED: &str = "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES WHERE GRANTEE = ? \
    UNION SELECT PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES WHERE GRANTEE = ? AND DATABASE() LIKE TABLE_SCHEMA";

/// And on single tables.
const ON_TABLES: &str = "SELECT TABLE_NAME, PRIVILEGE_TYPE FROM information_schema.TABLE_PRIVILEGES \
    WHERE GRANTEE = ? AND TABLE_SCHEMA = DATABASE()";

/// Puts down with each table what this user lacks on it.
pub(super) async fn look(
    session: &mut MySession,
    database: &str,
    tables: &mut [TableInfo],
) -> Result<(), DbError> {
    let rows = session.query(USER, &[]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let (user, role) = (text(row, 0)?, text(row, 1)?);
    if !role.is_empty() {
        return Ok(());
    }
    let grantee = Value::from(user.as_str());
    let mut granted = Vec::new();
    for row in session.query(GRANTED, &[grantee.clone(), grantee.clone()]).await? {
        granted.push(text(&row, 0)?);
    }
    let mut on_tables = Vec::new();
    for row in session.query(ON_TABLES, &[grantee]).await? {
        on_tables.push((text(&row, 0)?, text(&row, 1)?));
    }
    for table in tables {
        for (need, rights, what) in ON_ALL {
            let has = |right: &str| {
                let here = |(name, granted): &(String, String)| *name == table.name && granted == right;
                granted.iter().any(|granted| granted == right)
                    || (need == Need::Read && on_tables.iter().any(here))
            };
            let missing: Vec<&str> = rights.iter().copied().filter(|right| !has(right)).collect();
            if !missing.is_empty() {
                table.missing_rights.push(MissingRight {
                    need,
                    what: format!("the user {user} may not {what} the database {database}"),
                    grant: format!("GRANT {} ON {}.* TO {user}", missing.join(", "), Mysql.name(database)),
                });
            }
        }
    }
    Ok(())
}
