//! `validate`: checks files without an engine.

use std::path::Path;

use super::args::ValidateArgs;
use super::error::{CliError, Exit, warn};
use super::output::{count, print};
use super::resolved::Resolved;
use crate::compose::{self, LoadError, LoadOptions};
use crate::desired::{Desired, Policy};

/// Runs the verb: every path is a project of its own, and all mistakes of all of them are shown.
///
/// # Errors
/// The mistakes.
pub fn run(options: &Resolved, args: &ValidateArgs) -> Result<Exit, CliError> {
    let mut mistakes = Vec::new();
    let mut good = String::new();
    for path in &args.paths {
        match check(options, path) {
            Ok(line) => good.push_str(&line),
            Err(CliError::Input(LoadError(found))) => mistakes.extend(found),
            Err(error) => return Err(error),
        }
    }
    print(&good)?;
    if mistakes.is_empty() { Ok(Exit::Well) } else { Err(CliError::Input(LoadError(mistakes))) }
}

fn check(options: &Resolved, path: &Path) -> Result<String, CliError> {
    let full = options.load.cwd.join(path);
    let mut load = LoadOptions { files: Vec::new(), ..options.load.clone() };
    if full.is_dir() {
        load.cwd = full;
    } else {
        load.files = vec![full];
    }
    let project = compose::load(&load).map_err(CliError::Input)?;
    for warning in &project.warnings {
        warn(warning);
    }
    let services = count(project.services.len(), "service");
    let line = format!("{}: well; project {}, {services}\n", path.display(), project.name);
    Desired::new(1, project.into(), &[], Default::default(), Policy::default())
        .map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))?;
    Ok(line)
}
