//! Who is taken for the server: a PostgreSQL with a certificate of its own authority, and one without any.

use changeover::StoreError;
use changeover_tables::database::Database as _;
use changeover_tables::postgres::{PostgresDatabase, PostgresOptions};
use changeover_testkit::servers::Postgres;

use super::certificates::Certificates;

/// A server with a certificate, and the authorities that did and didn't sign it.
struct World {
    server: Postgres,
    certificates: Certificates,
}

impl World {
    fn new() -> Self {
        let certificates = Certificates::new();
        let server = Postgres::start(&[]);
        // By the server's own hand, so that they are its own.
        let data = server.psql("postgres", "SHOW data_directory");
        for (file, pem) in
            [("server.key", certificates.read("server.key")), ("server.crt", certificates.read("server.pem"))]
        {
            let lines = format!("unnest(string_to_array('{}', E'\\n'))", pem.trim());
            let program = format!("umask 077; cat > {}/{file}", data.trim());
            server.psql("postgres", &format!("COPY (SELECT {lines}) TO PROGRAM '{program}'"));
        }
        server.psql("postgres", "ALTER SYSTEM SET ssl = on");
        server.restart();
        Self { server, certificates }
    }

    /// The answer to a URL with this host and these parameters; `~` stands for the folder.
    async fn open(&self, host: &str, parameters: &str) -> Result<bool, StoreError> {
        let parameters = parameters.replace('~', &self.certificates.folder());
        let url = format!("postgres://postgres@{host}:{}/postgres?{parameters}", self.server.port());
        let database = PostgresDatabase::open("here", &url, PostgresOptions::default()).await?;
        let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                         WHERE ssl AND application_name = 'changeover'";
        let count = self.server.psql("postgres", encrypted);
        database.close().await;
        Ok(count.trim() != "0")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_judged_as_the_url_says_and_never_less() {
    let world = tokio::task::spawn_blocking(World::new).await.unwrap();
    let is = async |host: &str, parameters: &str| match world.open(host, parameters).await {
        Ok(encrypted) => format!("let in, encrypted {encrypted}"),
        Err(error) => error.to_string(),
    };
    let right = "sslrootcert=~/right.pem";
    let wrong = "sslrootcert=~/wrong.pem";
    assert_eq!(is("localhost", &format!("sslmode=verify-full&{right}")).await, "let in, encrypted true");
    assert_eq!(is("127.0.0.1", &format!("sslmode=verify-ca&{right}")).await, "let in, encrypted true");
    assert_eq!(is("127.0.0.1", "sslmode=require").await, "let in, encrypted true");
    assert_eq!(is("127.0.0.1", "sslmode=disable").await, "let in, encrypted false");
    for refused in [
        is("127.0.0.1", &format!("sslmode=verify-full&{right}")).await,
        is("localhost", &format!("sslmode=verify-full&{wrong}")).await,
        is("localhost", &format!("sslmode=verify-ca&{wrong}")).await,
    ] {
        assert!(refused.contains("certificate"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_encryption_is_asked_for_there_is_no_connection_without_it() {
    let server = tokio::task::spawn_blocking(Postgres::shared).await.unwrap();
    let url = format!("{}?sslmode=require", server.url("postgres"));
    let error = PostgresDatabase::open("here", &url, PostgresOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_with_where_it_may_stand_and_never_shown() {
    let server = tokio::task::spawn_blocking(Postgres::shared).await.unwrap();
    let role = server.create_role("careful", "right-one");
    let url = |password: &str| server.url_as(&role, password, "postgres");
    PostgresDatabase::open("here", &url("right-one"), PostgresOptions::default()).await.unwrap();
    let error =
        PostgresDatabase::open("here", &url("wrong-one"), PostgresOptions::default()).await.unwrap_err();
    let told = error.to_string();
    assert!(told.contains("PGPASSWORD") && !told.contains("wrong-one"), "{told}");
    assert!(!error.retryable());
}
