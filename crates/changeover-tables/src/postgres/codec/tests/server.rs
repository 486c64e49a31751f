//! What the codec does with a real server: it is the server that says whether what came back is what was there.

pub(in crate::postgres) mod edges;

use std::collections::BTreeMap;
use std::pin::pin;

use bytes::{Buf as _, Bytes};
use changeover::Value;
use changeover::value::{Date, Instant, Timestamp};
use changeover_testkit::servers::postgres::Postgres;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_postgres::{Client, NoTls, Statement};

use self::edges::{EDGES, MEANINGS, TYPES};
use super::*;

/// A connection to a database of its own, with the types of the tests.
async fn connect(hint: &str) -> Client {
    let server = Postgres::shared();
    let client = connect_to(&server.create_database(hint)).await;
    client.batch_execute(TYPES).await.unwrap();
    client
}

async fn connect_to(database: &str) -> Client {
    let url = Postgres::shared().url(database);
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The type of a column that SQL calls so, with its type modifier.
async fn column(client: &Client, declared: &str) -> (Type, i32) {
    client.batch_execute(&format!("CREATE TEMP TABLE of (c {declared})")).await.unwrap();
    let statement = client.prepare("SELECT c FROM pg_temp.of").await.unwrap();
    let column = statement.columns()[0].type_().clone();
    // The driver says nothing of a domain's own modifier.
    let sql = "SELECT CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE attrelid = 'pg_temp.of'::regclass AND attnum = 1";
    let modifier = client.query_one(sql, &[]).await.unwrap().get(0);
    client.batch_execute("DROP TABLE pg_temp.of").await.unwrap();
    (column, modifier)
}

async fn read_one(client: &Client, codec: &Codec, sql: &str) -> Value {
    let row = client.query_one(sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let Raw(raw) = row.get(0);
    decode(codec, raw).unwrap_or_else(|e| panic!("{sql}: {e}"))
}

const fn as_read(codec: &Codec) -> &'static str {
    if codec.as_text { "::text" } else { "" }
}

/// The same to the byte as the server keeps it, which is more than what it calls equal, and in its text.
async fn came_back(client: &Client, parameter: &str, declared: &str, edge: &str, sent: &Param<'_>) {
    let sql = format!(
        "SELECT record_image_eq(ROW({parameter}::{declared}), ROW(({edge})::{declared})),
            {parameter}::{declared}::text IS NOT DISTINCT FROM ({edge})::{declared}::text"
    );
    let row = client.query_one(&sql, &[sent]).await.unwrap_or_else(|e| panic!("{declared}: {edge}: {e:?}"));
    // The server lays out a query that it parsed in another way than one that it received.
    let image = declared == "tsquery" || row.get(0);
    assert_eq!((image, row.get(1)), (true, true), "{declared}: {edge} is {}", sent.value);
}

#[tokio::test]
async fn a_value_that_was_read_is_the_same_as_a_parameter() {
    let client = connect("codec_parameters").await;
    for (declared, edges) in EDGES {
        let (ty, _) = column(&client, declared).await;
        let codec = Codec::of(&ty);
        for edge in edges.iter().chain(&["NULL"]) {
            let sql = format!("SELECT ({edge})::{declared}{}", as_read(&codec));
            let value = read_one(&client, &codec, &sql).await;
            assert_eq!(value.is_null(), *edge == "NULL");
            let sent = Param { codec: &codec, value: &value };
            came_back(&client, "$1", declared, edge, &sent).await;
            if codec.as_text {
                came_back(&client, "$1::text", declared, edge, &sent).await;
            }
        }
    }
}

#[tokio::test]
async fn a_value_means_what_the_server_says() {
    let client = connect("codec_meanings").await;
    for (declared, edge, plain) in MEANINGS {
        let codec = Codec::of(&column(&client, declared).await.0);
        let sql = format!("SELECT ({edge})::{declared}{}", as_read(&codec));
        let value = read_one(&client, &codec, &sql).await;
        assert_eq!(value.to_string(), *plain, "{declared}: {edge}");
    }
}

/// All rows of a binary COPY, decoded, in the memory of the row before.
async fn copied_out(
    client: &Client,
    statement: &Statement,
    codecs: &[Codec],
    each: &mut impl FnMut(&[Value]),
) {
    let mut values = vec![Value::Null; codecs.len()];
    let mut pieces = pin!(client.copy_out(statement).await.unwrap());
    let (mut frame, mut all, mut rows) = (CopyFrame::new(codecs.len()), Vec::new(), 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece.unwrap();
        rows += frame.pass(&piece).unwrap();
        all.extend_from_slice(&piece);
    }
    frame.finish().unwrap();
    // Behind the header: the number of a row's fields, and each with its length before it.
    let mut rest = &all[19..];
    for _ in 0..rows {
        rest.advance(2);
        for (codec, value) in codecs.iter().zip(&mut values) {
            let field = usize::try_from(rest.get_i32()).ok().map(|length| {
                let (field, behind) = rest.split_at(length);
                rest = behind;
                field
            });
            decode_into(codec, field, value).unwrap();
        }
        each(&values);
    }
}

async fn copied_in(client: &Client, table: &str, writer: CopyWriter) {
    let sink = client.copy_in::<_, Bytes>(&format!("COPY {table} FROM STDIN (FORMAT binary)")).await.unwrap();
    let mut sink = pin!(sink);
    sink.send(writer.finish()).await.unwrap();
    sink.finish().await.unwrap_or_else(|e| panic!("{table}: {e:?}"));
}

/// All values as the server's texts, by their number.
async fn texts(client: &Client, table: &str) -> BTreeMap<i32, Option<String>> {
    let sql = format!("SELECT id, c::text FROM {table}");
    client.query(&sql, &[]).await.unwrap().iter().map(|r| (r.get(0), r.get(1))).collect()
}

/// From one database to another, where the types made by users have other numbers.
#[tokio::test]
async fn a_table_that_is_copied_is_the_same_in_another_database() {
    let (from, to) = (connect("codec_copy_from").await, connect("codec_copy_to").await);
    for (declared, edges) in EDGES {
        let (of_from, of_to) = (column(&from, declared).await.0, column(&to, declared).await.0);
        let codecs = [Codec::of(&Type::INT4), Codec::of(&of_from)];
        let codecs_to = [Codec::of(&Type::INT4), Codec::of(&of_to)];
        let as_text = codecs[1].as_text;
        let rows: Vec<String> = edges
            .iter()
            .chain(&["NULL"])
            .enumerate()
            .map(|(n, edge)| format!("({n}, ({edge})::{declared})"))
            .collect();
        let create = format!("CREATE TABLE t (id int, c {declared})");
        from.batch_execute(&format!("{create}; INSERT INTO t VALUES {}", rows.join(", "))).await.unwrap();
        let staged = if as_text { "CREATE TABLE staged (id int, c text)" } else { "" };
        to.batch_execute(&format!("{create}; {staged}")).await.unwrap();

        let columns = format!("id, c{}", as_read(&codecs[1]));
        let statement =
            from.prepare(&format!("COPY (SELECT {columns} FROM t) TO STDOUT (FORMAT binary)")).await.unwrap();
        let mut writer = CopyWriter::new();
        copied_out(&from, &statement, &codecs, &mut |row| writer.row(&codecs_to, row).unwrap()).await;
        copied_in(&to, if as_text { "staged" } else { "t" }, writer).await;
        if as_text {
            to.batch_execute(&format!(
                "INSERT INTO t SELECT id, c::{declared} FROM staged; DROP TABLE staged"
            ))
            .await
            .unwrap();
        }

        let there = texts(&to, "t").await;
        assert_eq!(there.len(), edges.len() + 1, "{declared}");
        assert_eq!(there, texts(&from, "t").await, "{declared}");
        from.batch_execute("DROP TABLE t").await.unwrap();
        to.batch_execute("DROP TABLE t").await.unwrap();
    }
}

/// The bounds that we say are those that the server has: it takes what is on them, and nothing that is beyond.
#[tokio::test]
async fn the_bounds_are_the_servers() {
    let client = connect("codec_bounds").await;
    let shown = async |ty: &Type, value: Value| -> String {
        let sent = Param { codec: &Codec::of(ty), value: &value };
        client.query_one(&format!("SELECT $1::{ty}::text"), &[&sent]).await.unwrap().get(0)
    };
    client.batch_execute("SET TIME ZONE 'UTC'").await.unwrap();
    let Exact::Date { min, max } = exact(&Type::DATE, -1) else { panic!() };
    assert_eq!(shown(&Type::DATE, Value::Date(min)).await, "4714-11-24 BC");
    assert_eq!(shown(&Type::DATE, Value::Date(max)).await, "5874897-12-31");
    for beyond in [min.0 - 1, max.0 + 1] {
        assert!(bytes(&Type::DATE, &Value::Date(Date(beyond))).is_err(), "{beyond}");
    }
    let Exact::Timestamp(span) = exact(&Type::TIMESTAMP, -1) else { panic!() };
    assert_eq!(
        shown(&Type::TIMESTAMP, Value::Timestamp(Timestamp(span.min))).await,
        "4714-11-24 00:00:00 BC"
    );
    assert_eq!(
        shown(&Type::TIMESTAMP, Value::Timestamp(Timestamp(span.max))).await,
        "294247-01-10 04:00:54.775807"
    );
    assert!(bytes(&Type::TIMESTAMP, &Value::Timestamp(Timestamp(span.min - 1))).is_err());
    assert_eq!(
        shown(&Type::TIMESTAMPTZ, Value::Instant(Instant(span.min))).await,
        "4714-11-24 00:00:00+00 BC"
    );
    for refused in [
        "'4714-11-23 BC'::date",
        "'5874898-01-01'::date",
        "'4714-11-23 23:59:59 BC'::timestamp",
        "'294277-01-01'::timestamp",
        "'24:00:01'::time",
    ] {
        assert!(client.query(&format!("SELECT {refused}"), &[]).await.is_err(), "{refused}");
    }
}

/// Why the bounds are asked before: a text that is too long is refused, a number is not.
#[tokio::test]
async fn the_server_rounds_what_is_beyond_a_modifier() {
    let client = connect("codec_rounds").await;
    client.batch_execute("CREATE TABLE t (n numeric(4,2), at time(0), v varchar(2))").await.unwrap();
    let codecs = [Type::NUMERIC, Type::TIME, Type::VARCHAR].map(|ty| Codec::of(&ty));
    let values = [decimal("1.999"), Value::Time(Time(1_900_000)), "ab  ".into()];
    let mut writer = CopyWriter::new();
    writer.row(&codecs, &values).unwrap();
    copied_in(&client, "t", writer).await;
    let row = client.query_one("SELECT concat_ws('|', n, at, v, length(v)) FROM t", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "2.00|00:00:02|ab|2");
}

#[tokio::test]
async fn a_columns_modifiers_are_read_as_the_server_means_them() {
    let client = connect("codec_modifiers").await;
    let span = |digits, min, max| Span { digits, min, max };
    let (first, day) = (-210_866_803_200_000_000, 86_400_000_000);
    let decimal = |precision, scale| Exact::Decimal { precision: Some(precision), scale: Some(scale) };
    for (declared, expected) in [
        ("numeric(10,2)", decimal(10, 2)),
        ("numeric(3,-2)", decimal(3, -2)),
        ("numeric(4,1000)", decimal(4, 1000)),
        ("numeric(1000,-1000)", decimal(1000, -1000)),
        ("price", decimal(12, 4)),
        ("time(2)", Exact::Time(span(2, 0, day))),
        ("timestamp(0)", Exact::Timestamp(span(0, first, i64::MAX))),
        ("timestamptz", Exact::Instant(span(6, first, i64::MAX))),
        ("interval", Exact::Interval { digits: 6 }),
        ("interval(3)", Exact::Interval { digits: 3 }),
        ("interval second(1)", Exact::Interval { digits: 1 }),
        ("interval day to second", Exact::Interval { digits: 6 }),
        ("interval year to month", Exact::Interval { digits: 0 }),
        ("bit", Exact::Bits { min: 1, max: Some(1) }),
        ("bit(9)", Exact::Bits { min: 9, max: Some(9) }),
        ("varbit", Exact::Bits { min: 0, max: None }),
        ("varbit(9)", Exact::Bits { min: 0, max: Some(9) }),
        ("time(1)[]", Exact::Array(Exact::Time(span(1, 0, day)).into())),
        ("inet[]", Exact::Array(Exact::Other("inet".into()).into())),
        ("point", Exact::Other("point".into())),
        (
            "address[]",
            Exact::Other("public.address (\"Street\" text, since date, home public.mood)[]".into()),
        ),
    ] {
        let (ty, modifier) = column(&client, declared).await;
        assert_eq!(exact(&ty, modifier), expected, "{declared}");
    }
    for (declared, chars, padded) in [
        ("varchar(7)", Some(7), false),
        ("varchar", None, false),
        ("char", Some(1), true),
        ("char(7)[]", Some(7), true),
    ] {
        let (ty, modifier) = column(&client, declared).await;
        let of = match exact(&ty, modifier) {
            Exact::Array(of) => Exact::clone(&of),
            of => of,
        };
        let Exact::Text(text) = of else { panic!("{declared}") };
        assert_eq!((text.max_chars, text.padded), (chars, padded), "{declared}");
    }
}

/// Such a database takes any bytes for a text, and gives them back, if only the session doesn't name an encoding.
#[tokio::test]
async fn what_a_database_without_an_encoding_holds_passes_between_such() {
    let clause = "ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0";
    let client = connect_to(&Postgres::shared().create_database_with("codec_ascii", clause)).await;
    client.batch_execute("SET client_encoding = 'SQL_ASCII'").await.unwrap();
    let codec = Codec::of(&Type::TEXT);
    let value = read_one(&client, &codec, "SELECT E'f\\xff'::text").await;
    assert_eq!(value, Value::opaque("postgres: non-UTF-8 text", vec![b'f', 0xff]));
    let sent = Param { codec: &codec, value: &value };
    came_back(&client, "$1", "text", "E'f\\xff'", &sent).await;
}
