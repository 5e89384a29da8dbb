//! Compares desired and observed state and says what to do about it, in order.
//!
//! Nothing here has an effect: no engine, no runtime, no clock, no log. Each family of resources
//! has its file; [`plan`] runs them in the order in which later ones need earlier answers.
//!
//! A plan holds only what can be done *now*. What has to wait (a dependency that isn't healthy
//! yet, a backoff) is in the [`Report`], and the loop plans again when facts change.

pub mod age;
mod allowance;
pub mod check;
mod conflict;
mod foreign;
mod gate;
pub mod hold;
mod image;
mod leftover;
pub mod memory;
mod network;
mod orphan;
pub mod readiness;
pub mod recovery;
mod replace;
pub mod report;
mod rollback;
pub mod running;
mod service;
mod slots;
mod step;
mod teardown;
mod tier;
pub mod update;
mod updating;
pub mod volume;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::{Now, Timestamp};
use crate::desired::Desired;
use crate::engine::{ContainerId, NetworkSummary};
use crate::observed::{Container, Observed, Slot, canonical_reference};

pub use memory::Memory;
pub use report::{Entry, Report, SlotReport, SlotStatus, Standing};
pub use step::{Cause, Followed, NetworkRef, Op, Plan, Resource, Step, StepId, Target};
pub use teardown::teardown;

/// What one call plans for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only these services and what they depend on; empty is all.
    pub services: BTreeSet<String>,
}

/// Compares `desired` with `observed` and plans what can be done now.
pub fn plan(
    desired: &Desired,
    observed: &Observed,
    memory: &Memory,
    scope: &Scope,
    now: Now,
) -> (Plan, Report) {
    let mut planner = Planner::new(desired, observed, memory, scope, now);
    // What is held as a whole needs nothing.
    let held = memory.holds.of_stack().is_some();
    if !held {
        planner.networks();
        planner.volumes();
    }
    for name in &desired.order {
        if let Some(service) = desired.project.services.get(name) {
            planner.service(service);
        }
    }
    if !held {
        planner.orphans();
    }
    planner.keep_within_tier();
    planner.report.refused = planner.refused();
    (Plan { generation: desired.generation, steps: planner.steps }, planner.report)
}

/// Where a desired network stands.
#[derive(Debug, Clone)]
enum NetworkState {
    Present(String),
    Creating(StepId),
    Blocked(String),
    Busy,
}

/// Where a desired volume or image stands.
#[derive(Debug, Clone)]
enum SupplyState {
    Present,
    Coming(StepId),
    Blocked(String),
    Busy,
}

/// What later services need to know of an earlier one.
#[derive(Debug, Clone, Default)]
struct ServiceState {
    /// Every slot runs, has ended well, or is started by this plan.
    up: bool,
    /// Every slot is ready or has ended well, and none is about to be stopped.
    ready: bool,
    /// Every slot ended well; it has at least one.
    completed: bool,
    /// No container is wanted: nobody waits for it.
    empty: bool,
    /// A person wants all of it to stay as it is.
    held: bool,
    /// A slot that isn't up will be, as far as anybody can tell.
    pending: bool,
    /// A slot runs and doesn't serve.
    unhealthy: bool,
    /// A slot runs, and neither Docker nor a driver can ever call it healthy.
    unchecked: bool,
    /// Steps after which every slot has been started.
    starts: Vec<StepId>,
    /// The first slot's container, as its children's namespaces need it.
    first: Option<Target>,
    /// Step that starts the first slot again, if any.
    first_start: Option<StepId>,
    /// When the first slot's container was last started; `None` while it doesn't run.
    first_started: Option<Timestamp>,
    /// When the first slot's container was made.
    first_created: Option<Timestamp>,
}

struct Planner<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    memory: &'a Memory,
    /// The scope with what it depends on; `None` is everything.
    scope: Option<BTreeSet<&'a str>>,
    now: Now,
    /// Containers of this project by service.
    by_service: BTreeMap<&'a str, Vec<&'a Container>>,
    /// Live containers by fixed host port and protocol.
    ports: BTreeMap<(u16, &'a str), Vec<(&'a str, &'a Container)>>,
    /// Live containers by network name and IPv4 address.
    addresses: BTreeMap<(&'a str, &'a str), &'a Container>,
    /// Containers by name; follows the renames of this plan.
    names: BTreeMap<Cow<'a, str>, &'a Container>,
    /// The engine's networks by name, which may not be unique.
    found_networks: BTreeMap<&'a str, Vec<&'a NetworkSummary>>,
    /// Number of this project's containers by network name and ID.
    members: BTreeMap<&'a str, BTreeMap<&'a str, usize>>,
    /// Image IDs by reference as the services write it.
    image_ids: BTreeMap<&'a str, &'a str>,
    networks: BTreeMap<&'a str, NetworkState>,
    volumes: BTreeMap<&'a str, SupplyState>,
    images: BTreeMap<String, SupplyState>,
    services: BTreeMap<&'a str, ServiceState>,
    /// IDs of networks that this plan removes, their members detached.
    dissolved: BTreeSet<&'a str>,
    /// Steps after which a container of ours no longer holds its ports and addresses.
    stopped: BTreeMap<&'a ContainerId, StepId>,
    /// Steps that remove a container.
    removed: BTreeMap<&'a ContainerId, StepId>,
    /// Steps that other resources need of a container (its name, its endpoint); its own follow.
    lent: BTreeMap<&'a ContainerId, StepId>,
    /// The slot of a service whose update this plan begins.
    updating: BTreeMap<String, Slot>,
    /// While the project brakes: the one slot whose recovery is under way.
    turn: Option<Slot>,
    steps: Vec<Step>,
    report: Report,
}

impl<'a> Planner<'a> {
    fn new(
        desired: &'a Desired,
        observed: &'a Observed,
        memory: &'a Memory,
        scope: &'a Scope,
        now: Now,
    ) -> Self {
        let mut planner = Self {
            desired,
            observed,
            memory,
            scope: closure(desired, scope),
            now,
            by_service: BTreeMap::new(),
            ports: BTreeMap::new(),
            addresses: BTreeMap::new(),
            names: BTreeMap::new(),
            found_networks: BTreeMap::new(),
            members: BTreeMap::new(),
            image_ids: image_ids(desired, observed),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            services: BTreeMap::new(),
            dissolved: BTreeSet::new(),
            stopped: BTreeMap::new(),
            removed: BTreeMap::new(),
            lent: BTreeMap::new(),
            updating: BTreeMap::new(),
            turn: memory.incidents.recovering().next().cloned(),
            steps: Vec::new(),
            report: Report::default(),
        };
        for network in observed.networks.values() {
            planner.found_networks.entry(&network.name).or_default().push(network);
        }
        for container in observed.containers.values() {
            planner.index(container);
        }
        planner
    }

    fn index(&mut self, container: &'a Container) {
        self.names.insert(Cow::Borrowed(&container.name), container);
        if container.is_live() {
            for port in &container.published {
                let holders = self.ports.entry((port.host_port, &port.protocol)).or_default();
                holders.push((&port.host_ip, container));
            }
            for (network, endpoint) in &container.networks {
                if !endpoint.ipv4.is_empty() {
                    self.addresses.insert((network, &endpoint.ipv4), container);
                }
            }
        }
        if !self.is_ours(container) {
            return;
        }
        if let Some(service) = &container.service {
            self.by_service.entry(service).or_default().push(container);
        }
        for (network, endpoint) in &container.networks {
            let ids = self.members.entry(network).or_default();
            *ids.entry(&endpoint.network_id).or_default() += 1;
        }
    }

    /// A container of this project that isn't a one-off.
    fn is_ours(&self, container: &Container) -> bool {
        !container.oneoff && container.project.as_deref() == Some(&self.desired.project.name)
    }

    fn in_scope(&self, service: &str) -> bool {
        self.scope.as_ref().is_none_or(|scope| scope.contains(service))
    }

    fn push(&mut self, resource: Resource, op: Op, cause: Cause, mut after: Vec<StepId>) -> StepId {
        if let Some(step) = op.container().and_then(|id| self.lent.get(id)) {
            after.push(*step);
        }
        after.sort_unstable();
        after.dedup();
        let id = StepId(self.steps.len() + 1);
        self.steps.push(Step { id, after, resource, op, cause });
        id
    }

    /// Refused calls of whatever is still to be done, waits for its next attempt, or is at it.
    fn refused(&self) -> BTreeSet<String> {
        let waiting =
            self.report.entries.iter().filter_map(|e| {
                matches!(e.standing, Standing::Refused { .. }).then_some(&e.resource)
            });
        let planned = self.steps.iter().map(|step| &step.resource);
        let wanted = waiting.chain(planned).chain(&self.memory.busy);
        wanted
            .filter_map(|resource| self.memory.backoff_of(resource)?.refused.as_ref())
            .map(|refusal| refusal.call.clone())
            .collect()
    }

    fn note(&mut self, resource: Resource, standing: Standing) {
        self.report.entries.push(Entry { resource, standing });
    }

    /// Wall-clock time since `then`; `None` when `then` lies in the future, after a clock jump.
    fn elapsed(&self, then: Timestamp) -> Option<Duration> {
        (then <= self.now.wall).then(|| self.now.wall.since(then))
    }
}

/// The services of a scope with everything that they depend on.
fn closure<'a>(desired: &'a Desired, scope: &'a Scope) -> Option<BTreeSet<&'a str>> {
    if scope.services.is_empty() {
        return None;
    }
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = scope.services.iter().map(String::as_str).collect();
    while let Some(name) = open.pop() {
        let Some(service) = desired.project.services.get(name) else { continue };
        if found.insert(name) {
            open.extend(service.depends_on.keys().map(String::as_str));
            open.extend(crate::desired::parents(service));
        }
    }
    Some(found)
}

fn image_ids<'a>(desired: &'a Desired, observed: &'a Observed) -> BTreeMap<&'a str, &'a str> {
    let mut found = BTreeMap::new();
    for image in observed.images.iter() {
        found.insert(canonical_reference(&image.id), image.id.as_str());
        for reference in image.tags.iter().chain(&image.digests) {
            found.insert(canonical_reference(reference), image.id.as_str());
        }
    }
    let services = desired.project.services.values();
    let references: BTreeSet<&str> = services.filter_map(|s| s.image.as_deref()).collect();
    references.into_iter().filter_map(|r| Some((r, *found.get(&canonical_reference(r))?))).collect()
}
