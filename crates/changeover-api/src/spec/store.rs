//! Stores: the `[store.NAME]` sections, where a URL comes from, and which URLs this build knows.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Spec;
use super::reader::{Findings, Node};
use super::source::{SpecError, SpecErrors};
use crate::secret::{Secret, password_in, redact_url};

/// What this build can open.
pub(super) const KNOWN: &str =
    "this build knows sqlite:PATH, and postgres:// and mysql:// with USER@HOST:PORT/DATABASE";

/// The longest file that `url_file` may name: a URL is short, and a mistaken path may be a database.
const URL_FILE_BYTES: u64 = 64 << 10;

/// One `[store.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSpec {
    /// Its name.
    pub name: String,
    /// Where its URL comes from.
    pub url: UrlSource,
}

/// Where a store's URL comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlSource {
    /// It stands in the spec.
    Given(StoreUrl),
    /// It is in this environment variable.
    Env(String),
    /// It is in this file, whose path is as the spec has it.
    File(PathBuf),
}

/// A store's URL, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreUrl {
    /// A SQLite database.
    Sqlite {
        /// Its file; relative to the spec's folder as long as it wasn't resolved.
        path: PathBuf,
    },
    /// A MariaDB or MySQL database.
    Mysql {
        /// All of it, with a password if it has one.
        url: Secret,
    },
    /// A PostgreSQL database.
    Postgres {
        /// All of it, with a password if it has one.
        url: Secret,
    },
}

impl StoreUrl {
    /// Understands a URL.
    ///
    /// # Errors
    /// [`UrlError`] says what is wrong and what would be right, and shows no password.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let url = url.trim();
        let shown = redact_url(url);
        let wrong = |message: String, hint: &str| Err(UrlError { message, hint: hint.to_owned() });
        let Some((scheme, rest)) = url.split_once(':') else {
            let hint = format!("Did you mean \"sqlite:{shown}\"?");
            return wrong(format!("{shown:?} has no scheme"), &hint);
        };
        if matches!(scheme, "postgres" | "postgresql" | "mysql" | "mariadb") {
            let url = Secret::new(url);
            return match of_server(rest) {
                Ok(()) if scheme.starts_with("postgres") => Ok(Self::Postgres { url }),
                Ok(()) => Ok(Self::Mysql { url }),
                Err(message) => wrong(
                    format!("{shown:?}: {message}"),
                    &format!(
                        "Write \"{scheme}://USER@HOST:PORT/DATABASE\"; what is no letter or digit in a name is percent-encoded"
                    ),
                ),
            };
        }
        if scheme != "sqlite" {
            return wrong(format!("{shown:?} isn't a store that can be opened"), KNOWN);
        }
        let path = rest.strip_prefix("//").unwrap_or(rest);
        if path.is_empty() {
            return wrong("the path of the database is missing".to_owned(), "Write \"sqlite:PATH\"");
        }
        if path.contains(":memory:") {
            let hint = "Give a file: each connection to a database in memory would see another one";
            return wrong(format!("{shown:?} lives in memory"), hint);
        }
        if path.contains(['?', '#', '\0']) {
            let hint = "Write \"sqlite:PATH\"; there are no parameters, and none of `?` and `#` in the path";
            return wrong(format!("{shown:?} isn't understood"), hint);
        }
        Ok(Self::Sqlite { path: path.into() })
    }

    /// The same with a relative path taken from this folder.
    #[must_use]
    pub fn in_folder(self, folder: &Path) -> Self {
        match self {
            Self::Sqlite { path } => Self::Sqlite { path: folder.join(path) },
            server @ (Self::Mysql { .. } | Self::Postgres { .. }) => server,
        }
    }
}

/// As a URL, without a password.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path } => write!(f, "sqlite:{}", path.display()),
            Self::Mysql { url } | Self::Postgres { url } => f.write_str(&redact_url(url.expose())),
        }
    }
}

/// What is wrong with the rest of a server's URL, after its scheme.
fn of_server(rest: &str) -> Result<(), &'static str> {
    let rest = rest.strip_prefix("//").ok_or("the two slashes after the scheme are missing")?;
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, database) = rest.split_once('/').ok_or("it names no database")?;
    if database.is_empty() || database.contains('/') {
        return Err("it names no database");
    }
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_err() && !host.ends_with(']') => {
            Err("its port is no number")
        }
        _ => Ok(()),
    }
}

/// A URL that isn't understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}. {hint}")]
pub struct UrlError {
    /// What is wrong; without a password.
    pub message: String,
    /// What would be right.
    pub hint: String,
}

/// Reads `[store]`.
pub(super) fn read(stores: Node<'_>, found: &mut Findings) -> Vec<StoreSpec> {
    let want = "a table of stores, as in [store.legacy]";
    let Some(fields) = stores.fields(want, found) else { return Vec::new() };
    let mut list = Vec::new();
    for (name, node) in fields.all(found) {
        if !is_name(name) {
            let message = format!("a store can't be called {name:?}");
            found.error(node.name_at.clone(), message, "Letters, digits, `_` and `-` make a name".to_owned());
        }
        list.extend(read_one(name, node, found));
    }
    list
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn read_one(name: &str, node: Node<'_>, found: &mut Findings) -> Option<StoreSpec> {
    let want = "a table with `url`, `url_env` or `url_file`";
    let mut fields = node.fields(want, found)?;
    let given = fields.get("url", found);
    let env = fields.get("url_env", found);
    let file = fields.get("url_file", found);
    let (path, at) = (fields.path.clone(), fields.at.clone());
    let errors_before = found.errors.len();
    fields.finish(|_| None, found);
    let has_slip = found.errors.len() > errors_before;
    let ways = [&given, &env, &file].into_iter().flatten().count();
    if ways == 0 && !has_slip {
        let hint = "Give `url = \"sqlite:PATH\"` or `url = \"postgres://HOST/DATABASE\"`, `url_env = \"VARIABLE\"` or `url_file = \"PATH\"`";
        found.error(at, format!("`{path}` says nowhere what the store's URL is"), hint.to_owned());
    } else if ways > 1 {
        let hint = "Keep one of `url`, `url_env` and `url_file`";
        found.error(at, format!("`{path}` gives its URL in more than one way"), hint.to_owned());
    }
    let url = match (given, env, file) {
        (Some(url), ..) => UrlSource::Given(read_url(&url, found)?),
        (_, Some(env), _) => UrlSource::Env(read_variable(&env, found)?),
        (.., Some(file)) => UrlSource::File(file.text("the path of a file that has the URL", found)?.into()),
        _ => return None,
    };
    Some(StoreSpec { name: name.to_owned(), url })
}

fn read_url(node: &Node<'_>, found: &mut Findings) -> Option<StoreUrl> {
    let url = node.text("a URL, as in \"sqlite:old.db\"", found)?;
    if let Some(password) = password_in(url) {
        // Escapes would make the places in the text differ from those in the value: then all of it is hidden.
        let inside = node.at.start + 1 + password.start..node.at.start + 1 + password.end;
        let is_plain = found.source.text.get(inside.clone()) == Some(&url[password]);
        found.source.hide(if is_plain { inside } else { node.at.clone() });
        let hint = "Put the URL into a variable or a file, and name that by `url_env` or `url_file`";
        let message = format!("`{}` has a password in clear", node.path);
        found.error(node.at.clone(), message, hint.to_owned());
        return None;
    }
    match StoreUrl::parse(url) {
        Ok(url) => Some(url),
        Err(error) => {
            found.error(node.at.clone(), format!("`{}`: {}", node.path, error.message), error.hint);
            None
        }
    }
}

fn read_variable(node: &Node<'_>, found: &mut Findings) -> Option<String> {
    let name = node.text("the name of an environment variable", found)?;
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        let shown = redact_url(name);
        let hint = "It takes the variable's name alone; a URL goes into `url`";
        let message = format!("`{}`: {shown:?} isn't the name of an environment variable", node.path);
        if shown != name {
            found.source.hide(node.at.clone());
        }
        found.error(node.at.clone(), message, hint.to_owned());
        return None;
    }
    Some(name.to_owned())
}

impl Spec {
    /// The URL of a store, from wherever the spec says, with relative paths made those of the spec's folder.
    ///
    /// # Errors
    /// [`SpecError`], pointing at the store's line: the variable or the file isn't there, or what it has isn't
    /// understood.
    pub fn resolve_store(&self, name: &str) -> Result<StoreUrl, SpecError> {
        self.resolve_store_with(name, |variable| std::env::var(variable).ok())
    }

    /// The URLs of all stores, in the order of the spec.
    ///
    /// # Errors
    /// [`SpecErrors`]: all that [`Spec::resolve_store`] has to say.
    pub fn resolve_stores(&self) -> Result<Vec<(String, StoreUrl)>, SpecErrors> {
        let mut urls = Vec::new();
        let mut errors = Vec::new();
        for store in &self.stores {
            match self.resolve_store(&store.name) {
                Ok(url) => urls.push((store.name.clone(), url)),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(urls) } else { Err(SpecErrors { text: self.text(), errors }) }
    }

    /// Name and file of each store: for `changeover_tables::sqlite::links`.
    ///
    /// # Errors
    /// As [`Spec::resolve_stores`]; and for a store that isn't a file.
    pub fn sqlite_files(&self) -> Result<Vec<(String, PathBuf)>, SpecErrors> {
        let mut files = Vec::new();
        let mut errors = Vec::new();
        for (name, url) in self.resolve_stores()? {
            match url {
                StoreUrl::Sqlite { path } => files.push((name, path)),
                other => {
                    let message = format!("the store `{name}` is no SQLite database: {other}");
                    errors.push(self.error_at(&format!("store.{name}"), message, None));
                }
            }
        }
        if errors.is_empty() { Ok(files) } else { Err(SpecErrors { text: self.text(), errors }) }
    }

    pub(super) fn resolve_store_with(
        &self,
        name: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<StoreUrl, SpecError> {
        let path = format!("store.{name}");
        let Some(store) = self.stores.iter().find(|store| store.name == name) else {
            return Err(self.error_at("store", format!("there is no store `{name}`"), None));
        };
        let (key, url, origin) = match &store.url {
            UrlSource::Given(url) => return Ok(url.clone().in_folder(self.folder())),
            UrlSource::Env(env) => match variable(env).filter(|url| !url.trim().is_empty()) {
                Some(url) => ("url_env", Secret::new(url), format!("the environment variable {env}")),
                None => {
                    let message = format!(
                        "the environment variable {env}, which has the URL of store `{name}`, isn't set"
                    );
                    let hint = format!("Set it: {env}=sqlite:PATH");
                    return Err(self.error_at(&format!("{path}.url_env"), message, Some(hint)));
                }
            },
            UrlSource::File(file) => {
                let file = self.folder().join(file);
                match read_url_file(&file) {
                    Ok(url) => ("url_file", url, format!("the file {}", file.display())),
                    Err(cause) => {
                        let message =
                            format!("{}, which has the URL of store `{name}`: {cause}", file.display());
                        let hint = "Give a file with the URL in its first line".to_owned();
                        return Err(self.error_at(&format!("{path}.url_file"), message, Some(hint)));
                    }
                }
            }
        };
        let understood = StoreUrl::parse(url.expose()).map_err(|error| {
            let message = format!("store `{name}`, in {origin}: {}", error.message);
            self.error_at(&format!("{path}.{key}"), message, Some(error.hint))
        })?;
        Ok(understood.in_folder(self.folder()))
    }
}

fn read_url_file(file: &Path) -> Result<Secret, String> {
    let length = std::fs::metadata(file).map_err(|cause| cause.to_string())?.len();
    if length > URL_FILE_BYTES {
        return Err(format!("it has {length} bytes, too many for a URL"));
    }
    let text = std::fs::read_to_string(file).map_err(|cause| cause.to_string())?;
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    first.map(Secret::new).ok_or_else(|| "it is empty".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_urls_are_understood() {
        for (url, path) in [
            ("sqlite:old.db", "old.db"),
            ("sqlite:/var/lib/old.db", "/var/lib/old.db"),
            ("sqlite://old.db", "old.db"),
            ("sqlite:///var/lib/old.db", "/var/lib/old.db"),
            ("sqlite:a b:c.db", "a b:c.db"),
        ] {
            assert_eq!(StoreUrl::parse(url).unwrap(), StoreUrl::Sqlite { path: path.into() }, "{url}");
        }
        let resolved = StoreUrl::parse("sqlite:old.db").unwrap().in_folder(Path::new("/srv"));
        assert_eq!(resolved.to_string(), "sqlite:/srv/old.db");
    }

    #[test]
    fn a_servers_url_is_kept_with_its_password_and_shown_without() {
        for url in [
            "postgres://app:s3cret@db:5433/x?sslmode=disable",
            "postgresql://db/x",
            "postgres://[::1]:5432/x",
        ] {
            let parsed = StoreUrl::parse(url).unwrap();
            let StoreUrl::Postgres { url: kept } = &parsed else { panic!("{parsed:?}") };
            assert_eq!(kept.expose(), url);
            assert!(!format!("{parsed} {parsed:?}").contains("s3cret"), "{parsed}");
        }
    }

    #[test]
    fn what_is_not_understood_says_what_would_be() {
        for (url, hint) in [
            ("old.db", "Did you mean \"sqlite:old.db\"?"),
            ("oracle://app:s3cret@db/x", KNOWN),
            ("postgres:db/x", "Write \"postgres://USER@HOST"),
            ("postgres://app:s3cret@db", "Write \"postgres://USER@HOST"),
            ("postgres://app:s3cret@db:x/y", "Write \"postgres://USER@HOST"),
            ("sqlite:", "Write \"sqlite:PATH\""),
            ("sqlite::memory:", "Give a file"),
            ("sqlite:old.db?mode=ro", "there are no parameters"),
        ] {
            let error = StoreUrl::parse(url).unwrap_err();
            assert!(error.hint.contains(hint), "{url}: {error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
