//! Who is taken for a MariaDB.

use changeover::StoreError;
use changeover_tables::database::Database as _;
use changeover_tables::mysql::{MysqlDatabase, MysqlOptions};
use changeover_testkit::servers::MariaDb;

use super::certificates::Certificates;

/// A server with a certificate, with a user who is let in by encrypted connections only.
struct World {
    server: MariaDb,
    certificates: Certificates,
    user: String,
}

const PASSWORD: &str = "a secret";

impl World {
    fn new() -> Self {
        let certificates = Certificates::new();
        let file = |name: &str| format!("{}/{name}", certificates.folder());
        let server = MariaDb::start(&[("ssl_cert", &file("server.pem")), ("ssl_key", &file("server.key"))]);
        let user = server.create_user("careful", PASSWORD);
        server.sql("", "CREATE DATABASE here; CREATE TABLE here.t (id INT PRIMARY KEY)");
        server.sql("", &format!("GRANT ALL ON here.* TO {user}@'%'; ALTER USER {user}@'%' REQUIRE SSL"));
        Self { server, certificates, user }
    }

    /// The answer to a URL with this host and these parameters; `~` stands for the folder. The catalogue is read too.
    async fn open(&self, host: &str, parameters: &str) -> Result<(), StoreError> {
        let parameters = parameters.replace('~', &self.certificates.folder());
        let url = self.server.url_as(&self.user, PASSWORD, "here").replace("127.0.0.1", host);
        let database =
            MysqlDatabase::open("here", &format!("{url}?{parameters}"), MysqlOptions::default()).await?;
        let catalog = database.catalog().await?;
        assert_eq!(catalog.tables.len(), 1);
        database.close().await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_judged_as_the_url_says_and_never_less() {
    let world = tokio::task::spawn_blocking(World::new).await.unwrap();
    let is = async |host: &str, parameters: &str| match world.open(host, parameters).await {
        Ok(()) => "let in".to_owned(),
        Err(error) => error.to_string(),
    };
    let right = "ssl-ca=~/right.pem";
    let wrong = "ssl-ca=~/wrong.pem";
    assert_eq!(is("localhost", &format!("ssl-mode=VERIFY_IDENTITY&{right}")).await, "let in");
    assert_eq!(is("localhost", right).await, "let in", "who names an authority wants it asked");
    assert_eq!(is("127.0.0.1", &format!("{right}&ssl-server-name=localhost")).await, "let in");
    assert_eq!(is("127.0.0.1", "ssl-mode=REQUIRED").await, "let in");
    for refused in [
        is("127.0.0.1", &format!("ssl-mode=VERIFY_IDENTITY&{right}")).await,
        is("127.0.0.1", &format!("{right}&ssl-server-name=other.example.org")).await,
        is("localhost", &format!("ssl-mode=VERIFY_IDENTITY&{wrong}")).await,
    ] {
        assert!(refused.contains("certificate"), "{refused}");
    }
    // Not encrypted, and so not let in: which shows that the others were.
    let refused = is("127.0.0.1", "ssl-mode=DISABLED").await;
    assert!(refused.contains("MYSQL_PWD") && !refused.contains(PASSWORD), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_encryption_is_asked_for_there_is_no_connection_without_it() {
    let server = tokio::task::spawn_blocking(MariaDb::shared).await.unwrap();
    let url = format!("{}?ssl-mode=REQUIRED", server.url("mysql"));
    let error = MysqlDatabase::open("here", &url, MysqlOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("SSL"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_is_reached_by_its_path_and_a_wrong_password_never_shown() {
    let server = tokio::task::spawn_blocking(MariaDb::shared).await.unwrap();
    let database = server.create_database("socket");
    let socket = server.folder().join("mysql.sock").display().to_string().replace('/', "%2F");
    let url = |user: &str| format!("mysql://{user}@/{database}?socket={socket}");
    let open = async |user: &str| MysqlDatabase::open("here", &url(user), MysqlOptions::default()).await;
    let opened = open("root").await.unwrap();
    assert!(opened.place().ends_with(&format!("mysql.sock/{database}")), "{}", opened.place());
    let told = open("root:wrong-one").await.unwrap_err().to_string();
    assert!(told.contains("MYSQL_PWD") && !told.contains("wrong-one"), "{told}");
}
