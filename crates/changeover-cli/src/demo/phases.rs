//! When each phase of a demo was entered, and how long it lasted.

use std::time::Instant;

use serde::Serialize;

/// One phase, as it is reported.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Phase {
    /// Its name; with the share, where only a part of the keys moved.
    pub(super) name: String,
    /// Seconds since the traffic began.
    pub(super) entered: f64,
    /// How long it lasted.
    pub(super) seconds: f64,
}

/// The phases of a demo, in order.
#[derive(Debug)]
pub(super) struct Phases {
    began: Instant,
    entered: Vec<(String, Instant)>,
}

impl Phases {
    /// The traffic begins in this phase.
    pub(super) fn begin(phase: changeover::Phase) -> Self {
        let began = Instant::now();
        Self { began, entered: vec![(phase.name().to_owned(), began)] }
    }

    /// The next phase is entered now.
    pub(super) fn enter(&mut self, name: &str) {
        self.entered.push((name.to_owned(), Instant::now()));
    }

    /// All of them; the last lasts until now.
    pub(super) fn report(&self) -> Vec<Phase> {
        let ends = self.entered.iter().skip(1).map(|(_, at)| *at).chain([Instant::now()]);
        let pairs = self.entered.iter().zip(ends);
        pairs
            .map(|((name, at), end)| Phase {
                name: name.clone(),
                entered: rounded(at.duration_since(self.began).as_secs_f64()),
                seconds: rounded(end.duration_since(*at).as_secs_f64()),
            })
            .collect()
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
