//! One instance of the bookings service: a process of its own, with the library in it.
//!
//! It answers its clients over a loopback socket, and ends, saying goodbye to the control plane, when its standard
//! input does.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::naive::Naive;
use super::service::Service;
use super::wire::{Line, Request};
use super::world::World;

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
}

/// Connections of one instance at one time; more are refused by the system's queue.
const CONNECTIONS_MAX: usize = 256;

/// Runs an instance until its standard input ends.
pub(crate) async fn run(args: InstanceArgs) -> Result<(), String> {
    let world = World { folder: args.folder };
    let service = Service::open(&world, Duration::from_millis(args.slow_new))
        .map_err(|e| format!("the demo's databases: {e}"))?;
    let Some(flag) = args.naive else { return Err("--naive is missing".to_owned()) };
    let offset = Duration::from_millis(args.number * 700 % 2_000);
    let naive = Naive::new(service, flag, offset);
    let listener = listen().await?;
    loop {
        let stream = tokio::select! {
            stream = accept(&listener) => stream?,
            () = parent_is_gone() => return Ok(()),
        };
        tokio::spawn(serve_naively(stream, naive.clone()));
    }
}

async fn serve_naively(stream: TcpStream, naive: Naive) {
    let mut line = Line::new(stream);
    while let Ok(Some(request)) = line.receive::<Request>().await {
        let answer = naive.answer(request).await;
        if line.send(&answer).await.is_err() {
            return;
        }
    }
}

#[allow(clippy::print_stdout, reason = "the parent reads the port on standard output")]
async fn listen() -> Result<TcpListener, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|e| format!("no port to listen on: {e}"))?;
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
