//! What the errors of MariaDB and MySQL mean.

use mysql_async::{DriverError, Error, ServerError};

use crate::server::session::{DbError, Trouble};

/// What an error of the driver's means.
pub(super) fn meaning(error: &Error) -> DbError {
    match error {
        Error::Server(said) => said_by_server(said),
        // A value too large for a packet is the row's fault; all else of the driver's is the connection's.
        Error::Driver(DriverError::PacketTooLarge) => {
            DbError::ours(Trouble::Row, "a row larger than max_allowed_packet")
        }
        Error::Driver(
            error @ (DriverError::StmtParamsMismatch { .. }
            | DriverError::StmtParamsNumberExceedsLimit { .. }
            | DriverError::MixedParams),
        ) => DbError::ours(Trouble::Other, error.to_string()),
        error => DbError::ours(Trouble::Gone, error.to_string()),
    }
}

fn said_by_server(said: &ServerError) -> DbError {
    DbError {
        trouble: trouble(said.code, &said.state, &said.message),
        code: format!("{}, SQLSTATE {}", said.code, said.state),
        message: said.message.clone(),
        column: column(&said.message),
    }
}

/// Whether an error has ended the whole transaction, its savepoints too: what comes after it would be committed by itself.
pub(super) const fn ends_transaction(trouble: Trouble) -> bool {
    matches!(trouble, Trouble::Again | Trouble::Gone)
}

/// By the server's own numbers; the SQLSTATE says more only where somebody's SIGNAL has chosen it.
fn trouble(code: u16, state: &str, message: &str) -> Trouble {
    match code {
        // A unique value is taken; with the key's name.
        1022 | 1062 | 1169 | 1586 | 1859 => Trouble::Taken,
        // NULL, no default, too long, out of range, truncated, not of the character set, not of the type.
        1048 | 1263 | 1264 | 1265 | 1292 | 1364 | 1366 | 1367 | 1406 | 1411 | 1441 | 1525 => Trouble::Row,
        // A division by zero, a number that overflows, more than one row where one is wanted, a text that is no JSON, no
        // geometry, no regular expression.
        1365 | 1690 | 1242 | 1139 | 1416 | 3037 | 3140..=3158 | 4037 | 4038 | 4039 | 4044 => Trouble::Row,
        // A parent's row is missing, or has children; a CHECK; a row too large; a view's condition; a generated column.
        1216 | 1217 | 1451 | 1452 | 3819 | 4025 | 1118 | 1153 | 139 | 1369 | 1906 | 3105 => Trouble::Row,
        // NOWAIT as well.
        1205 | 3024 | 3572 | 1969 | 1317 => Trouble::Locked,
        // A deadlock, the lock table is full, the group has refused the transaction, a changed table: all of it is rolled back.
        1213 | 1206 | 1020 | 1412 | 1613 | 1614 | 3101 => Trouble::Again,
        // No savepoint of that name: the transaction that had it is gone.
        1305 if message.starts_with("SAVEPOINT") => Trouble::Again,
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1410 | 1419 | 1698 | 1356 | 3118 => Trouble::Rights,
        // A database, a table, a column, a function, a routine.
        1049 | 1051 | 1054 | 1072 | 1091 | 1109 | 1146 | 1176 | 1305 | 1360 | 1136 | 1932 | 1615 => {
            Trouble::Schema
        }
        // Too many connections, shutting down, killed, lost, ended for its idleness.
        1040
        | 1053
        | 1077
        | 1079
        | 1080
        | 1152
        | 1158..=1161
        | 1184
        | 1203
        | 1226
        | 1290
        | 1836
        | 1927
        | 2002..=2013
        | 2055
        | 3169
        | 4031 => Trouble::Gone,
        _ => by_state(state),
    }
}

fn by_state(state: &str) -> Trouble {
    match (state, state.get(..2)) {
        ("40001" | "40P01" | "XA102", _) => Trouble::Again,
        (_, Some("22" | "23" | "44" | "45")) => Trouble::Row,
        (_, Some("08")) => Trouble::Gone,
        (_, Some("28")) => Trouble::Rights,
        (_, Some("42")) => Trouble::Schema,
        _ => Trouble::Other,
    }
}

/// The column that a message names: `Column 'a' cannot be null`, `Data too long for column 'a' at row 1`, and in MariaDB
/// `column `database`.`table`.`a``.
fn column(message: &str) -> Option<String> {
    let at = message.find("olumn ").map(|at| at + "olumn ".len())?;
    let rest = &message[at..];
    let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '`'))?;
    let named = match quote {
        '\'' => rest[1..].split('\'').next()?,
        _ => {
            let path = rest.split(" at row").next()?.trim_end();
            path.rsplit('`').find(|part| !part.is_empty())?
        }
    };
    (!named.is_empty()).then(|| named.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_is_found_in_the_servers_words() {
        for (message, name) in [
            ("Column 'name' cannot be null", Some("name")),
            ("Data too long for column 'name' at row 1", Some("name")),
            ("Incorrect string value: '\\xFF' for column `x`.`t`.`name` at row 1", Some("name")),
            ("Field 'name' doesn't have a default value", None),
            ("Duplicate entry '1' for key 'PRIMARY'", None),
        ] {
            assert_eq!(column(message).as_deref(), name, "{message}");
        }
    }

    #[test]
    fn a_signal_means_what_its_state_says() {
        assert_eq!(trouble(1644, "40001", ""), Trouble::Again);
        assert_eq!(trouble(1644, "45000", ""), Trouble::Row);
        assert_eq!(trouble(1305, "42000", "SAVEPOINT a does not exist"), Trouble::Again);
        assert_eq!(trouble(1305, "42000", "FUNCTION x.f does not exist"), Trouble::Schema);
    }
}
