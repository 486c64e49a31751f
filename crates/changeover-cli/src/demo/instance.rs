//! One instance of the bookings service: a process of its own, with the library in it.
//!
//! It answers its clients over a loopback socket, and ends, saying goodbye to the control plane, when its standard
//! input does. This is what a service looks like that takes part: three lines to start, one to route each operation.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use changeover::engine::TableMirror;
use changeover::mirror::Mirror;
use changeover::{Migration, Refused};
use changeover_api::{Connect, Spec};
use clap::Args;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::naive::Naive;
use super::service::Service;
use super::wire::{Answer, Line, Request};
use super::world::{NAME, TABLE, World};

/// What an instance of the demo is told by its parent.
#[derive(Debug, Args)]
pub(crate) struct InstanceArgs {
    /// The demo's folder.
    folder: PathBuf,
    /// Which instance it is.
    number: u64,
    /// The new side's artificial delay, in milliseconds.
    #[arg(long, default_value_t = 0)]
    slow_new: u64,
    /// Move by this flag alone.
    #[arg(long)]
    naive: Option<PathBuf>,
    /// Without the planted bugs.
    #[arg(long)]
    mended: bool,
}

/// How often an instance tells what it has compared: the demo is in a hurry.
const EVIDENCE_EVERY: Duration = Duration::from_millis(500);

/// Runs an instance until its standard input ends.
pub(crate) async fn run(args: InstanceArgs) -> Result<(), String> {
    let world = World { folder: args.folder };
    let service = Service::open(&world, Duration::from_millis(args.slow_new))
        .map_err(|e| format!("the demo's databases: {e}"))?;
    if args.mended {
        service.mend();
    }
    if let Some(flag) = args.naive {
        let offset = Duration::from_millis(args.number * 700 % 2_000);
        let naive = Naive::new(service, flag, offset);
        return serve(move |request| {
            let naive = naive.clone();
            async move { naive.answer(request).await }
        })
        .await;
    }

    // What a service does to take part: connect, say who mirrors its writes, and route by the handle it gets.
    let mirror = mirror(&world).await?;
    let (migration, instance) = Connect::in_folder(NAME, &world.folder)
        .instance(&format!("bookings-{}", args.number))
        .step_file(world.folder.join(format!("bookings-{}.step", args.number)))
        .evidence_every(EVIDENCE_EVERY)
        .start(|builder| builder.dual_write(mirror).errors_are_settled())
        .await
        .map_err(|e| e.to_string())?;
    let routed = Routed { service, migration };
    serve(move |request| {
        let routed = routed.clone();
        async move { routed.answer(request).await }
    })
    .await?;
    instance.stop().await.map_err(|e| e.to_string())
}

/// The service's operations, routed by the migration.
#[derive(Clone)]
struct Routed {
    service: Service,
    migration: Migration,
}

/// Why an operation of the service failed.
#[derive(Debug, Clone)]
enum Failure {
    /// The database said no: whether it did anything isn't known for sure.
    Database(String),
    /// The library refused it, or its outcome isn't known.
    Refused(Refused),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Database(why) => f.write_str(why),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Routed {
    async fn answer(&self, request: Request) -> Answer {
        match request {
            Request::Get { id } => self.get(id).await,
            Request::Put { booking } => {
                let service = self.service.clone();
                let write = self.migration.write("cancellation.put", (TABLE, booking.id as i64));
                written(
                    write
                        .run(move |side| async move {
                            service.put(side, booking).await.map_err(Failure::Database)
                        })
                        .await,
                )
            }
            Request::Delete { id } => {
                let service = self.service.clone();
                let write = self.migration.write("cancellation.delete", (TABLE, id as i64));
                written(write.run(move |side| async move { service.delete(side, id).await.map_err(Failure::Database) }).await)
            }
            Request::Mend => {
                self.service.mend();
                Answer::Done
            }
        }
    }

    async fn get(&self, id: u64) -> Answer {
        let service = self.service.clone();
        let found = self
            .migration
            .read("cancellation.get", (TABLE, id as i64))
            .input_with(move || format!("GET /cancellations/{id}"))
            .compare(super::service::explain)
            .run(move |side| {
                let service = service.clone();
                async move { service.get(side, id).await.map_err(Failure::Database) }
            })
            .await;
        match found {
            Ok(booking) => Answer::Found { booking },
            Err(failure) => Answer::Failed { why: failure.to_string() },
        }
    }
}

fn written(outcome: Result<(), Failure>) -> Answer {
    match outcome {
        Ok(()) => Answer::Done,
        Err(Failure::Refused(refused)) if !refused.outcome_unknown() => {
            Answer::Failed { why: refused.to_string() }
        }
        Err(failure) => Answer::Unknown { why: failure.to_string() },
    }
}

/// Answers clients until standard input ends.
async fn serve<F, Fut>(answer: F) -> Result<(), String>
where
    F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send,
{
    let listener = listen().await?;
    let end = parent_is_gone();
    tokio::pin!(end);
    loop {
        let stream = tokio::select! {
            stream = accept(&listener) => stream?,
            () = &mut end => return Ok(()),
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            let mut line = Line::new(stream);
            while let Ok(Some(request)) = line.receive::<Request>().await {
                if line.send(&answer(request).await).await.is_err() {
                    return;
                }
            }
        });
    }
}

#[allow(clippy::print_stdout, reason = "the parent reads the port on standard output")]
async fn listen() -> Result<TcpListener, String> {
    let listener =
        TcpListener::bind(("127.0.0.1", 0)).await.map_err(|e| format!("no port to listen on: {e}"))?;
    println!("{}", listener.local_addr().map_err(|e| e.to_string())?.port());
    Ok(listener)
}

async fn accept(listener: &TcpListener) -> Result<TcpStream, String> {
    listener.accept().await.map(|(stream, _)| stream).map_err(|e| format!("no connection can be taken: {e}"))
}

async fn parent_is_gone() {
    let mut byte = [0_u8; 1];
    let mut input = tokio::io::stdin();
    while matches!(input.read(&mut byte).await, Ok(n) if n > 0) {}
}

/// What levels this service's writes: the spec's mappings over its two databases.
async fn mirror(world: &World) -> Result<Arc<dyn Mirror>, String> {
    let spec = Spec::read(&world.spec()).map_err(|e| e.to_string())?;
    let files = spec.sqlite_files().map_err(|e| e.to_string())?;
    let links =
        changeover_tables::sqlite::links(NAME, &spec.mappings(), &files).await.map_err(|e| e.to_string())?;
    Ok(Arc::new(TableMirror::new(Arc::new(links))))
}
