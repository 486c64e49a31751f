//! The journal on disk: what was put down is there after a crash, and the repair levels it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use changeover::clock::RuntimeClock;
use changeover::event::Event;
use changeover::journal::{JournalError, JournalSettings, JournaledMirror};
use changeover::keyed::RouteBy;
use changeover::mirror::Mirror;
use changeover::protocol::member::InstanceId;
use changeover::protocol::slots::Slots;
use changeover::protocol::target::assignments;
use changeover::{Key, Migration, Phase, Side, Step};
use common::{MemoryMirror, Mood, Stores};

fn open(path: &std::path::Path, stores: &Arc<Stores>) -> Result<Arc<JournaledMirror>, JournalError> {
    let level = Arc::new(MemoryMirror(Arc::clone(stores)));
    JournaledMirror::open(path, JournalSettings::default(), Duration::from_millis(50), level)
}

/// The writer's thread gives the file up shortly after its journal is gone.
async fn opened(path: &std::path::Path, stores: &Arc<Stores>) -> Arc<JournaledMirror> {
    let tries = async {
        loop {
            match open(path, stores) {
                Ok(mirror) => return mirror,
                Err(JournalError::Taken { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), tries).await.unwrap()
}

fn keys(ids: impl IntoIterator<Item = i64>) -> Vec<Key> {
    ids.into_iter().map(|id| Key::new("booking", id)).collect()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn keys_left_by_a_crash_are_dirty_and_the_repair_levels_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let stores = Stores::new();
    let mirror = opened(&path, &stores).await;
    let done = mirror.journal(Side::Old, &keys([1])).await.unwrap();
    mirror.journal(Side::Old, &keys([2, 3])).await.unwrap();
    mirror.journal(Side::Old, &[]).await.unwrap();
    mirror.clear(done).await.unwrap();
    // The process dies after the authority took the write.
    stores.put(Side::Old, 2, 7);
    drop(mirror);

    let mirror = opened(&path, &stores).await;
    let recovered = mirror.recovered();
    assert_eq!((recovered.keys, recovered.writes_without_keys, recovered.torn_bytes), (2, 1, 0));
    assert_eq!(mirror.dirty(), 2);
    assert!(
        mirror.is_dirty(&Key::new("booking", 2)).await && !mirror.is_dirty(&Key::new("booking", 1)).await
    );
    let migration = Migration::builder("bookings")
        .dual_write(Arc::clone(&mirror) as Arc<dyn Mirror>)
        .standalone(Phase::Shadow);
    let mut events = migration.events().listen();
    let repair = tokio::spawn(Arc::clone(&mirror).repair(migration.clone()));
    until("level", || stores.is_level() && migration.vitals().dirty_keys == 0).await;
    assert_eq!(stores.get(Side::New, 2), Some(7));
    assert_eq!(events.recv().await.unwrap(), Event::KeysLost { writes: 1 });
    repair.abort();
    let _ = repair.await;
    drop((mirror, migration));
    assert_eq!(opened(&path, &stores).await.recovered().keys, 0);
}

#[tokio::test]
async fn a_tail_torn_anywhere_costs_its_own_record_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let stores = Stores::new();
    let mirror = opened(&path, &stores).await;
    mirror.journal(Side::Old, &keys([1])).await.unwrap();
    let whole = std::fs::metadata(&path).unwrap().len();
    mirror.journal(Side::Old, &keys([2])).await.unwrap();
    drop(mirror);
    drop(opened(&path, &stores).await);
    let bytes = std::fs::read(&path).unwrap();
    for end in whole..bytes.len() as u64 {
        let path = folder.path().join(format!("torn-{end}"));
        std::fs::write(&path, &bytes[..usize::try_from(end).unwrap()]).unwrap();
        let mirror = opened(&path, &stores).await;
        assert_eq!(
            (mirror.recovered().keys, mirror.recovered().torn_bytes),
            (1, end - whole),
            "cut at {end}"
        );
        // And what is put down next is found again.
        mirror.journal(Side::Old, &keys([3])).await.unwrap();
        drop(mirror);
        assert_eq!(opened(&path, &stores).await.recovered().keys, 2, "cut at {end}");
    }
}

#[tokio::test]
async fn a_journal_has_one_process_and_is_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let stores = Stores::new();
    let _mirror = opened(&path, &stores).await;
    assert!(matches!(open(&path, &stores), Err(JournalError::Taken { .. })));
    let other = folder.path().join("notes.txt");
    std::fs::write(&other, "these are not keys at all").unwrap();
    assert!(matches!(open(&other, &stores), Err(JournalError::NoJournal { .. })));
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "these are not keys at all");
}

#[tokio::test]
async fn what_arrives_together_goes_down_together_and_the_file_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let stores = Stores::new();
    let level = Arc::new(MemoryMirror(Arc::clone(&stores)));
    let settings = JournalSettings { rewrite_at_bytes: 4_096, open_max: 200 };
    let mirror = JournaledMirror::open(&path, settings, Duration::ZERO, level).unwrap();
    for _ in 0..20 {
        let put: Vec<_> = (0..100)
            .map(|id| {
                let mirror = Arc::clone(&mirror);
                tokio::spawn(async move { mirror.journal(Side::Old, &keys([id])).await.unwrap() })
            })
            .collect();
        for ticket in put {
            mirror.clear(ticket.await.unwrap()).await.unwrap();
        }
    }
    let stats = mirror.stats();
    assert!(stats.groups < stats.records / 2, "{stats:?}");
    assert_eq!(mirror.dirty(), 0);
    assert!(std::fs::metadata(&path).unwrap().len() < 40_000, "it is written anew with what is open");
    for id in 0..200 {
        mirror.journal(Side::Old, &keys([id])).await.unwrap();
    }
    let full = mirror.journal(Side::Old, &keys([200])).await.unwrap_err();
    assert!(full.to_string().contains("200 writes are open"), "{full}");
}

#[tokio::test]
async fn a_write_left_dirty_is_repaired_when_the_follower_is_well_again() {
    let folder = tempfile::tempdir().unwrap();
    let stores = Stores::new();
    stores.mood(Mood::Fails);
    let mirror = opened(&folder.path().join("journal"), &stores).await;
    let migration = Migration::builder("bookings")
        .sync_deadline(Duration::from_millis(20))
        .dual_write(Arc::clone(&mirror) as Arc<dyn Mirror>)
        .standalone(Phase::Shadow);
    tokio::spawn(Arc::clone(&mirror).repair(migration.clone()));
    common::write(&migration, &stores, 1, 7).await.unwrap();
    assert_eq!((stores.get(Side::New, 1), migration.vitals().dirty_keys), (None, 1));
    stores.mood(Mood::Well);
    until("level", || stores.is_level() && migration.vitals().dirty_keys == 0).await;
}

/// The key doesn't tell its slot, and a share of the keys has moved: only the write knew which side had it.
#[tokio::test]
async fn a_key_left_dirty_while_a_share_is_moved_is_levelled_from_the_side_that_was_written() {
    for journal_fails in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::new();
        *stores.journal_fails.lock().unwrap() = journal_fails;
        stores.put(Side::Old, 1, 5);
        stores.put(Side::New, 1, 5);
        stores.mood(Mood::Fails);
        let mirror = opened(&folder.path().join("journal"), &stores).await;
        let customer = Slots::new("bookings").slot(b"42");
        let mut partial = common::target(1, Step::Shadow);
        partial.assignments =
            assignments(|slot| if slot == customer { Step::ReverseShadow } else { Step::Shadow });
        let builder = Migration::builder("bookings")
            .clock(RuntimeClock::start())
            .sync_deadline(Duration::from_millis(20))
            .route("booking", RouteBy::Given)
            .dual_write(Arc::clone(&mirror) as Arc<dyn Mirror>);
        let sent = builder.now();
        let (migration, _switch) = builder.register(InstanceId::new("a"), partial, sent).unwrap();
        let written = Arc::clone(&stores);
        let write = migration.write("booking.put", ("booking", 1_i64)).route_by(42_i64);
        let put = move |side| async move {
            assert_eq!(side, Side::New);
            written.put(side, 1, 7);
            Ok::<(), common::Failed>(())
        };
        write.run(put).await.unwrap();
        assert_eq!(migration.vitals().dirty_keys, 1);
        tokio::spawn(Arc::clone(&mirror).repair(migration.clone()));
        stores.mood(Mood::Well);
        until("level", || stores.is_level() && migration.vitals().dirty_keys == 0).await;
        assert_eq!(
            stores.get(Side::New, 1),
            Some(7),
            "the repair put the old side's value over an acknowledged write"
        );
    }
}
