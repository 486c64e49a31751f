//! `changeover init`: looks at both databases and writes a spec, with every guess marked.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use changeover_api::spec::StoreUrl;
use changeover_tables::guess::guess;
use changeover_tables::sqlite::{SqliteDatabase, SqliteOptions};
use clap::Args;

use crate::draft::{self, Sides};
use crate::error::{CliError, Exit};
use crate::show;
use crate::terminal::Terminal;

/// The two databases, and what to write.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  changeover init old.db new.db
  changeover init sqlite:/srv/legacy.db sqlite:/srv/flights.db --name flights

Tables are matched by name, columns by name and type; what isn't certain is marked `guess` in the \
file, what found no match is a comment to be filled in. Look at each, then: changeover check NAME.toml")]
pub(crate) struct InitArgs {
    /// The old side's database: a file, or sqlite:PATH
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
    let (old, new) = (database(&args.old)?, database(&args.new)?);
    if same_file(&old, &new) {
        return Err(CliError::usage(
            format!("{} is on both sides: which of its tables becomes which can't be guessed", old.display()),
            "Give two databases, or write the spec by hand: old and new may name one store.",
        ));
    }
    let (old_name, new_name) = draft::store_names(&old, &new);
    let open =
        async |name: &str, path: &Path| SqliteDatabase::open(name, path, SqliteOptions::default()).await;
    let old_catalog = open(&old_name, &old).await?.catalog().await?;
    let new_catalog = open(&new_name, &new).await?.catalog().await?;
    let guesses = guess(&old_catalog, &new_catalog);
    let name = args.name.clone().unwrap_or_else(|| draft::migration_name(&guesses, &old));
    let to_standard_output = args.out.as_deref() == Some(Path::new("-"));
    let file = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.toml")));
    let folder = if to_standard_output { Path::new("") } else { file.parent().unwrap_or(Path::new("")) };
    let sides = Sides {
        old: (old_name, draft::seen_from(&old, folder)),
        new: (new_name, draft::seen_from(&new, folder)),
        same_kind: (&old_catalog, &new_catalog),
    };
    let spec = draft::draft(&name, &guesses, &sides);
    let text = spec.to_toml();
    if to_standard_output {
        terminal.answer(&text)?;
        return Ok(Exit::Done);
    }
    write_new(&file, &text)?;
    show::guesses::show(&guesses, &name, &file, terminal)?;
    Ok(Exit::Done)
}

/// A database by its path or its URL.
fn database(given: &str) -> Result<PathBuf, CliError> {
    if !given.contains(':') {
        return Ok(PathBuf::from(given));
    }
    match StoreUrl::parse(given) {
        Ok(StoreUrl::Sqlite { path }) => Ok(path),
        Ok(other) => {
            Err(CliError::usage(format!("{other} can't be looked at"), "Give a SQLite file, or sqlite:PATH."))
        }
        // A path with a colon in it.
        Err(_) if Path::new(given).exists() => Ok(PathBuf::from(given)),
        Err(error) => Err(CliError::usage(error.message, error.hint)),
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
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
