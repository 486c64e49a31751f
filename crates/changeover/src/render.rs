//! How answers and inputs are shown: as Rust's pretty `Debug`, bounded, redacted line by line, and the shape of the
//! difference of two.

use std::fmt::{self, Debug, Write};

/// At most this many bytes of a rendering are kept.
const SHOWN_MAX: usize = 16 * 1024;
/// At most this many names make a shape.
const NAMES_MAX: usize = 8;
/// What stands for a value that isn't to be shown.
pub(crate) const REDACTED: &str = "(redacted)";

/// The pretty `Debug` of a value, cut off after 16 KiB.
pub(crate) fn pretty<T: Debug + ?Sized>(value: &T) -> String {
    let mut bounded = Bounded(String::new());
    if write!(bounded, "{value:#?}").is_err() {
        bounded.0.push_str("… (cut off)");
    }
    bounded.0
}

struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = SHOWN_MAX.saturating_sub(self.0.len());
        if s.len() <= room {
            self.0.push_str(s);
            return Ok(());
        }
        let cut = (0..=room).rev().find(|&at| s.is_char_boundary(at)).unwrap_or(0);
        self.0.push_str(&s[..cut]);
        Err(fmt::Error)
    }
}

/// One line of a pretty rendering: the path of field names that it lies under.
struct Lines<'a> {
    lines: std::str::Lines<'a>,
    /// The fields that are open, with their indentation.
    path: Vec<(usize, &'a str)>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self { lines: text.lines(), path: Vec::new() }
    }

    fn next(&mut self) -> Option<&'a str> {
        let line = self.lines.next()?;
        let content = line.trim_start();
        let indent = line.len() - content.len();
        // A closing bracket belongs to the field that it closes.
        let closes = content.starts_with(['}', ']', ')']);
        self.path.retain(|&(at, _)| at < indent || (closes && at == indent));
        if let Some((name, _)) = content.split_once(':')
            && is_name(name)
        {
            self.path.push((indent, name));
        }
        Some(line)
    }

    fn path(&self) -> String {
        let names: Vec<&str> = self.path.iter().map(|&(_, name)| name).collect();
        if names.is_empty() { "value".to_owned() } else { names.join(".") }
    }

    fn is_under(&self, columns: &[String]) -> bool {
        self.path.iter().any(|(_, name)| columns.iter().any(|column| column == name.trim_matches('"')))
    }
}

/// A field's name, or a map's key in quotes.
fn is_name(text: &str) -> bool {
    let bare = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    !bare.is_empty() && bare.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

/// Takes out the values of the fields (or map keys) of these names, with all that lies under them.
pub(crate) fn redact(text: &str, columns: &[String]) -> String {
    if columns.is_empty() {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    let mut lines = Lines::new(text);
    let mut redacting_from = None;
    while let Some(line) = lines.next() {
        let indent = indent(line);
        if let Some(from) = redacting_from {
            // What is deeper, and the bracket that closes it, goes with it. So does what begins at the margin inside
            // of it: text of several lines, which a pretty `Debug` never has but a rendering by hand may.
            if indent > from || line.trim_start().starts_with(['}', ']', ')']) && indent == from {
                continue;
            }
            redacting_from = None;
        }
        if lines.is_under(columns) {
            let name = line.split_once(':').map_or("", |(name, _)| name);
            let _ = writeln!(shown, "{name}: {REDACTED}");
            redacting_from = Some(indent);
        } else {
            let _ = writeln!(shown, "{line}");
        }
    }
    shown.truncate(shown.trim_end().len());
    shown
}

/// The names of the fields in which two renderings differ, without the values: differences of one shape are one.
pub(crate) fn shape(old: &str, new: &str) -> String {
    let (mut left, mut right) = (Lines::new(old), Lines::new(new));
    let mut names: Vec<String> = Vec::new();
    loop {
        match (left.next(), right.next()) {
            (None, None) => break,
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) if left.path() == right.path() && indent(a) == indent(b) => {
                note(&mut names, left.path());
            }
            // From here on the two are out of step: what follows would be noise.
            _ => {
                note(&mut names, format!("{} (structure)", common(&left, &right)));
                break;
            }
        }
        if names.len() >= NAMES_MAX {
            names.push("…".to_owned());
            break;
        }
    }
    names.join(", ")
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn note(names: &mut Vec<String>, name: String) {
    if !names.contains(&name) {
        names.push(name);
    }
}

fn common(left: &Lines<'_>, right: &Lines<'_>) -> String {
    let pairs = left.path.iter().zip(&right.path);
    let names: Vec<&str> = pairs.take_while(|(a, b)| a == b).map(|((_, name), _)| *name).collect();
    if names.is_empty() { "value".to_owned() } else { names.join(".") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    #[allow(dead_code, reason = "read by Debug only")]
    struct Booking {
        id: u32,
        holder: Holder,
        seats: Vec<u8>,
    }

    #[derive(Debug, Clone)]
    #[allow(dead_code, reason = "read by Debug only")]
    struct Holder {
        name: String,
        phone: String,
    }

    fn booking(id: u32, name: &str, seats: &[u8]) -> Booking {
        let holder = Holder { name: name.to_owned(), phone: "0170 secret".to_owned() };
        Booking { id, holder, seats: seats.to_vec() }
    }

    #[test]
    fn a_shape_names_the_fields_and_not_the_values() {
        let shape_of = |a: Booking, b: Booking| shape(&pretty(&a), &pretty(&b));
        assert_eq!(shape_of(booking(1, "A", &[]), booking(2, "A", &[])), "id");
        assert_eq!(shape_of(booking(1, "A", &[]), booking(2, "B", &[])), "id, holder.name");
        assert_eq!(shape_of(booking(1, "A", &[1]), booking(1, "A", &[1, 2])), "seats (structure)");
        assert_eq!(shape_of(booking(7, "X", &[]), booking(9, "X", &[])), "id");
    }

    #[test]
    fn redaction_takes_a_field_with_all_under_it() {
        let text = pretty(&booking(1, "Ada", &[1, 2]));
        let phone = redact(&text, &["phone".to_owned()]);
        assert!(phone.contains("Ada") && !phone.contains("secret"), "{phone}");
        let holder = redact(&text, &["holder".to_owned(), "seats".to_owned()]);
        assert!(
            !holder.contains("Ada") && !holder.contains("secret") && holder.contains("id: 1"),
            "{holder}"
        );
        assert_eq!(holder.matches(REDACTED).count(), 2, "{holder}");
    }

    #[test]
    fn a_rendering_is_bounded() {
        assert!(pretty(&"ä".repeat(SHOWN_MAX)).len() < SHOWN_MAX + 32);
    }

    proptest! {
        #[test]
        fn a_redacted_value_is_never_shown(name in "[a-zA-Z0-9:{}\\[\\](), \n\"]{0,40}", seats in prop::collection::vec(any::<u8>(), 0..4)) {
            let marked = format!("geheim{name}geheim");
            let text = pretty(&booking(3, &marked, &seats));
            prop_assert!(!redact(&text, &["name".to_owned()]).contains("geheim"));
        }
    }
}
