//! What a person sees: words for numbers and times, blocks and tables, progress, errors; and each answer in its form.

pub(crate) mod audit;
pub(crate) mod block;
pub(crate) mod check;
pub(crate) mod created;
pub(crate) mod error;
pub(crate) mod evidence;
pub(crate) mod findings;
pub(crate) mod guesses;
pub(crate) mod instances;
pub(crate) mod mismatches;
pub(crate) mod moved;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod rehearsal;
pub(crate) mod report;
pub(crate) mod status;
pub(crate) mod words;

use changeover_api::wire::Done;

use crate::error::CliError;
use crate::terminal::Terminal;

/// What was done, in a sentence.
///
/// # Errors
/// If standard output can't be written.
pub(crate) fn done(done: &Done, terminal: &Terminal) -> Result<(), CliError> {
    if terminal.json {
        terminal.answer_json(done)
    } else {
        terminal.answer(&block::paragraph(&done.text, 0, terminal))
    }
}
