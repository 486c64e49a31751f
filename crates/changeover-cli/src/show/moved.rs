//! What came of a move.

use changeover_api::wire::Moved;
use changeover_protocol::Phase;

use super::{block, words};
use crate::error::CliError;
use crate::terminal::Terminal;

/// Shows where the migration is now, what happened, and how to undo it.
///
/// # Errors
/// If standard output can't be written.
pub(crate) fn show(moved: &Moved, terminal: &Terminal) -> Result<(), CliError> {
    if terminal.json { terminal.answer_json(moved) } else { terminal.answer(&text(moved, terminal)) }
}

fn text(moved: &Moved, terminal: &Terminal) -> String {
    let paint = terminal.out;
    let place = words::place(moved.phase, moved.share_percent);
    let told = words::one_line(moved.text.trim_end_matches('.'));
    let text = if moved.under_way {
        format!("{} {told}.", paint.warn("Under way:"))
    } else {
        format!("Now in {}: {told}.", paint.strong(place))
    };
    let mut shown = block::paragraph(&text, 0, terminal);
    for note in &moved.notes {
        shown.push_str(&block::paragraph(note, 2, terminal));
    }
    let hint = match moved.phase {
        _ if moved.under_way => "See how it goes: changeover status",
        Phase::Retired => return shown,
        Phase::Old => "On: changeover advance",
        Phase::Shadow | Phase::ReverseShadow | Phase::New => "To undo: changeover rollback",
    };
    shown.push_str(&format!("{}\n", paint.faint(hint)));
    shown
}
