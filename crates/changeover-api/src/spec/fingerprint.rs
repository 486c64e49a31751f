//! Fingerprints: what a spec said when a run last read it, in short, so that a spec which has changed since is
//! told part by part: what needs a new generation of the backfill, what a new verification, and what is free.

use std::collections::BTreeMap;
use std::fmt;

use changeover::Value;
use changeover::rules::{Rule, RuleKind};
use serde::{Deserialize, Serialize};

use super::table::{KeyColumn, SetColumn, Source, TableSpec};
use super::{Spec, UrlSource};

/// What a change of a part of the spec means for a migration that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Nothing: it may change at any time.
    Free,
    /// The last full verification no longer counts.
    Verification,
    /// What has been copied was copied by other rules: the backfill begins anew.
    Generation,
    /// It can't change once the migration has left `old`.
    Fixed,
}

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// It says something else.
    Changed,
    /// It wasn't there.
    Added,
    /// It is no longer there.
    Removed,
}

/// One part of the spec that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its path, as in `table.bookings.set`; of a mapping that came or went, `table.bookings`.
    pub part: String,
    /// What became of it.
    pub became: Became,
    /// What that means.
    pub effect: Effect,
}

impl Changed {
    /// The mapping that it is about.
    #[must_use]
    pub fn table(&self) -> Option<&str> {
        let rest = self.part.strip_prefix("table.")?;
        Some(match self.became {
            Became::Changed => rest.rsplit_once('.')?.0,
            Became::Added | Became::Removed => rest,
        })
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.effect {
            Effect::Free => "takes effect at once",
            Effect::Verification => "the last verification no longer counts",
            Effect::Generation => "the backfill must begin anew",
            Effect::Fixed => "can't change once the migration has begun",
        };
        let became = match self.became {
            Became::Changed => "changed",
            Became::Added => "is new",
            Became::Removed => "is gone",
        };
        write!(f, "`{}` {became}: {what}", self.part)
    }
}

/// The digest of each part of a spec. It is kept in the state; nothing of the spec can be read from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(BTreeMap<String, String>);

impl Spec {
    /// The spec in short, to be kept and compared.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut parts = BTreeMap::new();
        let mut add = |part: String, digest: Digest| parts.insert(part, digest.hex());
        add("name".to_owned(), Digest::of(&self.name));
        add("mirror".to_owned(), Digest::of(&format!("{:?}", self.mirror)));
        add(
            "phases".to_owned(),
            Digest::of(&self.phases.list().map(|p| p.name()).collect::<Vec<_>>().join(",")),
        );
        for store in &self.stores {
            let url = match &store.url {
                UrlSource::Given(url) => format!("url {url}"),
                UrlSource::Env(name) => format!("env {name}"),
                UrlSource::File(path) => format!("file {}", path.display()),
            };
            add(format!("store.{}", store.name), Digest::of(&url));
        }
        for table in &self.tables {
            for (part, digest) in table_parts(table) {
                add(format!("table.{}.{part}", table.name), digest);
            }
        }
        // Debug prints every field of these plain settings; they are free, so that a change of the form from one
        // version to the next does no harm.
        add("fleet".to_owned(), Digest::of(&format!("{:?}", self.fleet)));
        add("gate".to_owned(), Digest::of(&format!("{:?}", self.gate)));
        add("backfill".to_owned(), Digest::of(&format!("{:?}", self.backfill)));
        add("verification".to_owned(), Digest::of(&format!("{:?}", self.verification)));
        add("capture".to_owned(), Digest::of(&format!("{:?}", self.capture)));
        add("evidence".to_owned(), Digest::of(&format!("{:?}", self.evidence.redact)));
        Fingerprint(parts)
    }
}

impl Fingerprint {
    /// What differs from an earlier one, the gravest first.
    #[must_use]
    pub fn changes_since(&self, earlier: &Self) -> Vec<Changed> {
        let parts: std::collections::BTreeSet<_> = self.0.keys().chain(earlier.0.keys()).collect();
        let mut changed: Vec<_> = parts
            .into_iter()
            .filter(|part| self.0.get(*part) != earlier.0.get(*part))
            .map(|part| {
                let (now, before) = (self.mapping_of(part), earlier.mapping_of(part));
                // A mapping that came or went is told once, not part by part.
                let (part, became) = match (now, before) {
                    (Some(mapping), None) => (mapping, Became::Added),
                    (None, Some(mapping)) => (mapping, Became::Removed),
                    _ => (part.as_str(), Became::Changed),
                };
                Changed { part: part.to_owned(), became, effect: effect(part) }
            })
            .collect();
        changed.sort_by(|a, b| b.effect.cmp(&a.effect).then_with(|| a.part.cmp(&b.part)));
        changed.dedup();
        changed
    }

    /// The mapping that a part belongs to, if this spec has it.
    fn mapping_of<'p>(&self, part: &'p str) -> Option<&'p str> {
        let (mapping, _) = part.rsplit_once('.').filter(|(mapping, _)| mapping.starts_with("table."))?;
        let old = format!("{mapping}.old");
        self.0.contains_key(&old).then_some(mapping)
    }

    /// The digest of all that decides what a copied row looks like: a generation copied by another one is void.
    #[must_use]
    pub fn mapping(&self) -> String {
        let mut digest = Digest::new();
        for (part, value) in self.0.iter().filter(|(part, _)| effect(part) == Effect::Generation) {
            digest.text(part);
            digest.text(value);
        }
        digest.hex()
    }
}

fn effect(part: &str) -> Effect {
    match part.split_once('.') {
        None if matches!(part, "name" | "mirror" | "phases") => Effect::Fixed,
        Some(("table", rest)) if rest.ends_with(".rules") => Effect::Verification,
        Some(("table", rest)) if rest.ends_with(".keys") => Effect::Free,
        Some(("table", _)) => Effect::Generation,
        // The databases say themselves who they are.
        _ => Effect::Free,
    }
}

fn table_parts(table: &TableSpec) -> Vec<(&'static str, Digest)> {
    let mut key = Digest::new();
    for column in &table.key {
        match column {
            KeyColumn::Columns { old, new } => key.all(&["columns", old, new]),
            KeyColumn::OldConst { old, value } => {
                key.all(&["const", old]);
                key.value(value);
            }
        }
    }
    let (carried, compared): (Vec<_>, Vec<_>) =
        table.rules.iter().partition(|rule| matches!(rule.kind, RuleKind::Carry));
    vec![
        ("old", Digest::of(&table.old.to_string())),
        ("new", Digest::of(&table.new.to_string())),
        ("key", key),
        ("where", Digest::of(table.filter.as_deref().unwrap_or_default())),
        ("set", columns(&table.set)),
        ("back", columns(&table.back)),
        ("route_by", Digest::of(table.route_by.as_deref().unwrap_or_default())),
        // Whether a value is carried or refused is decided when it is copied.
        ("carry", rules(&carried)),
        ("rules", rules(&compared)),
        ("keys", Digest::of(&format!("{:?}", table.keys))),
    ]
}

/// The order of columns in a spec means nothing.
fn columns(set: &[SetColumn]) -> Digest {
    let mut sorted: Vec<_> = set.iter().collect();
    sorted.sort_by(|a, b| a.column.cmp(&b.column));
    let mut digest = Digest::new();
    for SetColumn { column, from } in sorted {
        match from {
            Source::Sql(sql) => digest.all(&[column, "sql", sql]),
            Source::Const(value) => {
                digest.all(&[column, "const"]);
                digest.value(value);
            }
        }
    }
    digest
}

fn rules(rules: &[&Rule]) -> Digest {
    let mut texts: Vec<_> = rules.iter().map(|rule| (&rule.column, format!("{:?}", rule.kind))).collect();
    texts.sort();
    let mut digest = Digest::new();
    for (column, kind) in texts {
        digest.all(&[column, &kind]);
    }
    digest
}

/// FNV-1a with 128 bits (Fowler, Noll, Vo): the same in every version and on every machine. It guards against
/// mistakes, not against malice.
struct Digest(u128);

const FNV_OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

impl Digest {
    const fn new() -> Self {
        Self(FNV_OFFSET)
    }

    fn of(text: &str) -> Self {
        let mut digest = Self::new();
        digest.text(text);
        digest
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(FNV_PRIME);
        }
    }

    /// With its length, so that no two lists of texts run together.
    fn text(&mut self, text: &str) {
        self.bytes(&(text.len() as u64).to_be_bytes());
        self.bytes(text.as_bytes());
    }

    fn all(&mut self, texts: &[&str]) {
        for text in texts {
            self.text(text);
        }
    }

    fn value(&mut self, value: &Value) {
        // With its type: `1` and `'1'` differ.
        self.all(&[value.type_name(), &value.to_string()]);
    }

    fn hex(&self) -> String {
        format!("{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BASE: &str = r#"
format = 1
name = "bookings"
[store.legacy]
url = "sqlite:old.db"
[store.flights]
url = "sqlite:new.db"
[[table]]
old = "legacy:bookings"
new = "flights:booking"
key = { id = "booking_id" }
set = { status = "upper(state)", region = { const = "eu" } }
rules = [{ column = "seen_at", round = "ms" }]
[gate]
bake = { reverse-shadow = "7d" }
"#;

    fn changes(from: &str, to: &str) -> Vec<(String, Effect)> {
        let text = BASE.replace(from, to);
        assert_ne!(text, BASE, "{from}");
        let read = |text: &str| Spec::parse(Path::new("x.toml"), text).unwrap().fingerprint();
        let changed = read(&text).changes_since(&read(BASE));
        let is_other_mapping = read(&text).mapping() != read(BASE).mapping();
        assert_eq!(is_other_mapping, changed.iter().any(|c| c.effect == Effect::Generation), "{to}");
        changed.into_iter().map(|c| (c.part, c.effect)).collect()
    }

    #[test]
    fn each_part_has_the_weight_that_it_should() {
        for (from, to, part, effect) in [
            ("\"bookings\"\n", "\"reservations\"\n", "name", Effect::Fixed),
            ("sqlite:old.db", "sqlite:moved.db", "store.legacy", Effect::Free),
            ("upper(state)", "lower(state)", "table.bookings.set", Effect::Generation),
            ("const = \"eu\"", "const = \"us\"", "table.bookings.set", Effect::Generation),
            ("\"ms\"", "\"s\"", "table.bookings.rules", Effect::Verification),
            ("round = \"ms\"", "carry = true", "table.bookings.carry", Effect::Generation),
            ("\"7d\"", "\"1h\"", "gate", Effect::Free),
            ("[gate]", "[backfill]\nrate = 5\n[gate]", "backfill", Effect::Free),
            ("set =", "where = \"x\"\nset =", "table.bookings.where", Effect::Generation),
            (
                "[store.legacy]",
                "phases = [\"old\", \"reverse-shadow\", \"new\"]\n[store.legacy]",
                "phases",
                Effect::Fixed,
            ),
        ] {
            let changed = changes(from, to);
            assert_eq!(changed.first(), Some(&(part.to_owned(), effect)), "{to}: {changed:?}");
        }
    }

    #[test]
    fn order_comments_and_layout_change_nothing() {
        let order = "region = { const = \"eu\" }, status = \"upper(state)\"";
        assert_eq!(changes("status = \"upper(state)\", region = { const = \"eu\" }", order), []);
        assert_eq!(changes("format = 1", "# the format\nformat = 1\n"), []);
    }

    #[test]
    fn a_number_and_its_text_differ() {
        let part = ("table.bookings.set".to_owned(), Effect::Generation);
        assert_eq!(changes("upper(state)", "7"), [part]);
        let seven = BASE.replace("\"eu\"", "7");
        let text = BASE.replace("\"eu\"", "\"7\"");
        let read = |text: &str| Spec::parse(Path::new("x.toml"), text).unwrap().fingerprint();
        assert_ne!(read(&seven), read(&text));
    }

    #[test]
    fn a_mapping_that_comes_or_goes_is_told_once() {
        let more =
            "\n[[table]]\nold = \"legacy:seats\"\nnew = \"flights:seat\"\nkey = { id = \"id\" }\n[gate]";
        let read = |text: &str| Spec::parse(Path::new("x.toml"), text).unwrap().fingerprint();
        let (with, without) = (read(&BASE.replace("\n[gate]", more)), read(BASE));
        for (now, before, became, words) in [
            (&with, &without, Became::Added, "`table.seats` is new: the backfill must begin anew"),
            (&without, &with, Became::Removed, "`table.seats` is gone: the backfill must begin anew"),
        ] {
            let changed = now.changes_since(before);
            let [one] = changed.as_slice() else { panic!("{changed:?}") };
            assert_eq!((one.became, one.table(), one.to_string().as_str()), (became, Some("seats"), words));
        }
        assert_eq!(changes("upper(state)", "lower(state)")[0].0, "table.bookings.set");
    }

    #[test]
    fn it_survives_being_stored() {
        let print = Spec::parse(Path::new("x.toml"), BASE).unwrap().fingerprint();
        let stored = serde_json::to_string(&print).unwrap();
        assert_eq!(serde_json::from_str::<Fingerprint>(&stored).unwrap(), print);
    }
}
