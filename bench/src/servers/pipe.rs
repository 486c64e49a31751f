//! The limit of a copy: the clients of both databases, one piped into the other. No typed value is looked at on the way.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Place, Table};

/// What reads the old side, and what it says for people.
pub(super) fn reader(old: &Place<'_>, table: Table) -> Result<(Command, &'static str), String> {
    let name = table.name();
    Ok(match old {
        Place::Postgres { .. } => {
            (psql(old, &format!("COPY {name} TO STDOUT (FORMAT binary)")), "psql's binary COPY into COPY")
        }
        Place::MariaDb { server, database } => {
            let mut client = Command::new("mariadb");
            client.args(["--no-defaults", "--quick", "--batch", "--skip-column-names", "--protocol=tcp"]);
            client.args(["--host=127.0.0.1", &format!("--port={}", server.port()), "--user=root"]);
            client.args(["--default-character-set=utf8mb4", database]);
            client.args(["--execute", &format!("SELECT * FROM {name}")]);
            (client, "the mariadb client into COPY")
        }
        Place::Sqlite { path, .. } => {
            let mut client = Command::new("sqlite3");
            client.args(["-batch", "-csv"]).arg(path).arg(format!("SELECT * FROM {name}"));
            (client, "sqlite3's CSV into COPY")
        }
    })
}

/// What writes the new side, in the form that the old side's client gives.
fn writer(old: &Place<'_>, new: &Place<'_>, table: Table) -> Result<Command, String> {
    let Place::Postgres { .. } = new else {
        return Err(format!("there is no pipe into {}", new.kind().name()));
    };
    let form = match old {
        Place::Postgres { .. } => "FORMAT binary",
        Place::MariaDb { .. } => "FORMAT text, NULL 'NULL'",
        Place::Sqlite { .. } => "FORMAT csv",
    };
    Ok(psql(new, &format!("COPY {} FROM STDIN ({form})", table.name())))
}

pub(super) fn psql(place: &Place<'_>, sql: &str) -> Command {
    let mut client = Command::new("psql");
    client.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &place.url(), "-c", sql]);
    client
}

/// Copies a table by the two clients: how long that took, and what it was.
pub(crate) fn copy(
    old: &Place<'_>,
    new: &Place<'_>,
    table: Table,
    rows: u64,
) -> Result<(Duration, &'static str), String> {
    let (mut reader, what) = reader(old, table)?;
    let mut writer = writer(old, new, table)?;
    let started = Instant::now();
    let mut reading = start(reader.stdout(Stdio::piped()))?;
    let out = reading.stdout.take().ok_or("the reader's output isn't piped")?;
    let mut writing = start(writer.stdin(out))?;
    // The reader isn't waited for by a writer that is gone: it has nobody to write to.
    let written = writing.wait().map_err(|e| e.to_string())?;
    let read = reading.wait().map_err(|e| e.to_string())?;
    let took = started.elapsed();
    if !written.success() || !read.success() {
        return Err(format!("{what}: the reader {read}, the writer {written}"));
    }
    // psql ends well on half a table, if what it is fed ends in the right place.
    let there = new.sql(&format!("SELECT count(*) FROM {}", table.name()))?;
    if there != rows.to_string() {
        return Err(format!("{what}: {there} of {rows} rows"));
    }
    Ok((took, what))
}

pub(super) fn start(command: &mut Command) -> Result<Child, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.spawn().map_err(|e| {
        format!("{program}, which the limit is measured by, can't be started: {e} (Debian's packages: postgresql-client, mariadb-client-core, sqlite3)")
    })
}
