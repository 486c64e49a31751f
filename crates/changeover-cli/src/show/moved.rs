//! What came of a move.

use std::time::Duration;

use changeover_api::wire::Moved;
use changeover_protocol::Phase;

use super::{block, words};
use crate::error::CliError;
use crate::terminal::Terminal;

/// Shows where the migration is now, how long writes waited, and how to undo it.
///
/// # Errors
/// If standard output can't be written.
pub(crate) fn show(moved: &Moved, terminal: &Terminal) -> Result<(), CliError> {
    if terminal.json { terminal.answer_json(moved) } else { terminal.answer(&text(moved, terminal)) }
}

fn text(moved: &Moved, terminal: &Terminal) -> String {
    let paint = terminal.out;
    let place = words::place(moved.phase, moved.share_percent);
    let mut text = if moved.under_way {
        format!("{} {}", paint.warn("Under way:"), words::one_line(&moved.text))
    } else {
        format!("Now in {}: {}", paint.strong(place), words::one_line(&moved.text))
    };
    if moved.held_ms > 0 {
        text.push_str(&format!(". Writes waited {}", words::duration(Duration::from_millis(moved.held_ms))));
    }
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
