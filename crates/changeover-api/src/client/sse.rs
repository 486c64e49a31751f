//! Server-sent events, as the HTML standard defines the stream: fed by bytes as they come, giving whole events.

/// The longest event that is kept; a longer one is an error of the stream.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// A whole event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SseEvent {
    /// Its type; `message`, if none was given.
    pub(super) kind: String,
    /// Its data, the lines joined.
    pub(super) data: String,
    /// The last id that the stream gave.
    pub(super) id: Option<String>,
}

/// The stream isn't one of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TooLong;

/// Takes bytes, gives events.
#[derive(Debug, Default)]
pub(super) struct SseReader {
    line: Vec<u8>,
    after_return: bool,
    kind: String,
    data: String,
    has_data: bool,
    id: Option<String>,
}

impl SseReader {
    /// Takes the next bytes; the events that they complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            // A line ends with \n, \r or \r\n.
            let is_second_half = std::mem::replace(&mut self.after_return, byte == b'\r') && byte == b'\n';
            match byte {
                b'\n' if is_second_half => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.end_line(&String::from_utf8_lossy(&line)));
                }
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.len() > MAX_EVENT_BYTES {
                return Err(TooLong);
            }
        }
        Ok(events)
    }

    fn end_line(&mut self, line: &str) -> Option<SseEvent> {
        if line.is_empty() {
            return self.end_event();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            // An empty field name is a comment, by which the stream is kept alive; others mean nothing to us.
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<SseEvent> {
        let kind = std::mem::take(&mut self.kind);
        let data = std::mem::take(&mut self.data);
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        let kind = if kind.is_empty() { "message".to_owned() } else { kind };
        Some(SseEvent { kind, data, id: self.id.clone() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = ": hello\n\nevent: target\nid: 7\ndata: {\"a\":\ndata:1}\n\nid: 8\r\ndata: zwö\r\n\r\nevent: x\n\ndata\r\r";

    fn events() -> Vec<SseEvent> {
        let event = |kind: &str, data: &str, id: &str| SseEvent {
            kind: kind.to_owned(),
            data: data.to_owned(),
            id: Some(id.to_owned()),
        };
        vec![event("target", "{\"a\":\n1}", "7"), event("message", "zwö", "8"), event("message", "", "8")]
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_come(cuts in proptest::collection::vec(0_usize..200, 0..20)) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(STREAM.len())).collect();
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let mut reader = SseReader::default();
            let mut found = Vec::new();
            for pair in cuts.windows(2) {
                found.extend(reader.take(&STREAM.as_bytes()[pair[0]..pair[1]]).unwrap());
            }
            prop_assert_eq!(found, events());
        }
    }

    #[test]
    fn an_event_without_an_end_is_given_up() {
        let mut reader = SseReader::default();
        let line = format!("data: {}\n", "x".repeat(1000));
        let lines = (0..2000).map(|_| reader.take(line.as_bytes())).find(Result::is_err);
        assert_eq!(lines, Some(Err(TooLong)));
    }
}
