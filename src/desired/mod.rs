//! The desired state of one stack: files turned into one immutable value with a generation.

mod assemble;
mod diagnostics;
pub mod digest;
mod escalation;
mod files;
mod host_path;
mod mistakes;
pub mod order;
mod places;
pub mod scope;
pub mod shell;
pub mod source;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::compose::types::{Condition, Namespace, Project, Service};
use crate::recovery::RecoveryPolicy;

pub use assemble::LoadedStack;
pub use diagnostics::Diagnostics;
pub use order::OrderError;
pub use validate::validate;

/// How long a softly ordered predecessor may keep others waiting, unless `readyWithin` says.
pub const SOFT_DEADLINE: Duration = Duration::from_secs(60);

/// What a stack should look like.
#[derive(Debug, Clone)]
pub struct Desired {
    /// Grows with every change of the files.
    pub generation: u64,
    /// The Compose project.
    pub project: Arc<Project>,
    /// Services in an order that respects hard edges, then the recovery order, then names.
    pub order: Vec<String>,
    /// Soft predecessors of each service: started first when both are down.
    pub soft: BTreeMap<String, BTreeSet<String>>,
    /// Configuration hash of each service that shares nothing with another container.
    pub hashes: BTreeMap<String, String>,
    /// What the Stack says of each service.
    pub services: BTreeMap<String, ServiceTraits>,
    /// Policies.
    pub policy: Policy,
    /// Parts of `recoveryOrder` that `depends_on` overrules.
    pub overruled: Vec<order::Dropped>,
    /// Digest of the files' contents as they are written, before any variable has its value:
    /// another one is an edit. Empty where nobody took it.
    pub files: String,
}

/// What a Stack adds to a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceTraits {
    /// A driver or probe answers for it.
    pub probed: bool,
    /// It runs to completion.
    pub job: bool,
    /// Others don't softly wait for it.
    pub optional: bool,
    /// Time to become ready.
    pub ready_within: Option<Duration>,
}

/// What makes a service ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadinessPolicy {
    /// Docker's health or the driver.
    #[default]
    Either,
    /// Docker's health only.
    Docker,
    /// Both.
    Both,
}

/// What to do with containers of services that are no longer in the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OrphanPolicy {
    /// Say so.
    #[default]
    Warn,
    /// Stop and remove them.
    Remove,
}

/// Which updates that failed go back by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RollbackPolicy {
    /// Those that can't have rewritten data.
    #[default]
    Stateless,
    /// All.
    Always,
    /// None.
    Never,
}

/// What becomes of what a person stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ManualStopPolicy {
    /// It stays stopped.
    #[default]
    Hold,
    /// It is started again.
    Revert,
}

/// Policies of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// What makes a service ready.
    pub readiness: ReadinessPolicy,
    /// Orphans.
    pub orphans: OrphanPolicy,
    /// Updates that failed.
    pub rollback: RollbackPolicy,
    /// Unpause what somebody paused.
    pub unpause: bool,
    /// What a person stopped.
    pub manual_stop: ManualStopPolicy,
    /// How often recoveries may be tried, and when they brake.
    pub recovery: RecoveryPolicy,
}

impl Desired {
    /// Builds the desired state; refuses what can't be ordered.
    pub fn new(
        generation: u64,
        project: Arc<Project>,
        recovery_order: &[String],
        mut services: BTreeMap<String, ServiceTraits>,
        policy: Policy,
    ) -> Result<Self, OrderError> {
        let waited_for: BTreeSet<&str> = project
            .services
            .values()
            .flat_map(|s| &s.depends_on)
            .filter(|(_, d)| d.condition == Condition::CompletedSuccessfully)
            .map(|(name, _)| name.as_str())
            .collect();
        for name in project.services.keys() {
            let traits = services.entry(name.clone()).or_default();
            traits.job |= waited_for.contains(name.as_str());
        }
        let optional: BTreeSet<&str> =
            services.iter().filter(|(_, t)| t.optional).map(|(n, _)| n.as_str()).collect();
        let order::Ordering { order, soft, dropped: overruled } =
            order::order(&project, recovery_order, &optional)?;
        let hashes = project
            .services
            .values()
            .filter(|s| parents(s).is_empty())
            .map(|s| (s.name.clone(), crate::compose::service_hash(s.canonical.expose())))
            .collect();
        let files = String::new();
        Ok(Self { generation, project, order, soft, hashes, services, policy, overruled, files })
    }

    /// What the Stack says of a service.
    pub fn traits(&self, service: &str) -> ServiceTraits {
        self.services.get(service).cloned().unwrap_or_default()
    }

    /// The hash of a service whose containers share namespaces with these parents' containers.
    pub fn bound_hash(&self, service: &Service, ids: &BTreeMap<String, String>) -> String {
        match self.hashes.get(&service.name) {
            Some(hash) => hash.clone(),
            None => crate::compose::bound_service_hash(service, ids),
        }
    }
}

/// Services whose first container this one shares a namespace or volumes with, sorted.
pub fn parents(service: &Service) -> Vec<&str> {
    let mut parents: Vec<&str> = [&service.network_mode, &service.ipc, &service.pid]
        .into_iter()
        .flatten()
        .filter_map(|mode| match mode {
            Namespace::Service(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    for source in &service.volumes_from {
        let name = source.split(':').next().unwrap_or_default();
        if name != "container" {
            parents.push(name);
        }
    }
    parents.sort_unstable();
    parents.dedup();
    parents
}

/// The same without `volumes_from`: a restart of these parents takes the namespace away.
pub fn namespace_parents(service: &Service) -> Vec<&str> {
    let mut parents: Vec<&str> = [&service.network_mode, &service.ipc, &service.pid]
        .into_iter()
        .flatten()
        .filter_map(|mode| match mode {
            Namespace::Service(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    parents.sort_unstable();
    parents.dedup();
    parents
}

/// A service's networks in the order in which they are attached: higher priority first, then by
/// key. The first is the one that the create call names.
pub fn network_order(service: &Service) -> Vec<&str> {
    let mut keys: Vec<(&str, i64)> =
        service.networks.iter().map(|(k, n)| (k.as_str(), n.priority)).collect();
    keys.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    keys.into_iter().map(|(k, _)| k).collect()
}

#[cfg(test)]
mod tests;
