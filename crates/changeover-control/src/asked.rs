//! Who asks for something, and why: from the edge (a request's headers) to its line in the audit, past all that has no
//! use for it.
//!
//! Kept with the task that does what was asked, as a tracing span is; what the run does by itself has nobody.

use std::future::Future;

/// Who asks, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Who, as in `ann@db-admin-1`.
    pub who: String,
    /// Why, if it was said.
    pub why: Option<String>,
}

impl Asked {
    /// Whoever doesn't say who they are.
    const SOMEBODY: &str = "operator";

    /// Somebody who may have said who they are, and why.
    #[must_use]
    pub fn by(who: Option<String>, why: Option<String>) -> Self {
        let said = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        Self { who: said(who).unwrap_or_else(|| Self::SOMEBODY.to_owned()), why: said(why) }
    }
}

tokio::task_local! {
    static ASKED: Asked;
}

/// Does this for them.
pub async fn for_them<T>(asked: Asked, what: impl Future<Output = T>) -> T {
    ASKED.scope(asked, what).await
}

/// Who asked for what this task does.
pub(crate) fn asked() -> Asked {
    ASKED.try_with(Asked::clone).unwrap_or_else(|_| Asked::by(None, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asked_is_known_as_long_as_it_is_done() {
        let ann = Asked::by(Some("ann@db-1".to_owned()), Some("the bake time is over".to_owned()));
        assert_eq!(for_them(ann.clone(), async { asked() }).await, ann);
        assert_eq!(asked(), Asked { who: "operator".to_owned(), why: None });
    }

    #[test]
    fn what_is_left_empty_was_not_said() {
        assert_eq!(Asked::by(Some(" ".to_owned()), Some(String::new())), Asked::by(None, None));
    }
}
