//! Long work on standard error: rows, rate and time left. One live line on a terminal; elsewhere a plain line from time
//! to time, so that a log shows that it goes on.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::words;
use crate::terminal::Terminal;

/// How often a plain line is written.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// What the live line shows; the words come from us, so that they are the same as elsewhere.
const TEMPLATE: &str = "{spinner} {prefix:<13} {bar:24} {msg}";

/// The progress of one piece of work. Give it the truth as often as you like: it draws at most some times a second.
pub(crate) struct Meter {
    name: String,
    began: Instant,
    bar: Option<ProgressBar>,
    plain_at: Instant,
    /// Where the rate is counted from: rows that were done before this run say nothing on it.
    first: Option<u64>,
    terminal: Terminal,
}

impl Meter {
    /// Begins to show the progress of `name`.
    pub(crate) fn new(name: impl Into<String>, terminal: &Terminal) -> Self {
        let name = name.into();
        let bar = terminal.live.then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style.progress_chars("━╸─"));
            }
            bar.set_prefix(name.clone());
            bar
        });
        let now = Instant::now();
        Self { name, began: now, bar, plain_at: now + PLAIN_EVERY, first: None, terminal: *terminal }
    }

    /// So many rows are done, of about so many; 0 for *not known*.
    pub(crate) fn update(&mut self, done: u64, all: u64) {
        let first = *self.first.get_or_insert(done);
        let text = line(done, all, done.saturating_sub(first), self.began.elapsed());
        if let Some(bar) = &self.bar {
            bar.set_length(all.max(1));
            bar.set_position(done.min(all.max(1)));
            bar.set_message(text);
            bar.tick();
        } else if Instant::now() >= self.plain_at {
            self.plain_at = Instant::now() + PLAIN_EVERY;
            self.terminal.say(format_args!("{}: {text}", self.name));
        }
    }

    /// Takes the live line away: what comes now is the answer.
    pub(crate) fn end(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

}

/// `1,204,000 of 4,000,000 rows, 52,300 rows/s, 54 s left`.
fn line(done: u64, all: u64, since_start: u64, elapsed: Duration) -> String {
    let mut text = match all {
        0 => format!("{} rows", words::count(done)),
        _ => format!("{} of {} rows", words::count(done), words::count(all.max(done))),
    };
    // A rate of the first moment says nothing.
    if elapsed >= Duration::from_millis(500) && since_start > 0 {
        let rate = since_start as f64 / elapsed.as_secs_f64();
        text.push_str(&format!(", {}", words::rate(rate)));
        if all > done {
            let left = Duration::from_secs_f64(((all - done) as f64 / rate).min(1e9));
            text.push_str(&format!(", {} left", words::duration(left)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_rows_rate_and_time_left() {
        let shown = line(250_000, 1_000_000, 100_000, Duration::from_secs(2));
        assert_eq!(shown, "250,000 of 1,000,000 rows, 50,000 rows/s, 15 s left");
        assert_eq!(line(10, 0, 10, Duration::from_millis(10)), "10 rows");
        assert_eq!(line(12, 10, 0, Duration::from_secs(9)), "12 of 12 rows");
    }
}
