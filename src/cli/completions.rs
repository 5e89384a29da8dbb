//! `completions`: a script for the shell.

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs};
use super::error::{CliError, Exit};
use super::output::print;

/// Runs the verb.
///
/// # Errors
/// Standard output can't be written.
pub fn run(args: &CompletionsArgs) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "homeostat", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Well)
}
