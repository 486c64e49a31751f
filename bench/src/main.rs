//! Measures Changeover beside the limit of each thing it does, in one run, so that the machine's mood cancels out.
//!
//! Each bench takes medians of several runs, the limit's and ours by turns.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program's output is its purpose")]

mod capture;
mod command;
mod data;
mod moving;
mod report;
mod servers;
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
    /// Rows of the tables in copy, verify and capture (1 million in files; on servers 5 million narrow ones, and 1 million
    /// wide ones, which are a fifth of this); memory takes as many, and ten times as many.
    #[arg(long)]
    rows: Option<u64>,
    /// Of the cases on servers only those whose name has this text in it, as `postgresql → postgresql` or `wide`; and none in
    /// files.
    #[arg(long)]
    only: Option<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli).and_then(|cases| show(&cases, cli.json).map(|()| cases)) {
        Ok(cases) => match cases.iter().find_map(report::Case::failure) {
            None => ExitCode::SUCCESS,
            Some(failure) => fail(&failure),
        },
        Err(message) => fail(&message),
    }
}

fn show(cases: &[report::Case], json: bool) -> Result<(), String> {
    if json {
        println!("{}", serde_json::to_string_pretty(cases).map_err(|e| e.to_string())?);
    } else {
        println!("{}", report::table(cases));
    }
    Ok(())
}

fn fail(message: &str) -> ExitCode {
    eprintln!("bench: {message}");
    ExitCode::FAILURE
}

const ALL: [&str; 4] = ["switch", "copy", "verify", "capture"];

/// Rows of a table in a file where nobody says.
const ROWS_IN_FILE: u64 = 1_000_000;

fn run(cli: &Cli) -> Result<Vec<report::Case>, String> {
    let named: Vec<&str> = cli.what.iter().map(String::as_str).collect();
    let what = if named.is_empty() { ALL.to_vec() } else { named };
    let (in_file, only) = (cli.rows.unwrap_or(ROWS_IN_FILE), cli.only.as_deref());
    let mut cases = Vec::new();
    for bench in what {
        eprintln!("bench: {bench} …");
        if only.is_none() {
            cases.extend(match bench {
                "switch" => switch::switch()?,
                "copy" => moving::copy(in_file)?,
                "verify" => moving::verify(in_file)?,
                "capture" => capture::capture(in_file)?,
                "memory" => moving::memory(in_file)?,
                other => return Err(format!("there is no bench `{other}`: {}, memory", ALL.join(", "))),
            });
        }
        cases.extend(match bench {
            "copy" => servers::copy::copy(cli.rows, only)?,
            "capture" => servers::capture::capture(only)?,
            "verify" => servers::verify::verify(cli.rows, only)?,
            _ => Vec::new(),
        });
    }
    Ok(cases)
}
