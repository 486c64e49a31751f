//! New tables that are proposed, or that were made.

use changeover_control::jobs::MissingTable;
use serde_json::{Value, json};

use super::block;
use crate::terminal::Terminal;

/// Tells which tables were made, and what of the old ones they don't have.
pub(crate) fn tell(made: &[MissingTable], terminal: &Terminal) {
    for table in made {
        terminal.say(terminal.err.good(format_args!("Made {}.", table.table)));
        for lost in &table.proposed.lost {
            terminal.say(block::paragraph(lost, 2, terminal).trim_end());
        }
    }
}

pub(crate) fn json(table: &MissingTable) -> Value {
    json!({
        "table": table.mapping,
        "new": table.table.to_string(),
        "create": table.proposed.sql,
        "to_choose": table.proposed.to_choose,
        "lost": table.proposed.lost,
    })
}
