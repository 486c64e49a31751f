//! A plan in plain words: what each column becomes, on the way there and on the way back.

use changeover_tables::plan::{Source, TablePlan};
use serde_json::{Value, json};

use super::block::{self, Columns, Facts};
use super::words;
use crate::terminal::Terminal;

/// The plan of a mapping, of about so many rows.
pub(crate) fn text(table: &TablePlan, rows: u64, terminal: &Terminal) -> String {
    let paint = terminal.out;
    let title = format!("{}: {} becomes {}", paint.strong(&table.name), table.old, table.new);
    let mut text = block::paragraph(&title, 0, terminal);
    let mut facts = Facts::new();
    let key: Vec<String> = table.key.iter().map(|part| renamed(&part.old, &part.new)).collect();
    facts.add("key", key.join(", "));
    if rows > 0 {
        facts.add("size", format!("about {}", words::counted(rows, "row")));
    }
    if let Some(filter) = &table.where_ {
        facts.add("rows", format!("only those where {filter}"));
    }
    if !table.scope.is_empty() {
        let scope: Vec<String> =
            table.scope.iter().map(|(column, value)| format!("{column} = {value}")).collect();
        facts.add("told apart by", scope.join(", "));
    }
    for rule in &table.rules {
        facts.add("may differ", rule.to_string());
    }
    text.push_str(&facts.render(terminal, paint));
    text.push_str(&forth(table, terminal));
    text.push_str(&back(table, terminal));
    text
}

fn forth(table: &TablePlan, terminal: &Terminal) -> String {
    let mut columns = Columns::new(terminal, terminal.out, &["NEW COLUMN", "TYPE", "BECOMES"]);
    for column in &table.columns {
        columns.row([
            column.target.column.clone().into(),
            column.target.declared.clone().into(),
            source(&column.source).into(),
        ]);
    }
    columns.render()
}

fn back(table: &TablePlan, terminal: &Terminal) -> String {
    let mut columns = Columns::new(terminal, terminal.out, &["OLD COLUMN", "TYPE", "ON THE WAY BACK"]);
    for column in &table.back {
        columns.row([
            column.target.column.clone().into(),
            column.target.declared.clone().into(),
            source(&column.source).into(),
        ]);
    }
    for kept in &table.kept {
        let info = table.old_info.column(kept);
        let default = info.and_then(|column| column.default.as_deref()).unwrap_or("NULL");
        columns.row([
            kept.clone().into(),
            info.map(|column| column.declared.clone()).unwrap_or_default().into(),
            block::Shown::from(format!("keeps its value; in new rows {default}")).warn(),
        ]);
    }
    columns.render()
}

fn renamed(old: &str, new: &str) -> String {
    if old == new { old.to_owned() } else { format!("{old} -> {new}") }
}

fn source(source: &Source) -> String {
    match source {
        Source::Column(name) => name.clone(),
        Source::Sql(sql) => sql.clone(),
        Source::Const(value) => format!("always {value}"),
    }
}

/// The plan for programs.
pub(crate) fn json(table: &TablePlan, rows: u64) -> Value {
    let source = |source: &Source| match source {
        Source::Column(name) => json!({ "column": name }),
        Source::Sql(sql) => json!({ "sql": sql }),
        Source::Const(value) => json!({ "const": value.to_string() }),
    };
    let column = |target: &str, declared: &str, from: &Source| json!({ "column": target, "type": declared, "from": source(from) });
    let columns =
        table.columns.iter().map(|one| column(&one.target.column, &one.target.declared, &one.source));
    let back = table.back.iter().map(|one| column(&one.target.column, &one.target.declared, &one.source));
    json!({
        "name": table.name.as_str(),
        "old": table.old.to_string(),
        "new": table.new.to_string(),
        "rows": rows,
        "key": table.key.iter().map(|part| json!({ "old": part.old, "new": part.new })).collect::<Vec<_>>(),
        "where": table.where_,
        "columns": columns.collect::<Vec<_>>(),
        "back": back.collect::<Vec<_>>(),
        "kept": table.kept,
        "rules": table.rules.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
