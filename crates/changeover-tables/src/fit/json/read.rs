//! Reads JSON as RFC 8259 has it, and keeps what a document says, down to the digits of its numbers.

use std::borrow::Cow;

/// How deep a document may go: deeper ones are refused, before they use up the stack.
pub(super) const DEPTH_MAX: usize = 512;

/// A document, borrowed from its text where that says it plainly.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::fit) enum Node<'t> {
    Null,
    Bool(bool),
    /// As it is written.
    Number(&'t str),
    String(Cow<'t, str>),
    Array(Vec<Node<'t>>),
    Object(Vec<(Cow<'t, str>, Node<'t>)>),
}

/// The document that a text is.
pub(in crate::fit) fn parse(text: &str) -> Result<Node<'_>, String> {
    Reader::new(text, false).document()
}

/// The document that a text is, for whoever only wants to know whether it is one: half a surrogate pair is let through.
pub(super) fn well_formed(text: &str) -> Result<Node<'_>, String> {
    Reader::new(text, true).document()
}

/// Reads a document as RFC 8259 has it.
struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    /// Whether half a surrogate pair is let through: nobody looks at what becomes of it.
    halves: bool,
}

impl<'t> Reader<'t> {
    const fn new(text: &'t str, halves: bool) -> Self {
        Self { text, at: 0, depth: DEPTH_MAX, halves }
    }

    fn document(mut self) -> Result<Node<'t>, String> {
        let node = self.node()?;
        self.space();
        if self.at == self.text.len() { Ok(node) } else { Err(no_json()) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Passes this character, with space before it, if it comes next.
    fn take(&mut self, c: u8) -> bool {
        self.space();
        let there = self.peek() == Some(c);
        self.at += usize::from(there);
        there
    }

    fn need(&mut self, c: u8) -> Result<(), String> {
        if self.take(c) { Ok(()) } else { Err(no_json()) }
    }

    fn node(&mut self) -> Result<Node<'t>, String> {
        self.space();
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(Node::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Node::Number),
            _ => {
                for (word, node) in
                    [("null", Node::Null), ("true", Node::Bool(true)), ("false", Node::Bool(false))]
                {
                    if self.text[self.at..].starts_with(word) {
                        self.at += word.len();
                        return Ok(node);
                    }
                }
                Err(no_json())
            }
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Node<'t>, String>) -> Result<Node<'t>, String> {
        self.depth = self.depth.checked_sub(1).ok_or_else(too_deep)?;
        self.at += 1;
        let node = read(self)?;
        self.depth += 1;
        Ok(node)
    }

    fn array(&mut self) -> Result<Node<'t>, String> {
        let mut elements = Vec::new();
        if self.take(b']') {
            return Ok(Node::Array(elements));
        }
        loop {
            elements.push(self.node()?);
            if self.take(b']') {
                return Ok(Node::Array(elements));
            }
            self.need(b',')?;
        }
    }

    fn object(&mut self) -> Result<Node<'t>, String> {
        let mut members = Vec::new();
        if self.take(b'}') {
            return Ok(Node::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(no_json());
            }
            let name = self.string()?;
            self.need(b':')?;
            members.push((name, self.node()?));
            if self.take(b'}') {
                return Ok(Node::Object(members));
            }
            self.need(b',')?;
        }
    }

    fn number(&mut self) -> Result<&'t str, String> {
        let from = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        // A zero at the start is all of the whole part.
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(&self.text[from..self.at])
    }

    fn digits(&mut self) -> Result<(), String> {
        let from = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > from { Ok(()) } else { Err(no_json()) }
    }

    fn string(&mut self) -> Result<Cow<'t, str>, String> {
        self.at += 1;
        let mut read = Cow::Borrowed("");
        loop {
            let from = self.at;
            while self.peek().is_some_and(|c| c != b'"' && c != b'\\' && c >= b' ') {
                self.at += 1;
            }
            let plain = &self.text[from..self.at];
            if read.is_empty() {
                read = Cow::Borrowed(plain);
            } else {
                read.to_mut().push_str(plain);
            }
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(read);
                }
                Some(b'\\') => {
                    let c = self.escaped()?;
                    read.to_mut().push(c);
                }
                _ => return Err(no_json()),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, String> {
        self.at += 1;
        let c = self.peek().ok_or_else(no_json)?;
        self.at += 1;
        Ok(match c {
            b'"' | b'\\' | b'/' => char::from(c),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(no_json()),
        })
    }

    fn unicode(&mut self) -> Result<char, String> {
        let first = self.hex()?;
        if let Some(c) = char::from_u32(first) {
            return Ok(c);
        }
        let before = self.at;
        if first < 0xdc00 && self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                let c = char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
                return c.ok_or_else(no_json);
            }
            self.at = before;
        }
        if self.halves {
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        Err("JSON with half a surrogate pair".to_owned())
    }

    fn hex(&mut self) -> Result<u32, String> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or_else(no_json)?;
        let mut number = 0;
        for digit in digits {
            number = number << 4 | char::from(*digit).to_digit(16).ok_or_else(no_json)?;
        }
        self.at += 4;
        Ok(number)
    }
}

pub(super) fn no_json() -> String {
    "text that isn't JSON".to_owned()
}

pub(super) fn too_deep() -> String {
    "JSON with too many levels".to_owned()
}
