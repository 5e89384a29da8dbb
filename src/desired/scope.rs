//! Which services a person means: names become a scope.

use std::collections::BTreeSet;

use crate::api::diagnostic::did_you_mean;
use crate::compose::types::{MountKind, Project, Service};
use crate::plan::{Resource, Scope};

/// A name that is no enabled service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownService {
    /// Its profile is inactive.
    #[error("service `{service}` is under an inactive profile; add `--profile {profile}`")]
    Disabled {
        /// The service.
        service: String,
        /// A profile that enables it.
        profile: String,
    },
    /// Nothing has this name.
    #[error("no service `{service}` in project `{project}`{mend}")]
    Missing {
        /// The name.
        service: String,
        /// The project.
        project: String,
        /// `; did you mean …`, or empty.
        mend: String,
    },
}

/// These services and, transitively, what they depend on; nothing given is everything.
///
/// # Errors
/// A service that isn't there, with the nearest that is.
pub fn scope(project: &Project, services: &[String]) -> Result<Scope, UnknownService> {
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
            open.extend(super::parents(service));
        }
    }
    Ok(Scope { services: wanted })
}

/// Checks that an enabled service has this name.
///
/// # Errors
/// It hasn't: the message names the nearest, or the profile that hides it.
pub fn known(project: &Project, name: &str) -> Result<(), UnknownService> {
    if project.services.contains_key(name) {
        return Ok(());
    }
    let service = name.to_owned();
    if let Some(hidden) = project.disabled_services.get(name) {
        let profiles = hidden.canonical.expose().get("profiles").and_then(|p| p.as_array());
        let profile = profiles.and_then(|p| p.first()?.as_str()).unwrap_or("NAME").to_owned();
        return Err(UnknownService::Disabled { service, profile });
    }
    let names = project.services.keys().map(String::as_str);
    let mend = did_you_mean(name, names).map_or_else(String::new, |mend| format!("; {mend}"));
    Err(UnknownService::Missing { service, project: project.name.clone(), mend })
}

/// Whether a scope is about this resource: it is a slot of one of its services, or something that
/// one of them uses.
pub fn concerns(project: &Project, scope: &Scope, resource: &Resource) -> bool {
    if scope.services.is_empty() {
        return true;
    }
    let any = |uses: &dyn Fn(&Service) -> bool| {
        scope.services.iter().filter_map(|name| project.services.get(name)).any(uses)
    };
    match resource {
        Resource::Slot(slot) => scope.services.contains(&slot.service),
        Resource::Image(reference) => any(&|s| s.image.as_ref() == Some(reference)),
        Resource::Network(name) => any(&|service| {
            let mut keys = service.networks.keys();
            keys.any(|key| project.networks.get(key).is_some_and(|n| n.name == *name))
        }),
        Resource::Volume(name) => any(&|service| {
            let volumes = service.mounts.iter().filter(|m| m.kind == MountKind::Volume);
            let mut keys = volumes.filter_map(|m| m.source.as_ref());
            keys.any(|key| project.volumes.get(key).is_some_and(|v| v.name == *name))
        }),
        Resource::Container(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::types::{Condition, Dependency, Network, ServiceNetwork};
    use crate::observed::Slot;

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

    #[test]
    fn a_scope_is_about_what_its_services_use() {
        let mut project = project(&[("a", &[]), ("b", &[])]);
        let back = Network { key: "back".into(), name: "p_back".into(), ..Network::default() };
        project.networks.insert("back".into(), back);
        if let Some(a) = project.services.get_mut("a") {
            a.networks.insert("back".into(), ServiceNetwork::default());
            a.image = Some("app:1".into());
        }
        let slot = |service: &str| {
            Resource::Slot(Slot { project: "p".into(), service: service.into(), number: 1 })
        };
        let of_a = scope(&project, &["a".into()]).expect("known");
        let of_b = scope(&project, &["b".into()]).expect("known");
        let all = [slot("a"), Resource::Network("p_back".into()), Resource::Image("app:1".into())];
        for resource in &all {
            assert!(concerns(&project, &of_a, resource), "{resource}");
            assert!(!concerns(&project, &of_b, resource), "{resource}");
            assert!(concerns(&project, &Scope::default(), resource), "{resource}");
        }
        assert!(!concerns(&project, &of_a, &slot("b")));
    }
}
