//! Sync: the one primitive. Take the keys' guard on the follower, read the authority *now*, write that state.
//!
//! A set of keys goes in one transaction. Where a row of the set wants a unique value that a row outside of it
//! holds, that row joins the set and all begins again: two rows that exchanged a value would never converge one by
//! one. Where the follower has no guarded transactions, each key goes round a loop of conditional puts.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use changeover_protocol::Side;
use changeover_protocol::claim::Verdict;
use changeover_protocol::fault::FaultPoint;

use super::pair::{Covered, Links, same};
use crate::error::StoreError;
use crate::faults::fault_point;
use crate::store::conditional::Conditional;
use crate::store::guard::{Applied, Change, Guarded, GuardedTx, Scope};
use crate::store::{Image, Refusal, Rows, Store};
use crate::value::{Key, Row, TableName};

/// How many rows may join a set.
const JOINED_MAX: usize = 4_096;
/// How often a set may grow.
const JOIN_ROUNDS_MAX: usize = 256;
/// How often a conditional put is tried for one key before it is given up for now.
const PUT_ROUNDS_MAX: usize = 64;
/// How many bytes of rows are in memory at once, of one set and image; a single row may be larger.
const SET_BYTES: usize = 8 << 20;
/// How often keys that the old side refused are tried before that is believed: the row and its write-back image are two
/// reads, and a change between them looks like a row that can't be carried.
const BACK_TRIES: usize = 3;

/// What became of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The follower's row is what the authority's was, at a moment after the call.
    Synced,
    /// Its chunk isn't begun: the backfill will read it.
    LeftToBackfill,
    /// Its chunk is being copied: it has to be synced after that.
    Deferred,
    /// The row can't be carried.
    Refused(Refusal),
}

/// What came of a sync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Synced {
    /// What became of each key, in the order in which they were given.
    pub fates: Vec<Fate>,
    /// Rows inserted or updated.
    pub written: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// Rows that were right already.
    pub unchanged: u64,
    /// Rows that joined because of a unique value.
    pub joined: u64,
}

impl Synced {
    fn count(&mut self, applied: &Applied) {
        self.written += applied.written;
        self.deleted += applied.deleted;
        self.unchanged += applied.unchanged;
    }
}

/// Whether a key's chunk has a say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judge {
    /// By the state of its chunk.
    Chunks,
    /// The caller knows that the key may be synced now: what its chunk's read brings later is no older.
    Caller,
}

impl Links {
    /// Syncs these keys: whatever the authority's rows are, the follower's shall be. Idempotent; may be dropped at any
    /// await. Keys may be of several mappings, and of any number of stores.
    ///
    /// # Errors
    /// What a store meets. Some keys may have been synced: all may be given again.
    pub async fn sync(&self, authority: Side, keys: &[Key]) -> Result<Synced, StoreError> {
        self.sync_by(authority, keys, Judge::Chunks).await
    }

    pub(super) async fn sync_by(
        &self,
        authority: Side,
        keys: &[Key],
        judge: Judge,
    ) -> Result<Synced, StoreError> {
        let tries = if authority == Side::New { BACK_TRIES } else { 1 };
        let mut synced = Synced { fates: vec![Fate::Deferred; keys.len()], ..Synced::default() };
        let mut places: Vec<usize> = (0..keys.len()).collect();
        for _ in 0..tries {
            for (route, places) in self.routes(authority, keys, &places)? {
                route.run(keys, places, judge, &mut synced).await?;
            }
            places.retain(|&at| matches!(synced.fates[at], Fate::Refused(_)));
            if places.is_empty() {
                break;
            }
        }
        Ok(synced)
    }

    /// The keys at these places by the stores that they go between, in the order of the mappings.
    fn routes(
        &self,
        authority: Side,
        keys: &[Key],
        places: &[usize],
    ) -> Result<Vec<(Route<'_>, Vec<usize>)>, StoreError> {
        let mut routes: Vec<(Route<'_>, Vec<usize>)> = Vec::new();
        let mut ranked: Vec<(usize, usize)> = places
            .iter()
            .map(|&at| Ok((self.place_of(&keys[at].table)?, at)))
            .collect::<Result<_, StoreError>>()?;
        ranked.sort_unstable();
        for (rank, at) in ranked {
            let link = &self.links()[rank];
            let (from, to) = (link.store(authority), link.store(authority.other()));
            match routes.iter_mut().find(|(r, _)| same(r.authority, from) && same(r.follower, to)) {
                Some((_, places)) => places.push(at),
                None => routes
                    .push((Route { links: self, side: authority, authority: from, follower: to }, vec![at])),
            }
        }
        Ok(routes)
    }
}

/// One authority and one follower.
struct Route<'a> {
    links: &'a Links,
    side: Side,
    authority: &'a Arc<dyn Store>,
    follower: &'a Arc<dyn Store>,
}

impl Route<'_> {
    async fn run(
        &self,
        keys: &[Key],
        places: Vec<usize>,
        judge: Judge,
        synced: &mut Synced,
    ) -> Result<(), StoreError> {
        let mut work = VecDeque::from([places]);
        while let Some(places) = work.pop_front() {
            let set: Vec<Key> = places.iter().map(|&at| keys[at].clone()).collect();
            match self.level(&set, judge, synced).await {
                Ok(fates) => {
                    let (now, later) = places.split_at(fates.len());
                    now.iter().zip(fates).for_each(|(&at, fate)| synced.fates[at] = fate);
                    if !later.is_empty() {
                        work.push_front(later.to_vec());
                    }
                }
                Err(StoreError::TooManyConflicts { .. }) if places.len() > 1 => {
                    let (left, right) = places.split_at(places.len() / 2);
                    work.extend([left.to_vec(), right.to_vec()]);
                }
                Err(error @ StoreError::TooManyConflicts { .. }) => {
                    synced.fates[places[0]] = Fate::Refused(refusal(&set[0], &error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What becomes of the first keys of the set: of as many as there is room for, one at least.
    async fn level(&self, set: &[Key], judge: Judge, synced: &mut Synced) -> Result<Vec<Fate>, StoreError> {
        if let Some(guarded) = self.follower.guarded() {
            return self.level_guarded(guarded, set, judge, synced).await;
        }
        let Some(conditional) = self.follower.conditional() else {
            return Err(StoreError::Refused {
                store: self.follower.info().name.clone(),
                doing: "looking for a way to write a follower".into(),
                cause: "it has neither guarded transactions nor conditional puts".into(),
                remedy: "It can't be a follower.".into(),
            });
        };
        let mut fates = Vec::with_capacity(set.len());
        for key in set {
            fates.push(self.level_conditional(conditional, key, synced).await?);
        }
        Ok(fates)
    }

    /// As much of the set as there is room for, and whatever joins that, in one transaction.
    async fn level_guarded(
        &self,
        guarded: &dyn Guarded,
        mut asked: &[Key],
        judge: Judge,
        synced: &mut Synced,
    ) -> Result<Vec<Fate>, StoreError> {
        let mut set = asked.to_vec();
        for _ in 0..JOIN_ROUNDS_MAX {
            let covered = self.covered(judge);
            if let Covered::Generation(marks) = &covered {
                for table in tables(asked) {
                    marks.load(guarded, table).await?;
                }
            }
            let mut tx = guarded.begin(Scope::Keys(&set)).await?;
            fault_point(FaultPoint::ClaimGuardTaken).await?;
            // The wait may have been long. By the word of before, a key would be synced between the read of its chunk and
            // its write, or be left to a generation that is over.
            if !self.covered(judge).is(&covered) {
                continue;
            }
            let mut fates = self.judge(&covered, tx.as_mut(), asked).await?;
            fault_point(FaultPoint::ClaimStateRead).await?;
            let places: Vec<usize> =
                (0..set.len()).filter(|at| fates.get(*at).is_none_or(|fate| *fate == Fate::Synced)).collect();
            if places.is_empty() {
                return Ok(fates);
            }
            let wanted: Vec<Key> = places.iter().map(|&at| set[at].clone()).collect();
            // Rows that have joined go together with those that they have joined.
            let room = if set.len() > asked.len() { usize::MAX } else { SET_BYTES };
            let (changes, mut refused, read) = self.read(&wanted, room).await?;
            if let Some(&end) = places.get(read) {
                asked = &asked[..end];
                set.truncate(end);
                fates.truncate(end);
            }
            fault_point(FaultPoint::ClaimAuthorityRead).await?;
            let applied = tx.apply(&changes).await?;
            if !applied.joins.is_empty() {
                let joins = self.with_theirs(tx.as_mut(), &set, applied.joins).await?;
                drop(tx);
                self.join(&mut set, asked.len(), joins)?;
                continue;
            }
            fault_point(FaultPoint::ClaimFollowerWritten).await?;
            tx.commit().await?;
            fault_point(FaultPoint::ClaimFollowerCommitted).await?;
            synced.count(&applied);
            synced.joined += (set.len() - asked.len()) as u64;
            refused.extend(applied.refused);
            name_refused(asked, &mut fates, refused);
            return Ok(fates);
        }
        Err(self.too_many(&set[0]))
    }

    fn covered(&self, judge: Judge) -> Covered {
        if judge == Judge::Caller { Covered::All } else { self.links.covered(self.side.other()) }
    }

    /// What the chunks say of the keys that were asked for; `Synced` is the promise that this call is to keep.
    async fn judge(
        &self,
        covered: &Covered,
        tx: &mut dyn GuardedTx,
        asked: &[Key],
    ) -> Result<Vec<Fate>, StoreError> {
        let marks = match covered {
            Covered::All => return Ok(vec![Fate::Synced; asked.len()]),
            Covered::Nothing => return Ok(vec![Fate::LeftToBackfill; asked.len()]),
            Covered::Generation(marks) => marks,
        };
        let mut fates = Vec::with_capacity(asked.len());
        for run in asked.chunk_by(|a, b| a.table == b.table) {
            let table = &run[0].table;
            let order = self.links.link(table)?.shape(self.side).order;
            let verdicts = marks.verdicts(self.authority.as_ref(), order, tx, table, run).await?;
            fates.extend(verdicts.into_iter().map(|verdict| match verdict {
                Verdict::Sync => Fate::Synced,
                Verdict::Drop => Fate::LeftToBackfill,
                Verdict::GiveBack => Fate::Deferred,
            }));
        }
        Ok(fates)
    }

    /// The authority's rows as they are now, and those that can't be read: of as many of the keys as fit, and how many those
    /// are. Only keys that come in the order of the mappings may be too many.
    async fn read(
        &self,
        keys: &[Key],
        room: usize,
    ) -> Result<(Vec<Change>, Vec<Refusal>, usize), StoreError> {
        let (mut changes, mut refused) = (Vec::with_capacity(keys.len()), Vec::new());
        let mut by_table = keys.to_vec();
        // Stable: the keys of a mapping stay in their order, and mappings in theirs, joined ones included.
        by_table.sort_by_key(|key| self.links.place_of(&key.table).unwrap_or(usize::MAX));
        let (mut count, mut left) = (0, room);
        for run in by_table.chunk_by(|a, b| a.table == b.table) {
            if left == 0 {
                break;
            }
            let read = self.read_run(run, left, &mut refused).await?;
            count += read.len();
            let size: usize = read.iter().filter_map(|change| change.row.as_ref()).map(Row::size).sum();
            left = if read.len() < run.len() { 0 } else { left.saturating_sub(size) };
            changes.extend(read);
        }
        if !refused.is_empty() {
            let named: HashSet<&Key> = refused.iter().map(|refusal| &refusal.key).collect();
            changes.retain(|change| !named.contains(&change.key));
        }
        Ok((changes, refused, count))
    }

    /// Keys of one mapping: the first of them, as many as there is room for.
    async fn read_run(
        &self,
        run: &[Key],
        room: usize,
        refused: &mut Vec<Refusal>,
    ) -> Result<Vec<Change>, StoreError> {
        let table = &run[0].table;
        // One that has joined may be of another mapping, whose rows come from another source.
        let store = self.links.link(table)?.store(self.side).as_ref();
        let mut read = read_some(store, table, run, Image::Canonical, room).await?;
        let mut backs = vec![None; read.rows.len()];
        if self.side == Side::New {
            let mut back = read_some(store, table, &run[..read.rows.len()], Image::Back, room).await?;
            read.refused.append(&mut back.refused);
            backs = back.rows;
        }
        let rows = run.iter().zip(read.rows.into_iter().zip(backs));
        let changes: Vec<Change> =
            rows.map(|(key, (row, back))| Change { key: key.clone(), row, back }).collect();
        // One of a row that there was no room for is found again with it.
        let within: HashSet<&Key> = run[..changes.len()].iter().collect();
        refused.extend(read.refused.into_iter().filter(|refusal| within.contains(&refusal.key)));
        Ok(changes)
    }

    /// Those that must join, and whoever must join because of them. Found before all begins again: a ring of a hundred rows
    /// that pass a unique value on would begin a hundred times, and grow faster than it is gone through.
    async fn with_theirs(
        &self,
        tx: &mut dyn GuardedTx,
        set: &[Key],
        joins: Vec<Key>,
    ) -> Result<Vec<Key>, StoreError> {
        let mut known: HashSet<Key> = set.iter().chain(&joins).cloned().collect();
        let (mut all, mut from) = (joins, 0);
        while from < all.len() && all.len() <= JOINED_MAX {
            let (changes, ..) = self.read(&all[from..], usize::MAX).await?;
            from = all.len();
            let theirs = tx.in_the_way(&changes).await?;
            all.extend(theirs.into_iter().filter(|key| known.insert(key.clone())));
        }
        Ok(all)
    }

    fn join(&self, set: &mut Vec<Key>, asked: usize, joins: Vec<Key>) -> Result<(), StoreError> {
        let before = set.len();
        let mut there: HashSet<Key> = set.iter().cloned().collect();
        set.extend(joins.into_iter().filter(|key| there.insert(key.clone())));
        // A store that names only keys which are in the set already would go on for ever.
        if set.len() == before || set.len() > asked + JOINED_MAX {
            return Err(self.too_many(&set[0]));
        }
        Ok(())
    }

    fn too_many(&self, key: &Key) -> StoreError {
        StoreError::TooManyConflicts { key: key.clone(), limit: JOINED_MAX }
    }

    /// The token first, then the authority, then the put: whoever put something in between makes the put fail. Always
    /// put, even what is there already: only a token that rose keeps out a paused process's older value.
    async fn level_conditional(
        &self,
        follower: &dyn Conditional,
        key: &Key,
        synced: &mut Synced,
    ) -> Result<Fate, StoreError> {
        let (_, mut token) = follower.get(key).await?;
        let mut read = self.read_one(key).await?;
        fault_point(FaultPoint::ClaimAuthorityRead).await?;
        for _ in 0..PUT_ROUNDS_MAX {
            let row = match &read {
                Ok(row) => row,
                Err(refusal) => return Ok(Fate::Refused(refusal.clone())),
            };
            let put = follower.put_if(key, row.as_ref(), token).await?;
            fault_point(FaultPoint::ClaimFollowerWritten).await?;
            token = match put {
                Some(token) => token,
                None => follower.get(key).await?.1,
            };
            let again = self.read_one(key).await?;
            if put.is_some() && again == read {
                match row {
                    Some(_) => synced.written += 1,
                    None => synced.deleted += 1,
                }
                return Ok(Fate::Synced);
            }
            read = again;
        }
        Err(StoreError::Busy {
            store: self.follower.info().name.clone(),
            what: key.to_string(),
            holder: Some(format!("others that wrote it {PUT_ROUNDS_MAX} times meanwhile")),
        })
    }

    async fn read_one(&self, key: &Key) -> Result<Result<Option<Row>, Refusal>, StoreError> {
        let image = if self.side == Side::Old { Image::Canonical } else { Image::Back };
        let mut rows =
            read_all(self.authority.as_ref(), &key.table, std::slice::from_ref(key), image).await?;
        Ok(match rows.refused.pop() {
            Some(refusal) => Err(refusal),
            None => Ok(rows.rows.pop().flatten()),
        })
    }
}

/// [`Store::read`], with its promise checked: one answer for each key.
pub(super) async fn read_all(
    store: &dyn Store,
    table: &TableName,
    keys: &[Key],
    image: Image,
) -> Result<Rows, StoreError> {
    let rows = store.read(table, keys, image).await?;
    if rows.rows.len() == keys.len() {
        return Ok(rows);
    }
    Err(StoreError::BrokenOff {
        store: store.info().name.clone(),
        table: table.clone(),
        rows: rows.rows.len() as u64,
    })
}

/// [`Store::read_within`], with its promise checked: an answer for one key at least.
pub(super) async fn read_some(
    store: &dyn Store,
    table: &TableName,
    keys: &[Key],
    image: Image,
    bytes: usize,
) -> Result<Rows, StoreError> {
    let rows = store.read_within(table, keys, image, bytes).await?;
    if rows.rows.len() <= keys.len() && (!rows.rows.is_empty() || keys.is_empty()) {
        return Ok(rows);
    }
    Err(StoreError::BrokenOff { store: store.info().name.clone(), table: table.clone(), rows: 0 })
}

pub(super) fn refusal(key: &Key, why: &str) -> Refusal {
    Refusal { key: key.clone(), column: None, value: None, why: why.to_owned() }
}

fn tables(keys: &[Key]) -> impl Iterator<Item = &TableName> {
    keys.chunk_by(|a, b| a.table == b.table).map(|run| &run[0].table)
}

/// Puts refusals to the keys that were asked for. One of a row that only joined names the row that wanted its value, or is
/// found again when its own key is synced.
fn name_refused(asked: &[Key], fates: &mut [Fate], refused: Vec<Refusal>) {
    if refused.is_empty() {
        return;
    }
    let mut by_key: HashMap<Key, Refusal> = refused.into_iter().map(|r| (r.key.clone(), r)).collect();
    for (key, fate) in asked.iter().zip(fates) {
        if *fate == Fate::Synced
            && let Some(refusal) = by_key.remove(key)
        {
            *fate = Fate::Refused(refusal);
        }
    }
}
