//! The kinds of columns of SQLite, and the values at their edges.

use crate::column::{Column, Kind};

use Kind::{MariaDb as M, Postgres as P, Sqlite as S};

pub fn columns() -> Vec<Column> {
    let mut all = typed();
    all.extend(spelled());
    all.push(untyped());
    all
}

fn typed() -> Vec<Column> {
    vec![
        Column::new(
            "i",
            ["bigint", "BIGINT", "INTEGER"],
            &[
                ("-9223372036854775807 - 1", "-9223372036854775807"),
                ("9223372036854775807", "9223372036854775806"),
                ("0", "NULL"),
                ("NULL", "0"),
            ],
        )
        .unfit("'a'", &[(P, "text"), (M, "text"), (S, "text")])
        .unfit("1.5", &[(P, "no integer"), (M, "no integer"), (S, "real")])
        .unfit("x'01'", &[(P, "bytes"), (M, "bytes"), (S, "bytes")]),
        Column::new(
            "r",
            ["double precision", "DOUBLE", "REAL"],
            &[
                ("0.1", "0.10000000000000002"),
                ("1e300", "1.0000000000000002e300"),
                ("5e-324", "0.0"),
                ("3", "3.0000000000000004"),
                ("-1.7976931348623157e308", "NULL"),
            ],
        )
        .unfit("9e999", &[(M, "infinity")]),
        Column::new(
            "t",
            ["text", "LONGTEXT", "TEXT"],
            &[
                ("'a'", "'A'"),
                ("'a'", "'a '"),
                ("''", "NULL"),
                ("NULL", "''"),
                ("'é'", "'É'"),
                ("char(9, 10, 13, 92, 39)", "char(9, 10, 13, 92)"),
                ("1", "'1.0'"),
            ],
        )
        .unfit("'a' || char(0) || 'b'", &[(P, "NUL")])
        .unfit("x'61'", &[(P, "bytes"), (M, "bytes"), (S, "bytes")])
        .unfit("CAST(x'ff61' AS TEXT)", &[(P, "UTF-8"), (M, "UTF-8")]),
        Column::new(
            "b",
            ["bytea", "LONGBLOB", "BLOB"],
            &[("x'00'", "x'01'"), ("x'00'", "x'0000'"), ("x''", "NULL"), ("x'ff275c'", "x'ff275d'")],
        ),
        Column::new("bo", ["boolean", "BOOLEAN", "BOOLEAN"], &[("1", "0"), ("0", "NULL")])
            .unfit("2", &[(P, "other than 0 and 1")]),
        Column::new(
            "n",
            ["numeric", "DECIMAL(30, 10)", "DECIMAL(10, 2)"],
            &[("12345678.25", "12345678.26"), ("7", "8"), ("0.1", "0.10000000000000002")],
        ),
    ]
}

/// What SQLite has no type of its own for, as text.
fn spelled() -> Vec<Column> {
    vec![
        Column::new("d", ["date", "DATE", "DATE"], &[("'2024-02-29'", "'2024-02-28'")])
            .unfit("'29.2.2024'", &[(P, "date"), (M, "date")])
            .unfit("'2023-02-29'", &[(P, "date"), (M, "date")]),
        Column::new(
            "ts",
            ["timestamp", "DATETIME(6)", "DATETIME"],
            &[("'2026-11-22 10:00:00.000001'", "'2026-11-22 10:00:00.000002'")],
        )
        .respelled("'2026-11-22T10:00:00'", "'2026-11-22 10:00:01'", &[P, M]),
        Column::new(
            "tz",
            ["timestamptz", "TIMESTAMP(6)", "TEXT"],
            &[("'2026-11-22T10:00:00Z'", "'2026-11-22T10:00:00.000001Z'")],
        )
        .respelled("'2026-11-22T10:00:00+02:00'", "'2026-11-22T10:00:00Z'", &[P, M])
        .unfit("'2026-11-22 10:00:00'", &[(P, "zone"), (M, "zone")]),
        Column::new("ti", ["time", "TIME(6)", "TEXT"], &[("'10:00:00.5'", "'10:00:00.500001'")]),
        Column::new(
            "u",
            ["uuid", "UUID", "TEXT"],
            &[("'6f1e4c2a-0000-4000-8000-0123456789ab'", "'6f1e4c2a-0000-4000-8000-0123456789aa'")],
        )
        .respelled("'6F1E4C2A-0000-4000-8000-0123456789AB'", "NULL", &[P, M]),
        Column::new("j", ["json", "JSON", "TEXT"], &[("'{\"a\": 1.0}'", "'{\"a\": 1}'")])
            .unfit("'{a: 1}'", &[(P, "JSON"), (M, "JSON")]),
        Column::new("jb", ["jsonb", "", "TEXT"], &[("'{\"a\": 1.0}'", "'{\"a\": 1}'")])
            .respelled("'{\"a\":1.0}'", "'{\"a\": 1.00}'", &[P])
            .unfit("'{\"a\": 1, \"a\": 2}'", &[(P, "twice")]),
        Column::new(
            "m",
            ["numeric(10, 2)", "DECIMAL(10, 2)", "TEXT"],
            &[("'99999999.99'", "'99999999.98'"), ("'0.00'", "'0.01'")],
        )
        .respelled("'1.5'", "'1.51'", &[P, M])
        .unfit("'1.005'", &[(P, "digits"), (M, "digits")])
        .unfit("'100000000'", &[(P, "digits"), (M, "digits")]),
    ]
}

/// A column without a type keeps whatever is put into it as it is: to SQLite alone.
fn untyped() -> Column {
    Column::new(
        "v",
        ["", "", " "],
        &[
            ("1", "1.0"),
            ("1", "'1'"),
            ("'a'", "x'61'"),
            ("x''", "''"),
            ("'a' || char(0) || 'b'", "'a' || char(0) || 'c'"),
            ("CAST(x'ff61' AS TEXT)", "CAST(x'ff62' AS TEXT)"),
            ("9e999", "-9e999"),
            ("NULL", "0"),
        ],
    )
}
