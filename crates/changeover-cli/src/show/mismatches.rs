//! Mismatches: what differs, how often, and one example of each shape with its input.

use changeover_api::wire::{Mismatch, Mismatches};

use super::block::{self, Facts};
use super::words;
use crate::error::CliError;
use crate::terminal::Terminal;

/// Shows the mismatches that are kept.
///
/// # Errors
/// If standard output can't be written.
pub(crate) fn show(found: &Mismatches, terminal: &Terminal) -> Result<(), CliError> {
    if terminal.json {
        return terminal.answer_json(found);
    }
    if found.mismatches.is_empty() {
        terminal.say("No mismatch is kept. Whether answers are compared at all, `changeover status` says.");
        return Ok(());
    }
    let now = words::now_ms();
    let blocks: Vec<String> = found.mismatches.iter().map(|one| mismatch(one, now, terminal)).collect();
    terminal.answer(&blocks.join("\n"))?;
    if found.dropped > 0 {
        let dropped = words::counted(found.dropped, "further one");
        terminal.say(format_args!("{dropped} had no room: there are more shapes than are kept."));
    }
    Ok(())
}

fn mismatch(one: &Mismatch, now: u64, terminal: &Terminal) -> String {
    let paint = terminal.out;
    let title = format!("{}: {}", paint.strong(words::one_line(&one.operation)), words::one_line(&one.shape));
    let times = match one.count {
        1 => "once".to_owned(),
        n => format!("{} times", words::count(n)),
    };
    let mut facts = Facts::new();
    let seen = format!("{times}, last at {}", words::moment(one.last_ms, now));
    facts.add("seen", seen);
    for (name, value) in [
        ("key", &one.key),
        ("input", &one.input),
        ("old", &one.old),
        ("new", &one.new),
        ("detail", &one.detail),
    ] {
        if let Some(value) = value {
            facts.add(name, words::one_line(value));
        }
    }
    block::paragraph(&title, 0, terminal) + &facts.render(terminal, paint)
}
