//! Long work on standard error: rows, rate and time left. One live line on a terminal; elsewhere a plain line from time
//! to time, so that a log shows that it goes on.

use std::time::{Duration, Instant};

use changeover_control::jobs::{JobProgress, Stage};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::words;
use crate::terminal::Terminal;

/// How often a plain line is written.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// What the live line shows; the words come from us, so that they are the same as elsewhere.
const TEMPLATE: &str = "{spinner} {prefix:<6} {wide_bar} {msg}";

/// The progress of a job, stage by stage. Give it the truth as often as you like: it draws at most some times a second.
pub(crate) struct Meter {
    stage: Option<Stage>,
    bar: Option<ProgressBar>,
    plain_at: Instant,
    terminal: Terminal,
}

impl Meter {
    /// Begins to show a job's progress.
    pub(crate) fn new(terminal: &Terminal) -> Self {
        let bar = terminal.live.then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style.progress_chars("━╸─"));
            }
            bar
        });
        Self { stage: None, bar, plain_at: Instant::now() + PLAIN_EVERY, terminal: *terminal }
    }

    /// It is so far.
    pub(crate) fn show(&mut self, progress: &JobProgress) {
        let text = line(progress);
        let is_new = self.stage.replace(progress.stage) != Some(progress.stage);
        if let Some(bar) = &self.bar {
            if is_new {
                bar.set_prefix(progress.stage.name());
            }
            let all = progress.rows_all.max(progress.rows).max(1);
            bar.set_length(all);
            bar.set_position(progress.rows);
            bar.set_message(text);
            bar.tick();
        } else if Instant::now() >= self.plain_at {
            self.plain_at = Instant::now() + PLAIN_EVERY;
            self.terminal.say(format_args!("{}: {text}", progress.stage.name()));
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
fn line(progress: &JobProgress) -> String {
    let mut text = match progress.rows_all {
        0 => format!("{} rows", words::count(progress.rows)),
        all => format!("{} of {} rows", words::count(progress.rows), words::count(all.max(progress.rows))),
    };
    if progress.rows_per_second >= 1.0 {
        text.push_str(&format!(", {}", words::rate(progress.rows_per_second)));
    }
    if let Some(why) = &progress.waiting {
        return format!("{text}; waits: {why}");
    }
    if let Some(left) = progress.left.filter(|left| !left.is_zero()) {
        text.push_str(&format!(", {} left", words::duration(left)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_rows_rate_and_time_left() {
        let at = |rows, rows_all, rows_per_second, left| {
            line(&JobProgress { stage: Stage::Copy, rows, rows_all, rows_per_second, left, waiting: None })
        };
        let left = Some(Duration::from_secs(15));
        assert_eq!(
            at(250_000, 1_000_000, 50_000.0, left),
            "250,000 of 1,000,000 rows, 50,000 rows/s, 15 s left"
        );
        assert_eq!(at(10, 0, 0.0, None), "10 rows");
        assert_eq!(at(12, 10, 0.0, None), "12 of 12 rows");
    }
}
