//! The types of MariaDB, and the values at their edges.

use crate::column::{Column, Kind};

use Kind::{Postgres as P, Sqlite as S};

pub fn columns() -> Vec<Column> {
    let mut all = numbers();
    all.extend(times());
    all.extend(texts());
    all.extend(others());
    all
}

fn numbers() -> Vec<Column> {
    vec![
        Column::new("b", ["boolean", "BOOLEAN", "INTEGER"], &[("1", "0"), ("0", "NULL")])
            .unfit("2", &[(P, "other than 0 and 1")]),
        Column::new(
            "i8",
            ["smallint", "TINYINT", "INTEGER"],
            &[("-128", "-127"), ("127", "126"), ("NULL", "0")],
        ),
        Column::new("u8", ["smallint", "TINYINT UNSIGNED", "INTEGER"], &[("255", "254")]),
        Column::new("i16", ["smallint", "SMALLINT", "INTEGER"], &[("-32768", "-32767")]),
        Column::new("i24", ["integer", "MEDIUMINT", "INTEGER"], &[("-8388608", "-8388607")]),
        Column::new("z24", ["integer", "MEDIUMINT UNSIGNED ZEROFILL", "INTEGER"], &[("7", "8")]),
        Column::new("u32", ["bigint", "INT UNSIGNED", "INTEGER"], &[("4294967295", "4294967294")]),
        Column::new(
            "i64",
            ["bigint", "BIGINT", "INTEGER"],
            &[
                ("-9223372036854775808", "-9223372036854775807"),
                ("9223372036854775807", "9223372036854775806"),
            ],
        ),
        Column::new(
            "u64",
            ["numeric(20)", "BIGINT UNSIGNED", "TEXT"],
            &[("18446744073709551615", "18446744073709551614"), ("0", "1")],
        ),
        Column::new(
            "narrow",
            ["bigint", "BIGINT UNSIGNED", "INTEGER"],
            &[("9223372036854775807", "9223372036854775808")],
        )
        .unfit("9223372036854775808", &[(P, "9223372036854775807"), (S, "9223372036854775807")]),
        Column::new(
            "n65",
            ["numeric(65, 30)", "DECIMAL(65, 30)", "TEXT"],
            &[
                (
                    "'12345678901234567890123456789012345.123456789012345678901234567890'",
                    "'12345678901234567890123456789012345.123456789012345678901234567891'",
                ),
                ("0", "'0.000000000000000000000000000001'"),
            ],
        ),
        Column::new("n2", ["numeric(10, 2)", "DECIMAL(10, 2)", "TEXT"], &[("-1.5", "-1.51"), ("0", "NULL")]),
        Column::new(
            "f4",
            ["real", "FLOAT", "REAL"],
            &[
                ("0.1", "0.10000001e0"),
                ("3.40282346638528859812e38", "3.40282326356119256161e38"),
                ("1.40129846432481707092e-45", "0"),
                ("0", "-0e0"),
            ],
        )
        .respelled("-0e0", "1", &[S]),
        Column::new(
            "f8",
            ["double precision", "DOUBLE", "REAL"],
            &[
                ("0.1e0", "0.10000000000000002e0"),
                ("0.30000000000000004e0", "0.3e0"),
                ("1.7976931348623157e308", "1.7976931348623155e308"),
                ("0e0", "-0e0"),
            ],
        )
        .respelled("-0e0", "5e-324", &[S]),
        Column::new("b1", ["bit(1)", "BIT(1)", "TEXT"], &[("b'1'", "b'0'")]),
        Column::new(
            "b9",
            ["bit(9)", "BIT(9)", "TEXT"],
            &[("b'100000001'", "b'100000000'"), ("b'0'", "NULL")],
        ),
        Column::new(
            "b64",
            ["bit(64)", "BIT(64)", "TEXT"],
            &[("18446744073709551615", "18446744073709551614")],
        ),
        Column::new("y", ["smallint", "YEAR", "INTEGER"], &[("2155", "2154"), ("0", "1901")]),
    ]
}

fn times() -> Vec<Column> {
    const ZERO: &[(Kind, &str)] = &[(P, "zero"), (S, "zero")];
    vec![
        Column::new(
            "da",
            ["date", "DATE", "TEXT"],
            &[("'1000-01-01'", "'1000-01-02'"), ("'9999-12-31'", "'9999-12-30'")],
        )
        .unfit("'0000-00-00'", ZERO)
        .unfit("'2024-00-10'", &[(P, "partial"), (S, "partial")])
        .unfit("'2024-02-31'", &[(P, "impossible"), (S, "impossible")]),
        Column::new(
            "dt",
            ["timestamp", "DATETIME(6)", "TEXT"],
            &[
                ("'2026-11-22 12:34:56.123456'", "'2026-11-22 12:34:56.123457'"),
                ("'9999-12-31 23:59:59.999999'", "'9999-12-31 23:59:59.999998'"),
            ],
        )
        .unfit("'0000-00-00'", ZERO),
        Column::new(
            "d0",
            ["timestamp(0)", "DATETIME", "TEXT"],
            &[("'1969-12-31 23:59:59'", "'1969-12-31 23:59:58'")],
        ),
        Column::new(
            "ts",
            ["timestamptz", "TIMESTAMP(6)", "TEXT"],
            &[
                ("'1970-01-01 00:00:01'", "'1970-01-01 00:00:01.000001'"),
                ("'2038-01-19 03:14:07.999999'", "'2038-01-19 03:14:07.999998'"),
            ],
        )
        .unfit("0", ZERO),
        Column::new(
            "ti",
            ["time", "TIME(6)", "TEXT"],
            &[
                ("'00:00:00'", "'00:00:00.000001'"),
                ("'23:59:59.999999'", "'23:59:59.999998'"),
                ("'24:00:00'", "'00:00:00'"),
            ],
        )
        .unfit("'-00:00:00.000001'", &[(P, "time")])
        .unfit("'838:59:59.999999'", &[(P, "time")]),
    ]
}

fn texts() -> Vec<Column> {
    vec![
        Column::new("ch", ["char(10)", "CHAR(10)", "TEXT"], &[("'a'", "'A'"), ("''", "NULL")]),
        Column::new(
            "vc",
            ["varchar(50)", "VARCHAR(50)", "TEXT"],
            &[
                ("'a'", "'A'"),
                ("'a'", "'á'"),
                ("'a'", "'a '"),
                ("''", "NULL"),
                ("NULL", "''"),
                ("'NULL'", "NULL"),
                ("CONVERT(x'F09F8EAC' USING utf8mb4)", "CONVERT(x'F09F8EAD' USING utf8mb4)"),
            ],
        ),
        Column::new(
            "tx",
            ["text", "LONGTEXT", "TEXT"],
            &[("CONVERT(x'090a0d1a5c5c4e2722' USING utf8mb4)", "CONVERT(x'090a0d1a5c5c4e27' USING utf8mb4)")],
        )
        .unfit("CONVERT(x'610062' USING utf8mb4)", &[(P, "NUL")]),
        Column::new("tt", ["text", "TINYTEXT", "TEXT"], &[("REPEAT('x', 255)", "REPEAT('x', 254)")]),
        Column::new(
            "l1",
            ["text", "VARCHAR(50) CHARACTER SET latin1", "TEXT"],
            &[("CONVERT(x'C3A9E282AC' USING utf8mb4)", "'e'")],
        ),
        Column::new(
            "w",
            ["text", "VARCHAR(50) CHARACTER SET utf16", "TEXT"],
            &[("CONVERT(x'F09F8EAC' USING utf8mb4)", "CONVERT(x'F09F8EAD' USING utf8mb4)")],
        ),
        Column::new("bi_ci", ["text", "VARCHAR(50) COLLATE utf8mb4_bin", "TEXT"], &[("'a'", "'a '")]),
        Column::new("bi", ["bytea", "BINARY(5)", "BLOB"], &[("x'00ff'", "x'00ff01'"), ("''", "NULL")]),
        Column::new(
            "vb",
            ["bytea", "VARBINARY(50)", "BLOB"],
            &[("x'00095c0a4eff'", "x'00095c0a4efe'"), ("''", "x'00'")],
        ),
        Column::new(
            "bl",
            ["bytea", "LONGBLOB", "BLOB"],
            &[("x'c328e28281'", "x'c328e28282'"), ("NULL", "''")],
        ),
    ]
}

fn others() -> Vec<Column> {
    vec![
        Column::new("e", ["text", "ENUM('a', 'it''s', 'é')", "TEXT"], &[("'it''s'", "'a'"), ("'é'", "NULL")]),
        Column::new(
            "s",
            ["text[]", "SET('x', 'y z', 'ü')", "TEXT"],
            &[("'x,ü'", "'x'"), ("''", "NULL"), ("7", "3")],
        ),
        Column::new(
            "j",
            ["json", "JSON", "TEXT"],
            &[
                (
                    "'{\"b\": 1.0, \"a\": [1e400],  \"a\": null}'",
                    "'{\"b\": 1.00, \"a\": [1e400],  \"a\": null}'",
                ),
                ("'null'", "NULL"),
            ],
        ),
        Column::new(
            "u",
            ["uuid", "UUID", "TEXT"],
            &[("'6f1e4c2a-0000-4000-8000-0123456789ab'", "'6f1e4c2a-0000-4000-8000-0123456789aa'")],
        ),
        Column::new(
            "i6",
            ["text", "INET6", "TEXT"],
            &[("'2001:DB8::1'", "'2001:DB8::2'"), ("'::ffff:1.2.3.4'", "'::1.2.3.4'")],
        ),
        Column::new("i4", ["text", "INET4", "TEXT"], &[("'10.1.2.3'", "'10.1.2.4'")]),
        Column::new("g", ["", "GEOMETRY", ""], &[("POINT(2, 3)", "POINT(2, 4)")]),
    ]
}
