//! What the worker tells its parent, one word a line.

/// One line from the worker to its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// A lock of the application's tables is about to be taken: from now on a beat is due within so many milliseconds.
    Hold(u64),
    /// The holder is alive.
    Beat,
    /// The lock is given up.
    Free,
    /// The worker is up: its state is read, its stores are connected.
    Up,
    /// A line for a person or a program, on the parent's standard output.
    Out(String),
}

impl Word {
    /// The line, without its end.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Hold(budget_ms) => format!("hold {budget_ms}"),
            Self::Beat => "beat".to_owned(),
            Self::Free => "free".to_owned(),
            Self::Up => "up".to_owned(),
            Self::Out(text) => format!("out {}", serde_json::Value::from(text.as_str())),
        }
    }

    /// What a line says; `None` if it is none of the worker's.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "hold" => rest.parse().ok().map(Self::Hold),
            "beat" => Some(Self::Beat),
            "free" => Some(Self::Free),
            "up" => Some(Self::Up),
            "out" => serde_json::from_str(rest).ok().map(Self::Out),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_one_line_and_comes_back_as_it_was() {
        let text = "two\nlines, a \"quote\" and Zoë".to_owned();
        for word in [Word::Hold(2_000), Word::Beat, Word::Free, Word::Up, Word::Out(text)] {
            assert!(!word.line().contains('\n'));
            assert_eq!(Word::parse(&word.line()), Some(word));
        }
        assert_eq!(Word::parse("hold soon"), None);
        assert_eq!(Word::parse(""), None);
    }
}
