//! Compares desired and observed state and says what to do about it, in order.
//!
//! Nothing here has an effect: no engine, no runtime, no clock, no log. Each family of resources
//! has its file; [`plan`] runs them in the order in which later ones need earlier answers.
//!
//! A plan holds only what can be done *now*. What has to wait (a dependency that isn't healthy
//! yet, a backoff) is in the [`Report`], and the loop plans again when facts change.

pub mod check;
mod gate;
mod image;
mod leftover;
pub mod memory;
mod network;
mod orphan;
pub mod readiness;
pub mod recovery;
mod replace;
pub mod report;
mod running;
mod service;
mod slots;
mod step;
mod volume;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::clock::Now;
use crate::desired::Desired;
use crate::observed::Observed;

pub use memory::Memory;
pub use report::{Entry, Report, SlotReport, SlotStatus, Standing};
pub use step::{Cause, NetworkRef, Op, Plan, Resource, Step, StepId, Target};

/// What one call plans for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only these services and what they depend on; empty is all.
    pub services: std::collections::BTreeSet<String>,
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
    planner.networks();
    planner.volumes();
    for service in &desired.order {
        planner.service(service);
    }
    planner.orphans();
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
    /// Every slot runs and none is about to be stopped.
    running: bool,
    /// Every slot is ready.
    ready: bool,
    /// It is a job that ended well.
    completed: bool,
    /// Steps after which every slot has been started.
    starts: Vec<StepId>,
    /// It was down, and is being brought back.
    down: bool,
    /// Slot 1's container, as its children's namespaces need it.
    first: Option<Target>,
    /// Step that starts slot 1 again, if any.
    first_start: Option<StepId>,
    /// When slot 1 was last started.
    first_started: Option<crate::clock::Timestamp>,
    /// Latest creation time of its containers.
    created: Option<crate::clock::Timestamp>,
}

struct Planner<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    memory: &'a Memory,
    scope: &'a Scope,
    now: Now,
    /// Containers of this project by service.
    by_service: BTreeMap<&'a str, Vec<&'a crate::observed::Container>>,
    /// Live containers by fixed host port.
    ports: BTreeMap<(u16, &'a str), Vec<(&'a str, &'a crate::observed::Container)>>,
    /// Containers by name.
    names: BTreeMap<&'a str, &'a crate::observed::Container>,
    /// Image IDs by canonical reference.
    image_ids: BTreeMap<String, &'a str>,
    networks: BTreeMap<String, NetworkState>,
    volumes: BTreeMap<String, SupplyState>,
    images: BTreeMap<String, SupplyState>,
    services: BTreeMap<String, ServiceState>,
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
        let mut by_service: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        let mut ports: BTreeMap<(u16, &str), Vec<_>> = BTreeMap::new();
        let mut names = BTreeMap::new();
        for container in observed.containers.values() {
            names.insert(container.name.as_str(), container);
            if container.is_live() {
                for (ip, port, protocol) in &container.published {
                    let holders = ports.entry((*port, protocol.as_str())).or_default();
                    holders.push((ip.as_str(), container));
                }
            }
            let ours = container.project.as_deref() == Some(&desired.project.name);
            if let (true, false, Some(service)) = (ours, container.oneoff, &container.service) {
                by_service.entry(service).or_default().push(container);
            }
        }
        Self {
            desired,
            observed,
            memory,
            scope,
            now,
            by_service,
            ports,
            names,
            image_ids: image_ids(observed),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            services: BTreeMap::new(),
            steps: Vec::new(),
            report: Report::default(),
        }
    }

    fn in_scope(&self, service: &str) -> bool {
        self.scope.services.is_empty() || self.scope.services.contains(service)
    }

    fn push(&mut self, resource: Resource, op: Op, cause: Cause, mut after: Vec<StepId>) -> StepId {
        after.sort_unstable();
        after.dedup();
        let id = StepId(self.steps.len() + 1);
        self.steps.push(Step { id, after, resource, op, cause });
        id
    }

    fn note(&mut self, resource: Resource, standing: Standing) {
        self.report.entries.push(Entry { resource, standing });
    }
}

fn image_ids(observed: &Observed) -> BTreeMap<String, &str> {
    let mut ids = BTreeMap::new();
    for image in &observed.images {
        ids.insert(crate::observed::canonical_reference(&image.id), image.id.as_str());
        for reference in image.tags.iter().chain(&image.digests) {
            ids.insert(crate::observed::canonical_reference(reference), image.id.as_str());
        }
    }
    ids
}
