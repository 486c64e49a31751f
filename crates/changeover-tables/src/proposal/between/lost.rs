//! What of an old table's definition isn't in the one that is proposed: named, so that nobody misses it only when it is in use.

use std::collections::BTreeMap;

use super::Proposal;
use crate::catalog::{ColumnInfo, Domain, Engine};
use crate::proposal::Line;
use crate::proposal::types::quoted_text;
use crate::types::Exact;

impl Proposal<'_> {
    /// What the definition of the old table has beyond its columns and what is unique.
    pub(super) fn not_taken_over(&mut self) {
        let old = self.old;
        for clause in &old.clauses {
            let check = clause.strip_suffix(" NOT VALID").unwrap_or(clause);
            if check.starts_with("CHECK") && self.going().is_among_equals() && self.says_the_same(check) {
                self.lines.push(Line::sql(check.to_owned()));
            } else {
                self.lost.push(clause.clone());
            }
        }
        self.collations();
        for key in &old.foreign_keys {
            let to = if key.parent_columns.is_empty() {
                String::new()
            } else {
                format!(" ({})", key.parent_columns.join(", "))
            };
            self.lost.push(format!("FOREIGN KEY ({}) REFERENCES {}{to}", key.columns.join(", "), key.parent));
        }
        self.lost.extend(old.indexes.iter().map(|index| format!("the index {index}")));
        self.lost.extend(old.triggers.iter().map(|trigger| format!("the trigger {}", trigger.name)));
        self.table_comment();
        let dropped = std::mem::take(&mut self.dropped);
        self.lost.extend(dropped.into_iter().map(|(what, columns)| format!("{what} {}", columns.join(", "))));
        let lost = self.lost.iter().map(|what| format!("not taken over: {what}"));
        let refused =
            self.refused.iter().map(|(what, of)| format!("won't fit: {what}, in {}", of.join(", ")));
        let comments: Vec<Line> = lost.chain(refused).map(Line::comment).collect();
        self.lines.extend(comments);
    }

    /// How texts are told apart and ordered, where that is another on the new side.
    fn collations(&mut self) {
        if matches!(
            (self.from, self.to),
            (Engine::MariaDb(..), Engine::MariaDb(..)) | (Engine::MySql, Engine::MySql)
        ) {
            return;
        }
        let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for column in self.old.columns.iter().filter(|column| has_collation(column)) {
            found.entry(&column.collation).or_default().push(&column.name);
        }
        let told: Vec<String> = found
            .into_iter()
            .map(|(collation, of)| {
                let of = of.join(", ");
                format!("the collation {collation} of {of}: here texts are the same only to the byte")
            })
            .collect();
        self.lost.extend(told);
    }

    fn table_comment(&mut self) {
        let Some(comment) = &self.old.comment else { return };
        match self.to {
            Engine::Postgres => {
                let (table, comment) = (self.table(), quoted_text(comment, self.to));
                self.after.insert(0, format!("COMMENT ON TABLE {table} IS {comment};"));
            }
            Engine::Sqlite => self.lost.push("the comment on the table".to_owned()),
            Engine::MariaDb(..) | Engine::MySql => {}
        }
    }
}

/// Whether a column's texts are told apart by more, or by less, than their bytes.
fn has_collation(column: &ColumnInfo) -> bool {
    let is_text = match &column.domain {
        Domain::Exact(exact) => matches!(exact.of, Exact::Text(_)) && !column.as_text,
        domain => matches!(domain, Domain::Text | Domain::Any | Domain::Loose),
    };
    let collation = column.collation.as_str();
    let plain =
        collation.is_empty() || collation.eq_ignore_ascii_case("BINARY") || collation.contains("default");
    is_text && !plain && !collation.starts_with("OF THE")
}
