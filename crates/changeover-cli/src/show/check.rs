//! What a check found: the plan, what stands in the way, what wouldn't come back, the locks, and the SQL that undoes it
//! all by hand.

use changeover::Key;
use changeover_api::Spec;
use changeover_control::jobs::CheckReport;
use changeover_tables::data::{TableData, Trouble};
use changeover_tables::database::Probed;
use changeover_tables::plan::Severity;
use serde_json::{Map, Value, json};

use super::block::{self, Facts};
use super::{created, findings, plan, words};
use crate::error::CliError;
use crate::terminal::Terminal;

/// Shows a check; `data`: the rows were read as well.
///
/// # Errors
/// If standard output can't be written.
pub(crate) fn show(
    report: &CheckReport,
    spec: &Spec,
    data: bool,
    terminal: &Terminal,
) -> Result<(), CliError> {
    if terminal.json {
        return terminal.answer_json(&as_json(report, spec, data));
    }
    terminal.answer(&text(report, spec, data, terminal))?;
    let file = spec.file().display();
    if report.is_clean() {
        terminal.say(terminal.err.good("Nothing stands in the way."));
        if !data {
            terminal.say(format_args!("What the rows say: changeover check {file} --data"));
        }
        if report.rehearsable {
            terminal.say(format_args!("Try it on copies: changeover rehearse {file}"));
        }
        terminal.say(format_args!("Begin: changeover run {file}"));
    } else {
        terminal.say(terminal.err.bad(verdict(report)));
    }
    Ok(())
}

/// What stands in the way, counted.
fn verdict(report: &CheckReport) -> String {
    let errors = report.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    // Each missing table is an error too.
    if errors > report.missing.len() {
        return format!("It can't be run like this: {} above.", words::counted(errors as u64, "error"));
    }
    if !report.missing.is_empty() {
        let tables = words::counted(report.missing.len() as u64, "new table");
        return format!(
            "It can't be run like this: {tables} missing. What would make it stands above; copy and run do so by --create-tables."
        );
    }
    let failed = report.probed.values().flatten().filter(|one| one.failed.is_some() && !one.optional).count();
    if failed > 0 {
        let things = words::counted(failed as u64, "thing");
        return format!("It can't be run like this: {things} that it does failed when it was tried, above.");
    }
    let in_the_way = |data| kinds(data).into_iter().filter(|(what, _)| !is_of_the_way_back(what));
    let troubles = report.data.iter().flat_map(|data| in_the_way(data).flat_map(|(_, list)| list));
    let rows = words::counted(troubles.map(|trouble| trouble.rows).sum(), "row");
    format!("{rows} in the way: a copy would name them, and the gates stay shut until they are mended.")
}

fn text(report: &CheckReport, spec: &Spec, data: bool, terminal: &Terminal) -> String {
    let paint = terminal.out;
    let tables: Vec<String> =
        report.tables.iter().map(|table| plan::text(&table.plan, table.rows, terminal)).collect();
    let mut text = tables.join("\n");
    let mut section = |title: &str, body: String| {
        if !body.is_empty() {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&format!("{}\n{body}", paint.strong(title)));
        }
    };
    let mut locks = Facts::new();
    for lock in &report.locks {
        locks.add(&lock.when, &lock.lock);
    }
    section("Locks", locks.render(terminal, paint));
    for missing in &report.missing {
        let title = format!("The new table of {} is missing; this would make one", missing.mapping);
        section(&title, indented(&missing.proposed.sql));
    }
    for (store, sql) in report.removal.iter().filter(|(_, sql)| !sql.is_empty()) {
        section(&format!("To remove everything from {store} by hand"), indented(sql));
    }
    for (store, probed) in report.probed.iter().filter(|(_, probed)| !probed.is_empty()) {
        section(&format!("Tried in {store}"), probes(probed, terminal));
    }
    // Last, because what is last is what is seen.
    if data {
        section("In the rows", rows(report, spec, terminal));
    }
    section("Found", findings::text(&report.findings, spec, terminal));
    text
}

fn probes(probed: &[Probed], terminal: &Terminal) -> String {
    let mut text = String::new();
    for one in probed {
        let Some(why) = &one.failed else {
            text.push_str(&block::paragraph(&format!("{}: yes", one.what), 2, terminal));
            continue;
        };
        let line = format!("{}: no: {}", one.what, words::one_line(why));
        let line = if one.optional { terminal.out.warn(line) } else { terminal.out.bad(line) };
        text.push_str(&block::paragraph(&line, 2, terminal));
        text.push_str(&block::paragraph(&one.remedy, 4, terminal));
    }
    text
}

fn probes_as_json(probed: &[Probed]) -> Value {
    let one = |one: &Probed| json!({ "what": one.what, "failed": one.failed, "remedy": one.remedy, "optional": one.optional });
    probed.iter().map(one).collect()
}

/// SQL as it is to be copied: whole lines.
fn indented(sql: &str) -> String {
    sql.lines().map(|line| format!("  {line}\n")).collect()
}

fn rows(report: &CheckReport, spec: &Spec, terminal: &Terminal) -> String {
    let mut text = String::new();
    for data in &report.data {
        let size = format!("{}, {}", words::counted(data.rows, "row"), words::bytes(data.bytes));
        text.push_str(&block::paragraph(&format!("{}: {size} can be carried", data.table), 2, terminal));
        if let Some(why) = &data.untried {
            let line = format!(
                "not tried: what the new table's CHECKs say, and what would come back otherwise: {}",
                words::one_line(why)
            );
            text.push_str(&block::paragraph(&terminal.out.warn(line), 4, terminal));
        }
        for (what, troubles) in kinds(data) {
            for trouble in troubles {
                let line = format!(
                    "{}: {what}: {}",
                    words::counted(trouble.rows, "row"),
                    words::one_line(&trouble.why)
                );
                let line =
                    if is_of_the_way_back(what) { terminal.out.warn(line) } else { terminal.out.bad(line) };
                text.push_str(&block::paragraph(&line, 4, terminal));
                let examples = examples(trouble, data, spec);
                text.push_str(&block::paragraph(&format!("as in {}", examples.join(", ")), 6, terminal));
            }
        }
    }
    text
}

const BACKWARD: &str = "doesn't come back";
const OTHERWISE: &str = "would come back otherwise";

/// Such rows keep nothing from going forward.
fn is_of_the_way_back(what: &str) -> bool {
    [BACKWARD, OTHERWISE].contains(&what)
}

fn kinds(data: &TableData) -> [(&'static str, &[Trouble]); 5] {
    [
        ("can't be carried", &data.forward),
        ("would be there twice", &data.duplicates),
        ("has a key of another mapping's row", &data.collisions),
        (BACKWARD, &data.backward),
        (OTHERWISE, &data.otherwise),
    ]
}

/// Some rows, with the value at fault where it may be shown.
fn examples(trouble: &Trouble, data: &TableData, spec: &Spec) -> Vec<String> {
    let hides = |column: &str| spec.evidence.redacts(&data.table, column);
    let hidden = trouble.column.as_deref().is_some_and(hides);
    let key_hidden = spec.table(&data.table).is_some_and(|(_, table)| table.key_columns().any(hides));
    let key = |key: &Key| if key_hidden { format!("{}((redacted))", data.table) } else { key.to_string() };
    trouble
        .examples
        .iter()
        .map(|example| {
            let (key, line) =
                (key(&example.key), |value: &changeover::Value| words::one_line(&value.to_string()));
            match (&example.value, &example.comes_back) {
                (Some(value), Some(back)) if !hidden => format!("{key}: {} as {}", line(value), line(back)),
                (Some(value), None) if !hidden => format!("{key} with {}", line(value)),
                _ => key,
            }
        })
        .collect()
}

fn as_json(report: &CheckReport, spec: &Spec, data: bool) -> Value {
    let tables: Vec<Value> = report.tables.iter().map(|table| plan::json(&table.plan, table.rows)).collect();
    let locks: Vec<Value> =
        report.locks.iter().map(|lock| json!({ "when": lock.when, "lock": lock.lock })).collect();
    let missing: Vec<Value> = report.missing.iter().map(created::json).collect();
    let trouble = |trouble: &Trouble, data: &TableData| {
        json!({
            "column": trouble.column,
            "why": trouble.why,
            "rows": trouble.rows,
            "examples": examples(trouble, data, spec),
        })
    };
    let of = |list: &[Trouble], data: &TableData| -> Vec<Value> {
        list.iter().map(|one| trouble(one, data)).collect()
    };
    let seen: Vec<Value> = report
        .data
        .iter()
        .map(|data| {
            json!({
                "table": data.table,
                "rows": data.rows,
                "bytes": data.bytes,
                "forward": of(&data.forward, data),
                "duplicates": of(&data.duplicates, data),
                "collisions": of(&data.collisions, data),
                "backward": of(&data.backward, data),
                "otherwise": of(&data.otherwise, data),
                "untried": data.untried,
            })
        })
        .collect();
    json!({
        "migration": spec.name,
        "clean": report.is_clean(),
        "tables": tables,
        "findings": findings::json(&report.findings, spec),
        "locks": locks,
        "missing": missing,
        "data": if data { Value::from(seen) } else { Value::Null },
        "probed": report.probed.iter().map(|(store, all)| (store.clone(), probes_as_json(all))).collect::<Map<_, _>>(),
        "removal": report.removal,
        "bytes": report.bytes,
    })
}
