//! A database as it is given on the command line: a file, a URL, or the variable that has the URL. No password of it gets into a
//! file.

use std::path::{Path, PathBuf};

use changeover_api::secret::password_in;
use changeover_api::spec::{StoreUrl, UrlSource};

use crate::error::CliError;

/// A database.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    /// Where it is.
    pub(crate) url: StoreUrl,
    /// How a spec names it.
    pub(crate) source: UrlSource,
    /// What stands beside that.
    pub(crate) note: Option<String>,
}

impl Given {
    /// Understands `old.db`, `sqlite:old.db`, `postgres://…`, `mysql://…` and `env:VARIABLE`; `variable` is the one that a spec
    /// reads a URL from that has a password.
    pub(crate) fn parse(text: &str, variable: &str) -> Result<Self, CliError> {
        if let Some(name) = text.strip_prefix("env:").filter(|_| !Path::new(text).exists()) {
            let url = std::env::var(name).ok().filter(|url| !url.trim().is_empty()).ok_or_else(|| {
                CliError::usage(
                    format!("the environment variable {name} isn't set"),
                    "Set it to a URL, as postgres://USER@HOST:PORT/DATABASE.",
                )
            })?;
            let url = StoreUrl::parse(&url).map_err(|error| CliError::usage(error.message, error.hint))?;
            return Ok(Self { url, source: UrlSource::Env(name.to_owned()), note: None });
        }
        let url = url(text)?;
        if password_in(text).is_none() {
            return Ok(Self { source: UrlSource::Given(url.clone()), url, note: None });
        }
        let note = format!("{url}: with its password, which no spec may have");
        Ok(Self { url, source: UrlSource::Env(variable.to_owned()), note: Some(note) })
    }

    /// What its name is made of: the file's, or the database's.
    pub(crate) fn name(&self) -> PathBuf {
        match &self.url {
            StoreUrl::Sqlite { path } => path.clone(),
            StoreUrl::Postgres { url } | StoreUrl::Mysql { url } => {
                let rest = url.expose().split(['?', '#']).next().unwrap_or_default();
                PathBuf::from(rest.rsplit('/').next().unwrap_or_default())
            }
            _ => PathBuf::new(),
        }
    }

    /// The same, where the spec lies in another folder than this one.
    pub(crate) fn seen_from(self, folder: &Path) -> Self {
        match self.source {
            UrlSource::Given(StoreUrl::Sqlite { path })
                if !(folder.as_os_str().is_empty() || folder == Path::new(".")) =>
            {
                let path = std::path::absolute(&path).unwrap_or(path);
                Self { source: UrlSource::Given(StoreUrl::Sqlite { path }), ..self }
            }
            source => Self { source, ..self },
        }
    }
}

fn url(text: &str) -> Result<StoreUrl, CliError> {
    let file = || StoreUrl::Sqlite { path: text.into() };
    if !text.contains(':') {
        return Ok(file());
    }
    match StoreUrl::parse(text) {
        Ok(url) => Ok(url),
        // A path with a colon in it.
        Err(_) if Path::new(text).exists() => Ok(file()),
        Err(error) => Err(CliError::usage(error.message, error.hint)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_stays_out_of_the_spec() {
        let given =
            Given::parse("postgres://app:hunter2@db:5432/flights?sslmode=require", "NEW_URL").unwrap();
        assert_eq!(given.source, UrlSource::Env("NEW_URL".to_owned()));
        assert!(
            given.note.as_ref().is_some_and(|note| note.contains("app:***@db") && !note.contains("hunter2"))
        );
        assert_eq!(given.name(), Path::new("flights"));
        let plain = Given::parse("mysql://app@db/legacy", "OLD_URL").unwrap();
        assert!(matches!(plain.source, UrlSource::Given(StoreUrl::Mysql { .. })));
    }

    #[test]
    fn a_file_is_seen_from_the_folder_of_its_spec() {
        let given =
            |folder: &str| Given::parse("a/old.db", "OLD_URL").unwrap().seen_from(Path::new(folder)).source;
        assert_eq!(given(""), UrlSource::Given(StoreUrl::Sqlite { path: "a/old.db".into() }));
        let UrlSource::Given(StoreUrl::Sqlite { path }) = given("specs") else { panic!("a file") };
        assert!(path.is_absolute());
    }
}
