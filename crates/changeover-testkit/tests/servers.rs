//! The servers for tests, themselves: each starts, answers, keeps its data over a restart and a kill, runs as nobody
//! special, and is gone when its test is, even one that was killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use changeover_testkit::servers::pgbench::Load;
use changeover_testkit::servers::{MariaDb, MySql, MySqlFamily, Pgbench, Postgres};

fn within(limit: Duration, what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// MariaDB's, and a real MySQL's if there is one.
fn shared_family() -> Vec<&'static MySqlFamily> {
    let mysql = MySql::shared().map(|server| &**server);
    [Some(&**MariaDb::shared()), mysql].into_iter().flatten().collect()
}

#[test]
fn postgres_answers_and_two_databases_are_apart() {
    let server = Postgres::shared();
    assert!(server.psql("postgres", "SELECT version()").starts_with("PostgreSQL "));
    let [one, two] = ["apart", "Apart!"].map(|hint| server.create_database(hint));
    assert_ne!(one, two);
    server.psql(&one, "CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2);");
    assert_eq!(server.psql(&one, "SELECT id FROM t ORDER BY id"), "1\n2");
    let error = server.try_psql(&two, "SELECT id FROM t").unwrap_err();
    assert!(error.contains("does not exist"), "{error}");
}

#[test]
fn pgbench_counts_to_a_transaction_what_it_has_written() {
    let server = Postgres::shared();
    let database = server.create_database("pgbench");
    Pgbench::tables(server, &database, 1);
    let load =
        Load { writer: "o'clock", clients: 3, rate: 200, tries: 1, isolation: "repeatable read", seed: 1 };
    let bench = Pgbench::begin(server, &database, &load);
    let written = || -> u64 {
        let sql = "SELECT count(*) FROM pgbench_history WHERE writer = 'o''clock'";
        server.psql(&database, sql).parse().unwrap()
    };
    // Three clients that write one row at this isolation are in each other's way.
    within(Duration::from_secs(60), "it writes", || written() > 50);
    let counted = bench.end();
    assert_eq!(counted.processed, written(), "{counted:?}");
    assert!(counted.failed > 0, "{counted:?}");
}

#[test]
fn postgres_is_shared_by_all_threads() {
    let ports: Vec<u16> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Postgres::shared().port())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ports, [ports[0]; 8]);
}

#[test]
fn postgres_asks_a_role_for_its_password() {
    let server = Postgres::shared();
    let database = server.create_database("password");
    let password = "it's 100 % @ß:/";
    let role = server.create_role("somebody", password);
    let sql = "SELECT current_user";
    assert_eq!(server.psql_at(&server.url_as(&role, password, &database), sql), Ok(role.clone()));
    let error = server.psql_at(&server.url_as(&role, "another", &database), sql).unwrap_err();
    assert!(error.contains("password authentication failed"), "{error}");
    let kept =
        server.psql("postgres", &format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'"));
    assert!(kept.starts_with("SCRAM-SHA-256$"), "{kept}");
}

#[test]
fn postgres_makes_databases_with_another_collation() {
    let server = Postgres::shared();
    let sorted = "SELECT string_agg(x, '' ORDER BY x) FROM unnest('{b,B,a}'::text[]) x";
    assert_eq!(server.psql(&server.create_database("plain"), sorted), "Bab");
    let clause = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'";
    assert_eq!(server.psql(&server.create_database_with("icu", clause), sorted), "abB");
}

#[test]
fn postgres_keeps_its_data_over_a_restart_and_a_kill() {
    let server = Postgres::start(&[("max_connections", "17"), ("cluster_name", "it's mine")]);
    let (port, folder) = (server.port(), server.folder().to_owned());
    assert_eq!(server.psql("postgres", "SHOW max_connections; SHOW cluster_name"), "17\nit's mine");
    let pid = process_in(&folder);
    assert_ne!(owner(Path::new(&format!("/proc/{pid}"))), 0, "it runs as root");

    server.psql("postgres", "CREATE TABLE t (id int); INSERT INTO t VALUES (1);");
    server.restart();
    server.psql("postgres", "INSERT INTO t VALUES (2)");
    server.kill_and_restart();
    assert_eq!(server.psql("postgres", "SELECT id FROM t ORDER BY id"), "1\n2");
    assert!(server.log().contains("was not properly shut down"), "{}", server.log());
    assert_eq!(server.port(), port);

    server.stop();
    assert!(!server.running());
    server.try_psql("postgres", "SELECT 1").unwrap_err();
    server.restart();
    assert_eq!(server.psql("postgres", "SELECT count(*) FROM t"), "2");

    let pid = process_in(&folder);
    drop(server);
    assert!(!folder.exists() && !Path::new(&format!("/proc/{pid}")).exists());
}

/// A backend in the midst of its work goes with its server, and holds nothing up.
#[test]
fn a_killed_postgres_takes_its_busy_sessions_along() {
    let server = Postgres::start(&[]);
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let sql = "CREATE TABLE t AS SELECT sum(sqrt(x)) FROM generate_series(1, 10000000000) x";
            server.try_psql("postgres", sql)
        });
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE TABLE t%'";
        within(Duration::from_secs(10), "a busy session", || server.psql("postgres", sessions) == "1");
        server.kill_and_restart();
        busy.join().unwrap().unwrap_err();
    });
    assert_eq!(server.psql("postgres", "SELECT to_regclass('t') IS NULL"), "t");
}

#[test]
#[should_panic(expected = "other tests use the shared server")]
fn the_shared_postgres_cannot_be_stopped() {
    Postgres::shared().stop();
}

#[test]
#[should_panic(expected = "unrecognized configuration parameter")]
fn a_postgres_that_does_not_start_says_why() {
    let _ = Postgres::start(&[("no_such_setting", "1")]);
}

#[test]
fn mariadb_and_mysql_answer_and_two_databases_are_apart() {
    assert!(MariaDb::shared().sql("", "SELECT version()").contains("MariaDB"));
    for server in shared_family() {
        let [one, two] = ["apart", "Apart!"].map(|hint| server.create_database(hint));
        assert_ne!(one, two);
        server.sql(&one, "CREATE TABLE t (id int, s text); INSERT INTO t VALUES (1, 'ä'), (2, '🚂');");
        assert_eq!(server.sql(&one, "SELECT id, s FROM t ORDER BY id"), "1\tä\n2\t🚂");
        let error = server.try_sql(&two, "SELECT id FROM t").unwrap_err();
        assert!(error.contains("ERROR 1146 (42S02)"), "{error}");
        assert_ne!(owner(&server.folder().join("data/ibdata1")), 0, "it runs as root");
    }
}

#[test]
fn mariadb_is_shared_by_all_threads() {
    let ports: Vec<u16> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| MariaDb::shared().port())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ports, [ports[0]; 8]);
}

#[test]
fn mariadb_and_mysql_ask_a_user_for_the_password() {
    for server in shared_family() {
        let database = server.create_database("password");
        let password = r"it's 100 % @ß:/ \n";
        let user = server.create_user("somebody", password);
        let sql = "SELECT current_user()";
        assert_eq!(server.try_sql_as(&user, password, "", sql), Ok(format!("{user}@%")));
        let error = server.try_sql_as(&user, "another", "", sql).unwrap_err();
        assert!(error.contains("ERROR 1045 (28000)"), "{error}");
        server.try_sql_as(&user, password, &database, sql).unwrap_err();
        server.sql("", &format!("GRANT SELECT ON {database}.* TO {user}"));
        server.try_sql_as(&user, password, &database, sql).unwrap();
    }
}

#[test]
fn mariadb_and_mysql_keep_their_data_over_a_restart_and_a_kill() {
    let settings = [("max_connections", "17")];
    let mariadb = MariaDb::start(&settings);
    keeps_its_data(&mariadb);
    let folder = mariadb.folder().to_owned();
    drop(mariadb);
    assert!(!folder.exists());
    MySql::start(&settings).iter().for_each(|server| keeps_its_data(server));
}

fn keeps_its_data(server: &MySqlFamily) {
    let port = server.port();
    let database = server.create_database("kept");
    assert_eq!(server.sql(&database, "SELECT @@max_connections"), "17");
    server.sql(&database, "CREATE TABLE t (id int); INSERT INTO t VALUES (1);");
    server.restart();
    server.sql(&database, "INSERT INTO t VALUES (2)");
    server.kill_and_restart();
    assert_eq!(server.sql(&database, "SELECT id FROM t ORDER BY id"), "1\n2");
    assert!(server.log().contains("crash recovery"), "{}", server.log());
    assert_eq!(server.port(), port);
    server.stop();
    assert!(!server.running());
    server.try_sql(&database, "SELECT 1").unwrap_err();
    server.restart();
    assert_eq!(server.sql(&database, "SELECT count(*) FROM t"), "2");
}

#[test]
#[should_panic(expected = "unknown variable 'no_such_setting=1'")]
fn a_mariadb_that_does_not_start_says_why() {
    let _ = MariaDb::start(&[("no_such_setting", "1")]);
}

/// What [`nothing_is_left_of_a_killed_test`] kills: this very executable, in another process.
#[test]
fn starts_servers_to_be_killed() {
    if std::env::var_os("CHANGEOVER_TO_BE_KILLED").is_none() {
        return;
    }
    let own = Postgres::start(&[]);
    let shared = [Postgres::shared().folder(), MariaDb::shared().folder()];
    for folder in [own.folder(), shared[0], shared[1]] {
        println!("server {} {}", process_in(folder), folder.display());
    }
    println!("ready");
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn nothing_is_left_of_a_killed_test() {
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["starts_servers_to_be_killed", "--exact", "--nocapture"])
        .env("CHANGEOVER_TO_BE_KILLED", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(test.stdout.take().unwrap()).lines().map(Result::unwrap);
    let servers: Vec<(u32, PathBuf)> = lines
        .take_while(|line| line != "ready")
        .filter_map(|line| {
            let mut words = line.split_once("server ")?.1.split(' ');
            Some((words.next()?.parse().ok()?, words.next()?.into()))
        })
        .collect();
    assert_eq!(servers.len(), 3);
    test.kill().unwrap();
    test.wait().unwrap();
    for (pid, folder) in servers {
        let gone = || !folder.exists() && !Path::new(&format!("/proc/{pid}")).exists();
        within(Duration::from_secs(10), &format!("{pid} and {} are gone", folder.display()), gone);
    }
}

/// The process of the server in this folder.
fn process_in(folder: &Path) -> u32 {
    let files = ["data/postmaster.pid", "pid"].map(|name| std::fs::read_to_string(folder.join(name)));
    let [postgres, mariadb] = files;
    postgres.or(mariadb).unwrap().lines().next().unwrap().parse().unwrap()
}

fn owner(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().uid()
}
