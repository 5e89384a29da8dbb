//! From the options to what a stack should look like.

use std::path::Path;

use super::error::{CliError, tell};
use super::resolved::Resolved;
use crate::controller::worker::Goal;
use crate::desired::scope::scope;
use crate::desired::source::{Environment, Flags, Request, Source, find};
use crate::plan::Scope;

/// Generation of a state that is loaded once.
const ONLY: u64 = 1;

/// Where to look for stacks: `path` is the folder of `run`, and a verb without a daemon sees the
/// shell's variables.
pub fn request(options: &Resolved, path: Option<&Path>, inherit: bool) -> Request {
    let load = &options.load;
    Request {
        path: path.map(Path::to_owned),
        cwd: load.cwd.clone(),
        flags: Flags {
            files: load.files.clone(),
            project_name: load.project_name.clone(),
            project_directory: load.project_directory.clone(),
            env_files: load.env_files.clone(),
            profiles: load.profiles.clone(),
        },
        environment: Environment {
            variables: load.shell.clone(),
            inherit,
            stdin: load.stdin.clone(),
        },
        scope: Scope::default(),
    }
}

/// A stack as its files say now.
pub struct Meant {
    /// Its name.
    pub name: String,
    /// What it should look like.
    pub goal: Goal,
    /// Its files.
    pub source: Source,
}

/// The project that is meant, where its files say so without a mistake. Prints nothing.
pub fn project(options: &Resolved) -> Option<String> {
    let mut found = find(&request(options, None, true)).ok()?;
    let source = found.sources.pop().filter(|_| found.sources.is_empty())?;
    Some(source.load(ONLY).ok()?.goal.desired.project.name.clone())
}

/// Loads the one stack that is meant and limits it to these services and what they depend on.
/// Prints warnings.
///
/// # Errors
/// Everything that is wrong with the files, several stacks, or a service that isn't there.
pub fn load(options: &Resolved, services: &[String]) -> Result<Meant, CliError> {
    let mut found = find(&request(options, None, true))?;
    for finding in &found.findings {
        tell(finding);
    }
    let source = match (found.sources.pop(), &found.sources[..]) {
        (Some(source), []) => source,
        (last, others) => {
            let names: Vec<&str> = others.iter().chain(&last).map(|s| s.name.as_str()).collect();
            return Err(CliError::Usage(format!(
                "several stacks are here: {}; name the file of one with -f",
                names.join(", ")
            )));
        }
    };
    let loaded = source.load(ONLY)?;
    for warning in &loaded.warnings {
        tell(warning);
    }
    let mut goal = loaded.goal;
    goal.scope = scope(&goal.desired.project, services)?;
    Ok(Meant { name: source.name.clone(), goal, source })
}
