//! `changeover advance`: on to the next phase, through its gates.

use changeover_protocol::gate::{Gate, Override};
use changeover_protocol::{Phase, Share};
use clap::Args;

use crate::args::{Because, Which};
use crate::error::{CliError, Exit};
use crate::patience::with_word;
use crate::remote::Remote;
use crate::show;
use crate::terminal::Terminal;

/// Where to.
#[derive(Debug, Args)]
#[command(after_help = "\
What a move does: every service that takes part is told, each ends what it has begun, and only when \
all have said so does the next step begin. Between shadow and reverse-shadow writes wait for a \
moment (they are not refused). If that takes longer than its budget, the migration goes back and \
says who was late.

Examples:
  changeover advance                            to the next phase
  changeover advance --reason \"CHG-1042\"       the audit keeps why, and who
  changeover advance --share 10%                reverse-shadow, for a tenth of the keys at first
  changeover advance --override bake-time --reason \"a test system\"

Exit codes: 0 it is there, or under way (and that is said); 1 a gate is closed, or the move was given up (the reason is told, and the \
migration is where it was).")]
pub(crate) struct AdvanceArgs {
    #[command(flatten)]
    which: Which,

    /// The phase to go to: shadow, reverse-shadow or new. Default: the next
    #[arg(long, value_name = "PHASE")]
    to: Option<Phase>,

    /// Into reverse-shadow for this share of the keys only, as in 10%. Needs mirror = "dual-write"
    #[arg(long, value_name = "P%", value_parser = share)]
    share: Option<Share>,

    #[command(flatten)]
    overrides: Overrides,
}

/// Gates to be passed although they are closed.
#[derive(Debug, Default, Args)]
pub(crate) struct Overrides {
    /// Pass this gate although it is closed; may be given several times. The audit keeps it with its reason
    #[arg(long = "override", value_name = "GATE", requires = "reason", value_parser = gate)]
    gates: Vec<Gate>,

    #[command(flatten)]
    pub(crate) because: Because,
}

impl Overrides {
    /// As the protocol has them.
    pub(crate) fn list(&self) -> Vec<Override> {
        let reason = self.because.reason.clone().unwrap_or_default();
        self.gates.iter().map(|gate| Override { gate: *gate, reason: reason.clone() }).collect()
    }
}

/// Asks the run to go on.
///
/// # Errors
/// If there is no run, a gate is closed, or the move was given up.
pub(crate) async fn answer(args: &AdvanceArgs, terminal: &Terminal) -> Result<Exit, CliError> {
    let remote = Remote::find(&args.which).await?.because(&args.overrides.because)?;
    let overrides = args.overrides.list();
    let asked = remote.advance(args.to, args.share, &overrides);
    let moved = with_word(&remote, terminal, asked).await?;
    show::moved::show(&moved, terminal)?;
    Ok(Exit::Done)
}

fn gate(text: &str) -> Result<Gate, String> {
    text.parse().map_err(|_| {
        let names: Vec<&str> = Gate::ALL.iter().map(|gate| gate.name()).collect();
        format!("there is no such gate; there are {}", names.join(", "))
    })
}

/// `10%`, `10 %`, `0.5` or `10`.
fn share(text: &str) -> Result<Share, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    let percent = number.parse::<f64>().ok().filter(|percent| *percent > 0.0);
    let share = percent.and_then(Share::percent);
    share.ok_or_else(|| "give a share above 0 % and up to 100 %, as in 10%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_in_per_cent() {
        assert_eq!(share("100%"), Ok(Share::ALL));
        assert_eq!(share("10 %"), share("10"));
        assert_eq!(share("10%").map(Share::len), Ok(103));
        for wrong in ["0", "-1%", "101%", "ten", "", "NaN", "inf"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_gate_is_answered_with_those_there_are() {
        assert_eq!(gate("bake-time"), Ok(Gate::BakeTime));
        assert!(gate("bake").unwrap_err().contains("bake-time"));
    }
}
