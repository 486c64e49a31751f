//! The `changeover` command.

mod demo;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    #[command(hide = true)]
    DemoInstance(demo::InstanceArgs),
}

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let rt = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let r = rt.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args).await,
            Command::DemoInstance(args) => demo::run_instance(args).await.map(|()| true),
        }
    });
    match r {
        Ok(true) => 0.into(),
        Ok(false) => 1.into(),
        Err(e) => {
            eprintln!("{e}");
            3.into()
        }
    }
}
