//! From the options to what a stack should look like.

use std::collections::BTreeSet;
use std::path::Path;

use super::error::{CliError, tell};
use super::resolved::Resolved;
use crate::api::diagnostic::did_you_mean;
use crate::compose::Project;
use crate::controller::worker::Goal;
use crate::desired::source::{Environment, Flags, Request, find};
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
        environment: Environment { variables: load.shell.clone(), inherit },
        scope: Scope::default(),
    }
}

/// A stack as its files say now.
pub struct Meant {
    /// Its name.
    pub name: String,
    /// What it should look like.
    pub goal: Goal,
}

/// Loads the one stack that is meant and limits it to these services and what they depend on.
/// Prints warnings.
///
/// # Errors
/// Everything that is wrong with the files, several stacks, or a service that isn't there.
pub fn load(options: &Resolved, services: &[String]) -> Result<Meant, CliError> {
    let found = find(&request(options, None, true))?;
    for finding in &found.findings {
        tell(finding);
    }
    let [source] = &found.sources[..] else {
        let names: Vec<&str> = found.sources.iter().map(|s| s.name.as_str()).collect();
        return Err(CliError::Usage(format!(
            "several stacks are here: {}; name the file of one with -f",
            names.join(", ")
        )));
    };
    let loaded = source.load(ONLY)?;
    for warning in &loaded.warnings {
        tell(warning);
    }
    let mut goal = loaded.goal;
    goal.scope = scope(&goal.desired.project, services)?;
    Ok(Meant { name: source.name.clone(), goal })
}

/// These services and, transitively, what they depend on; nothing given is everything.
///
/// # Errors
/// A service that isn't there, with the nearest that is.
pub fn scope(project: &Project, services: &[String]) -> Result<Scope, CliError> {
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<&str> = Vec::new();
    for name in services {
        known(project, name)?;
        open.push(name);
    }
    while let Some(name) = open.pop() {
        let Some(service) = project.services.get(name) else { continue };
        if wanted.insert(name.to_owned()) {
            open.extend(service.depends_on.keys().map(String::as_str));
        }
    }
    Ok(Scope { services: wanted })
}

/// Checks that an enabled service has this name.
///
/// # Errors
/// It hasn't: the message names the nearest, or the profile that hides it.
pub fn known(project: &Project, name: &str) -> Result<(), CliError> {
    if project.services.contains_key(name) {
        return Ok(());
    }
    if let Some(hidden) = project.disabled_services.get(name) {
        let profiles = hidden.canonical.expose().get("profiles").and_then(|p| p.as_array());
        let profile = profiles.and_then(|p| p.first()?.as_str()).unwrap_or("NAME");
        return Err(CliError::Usage(format!(
            "service `{name}` is under an inactive profile; add `--profile {profile}`"
        )));
    }
    let names = project.services.keys().map(String::as_str);
    let mend = did_you_mean(name, names).map_or_else(String::new, |mend| format!("; {mend}"));
    Err(CliError::Usage(format!("no service `{name}` in project `{}`{mend}", project.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::types::{Condition, Dependency, Service};

    fn project(services: &[(&str, &[&str])]) -> Project {
        let dependency =
            Dependency { condition: Condition::Started, required: true, restart: false };
        let services = services.iter().map(|(name, on)| {
            let depends_on = on.iter().map(|n| ((*n).to_owned(), dependency)).collect();
            let service = Service { name: (*name).into(), depends_on, ..Service::default() };
            ((*name).to_owned(), service)
        });
        Project { name: "p".into(), services: services.collect(), ..Project::default() }
    }

    fn names(scope: Scope) -> Vec<String> {
        scope.services.into_iter().collect()
    }

    #[test]
    fn a_service_brings_what_it_depends_on_and_nothing_else() {
        let project = project(&[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("d", &["a"])]);
        assert_eq!(names(scope(&project, &["c".into()]).expect("known")), ["a", "b", "c"]);
        assert!(scope(&project, &[]).expect("known").services.is_empty());
    }

    #[test]
    fn an_unknown_service_is_told_the_nearest() {
        let project = project(&[("valkey", &[]), ("web", &[])]);
        let message =
            |name: &str| scope(&project, &[name.into()]).expect_err("unknown").to_string();
        assert_eq!(message("valky"), "no service `valky` in project `p`; did you mean `valkey`?");
        assert_eq!(
            message("database"),
            "no service `database` in project `p`; known here: valkey, web"
        );
    }
}
