//! A move that takes long says why, to whoever waits for it: a command that hangs without a word is one that gets killed.

use std::time::Duration;

use crate::error::CliError;
use crate::remote::Remote;
use crate::show;
use crate::terminal::Terminal;

/// How long a move may take without a word, and how often is looked at what it waits for.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Waits for a move's answer; from time to time says on standard error what it waits for, if that has changed.
///
/// # Errors
/// Those of the answer.
pub(crate) async fn with_word<A>(
    remote: &Remote,
    terminal: &Terminal,
    answer: impl Future<Output = Result<A, CliError>>,
) -> Result<A, CliError> {
    tokio::pin!(answer);
    let mut said = None;
    loop {
        let look = async {
            tokio::time::sleep(LOOK_EVERY).await;
            remote.status().await
        };
        let status = tokio::select! {
            done = &mut answer => return done,
            status = look => status,
        };
        // A run that can't be asked just now is the answer's to tell of.
        let Some(waits) = status.ok().and_then(|status| show::status::waits(&status)) else { continue };
        if said.as_ref() != Some(&waits) {
            terminal.say(terminal.err.warn(format_args!("Still under way: {waits}")));
            said = Some(waits);
        }
    }
}
