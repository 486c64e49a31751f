//! `changeover spec schema`: the spec file's JSON Schema, for editors.

use clap::{Args, Subcommand};

use crate::error::{CliError, Exit};
use crate::terminal::Terminal;

/// What is asked about the spec file.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct SpecArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the JSON Schema of spec files, for editors and other tools
    #[command(after_help = "\
In an editor with TOML support, name the schema in the spec's first line:
  #:schema ./changeover.schema.json
after: changeover spec schema > changeover.schema.json")]
    Schema,
}

/// Answers.
///
/// # Errors
/// If standard output can't be written.
pub(crate) fn answer(args: &SpecArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    match args.what {
        What::Schema => terminal.answer_json(&changeover_api::spec::json_schema())?,
    }
    Ok(Exit::Done)
}
