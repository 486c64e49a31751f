//! A new table in the words of another database than the old one's, or of the same kind behind a server.

mod lost;

use std::collections::BTreeMap;

use changeover::Value;
use changeover::mapping::TableMapping;

use super::types::{ANY_TEXT, Going, Typed, quoted_text, typed};
use super::unique::{old_key, same};
use super::{Line, Proposed, What, defaults, goes_over_as, made_of, used, written};
use crate::catalog::{ColumnInfo, Domain, Engine, Generated, TableInfo};
use crate::plan::index_over;
use crate::types::Exact;
use crate::words::words_of;

/// So many bytes a row of MariaDB's and MySQL's has room for, with what each column takes beside its values.
const ROW_MAX: u32 = 60_000;

/// The statement, with what has to come before and after it.
pub(super) fn proposed(mapping: &TableMapping, (from, old): (Engine, &TableInfo), to: Engine) -> Proposed {
    let mut proposal = Proposal::new(mapping, (from, old), to);
    proposal.columns();
    let unique = proposal.unique();
    proposal.lines.extend(unique);
    proposal.not_taken_over();
    Proposed::of(proposal.statement(), &made_of(mapping, old), &proposal.lines)
}

/// A statement that is put together.
struct Proposal<'o> {
    mapping: &'o TableMapping,
    old: &'o TableInfo,
    from: Engine,
    to: Engine,
    /// What is unique in the new table: the key first.
    indexes: Vec<Vec<String>>,
    /// The new column whose values the database gives out.
    numbered: Option<String>,
    lines: Vec<Line>,
    before: Vec<String>,
    after: Vec<String>,
    /// Which values won't fit, and of which columns.
    refused: BTreeMap<String, Vec<String>>,
    /// What isn't taken over of which columns.
    dropped: BTreeMap<String, Vec<String>>,
    lost: Vec<String>,
}

/// A column with its type.
struct Column<'o> {
    name: String,
    what: What<'o>,
    typed: Typed,
    not_null: bool,
}

impl<'o> Proposal<'o> {
    fn new(mapping: &'o TableMapping, (from, old): (Engine, &'o TableInfo), to: Engine) -> Self {
        let mut proposal = Self {
            mapping,
            old,
            from,
            to,
            indexes: Vec::new(),
            numbered: None,
            lines: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            refused: BTreeMap::new(),
            dropped: BTreeMap::new(),
            lost: Vec::new(),
        };
        proposal.indexes();
        proposal.number();
        proposal
    }

    const fn going(&self) -> Going {
        Going { from: self.from, to: self.to, numbered: false, indexed: 0 }
    }

    fn name(&self, name: &str) -> String {
        match self.to {
            Engine::MariaDb(..) | Engine::MySql => format!("`{}`", name.replace('`', "``")),
            Engine::Postgres | Engine::Sqlite => super::quoted(name),
        }
    }

    fn names(&self, names: &[String]) -> String {
        names.iter().map(|name| self.name(name)).collect::<Vec<_>>().join(", ")
    }

    fn table(&self) -> String {
        let schema = self.mapping.new.schema.as_ref().map(|schema| format!("{}.", self.name(schema)));
        format!("{}{}", schema.unwrap_or_default(), self.name(&self.mapping.new.table))
    }

    /// The key and what else is unique, by the new table's columns. Constants lead: another mapping's rows, which they tell
    /// apart, may have the same values.
    fn indexes(&mut self) {
        let (mapping, old) = (self.mapping, self.old);
        let new = |columns: &[String]| -> Option<Vec<String>> {
            let parts: Option<Vec<String>> = columns.iter().map(|c| goes_over_as(mapping, old, c)).collect();
            let parts = parts?;
            let mut all: Vec<String> = mapping.constants().map(|(name, _)| name.to_owned()).collect();
            all.retain(|name| !parts.contains(name));
            all.extend(parts);
            Some(all)
        };
        let key = old_key(mapping, old);
        let key_names: Vec<&str> = key.iter().map(String::as_str).collect();
        self.indexes.extend(new(&key));
        // As the old side's index has them, so that both sides walk their keys in one order.
        if let (Some(index), Some(ours)) = (index_over(old, &key_names, &[]), self.indexes.first_mut()) {
            let constants = ours.len() - key.len().min(ours.len());
            let named = ours.split_off(constants);
            ours.extend(index.order.iter().filter_map(|at| named.get(*at).cloned()));
        }
        for index in &old.unique {
            let columns = index.columns().filter(|_| index.partial.is_none());
            let Some(columns) = columns else {
                self.lost.push(format!("the unique index {}", index.name));
                continue;
            };
            if same(&columns, &key_names) {
                continue;
            }
            let columns: Vec<String> = columns.into_iter().map(str::to_owned).collect();
            match new(&columns) {
                Some(parts) => self.indexes.push(parts),
                None => self.lost.push(format!("UNIQUE ({})", columns.join(", "))),
            }
        }
    }

    /// Which column the new database is to number.
    fn number(&mut self) {
        let Some(number) = self.old.counter.as_ref().or(self.old.row_number.as_ref()) else { return };
        let name = goes_over_as(self.mapping, self.old, number);
        let able = |name: &String| {
            let alone = self.mapping.constants().next().is_none();
            let leads = |index: &Vec<String>| index.first() == Some(name);
            match self.to {
                Engine::Postgres => alone,
                Engine::MariaDb(..) | Engine::MySql => alone && self.indexes.iter().any(leads),
                Engine::Sqlite => alone && self.indexes.iter().any(|index| index.len() == 1 && leads(index)),
            }
        };
        match name.filter(able) {
            Some(name) => self.numbered = Some(name),
            None => self.lost.push(format!("that the database numbers {number}")),
        }
    }

    fn columns(&mut self) {
        let (mapping, old) = (self.mapping, self.old);
        let mut columns = Vec::new();
        for (name, what) in made_of(mapping, old) {
            match what {
                What::UsedBy(by) => self.lines.push(Line::comment(used(&name, by))),
                what => columns.push(self.column(name, what)),
            }
        }
        self.fit_in_a_row(&mut columns);
        for column in columns {
            self.lines_of(&column);
        }
        for column in old.columns.iter().filter(|column| column.generated != Generated::No) {
            self.computed(column);
        }
    }

    fn column(&self, name: String, what: What<'o>) -> Column<'o> {
        let indexed = self.indexes.iter().filter(|index| index.contains(&name));
        let longest = indexed.map(|index| index.len()).max().unwrap_or_default();
        let numbered = self.numbered.as_ref() == Some(&name);
        let going = Going { indexed: u32::try_from(longest).unwrap_or(u32::MAX), numbered, ..self.going() };
        let made = |exact: Exact| typed(&plain_column(exact), going);
        let (typed, not_null) = match &what {
            What::Whole(column) => (typed(column, going), column.not_null),
            What::Kind(column, null_alike) => (typed(column, going), column.not_null && *null_alike),
            What::Const(Value::Int(_)) => {
                (made(Exact::Int { min: i64::MIN, max: i64::MAX.unsigned_abs() }), true)
            }
            What::Const(Value::Real(_)) => (made(Exact::Real { non_finite: false }), true),
            What::Const(_) => (made(Exact::Text(ANY_TEXT)), true),
            What::Unknown(_) | What::UsedBy(_) => (made(Exact::Text(ANY_TEXT)), false),
        };
        Column { name, what, typed, not_null }
    }

    /// Where a row has no room for all of them, the longest texts lie beside it, and their length isn't bounded any more.
    fn fit_in_a_row(&mut self, columns: &mut [Column<'_>]) {
        if !matches!(self.to, Engine::MariaDb(..) | Engine::MySql) {
            return;
        }
        let in_index = |name: &String| self.indexes.iter().any(|index| index.contains(name));
        while columns.iter().map(|column| u64::from(column.typed.in_row)).sum::<u64>() > u64::from(ROW_MAX) {
            let movable =
                columns.iter_mut().filter(|c| c.typed.sql.starts_with("varchar(") && !in_index(&c.name));
            let Some(longest) = movable.max_by_key(|column| column.typed.in_row) else { return };
            let length = longest.typed.sql.replacen("varchar", "the length ", 1);
            self.dropped
                .entry(format!("{length}, for which a row has no room, of"))
                .or_default()
                .push(longest.name.clone());
            longest.typed = Typed { sql: "longtext".to_owned(), in_row: 12, ..longest.typed.clone() };
        }
    }

    fn lines_of(&mut self, column: &Column<'_>) {
        let Column { name, what, typed, .. } = column;
        for (all, found) in [(&mut self.refused, &typed.refused), (&mut self.dropped, &typed.dropped)] {
            for kind in found {
                all.entry(kind.clone()).or_default().push(name.clone());
            }
        }
        self.before.extend(typed.before.clone());
        let quoted = self.name(name);
        let numbered = self.numbered.as_ref() == Some(name);
        let mut sql = format!("{quoted} {}", typed.sql);
        if self.to == Engine::Sqlite && numbered {
            sql = format!("{quoted} INTEGER PRIMARY KEY AUTOINCREMENT");
        } else {
            sql.push_str(&self.null_and_default(column, numbered));
        }
        if let Some(check) = &typed.check {
            sql.push_str(&format!(" CHECK ({})", check.replace("{}", &quoted)));
        }
        if let What::Whole(ColumnInfo { comment: Some(comment), .. }) = what {
            match self.to {
                Engine::Postgres => self.after.push(format!(
                    "COMMENT ON COLUMN {}.{quoted} IS {};",
                    self.table(),
                    quoted_text(comment, self.to)
                )),
                Engine::MariaDb(..) | Engine::MySql => {
                    sql.push_str(&format!(" COMMENT {}", quoted_text(comment, self.to)));
                }
                Engine::Sqlite => self.lost.push(format!("the comment on {name}")),
            }
        }
        let comment = match what {
            What::Unknown(sql) => Some(format!("its type is to be chosen: {sql}")),
            _ => None,
        };
        self.lines.push(Line { column: Some(sql), comment });
    }

    fn null_and_default(&mut self, column: &Column<'_>, numbered: bool) -> String {
        let Column { name, what, typed, not_null } = column;
        let mysql = matches!(self.to, Engine::MariaDb(..) | Engine::MySql);
        let default = match what {
            What::Whole(info) if !numbered => self.default(name, info, &typed.sql),
            _ => None,
        };
        let is_key = self.indexes.first().is_some_and(|key| key.contains(name)) && self.key_is_primary();
        let mut sql = if *not_null || is_key { " NOT NULL" } else { "" }.to_owned();
        // Without a word on either, MariaDB and MySQL give the first of these a default, and set it with each UPDATE.
        let is_touched = mysql && typed.sql.starts_with("timestamp");
        if is_touched && !*not_null && !is_key {
            sql.push_str(" NULL");
        }
        match default {
            Some(default) => sql.push_str(&format!(" DEFAULT {default}")),
            None if is_touched && (*not_null || is_key) => {
                let digits = typed.sql.trim_start_matches("timestamp");
                sql.push_str(&format!(" DEFAULT CURRENT_TIMESTAMP{digits}"));
            }
            None if is_touched => sql.push_str(" DEFAULT NULL"),
            None => {}
        }
        match self.to {
            Engine::Postgres if numbered => sql.push_str(" GENERATED BY DEFAULT AS IDENTITY"),
            Engine::MariaDb(..) | Engine::MySql if numbered => sql.push_str(" AUTO_INCREMENT"),
            _ => {}
        }
        sql
    }

    fn default(&mut self, name: &str, column: &ColumnInfo, there: &str) -> Option<String> {
        let default = column.default.as_ref()?;
        let is_counter = default.contains("nextval(") || default.contains("AS IDENTITY");
        if is_counter {
            return None;
        }
        if self.going().is_among_equals() {
            return Some(default.clone());
        }
        let of = match &column.domain {
            Domain::Exact(exact) => exact.of.clone(),
            Domain::Integer => Exact::Int { min: i64::MIN, max: i64::MAX.unsigned_abs() },
            Domain::Real | Domain::Number => Exact::Real { non_finite: true },
            Domain::Bytes => Exact::Bytes { max: None, padded: false },
            Domain::Text | Domain::Any | Domain::Loose => Exact::Text(ANY_TEXT),
        };
        let carried = defaults::carried(default, &of, self.from, self.to, there);
        if carried.is_none() {
            self.lost.push(format!("{name} DEFAULT {default}"));
        }
        carried
    }

    /// A column that the database computes, where it is computed alike on both sides.
    fn computed(&mut self, column: &ColumnInfo) {
        let among_equals = self.going().is_among_equals() && self.to != Engine::MySql;
        let by = column.computed_by.as_ref().filter(|by| among_equals && self.says_the_same(by));
        match by {
            Some(by) => {
                let typed = typed(column, self.going());
                let kind = if column.generated == Generated::Virtual { "VIRTUAL" } else { "STORED" };
                let (name, by) = (self.name(&column.name), super::without_parentheses(by));
                self.lines.push(Line::sql(format!("{name} {} GENERATED ALWAYS AS ({by}) {kind}", typed.sql)));
            }
            None => self.lost.push(format!("{}, which the database computes", column.name)),
        }
    }

    /// Whether all columns that an expression names go over under their names.
    fn says_the_same(&self, sql: &str) -> bool {
        words_of(sql).filter_map(|word| self.old.column(word)).all(|column| {
            goes_over_as(self.mapping, self.old, &column.name).is_some_and(|name| name == column.name)
        })
    }

    fn key_is_primary(&self) -> bool {
        old_key(self.mapping, self.old)
            .iter()
            .all(|name| self.old.column(name).is_some_and(|column| column.not_null))
    }

    fn unique(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        let by_itself = |index: &Vec<String>| {
            self.to == Engine::Sqlite && index.len() == 1 && index.first() == self.numbered.as_ref()
        };
        for (at, index) in self.indexes.iter().enumerate().filter(|(_, index)| !by_itself(index)) {
            let taken = self.to == Engine::Sqlite && self.numbered.is_some();
            let kind = if at == 0 && self.key_is_primary() && !taken { "PRIMARY KEY" } else { "UNIQUE" };
            lines.push(Line::sql(format!("{kind} ({})", self.names(index))));
        }
        lines
    }

    fn statement(&self) -> String {
        let comment = || match &self.old.comment {
            Some(comment) => format!(" COMMENT={}", quoted_text(comment, self.to)),
            None => String::new(),
        };
        // Compared to the byte, as a new column's values must stay apart that were apart before.
        let options = match self.to {
            Engine::MariaDb(..) => {
                format!(" ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin{}", comment())
            }
            Engine::MySql => {
                format!(" ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin{}", comment())
            }
            Engine::Postgres | Engine::Sqlite => String::new(),
        };
        let create = format!("CREATE TABLE {} (\n{}\n){options};", self.table(), written(&self.lines));
        let all = self.before.iter().cloned().chain([create]).chain(self.after.iter().cloned());
        all.collect::<Vec<_>>().join("\n")
    }
}

/// A column that holds this and has nothing else said of it.
fn plain_column(of: Exact) -> ColumnInfo {
    ColumnInfo {
        name: String::new(),
        declared: String::new(),
        domain: Domain::Exact(std::sync::Arc::new(crate::types::ExactType { engine: "", of })),
        not_null: false,
        default: None,
        generated: Generated::No,
        collation: String::new(),
        as_text: false,
        computed_by: None,
        comment: None,
    }
}
