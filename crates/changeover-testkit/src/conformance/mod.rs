//! The conformance suite: each promise that a store's documentation makes, as a named case.
//!
//! A store's tests give a [`Subject`] for each case, afresh; [`run`] runs every case whose capabilities the store has,
//! and names those that fail. The table is fixed: `items`, with an integer key `id`, a text `name` that the *new* side
//! doesn't take as NULL, and a text `code` that is unique on both sides. Both sides are alike.

mod capture;
mod conditional;
mod engine;
mod fence;
mod guard;
mod reading;

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use changeover::engine::{Links, Pair};
use changeover::store::Store;
use changeover::store::capture::{CaptureLog, CaptureOptions};
use changeover::store::fence::Fence;
use changeover::store::guard::Guarded;
use changeover::value::{Key, Row, Value};
use changeover_protocol::Side;

/// The mapping's name.
pub const ITEMS: &str = "items";

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// The key.
    pub id: i64,
    /// NULL is refused by the new side.
    pub name: Option<String>,
    /// Unique.
    pub code: String,
}

/// An item.
#[must_use]
pub fn item(id: i64, name: &str) -> Item {
    Item { id, name: Some(name.to_owned()), code: format!("code-{id}") }
}

impl Item {
    /// The row in the canonical image.
    #[must_use]
    pub fn row(&self) -> Row {
        Row(vec![self.id.into(), Value::from(self.name.clone()), self.code.clone().into()])
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> Key {
        key(self.id)
    }

    fn coded(mut self, code: &str) -> Self {
        code.clone_into(&mut self.code);
        self
    }
}

/// The key of an item.
#[must_use]
pub fn key(id: i64) -> Key {
    Key::new(ITEMS, id)
}

/// A write that an application makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppWrite {
    /// Inserts the row, or updates the one with its key.
    Put(Item),
    /// Deletes the row with this key.
    Delete(i64),
    /// Gives a row another key, by an update.
    Rekey(i64, i64),
}

/// The application: what knows nothing of the migration, and goes past the store's adapter.
#[async_trait]
pub trait App: Send + Sync {
    /// Carries the writes out in one transaction, and commits. Waits for locks only for a moment.
    ///
    /// # Errors
    /// What the database says; then nothing of it is there.
    async fn write(&self, side: Side, writes: &[AppWrite]) -> Result<(), String>;

    /// As [`App::write`], but rolls back in the end.
    async fn write_and_roll_back(&self, side: Side, writes: &[AppWrite]);
}

/// Two stores that were made for one case, empty.
pub struct Subject {
    /// The old side.
    pub old: Arc<dyn Store>,
    /// The new side.
    pub new: Arc<dyn Store>,
    /// The application on both.
    pub app: Arc<dyn App>,
    /// Whatever has to live as long.
    pub keep: Box<dyn Any + Send + Sync>,
}

const OPTIONS: CaptureOptions = CaptureOptions { bound: 1_000_000, overflow: true };

impl Subject {
    fn store(&self, side: Side) -> &Arc<dyn Store> {
        match side {
            Side::Old => &self.old,
            Side::New => &self.new,
        }
    }

    fn guarded(&self) -> &dyn Guarded {
        self.new.guarded().expect("the case asks for it")
    }

    fn log(&self) -> &dyn CaptureLog {
        self.old.capture().expect("the case asks for it")
    }

    fn fence(&self) -> &dyn Fence {
        self.old.fence().expect("the case asks for it")
    }

    async fn put(&self, items: &[Item]) {
        let writes: Vec<AppWrite> = items.iter().cloned().map(AppWrite::Put).collect();
        self.app.write(Side::Old, &writes).await.expect("an application's write");
    }

    fn links(&self) -> Arc<Links> {
        let (old, new) = (Arc::clone(&self.old), Arc::clone(&self.new));
        let pair = Pair { table: ITEMS.into(), old, new, rules: Vec::new() };
        Arc::new(Links::new(vec![pair]).expect("two sides that are alike"))
    }

    /// The rows of a side, by key.
    async fn rows(&self, side: Side) -> Vec<Row> {
        let mut rows = reading::scan(self.store(side).as_ref(), None, None).await;
        rows.sort_by(|a, b| changeover::engine::cmp_keys(&a.0, &b.0));
        rows
    }
}

/// What a store must be able to do for a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Guard,
    Conditional,
    Capture,
    Fence,
    FenceAndCapture,
    All,
}

impl Needs {
    fn met_by(self, subject: &Subject) -> bool {
        let guard = subject.new.guarded().is_some();
        let capture = subject.old.capture().is_some();
        let fence = subject.old.fence().is_some();
        match self {
            Self::Nothing => true,
            Self::Guard => guard,
            Self::Conditional => subject.new.conditional().is_some(),
            Self::Capture => capture,
            Self::Fence => fence,
            Self::FenceAndCapture => fence && capture,
            Self::All => {
                let both = subject.new.fence().is_some() && subject.new.capture().is_some();
                guard && fence && capture && both
            }
        }
    }
}

type Body = fn(Arc<Subject>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// One promise.
struct Case {
    name: &'static str,
    needs: Needs,
    body: Body,
}

/// Declares the cases of a module: each an async function of the subject.
macro_rules! cases {
    ($($needs:ident: $($name:ident),* $(,)?;)*) => {
        pub(super) const CASES: &[super::Case] = &[
            $($(super::Case {
                name: stringify!($name),
                needs: super::Needs::$needs,
                body: |subject| Box::pin(async move { $name(&subject).await }),
            },)*)*
        ];
    };
}
use cases;

/// What a run of the suite came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conformance {
    /// The cases that were run and passed.
    pub passed: Vec<&'static str>,
    /// Those that the store lacks the capability for.
    pub not_applicable: Vec<&'static str>,
}

/// Runs every case that applies, each over a fresh subject.
///
/// # Panics
/// With the names of the cases that failed, after all were run. What each said stands before that.
pub async fn run<F, Fut>(fresh: F) -> Conformance
where
    F: Fn() -> Fut,
    Fut: Future<Output = Subject>,
{
    /// No case takes longer, unless something hangs.
    const PATIENCE: Duration = Duration::from_secs(60);
    let mut outcome = Conformance::default();
    let mut failed = Vec::new();
    let groups =
        [reading::CASES, guard::CASES, conditional::CASES, capture::CASES, fence::CASES, engine::CASES];
    for case in groups.into_iter().flatten() {
        let subject = Arc::new(fresh().await);
        if !case.needs.met_by(&subject) {
            outcome.not_applicable.push(case.name);
            continue;
        }
        let run = tokio::spawn((case.body)(subject));
        match tokio::time::timeout(PATIENCE, run).await {
            Ok(Ok(())) => outcome.passed.push(case.name),
            Ok(Err(_panic)) => failed.push(case.name),
            Err(_hangs) => failed.push(case.name),
        }
    }
    assert!(failed.is_empty(), "these promises aren't kept: {failed:?}; kept: {:?}", outcome.passed);
    outcome
}
