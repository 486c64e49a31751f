//! Jobs without a control plane: they begin, do one thing, report, and end.
//!
//! Each takes a callback for its progress and answers with a report. None installs anything on the old side; a run of the
//! same migration that is at work is refused where the two would meet.

mod abandon;
mod check;
mod copy;
mod create;
mod locks;
mod look;
mod rehearse;
mod verify;

use std::path::PathBuf;
use std::time::Duration;

use changeover::{Side, StoreError};

pub use self::abandon::abandon;
pub use self::check::{Ask, CheckReport, CheckedTable, check};
pub use self::copy::copy;
pub use self::create::{MissingTable, create_tables};
pub use self::locks::LockWords;
pub use self::look::look_at;
pub use self::rehearse::{RehearsalMove, RehearsalReport, rehearse};
pub use self::verify::verify;
use crate::comparison::TableReport;
use crate::conductor::Sides;

/// What a job is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Rows are copied.
    Copy,
    /// Rows are compared.
    Verify,
    /// Rows are read and tried.
    Check,
}

impl Stage {
    /// The name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Verify => "verify",
            Self::Check => "check",
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq)]
pub struct JobProgress {
    /// What it is at.
    pub stage: Stage,
    /// Rows done.
    pub rows: u64,
    /// Rows that there are, about.
    pub rows_all: u64,
    /// Rows in a second, in this run.
    pub rows_per_second: f64,
    /// About how much time is left for this stage; nothing before that can be told.
    pub left: Option<Duration>,
    /// What it waits for, after an error that may pass.
    pub waiting: Option<String>,
}

/// What a job tells its progress to.
pub type Told<'t> = &'t mut (dyn FnMut(&JobProgress) + Send);

/// What came of a copy or a verification.
#[derive(Debug, Clone, PartialEq)]
pub struct JobReport {
    /// The tables, each with its counts, differences and refusals.
    pub tables: Vec<TableReport>,
    /// How long it took.
    pub took: Duration,
    /// How long the copy took of that.
    pub copy_took: Duration,
    /// Bytes of rows that were copied, about; of a verification, of the values that were compared on both sides.
    pub bytes: u64,
    /// The old side was changed while it was copied.
    pub changed_meanwhile: bool,
    /// The state that a verification's result was kept in, for the migration's gates to look at.
    pub kept_in: Option<PathBuf>,
    /// What of the mapping is another than the one that the migration's run goes by.
    pub spec_changed: Vec<String>,
    /// Rows that are equal only with changes that wait in the log, and that no run is there to carry.
    pub waiting: u64,
}

impl JobReport {
    /// Whether both sides are equal, every row could be carried, and nothing changed meanwhile or waits for a run.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.changed_meanwhile && self.waiting == 0 && self.tables.iter().all(|table| table.wrong() == 0)
    }
}

/// Something that a run has installed, if any has: what a cut-off `copy` leaves are chunk marks alone.
async fn installed_by_a_run(sides: &Sides) -> Result<Option<(Side, String)>, StoreError> {
    // What migrations share has none's name.
    let of_a_run = |what: &String| what.contains(':');
    for (side, keeper) in &sides.keepers {
        if let Some(what) = keeper.installed().await?.into_iter().find(of_a_run) {
            return Ok(Some((*side, what)));
        }
    }
    Ok(None)
}
