//! Secrets: values that no message, log line or debug print may show, and URLs without their passwords.

use std::fmt;
use std::ops::Range;

/// What is shown in place of a secret.
const HIDDEN: &str = "***";

/// A text that is never printed: its `Debug` and `Display` show `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps this text secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Where the password of a URL or a connection string stands, if it has one: after the user's name
/// (`scheme://user:password@host`), or as a `password=` or `pwd=` parameter.
#[must_use]
pub fn password_in(url: &str) -> Option<Range<usize>> {
    in_authority(url).or_else(|| in_parameters(url))
}

fn in_authority(url: &str) -> Option<Range<usize>> {
    let start = url.find("://")? + 3;
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    // The last `@`: a password may hold one that nobody escaped.
    let at = start + url[start..end].rfind('@')?;
    let colon = start + url[start..at].find(':')?;
    (colon + 1 < at).then_some(colon + 1..at)
}

fn in_parameters(url: &str) -> Option<Range<usize>> {
    // ASCII only, so that the places in both texts are the same.
    let lower = url.to_ascii_lowercase();
    for name in ["password=", "passwd=", "pwd=", "sslpassword="] {
        for (at, _) in lower.match_indices(name) {
            let is_name = lower[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric());
            let start = at + name.len();
            let end = url[start..].find(['&', ' ', ';']).map_or(url.len(), |length| start + length);
            if is_name && start < end {
                return Some(start..end);
            }
        }
    }
    None
}

/// The URL with its passwords replaced by `***`.
#[must_use]
pub fn redact_url(url: &str) -> String {
    let mut shown = url.to_owned();
    // At most one by each road.
    for find in [in_authority, in_parameters] {
        if let Some(at) = find(&shown).filter(|at| &shown[at.clone()] != HIDDEN) {
            shown.replace_range(at, HIDDEN);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn urls_are_shown_without_their_passwords() {
        for (url, shown) in [
            ("postgres://app:s3cret@db/flights", "postgres://app:***@db/flights"),
            ("postgres://app:p@ss:w@db:5432/x", "postgres://app:***@db:5432/x"),
            ("postgres://app@db/flights?password=s3cret&x=1", "postgres://app@db/flights?password=***&x=1"),
            ("host=db user=app Password=s3cret dbname=x", "host=db user=app Password=*** dbname=x"),
            ("postgres://a:b@db/x?pwd=c", "postgres://a:***@db/x?pwd=***"),
            ("postgres://app@db:5432/flights", "postgres://app@db:5432/flights"),
            ("sqlite:old.db", "sqlite:old.db"),
            ("sqlite:mail@home:old.db", "sqlite:mail@home:old.db"),
        ] {
            assert_eq!(redact_url(url), shown);
            assert_eq!(password_in(url).is_some(), url != shown, "{url}");
        }
    }
}
