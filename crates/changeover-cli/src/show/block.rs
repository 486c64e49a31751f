//! Blocks of text: facts beside their names, tables, and paragraphs that keep to the terminal's width.

use comfy_table::{
    Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets,
};

use crate::terminal::{Paint, Terminal};

/// Facts beside their names, each indented below the name's column where it takes several lines.
pub(crate) struct Facts {
    rows: Vec<(String, String)>,
}

impl Facts {
    pub(crate) const fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a fact.
    pub(crate) fn add(&mut self, name: impl Into<String>, fact: impl Into<String>) -> &mut Self {
        self.rows.push((name.into(), fact.into()));
        self
    }

    /// The block, with its line's end.
    pub(crate) fn render(&self, terminal: &Terminal, paint: Paint) -> String {
        let name_width = self.rows.iter().map(|(name, _)| shown_width(name)).max().unwrap_or(0);
        let fact_width = terminal.width.saturating_sub(name_width + 4).max(20);
        let mut text = String::new();
        for (name, fact) in &self.rows {
            let mut label = name.as_str();
            for line in wrap(fact, fact_width) {
                let pad = " ".repeat(name_width.saturating_sub(shown_width(label)));
                let label_shown = if label.is_empty() { String::new() } else { paint.faint(label) };
                text.push_str(format!("  {label_shown}{pad}  {line}").trim_end());
                text.push('\n');
                label = "";
            }
        }
        text
    }
}

/// A table: headings and rows, numbers to the right.
pub(crate) struct Columns {
    table: Table,
    paint: Paint,
    numeric: Vec<bool>,
    name_width: Option<u16>,
}

impl Columns {
    /// A table with these headings; a heading that begins with `#` is of numbers.
    pub(crate) fn new(terminal: &Terminal, paint: Paint, headings: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(terminal.width).unwrap_or(u16::MAX));
        let numeric: Vec<bool> = headings.iter().map(|heading| heading.starts_with('#')).collect();
        if paint.on {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let cells = headings.iter().zip(&numeric).map(|(heading, numeric)| {
            let cell = Cell::new(heading.strip_prefix('#').unwrap_or(heading));
            let cell = if paint.on { cell.add_attribute(Attribute::Dim) } else { cell };
            if *numeric { cell.set_alignment(CellAlignment::Right) } else { cell }
        });
        table.set_header(cells);
        for (n, is_number) in numeric.iter().enumerate() {
            if let Some(column) = table.column_mut(n) {
                column.set_padding((2, 0));
                if *is_number {
                    // A number broken over two lines is another number.
                    column.set_constraint(ColumnConstraint::ContentWidth);
                }
            }
        }
        Self { table, paint, numeric, name_width: None }
    }

    /// The first column is never narrower than this, or than it needs to be: a name in pieces is no name.
    pub(crate) fn named(mut self, most: u16) -> Self {
        self.name_width = Some(most);
        self
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Shown>) -> &mut Self {
        let cells = cells.into_iter().enumerate().map(|(n, shown)| {
            let mut cell = Cell::new(&shown.text);
            if self.numeric.get(n).copied().unwrap_or(false) {
                cell = cell.set_alignment(CellAlignment::Right);
            }
            match shown.colour.filter(|_| self.paint.on) {
                Some(colour) => cell.fg(colour),
                None => cell,
            }
        });
        let cells: Vec<Cell> = cells.collect();
        self.table.add_row(cells);
        self
    }

    /// The block, with its line's end.
    pub(crate) fn render(&mut self) -> String {
        let widest = self.table.column_max_content_widths().first().copied().unwrap_or(0);
        if let (Some(most), Some(column)) = (self.name_width, self.table.column_mut(0)) {
            // With its padding.
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(widest.min(most) + 2)));
        }
        let mut text = String::new();
        for line in self.table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// What stands in a table's cell.
pub(crate) struct Shown {
    text: String,
    colour: Option<comfy_table::Color>,
}

impl Shown {
    /// In yellow.
    pub(crate) const fn warn(mut self) -> Self {
        self.colour = Some(comfy_table::Color::Yellow);
        self
    }

    /// In red.
    pub(crate) const fn bad(mut self) -> Self {
        self.colour = Some(comfy_table::Color::Red);
        self
    }

    /// In green.
    pub(crate) const fn good(mut self) -> Self {
        self.colour = Some(comfy_table::Color::Green);
        self
    }

    /// In red, unless it is nothing.
    pub(crate) fn bad_unless(self, fine: bool) -> Self {
        if fine { self } else { self.bad() }
    }
}

impl<T: Into<String>> From<T> for Shown {
    fn from(text: T) -> Self {
        Self { text: text.into(), colour: None }
    }
}

/// Breaks a text into lines of at most this width, at spaces; a word that is longer stands alone. Colours count nothing,
/// and each line has its own. Line ends in it are kept.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut colour = String::new();
    for paragraph in text.split('\n') {
        let indent: String = paragraph.chars().take_while(|c| *c == ' ').collect();
        let mut line = format!("{indent}{colour}");
        let mut is_empty = true;
        for word in paragraph.split(' ').filter(|word| !word.is_empty()) {
            if !is_empty && shown_width(&line) + 1 + shown_width(word) > width {
                close(&mut line, &colour);
                lines.push(std::mem::replace(&mut line, format!("{indent}{colour}")));
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
            colour = colour_after(colour, word);
            is_empty = false;
        }
        close(&mut line, &colour);
        lines.push(line);
    }
    lines
}

/// What turns all colours off.
const RESET: &str = "\u{1b}[0m";

fn close(line: &mut String, colour: &str) {
    if !colour.is_empty() {
        line.push_str(RESET);
    }
}

/// The colour that is on after a word, given the one before it.
fn colour_after(before: String, word: &str) -> String {
    let Some(start) = word.rfind('\u{1b}') else { return before };
    let end = word[start..].find('m').map_or(word.len(), |length| start + length + 1);
    let last = &word[start..end];
    if last == RESET { String::new() } else { last.to_owned() }
}

/// A paragraph within the terminal's width, each line indented by so many columns.
pub(crate) fn paragraph(text: &str, indent: usize, terminal: &Terminal) -> String {
    let pad = " ".repeat(indent);
    let mut shown = String::new();
    for line in wrap(text, terminal.width.saturating_sub(indent).max(20)) {
        shown.push_str(format!("{pad}{line}").trim_end());
        shown.push('\n');
    }
    shown
}

/// How many columns a text takes: escape sequences take none.
fn shown_width(text: &str) -> usize {
    let mut width = 0;
    let mut in_escape = false;
    for c in text.chars() {
        match c {
            '\u{1b}' => in_escape = true,
            'm' if in_escape => in_escape = false,
            _ if in_escape => {}
            c if is_wide(c) => width += 2,
            _ => width += 1,
        }
    }
    width
}

/// Chinese, Japanese, Korean and emoji take two columns: near enough for text that is mostly ours.
const fn is_wide(c: char) -> bool {
    matches!(c as u32, 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f
        | 0xff00..=0xff60 | 0x1f300..=0x1f9ff | 0x20000..=0x3fffd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(width: usize) -> Terminal {
        let plain = Paint { on: false };
        Terminal { json: false, out: plain, err: plain, live: false, width }
    }

    #[test]
    fn facts_hang_below_their_name() {
        let mut facts = Facts::new();
        facts
            .add("next", "reverse-shadow")
            .add("blocked by", "the backfill isn't complete: 3 of 9 chunks are done");
        let text = facts.render(&terminal(40), Paint { on: false });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  next        reverse-shadow");
        assert_eq!(lines[1], "  blocked by  the backfill isn't");
        assert!(lines[2].starts_with("              complete"), "{text}");
        assert!(lines.iter().all(|line| line.len() <= 40), "{text}");
    }

    #[test]
    fn colours_take_no_room() {
        let paint = Paint { on: true };
        let text = format!("{} {}", paint.bad("four"), paint.good("five5"));
        assert_eq!(wrap(&text, 10).len(), 1);
        assert_eq!(wrap(&text, 9).len(), 2);
    }

    #[test]
    fn a_colour_begins_anew_in_each_line() {
        let text = Paint { on: true }.bad("some words that take lines");
        let lines = wrap(&format!("{text} plain"), 10);
        assert!(lines.len() >= 3, "{lines:?}");
        for line in &lines[..lines.len() - 1] {
            assert!(line.starts_with('\u{1b}') && line.ends_with(RESET), "{lines:?}");
        }
        assert!(lines.last().is_some_and(|last| last.ends_with("plain")), "{lines:?}");
    }

    #[test]
    fn a_table_keeps_to_the_width_and_its_numbers_whole() {
        let screen = terminal(60);
        let mut table = Columns::new(&screen, screen.out, &["TABLE", "#ROWS", "WHAT"]);
        let long = "a sentence that is far too long to stand in one line of this terminal";
        table.row(["bookings".into(), "1,204,000".into(), long.into()]);
        let text = table.render();
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        assert!(text.contains("1,204,000"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
