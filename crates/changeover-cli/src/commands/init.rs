//! `changeover init`: looks at both databases and writes a spec, with every guess marked.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use changeover_api::spec::UrlSource;
use changeover_control::jobs;
use changeover_tables::guess::guess;
use clap::Args;

use crate::draft::{self, Sides};
use crate::error::{CliError, Exit};
use crate::given::Given;
use crate::show;
use crate::terminal::Terminal;

/// The two databases, and what to write.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  changeover init old.db new.db
  changeover init mysql://app@db:3306/legacy postgres://app@db:5432/flights --name flights
  changeover init env:LEGACY_URL env:FLIGHTS_URL

A URL with a password isn't written down: the spec names the variable that has it. env:VARIABLE reads \
the URL from there now, too, so that it is in no list of processes.

Tables are matched by name, columns by name and type; what isn't certain is marked `guess` in the \
file, what found no match is a comment to be filled in. Look at each, then: changeover check NAME.toml")]
pub(crate) struct InitArgs {
    /// The old side's database: a file, a URL, or env:VARIABLE
    #[arg(value_name = "OLD")]
    old: String,

    /// The new side's database
    #[arg(value_name = "NEW")]
    new: String,

    /// The migration's name. Default: the table's if it is only one, else the old database's
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,

    /// The file to write. Default: NAME.toml; - for standard output
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Looks, guesses, writes.
///
/// # Errors
/// If a database can't be read, or the file is there already.
pub(crate) async fn answer(args: &InitArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    let (old, new) = (Given::parse(&args.old, "OLD_URL")?, Given::parse(&args.new, "NEW_URL")?);
    let (old_name, new_name) = draft::store_names(&old.name(), &new.name());
    let (old_is, old_catalog) = jobs::look_at(&old_name, &old.url).await?;
    let (new_is, new_catalog) = jobs::look_at(&new_name, &new.url).await?;
    if old_is == new_is {
        return Err(CliError::usage(
            format!("{} is on both sides: which of its tables becomes which can't be guessed", old.url),
            "Give two databases, or write the spec by hand: old and new may name one store.",
        ));
    }
    let guesses = guess(&old_catalog, &new_catalog);
    let name = args.name.clone().unwrap_or_else(|| draft::migration_name(&guesses, &old.name()));
    let to_standard_output = args.out.as_deref() == Some(Path::new("-"));
    let file = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.toml")));
    let folder = if to_standard_output { Path::new("") } else { file.parent().unwrap_or(Path::new("")) };
    let sides = Sides {
        old: (old_name, old.seen_from(folder)),
        new: (new_name, new.seen_from(folder)),
        catalogs: (&old_catalog, &new_catalog),
    };
    let spec = draft::draft(&name, &guesses, &sides);
    let text = spec.to_toml();
    if to_standard_output {
        terminal.answer(&text)?;
        return Ok(Exit::Done);
    }
    write_new(&file, &text)?;
    show::guesses::show(&guesses, &name, &file, terminal)?;
    for (_, given) in [&sides.old, &sides.new] {
        if let (UrlSource::Env(variable), Some(note)) = (&given.source, &given.note) {
            terminal.say(format_args!(
                "Not written: {note}. Set {variable} to the whole URL before the next command."
            ));
        }
    }
    Ok(Exit::Done)
}

/// Writes a file that isn't there yet.
fn write_new(file: &Path, text: &str) -> Result<(), CliError> {
    let failed = |cause: std::io::Error| match cause.kind() {
        ErrorKind::AlreadyExists => CliError::usage(
            format!("{} is there already, and isn't overwritten", file.display()),
            "Name another file by --out FILE, or - for standard output.",
        ),
        _ => CliError::File {
            path: file.to_owned(),
            cause: cause.to_string(),
            hint: "Name another file by --out FILE.".to_owned(),
        },
    };
    let mut out = OpenOptions::new().write(true).create_new(true).open(file).map_err(failed)?;
    out.write_all(text.as_bytes()).map_err(failed)
}

fn name(text: &str) -> Result<String, String> {
    let begins = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    let is_name = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if begins && is_name && text.len() <= 63 {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 63 letters, digits, - and _, the first a letter or a digit".to_owned())
    }
}
