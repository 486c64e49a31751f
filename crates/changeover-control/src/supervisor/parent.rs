//! The parent's end: starts the worker, kills one that stalls while it holds a lock, and starts it again.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::Instant;

use super::words::Word;
use crate::error::ControlError;

/// So many ends that nobody asked for, within [`CRASH_WINDOW`], are too many: starting again won't help.
const CRASHES: usize = 5;
const CRASH_WINDOW: Duration = Duration::from_secs(600);

/// How long the worker may take to stop in good order, before it is killed: a move that can't be given up is completed
/// first.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// A worker to be watched.
#[derive(Debug, Clone)]
pub struct Supervised {
    /// The program.
    pub program: std::path::PathBuf,
    /// Its arguments, with the hidden one that makes it a worker.
    pub arguments: Vec<std::ffi::OsString>,
}

/// How a supervised run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The worker ended by itself, or because it was told to, with this exit code.
    Exit(i32),
    /// It was told to stop, didn't within its time, and was killed.
    Killed,
}

/// Runs the worker until it ends by itself or `stop` turns true. Lines for people go to `out`.
///
/// # Errors
/// [`ControlError::Stopped`] if it can't be started, or ends by a signal again and again.
pub async fn supervise(
    worker: &Supervised,
    mut stop: watch::Receiver<bool>,
    mut out: impl FnMut(&str) + Send,
) -> Result<Ended, ControlError> {
    let mut crashes: Vec<Instant> = Vec::new();
    loop {
        let (status, told) = one_life(worker, &mut stop, &mut out).await?;
        if told {
            return Ok(status.code().map_or(Ended::Killed, Ended::Exit));
        }
        if let Some(code) = status.code().filter(|code| (0..=3).contains(code)) {
            return Ok(Ended::Exit(code));
        }
        let now = Instant::now();
        crashes.retain(|at| now.duration_since(*at) < CRASH_WINDOW);
        crashes.push(now);
        if crashes.len() >= CRASHES {
            let cause = format!(
                "it ended {CRASHES} times in {} minutes, last with {status}",
                CRASH_WINDOW.as_secs() / 60
            );
            return Err(ControlError::Stopped { part: "the worker", cause });
        }
        tracing::warn!(%status, "the worker ended unasked: it is started again and goes on from where it was");
        tokio::time::sleep(Duration::from_millis(100 << crashes.len())).await;
    }
}

/// From start to end: its status, and whether it had been told to stop.
async fn one_life(
    worker: &Supervised,
    stop: &mut watch::Receiver<bool>,
    out: &mut (impl FnMut(&str) + Send),
) -> Result<(ExitStatus, bool), ControlError> {
    let fail = |cause: std::io::Error| ControlError::Stopped { part: "the worker", cause: cause.to_string() };
    let mut child = Command::new(&worker.program)
        .args(&worker.arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(fail)?;
    let mut stdin = child.stdin.take();
    let mut lines = child.stdout.take().map(|pipe| BufReader::new(pipe).lines());
    let mut watch = Watch::default();
    let mut stop_by: Option<Instant> = None;
    loop {
        let overdue = watch.due.into_iter().chain(stop_by).min();
        tokio::select! {
            biased;
            word = next_word(&mut lines) => match word {
                Some(Word::Out(text)) => out(&text),
                Some(word) => watch.hear(&word, Instant::now()),
                None => lines = None,
            },
            status = child.wait(), if lines.is_none() => {
                return Ok((status.map_err(fail)?, stop_by.is_some()));
            }
            () = until(overdue) => {
                if watch.due.is_some_and(|due| due <= Instant::now()) {
                    tracing::error!("the worker stalls while it holds a lock: it is killed, and the store rolls back");
                } else {
                    tracing::error!("the worker doesn't stop in good order: it is killed");
                }
                kill(&mut child).await;
                watch.due = None;
                stop_by = stop_by.map(|_| Instant::now() + STOP_WITHIN);
            }
            changed = stop.changed(), if stop_by.is_none() => {
                if changed.is_err() || *stop.borrow() {
                    stdin = None;
                    stop_by = Some(Instant::now() + STOP_WITHIN);
                }
            }
        }
        // Kept open for as long as the worker shall go on.
        let _ = &stdin;
    }
}

async fn kill(child: &mut Child) {
    if let Err(error) = child.start_kill() {
        tracing::error!(%error, "the worker can't be killed");
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The next word; `None` when the worker's end of the pipe is closed. Cancel-safe.
async fn next_word(lines: &mut Option<Lines<BufReader<ChildStdout>>>) -> Option<Word> {
    let Some(lines) = lines else { return std::future::pending().await };
    loop {
        match lines.next_line().await {
            Ok(Some(line)) => match Word::parse(&line) {
                Some(word) => return Some(word),
                None => tracing::warn!(line, "the worker said something that isn't understood"),
            },
            Ok(None) => return None,
            Err(error) => {
                tracing::warn!(%error, "the worker can't be heard");
                return None;
            }
        }
    }
}

/// By when a beat is due.
#[derive(Debug, Default)]
struct Watch {
    budget: Option<Duration>,
    due: Option<Instant>,
}

impl Watch {
    fn hear(&mut self, word: &Word, now: Instant) {
        match word {
            Word::Hold(budget_ms) => self.budget = Some(Duration::from_millis(*budget_ms)),
            Word::Free => self.budget = None,
            Word::Beat | Word::Up | Word::Out(_) => {}
        }
        self.due = self.budget.map(|budget| now + budget);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Supervised {
        Supervised { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] }
    }

    async fn run(script: &str) -> (Result<Ended, ControlError>, Vec<String>) {
        let (_stop, stopped) = watch::channel(false);
        let mut lines = Vec::new();
        let ended = supervise(&shell(script), stopped, |line| lines.push(line.to_owned())).await;
        (ended, lines)
    }

    #[tokio::test]
    async fn the_worker_s_lines_and_exit_code_are_the_run_s() {
        let (ended, lines) = run(r#"echo up; echo 'out "hello"'; exit 2"#).await;
        assert_eq!(ended.unwrap(), Ended::Exit(2));
        assert_eq!(lines, ["hello"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_stalls_in_a_hold_is_killed_and_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("second");
        let script = format!(
            "if [ -e {0} ]; then echo 'out \"again\"'; exit 0; fi; touch {0}; echo hold 50; exec sleep 600",
            mark.display()
        );
        let (ended, lines) = run(&script).await;
        assert_eq!(ended.unwrap(), Ended::Exit(0));
        assert_eq!(lines, ["again"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_always_dies_is_given_up() {
        let (ended, _) = run("kill -9 $$").await;
        assert!(matches!(ended, Err(ControlError::Stopped { part: "the worker", .. })), "{ended:?}");
    }

    #[tokio::test]
    async fn a_stop_closes_the_worker_s_input_and_waits_for_its_end() {
        let (stop, stopped) = watch::channel(false);
        let worker = shell(r#"echo 'out "ready"'; cat; echo 'out "bye"'; exit 0"#);
        let mut lines = Vec::new();
        let ended = supervise(&worker, stopped, |line| {
            lines.push(line.to_owned());
            stop.send_replace(true);
        })
        .await;
        assert_eq!(ended.unwrap(), Ended::Exit(0));
        assert_eq!(lines, ["ready", "bye"]);
    }

    #[test]
    fn a_beat_is_due_only_in_a_hold() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        watch.hear(&Word::Beat, now);
        assert_eq!(watch.due, None);
        watch.hear(&Word::Hold(100), now);
        let later = now + Duration::from_millis(60);
        watch.hear(&Word::Beat, later);
        assert_eq!(watch.due, Some(later + Duration::from_millis(100)));
        watch.hear(&Word::Free, later);
        assert_eq!(watch.due, None);
    }
}
