//! A whole migration in one process: forward under writes, back, and forward again, with a copy of what was there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use changeover::local::{Filling, Local, LocalError};
use changeover::protocol::control::{Generation, Settings};
use changeover::protocol::place::Share;
use changeover::{Migration, Phase, Side};
use common::{Failed, Mood, Stores, builder, write};

struct Copy(Arc<Stores>);

#[async_trait]
impl Filling for Copy {
    async fn fill(&self, _: Generation, toward: Side) {
        let all = self.0.rows[toward.other() as usize].lock().unwrap().clone();
        for id in all.into_keys() {
            // Read when it is written, or a write in between would be undone.
            let mut rows = self.0.rows[toward as usize].lock().unwrap();
            let now = self.0.rows[toward.other() as usize].try_lock().map(|rows| rows.get(&id).copied());
            if let Ok(Some(value)) = now {
                rows.insert(id, value);
            }
        }
    }
}

/// Writes and reads one key for as long as it may; what it read is never older than what it wrote.
async fn client(migration: Migration, stores: Arc<Stores>, id: i64, stop: Arc<AtomicBool>) -> i64 {
    let mut value = 0;
    while !stop.load(SeqCst) {
        value += 1;
        write(&migration, &stores, id, value).await.unwrap();
        let rows = Arc::clone(&stores);
        let read = migration.read("booking.get", ("booking", id)).run(move |side| {
            let rows = Arc::clone(&rows);
            async move { Ok::<_, Failed>(rows.get(side, id)) }
        });
        assert_eq!(read.await.unwrap(), Some(value), "key {id}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    value
}

#[tokio::test(start_paused = true)]
async fn there_and_back_and_there_again_under_traffic_loses_nothing() {
    let stores = Stores::new();
    (0..100).for_each(|id| stores.put(Side::Old, 1_000 + id, id));
    let (migration, local) =
        Local::start(builder(&stores), Settings::default(), Copy(Arc::clone(&stores))).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|id| tokio::spawn(client(migration.clone(), Arc::clone(&stores), id, Arc::clone(&stop))))
        .collect();
    local.advance(Phase::Shadow).await.unwrap();
    local.advance_share(Phase::ReverseShadow, Share::percent(10.0).unwrap()).await.unwrap();
    local.advance(Phase::ReverseShadow).await.unwrap();
    local.rollback(Phase::Shadow).await.unwrap();
    local.advance(Phase::ReverseShadow).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stop.store(true, SeqCst);
    let mut written = Vec::new();
    for client in clients {
        written.push(client.await.unwrap());
    }
    assert!(written.iter().all(|&writes| writes > 10), "{written:?}");
    assert!(stores.is_level());
    local.advance(Phase::New).await.unwrap();
    assert_eq!((local.phase(), migration.phase()), (Phase::New, Phase::New));
    assert_eq!(stores.get(Side::New, 1_099), Some(99));
    let seen = migration.evidence();
    let persistent: u64 =
        seen.operations.iter().flat_map(|o| o.cohorts.values()).map(|c| c.mismatches_persistent).sum();
    assert_eq!(persistent, 0, "{:?}", seen.samples);
}

#[tokio::test(start_paused = true)]
async fn a_dirty_key_keeps_a_move_from_going_on_and_it_goes_back_within_the_budget() {
    let stores = Stores::new();
    let (migration, local) =
        Local::start(builder(&stores), Settings::default(), Copy(Arc::clone(&stores))).unwrap();
    local.advance(Phase::Shadow).await.unwrap();
    stores.mood(Mood::Fails);
    write(&migration, &stores, 1, 7).await.unwrap();
    assert_eq!((migration.vitals().dirty_keys, stores.get(Side::New, 1)), (1, None));
    let began = tokio::time::Instant::now();
    let told = local.advance(Phase::ReverseShadow).await.unwrap_err();
    assert_eq!(told, LocalError::WentBack { to: Phase::ReverseShadow, at: Phase::Shadow });
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    stores.mood(Mood::Well);
    stores.repair(Side::Old);
    local.advance(Phase::ReverseShadow).await.unwrap();
    assert_eq!(stores.get(Side::New, 1), Some(7));
}
