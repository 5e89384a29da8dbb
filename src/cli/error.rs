//! How a verb fails: what is said, and with which exit code.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::api::diagnostic::{Diagnostic, Severity};
use crate::compose::LoadError;
use crate::desired::Diagnostics;
use crate::desired::scope::UnknownService;
use crate::engine::Fault;

/// How a verb ended when it did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Well.
    Well,
    /// There is something to do (`plan --detailed-exitcode`).
    Changes,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Well => Self::SUCCESS,
            Exit::Changes => Self::from(2),
        }
    }
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments make no sense together, or name something that isn't there.
    #[error("{0}")]
    Usage(String),
    /// The project's files are wrong.
    #[error("{0}")]
    Input(Diagnostics),
    /// The engine failed or can't be reached.
    #[error(transparent)]
    Engine(#[from] Fault),
    /// It was tried and didn't work.
    #[error("{0}")]
    Failed(String),
    /// A signal ended it.
    #[error("interrupted; what had begun was finished")]
    Interrupted,
}

impl CliError {
    /// 2 for usage and input, 130 after a signal, 1 for everything else.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Input(_) | Self::Engine(Fault::BadEndpoint { .. }) => 2,
            Self::Engine(_) | Self::Failed(_) => 1,
            Self::Interrupted => 130,
        }
    }

    /// Prints it on standard error.
    pub fn print(&self) {
        match self {
            Self::Input(diagnostics) => {
                for finding in &diagnostics.list {
                    tell(finding);
                }
            }
            other => complain("error", &other.to_string()),
        }
    }
}

impl From<Diagnostics> for CliError {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::Input(diagnostics)
    }
}

impl From<UnknownService> for CliError {
    fn from(error: UnknownService) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<LoadError> for CliError {
    fn from(LoadError(list): LoadError) -> Self {
        Self::Input(Diagnostics::new(list.into_iter().map(Diagnostic::from).collect()))
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Prints a warning on standard error.
pub fn warn(message: &str) {
    complain("warning", message);
}

/// Prints a finding as an error or a warning. A file below the current folder is named from here.
pub fn tell(finding: &Diagnostic) {
    let mut finding = finding.clone();
    let word = if finding.severity == Severity::Warning { "warning" } else { "error" };
    finding.severity = Severity::Error;
    let here = std::env::current_dir().unwrap_or_default();
    if let Ok(short) = finding.file.strip_prefix(&here)
        && !short.as_os_str().is_empty()
    {
        finding.file = short.to_owned();
    }
    complain(word, &finding.to_string());
}

fn complain(word: &str, message: &str) {
    let mut stderr = io::stderr().lock();
    let colour = super::output::coloured(&stderr);
    let code = if word == "error" { "31" } else { "33" };
    let head = if colour { format!("\x1b[1;{code}m{word}\x1b[0m") } else { word.to_owned() };
    let _ = writeln!(stderr, "{head}: {}", printable(message));
}

/// Text from outside made harmless for a terminal: control characters and characters that change
/// the direction of writing are shown as their code points. Line ends and tabs stay.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if turns || (c.is_control() && c != '\n' && c != '\t') {
            let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_steer_a_terminal_is_shown_as_code_points() {
        assert_eq!(
            printable("a\x1b[31mb\u{9b}c\u{202e}d\te\nf"),
            "a\\u{1b}[31mb\\u{9b}c\\u{202e}d\te\nf"
        );
    }

    #[test]
    fn input_is_two_the_engine_one_and_a_signal_a_hundred_and_thirty() {
        let endpoint = String::from("x");
        let bad = Fault::BadEndpoint { endpoint: endpoint.clone(), reason: String::new() };
        assert_eq!(CliError::Usage(String::new()).code(), 2);
        assert_eq!(CliError::Input(Diagnostics::default()).code(), 2);
        assert_eq!(CliError::Engine(bad).code(), 2);
        assert_eq!(CliError::Engine(Fault::SocketPermission { endpoint }).code(), 1);
        assert_eq!(CliError::Interrupted.code(), 130);
    }
}
