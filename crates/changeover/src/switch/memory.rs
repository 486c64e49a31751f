//! The step file: an instance's identity and the last target that it executed, so that it can start again while
//! the control plane is away.
//!
//! A small text of lines, ended by a checksum: a file that was cut off or changed by hand is as good as none. It is
//! written beside itself and renamed over, with the file and its folder synced.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use changeover_protocol::member::{InstanceId, Remembered};
use changeover_protocol::slots::{Slot, SlotRange};
use changeover_protocol::target::{Assignment, Direction, Target, Version};
use changeover_protocol::time::Millis;

const HEAD: &str = "changeover step file 1";

/// Where an instance remembers its step.
#[derive(Debug, Clone)]
pub struct StepFile {
    path: PathBuf,
    migration: String,
}

/// What went wrong with a step file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The file system said no.
    #[error("step file {path}: {doing} failed: {cause}. The instance can't acknowledge steps until it can")]
    Io {
        /// The file.
        path: String,
        /// What was being done.
        doing: &'static str,
        /// The cause.
        cause: io::Error,
    },
    /// It is there, and isn't a step file of this migration as it was written.
    #[error("step file {path}: {problem}. Delete it if the instance that it names is gone for good")]
    Invalid {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The runtime is shutting down.
    #[error("the runtime is shutting down")]
    Stopped,
}

impl StepFile {
    /// The step file of an instance of this migration at this path. Each instance has its own.
    pub fn new(path: impl Into<PathBuf>, migration: impl Into<String>) -> Self {
        Self { path: path.into(), migration: migration.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says; `None` if there is none.
    ///
    /// # Errors
    /// The file can't be read, or isn't what was written. It is never guessed at.
    pub fn read(&self) -> Result<Option<Remembered>, MemoryError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(self.io("reading", cause)),
        };
        let invalid = |problem: String| MemoryError::Invalid { path: self.shown(), problem };
        let (body, sum) = text
            .rsplit_once("sum ")
            .ok_or_else(|| invalid("it has no checksum: it was cut off, or is no step file".to_owned()))?;
        if sum.trim_end() != checksum(body) {
            return Err(invalid("its checksum is wrong: it was cut off or changed".to_owned()));
        }
        parse(body, &self.migration).map(Some).map_err(invalid)
    }

    /// Writes it, durably.
    pub(super) fn write(&self, remembered: &Remembered) -> Result<(), MemoryError> {
        let body = render(remembered, &self.migration);
        let mut beside = self.path.clone().into_os_string();
        beside.push(".next");
        let beside = PathBuf::from(beside);
        let write = || {
            let mut file = File::create(&beside)?;
            writeln!(file, "{body}sum {}", checksum(&body))?;
            file.sync_all()
        };
        write().map_err(|cause| self.io("writing", cause))?;
        fs::rename(&beside, &self.path).map_err(|cause| self.io("renaming", cause))?;
        self.sync_folder()
    }

    /// Deletes it, durably. One that isn't there is deleted.
    pub(super) fn delete(&self) -> Result<(), MemoryError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io("deleting", error)),
            _ => self.sync_folder(),
        }
    }

    fn sync_folder(&self) -> Result<(), MemoryError> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|cause| self.io("syncing", cause))
    }

    fn io(&self, doing: &'static str, cause: io::Error) -> MemoryError {
        MemoryError::Io { path: self.shown(), doing, cause }
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

fn checksum(body: &str) -> String {
    // The two halves of a 64-bit sum by the slots' hash: enough against a torn file, and nobody forges this one.
    let low = Slot::of("low", body.as_bytes()).number();
    let high = Slot::of("high", body.as_bytes()).number();
    format!("{low:03x}{high:03x}-{}", body.len())
}

fn render(remembered: &Remembered, migration: &str) -> String {
    let target = &remembered.target;
    let mut text = format!("{HEAD}\nmigration {migration}\ninstance {}\n", remembered.instance);
    let direction = match target.direction {
        Direction::Forward => "forward",
        Direction::Back => "back",
    };
    // Writing into memory doesn't fail.
    let _ =
        writeln!(text, "version {}\ndirection {direction}\nphase {}", target.version.0, target.phase_shown);
    let _ = writeln!(text, "lease-ms {}", target.hold_lease_ms.0);
    if let Some(budget) = target.hold_budget_ms {
        let _ = writeln!(text, "budget-ms {}", budget.0);
    }
    if let Some(cut_off) = target.cut_off_ms {
        let _ = writeln!(text, "cut-off-ms {}", cut_off.0);
    }
    for Assignment { slots, step } in &target.assignments {
        let _ = writeln!(text, "slots {} {} {step}", slots.from, slots.to);
    }
    text
}

fn parse(body: &str, migration: &str) -> Result<Remembered, String> {
    let mut lines = body.lines();
    if lines.next() != Some(HEAD) {
        return Err(format!("its first line isn't `{HEAD}`"));
    }
    let mut instance = None;
    let mut target = Target {
        version: Version(0),
        direction: Direction::Forward,
        assignments: Vec::new(),
        phase_shown: changeover_protocol::Phase::Old,
        hold_budget_ms: None,
        hold_lease_ms: Millis(0),
        cut_off_ms: None,
    };
    for line in lines {
        let (word, rest) = line.split_once(' ').ok_or_else(|| format!("the line `{line}` isn't known"))?;
        match word {
            "migration" if rest == migration => {}
            "migration" => return Err(format!("it belongs to the migration `{rest}`, not `{migration}`")),
            "instance" => instance = Some(InstanceId::new(rest)),
            "version" => target.version = Version(number(rest)?),
            "direction" if rest == "back" => target.direction = Direction::Back,
            "direction" => target.direction = Direction::Forward,
            "phase" => target.phase_shown = rest.parse().map_err(|e| format!("{e}"))?,
            "lease-ms" => target.hold_lease_ms = Millis(number(rest)?),
            "budget-ms" => target.hold_budget_ms = Some(Millis(number(rest)?)),
            "cut-off-ms" => target.cut_off_ms = Some(Millis(number(rest)?)),
            "slots" => target.assignments.push(assignment(rest)?),
            _ => return Err(format!("the line `{line}` isn't known")),
        }
    }
    target.validate().map_err(|error| error.to_string())?;
    let instance = instance.ok_or("it names no instance")?;
    Ok(Remembered { instance, target })
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn assignment(text: &str) -> Result<Assignment, String> {
    let parts: Vec<&str> = text.split(' ').collect();
    let [from, to, step] = parts[..] else { return Err(format!("`{text}` is no run of slots")) };
    let step = step.parse().map_err(|e| format!("{e}"))?;
    Ok(Assignment { slots: SlotRange { from: number(from)?, to: number(to)? }, step })
}

#[cfg(test)]
mod tests {
    use super::*;
    use changeover_protocol::{Phase, Step};

    fn remembered() -> Remembered {
        let mut target = Target::uniform(Version(7), Step::HoldOld, Phase::Shadow, Millis(500));
        target.direction = Direction::Back;
        target.hold_budget_ms = Some(Millis(2_000));
        target.assignments = vec![
            Assignment { slots: SlotRange { from: 0, to: 103 }, step: Step::HoldOld },
            Assignment { slots: SlotRange { from: 103, to: 1024 }, step: Step::Shadow },
        ];
        Remembered { instance: InstanceId::new("a-1"), target }
    }

    #[test]
    fn what_was_written_is_read_again_and_a_deleted_file_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let file = StepFile::new(folder.path().join("step"), "bookings");
        assert_eq!(file.read().unwrap(), None);
        file.write(&remembered()).unwrap();
        assert_eq!(file.read().unwrap(), Some(remembered()));
        file.delete().unwrap();
        file.delete().unwrap();
        assert_eq!(file.read().unwrap(), None);
    }

    #[test]
    fn a_file_cut_off_anywhere_or_of_another_migration_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step");
        let file = StepFile::new(&path, "bookings");
        file.write(&remembered()).unwrap();
        let whole = fs::read(&path).unwrap();
        for end in 0..whole.len() - 1 {
            fs::write(&path, &whole[..end]).unwrap();
            assert!(matches!(file.read(), Err(MemoryError::Invalid { .. })), "cut at {end}");
        }
        fs::write(&path, &whole).unwrap();
        let error = StepFile::new(&path, "orders").read().unwrap_err();
        assert!(error.to_string().contains("bookings"), "{error}");
    }
}
