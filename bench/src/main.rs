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
    /// Rows of the tables in copy, verify and capture; memory takes as many, and ten times as many.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
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
