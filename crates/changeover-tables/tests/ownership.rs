//! The right to work on tables is held by a session of the server's, and goes with it: that is noticed, it is taken again where
//! nobody else has it, and nothing is done without it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by panicking, their helpers too"
)]

use std::sync::Arc;
use std::time::Duration;

use changeover::StoreError;
use changeover_tables::database::{Database, Owned, Scope};
use changeover_tables::mysql::{MysqlDatabase, MysqlOptions};
use changeover_tables::postgres::{PostgresDatabase, PostgresOptions};
use changeover_testkit::relay::Relay;
use changeover_testkit::servers::{MariaDb, Postgres};

/// Far more than it takes: a question a second, five seconds for an answer, and two until somebody else's right counts.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

/// A server of one's own, of either kind.
#[derive(Clone)]
enum Server {
    Postgres(Arc<Postgres>),
    MariaDb(Arc<MariaDb>),
}

impl Server {
    /// One of each kind.
    async fn each() -> [Self; 2] {
        let start = || {
            let mariadb = MariaDb::start(&[]);
            mariadb.sql("", "CREATE DATABASE here");
            [Self::Postgres(Arc::new(Postgres::start(&[]))), Self::MariaDb(Arc::new(mariadb))]
        };
        tokio::task::spawn_blocking(start).await.unwrap()
    }

    fn url(&self) -> String {
        match self {
            Self::Postgres(server) => server.url("postgres"),
            Self::MariaDb(server) => server.url("here"),
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Postgres(server) => server.port(),
            Self::MariaDb(server) => server.port(),
        }
    }

    async fn restart(&self) {
        let server = self.clone();
        let restart = move || match server {
            Self::Postgres(server) => server.restart(),
            Self::MariaDb(server) => server.restart(),
        };
        tokio::task::spawn_blocking(restart).await.unwrap();
    }

    async fn open(&self, url: &str) -> Arc<dyn Database> {
        match self {
            Self::Postgres(_) => {
                PostgresDatabase::open("here", url, PostgresOptions::default()).await.unwrap()
            }
            Self::MariaDb(_) => MysqlDatabase::open("here", url, MysqlOptions::default()).await.unwrap(),
        }
    }
}

async fn own(database: &dyn Database, holder: &str) -> Result<Box<dyn Owned>, StoreError> {
    database.own("move", &[("items".to_owned(), Scope::Whole)], holder).await
}

/// Whether somebody who has the right may do something.
async fn works(database: &dyn Database) -> Result<(), StoreError> {
    database.installed().await.map(drop)
}

async fn until(what: &str, so: impl AsyncFn() -> bool) {
    let waited = tokio::time::timeout(NOTICED_WITHIN, async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(waited.await.is_ok(), "not in time: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_a_restart_took_is_taken_again_where_nobody_else_has_it() {
    for server in Server::each().await {
        let (one, other) = (server.open(&server.url()).await, server.open(&server.url()).await);
        let _owned = own(&*one, "the first").await.unwrap();
        works(&*one).await.unwrap();
        server.restart().await;
        // At once, or after a while: by then the right is held again.
        until("it works again", async || works(&*one).await.is_ok()).await;
        let error = own(&*other, "the second").await.unwrap_err();
        assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_another_took_meanwhile_is_lost_for_good_and_nothing_is_done_without_it() {
    for server in Server::each().await {
        let relay = Relay::start(("127.0.0.1", server.port()));
        let (one, other) =
            (server.open(&relay.through(&server.url())).await, server.open(&server.url()).await);
        let owned = own(&*one, "the first").await.unwrap();
        works(&*one).await.unwrap();
        relay.drop_all();
        // The server sees that the session is gone, and whoever comes has it.
        let second = tokio::time::timeout(NOTICED_WITHIN, async {
            loop {
                match own(&*other, "the second").await {
                    Ok(second) => return second,
                    Err(StoreError::Busy { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let _second = second.await.unwrap();
        relay.pass();
        let error = tokio::time::timeout(NOTICED_WITHIN, owned.taken()).await.unwrap();
        assert!(matches!(error, StoreError::Busy { .. }), "{error}");
        let refused = works(&*one).await.unwrap_err();
        assert!(refused.to_string().contains("lost") && !refused.retryable(), "{refused}");
        works(&*other).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_do_two_have_it_when_both_reach_for_it_after_a_restart() {
    for server in Server::each().await {
        let (one, other) = (server.open(&server.url()).await, server.open(&server.url()).await);
        let owned = own(&*one, "the first").await.unwrap();
        let (restarting, reaching) = (server.clone(), Arc::clone(&other));
        let restart = tokio::spawn(async move { restarting.restart().await });
        // It reaches for it all the while.
        let second = tokio::spawn(async move {
            loop {
                match own(&*reaching, "the second").await {
                    Ok(second) => return second,
                    Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        });
        restart.await.unwrap();
        // One of both has it in the end: the first, who works then, or the second, and the first is told.
        let theirs = tokio::time::timeout(NOTICED_WITHIN, async {
            loop {
                if second.is_finished() {
                    return true;
                }
                if works(&*one).await.is_ok() {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        if theirs.await.unwrap() {
            let error = tokio::time::timeout(NOTICED_WITHIN, owned.taken()).await.unwrap();
            assert!(matches!(error, StoreError::Busy { .. }), "{error}");
            assert!(works(&*one).await.is_err());
        } else {
            assert!(!second.is_finished(), "both have it");
            assert!(own(&*other, "the third").await.is_err());
        }
        second.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_falls_silent_is_noticed_and_our_own_session_of_before_does_not_keep_us_out() {
    for server in Server::each().await {
        let relay = Relay::start(("127.0.0.1", server.port()));
        let one = server.open(&relay.through(&server.url())).await;
        let owned = own(&*one, "the first").await.unwrap();
        works(&*one).await.unwrap();
        relay.stall();
        let told = async || tokio::time::timeout(Duration::from_secs(1), works(&*one)).await;
        until("it is noticed", async || {
            matches!(told().await, Ok(Err(error)) if error.to_string().contains("was lost") && error.retryable())
        })
        .await;
        // What was sent before doesn't come, and the server hears nothing of it: to it the session is there.
        relay.pass();
        until("it works again", async || matches!(told().await, Ok(Ok(())))).await;
        let taken = tokio::time::timeout(Duration::from_millis(100), owned.taken()).await;
        assert!(taken.is_err(), "nobody else has it");
    }
}
