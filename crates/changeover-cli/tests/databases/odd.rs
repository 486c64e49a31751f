//! Tables that engines make odd: names that need quotes, identities and computed columns, partitions, foreign keys and cascades,
//! triggers of the user's, rows under policies, schemas that nobody searches, and a table without a primary key.

use changeover_testkit::servers::{MariaDb, Postgres};

use crate::live::{Database, PostgresTables};
use crate::support::{Ended, Place, is_settled, wait_for};

/// In a schema that isn't searched, where a table of the same name is found instead.
const POSTGRES: &str = r#"
    CREATE TABLE "Order" ("select" bigint PRIMARY KEY);
    CREATE SCHEMA app;
    CREATE TABLE app."Order" ("select" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "Group By" text, total numeric(10, 2),
        with_tax numeric GENERATED ALWAYS AS (total * 1.2) STORED, parent bigint REFERENCES app."Order");
    CREATE TABLE app.line (order_id bigint REFERENCES app."Order" ON DELETE CASCADE ON UPDATE CASCADE, no int, "user" text,
        PRIMARY KEY (order_id, no));
    CREATE TABLE app.event (id bigint, at date, what text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE app.event_2025 PARTITION OF app.event FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE app.event_rest PARTITION OF app.event DEFAULT;
    CREATE TABLE app.tag (a text NOT NULL, b int NOT NULL, note text);
    CREATE UNIQUE INDEX ON app.tag (b, a);
    ALTER TABLE app.tag ENABLE ROW LEVEL SECURITY;
    CREATE POLICY nobody ON app.tag USING (false);
    CREATE TABLE app.history (what text);
    CREATE FUNCTION app.remember() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO app.history VALUES (tg_op || ' ' || tg_table_name); RETURN NULL; END $$;
    CREATE TRIGGER remember AFTER INSERT OR UPDATE OR DELETE ON app.line FOR EACH ROW EXECUTE FUNCTION app.remember();
"#;

const MARIADB: &str = "
    CREATE TABLE `Order` (`select` BIGINT AUTO_INCREMENT PRIMARY KEY, `Group By` TEXT, total DECIMAL(10, 2),
        with_tax DECIMAL(12, 3) GENERATED ALWAYS AS (total * 1.2) STORED, half DECIMAL(12, 3) AS (total / 2) VIRTUAL,
        parent BIGINT, FOREIGN KEY (parent) REFERENCES `Order` (`select`));
    CREATE TABLE line (order_id BIGINT, no INT, `user` TEXT, PRIMARY KEY (order_id, no),
        FOREIGN KEY (order_id) REFERENCES `Order` (`select`) ON DELETE CASCADE ON UPDATE CASCADE);
    CREATE TABLE event (id BIGINT, at DATE, what TEXT, PRIMARY KEY (id, at)) PARTITION BY RANGE COLUMNS (at) (
        PARTITION p2025 VALUES LESS THAN ('2026-01-01'), PARTITION rest VALUES LESS THAN (MAXVALUE));
    CREATE TABLE tag (a VARCHAR(50) COLLATE utf8mb4_nopad_bin NOT NULL, b INT NOT NULL, note TEXT, UNIQUE KEY (b, a));
";

/// Children before their parents, and a parent that comes after its child. `Q` is the quote of the engine.
const ROWS: &str = "
    INSERT INTO $Order$ ($select$, $Group By$, total, parent) VALUES (3, 'c', 1.10, NULL), (1, 'a', 2.25, 3), (2, NULL, NULL, 1);
    INSERT INTO $line$ (order_id, no, $user$) VALUES (1, 1, 'Zoë'), (1, 2, 'x'), (3, 1, NULL);
    INSERT INTO $event$ VALUES (1, '2025-06-01', 'old'), (1, '2026-06-01', 'new'), (2, '2026-06-01', NULL);
    INSERT INTO $tag$ VALUES ('a', 1, 'n'), ('A ', 1, NULL), ('a', 2, 'e');
";

/// The child is named first.
const TABLES: [(&str, &str); 4] = [
    ("line", "order_id = \"order_id\", no = \"no\""),
    ("Order", "select = \"select\""),
    ("event", "id = \"id\", at = \"at\""),
    ("tag", "b = \"b\", a = \"a\""),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Postgres,
    MariaDb,
}

/// A database with these tables.
struct Odd {
    engine: Engine,
    name: String,
}

impl Odd {
    fn make(engine: Engine, hint: &str) -> Self {
        let name = match engine {
            Engine::Postgres => Postgres::shared().create_database(hint),
            Engine::MariaDb => MariaDb::shared().create_database(hint),
        };
        let odd = Self { engine, name };
        odd.sql(if engine == Engine::Postgres { POSTGRES } else { MARIADB });
        odd
    }

    fn url(&self) -> String {
        match self.engine {
            Engine::Postgres => Postgres::shared().url(&self.name),
            Engine::MariaDb => MariaDb::shared().url(&self.name),
        }
    }

    /// Statements, with `$` for the engine's quotes.
    #[track_caller]
    fn sql(&self, sql: &str) -> String {
        match self.engine {
            Engine::MariaDb => MariaDb::shared().sql(&self.name, &sql.replace('$', "`")),
            Engine::Postgres => Postgres::shared().psql(&self.name, &Self::quoted(sql)),
        }
    }

    /// For PostgreSQL: the tables by their schema, and keys of the server's own given by us.
    fn quoted(sql: &str) -> String {
        if sql.contains("$$") {
            return sql.to_owned();
        }
        let given = "($select$, $Group By$, total, parent) VALUES";
        let mut sql = sql.replace(given, &given.replace("VALUES", "OVERRIDING SYSTEM VALUE VALUES"));
        for (table, _) in TABLES {
            sql = sql.replace(&format!("${table}$"), &format!("app.${table}$"));
        }
        sql.replace('$', "\"")
    }

    fn rows(&self) -> Vec<String> {
        let queries = [
            "SELECT $select$, $Group By$, total, parent FROM $Order$ ORDER BY 1",
            "SELECT order_id, no, $user$ FROM $line$ ORDER BY 1, 2",
            "SELECT id, at, what FROM $event$ ORDER BY 1, 2",
            "SELECT b, a, note FROM $tag$ ORDER BY 1, 2",
        ];
        let null = |text: String| text.replace("NULL", "").replace('\t', "|");
        queries.iter().map(|sql| null(self.sql(sql))).collect()
    }
}

fn spec(place: &Place, old: &Odd, new: &Odd, more: &str) {
    let at = |odd: &Odd, table| match odd.engine {
        Engine::Postgres => format!("app.{table}"),
        Engine::MariaDb => table,
    };
    let mut spec = format!(
        "format = 1\nname = \"bookings\"\n{more}\n[store.old]\nurl = {:?}\n\n[store.new]\nurl = {:?}\n",
        old.url(),
        new.url()
    );
    for (table, key) in TABLES {
        let [from, to] = [old, new].map(|odd| at(odd, table.to_owned()));
        spec += &format!("\n[[table]]\nold = \"old:{from}\"\nnew = \"new:{to}\"\nkey = {{ {key} }}\n");
    }
    let gate = "\n[gate]\nbake = { reverse-shadow = \"0s\", new = \"0s\" }\n";
    place.write("bookings.toml", spec + if more.is_empty() { gate } else { "" });
}

#[test]
fn odd_tables_are_copied_and_compared_between_servers() {
    for (from, to) in [
        (Engine::Postgres, Engine::MariaDb),
        (Engine::MariaDb, Engine::Postgres),
        (Engine::MariaDb, Engine::MariaDb),
    ] {
        let place = Place::empty();
        let (old, new) = (Odd::make(from, "old"), Odd::make(to, "new"));
        old.sql(ROWS);
        spec(&place, &old, &new, "phases = [\"old\", \"new\"]");
        let report = place.json(&["copy", "bookings.toml"], 0);
        assert_eq!(report["clean"], true, "{from:?} to {to:?}: {report}");
        assert_eq!(old.rows(), new.rows(), "{from:?} to {to:?}");
        old.sql("DELETE FROM $line$ WHERE no = 2; UPDATE $tag$ SET a = 'z' WHERE b = 2; DELETE FROM $event$ WHERE id = 2");
        let report = place.json(&["verify", "bookings.toml"], 1);
        assert_eq!(report["differences"].as_array().map(Vec::len), Some(4), "{report}");
        place.json(&["copy", "bookings.toml"], 0);
        assert_eq!(old.rows(), new.rows(), "{from:?} to {to:?}, again");
    }
}

/// By way of a run, forward and back; what cascades and triggers do is done once.
#[test]
fn odd_tables_of_postgresql_move_and_move_back() {
    let place = Place::empty();
    let (old, new) = (Odd::make(Engine::Postgres, "old"), Odd::make(Engine::Postgres, "new"));
    old.sql(ROWS);
    spec(&place, &old, &new, "");
    let run = place.run();
    place.go(&["advance"], "shadow");
    run.until("copied and verified", is_settled);
    assert_eq!(old.rows(), new.rows());

    // On the old side: a cascade of both kinds, keys that change, a row that changes its partition.
    old.sql(
        "SELECT setval(pg_get_serial_sequence('$Order$', 'select'), 9);
         INSERT INTO $Order$ ($Group By$, total, parent) VALUES ('ten', 10, 2);
         INSERT INTO $line$ VALUES (10, 1, 'one'), (10, 2, 'two');
         DELETE FROM $Order$ WHERE $select$ = 10;
         UPDATE $event$ SET at = '2025-07-01' WHERE id = 2;
         UPDATE $tag$ SET b = b + 10;
         UPDATE $line$ SET $user$ = 'changed' WHERE order_id = 1",
    );
    wait_for("the new side has it", || old.rows() == new.rows());
    assert_eq!(new.sql("SELECT count(*) FROM app.history"), "0", "the follower's triggers are silent");
    run.until("compared", is_settled);
    place.go(&["advance"], "reverse-shadow");

    let remembered = old.sql("SELECT count(*) FROM app.history");
    new.sql(
        "INSERT INTO $Order$ ($Group By$, total) VALUES ('given out', 1);
         INSERT INTO $line$ SELECT max($select$), 1, 'new' FROM $Order$;
         DELETE FROM $line$ WHERE order_id = 3;
         UPDATE $Order$ SET parent = NULL;
         DELETE FROM $Order$ WHERE $select$ = 1;
         UPDATE $tag$ SET a = a || '!'; TRUNCATE $event$",
    );
    wait_for("the old side has it", || old.rows() == new.rows());
    assert_eq!(old.sql("SELECT count(*) FROM app.history"), remembered, "the follower's triggers are silent");
    let given_out = new.sql("SELECT max($select$) FROM $Order$");
    assert!(given_out.parse::<i64>().is_ok_and(|id| id > 10), "{given_out} was given out before");
    place.json(&["verify", "bookings.toml"], 0);
    place.go(&["rollback"], "shadow");
    old.sql("INSERT INTO $Order$ ($Group By$) VALUES ('back')");
    wait_for("the new side has it", || old.rows() == new.rows());
    place.changeover(&["abort", "--yes"]).expect(0);
    wait_for("nothing of ours stays", || {
        [&old, &new]
            .iter()
            .all(|odd| odd.sql("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'changeover%'") == "0")
    });
}

/// A role that a policy shows a part of the rows must not take them for all.
#[test]
fn rows_that_a_policy_hides_are_an_error_and_not_left_out() {
    let place = Place::empty();
    let server = Postgres::shared();
    let role = server.create_role("mover", "secret");
    let (old, new) = (Odd::make(Engine::Postgres, "old"), Odd::make(Engine::Postgres, "new"));
    old.sql(ROWS);
    for odd in [&old, &new] {
        let name = &odd.name;
        server.psql(
            name,
            &format!(
                "GRANT USAGE ON SCHEMA app TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA app TO {role}; \
                 GRANT CREATE ON DATABASE {name} TO {role}; GRANT SET ON PARAMETER session_replication_role TO {role}"
            ),
        );
    }
    spec(&place, &old, &new, "phases = [\"old\", \"new\"]");
    place.write("old.url", server.url_as(&role, "secret", &old.name));
    let text =
        place.read("bookings.toml").replace(&format!("url = {:?}", old.url()), "url_file = \"old.url\"");
    place.write("bookings.toml", &text);
    for command in ["check", "copy", "verify"] {
        let ended = place.changeover(&[command, "bookings.toml"]);
        assert_ne!(ended.code, Some(0), "{command}: {}", ended.out);
        let said = words(&ended);
        assert!(said.contains("\"app\".\"tag\" only: the others would be lost"), "{command}: {said}");
        assert!(said.contains(&format!("ALTER ROLE \"{role}\" BYPASSRLS;")), "{command}: {said}");
        let counter = format!("GRANT SELECT ON SEQUENCE app.\"Order_select_seq\" TO \"{role}\";");
        assert!(said.contains(&counter), "{command}: {said}");
    }
    assert_eq!(new.sql("SELECT count(*) FROM $tag$"), "0");
    server.psql(&old.name, &format!("GRANT SELECT ON ALL SEQUENCES IN SCHEMA app TO {role}"));
    // Where the table isn't the migration's it is nobody's business.
    let (others, _) = text.split_once("\n[[table]]\nold = \"old:app.tag\"").expect("the last table");
    place.write("bookings.toml", others);
    place.changeover(&["copy", "bookings.toml"]).expect(0);
    server.psql("postgres", &format!("ALTER ROLE {role} BYPASSRLS"));
    place.write("bookings.toml", text);
    place.changeover(&["copy", "bookings.toml"]).expect(0);
    assert_eq!(old.rows(), new.rows());
}

/// All that a command said, without the line breaks of a narrow terminal.
fn words(ended: &Ended) -> String {
    format!("{} {}", ended.out, ended.err).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Nothing identifies its rows: told by all commands, with what to do.
#[test]
fn a_table_that_nothing_identifies_rows_of_is_refused_with_what_to_do() {
    for engine in [Engine::Postgres, Engine::MariaDb] {
        let place = Place::empty();
        let make = |hint: &str| match engine {
            Engine::Postgres => PostgresTables::make(Postgres::shared(), hint).url(),
            Engine::MariaDb => MariaDb::shared().url(&MariaDb::shared().create_database(hint)),
        };
        let [old, new] = ["old", "new"].map(make);
        for url in [&old, &new] {
            let name = url.rsplit('/').next().expect("a name");
            let sql = "CREATE TABLE things (a INT, b INT, UNIQUE (b))";
            match engine {
                Engine::Postgres => drop(Postgres::shared().psql(name, sql)),
                Engine::MariaDb => drop(MariaDb::shared().sql(name, sql)),
            }
        }
        place.write(
            "bookings.toml",
            format!(
                "format = 1\nname = \"bookings\"\nphases = [\"old\", \"new\"]\n[store.old]\nurl = {old:?}\n[store.new]\nurl = {new:?}\n\
                 [[table]]\nold = \"old:things\"\nnew = \"new:things\"\nkey = {{ a = \"a\" }}\n"
            ),
        );
        for command in ["check", "copy", "verify"] {
            let ended = place.changeover(&[command, "bookings.toml"]);
            assert_ne!(ended.code, Some(0), "{command}");
            let said = words(&ended);
            assert!(
                said.contains("no unique index of the old table things is over the key (a)"),
                "{command}: {said}"
            );
            assert!(
                said.contains("these could be the key: (b), where rows with NULL are refused"),
                "{command}: {said}"
            );
        }
    }
}
