//! The demo's voice: what happens, as it happens, for somebody who knows nothing of the design.
//!
//! It speaks on standard error where the result is asked for as JSON, else on standard output. On a terminal it uses a
//! little colour, and one live line at the bottom with the traffic's figures.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use owo_colors::{OwoColorize, Style};

use super::traffic::Tally;

/// How wide the story is told.
const WIDTH: usize = 96;

/// Tells the story.
pub(super) struct Story {
    began: Instant,
    out: Out,
    terminal: bool,
    tally: Option<Arc<Tally>>,
    shown: Option<(Instant, u64)>,
}

enum Out {
    Standard,
    Error,
}

impl Story {
    /// `talk`: the result goes to standard output as JSON, so the story mustn't.
    pub(super) fn new(talk: bool) -> Self {
        let terminal = if talk { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        let plain = std::env::var_os("NO_COLOR").is_some();
        Self {
            began: Instant::now(),
            out: if talk { Out::Error } else { Out::Standard },
            terminal: terminal && !plain,
            tally: None,
            shown: None,
        }
    }

    /// From now on the live line shows these figures.
    pub(super) fn watch(&mut self, tally: Arc<Tally>) {
        self.tally = Some(tally);
    }

    /// Says what phase of the story begins.
    pub(super) fn chapter(&mut self, title: &str) {
        self.line("");
        self.tell(title, Style::new().bold());
    }

    /// Says what happened.
    pub(super) fn say(&mut self, text: &str) {
        self.tell(text, Style::new());
    }

    /// Says that something went as it should.
    pub(super) fn good(&mut self, text: &str) {
        self.tell(&format!("✓ {text}"), Style::new().green());
    }

    /// Says that something was found to be wrong.
    pub(super) fn bad(&mut self, text: &str) {
        self.tell(&format!("✗ {text}"), Style::new().red());
    }

    fn tell(&mut self, text: &str, style: Style) {
        let at = self.began.elapsed().as_secs();
        for (number, part) in wrap(text, WIDTH - 8).into_iter().enumerate() {
            let stamp = if number == 0 { format!("{:>3}:{:02}", at / 60, at % 60) } else { " ".repeat(6) };
            if self.terminal {
                self.line(&format!("{}  {}", stamp.dimmed(), part.style(style)));
            } else {
                self.line(&format!("{stamp}  {part}"));
            }
        }
    }

    /// Waits, with the live line going on.
    pub(super) async fn wait(&mut self, duration: Duration) {
        let until = Instant::now() + duration;
        while Instant::now() < until {
            self.live();
            let left = until.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(Duration::from_millis(250))).await;
        }
    }

    /// Draws the live line anew, on a terminal.
    pub(super) fn live(&mut self) {
        let Some(tally) = self.tally.clone().filter(|_| self.terminal) else { return };
        let requests = tally.requests.load(Ordering::Relaxed);
        let (then, before) = *self.shown.get_or_insert((Instant::now(), requests));
        let rate = (requests - before) as f64 / then.elapsed().as_secs_f64().max(0.001);
        if then.elapsed() > Duration::from_secs(2) {
            self.shown = Some((Instant::now(), requests));
        }
        let text = format!(
            "        {} requests, {:.0} a second, {} failed",
            requests,
            rate,
            tally.failed.load(Ordering::Relaxed)
        );
        self.write(&format!("\r\x1b[2K{}", text.dimmed()));
    }

    /// Ends the live line.
    pub(super) fn still(&mut self) {
        self.tally = None;
        if self.terminal {
            self.write("\r\x1b[2K");
        }
    }

    fn line(&mut self, text: &str) {
        let clear = if self.terminal { "\r\x1b[2K" } else { "" };
        self.write(&format!("{clear}{text}\n"));
    }

    fn write(&self, text: &str) {
        // A terminal that went away must not end the migration.
        let _ = match self.out {
            Out::Standard => {
                let mut out = std::io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
            Out::Error => {
                let mut out = std::io::stderr().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
        };
    }
}

/// Breaks a text at spaces into lines of at most so many characters; a longer word stands alone.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(last) = lines.last_mut() else { break };
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_nothing_is_lost() {
        let text = "one two three four five six seven eight";
        let lines = wrap(text, 13);
        assert!(lines.iter().all(|line| line.chars().count() <= 13), "{lines:?}");
        assert_eq!(lines.join(" "), text);
    }
}
