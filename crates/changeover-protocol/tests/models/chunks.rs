//! The second model of the design: writers, workers that sync what a log names, a backfill, and one crash.
//!
//! It runs the machines of `chunk` and `claim` as they are. A broken variant is made here, by carrying out the
//! machines' actions in another order or by answering them falsely. One key in one chunk: the rules speak of
//! each key by itself. What is checked: *at rest*, with the log empty and the chunk done, both sides are equal.

use crate::search::{Expect, check, is_full};
use changeover_protocol::chunk::{
    ChunkAction, ChunkCopy, ChunkEvent, ChunkMark, Progress, Reading, progress,
};
use changeover_protocol::claim::{ClaimAction, ClaimEvent, ClaimRun};
use changeover_protocol::control::Generation;
use stateright::{Model, Property};

const GENERATION: Generation = Generation(2);

/// A row's value; `None` is no row.
type Row = Option<u8>;

/// How the harness departs from the machines, if it does.
#[derive(Debug, Clone, Copy, Default)]
struct Variant {
    state_before_claim: bool,
    read_before_begun: bool,
    no_guard: bool,
    delete_before_commit: bool,
    sync_while_under_way: bool,
    write_rows: WriteRows,
    lagging_replica: Replica,
    attempts_ignored: bool,
    old_marks_count: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum WriteRows {
    #[default]
    Replaced,
    Upserted,
    IfAbsent,
}

/// Where chunks are read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Replica {
    /// On the primary.
    #[default]
    None,
    /// On a replica, once it has replayed what the primary had after *begun*.
    Awaited,
    /// On a replica, as it is.
    Lagging,
}

#[derive(Debug, Clone)]
struct Chunks {
    variant: Variant,
    /// What each writer writes, in order.
    writes: Vec<Vec<Row>>,
    workers: usize,
    copiers: usize,
    crashes: u8,
    /// The row, and the chunk's mark, of an earlier generation.
    before: (Row, Option<ChunkMark>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Worker {
    run: Option<ClaimRun>,
    claimed: u8,
    seen: Option<Progress>,
    read: Row,
    /// Its transaction on the follower holds the guard, with what it will commit.
    guarded: bool,
    written: Option<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Copier {
    copy: Option<ChunkCopy>,
    read: Option<Row>,
    /// How many changes the primary had after *begun*.
    position: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    authority: Row,
    /// What the authority was after each change; a replica has replayed some of them.
    history: Vec<Row>,
    replayed: u8,
    follower: Row,
    mark: Option<ChunkMark>,
    /// Entries of the log, one bit for each change.
    log: u8,
    written: Vec<u8>,
    workers: Vec<Worker>,
    copiers: Vec<Copier>,
    crashes: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Action {
    Write(usize),
    Replay,
    Work(usize),
    Copy(usize),
    CrashWorker(usize),
    CrashCopier(usize),
}

const IDLE: Worker = Worker { run: None, claimed: 0, seen: None, read: None, guarded: false, written: None };
const UNUSED: Copier = Copier { copy: None, read: None, position: 0 };

impl Chunks {
    fn mark_seen(&self, state: &State) -> Option<ChunkMark> {
        match state.mark {
            // As if marks carried no generation.
            Some(mark) if self.variant.old_marks_count => Some(ChunkMark { generation: GENERATION, ..mark }),
            mark => mark,
        }
    }

    fn chunk_progress(&self, state: &State) -> Progress {
        match progress(self.mark_seen(state), GENERATION) {
            Progress::UnderWay if self.variant.sync_while_under_way => Progress::Done,
            progress => progress,
        }
    }

    fn is_same_mark(&self, found: Option<ChunkMark>, begun: ChunkMark) -> bool {
        match found {
            Some(found) if self.variant.attempts_ignored => found.generation == begun.generation,
            found => found == Some(begun),
        }
    }

    fn work(&self, state: &mut State, n: usize) -> Option<()> {
        let mut worker = state.workers[n].clone();
        let run = worker.run.unwrap_or_default();
        let mut event = ClaimEvent::Succeeded;
        match run.action() {
            ClaimAction::Claim => {
                if self.variant.state_before_claim && worker.seen.is_none() {
                    worker.seen = Some(self.chunk_progress(state));
                    state.workers[n] = worker;
                    return Some(());
                }
                if state.log == 0 {
                    return None;
                }
                worker.claimed = state.log;
            }
            ClaimAction::ReadChunkState => {
                let seen = worker.seen.take().unwrap_or_else(|| self.chunk_progress(state));
                event = ClaimEvent::Chunk(seen);
            }
            ClaimAction::TakeGuard => {
                let held = state.workers.iter().any(|w| w.guarded);
                if held && !self.variant.no_guard {
                    return None;
                }
                worker.guarded = true;
            }
            ClaimAction::ReadAuthority => worker.read = state.authority,
            ClaimAction::WriteFollower => {
                worker.written = Some(worker.read);
                if self.variant.delete_before_commit {
                    state.log &= !worker.claimed;
                }
            }
            ClaimAction::CommitFollower => {
                state.follower = worker.written.take().unwrap();
                worker.guarded = false;
            }
            ClaimAction::DeleteClaim => state.log &= !worker.claimed,
            ClaimAction::GiveBack | ClaimAction::Finished => {}
        }
        let next = run.after(event);
        let is_over = next.action() == ClaimAction::Finished;
        worker.run = Some(next);
        state.workers[n] = if is_over { IDLE } else { worker };
        Some(())
    }

    fn copy(&self, state: &mut State, n: usize) -> Option<()> {
        let mut copier = state.copiers[n].clone();
        let seen = self.mark_seen(state);
        let copy = copier.copy.unwrap_or_else(|| ChunkCopy::new(seen, GENERATION, Reading::Logged));
        let mut event = ChunkEvent::Succeeded;
        match copy.action() {
            ChunkAction::MarkBegun(mark) => {
                if self.variant.read_before_begun && copier.read.is_none() {
                    copier.read = Some(state.authority);
                    copier.copy = Some(copy);
                    state.copiers[n] = copier;
                    return Some(());
                }
                let seen = seen.filter(|seen| seen.generation == GENERATION);
                if seen.map_or(0, |seen| seen.attempt) + 1 != mark.attempt || seen.is_some_and(|m| m.done) {
                    event = ChunkEvent::MarkChanged;
                } else {
                    state.mark = Some(mark);
                    copier.position = state.history.len() as u8;
                }
            }
            ChunkAction::ReadRows => {
                if copier.read.is_none() {
                    copier.read = Some(self.read_rows(state, &copier)?);
                }
            }
            ChunkAction::WriteRowsAndDone { begun, done } => {
                if self.is_same_mark(state.mark, begun) {
                    state.mark = Some(done);
                    let rows = copier.read.unwrap();
                    state.follower = match self.variant.write_rows {
                        WriteRows::Replaced => rows,
                        WriteRows::Upserted => rows.or(state.follower),
                        WriteRows::IfAbsent => state.follower.or(rows),
                    };
                } else {
                    event = ChunkEvent::MarkChanged;
                }
            }
            ChunkAction::Finished | ChunkAction::Leave if copier.copy.is_some() => return None,
            ChunkAction::Finished | ChunkAction::Leave => {}
            ChunkAction::TakeRangeGuard => unreachable!("the log names what changed"),
        }
        copier.copy = Some(copy.after(event));
        state.copiers[n] = copier;
        Some(())
    }

    fn read_rows(&self, state: &State, copier: &Copier) -> Option<Row> {
        match self.variant.lagging_replica {
            Replica::None => Some(state.authority),
            Replica::Awaited if state.replayed < copier.position => None,
            Replica::Awaited | Replica::Lagging => Some(state.history[usize::from(state.replayed) - 1]),
        }
    }

    fn is_at_rest(&self, state: &State) -> bool {
        let all_written =
            state.written.iter().zip(&self.writes).all(|(n, list)| usize::from(*n) == list.len());
        let idle = state.workers.iter().all(|w| w.run.is_none());
        let copied = state.copiers.iter().all(|c| {
            c.copy.is_some_and(|c| matches!(c.action(), ChunkAction::Finished | ChunkAction::Leave))
        });
        all_written && idle && copied && state.log == 0 && self.chunk_progress(state) == Progress::Done
    }
}

impl Model for Chunks {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            authority: Some(0),
            history: vec![Some(0)],
            replayed: 1,
            follower: self.before.0,
            mark: self.before.1,
            log: 0,
            written: vec![0; self.writes.len()],
            workers: vec![IDLE; self.workers],
            copiers: vec![UNUSED; self.copiers],
            crashes: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend((0..self.writes.len()).map(Action::Write));
        actions.extend((0..self.workers).map(Action::Work));
        actions.extend((0..self.copiers).map(Action::Copy));
        if usize::from(state.replayed) < state.history.len() && self.variant.lagging_replica != Replica::None
        {
            actions.push(Action::Replay);
        }
        if state.crashes < self.crashes {
            actions.extend((0..self.workers).map(Action::CrashWorker));
            actions.extend((0..self.copiers).map(Action::CrashCopier));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Write(n) => {
                let row = *self.writes[n].get(usize::from(state.written[n]))?;
                state.authority = row;
                state.log |= 1 << (state.history.len() - 1);
                state.history.push(row);
                state.written[n] += 1;
            }
            Action::Replay => state.replayed += 1,
            Action::Work(n) => self.work(&mut state, n)?,
            Action::Copy(n) => self.copy(&mut state, n)?,
            Action::CrashWorker(n) => {
                state.workers[n] = IDLE;
                state.crashes += 1;
            }
            Action::CrashCopier(n) => {
                state.copiers[n] = UNUSED;
                state.crashes += 1;
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("sides equal at rest", |model: &Self, state: &State| {
                !model.is_at_rest(state) || state.authority == state.follower
            }),
            // Without this the other could hold because nothing ever comes to rest.
            Property::sometimes("comes to rest", |model: &Self, state: &State| model.is_at_rest(state)),
        ]
    }
}

/// Two writers that update, delete and insert again; two workers; one backfill; one crash of any of them. The
/// follower has a row and a mark of an earlier generation.
fn chunks(variant: Variant) -> Chunks {
    let writes = vec![vec![Some(1), None], vec![Some(2)]];
    let mark = ChunkMark { generation: Generation(1), attempt: 1, done: true };
    Chunks { variant, writes, workers: 2, copiers: 1, crashes: 1, before: (Some(7), Some(mark)) }
}

/// What is sound is searched with one more write, if larger bounds are asked for.
fn sound(name: &str, mut model: Chunks) {
    if is_full() {
        model.writes[1].push(Some(3));
    }
    check(name, model, Expect::Sound);
}

fn broken(name: &str, variant: Variant) {
    check(name, chunks(variant), Expect::Violates("sides equal at rest"));
}

#[test]
fn the_rules_keep_both_sides_equal() {
    sound("chunks: the rules as they are", chunks(Variant::default()));
}

#[test]
fn a_chunk_can_be_taken_over_from_a_paused_worker() {
    let two_copiers = |variant| Chunks { copiers: 2, crashes: 0, workers: 1, ..chunks(variant) };
    sound("chunks: taken over", two_copiers(Variant::default()));
    let ignored = Variant { attempts_ignored: true, ..Variant::default() };
    let expected = Expect::Violates("sides equal at rest");
    check("chunks: taken over, attempts ignored", two_copiers(ignored), expected);
}

#[test]
fn chunk_state_read_before_the_claim_loses_a_change() {
    broken("chunks: state read before claim", Variant { state_before_claim: true, ..Variant::default() });
}

#[test]
fn begun_marked_after_the_read_loses_a_change() {
    broken("chunks: begun after read", Variant { read_before_begun: true, ..Variant::default() });
}

#[test]
fn two_workers_need_a_guard_and_one_does_not() {
    let variant = Variant { no_guard: true, ..Variant::default() };
    broken("chunks: two workers, no guard", variant);
    sound("chunks: one worker, no guard", Chunks { workers: 1, ..chunks(variant) });
}

#[test]
fn a_claim_deleted_before_the_commit_is_lost_in_a_crash() {
    let variant = Variant { delete_before_commit: true, ..Variant::default() };
    broken("chunks: claim deleted before commit", variant);
    sound("chunks: the same, no crash", Chunks { crashes: 0, workers: 1, ..chunks(variant) });
}

#[test]
fn a_key_synced_while_its_chunk_is_under_way_is_overwritten() {
    for (name, write_rows) in [
        ("chunks: synced under way, upserted", WriteRows::Upserted),
        ("chunks: synced under way, replaced", WriteRows::Replaced),
    ] {
        broken(name, Variant { sync_while_under_way: true, write_rows, ..Variant::default() });
    }
}

#[test]
fn a_row_deleted_while_its_chunk_is_under_way_comes_back() {
    let variant =
        Variant { sync_while_under_way: true, write_rows: WriteRows::IfAbsent, ..Variant::default() };
    let model = Chunks { before: (None, None), ..chunks(variant) };
    check("chunks: synced under way, if absent", model, Expect::Violates("sides equal at rest"));
}

#[test]
fn a_lagging_replica_must_have_replayed_what_was_there_after_begun() {
    let at = |lagging_replica| Variant { lagging_replica, ..Variant::default() };
    sound("chunks: replica awaited", chunks(at(Replica::Awaited)));
    broken("chunks: replica as it is", at(Replica::Lagging));
}

#[test]
fn marks_of_an_earlier_generation_must_not_count() {
    let variant = Variant { old_marks_count: true, ..Variant::default() };
    // A row that nobody writes any more is only ever brought by the copy.
    let model = Chunks { writes: vec![vec![]], ..chunks(variant) };
    check("chunks: old marks count", model, Expect::Violates("sides equal at rest"));
}
