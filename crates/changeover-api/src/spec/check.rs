//! What no single value of a spec shows: references to stores that aren't there, names given twice, settings
//! that contradict each other.

use std::collections::HashMap;

use changeover::Phase;
use changeover::protocol::member::OnSilence;
use changeover::protocol::moves::Mirror;

use super::reader::Findings;
use super::suggest::nearest;
use super::table::{KeyColumn, Source, TableSpec};
use super::{Spec, UrlSource};

/// Which parts of the spec could be read; what depends on one that couldn't isn't looked at, or one mistake would be
/// told as several.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readable {
    /// All stores have names that can be referred to.
    pub(super) stores: bool,
    /// All tables.
    pub(super) tables: bool,
}

/// Looks at the whole spec. `paths` are the tables' paths.
pub(super) fn check(spec: &Spec, paths: &[String], readable: Readable, found: &mut Findings) {
    if readable.stores {
        check_references(spec, paths, found);
        check_same_database(spec, paths, found);
    }
    check_names(&spec.tables, paths, found);
    for (path, table) in paths.iter().zip(&spec.tables) {
        check_key(path, table, found);
    }
    check_merged(&spec.tables, paths, found);
    check_route(&spec.tables, paths, found);
    check_fleet(spec, found);
    check_gates(spec, found);
    if readable.tables {
        check_redacted(spec, found);
        check_use(spec, found);
    }
}

fn check_references(spec: &Spec, paths: &[String], found: &mut Findings) {
    for (path, table) in paths.iter().zip(&spec.tables) {
        for (side, reference) in [("old", &table.old), ("new", &table.new)] {
            if spec.stores.iter().any(|store| store.name == reference.store) {
                continue;
            }
            let names = || spec.stores.iter().map(|store| store.name.as_str());
            let hint = match nearest(&reference.store, names()) {
                Some(name) => format!("Did you mean \"{name}\"?"),
                None => format!("Declare it: [store.{}] with its url", reference.store),
            };
            let at = found.source.value_of(&format!("{path}.{side}"));
            found.error(at, format!("there is no store `{}`", reference.store), hint);
        }
    }
}

/// One table on both sides: by the same store, or by two whose URLs are the same.
fn check_same_database(spec: &Spec, paths: &[String], found: &mut Findings) {
    let url = |name: &str| match &spec.stores.iter().find(|store| store.name == name)?.url {
        UrlSource::Given(url) => Some(url.to_string()),
        UrlSource::Env(env) => Some(format!("${env}")),
        UrlSource::File(file) => Some(format!("@{}", file.display())),
    };
    for (path, table) in paths.iter().zip(&spec.tables) {
        let same_store = table.old.store == table.new.store || url(&table.old.store) == url(&table.new.store);
        if same_store && (&table.old.schema, &table.old.table) == (&table.new.schema, &table.new.table) {
            let at = found.source.value_of(&format!("{path}.new"));
            let message = format!("`{path}` has the same table on both sides");
            found.error(at, message, "Give the table that the rows move to".to_owned());
        }
    }
}

fn check_names(tables: &[TableSpec], paths: &[String], found: &mut Findings) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (n, table) in tables.iter().enumerate() {
        let Some(first) = seen.insert(&table.name, n) else { continue };
        let at = found.source.value_of(&format!("{}.name", paths[n]));
        let line = found.source.location(found.source.value_of(&paths[first])).line;
        let message = format!("two mappings are called `{}`: the other is in line {line}", table.name);
        found.error(at, message, "Give one of them a `name` of its own".to_owned());
    }
}

fn check_key(path: &str, table: &TableSpec, found: &mut Findings) {
    let mut seen: Vec<&str> = Vec::new();
    for column in &table.key {
        let KeyColumn::Columns { old, new } = column else { continue };
        let entry = format!("{path}.key.{old}");
        if seen.contains(&new.as_str()) {
            let at = found.source.value_of(&entry);
            let message = format!("`{path}.key` has the new side's column `{new}` twice");
            found.error(at, message, "Each column of the key has one counterpart".to_owned());
        }
        seen.push(new);
        if table.set.iter().any(|set| &set.column == new) {
            let at = found.source.name_of(&format!("{path}.set.{new}"));
            let message = format!("the key's column `{new}` is in `set` too");
            found.error(at, message, "The key says what it is; remove it from `set`".to_owned());
        }
        if table.back.iter().any(|back| &back.column == old) {
            let at = found.source.name_of(&format!("{path}.back.{old}"));
            let message = format!("the key's column `{old}` is in `back` too");
            found.error(at, message, "The key says what it is; remove it from `back`".to_owned());
        }
    }
}

/// Several old tables may feed one new one only if a constant says of each row which one it belongs to.
fn check_merged(tables: &[TableSpec], paths: &[String], found: &mut Findings) {
    for (n, table) in tables.iter().enumerate() {
        let Some(other) = tables[..n].iter().find(|other| other.new == table.new) else { continue };
        if constants_differ(table, other) {
            continue;
        }
        let at = found.source.value_of(&format!("{}.new", paths[n]));
        let message = format!(
            "mappings `{}` and `{}` both fill {}, and no constant tells their rows apart",
            other.name, table.name, table.new
        );
        let hint = "Give both a column with another constant, as in set = { region = { const = \"eu\" } }";
        found.error(at, message, hint.to_owned());
    }
}

fn constants_differ(one: &TableSpec, other: &TableSpec) -> bool {
    one.set.iter().any(|a| {
        let Source::Const(value) = &a.from else { return false };
        other.set.iter().any(|b| matches!(&b.from, Source::Const(v) if b.column == a.column && v != value))
    })
}

fn check_route(tables: &[TableSpec], paths: &[String], found: &mut Findings) {
    let Some(with) = tables.iter().position(|table| table.route_by.is_some()) else { return };
    for (path, table) in paths.iter().zip(tables) {
        if table.route_by.is_none() {
            let at = found.source.value_of(path);
            let message =
                format!("mapping `{}` has no `route_by`, and `{}` has one", table.name, tables[with].name);
            let hint = "All tables of a migration are routed by one value: give each the column that has it";
            found.error(at, message, hint.to_owned());
        }
    }
}

fn check_fleet(spec: &Spec, found: &mut Findings) {
    let fleet = &spec.fleet;
    if spec.mirror == Mirror::Capture && found.source.has("ack") {
        let hint = "Remove it, or choose mirror = \"dual-write\"";
        let at = found.source.name_of("ack");
        found.error(at, "`ack` is for dual writes, and this migration's mirror is capture", hint.to_owned());
    }
    if fleet.on_silence == OnSilence::Fence {
        let at = found.source.value_of("on_silence");
        let hint = "Remove it: a silent instance then serves on at the step it knows, and moves wait for it";
        let message = match spec.mirror {
            Mirror::DualWrite => {
                "`on_silence = \"fence\"` needs mirror = \"capture\": with dual write no store refuses a silent instance's writes"
            }
            Mirror::Capture => {
                "`on_silence = \"fence\"` needs a store that refuses stale epochs in the write itself, and SQLite doesn't"
            }
        };
        found.error(at, message, hint.to_owned());
    }
    if fleet.hold_lease >= fleet.hold_budget {
        let at =
            found.source.value_of(if found.source.has("hold_lease") { "hold_lease" } else { "hold_budget" });
        let message = format!(
            "`hold_lease` ({}) should be shorter than `hold_budget` ({})",
            super::show_duration(fleet.hold_lease),
            super::show_duration(fleet.hold_budget)
        );
        let hint = "One lease after an instance fell silent a move may go back without it: it must fit into the budget";
        found.error(at, message, hint.to_owned());
    }
}

fn check_gates(spec: &Spec, found: &mut Findings) {
    for &phase in spec.gate.bake.keys() {
        let at = found.source.name_of(&format!("gate.bake.{phase}"));
        if !spec.phases.has(phase) && found.source.has(&format!("gate.bake.{phase}")) {
            let message = format!("`gate.bake` names `{phase}`, which `phases` leaves out");
            found.error(at, message, "Remove it, or add the phase".to_owned());
        }
    }
    let compares = spec.phases.has(Phase::Shadow) || spec.phases.has(Phase::ReverseShadow);
    if spec.gate.mismatch.is_some() && !compares {
        let hint = "Remove it, or add \"shadow\" to `phases`";
        let message = "`gate.mismatch` can't ever open: without a shadow phase nothing is compared";
        found.error(found.source.name_of("gate.mismatch"), message, hint.to_owned());
    }
    if spec.gate.calls.is_some() && !compares {
        let hint = "Remove it, or add \"shadow\" to `phases`";
        let message =
            "`gate.calls` can't ever open: without a shadow phase the new side isn't called beside the old";
        found.error(found.source.name_of("gate.calls"), message, hint.to_owned());
    }
}

fn check_redacted(spec: &Spec, found: &mut Findings) {
    for (n, entry) in spec.evidence.redact.iter().enumerate() {
        let Some((mapping, _)) = entry.rsplit_once('.') else { continue };
        let names = || spec.tables.iter().map(|table| table.name.as_str());
        if names().any(|name| name == mapping) {
            continue;
        }
        let at = found.source.value_of(&format!("evidence.redact[{n}]"));
        let hint = match nearest(mapping, names()) {
            Some(name) => format!("Did you mean \"{name}\"?"),
            None => "Write a column's name alone, or mapping.column".to_owned(),
        };
        found.error(at, format!("there is no mapping `{mapping}`"), hint);
    }
}

/// What is declared and used by nobody, and what is needed and declared nowhere.
fn check_use(spec: &Spec, found: &mut Findings) {
    if spec.tables.is_empty() && spec.mirror == Mirror::Capture {
        let hint = "Add a [[table]] with `old`, `new` and `key`";
        found.error(0..0, "a migration by capture moves tables, and there is none", hint.to_owned());
    }
    for store in &spec.stores {
        let is_used = spec.tables.iter().any(|t| t.old.store == store.name || t.new.store == store.name);
        if !is_used && !spec.tables.is_empty() {
            let at = found.source.name_of(&format!("store.{}", store.name));
            let message = format!("no table is in store `{}`", store.name);
            found.error(at, message, "Remove the store, or name it in `old` or `new`".to_owned());
        }
    }
}
