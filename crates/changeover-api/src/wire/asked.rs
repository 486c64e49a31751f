//! Who asks, and why: two headers that every request may bring, for the audit.
//!
//! The token says that somebody may; it doesn't say who. What stands here is the caller's word, kept as such.

/// The header that says who asks, as in `ann@db-admin-1`. UTF-8; at most [`MAX_WHO`] characters.
pub const WHO: &str = "changeover-who";

/// The header that says why. UTF-8; at most [`MAX_WHY`] characters.
pub const WHY: &str = "changeover-why";

/// The longest name, in characters.
pub const MAX_WHO: usize = 100;

/// The longest reason, in characters.
pub const MAX_WHY: usize = 1_000;

/// The text as it may stand in a header: on one line.
#[must_use]
pub fn on_one_line(text: &str) -> String {
    text.split(char::is_control).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_and_control_characters_are_spaces() {
        assert_eq!(on_one_line(" a\r\nb\tc\u{7f} é "), "a b c é");
        assert_eq!(on_one_line("\n"), "");
    }
}
