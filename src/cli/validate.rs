//! `validate`: checks files without an engine.

use super::args::ValidateArgs;
use super::error::{CliError, Exit, tell};
use super::goal::request;
use super::output::{count, print};
use super::resolved::Resolved;
use crate::api::diagnostic::Severity;
use crate::desired::Diagnostics;
use crate::desired::validate;

/// Runs the verb: every path is a project of its own, and all mistakes of all of them are shown.
///
/// # Errors
/// The mistakes.
pub fn run(options: &Resolved, args: &ValidateArgs) -> Result<Exit, CliError> {
    let environment = request(options, None, true).environment;
    let found = validate(&args.paths, &options.load.cwd, &environment);
    let (warnings, mistakes): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|finding| finding.severity == Severity::Warning);
    for warning in &warnings {
        tell(warning);
    }
    if !mistakes.is_empty() {
        return Err(Diagnostics::new(mistakes).into());
    }
    print(&format!("{}: no mistakes\n", count(args.paths.len(), "path")))?;
    Ok(Exit::Well)
}
