//! The spec file: a migration, as a person writes it down in TOML.
//!
//! [`Spec::read`] gives plain types, or *all* that is wrong with the file: each mistake with its line, its column
//! and a hint. What only the databases can tell (a column that isn't there) is found later, by whoever looks at
//! them: [`Spec::error_at`] makes it point at the file just the same.

mod check;
mod fingerprint;
mod mapping;
mod reader;
mod redact;
mod rule;
mod schema;
mod settings;
mod source;
mod store;
mod suggest;
mod table;
mod units;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use changeover::Phase;
use changeover::protocol::Phases;
use changeover::protocol::moves::Mirror;
use toml::de::DeTable;

pub use changeover::write::Ack;

pub use self::fingerprint::{Became, Changed, Effect, Fingerprint};
pub use self::redact::Redacted;
pub use self::schema::json_schema;
pub(crate) use self::settings::ACKS;
pub use self::settings::{
    CallsGate, CaptureSpec, DEFAULT_BAKE, EvidenceSpec, FleetSpec, GateSpec, MismatchGate, PaceSpec,
};
pub use self::source::{Location, SpecError, SpecErrors};
pub use self::store::{StoreSpec, StoreUrl, UrlError, UrlSource};
pub use self::suggest::nearest;
pub use self::table::{KeyColumn, KeysBy, SetColumn, Source, TableRef, TableSpec};
pub use self::units::show_duration;
pub use self::write::{Draft, DraftColumn, DraftStore, DraftTable};

use self::check::Readable;
use self::reader::{Fields, Findings, Node, integer};

/// The format that this version reads.
pub const FORMAT: i64 = 1;

/// The longest spec that is read. A longer file is hardly a spec.
const MAX_BYTES: u64 = 4 << 20;

/// What stands at the top of the file, before the sections.
const TOP_LEVEL: [&str; 11] = [
    "format",
    "name",
    "mirror",
    "phases",
    "ack",
    "on_silence",
    "forget_after",
    "write_lifetime",
    "hold_budget",
    "hold_lease",
    "patience",
];

/// A migration as its spec file says. Everything in it is as the file has it, or the default.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The migration's name.
    pub name: String,
    /// What carries each change from the authority to the follower.
    pub mirror: Mirror,
    /// Which phases there are.
    pub phases: Phases,
    /// The stores, in the order of the file.
    pub stores: Vec<StoreSpec>,
    /// The tables, in the order of the file: `table[0]`, `table[1]` … for [`Spec::locate`].
    pub tables: Vec<TableSpec>,
    /// How the fleet moves.
    pub fleet: FleetSpec,
    /// What must hold before a phase may be entered.
    pub gate: GateSpec,
    /// How fast the backfill may be.
    pub backfill: PaceSpec,
    /// How fast verification may be.
    pub verification: PaceSpec,
    /// What is kept of changes.
    pub capture: CaptureSpec,
    /// What is kept of evidence.
    pub evidence: EvidenceSpec,
    source: source::Source,
}

impl Spec {
    /// Reads a spec from its file.
    ///
    /// # Errors
    /// [`SpecErrors`]: the file can't be read, or everything that is wrong with it.
    pub fn read(file: &Path) -> Result<Self, SpecErrors> {
        let unreadable = |cause: String, hint: Option<String>| {
            let source = source::Source::new(file, "");
            let message = format!("the spec can't be read: {cause}");
            let error = SpecError { file: file.to_owned(), line: 0, column: 0, span: 0..0, message, hint };
            SpecErrors { text: source.text, errors: vec![error] }
        };
        let length = std::fs::metadata(file).map(|meta| meta.len());
        if length.is_ok_and(|length| length > MAX_BYTES) {
            return Err(unreadable(format!("it is longer than {} MiB", MAX_BYTES >> 20), None));
        }
        match std::fs::read(file) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Self::parse(file, &text),
                Err(_) => Err(unreadable("it isn't text in UTF-8".to_owned(), None)),
            },
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                let hint = "Give the path of a spec, or write one with `changeover init OLD NEW`";
                Err(unreadable("there is no such file".to_owned(), Some(hint.to_owned())))
            }
            Err(cause) => Err(unreadable(cause.to_string(), None)),
        }
    }

    /// Reads a spec from its text. `file` is the name that errors give, and the place that relative paths start from.
    ///
    /// # Errors
    /// [`SpecErrors`]: everything that is wrong with it.
    pub fn parse(file: &Path, text: &str) -> Result<Self, SpecErrors> {
        let mut found = Findings { source: source::Source::new(file, text), errors: Vec::new() };
        let (tree, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            for error in errors {
                let at = error.span().unwrap_or(0..0);
                found.error(at, format!("this isn't TOML: {}", error.message().trim()), None);
            }
            found.source.hide_passwords();
            // What could be read of a broken file isn't what was meant.
            return Err(finish_errors(found));
        }
        let (mut spec, paths, readable) = read_root(Fields::root(&tree), &mut found);
        check::check(&spec, &paths, readable, &mut found);
        if found.errors.is_empty() {
            spec.evidence.implied = spec.implied_redactions();
            spec.source = found.source;
            Ok(spec)
        } else {
            Err(finish_errors(found))
        }
    }

    /// The file, as it was named.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.source.file
    }

    /// The folder that relative paths of the spec start from.
    #[must_use]
    pub fn folder(&self) -> &Path {
        match self.source.file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// The path that the state of this migration has unless told otherwise: `.changeover/NAME.db` beside the spec.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        self.folder().join(".changeover").join(format!("{}.db", self.name))
    }

    /// The text of the file, for excerpts.
    #[must_use]
    pub fn text(&self) -> Arc<str> {
        Arc::clone(&self.source.text)
    }

    /// Where the value of this path stands: `mirror`, `store.legacy.url`, `table[0].set.status`, `gate.mismatch.max`.
    /// What isn't in the file is looked for in what it would be a part of; at worst it is the file's beginning.
    #[must_use]
    pub fn locate(&self, path: &str) -> Location {
        self.source.location(self.source.value_of(path))
    }

    /// Where the *name* of this path stands: for a column of `set` that isn't in the table.
    #[must_use]
    pub fn locate_name(&self, path: &str) -> Location {
        self.source.location(self.source.name_of(path))
    }

    /// An error that points at the value of this path.
    #[must_use]
    pub fn error_at(&self, path: &str, message: impl Into<String>, hint: Option<String>) -> SpecError {
        self.source.error(self.source.value_of(path), message.into(), hint)
    }

    /// An error that points at the name of this path.
    #[must_use]
    pub fn error_at_name(&self, path: &str, message: impl Into<String>, hint: Option<String>) -> SpecError {
        self.source.error(self.source.name_of(path), message.into(), hint)
    }

    /// The mapping of this name, with its path.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<(String, &TableSpec)> {
        let n = self.tables.iter().position(|table| table.name == name)?;
        Some((format!("table[{n}]"), &self.tables[n]))
    }
}

fn finish_errors(mut found: Findings) -> SpecErrors {
    found.errors.sort_by_key(|error| (error.span.start, error.span.end));
    SpecErrors { text: found.source.text, errors: found.errors }
}

fn read_root(mut root: Fields<'_>, found: &mut Findings) -> (Spec, Vec<String>, Readable) {
    read_format(&mut root, found);
    let hint = "Give the migration a name, as in name = \"bookings\"";
    let name = root.require("name", hint, found).and_then(|node| read_name(&node, found));
    let mirrors = [("capture", Mirror::Capture), ("dual-write", Mirror::DualWrite)];
    let mirror = root.get("mirror", found).and_then(|node| node.one_of(&mirrors, found));
    let phases = root.get("phases", found).and_then(|node| read_phases(node, found));
    let fleet = settings::read_fleet(&mut root, found);
    let mut before = found.errors.len();
    let stores = root.get("store", found).map(|node| store::read(node, found)).unwrap_or_default();
    let stores_readable = found.errors.len() == before;
    before = found.errors.len();
    let tables = root.get("table", found).map(|node| table::read(&node, found)).unwrap_or_default();
    let tables_readable = found.errors.len() == before;
    let (paths, tables) = tables.into_iter().unzip();
    let spec = Spec {
        name: name.unwrap_or_default(),
        mirror: mirror.unwrap_or(Mirror::Capture),
        phases: phases.unwrap_or(Phases::ALL),
        stores,
        tables,
        fleet,
        gate: settings::read_gate(root.get("gate", found), found),
        backfill: settings::read_pace(root.get("backfill", found), found),
        verification: settings::read_pace(root.get("verification", found), found),
        capture: settings::read_capture(root.get("capture", found), found),
        evidence: settings::read_evidence(root.get("evidence", found), found),
        source: source::Source::new(Path::new(""), ""),
    };
    before = found.errors.len();
    root.finish(section_of, found);
    // A `[[tabel]]` isn't "no table" as well.
    let no_slips = found.errors.len() == before;
    let readable = Readable { stores: stores_readable && no_slips, tables: tables_readable && no_slips };
    (spec, paths, readable)
}

fn read_format(root: &mut Fields<'_>, found: &mut Findings) {
    let hint = format!("Write `format = {FORMAT}` at the top: it says how the rest is to be read");
    let Some(node) = root.require("format", &hint, found) else { return };
    let format = integer(node.value);
    if format != Some(FORMAT) {
        let message = match format {
            Some(format) => format!("format {format} isn't known to this version"),
            None => "`format` should be an integer".to_owned(),
        };
        let newer = format.is_some_and(|format| format > FORMAT);
        let hint = if newer { "Use a newer version of changeover" } else { "Write format = 1" };
        found.error(node.at, message, hint.to_owned());
    }
}

/// The name is part of file names, URLs and the slots' hash.
fn read_name(node: &Node<'_>, found: &mut Findings) -> Option<String> {
    let name = node.text("a name, as in \"bookings\"", found)?;
    let begins = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if !begins || !is_name || name.len() > 63 {
        let hint = "1 to 63 letters, digits, `-` and `_`, the first a letter or a digit: it is part of file names and URLs";
        found.error(node.at.clone(), format!("a migration can't be called {name:?}"), hint.to_owned());
        return None;
    }
    Some(name.to_owned())
}

fn read_phases(node: Node<'_>, found: &mut Findings) -> Option<Phases> {
    let at = node.at.clone();
    let want = "an array, as in [\"old\", \"shadow\", \"reverse-shadow\", \"new\"]";
    let items = node.items(want, found)?;
    let mut list = Vec::new();
    let mut is_whole = true;
    for item in items {
        let phase =
            item.text("the name of a phase", found).and_then(|name| settings::read_phase(name, &item, found));
        match phase {
            Some(Phase::Retired) => {
                let hint = "Remove it: every migration may end in `retired`".to_owned();
                found.error(item.at, "`retired` isn't listed", hint);
                is_whole = false;
            }
            Some(phase) if list.contains(&phase) => {
                found.error(item.at, format!("phase \"{phase}\" stands here twice"), "Remove one".to_owned());
                is_whole = false;
            }
            Some(phase) => list.push(phase),
            None => is_whole = false,
        }
    }
    let phases = Phases::from_list(&list);
    if phases.is_none() && is_whole {
        let ends = list.first() == Some(&Phase::Old) && list.last() == Some(&Phase::New);
        let message = match ends {
            true => "the phases are out of order",
            false => "the phases begin with \"old\" and end with \"new\"",
        };
        let hint =
            "Write [\"old\", \"shadow\", \"reverse-shadow\", \"new\"]; the two in the middle may be left out";
        found.error(at, message, hint.to_owned());
    }
    phases
}

/// A field of a section that was written at the top.
fn section_of(name: &str) -> Option<&'static str> {
    Some(match name {
        "url" | "url_env" | "url_file" => "into a store: [store.NAME]",
        "old" | "new" | "key" | "where" | "set" | "back" | "rules" | "route_by" | "keys" => {
            "into a table: [[table]]"
        }
        "mismatch" | "calls" | "bake" => "into [gate]",
        "rate" | "chunk" | "chunk_rows" | "give_way" | "lag" | "running" => {
            "into [backfill] or [verification]"
        }
        "bound" | "way_back" => "into [capture]",
        "redact" => "into [evidence]",
        _ => return None,
    })
}
