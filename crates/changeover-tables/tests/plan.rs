//! What the plan finds, says and proposes, from real catalogues; what the rows say of it; and what `init` guesses.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by panicking, their helpers too"
)]

mod common;

use changeover::Value;
use changeover::mapping::TableMapping;
use changeover_tables::catalog::{Domain, Generated};
use changeover_tables::data::{Duplicates, check_data};
use changeover_tables::guess::{Certainty, guess};
use changeover_tables::plan::{Mirroring, Plan, Severity, key_choices, plan};
use changeover_tables::sqlite::{SqliteDatabase, SqliteOptions};
use changeover_tables::words;
use common::*;

/// The plan says this, with this remedy, at this severity.
fn says(plan: &Plan, severity: Severity, what: &str, remedy: &str) {
    let found = plan
        .findings
        .iter()
        .any(|f| f.severity == severity && f.what.contains(what) && f.remedy.contains(remedy));
    assert!(found, "{severity:?} {what} / {remedy}: {:#?}", plan.findings);
}

async fn planned(old: &str, new: &str, mappings: &[TableMapping]) -> Plan {
    Pair::new(old, new).plan(mappings).await
}

const T: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT);";

#[tokio::test]
async fn what_is_not_there_is_named_with_what_is() {
    says(
        &planned(T, T, &[mapping("u", "t")]).await,
        Severity::Error,
        "no table old:u",
        "the database has: t",
    );
    let mut m = mapping("t", "t");
    m.key = vec![key_column("lower(id)", "id")];
    m.set = vec![("nn".into(), sql("n"))];
    m.back = vec![("mm".into(), "n".into())];
    let plan = planned(T, T, &[m]).await;
    for name in ["lower(id)", "nn", "mm"] {
        says(&plan, Severity::Error, name, "id, n");
    }
}

#[tokio::test]
async fn a_table_without_a_usable_key_is_refused_with_the_choices() {
    let none = "CREATE TABLE t (id INTEGER, n TEXT);";
    says(
        &planned(none, T, &[mapping("t", "t")]).await,
        Severity::Error,
        "no primary key",
        "CREATE UNIQUE INDEX",
    );
    let some = "CREATE TABLE t (id INTEGER UNIQUE NOT NULL, n TEXT UNIQUE); CREATE UNIQUE INDEX p ON t (id) WHERE n > 1;";
    says(&planned(some, T, &[mapping("t", "t")]).await, Severity::Error, "no primary key", "(id)");
    let mut by_n = mapping("t", "t");
    by_n.key = vec![key_column("n", "n")];
    let plan = planned(some, T, &[by_n.clone()]).await;
    says(&plan, Severity::Error, "no unique index of the new table t", "(id)");
    says(&planned(some, some, &[by_n]).await, Severity::Warning, "may be NULL", "check --data");
    let mut expression = mapping("t", "t");
    expression.set = vec![("id".into(), sql("id + 1"))];
    says(&planned(T, T, &[expression]).await, Severity::Error, "also given by `set`", "not of expressions");
}

#[tokio::test]
async fn a_new_column_without_a_source_needs_one_unless_it_can_do_without() {
    let new = "CREATE TABLE t (id INTEGER PRIMARY KEY, must TEXT NOT NULL, may TEXT, def TEXT NOT NULL DEFAULT 'x', g AS (id));";
    let plan = planned(T, new, &[mapping("t", "t")]).await;
    says(&plan, Severity::Error, "must is NOT NULL", "set = { must");
    let mut m = mapping("t", "t");
    m.set = vec![("must".into(), constant("m"))];
    let plan = planned(T, new, &[m.clone()]).await;
    assert!(plan.is_sound(), "{:#?}", plan.findings);
    says(&plan, Severity::Note, "def isn't given a value: new rows take its default, 'x'", "");
    says(&plan, Severity::Warning, "old column n is left behind: the new table has no such", "NEW_COLUMN");
    let mut other = mapping("t", "t");
    other.set = vec![("n".into(), constant("m"))];
    let plan = planned(T, T, &[other]).await;
    says(
        &plan,
        Severity::Warning,
        "old column n is left behind: the new table's is made of something else",
        "",
    );
    m.set.push(("g".into(), sql("1")));
    says(&planned(T, new, &[m]).await, Severity::Error, "computed by the database", "`set`");
}

#[tokio::test]
async fn what_capture_cannot_see_is_refused() {
    let expression = format!("{T} CREATE UNIQUE INDEX e ON t (lower(n));");
    says(
        &planned(&expression, T, &[mapping("t", "t")]).await,
        Severity::Error,
        "over an expression",
        "generated column",
    );
    let pair = Pair::new(T, T);
    pair.old_app.pragma_update(None, "journal_mode", "delete").unwrap();
    says(
        &pair.plan(&[mapping("t", "t")]).await,
        Severity::Error,
        "journal mode is delete",
        "PRAGMA journal_mode = WAL;",
    );
    let old = SqliteDatabase::open("old", pair.old_path(), SqliteOptions::default()).await.unwrap();
    let new = SqliteDatabase::open("new", pair.new_path(), SqliteOptions::default()).await.unwrap();
    let catalogs = [old.catalog().await.unwrap(), new.catalog().await.unwrap()];
    assert!(plan(&[mapping("t", "t")], &catalogs, Mirroring::CopyOnly).is_sound());
    let view = format!("{T} CREATE VIEW v AS SELECT id, n FROM t;");
    let mut m = mapping("v", "t");
    m.key = vec![key_column("id", "id")];
    says(&planned(&view, T, &[m]).await, Severity::Error, "no unique index of the old table v", "");
}

#[tokio::test]
async fn expressions_that_never_settle_are_refused_and_bad_ones_are_told_by_the_database() {
    let mut m = mapping("t", "t");
    m.set = vec![("n".into(), sql("n || datetime('now')"))];
    says(&planned(T, T, &[m]).await, Severity::Error, "uses now", "row's own columns");
    let mut m = mapping("t", "t");
    m.set = vec![("n".into(), sql("(SELECT max(n) FROM t)"))];
    says(&planned(T, T, &[m.clone()]).await, Severity::Warning, "other rows", "verification");
    m.set = vec![("n".into(), sql("uper(n)"))];
    m.where_ = Some("nn > 1".into());
    m.back = vec![("n".into(), "n ||".into())];
    let stores = Pair::new(T, T);
    let plan = stores.plan(&[m]).await;
    let stores = stores.stores_of(plan).await;
    let old = stores.old.check_expressions(&stores.plan.tables).await.unwrap();
    assert!(
        old[0].what.contains("no such function: uper") && old[1].what.contains("no such column: nn"),
        "{old:?}"
    );
    let new = stores.new.check_expressions(&stores.plan.tables).await.unwrap();
    assert!(new[0].what.contains("`back`") && new[0].what.contains("syntax error"), "{new:?}");
}

#[tokio::test]
async fn mappings_that_would_take_each_others_rows_are_refused() {
    let old = "CREATE TABLE a (id INTEGER PRIMARY KEY, n); CREATE TABLE b (id INTEGER PRIMARY KEY, n);";
    let new = "CREATE TABLE t (id INTEGER, src TEXT, n, PRIMARY KEY (id, src));";
    let of = |old: &str, constant_: Option<&str>| {
        let mut m = mapping(old, "t");
        m.set = constant_.map(|c| vec![("src".to_owned(), constant(c))]).unwrap_or_default();
        m
    };
    says(
        &planned(old, new, &[of("a", Some("x")), of("b", Some("x"))]).await,
        Severity::Error,
        "no constant tells",
        "const",
    );
    let plan = planned(old, new, &[of("a", Some("x")), of("b", Some("y"))]).await;
    assert!(plan.is_sound(), "{:#?}", plan.findings);
    assert_eq!(plan.tables[1].scope, [("src".to_owned(), Value::from("y"))]);
    says(
        &planned(old, old, &[mapping("a", "a"), mapping("a", "a")]).await,
        Severity::Error,
        "two mappings have the name",
        "name",
    );
}

#[tokio::test]
async fn the_catalogue_tells_what_sqlite_has() {
    let schema = "CREATE TABLE p (a TEXT COLLATE NOCASE, b, PRIMARY KEY (b, a)) WITHOUT ROWID; \
        CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT NOT NULL DEFAULT 'x', b DATE, g INT AS (id * 2) STORED, \
        d INTEGER UNIQUE, FOREIGN KEY (a, b) REFERENCES p (a, b) ON DELETE CASCADE); \
        CREATE UNIQUE INDEX i ON t (b COLLATE RTRIM, a) WHERE d > 1; \
        CREATE TABLE s (k INT PRIMARY KEY, v ANY) STRICT; CREATE TABLE changeover_x (id);\
        CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END;";
    let pair = Pair::new(schema, T);
    let database = SqliteDatabase::open("old", pair.old_path(), SqliteOptions::default()).await.unwrap();
    let catalog = database.catalog().await.unwrap();
    assert_eq!(catalog.tables.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["p", "s", "t"]);
    let p = catalog.table(None, "P").unwrap();
    assert_eq!((p.primary_key.clone(), p.without_row_number), (vec!["b".to_owned(), "a".to_owned()], true));
    assert_eq!(key_choices(p), ["(b, a)"]);
    let t = catalog.table(None, "t").unwrap();
    assert_eq!((t.counter.as_deref(), t.row_number.as_deref()), (Some("id"), Some("id")));
    let column = |name: &str| t.column(name).unwrap();
    assert_eq!((column("a").not_null, column("a").default.as_deref()), (true, Some("'x'")));
    assert_eq!((column("b").domain.clone(), column("g").generated), (Domain::Loose, Generated::Stored));
    assert_eq!(
        t.unique.iter().map(|u| u.name.as_str()).collect::<Vec<_>>(),
        ["t", "sqlite_autoindex_t_1", "i"]
    );
    assert_eq!(t.unique[2].partial.as_deref(), Some("d > 1"));
    assert_eq!((t.foreign_keys[0].columns.len(), t.foreign_keys[0].on_delete.as_str()), (2, "CASCADE"));
    assert_eq!(t.triggers[0].name, "tr");
    let s = catalog.table(None, "s").unwrap();
    assert_eq!((s.strict, s.row_number.as_ref(), s.columns[1].domain.clone()), (true, None, Domain::Any));
    assert_eq!(p.columns[0].collation, "NOCASE");
}

#[tokio::test]
async fn the_plan_is_told_in_plain_words() {
    let mut m = mapping("t", "t2");
    m.key = vec![key_column("id", "tid")];
    m.set = vec![("status".into(), sql("upper(n)")), ("region".into(), constant("eu"))];
    let new = "CREATE TABLE t2 (tid INTEGER PRIMARY KEY, status TEXT, region TEXT);";
    let plan = planned(T, new, &[m.clone()]).await;
    let table = &plan.tables[0];
    let words = |list: Vec<words::ColumnWords>| list.into_iter().map(|w| w.words).collect::<Vec<_>>();
    assert_eq!(
        words(words::forward(table)),
        ["tid is id", "status becomes upper(n)", "region is always 'eu'"]
    );
    assert_eq!(
        words(words::backward(table)),
        ["id is tid", "n keeps its old value, and takes its default in new rows"]
    );
    let lost = words::reversibility(table);
    assert!(lost.iter().any(|f| f.what.contains("writes into status doesn't come back")), "{lost:?}");
    // A table that isn't there yet is proposed, and the proposal does.
    let pair = Pair::new(T, "");
    let missing = pair.plan(&[m.clone()]).await;
    assert!(missing.findings[0].remedy.contains("--create-tables"), "{:#?}", missing.findings);
    let proposed = pair.proposed(&m).await;
    pair.new_app.execute_batch(&proposed).unwrap();
    let plan = pair.plan(&[m]).await;
    assert!(plan.is_sound(), "{proposed}\n{:#?}", plan.findings);
}

#[tokio::test]
async fn types_that_change_and_do_not_come_back_are_told() {
    let old = "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL, u TEXT UNIQUE);";
    let new = "CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT);";
    let plan = planned(old, new, &[mapping("t", "t")]).await;
    says(&plan, Severity::Note, "changes its type from INTEGER to TEXT", "");
    let lost = words::reversibility(&plan.tables[0]);
    for what in ["may be NULL on the new side", "holds text on the new side", "unique on the old side"] {
        assert!(lost.iter().any(|f| f.what.contains(what)), "{what}: {lost:#?}");
    }
}

#[tokio::test]
async fn the_rows_tell_what_does_not_fit_either_side_and_what_collides() {
    let old = "CREATE TABLE a (id TEXT PRIMARY KEY, email TEXT, n INTEGER); CREATE TABLE b (id TEXT PRIMARY KEY NOT NULL, email TEXT, n INTEGER);";
    let new = "CREATE TABLE t (id TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, email TEXT UNIQUE, n INTEGER NOT NULL, src TEXT);";
    let pair = Pair::new(old, new);
    pair.old_app
        .execute_batch(
            "INSERT INTO a VALUES ('k','e1',1),('K','e2',2),(NULL,'e3',3),('x','e1',4),('y','e4','text'),('z','e5',NULL),('w','e6','text');\
             INSERT INTO b VALUES ('x','e9',1),('other','e8',1);",
        )
        .unwrap();
    pair.new_app.execute_batch("INSERT INTO t VALUES ('n','e7',x'00','A')").unwrap();
    let of = |old: &str, c: &str| {
        let mut m = mapping(old, "t");
        m.set = vec![("src".into(), constant(c))];
        m
    };
    let stores = pair.stores(&[of("a", "A"), of("b", "B")]).await;
    let old = |_: &str| Some(&stores.old as &dyn Duplicates);
    let new = |_: &str| Some(&stores.new as &dyn Duplicates);
    let data = check_data(&stores.plan, old, new, &mut |_| {}).await.unwrap();
    let a = &data[0];
    assert_eq!(a.rows, 3);
    assert!(!a.is_clean());
    let counted = |list: &[changeover_tables::data::Trouble], what: &str| {
        list.iter().find(|t| t.why.contains(what)).map_or(0, |t| t.rows)
    };
    assert_eq!(counted(&a.forward, "is NULL"), 1);
    assert_eq!(counted(&a.forward, "text in a column for integers"), 2);
    assert_eq!(counted(&a.forward, "takes no NULL"), 1);
    assert_eq!(a.forward[0].examples[0].value, Some("text".into()));
    assert_eq!(counted(&a.backward, "bytes in a column for integers"), 1);
    assert_eq!(
        a.duplicates.iter().map(|t| (t.column.clone().unwrap(), t.rows)).collect::<Vec<_>>(),
        [("id".into(), 2), ("email".into(), 2)]
    );
    assert_eq!(counted(&a.collisions, "same key"), 1);
    assert_eq!(a.collisions[0].examples[0].key, key("a", "x"));
}

#[tokio::test]
async fn init_guesses_and_says_how_sure_it_is() {
    let old = "CREATE TABLE bookings (id INTEGER PRIMARY KEY, state TEXT, cancelled_at TEXT, secret TEXT); \
               CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT); CREATE TABLE zzz (q);";
    let new = "CREATE TABLE booking (booking_id INTEGER PRIMARY KEY, state TEXT, cancellation_at TEXT, code TEXT NOT NULL); \
               CREATE TABLE users (id INTEGER PRIMARY KEY, email INTEGER); CREATE TABLE audit (w);";
    let pair = Pair::new(old, new);
    let catalog = |name: &'static str, path| async move {
        SqliteDatabase::open(name, path, SqliteOptions::default()).await.unwrap().catalog().await.unwrap()
    };
    let guesses = guess(&catalog("old", pair.old_path()).await, &catalog("new", pair.new_path()).await);
    assert_eq!((guesses.old_alone, guesses.new_alone), (vec!["zzz".to_owned()], vec!["audit".to_owned()]));
    let [bookings, users] = guesses.tables.as_slice() else { panic!("{:?}", guesses.tables) };
    assert_eq!((bookings.certainty, users.certainty), (Certainty::Guess, Certainty::SameName));
    assert_eq!(bookings.key, [key_column("id", "booking_id")]);
    let column = |new: &str| bookings.columns.iter().find(|c| c.new == new).unwrap();
    assert_eq!(column("cancellation_at").old.as_deref(), Some("cancelled_at"));
    assert_eq!(column("cancellation_at").certainty, Certainty::Guess);
    assert!(column("code").old.is_none() && column("code").needed);
    assert_eq!(column("state").certainty, Certainty::SameName);
    assert_eq!(bookings.left_behind, ["secret"]);
    assert_eq!(users.columns[1].note, "TEXT there, INTEGER here");
}
