//! Joins a Compose project and a Stack into one goal. Reads nothing, but for the place of a finding
//! that names a line of the Compose files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::diagnostics::Diagnostics;
use super::files::ResourceFile;
use super::places;
use super::{
    Desired, ManualStopPolicy, OrderError, OrphanPolicy, Policy, ReadinessPolicy, RollbackPolicy,
    ServiceTraits, host_path,
};
use crate::api::diagnostic::{Diagnostic, did_you_mean};
use crate::api::document::Document;
use crate::api::stack::{
    ImagePull, ManualStop, Orphans, Paused, PolicySpec, Readiness, Rollback, ServiceSpec, Stack,
    StackSpec,
};
use crate::compose::types::{Condition, Project, PullPolicy};
use crate::controller::worker::Goal;
use crate::plan::Scope;
use crate::probe::spec::{Probe, SpecError};
use crate::recovery::{RecoveryPolicy, Scenario};

/// A Stack and where it was written.
#[derive(Clone, Copy)]
pub struct Written<'a> {
    /// The Stack.
    pub stack: &'a Stack,
    /// Its document.
    pub document: &'a Document<'a>,
    /// Its file.
    pub file: &'a ResourceFile,
}

impl Written<'_> {
    /// An error at the nearest key of a path.
    fn at(&self, path: &[&str], message: impl Into<String>) -> Diagnostic {
        Diagnostic::at(&self.file.path, &self.file.text, self.document.key(path), message)
    }
}

/// What became of a source.
#[derive(Debug, Clone)]
pub struct LoadedStack {
    /// What the stack should look like, and how to ask its services.
    pub goal: Goal,
    /// What a person should know; nothing of it stops the load.
    pub warnings: Vec<Diagnostic>,
    /// What only the engine can settle: with it, a plan tells where it is so.
    pub doubts: Vec<Diagnostic>,
    /// Every file that was read, sorted.
    pub files_read: Vec<PathBuf>,
    /// SHA-256, in hex, of all that the goal follows from: equal fingerprints mean equal goals.
    pub fingerprint: String,
}

/// Joins a loaded project and its Stack.
///
/// # Errors
/// Everything in the Stack that doesn't fit the project, each with its place.
pub fn assemble(
    generation: u64,
    mut project: Project,
    written: Option<Written<'_>>,
    recovery: RecoveryPolicy,
    scope: &Scope,
) -> Result<LoadedStack, Diagnostics> {
    let none = StackSpec::default();
    let spec = written.map_or(&none, |w| &w.stack.spec);
    let compose = project.config_files.first().cloned().unwrap_or_default();
    let mut files_read: Vec<PathBuf> = written.map(|w| w.file.path.clone()).into_iter().collect();
    files_read.extend(project.config_files.iter().chain(&project.read_files).cloned());
    files_read.sort();
    files_read.dedup();

    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    let mut probes = BTreeMap::new();
    if let Some(written) = written {
        if let Some(path) = &spec.source.host_path {
            if path.is_absolute() {
                host_path::rebase(&mut project, path);
            } else {
                let message = "hostPath must be an absolute path";
                errors.push(written.at(&["spec", "source", "hostPath"], message));
            }
        }
        if written.stack.metadata.name.as_str() != project.name {
            let message = format!(
                "the Stack is named `{}`, its Compose project `{}`",
                written.stack.metadata.name, project.name
            );
            let help = "give both one name: the project's is `name:` in the Compose file, or its \
                        folder's";
            let finding = written.at(&["metadata", "name"], message).help(help.to_owned());
            warnings.push(finding.warning());
        }
        for (name, service) in &spec.services {
            service_spec(&project, name, service, written, &mut errors, &mut probes);
        }
        unsupported(spec, written, &mut warnings);
    }
    image_pull(&mut project, spec.policy.image_pull);
    let doubts = unhealable(&project, spec, &probes, &compose, &mut errors);

    let fingerprint = fingerprint(&project, spec, &recovery, scope);
    let desired = Desired::new(
        generation,
        Arc::new(project),
        &spec.recovery_order,
        traits(spec, &probes),
        policy(&spec.policy, recovery),
    );
    let desired = desired.map_err(|error| errors.push(order_error(&error, written, &compose)));
    let Ok(mut desired) = desired else { return Err(Diagnostics::new(errors).read(files_read)) };
    if !errors.is_empty() {
        return Err(Diagnostics::new(errors).read(files_read));
    }
    desired.files = super::digest::contents(&files_read);
    for dropped in &desired.overruled {
        let depends_on = match &dropped.edge {
            Some((from, to)) => places::dependency(&desired.project.config_files, from, to),
            None => None,
        };
        let depends_on = depends_on.map(|place| format!(" ({place})")).unwrap_or_default();
        let finding = match written {
            Some(written) => {
                let line = places::in_order(written, &dropped.earlier);
                let order = format!(" ({}:{})", written.file.path.display(), line.line);
                let message = dropped.message(&order, &depends_on);
                Diagnostic::at(&written.file.path, &written.file.text, line, message)
            }
            None => Diagnostic::file(&compose, dropped.message("", &depends_on)),
        };
        warnings.push(finding.warning());
    }
    let goal = Goal { desired: Arc::new(desired), probes, scope: scope.clone() };
    Ok(LoadedStack { goal, warnings, doubts, files_read, fingerprint })
}

fn service_spec(
    project: &Project,
    name: &str,
    service: &ServiceSpec,
    written: Written<'_>,
    errors: &mut Vec<Diagnostic>,
    probes: &mut BTreeMap<String, Arc<Probe>>,
) {
    let path = ["spec", "services", name];
    let enabled = project.services.contains_key(name);
    if !enabled && !project.disabled_services.contains_key(name) {
        let known = project.services.keys().chain(project.disabled_services.keys());
        let help = did_you_mean(name, known.map(String::as_str));
        let message = format!("`{name}` is no service of the project");
        errors.push(written.at(&path, message).help(help));
        return;
    }
    match Probe::of(service) {
        Ok(Some(probe)) if enabled => {
            probes.insert(name.to_owned(), Arc::new(probe));
        }
        Ok(_) => {}
        Err(error) => {
            let field = match &error {
                SpecError::Value { field, .. } => field,
                SpecError::Endpoint { .. } => "endpoint",
            };
            let path: Vec<&str> = path.into_iter().chain(field.split('.')).collect();
            errors.push(written.at(&path, format!("service `{name}`: {error}")));
        }
    }
}

/// Accepted fields that nothing acts upon yet: silence would be a promise.
fn unsupported(spec: &StackSpec, written: Written<'_>, warnings: &mut Vec<Diagnostic>) {
    let mut warn = |path: &[&str]| {
        let message =
            format!("{} is not supported yet by this version: it does nothing", path.join("."));
        let place: Vec<&str> = ["spec"].iter().chain(path).copied().collect();
        warnings.push(written.at(&place, message).warning());
    };
    for (name, service) in &spec.services {
        for (key, set) in [("ephemeral", service.ephemeral), ("gpu", service.gpu.is_some())] {
            if set {
                warn(&["services", name, key]);
            }
        }
    }
}

fn image_pull(project: &mut Project, wanted: Option<ImagePull>) {
    let wanted = match wanted {
        None | Some(ImagePull::Missing) => return,
        Some(ImagePull::Always) => PullPolicy::Always,
        Some(ImagePull::Never) => PullPolicy::Never,
    };
    for service in project.services.values_mut() {
        if !service.canonical.expose().contains_key("pull_policy") {
            service.pull_policy = wanted;
        }
    }
}

/// Services that somebody waits for to be healthy, but that nobody can call healthy. Returns those
/// whose images decide it.
fn unhealable(
    project: &Project,
    spec: &StackSpec,
    probes: &BTreeMap<String, Arc<Probe>>,
    compose: &std::path::Path,
    errors: &mut Vec<Diagnostic>,
) -> Vec<Diagnostic> {
    let mut doubts = Vec::new();
    let by_driver = spec.policy.readiness != Some(Readiness::Docker);
    let help = "add a healthcheck, or a driver or probe under spec.services of a Stack, or wait \
                for service_started";
    for (waiting, service) in &project.services {
        for (name, dependency) in &service.depends_on {
            let Some(target) = project.services.get(name) else { continue };
            let answered = target.healthcheck.as_ref().is_some_and(|h| !h.disabled)
                || (by_driver && probes.contains_key(name));
            if dependency.condition != Condition::Healthy || answered {
                continue;
            }
            if healthcheck_disabled(target.canonical.expose()) {
                let message = format!(
                    "service `{waiting}` waits for `{name}` to be healthy, but its healthcheck is \
                     disabled and no driver or probe answers for it"
                );
                errors.push(Diagnostic::file(compose, message).help(help.to_owned()));
            } else {
                // Its image may bring a HEALTHCHECK; only the engine knows.
                let message = format!(
                    "service `{waiting}` waits for `{name}` to be healthy, but only a HEALTHCHECK \
                     in its image could say so"
                );
                doubts.push(Diagnostic::file(compose, message).help(help.to_owned()).warning());
            }
        }
    }
    doubts
}

fn healthcheck_disabled(service: &serde_json::Map<String, Value>) -> bool {
    let Some(check) = service.get("healthcheck") else { return false };
    let none = |test: &Value| match test {
        Value::Array(items) => items.first().and_then(Value::as_str) == Some("NONE"),
        other => other.as_str() == Some("NONE"),
    };
    check.get("disable") == Some(&Value::Bool(true)) || check.get("test").is_some_and(none)
}

fn traits(
    spec: &StackSpec,
    probes: &BTreeMap<String, Arc<Probe>>,
) -> BTreeMap<String, ServiceTraits> {
    let entries = spec.services.iter().map(|(name, service)| {
        let traits = ServiceTraits {
            probed: probes.contains_key(name),
            job: service.job,
            optional: service.optional,
            ready_within: service.ready_within.map(crate::api::quantity::Duration::get),
        };
        (name.clone(), traits)
    });
    entries.collect()
}

fn policy(spec: &PolicySpec, recovery: RecoveryPolicy) -> Policy {
    Policy {
        readiness: match spec.readiness {
            None | Some(Readiness::Either) => ReadinessPolicy::Either,
            Some(Readiness::Docker) => ReadinessPolicy::Docker,
            Some(Readiness::Both) => ReadinessPolicy::Both,
        },
        orphans: match spec.orphans {
            None | Some(Orphans::Warn) => OrphanPolicy::Warn,
            Some(Orphans::Remove) => OrphanPolicy::Remove,
        },
        rollback: match spec.rollback {
            None | Some(Rollback::Stateless) => RollbackPolicy::Stateless,
            Some(Rollback::Always) => RollbackPolicy::Always,
            Some(Rollback::Never) => RollbackPolicy::Never,
        },
        unpause: spec.paused == Some(Paused::Unpause),
        manual_stop: match spec.manual_stop {
            None | Some(ManualStop::Hold) => ManualStopPolicy::Hold,
            Some(ManualStop::Revert) => ManualStopPolicy::Revert,
        },
        recovery: recovery.with_min_healthy(spec.min_healthy),
    }
}

fn order_error(
    error: &OrderError,
    written: Option<Written<'_>>,
    compose: &std::path::Path,
) -> Diagnostic {
    let message = error.to_string();
    let Some(written) = written else { return Diagnostic::file(compose, message) };
    let OrderError::UnknownService { name, .. } = error else {
        return Diagnostic::file(compose, message);
    };
    let at = places::in_order(written, name);
    Diagnostic::at(&written.file.path, &written.file.text, at, message)
}

fn fingerprint(
    project: &Project,
    spec: &StackSpec,
    recovery: &RecoveryPolicy,
    scope: &Scope,
) -> String {
    let disabled: Vec<&String> = project.disabled_services.keys().collect();
    let pulls: Vec<String> =
        project.services.values().map(|s| format!("{:?}", s.pull_policy)).collect();
    let budgets: Vec<String> =
        Scenario::ALL.iter().map(|s| format!("{:?}", recovery.budget(*s))).collect();
    // The source itself shows in the project that came of it.
    let said = json!({
        "project": project.canonical.expose(),
        "name": project.name,
        "disabled": disabled,
        "pulls": pulls,
        "working_dir": project.working_dir,
        "config_files": project.config_files,
        "recoveryOrder": spec.recovery_order,
        "services": spec.services,
        "policy": spec.policy,
        "scope": scope.services,
        "escalation": budgets,
    });
    let digest = Sha256::digest(said.to_string().as_bytes());
    digest.iter().map(|b| format!("{b:02x}")).collect()
}
