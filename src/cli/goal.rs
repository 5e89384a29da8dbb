//! From the options to what a stack should look like.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error::{CliError, warn};
use super::resolved::Resolved;
use crate::compose::{self, Project};
use crate::controller::worker::Goal;
use crate::desired::{Desired, Policy};
use crate::plan::Scope;

/// Generation of a state that is loaded once.
const ONLY: u64 = 1;

/// Loads the project and limits it to these services and what they depend on.
///
/// # Errors
/// Everything that is wrong with the files, or a service that isn't there.
pub fn load(options: &Resolved, services: &[String]) -> Result<Goal, CliError> {
    let project = Arc::new(compose::load(&options.load).map_err(CliError::Input)?);
    for warning in &project.warnings {
        warn(warning);
    }
    let scope = scope(&project, services)?;
    let desired = Desired::new(ONLY, project, &[], BTreeMap::new(), Policy::default())
        .map_err(|error| CliError::Usage(error.to_string()))?;
    for warning in &desired.warnings {
        warn(warning);
    }
    Ok(Goal { desired: Arc::new(desired), probes: BTreeMap::new(), scope })
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
    Err(CliError::Usage(format!(
        "no service `{name}` in project `{}`; {}",
        project.name,
        suggestion(name, project.services.keys().map(String::as_str), "services")
    )))
}

/// `did you mean …?`, or all names when none is near.
pub fn suggestion<'a>(
    wrong: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    noun: &str,
) -> String {
    let near = known
        .clone()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len().min(wrong.len()) / 3)
        .min();
    if let Some((_, name)) = near {
        return format!("did you mean `{name}`?");
    }
    let mut names: Vec<&str> = known.take(9).collect();
    if names.is_empty() {
        return format!("there are no {noun}");
    }
    if names.len() > 8 {
        names[8] = "…";
    }
    format!("its {noun} are: {}", names.join(", "))
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
            "no service `database` in project `p`; its services are: valkey, web"
        );
    }
}
