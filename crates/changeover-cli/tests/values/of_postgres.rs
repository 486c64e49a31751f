//! The types of PostgreSQL, and the values at their edges.

use crate::column::{Column, Kind};

use Kind::{MariaDb as M, Sqlite as S};

pub const FIRST: &str = "CREATE EXTENSION IF NOT EXISTS citext; CREATE EXTENSION IF NOT EXISTS hstore; \
    CREATE TYPE mood AS ENUM ('sad', 'it''s', 'ümläut', 'a,b'); CREATE DOMAIN tiny AS int CHECK (VALUE < 10); \
    CREATE TYPE address AS (street text, since date)";

pub fn columns() -> Vec<Column> {
    let mut all = numbers();
    all.extend(texts());
    all.extend(times());
    all.extend(structures());
    all.extend(unread());
    all
}

fn numbers() -> Vec<Column> {
    vec![
        Column::new(
            "b",
            ["boolean", "TINYINT(1)", "INTEGER"],
            &[("true", "false"), ("false", "true"), ("false", "NULL"), ("NULL", "false")],
        ),
        Column::new("i2", ["smallint", "SMALLINT", "INTEGER"], &[("-32768", "-32767"), ("32767", "32766")]),
        Column::new("i4", ["integer", "INT", "INTEGER"], &[("-2147483648", "-2147483647"), ("0", "NULL")]),
        Column::new(
            "i8",
            ["bigint", "BIGINT", "INTEGER"],
            &[
                ("-9223372036854775808", "-9223372036854775807"),
                ("9223372036854775807", "9223372036854775806"),
                ("9007199254740993", "9007199254740992"),
                ("0", "1"),
                ("NULL", "0"),
            ],
        ),
        Column::new("o", ["oid", "INT UNSIGNED", "INTEGER"], &[("4294967295", "4294967294")]),
        Column::new("d", ["tiny", "TINYINT", "INTEGER"], &[("9", "8")]),
        Column::new(
            "f4",
            ["real", "FLOAT", "REAL"],
            &[
                ("0.1", "0.10000001"),
                ("'3.4028235e38'", "'3.4028233e38'"),
                ("'1e-45'", "0"),
                ("16777216", "16777218"),
                ("0", "'-0'"),
                ("NULL", "0"),
            ],
        )
        .respelled("'-0'", "'1e-45'", &[S])
        .unfit("'NaN'", &[(M, "NaN"), (S, "NaN")])
        .unfit("'-Infinity'", &[(M, "infinity")]),
        Column::new(
            "f8",
            ["double precision", "DOUBLE", "REAL"],
            &[
                ("0.1", "0.10000000000000002"),
                ("1::float8 / 3", "0.33333333333333337"),
                ("'5e-324'", "0"),
                ("'-1.7976931348623157e308'", "'-1.7976931348623155e308'"),
                ("0", "'-0'"),
                ("NULL", "0"),
            ],
        )
        .respelled("'-0'", "'5e-324'", &[S])
        .unfit("'NaN'", &[(M, "NaN"), (S, "NaN")])
        .unfit("'Infinity'", &[(M, "infinity")]),
        Column::new(
            "n",
            ["numeric", "DECIMAL(65, 30)", "TEXT"],
            &[(
                "-12345678901234567890123456789012345.123456789012345678901234567891",
                "-12345678901234567890123456789012345.123456789012345678901234567890",
            )],
        )
        .respelled("1.50", "1.51", &[M])
        .respelled("0", "1e-30", &[M])
        .unfit("1e-31", &[(M, "more than 30 digits")])
        .unfit("1e35", &[(M, "more than 65 digits")])
        .unfit("'NaN'", &[(M, "NaN"), (S, "NaN")])
        .unfit("'-Infinity'", &[(M, "infinite"), (S, "infinite")]),
        Column::new(
            "n2",
            ["numeric(10, 2)", "DECIMAL(10, 2)", "TEXT"],
            &[("-99999999.99", "-99999999.98"), ("1.5", "1.51"), ("0", "0.01"), ("0", "NULL")],
        ),
    ]
}

fn texts() -> Vec<Column> {
    vec![
        Column::new(
            "t",
            ["text", "LONGTEXT", "TEXT"],
            &[
                ("'a'", "'A'"),
                ("'a'", "'a '"),
                ("'a '", "'a'"),
                ("''", "NULL"),
                ("NULL", "''"),
                ("'NULL'", "NULL"),
                ("'é'", "E'e\\u0301'"),
                ("E'\\t\\n\\r\\\\N\\x1a''\"'", "E'\\t\\n\\r\\\\N\\x1a'''"),
                ("'🎬'", "'🎭'"),
                ("'1'", "'1.0'"),
                ("repeat('x', 100000)", "repeat('x', 99999)"),
                ("'straße'", "'strasse'"),
            ],
        ),
        Column::new("vc", ["varchar(5)", "VARCHAR(5)", "TEXT"], &[("'é🎬c  '", "'é🎬c '"), ("''", "' '")]),
        Column::new(
            "ch",
            ["char(5)", "CHAR(5)", "TEXT"],
            &[("'ab'", "'aB'"), ("''", "NULL"), ("' a'", "'a'")],
        ),
        Column::new("na", ["name", "VARCHAR(64)", "TEXT"], &[("repeat('n', 63)", "repeat('n', 62)")]),
        Column::new("ci", ["citext", "LONGTEXT", "TEXT"], &[("'aBc'", "'abc'"), ("'É'", "'é'")]),
        Column::new("x", ["xml", "LONGTEXT", "TEXT"], &[("'<a>é</a>'", "'<a >é</a>'")]),
        Column::new(
            "byt",
            ["bytea", "LONGBLOB", "BLOB"],
            &[
                ("'\\x00'", "'\\x01'"),
                ("'\\x00'", "'\\x0000'"),
                ("''", "NULL"),
                ("NULL", "''"),
                ("'\\xff27225c'", "'\\xff27225d'"),
            ],
        ),
        Column::new(
            "u",
            ["uuid", "UUID", "TEXT"],
            &[
                ("'00000000-0000-0000-0000-000000000000'", "'00000000-0000-0000-0000-000000000001'"),
                ("'FFFFFFFF-ffff-ffff-ffff-ffffffffffff'", "NULL"),
            ],
        ),
        Column::new(
            "e",
            ["mood", "ENUM('sad', 'it''s', 'ümläut', 'a,b')", "TEXT"],
            &[("'sad'", "'it''s'"), ("'ümläut'", "'a,b'"), ("NULL", "'sad'")],
        ),
    ]
}

fn times() -> Vec<Column> {
    vec![
        Column::new(
            "da",
            ["date", "DATE", "TEXT"],
            &[
                ("'1970-01-01'", "'1969-12-31'"),
                ("'0001-01-01'", "'0001-01-02'"),
                ("'9999-12-31'", "'9999-12-30'"),
                ("'2024-02-29'", "NULL"),
            ],
        )
        .unfit("'10000-01-01'", &[(M, "9999")])
        .unfit("'0044-03-15 BC'", &[(M, "date")])
        .unfit("'infinity'", &[(M, "infinite"), (S, "infinite")]),
        Column::new(
            "ti",
            ["time", "TIME(6)", "TEXT"],
            &[
                ("'00:00'", "'00:00:00.000001'"),
                ("'24:00:00'", "'00:00'"),
                ("'23:59:59.999999'", "'23:59:59.999998'"),
            ],
        ),
        Column::new("t0", ["time(0)", "TIME", "TEXT"], &[("'00:00:01'", "'00:00:02'")]),
        Column::new(
            "ts",
            ["timestamp", "DATETIME(6)", "TEXT"],
            &[
                ("'1969-12-31 23:59:59.999999'", "'1969-12-31 23:59:59.999998'"),
                ("'9999-12-31 23:59:59.999999'", "'9999-12-31 23:59:59.999998'"),
                ("'2026-11-22'", "'2026-11-22 00:00:00.000001'"),
                ("NULL", "'2026-11-22'"),
            ],
        )
        .unfit("'10000-01-01'", &[(M, "9999")])
        .unfit("'-infinity'", &[(M, "infinite"), (S, "infinite")]),
        Column::new(
            "tz",
            ["timestamptz", "TIMESTAMP(6)", "TEXT"],
            &[
                ("'1970-01-01 00:00:01+00'", "'1970-01-01 00:00:01.000001+00'"),
                ("'2038-01-19 03:14:07.999999+00'", "'2038-01-19 03:14:07.999998+00'"),
                ("'2026-03-29 02:30+01'", "'2026-03-29 02:30+02'"),
            ],
        )
        .unfit("'1969-12-31 23:59:59+00'", &[(M, "1970")])
        .unfit("'infinity'", &[(M, "infinite"), (S, "infinite")]),
        Column::new(
            "iv",
            ["interval", "VARCHAR(100)", "TEXT"],
            &[
                ("'1 mon -1 day +00:00:01.000001'", "'1 mon -1 day +00:00:01.000002'"),
                ("'1 day'", "'24:00'"),
                ("'1 mon'", "'30 days'"),
                ("'-178000000 years'", "'-178000000 years 1 us'"),
                ("'0'", "NULL"),
            ],
        ),
    ]
}

fn structures() -> Vec<Column> {
    vec![
        Column::new(
            "j",
            ["json", "JSON", "TEXT"],
            &[
                ("' {\"a\":1, \"a\" : 2.50} '", "' {\"a\":1, \"a\" : 2.5} '"),
                ("'null'", "NULL"),
                ("'1e400'", "'1e401'"),
                ("'[1,2]'", "'[1, 2]'"),
            ],
        ),
        Column::new(
            "jb",
            ["jsonb", "JSON", "TEXT"],
            &[
                ("'{\"a\": 1.10}'", "'{\"a\": 1.1}'"),
                ("'{\"a\": 12345678901234567890.123}'", "'{\"a\": 12345678901234567890.124}'"),
                ("'null'", "NULL"),
                ("'\"1\"'", "'1'"),
                ("'{\"a\": [true, null]}'", "'{\"a\": [true]}'"),
                ("'{\"é\\\"\\n\": \"😀\"}'", "'{\"é\\\"\\n\": \"😁\"}'"),
                ("'{}'", "'[]'"),
            ],
        ),
        Column::new(
            "b8",
            ["bit(8)", "BIT(8)", "TEXT"],
            &[("B'10000001'", "B'10000000'"), ("B'00000000'", "NULL")],
        ),
        Column::new(
            "vb",
            ["varbit", "VARCHAR(100)", "TEXT"],
            &[("''", "B'0'"), ("B'1'", "B'10'"), ("repeat('01', 33)::varbit", "repeat('01', 32)::varbit")],
        ),
        Column::new(
            "ia",
            ["integer[]", "JSON", "TEXT"],
            &[
                ("'{1,NULL,3}'", "'{1,NULL,4}'"),
                ("'{}'", "NULL"),
                ("'{1,2}'", "'{2,1}'"),
                ("'{0}'", "'{NULL}'"),
            ],
        )
        .unfit("'[0:1]={1,2}'", &[(M, "array"), (S, "array")])
        .unfit("'{{1,2},{3,4}}'", &[(M, "array"), (S, "array")]),
        Column::new(
            "ta",
            ["text[]", "JSON", "TEXT"],
            &[
                ("'{a,\"\",NULL,\"NULL\",\"a,b\"}'", "'{a,\"\",NULL,NULL,\"a,b\"}'"),
                ("'{\"a,b\"}'", "'{a,b}'"),
                ("'{é}'", "'{É}'"),
            ],
        ),
        Column::new(
            "co",
            ["address", "LONGTEXT", "TEXT"],
            &[("ROW('a \"b\"', '2026-11-22')", "ROW('a \"b\"', NULL)")],
        ),
        Column::new(
            "hs",
            ["hstore", "LONGTEXT", "TEXT"],
            &[("'a=>1'", "'a=>2'"), ("'a=>NULL'", "'a=>\"NULL\"'")],
        ),
    ]
}

/// What goes to PostgreSQL alone, to the last bit.
fn unread() -> Vec<Column> {
    let only =
        |name, declared, held: &[(&'static str, &'static str)]| Column::new(name, [declared, "", ""], held);
    vec![
        only("tt", "timetz", &[("'24:00:00+15:59:59'", "'24:00:00+15:59:58'")]),
        only("inet_", "inet", &[("'10.1.2.3/8'", "'10.1.2.3/9'"), ("'::1'", "'::2'")]),
        only("cidr_", "cidr", &[("'10.0.0.0/8'", "'10.0.0.0/9'")]),
        only("mac", "macaddr", &[("'08:00:2b:01:02:03'", "'08:00:2b:01:02:04'")]),
        only("mac8", "macaddr8", &[("'08:00:2b:01:02:03:04:05'", "'08:00:2b:01:02:03:04:06'")]),
        only("mo", "money", &[("'-92233720368547758.08'", "'-92233720368547758.07'")]),
        only("pt", "point", &[("'(-0,1e300)'", "'(0,1e300)'")]),
        only("ln", "line", &[("'{1,2,3}'", "'{1,2,4}'")]),
        only("ls", "lseg", &[("'[(0,0),(1,1)]'", "'[(0,0),(1,2)]'")]),
        only("bo", "box", &[("'(1,1),(0,0)'", "'(1,1),(0,0.5)'")]),
        only("pa", "path", &[("'((0,0),(1,1))'", "'[(0,0),(1,1)]'")]),
        only("pg", "polygon", &[("'((0,0),(1,1),(2,0))'", "'((0,0),(1,1),(2,1))'")]),
        only("ci_", "circle", &[("'<(0,0),5>'", "'<(0,0),5.000000000000001>'")]),
        only("ir", "int4range", &[("'[1,5)'", "'[1,6)'"), ("'empty'", "NULL")]),
        only("nr", "numrange", &[("'[0.00,1]'", "'[0.00,1)'")]),
        only("tr", "tstzrange", &[("'(2000-01-01 00:00+00,)'", "'[2000-01-01 00:00+00,)'")]),
        only("mr", "int4multirange", &[("'{[1,2),[5,)}'", "'{[1,2),[6,)}'")]),
        only("tv", "tsvector", &[("'a:1A,2B'", "'a:1A,2C'")]),
        only("tq", "tsquery", &[("'a & b'", "'a | b'")]),
        only("ls_", "pg_lsn", &[("'FFFFFFFF/FFFFFFFF'", "'FFFFFFFF/FFFFFFFE'")]),
        only("x8", "xid8", &[("'18446744073709551615'", "'18446744073709551614'")]),
        only("jp", "jsonpath", &[("'$.a'", "'$.b'")]),
        only("b70", "bit(70)", &[("repeat('10', 35)::bit(70)", "(repeat('10', 34) || '11')::bit(70)")]),
        only("na2", "numeric[]", &[("'{0.00,NaN,-Infinity,NULL}'", "'{0.0,NaN,-Infinity,NULL}'")]),
        only("ma", "mood[]", &[("'{sad,NULL}'", "'{\"a,b\",NULL}'")]),
        only("ca", "address[]", &[("ARRAY[ROW('x', NULL)::address]", "ARRAY[ROW('y', NULL)::address]")]),
        only("c1", "\"char\"", &[("E'\\\\351'", "E'\\\\350'")]),
    ]
}
