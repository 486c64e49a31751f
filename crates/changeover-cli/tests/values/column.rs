//! A column: its type in each kind of database, and the values that its home has for it.

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    MariaDb,
    Sqlite,
}

pub const KINDS: [Kind; 3] = [Kind::Postgres, Kind::MariaDb, Kind::Sqlite];

/// One column. Values are SQL of its home.
pub struct Column {
    pub name: &'static str,
    /// What it is declared as in each of [`KINDS`]; empty where no column there takes it.
    types: [&'static str; 3],
    pub edges: Vec<Edge>,
}

/// One value of a column.
pub struct Edge {
    pub sql: &'static str,
    /// Nearly the same: what somebody makes of it.
    pub wrong: Option<&'static str>,
    /// The kinds that have no place for it, with what is said of it.
    pub unfit: &'static [(Kind, &'static str)],
    /// The kinds from which it comes back as the same, spelled otherwise.
    pub respelled: &'static [Kind],
}

impl Column {
    /// With values that every kind has a place for, and what is made of each.
    pub fn new(name: &'static str, types: [&'static str; 3], held: &[(&'static str, &'static str)]) -> Self {
        Self { name, types, edges: Vec::new() }.held(held)
    }

    pub fn held(mut self, held: &[(&'static str, &'static str)]) -> Self {
        let edge = |&(sql, wrong)| Edge { sql, wrong: Some(wrong), unfit: &[], respelled: &[] };
        self.edges.extend(held.iter().map(edge));
        self
    }

    /// A value that some kinds have no place for.
    pub fn unfit(mut self, sql: &'static str, unfit: &'static [(Kind, &'static str)]) -> Self {
        self.edges.push(Edge { sql, wrong: None, unfit, respelled: &[] });
        self
    }

    /// A value that some kinds keep in another spelling.
    pub fn respelled(mut self, sql: &'static str, wrong: &'static str, by: &'static [Kind]) -> Self {
        self.edges.push(Edge { sql, wrong: Some(wrong), unfit: &[], respelled: by });
        self
    }

    /// What it is declared as there, if it can be there at all.
    pub fn declared(&self, kind: Kind) -> Option<&'static str> {
        let at = KINDS.iter().position(|k| *k == kind).expect("one of them");
        Some(self.types[at]).filter(|declared| !declared.is_empty())
    }
}

impl Edge {
    /// What is said where it is refused.
    pub fn refused_by(&self, kind: Kind) -> Option<&'static str> {
        self.unfit.iter().find(|(by, _)| *by == kind).map(|(_, why)| *why)
    }
}
