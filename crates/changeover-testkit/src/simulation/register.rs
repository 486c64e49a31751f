//! What the simulated service's keys are, and what its readers may see.
//!
//! Each key is a register with one writer at a time, who writes 1, 2, 3, …. So a history is linearizable exactly when
//! no read is older than a write acknowledged before it began, none is newer than what was begun by its end, and none is
//! older than another read that ended before it began. This needs no search, and nothing of the engine.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use changeover::value::{Key, Row, Value};
use tokio::time::Instant;

use super::TABLE;

pub(super) fn key(id: u64) -> Key {
    Key::new(TABLE, id as i64)
}

/// The row of a key.
#[must_use]
pub fn row(id: u64, version: u64) -> Row {
    Row(vec![Value::Int(id as i64), Value::Int(version as i64)])
}

/// The version in a row; 0 where there is none.
pub(super) fn version(row: Option<&Row>) -> u64 {
    match row.and_then(|row| row.0.get(1)) {
        Some(Value::Int(n)) => u64::try_from(*n).unwrap_or(0),
        _ => 0,
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Register {
    begun: u64,
    acknowledged: u64,
    /// The highest version that a read which has ended saw.
    seen: u64,
}

#[derive(Debug, Default)]
struct State {
    registers: Vec<Register>,
    reads: u64,
    writes: u64,
    refused: u64,
    wrong: Option<String>,
    trace: u64,
    began: Option<Instant>,
}

impl State {
    /// What happened, and when.
    fn note(&mut self, what: &str, id: u64, version: u64) {
        let mut hasher = DefaultHasher::new();
        (self.trace, what, id, version, self.began.map(|began| began.elapsed())).hash(&mut hasher);
        self.trace = hasher.finish();
    }
}

/// All keys.
#[derive(Debug)]
pub struct Registers(Mutex<State>);

impl Registers {
    /// So many keys, none of them written.
    #[must_use]
    pub fn new(keys: u64) -> Self {
        let registers = vec![Register::default(); keys as usize];
        Self(Mutex::new(State { registers, began: Some(Instant::now()), ..State::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version that the next write of this key writes.
    pub(super) fn begin_write(&self, id: u64) -> u64 {
        let mut state = self.state();
        let register = &mut state.registers[id as usize];
        register.begun += 1;
        let version = register.begun;
        state.note("begun", id, version);
        version
    }

    pub(super) fn acknowledged(&self, id: u64, version: u64) {
        let mut state = self.state();
        state.writes += 1;
        state.note("acknowledged", id, version);
        let register = &mut state.registers[id as usize];
        register.acknowledged = register.acknowledged.max(version);
    }

    pub(super) fn refused(&self) {
        self.state().refused += 1;
    }

    /// The least that a read which begins now may see.
    pub(super) fn begin_read(&self, id: u64) -> u64 {
        let register = self.state().registers[id as usize];
        register.acknowledged.max(register.seen)
    }

    pub(super) fn read(&self, id: u64, least: u64, seen: u64, what: &str) {
        let mut state = self.state();
        state.reads += 1;
        state.note(what, id, seen);
        let begun = state.registers[id as usize].begun;
        let register = &mut state.registers[id as usize];
        register.seen = register.seen.max(seen);
        if seen < least || seen > begun {
            let wrong = format!("key {id}: a read {what} saw {seen}, and had to see {least} to {begun}");
            state.wrong.get_or_insert(wrong);
        }
    }

    /// Reads, writes acknowledged, operations refused.
    #[must_use]
    pub fn counts(&self) -> (u64, u64, u64) {
        let state = self.state();
        (state.reads, state.writes, state.refused)
    }

    pub(super) fn trace(&self) -> u64 {
        self.state().trace
    }

    /// Whether every read was as fresh as it had to be.
    ///
    /// # Errors
    /// What was found wrong first.
    pub fn verdict(&self) -> Result<(), String> {
        self.state().wrong.clone().map_or(Ok(()), Err)
    }

    /// Compares the authority's rows at rest with what was acknowledged.
    ///
    /// # Errors
    /// A write that is lost, or was never begun.
    pub fn check_rows(&self, rows: &[Row]) -> Result<(), String> {
        let state = self.state();
        for (id, register) in state.registers.iter().enumerate() {
            let there = version(rows.iter().find(|row| row.0[0] == Value::Int(id as i64)));
            if there < register.acknowledged || there > register.begun {
                return Err(format!(
                    "key {id} is {there} at rest, and {} was acknowledged ({} begun)",
                    register.acknowledged, register.begun
                ));
            }
        }
        Ok(())
    }
}
