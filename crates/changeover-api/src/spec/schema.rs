//! The JSON Schema of the spec file, for editors: the file's shape once more, as types that say nothing but that.
//!
//! The tests hold it against the reader: what the one takes, the other takes; a name that the one doesn't know,
//! the other doesn't either.

#![allow(dead_code, reason = "these types are described by their schema and never made")]

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};

/// The JSON Schema of a spec.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    SchemaGenerator::default().into_root_schema_for::<Migration>().into()
}

/// A migration: one thing that moves from its old side to its new one.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Migration {
    /// The format of this file.
    #[schemars(range(min = 1, max = 1))]
    format: i64,
    /// The migration's name: part of file names and URLs.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"))]
    name: String,
    /// What carries each change from the authority to the follower. Default: capture.
    mirror: Option<Mirror>,
    /// The phases, in order; shadow and reverse-shadow may be left out. Default: all four.
    phases: Option<Vec<Phase>>,
    /// With dual write: when a write is acknowledged. Default: both.
    ack: Option<Ack>,
    /// What an instance does that is out of touch with the control plane. Default: static-stability.
    on_silence: Option<OnSilence>,
    /// Declare a silent instance gone after this time. Off by default: a process that isn't gone is then not counted.
    forget_after: Option<Time>,
    /// How long after it was sent the server may still run a write. Default: 30s.
    write_lifetime: Option<Time>,
    /// How long writes may be held in a move. Default: 2s.
    hold_budget: Option<Time>,
    /// How long an instance may go on in a hold without an answer of the control plane. Default: 500ms.
    hold_lease: Option<Time>,
    /// How long a move forward waits for instances before it is given up. Default: 1m.
    patience: Option<Time>,
    /// The stores, by name.
    store: Option<BTreeMap<String, Store>>,
    /// The tables that move.
    table: Option<Vec<Table>>,
    /// What must hold before a phase may be entered.
    gate: Option<Gate>,
    /// How fast the backfill may be.
    backfill: Option<Pace>,
    /// How fast verification may be.
    verification: Option<Pace>,
    /// What is kept of changes.
    capture: Option<Capture>,
    /// What is kept of evidence.
    evidence: Option<Evidence>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Mirror {
    Capture,
    DualWrite,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Phase {
    Old,
    Shadow,
    ReverseShadow,
    New,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Ack {
    Both,
    Authority,
    BothOrError,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum OnSilence {
    StaticStability,
    Fence,
}

/// A store: its URL, or where the URL is found. A password in clear is an error.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Store {
    /// The URL, as in sqlite:old.db; a relative path is relative to this file.
    url: Option<String>,
    /// The environment variable that has the URL.
    url_env: Option<String>,
    /// The file that has the URL.
    url_file: Option<String>,
}

/// A mapping between a table of the old side and one of the new.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Table {
    /// The mapping's name. Default: the old table's.
    name: Option<String>,
    /// Where the rows are: store:table or store:schema.table.
    old: String,
    /// Where the rows go.
    new: String,
    /// The key: old column = new column. Names or constants, no expressions.
    key: BTreeMap<String, NameOrConst>,
    /// Which rows belong to the migration: a condition in the old side's SQL.
    #[schemars(rename = "where")]
    filter: Option<String>,
    /// new column = SQL over the old row.
    set: Option<BTreeMap<String, NameOrConst>>,
    /// old column = SQL over the new row.
    back: Option<BTreeMap<String, NameOrConst>>,
    /// What may differ between two rows that count as equal.
    rules: Option<Vec<Rule>>,
    /// The old side's column by whose value traffic is divided.
    route_by: Option<String>,
    /// Who chooses the keys of new rows: a share of the keys can be moved where the application does.
    keys: Option<Keys>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Keys {
    /// The database may, by its counter. The default.
    Database,
    /// The application always does.
    Application,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum NameOrConst {
    /// A name, or SQL.
    Text(String),
    /// Always this value.
    Const(Const),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Const {
    /// The value.
    #[schemars(rename = "const")]
    value: Scalar,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Scalar {
    Text(String),
    Integer(i64),
    Real(f64),
}

/// A rule of equivalence, of one kind.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Rule {
    /// The new side's column.
    column: String,
    /// The values aren't compared.
    ignore: Option<bool>,
    /// Timestamps are rounded to this unit.
    round: Option<RoundTo>,
    /// Numbers may differ by so much.
    tolerance: Option<f64>,
    /// A value of another type than the column's is carried over as it is.
    carry: Option<bool>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum RoundTo {
    S,
    Ms,
    Us,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Gate {
    /// What is asked of comparisons.
    mismatch: Option<Mismatch>,
    /// How much worse the new side's calls may be. Default: as below, where `mismatch` is given.
    calls: Option<Calls>,
    /// How long a phase must have held before the next. Default: 7d for reverse-shadow and new.
    bake: Option<Bake>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Mismatch {
    /// The most mismatches, as in "0.01 %".
    #[schemars(regex(pattern = r"^\s*[0-9.]+\s*%\s*$"))]
    max: String,
    /// The fewest comparisons that count as evidence.
    #[schemars(range(min = 1))]
    over: u64,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Calls {
    /// By how much the error rate may be above the old side's. Default: 0.5 %.
    #[schemars(regex(pattern = r"^\s*[0-9.]+\s*%\s*$"))]
    errors: Option<String>,
    /// How many times the old side's p99 the new side's may be. Default: 1.5.
    #[schemars(extend("exclusiveMinimum" = 0))]
    slower_by: Option<f64>,
    /// How much longer still. Default: 5ms.
    slack: Option<Time>,
    /// The fewest calls of each side that count as evidence. Default: 1000, or `mismatch`'s where that is less.
    #[schemars(range(min = 1))]
    over: Option<u64>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
struct Bake {
    shadow: Option<Time>,
    reverse_shadow: Option<Time>,
    new: Option<Time>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Pace {
    /// At most so many rows for each second.
    rate: Option<Rate>,
    /// About so many bytes are one chunk, as in "1 MiB".
    chunk: Option<Size>,
    /// At most so many rows are one chunk.
    #[schemars(range(min = 1))]
    chunk_rows: Option<u64>,
    /// Give way while the authority takes longer than this for a chunk's first row.
    give_way: Option<Time>,
    /// Rest while a replica of either side is further behind than this; "10s" if not given.
    lag: Option<Time>,
    /// Rest while more of the application's statements run at once on either side.
    #[schemars(range(min = 1))]
    running: Option<u64>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Rate {
    Number(#[schemars(range(min = 1))] u64),
    Text(#[schemars(regex(pattern = r"^\s*[0-9_]+\s*(rows)?\s*(/s)?\s*$"))] String),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Capture {
    /// At most so many changes wait in the log.
    #[schemars(range(min = 1))]
    bound: Option<u64>,
    /// How long, and how large, the log of the new side is kept in `new`.
    way_back: Option<WayBack>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct WayBack {
    /// As in "30d".
    time: Option<Time>,
    /// As in "1 GiB".
    size: Option<Size>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Evidence {
    /// Columns whose values are neither shown nor kept: column, mapping.column, or "*".
    redact: Option<Vec<String>>,
}

/// A length of time, as in "500ms", "2s", "1h 30m" or "7d".
struct Time;

impl JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A length of time, as in \"500ms\", \"2s\", \"1h 30m\" or \"7d\".",
            "pattern": r"^(\s*[0-9.]+\s*(ms|s|sec|m|min|h|d|w))+\s*$",
        })
    }
}

/// A number of bytes, as in "1 GiB".
struct Size;

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A number of bytes, as in \"256 KiB\", \"10 MB\" or \"1 GiB\".",
            "pattern": r"^\s*[0-9.]+\s*([bB]|bytes|[kKmMgGtT][iI]?[bB])\s*$",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    /// As much of JSON Schema as this schema uses; what it doesn't know makes the test fail.
    fn takes(root: &Value, schema: &Value, value: &Value) -> bool {
        schema.as_object().unwrap().iter().all(|(word, rule)| match word.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" | "default" | "pattern" => true,
            "$ref" => {
                let name = rule.as_str().unwrap().rsplit('/').next().unwrap();
                takes(root, &root["$defs"][name], value)
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|name| is_a(name.as_str().unwrap(), value)),
                name => is_a(name.as_str().unwrap(), value),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "const" => rule == value,
            "anyOf" => rule.as_array().unwrap().iter().any(|one| takes(root, one, value)),
            "oneOf" => rule.as_array().unwrap().iter().filter(|one| takes(root, one, value)).count() == 1,
            "minimum" => value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()),
            "exclusiveMinimum" => value.as_f64().is_none_or(|n| n > rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()),
            "items" => value.as_array().is_none_or(|all| all.iter().all(|one| takes(root, rule, one))),
            "required" => rule.as_array().unwrap().iter().all(|name| {
                value.as_object().is_none_or(|fields| fields.contains_key(name.as_str().unwrap()))
            }),
            "properties" => known(value)
                .all(|(name, field)| rule.get(name).is_none_or(|schema| takes(root, schema, field))),
            "additionalProperties" => known(value)
                .filter(|(name, _)| schema.get("properties").is_none_or(|all| all.get(name).is_none()))
                .all(|(_, field)| match rule {
                    Value::Bool(may) => *may,
                    schema => takes(root, schema, field),
                }),
            other => panic!("the test doesn't know {other:?}: {rule}"),
        })
    }

    fn known(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
        value.as_object().into_iter().flat_map(Map::iter)
    }

    fn is_a(name: &str, value: &Value) -> bool {
        match name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("the test doesn't know the type {other}"),
        }
    }

    fn accepts(toml: &str) -> bool {
        let schema = json_schema();
        let value: Value = toml::from_str(toml).unwrap();
        takes(&schema, &schema, &value)
    }

    const HEAD: &str = "format = 1\nname = \"bookings\"\n";

    #[test]
    fn the_designs_example_and_every_extension_are_taken() {
        assert!(accepts(include_str!("../../tests/specs/design.toml")));
        assert!(accepts(include_str!("../../tests/specs/everything.toml")));
        assert!(accepts(HEAD));
    }

    #[test]
    fn slips_are_refused() {
        for wrong in [
            "miror = \"capture\"",
            "mirror = \"captured\"",
            "phases = [\"old\", \"new\", \"retired\"]",
            "hold_budget = 2",
            "[store.x]\nurI = \"sqlite:x\"",
            "[[table]]\nold = \"a:b\"\nnew = \"a:c\"",
            "[[table]]\nold = \"a:b\"\nnew = \"a:c\"\nkey = { id = 7 }",
            "[[table]]\nold = \"a:b\"\nnew = \"a:c\"\nkey = { id = \"id\" }\nset = { x = { konst = 1 } }",
            "[[table]]\nold = \"a:b\"\nnew = \"a:c\"\nkey = { id = \"id\" }\nrules = [{ column = \"x\", round = \"h\" }]",
            "[gate]\nmismatch = { max = \"1 %\" }",
            "[gate]\nmismatch = { max = \"1 %\", over = 0 }",
            "[gate]\ncalls = { slower_by = 0 }",
            "[gate]\nbake = { old = \"7d\" }",
            "[capture]\nway_back = \"30d\"",
        ] {
            assert!(!accepts(&format!("{HEAD}{wrong}\n")), "{wrong}");
        }
        assert!(!accepts("format = 2\nname = \"bookings\""));
        assert!(!accepts("format = 1"));
    }

    /// Every name that the schema has is one that the reader knows: it complains of its value, not of its name.
    #[test]
    fn the_schema_and_the_reader_know_the_same_names() {
        let schema = json_schema();
        let names = |at: &Value| at["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let refused = |text: &str| {
            let errors = crate::Spec::parse(std::path::Path::new("x.toml"), text).unwrap_err();
            errors.errors.iter().any(|error| error.message.contains("has no `"))
        };
        for name in names(&schema) {
            assert!(!refused(&format!("{name} = 1979-05-27")), "{name}");
        }
        for (definition, section) in [
            ("Store", "[store.x]"),
            ("Table", "[[table]]"),
            ("Gate", "[gate]"),
            ("Pace", "[backfill]"),
            ("Capture", "[capture]"),
            ("Evidence", "[evidence]"),
        ] {
            for name in names(&schema["$defs"][definition]) {
                assert!(!refused(&format!("{section}\n{name} = 1979-05-27")), "{section} {name}");
            }
            assert!(refused(&format!("{section}\nxyzzy = 1")), "{section}");
        }
        assert!(refused("xyzzy = 1"));
    }
}
