//! Something that Changeover has put into a database, whatever the dialect.

/// Something that Changeover has put into a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// `table`, `trigger`, `function`, `sequence`, `schema`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The table that it is on.
    pub on: String,
}
