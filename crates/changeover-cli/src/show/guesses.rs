//! What `init` guessed.

use std::path::Path;

use changeover_tables::catalog::TableKind;
use changeover_tables::guess::{Certainty, GuessedTable, Guesses};
use serde_json::{Value, json};

use super::block::{Columns, Shown};
use super::words;
use crate::error::CliError;
use crate::terminal::Terminal;

/// Shows the guesses, and what to do next.
///
/// # Errors
/// If standard output can't be written.
pub(crate) fn show(guesses: &Guesses, name: &str, file: &Path, terminal: &Terminal) -> Result<(), CliError> {
    if terminal.json {
        return terminal.answer_json(&as_json(guesses, name, file));
    }
    let mut table =
        Columns::new(terminal, terminal.out, &["OLD TABLE", "NEW TABLE", "", "KEY", "TO FILL IN"]);
    for guessed in &guesses.tables {
        let certainty = match guessed.certainty {
            Certainty::SameName => Shown::from("same name").good(),
            Certainty::Guess => Shown::from("guess").warn(),
        };
        let key: Vec<String> =
            guessed.key.iter().map(|part| format!("{} -> {}", part.old, part.new)).collect();
        let key = if key.is_empty() { Shown::from("missing").bad() } else { key.join(", ").into() };
        let open = open(guessed);
        table.row([
            guessed.old.to_string().into(),
            guessed.new.to_string().into(),
            certainty,
            key,
            Shown::from(open.join(", ")).bad(),
        ]);
    }
    if !guesses.tables.is_empty() {
        terminal.answer(&table.render())?;
    }
    for (side, alone) in [("old", &guesses.old_alone), ("new", &guesses.new_alone)] {
        if !alone.is_empty() {
            terminal.say(format_args!("Left out, on the {side} side: {}", alone.join(", ")));
        }
    }
    for one in &guesses.no_tables {
        let kind = no_table(one.kind);
        terminal.say(format_args!(
            "Left out, on the {} side: {} ({kind})",
            one.side,
            words::one_line(&one.name)
        ));
    }
    if guesses.tables.iter().any(|guessed| guessed.to_be_made) {
        terminal.say("The new side has no tables yet: check proposes one for each of the old side's.");
    }
    for guessed in guesses.tables.iter().filter(|guessed| guessed.key.is_empty()) {
        let told = format!("Not moved before you decide its key: {}. {}", guessed.old, guessed.key_note);
        terminal.say(terminal.err.warn(words::one_line(&told)));
    }
    let code = terminal.err.code(format_args!("changeover check {}", file.display()));
    terminal.say(format_args!("Wrote {}. Look at what it marks as guess, then: {code}", file.display()));
    Ok(())
}

const fn no_table(kind: TableKind) -> &'static str {
    match kind {
        TableKind::Table => "a table",
        TableKind::View => "a view",
        TableKind::Virtual => "a virtual table, or a part of one",
        TableKind::Inherited => "a table that others inherit from",
        TableKind::WithoutTransactions => "a table whose storage engine has no transactions",
    }
}

/// New columns that must be given something.
fn open(guessed: &GuessedTable) -> Vec<&str> {
    guessed.columns.iter().filter(|column| column.needed).map(|column| column.new.as_str()).collect()
}

fn as_json(guesses: &Guesses, name: &str, file: &Path) -> Value {
    let certainty = |certainty: Certainty| match certainty {
        Certainty::SameName => "same-name",
        Certainty::Guess => "guess",
    };
    let tables: Vec<Value> = guesses
        .tables
        .iter()
        .map(|guessed| {
            json!({
                "old": guessed.old.to_string(),
                "new": guessed.new.to_string(),
                "to_be_made": guessed.to_be_made,
                "certainty": certainty(guessed.certainty),
                "key_note": guessed.key_note,
                "key": guessed.key.iter().map(|part| json!({ "old": part.old, "new": part.new })).collect::<Vec<_>>(),
                "columns": guessed.columns.iter().map(|column| json!({
                    "new": column.new,
                    "old": column.old,
                    "certainty": certainty(column.certainty),
                    "needed": column.needed,
                    "note": column.note,
                })).collect::<Vec<_>>(),
                "left_behind": guessed.left_behind,
            })
        })
        .collect();
    json!({
        "name": name,
        "file": file.display().to_string(),
        "tables": tables,
        "old_alone": guesses.old_alone,
        "new_alone": guesses.new_alone,
        "no_tables": guesses.no_tables.iter().map(|one| json!({
            "side": one.side,
            "what": no_table(one.kind),
            "name": one.name,
        })).collect::<Vec<_>>(),
    })
}
