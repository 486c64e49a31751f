//! `changeover demo`: a live service moves from its old database to its new one under traffic, forward, back and
//! forward again, with proof that nothing was lost.
//!
//! The databases, the service's processes, the control plane and the traffic are real; only the travel agency isn't.
//! The parent process is every client, so that all that was seen is on one clock.

mod control;
mod fleet;
mod instance;
mod naive;
mod phases;
mod proof;
mod report;
mod script;
mod script_naive;
mod service;
mod story;
mod traffic;
mod wire;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

pub(crate) use self::instance::InstanceArgs;
use self::report::Report;
use self::story::Story;
use self::world::World;
use crate::error::{CliError, Exit};
use crate::signals::Signals;
use crate::terminal::Terminal;

/// The hidden command that makes this binary a process of the demo's service.
pub(crate) const INSTANCE: &str = "demo-instance";

/// Watch a live service move from its old database to its new one, forward, back and forward again.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Rows in the old database.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    rows: u64,
    /// About how long the traffic runs, in seconds.
    #[arg(long, default_value_t = 45, value_parser = clap::value_parser!(u64).range(10..=3_600))]
    seconds: u64,
    /// Processes of the service.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=16))]
    instances: u16,
    /// Keep the databases, the logs and the recorded history in this folder.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Move by a plain four-value flag instead, as everybody does today, and see what is lost.
    #[arg(long)]
    naive: bool,
    /// An artificial delay of the new side for each statement, in milliseconds, up to 200 [default: 0; with --naive: 40].
    // A side that is slower still is behind for longer than a comparison waits, and its gate stays shut, as it should.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(..=200))]
    slow_new: Option<u64>,
}

/// The naive run's delay where none is asked for: a new side that is a little slower is enough.
const NAIVE_DELAY_MS: u64 = 40;

/// Runs the demo.
///
/// # Errors
/// What kept it from running to its end.
pub(crate) async fn answer(args: DemoArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    if let Some(there) = args.keep.as_deref().and_then(world::in_the_way) {
        let hint = "Name another folder with --keep, or remove what an earlier demo has left there.";
        return Err(CliError::usage(format!("{} is there already", there.display()), hint));
    }
    let mut signals = Signals::listen()?;
    let ran = tokio::select! {
        ran = run(args, terminal.json) => ran,
        // What it has started is ended, and its folder removed, as it is dropped.
        () = signals.next() => {
            terminal.say("Stopped before its end, so nothing is known.");
            return Ok(Exit::No);
        }
    };
    match ran {
        Ok(true) => Ok(Exit::Done),
        Ok(false) => Ok(Exit::No),
        Err(cause) => Err(CliError::Machine { doing: "running the demo", cause }),
    }
}

/// Runs one process of the demo's service, until its standard input ends.
///
/// # Errors
/// What kept it from it.
pub(crate) async fn instance(args: InstanceArgs) -> Result<Exit, CliError> {
    let ran = instance::run(args).await;
    ran.map(|()| Exit::Done)
        .map_err(|cause| CliError::Machine { doing: "running a process of the demo", cause })
}

/// `Ok(false)`: it ran, and something was lost or wrong.
async fn run(args: DemoArgs, json: bool) -> Result<bool, String> {
    let temporary;
    let folder = match &args.keep {
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
            folder.clone()
        }
        None => {
            temporary = temporary_folder()?;
            temporary.path.clone()
        }
    };
    let folder = folder.canonicalize().map_err(|e| format!("{}: {e}", folder.display()))?;
    let delay = args.slow_new.unwrap_or(if args.naive { NAIVE_DELAY_MS } else { 0 });
    let mut story = Story::new(json);
    story.chapter("A travel agency's bookings service keeps flight cancellations in a database of its own.");
    story.say("A new flights service shall take them over, in a table of another shape, while everybody goes on working.");
    let world = {
        let (folder, rows) = (folder.clone(), args.rows);
        tokio::task::spawn_blocking(move || World::create(&folder, rows))
            .await
            .map_err(|e| e.to_string())??
    };
    story.say(&format!(
        "Two SQLite databases are made; the old one holds {} cancellations.",
        grouped(args.rows)
    ));

    let delay = Duration::from_millis(delay);
    let report = if args.naive {
        move_naively(&args, &world, delay, &mut story).await?
    } else {
        move_by_changeover(&args, &world, delay, &mut story).await?
    };
    report.tell(&mut story, &args);
    if json {
        report.print()?;
    }
    Ok(report.is_clean())
}

async fn move_by_changeover(
    args: &DemoArgs,
    world: &World,
    delay: Duration,
    story: &mut Story,
) -> Result<Report, String> {
    let ran = script::run(world, args.rows, usize::from(args.instances), args.seconds, delay, story).await?;
    story.chapter("The proof.");
    let proof = proof::prove(world, args.rows, &ran.operations, changeover::Side::New)?;
    if let Some(folder) = &args.keep {
        proof.keep(folder)?;
    }
    Ok(Report::routed(&ran, &proof))
}

async fn move_naively(
    args: &DemoArgs,
    world: &World,
    delay: Duration,
    story: &mut Story,
) -> Result<Report, String> {
    let ran =
        script_naive::run(world, args.rows, usize::from(args.instances), args.seconds, delay, story).await?;
    story.chapter("The same checker that judges Changeover now judges this.");
    let proof = proof::prove(world, args.rows, &ran.operations, changeover::Side::New)?;
    if let Some(folder) = &args.keep {
        proof.keep(folder)?;
    }
    Ok(Report::naive(&ran, &proof))
}

/// A folder that is removed with what is in it.
struct Temporary {
    path: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Left behind, it is only litter.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn temporary_folder() -> Result<Temporary, String> {
    let path = std::env::temp_dir().join(format!("changeover-demo-{}", std::process::id()));
    std::fs::create_dir(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(Temporary { path })
}

/// A number with its thousands set apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
