//! A migration on its way, driven by the real binary while the service writes: each phase is asked for until it is
//! reached.

use std::time::{Duration, Instant};

use super::shape::Side;
use super::writer::{Service, Writer};
use crate::support::{Place, Running, wait_for};

/// No phase may take longer than this to be reached.
const REACHED_WITHIN: Duration = Duration::from_secs(60);

/// How far the mirror may be behind a service that rests.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(20);

/// Between two looks at the flag.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Between two requests for a move that was refused.
const ASK_EVERY: Duration = Duration::from_millis(150);

/// The file that the flag is kept in.
pub const FLAG: &str = "flag";

/// The flag of each phase.
pub const PHASES: [&str; 4] = ["old", "shadow", "reverse-shadow", "new"];

/// Whatever writes while the migration is on its way.
pub trait AtWork {
    /// It goes on: else the test ends here, with what it found.
    fn assert_goes_on(&self, when: &str);

    /// What a side said last that didn't take a write, where that is known.
    fn last_refusal(&self) -> String;
}

impl AtWork for Writer {
    #[track_caller]
    fn assert_goes_on(&self, when: &str) {
        assert!(self.is_alive(), "the writer found a difference {when}");
    }

    fn last_refusal(&self) -> String {
        self.last_refusal()
    }
}

/// How a phase was gone for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It was reached.
    Reached,
    /// The worker died by the fault that was planted.
    Died,
}

/// The migration in a place.
pub struct Drive<'p> {
    pub place: &'p Place,
    /// Moves that were asked for, as the audit must have them: phase by phase, however often.
    pub asked: Vec<&'static str>,
}

impl<'p> Drive<'p> {
    pub const fn new(place: &'p Place) -> Self {
        Self { place, asked: Vec::new() }
    }

    /// Starts `run` with its flag file, and waits until it is up.
    pub fn run(&self) -> Running<'p> {
        self.place.run_with(&["--flag-file", FLAG], &[])
    }

    /// Starts `run` with a fault planted, and doesn't wait.
    pub fn run_into(&self, faults: &str) -> Running<'p> {
        self.place.write("run.err", "");
        self.place.start(&["--flag-file", FLAG], &[("CHANGEOVER_FAULT", faults)])
    }

    /// The worker was aborted, as a planted fault does it, and not otherwise.
    pub fn has_died(&self) -> bool {
        let said = self.place.read("run.err");
        let ended = said.contains("ended unasked");
        assert!(!ended || said.contains("SIGABRT"), "the worker ended by something else\n{said}");
        ended
    }

    fn flag(&self) -> Option<usize> {
        std::fs::read_to_string(self.place.path(FLAG)).ok()?.trim().parse().ok()
    }

    /// Asks for a phase until it is reached, or the worker has died.
    #[track_caller]
    pub fn go(&mut self, phase: &'static str, writer: &impl AtWork) -> Life {
        let goal = PHASES.iter().position(|name| *name == phase).expect("a phase");
        let deadline = Instant::now() + REACHED_WITHIN;
        let mut last = String::new();
        let mut asked = Instant::now() - ASK_EVERY;
        self.asked.push(phase);
        loop {
            if self.has_died() {
                return Life::Died;
            }
            let at = self.flag();
            if at == Some(goal) {
                return Life::Reached;
            }
            writer.assert_goes_on(&format!("on the way to {phase}"));
            assert!(
                Instant::now() < deadline,
                "{phase} isn't reached within {REACHED_WITHIN:?}; the flag is {at:?}; the last answer: {last}\n\
                 the writer: {}\n--- status\n{}\n--- run\n{}",
                writer.last_refusal(),
                self.place.changeover(&["status"]).out,
                self.place.read("run.err"),
            );
            if let Some(at) = at
                && asked.elapsed() >= ASK_EVERY
            {
                let command = if at < goal { "advance" } else { "rollback" };
                let ended = self.place.changeover(&[command, "--to", phase]);
                last = format!("{:?} {} {}", ended.code, ended.out, ended.err);
                asked = Instant::now();
            } else {
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }

    /// The writer goes on: so many further writes are acknowledged.
    #[track_caller]
    pub fn writes_on(&self, writer: &Writer, further: u64) {
        let enough = writer.acknowledged() + further;
        wait_for("the writer goes on", || {
            assert!(writer.is_alive(), "the writer found a difference");
            writer.acknowledged() >= enough
        });
    }

    /// Lets the writer rest and the mirror catch up: both sides hold what is predicted.
    #[track_caller]
    pub fn compare(&self, writer: Writer, when: &str) -> Service {
        let service = writer.end();
        // Not by what `status` says of the logs: that may be a moment old. A difference that stays is told below.
        let deadline = Instant::now() + CAUGHT_UP_WITHIN;
        while Instant::now() < deadline && !(service.is_held_by(Side::Old) && service.is_held_by(Side::New)) {
            std::thread::sleep(LOOK_EVERY);
        }
        service.assert_held_by(Side::Old, when);
        service.assert_held_by(Side::New, when);
        service
    }

    /// The audit has each phase that was reached, in this order, among whatever else.
    #[track_caller]
    pub fn assert_audit(&self, phases: &[&str]) {
        let audit = self.place.json(&["audit", "--limit", "10000"], 0);
        let entries = audit["entries"].as_array().expect("entries");
        let moves: Vec<&str> = entries
            .iter()
            .filter(|entry| entry["kind"] == "move")
            .map(|entry| entry["text"].as_str().expect("a text"))
            .collect();
        let mut rest = moves.iter().rev();
        for phase in phases {
            assert!(rest.any(|text| arrives_in(text, phase)), "no move to {phase} in its place: {moves:#?}");
        }
    }
}

/// Whether a line of the audit says that this phase was reached.
fn arrives_in(text: &str, phase: &str) -> bool {
    let words = text.split([',', ';']).next().unwrap_or_default();
    words == format!("back in {phase}")
        || (words.starts_with("from ") && words.ends_with(&format!(" to {phase}")))
}
