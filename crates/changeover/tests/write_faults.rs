//! A dual write that dies, fails or is held up at any of its gaps: both sides are level again, with what the authority has,
//! and the journal is empty. Needs the feature `faults`.

#![cfg(feature = "faults")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by panicking"
)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use changeover::faults::{Fault, FaultPlan, PausedAt};
use changeover::journal::{JournalError, JournalSettings, JournaledMirror};
use changeover::mirror::Mirror;
use changeover::protocol::fault::{Area, FaultPoint};
use changeover::{Migration, Phase, Side};
use common::{MemoryMirror, Stores, write};

const WITHIN: Duration = Duration::from_secs(30);

/// What the row was, and what the write makes of it.
const BEFORE: i64 = 5;
const AFTER: i64 = 7;

/// A journal on disk over two stores that hold a row, and the migration over both.
async fn begin(path: &Path, stores: &Arc<Stores>) -> (Arc<JournaledMirror>, Migration) {
    let level = Arc::new(MemoryMirror(Arc::clone(stores)));
    let lifetime = Duration::from_millis(50);
    let tries = async {
        loop {
            match JournaledMirror::open(
                path,
                JournalSettings::default(),
                lifetime,
                Arc::<MemoryMirror>::clone(&level),
            ) {
                Ok(mirror) => return mirror,
                // The process before gives it up in a moment.
                Err(JournalError::Taken { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let mirror = tokio::time::timeout(WITHIN, tries).await.expect("the journal is free");
    let migration = Migration::builder("bookings")
        .dual_write(Arc::clone(&mirror) as Arc<dyn Mirror>)
        .write_lifetime(lifetime)
        .standalone(Phase::Shadow);
    (mirror, migration)
}

fn stores() -> Arc<Stores> {
    let stores = Stores::new();
    for side in [Side::Old, Side::New] {
        stores.put(side, 1, BEFORE);
    }
    stores
}

/// The repair levels what is left, and the journal names no key any more.
async fn assert_levelled(
    mirror: Arc<JournaledMirror>,
    migration: Migration,
    stores: &Arc<Stores>,
    case: &str,
) {
    let repair = tokio::spawn(Arc::clone(&mirror).repair(migration));
    let level = async {
        while !(stores.is_level() && mirror.dirty() == 0) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(WITHIN, level).await.unwrap_or_else(|_| {
        let rows = [Side::Old, Side::New].map(|side| stores.get(side, 1));
        panic!("{case}: never level: {rows:?}, {} dirty", mirror.dirty())
    });
    repair.abort();
}

fn points() -> impl Iterator<Item = FaultPoint> {
    FaultPoint::ALL.iter().copied().filter(|point| point.area() == Area::Write)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The process is gone with all that it had under way: its runtime is dropped, and another opens the journal.
#[test]
fn a_process_that_dies_at_any_gap_leaves_nothing_apart() {
    for point in points() {
        let folder = tempfile::tempdir().unwrap();
        let (path, stores) = (folder.path().join("journal"), stores());
        let process = runtime();
        let here = PausedAt::default();
        let _plan = FaultPlan::new().with(point, 1, Fault::Pause(here.clone())).install();
        process.block_on(async {
            let (_mirror, migration) = begin(&path, &stores).await;
            let writing = {
                let stores = Arc::clone(&stores);
                async move { write(&migration, &stores, 1, AFTER).await }
            };
            tokio::spawn(writing);
            tokio::time::timeout(WITHIN, here.reached())
                .await
                .unwrap_or_else(|_| panic!("{point} isn't come by"));
        });
        drop(process);
        FaultPlan::uninstall();

        let taken = if point == FaultPoint::WriteJournalled { BEFORE } else { AFTER };
        assert_eq!(stores.get(Side::Old, 1), Some(taken), "{point}");
        runtime().block_on(async {
            let (mirror, migration) = begin(&path, &stores).await;
            assert_levelled(mirror, migration, &stores, point.name()).await;
        });
        assert_eq!(stores.get(Side::New, 1), Some(taken), "{point}");
    }
}

#[tokio::test]
async fn an_error_at_any_gap_leaves_nothing_apart() {
    for point in points() {
        let folder = tempfile::tempdir().unwrap();
        let stores = stores();
        let (mirror, migration) = begin(&folder.path().join("journal"), &stores).await;
        let plan = FaultPlan::new().with(point, 1, Fault::Error).install();
        let told = write(&migration, &stores, 1, AFTER).await;
        let (mirror, migration) = if point == FaultPoint::WriteJournalled {
            // Put down, and nobody knows: it is found at the next start.
            drop((mirror, migration));
            begin(&folder.path().join("journal"), &stores).await
        } else {
            (mirror, migration)
        };
        assert_levelled(mirror, migration, &stores, point.name()).await;
        // Only where the authority's own answer is lost does the caller not know; the write is there all the same.
        assert_eq!(told.is_ok(), point != FaultPoint::WriteAuthorityWritten, "{point}: {told:?}");
        assert_eq!(stores.get(Side::New, 1), Some(AFTER), "{point}");
        assert!(plan.passed(point) > 0, "{point} isn't come by");
    }
    FaultPlan::uninstall();
}

#[tokio::test]
async fn a_write_held_up_at_any_gap_does_not_undo_a_later_one() {
    for point in points() {
        let folder = tempfile::tempdir().unwrap();
        let stores = stores();
        let (mirror, migration) = begin(&folder.path().join("journal"), &stores).await;
        let here = PausedAt::default();
        let _plan = FaultPlan::new().with(point, 1, Fault::Pause(here.clone())).install();
        let held = tokio::spawn({
            let (migration, stores) = (migration.clone(), Arc::clone(&stores));
            async move { write(&migration, &stores, 1, AFTER).await }
        });
        tokio::time::timeout(WITHIN, here.reached())
            .await
            .unwrap_or_else(|_| panic!("{point} isn't come by"));
        write(&migration, &stores, 1, AFTER + 1).await.unwrap();
        here.go_on();
        held.await.unwrap().unwrap();
        assert_levelled(mirror, migration, &stores, point.name()).await;
        // Held up before it reached the authority, it is the later one of the two.
        let last = if point == FaultPoint::WriteJournalled { AFTER } else { AFTER + 1 };
        assert_eq!(stores.get(Side::New, 1), Some(last), "{point}");
    }
    FaultPlan::uninstall();
}
