//! Measures Changeover beside the limit of each thing it does, in one run, so that the machine's mood cancels out.
//!
//! Each bench takes medians of several runs, the limit's and ours by turns.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program's output is its purpose")]

mod capture;
mod data;
mod moving;
mod report;
mod switch;

use std::process::ExitCode;

use clap::Parser;

/// Measures Changeover beside the limit of each thing it does.
#[derive(Parser)]
struct Cli {
    /// switch, copy, verify, capture, memory. All but the last if none is named.
    what: Vec<String>,
    /// Print an array of objects instead of a table.
    #[arg(long)]
    json: bool,
    /// Rows of the tables in copy, verify and capture.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(cases) if cli.json => match serde_json::to_string_pretty(&cases) {
            Ok(text) => {
                println!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error.to_string()),
        },
        Ok(cases) => {
            println!("{}", report::table(&cases));
            ExitCode::SUCCESS
        }
        Err(message) => fail(&message),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("bench: {message}");
    ExitCode::FAILURE
}

const ALL: [&str; 4] = ["switch", "copy", "verify", "capture"];

fn run(cli: &Cli) -> Result<Vec<report::Case>, String> {
    let named: Vec<&str> = cli.what.iter().map(String::as_str).collect();
    let what = if named.is_empty() { ALL.to_vec() } else { named };
    let mut cases = Vec::new();
    for bench in what {
        eprintln!("bench: {bench} …");
        cases.extend(match bench {
            "switch" => switch::switch()?,
            "copy" => moving::copy(cli.rows)?,
            "verify" => moving::verify(cli.rows)?,
            "capture" => capture::capture(cli.rows)?,
            "memory" => moving::memory(cli.rows)?,
            other => return Err(format!("there is no bench `{other}`: {}, memory", ALL.join(", "))),
        });
    }
    Ok(cases)
}
