//! What stands at a store's URL is asked what it is: a standby, a replica, a server that shall not be written, or a pooler that
//! shares sessions out isn't taken for the database that decides.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by panicking, their helpers too"
)]

use std::sync::Arc;
use std::time::Duration;

use changeover_tables::database::Database;
use changeover_tables::mapping::{TableMapping, TableRef};
use changeover_tables::mysql::{MysqlDatabase, MysqlOptions};
use changeover_tables::plan::{Mirroring, plan};
use changeover_tables::postgres::{PostgresDatabase, PostgresOptions};
use changeover_testkit::servers::{MariaDb, Pooler, Postgres};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS items (id BIGINT PRIMARY KEY, name VARCHAR(20))";

async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn postgres(store: &str, url: &str) -> Arc<dyn Database> {
    PostgresDatabase::open(store, url, PostgresOptions::default()).await.unwrap()
}

async fn mariadb(store: &str, url: &str) -> Arc<dyn Database> {
    MysqlDatabase::open(store, url, MysqlOptions::default()).await.unwrap()
}

/// What is said against writing, where the table moves from one database to the other.
async fn said(old: &dyn Database, new: &dyn Database, mirroring: Mirroring) -> String {
    let mapping = TableMapping::new(TableRef::new("old", "items"), TableRef::new("new", "items"));
    let plan = plan(&[mapping], &[old.catalog().await.unwrap(), new.catalog().await.unwrap()], mirroring);
    let against = plan.findings.iter().filter(|finding| finding.what.contains("can't be written"));
    against.map(|finding| format!("{}. {}", finding.what, finding.remedy)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_may_be_read_from_for_a_copy_and_is_neither_side_of_a_migration() {
    let (primary, standby, database) = off_the_runtime(|| {
        let primary = Postgres::start(&[]);
        let database = primary.create_database("here");
        primary.psql(&database, TABLE);
        let standby = primary.standby();
        (primary, standby, database)
    })
    .await;
    let (old, new) =
        (postgres("old", &standby.url(&database)).await, postgres("new", &standby.url(&database)).await);
    let (source, sound) =
        (postgres("old", &primary.url(&database)).await, postgres("new", &primary.url(&database)).await);
    let told = said(&*old, &*sound, Mirroring::Capture).await;
    assert!(told.contains("the old side") && told.contains("standby") && told.contains("primary"), "{told}");
    assert_eq!(said(&*old, &*sound, Mirroring::CopyOnly).await, "");
    let told = said(&*source, &*new, Mirroring::CopyOnly).await;
    assert!(told.contains("the new side") && told.contains("standby"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_somebody_made_read_only_is_not_written_to_behind_their_back() {
    let server = off_the_runtime(Postgres::shared).await;
    let make = || tokio::task::block_in_place(|| server.create_database("here"));
    let (one, other) = (make(), make());
    for database in [&one, &other] {
        tokio::task::block_in_place(|| server.psql(database, TABLE));
    }
    let forbid = format!("ALTER DATABASE {one} SET default_transaction_read_only = on");
    tokio::task::block_in_place(|| server.psql("postgres", &forbid));
    let (old, new) = (postgres("old", &server.url(&one)).await, postgres("new", &server.url(&other)).await);
    let told = said(&*old, &*new, Mirroring::Capture).await;
    assert!(told.contains("default_transaction_read_only") && told.contains("ALTER DATABASE"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mariadb_that_is_read_only_or_applies_anothers_changes_is_no_side() {
    let (primary, replica) = off_the_runtime(|| {
        let primary = MariaDb::start(&[("log_bin", "binlog"), ("server_id", "1")]);
        primary.sql("", &format!("CREATE DATABASE IF NOT EXISTS here; USE here; {TABLE}"));
        let replica = MariaDb::start(&[("server_id", "2")]);
        replica.sql("", &format!("CREATE DATABASE here; USE here; {TABLE}; SET GLOBAL read_only = ON"));
        (primary, replica)
    })
    .await;
    let (old, new) = (mariadb("old", &replica.url("here")).await, mariadb("new", &primary.url("here")).await);
    let told = said(&*old, &*new, Mirroring::Capture).await;
    assert!(told.contains("read_only is on"), "{told}");
    let primary_as_old = mariadb("old", &primary.url("here")).await;
    assert_eq!(said(&*primary_as_old, &*new, Mirroring::Capture).await, "", "the primary is one");

    let follow = format!(
        "SET GLOBAL read_only = OFF; CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'root', \
         MASTER_USE_GTID = no; START SLAVE",
        primary.port()
    );
    tokio::task::block_in_place(|| replica.sql("", &follow));
    let mut told = String::new();
    for _ in 0..200 {
        told = said(&*old, &*new, Mirroring::Capture).await;
        if !told.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(told.contains("replica"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_is_taken_for_the_server_where_a_session_stays_one_and_refused_where_it_does_not() {
    let (server, database) = off_the_runtime(|| {
        let server = Postgres::shared();
        (server, server.create_database("pooled"))
    })
    .await;
    for (mode, is_let_in) in [("session", true), ("transaction", false)] {
        let pooler = off_the_runtime(move || Pooler::start(server, mode)).await;
        let mut named = 0;
        // Whatever of its sessions it happens to give.
        for _ in 0..5 {
            let opened =
                PostgresDatabase::open("here", &pooler.url(&database), PostgresOptions::default()).await;
            match opened {
                Ok(opened) => {
                    assert!(is_let_in, "{mode}");
                    opened.close().await;
                }
                Err(error) => {
                    let told = error.to_string();
                    // It may itself end a connection of which it lost its place in the talk.
                    let is_ended = told.contains("connection closed");
                    assert!(!is_let_in && (is_ended || told.contains("pooler")), "{mode}: {told}");
                    named += usize::from(!is_ended && !error.retryable());
                }
            }
        }
        assert!(is_let_in || named > 0, "{mode}: it is told by its name");
    }
}
