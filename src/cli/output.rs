//! What verbs print: colour only where it is wanted, a closed pipe is no error.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::CliError;

static COLOUR: AtomicBool = AtomicBool::new(false);

/// Decides once for the process: not with `--no-color`, a set `NO_COLOR` (no-color.org) or a
/// terminal that can't.
pub fn choose_colour(wanted: bool) {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let able = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    COLOUR.store(wanted && able && !set("NO_COLOR"), Ordering::Relaxed);
}

/// Whether colours may go to this stream.
pub fn coloured(stream: &impl IsTerminal) -> bool {
    COLOUR.load(Ordering::Relaxed) && stream.is_terminal()
}

/// Writes to standard output. A reader who left (`| head`) ends the output, not the verb.
///
/// # Errors
/// Anything else that the system says.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::Failed(format!("can't write the output: {error}")))
        }
        _ => Ok(()),
    }
}

/// `1 step`, `2 steps`.
pub fn count(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}
