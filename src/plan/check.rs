//! Checks a plan before it runs: what no plan may do, whatever the planner thinks.
//!
//! It shares types with the planner and nothing else: every rule is computed anew from the desired
//! and the observed state, so that one mistake doesn't pass twice.
//!
//! # Guarantees
//! A plan that passes touches only this project's containers and networks, removes no volume (there
//! is no such operation), stops nothing before its replacement is made, and starts nothing before
//! what it needs.

mod order;
mod ownership;
mod recovery;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::step::{Op, Plan, Resource, Step, StepId, Target};
use super::{Memory, NetworkRef};
use crate::clock::Now;
use crate::desired::Desired;
use crate::engine::{ContainerId, Tier};
use crate::observed::{Container, Observed, Slot};

/// Why a plan may not run. Each names the step; it is a defect of the planner, so the mend is to
/// report it with the plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Violation {
    /// Steps aren't numbered from 1 in their order.
    #[error("step {0} is out of sequence")]
    Misnumbered(StepId),
    /// A step waits for itself, for a later one, or for one that isn't there.
    #[error("step {0} waits for {1}, which is no earlier step")]
    ForwardEdge(StepId, StepId),
    /// A step refers to the outcome of a step that doesn't make it or that it doesn't follow.
    #[error("step {0} uses what {1} makes without following it")]
    DanglingTarget(StepId, StepId),
    /// A container that isn't there, of another project, or a one-off.
    #[error("step {0} touches container {1}, which isn't this project's")]
    ForeignContainer(StepId, ContainerId),
    /// A service that isn't in the project, or a slot of another project.
    #[error("step {0} makes a container of {1}, which nobody wants")]
    UnwantedSlot(StepId, String),
    /// A network or volume that isn't the project's to make or to remove.
    #[error("step {0} changes {1}, which isn't this project's")]
    ForeignSupply(StepId, String),
    /// It makes what is there already.
    #[error("step {0} makes {1} a second time")]
    Duplicate(StepId, String),
    /// A connect to a network that isn't the one of that key.
    #[error("step {0} connects to another network than {1}")]
    WrongNetwork(StepId, String),
    /// It works on something that another run works on.
    #[error("step {0} touches {1}, which a running step works on")]
    Busy(StepId, String),
    /// It stops, restarts, removes or detaches the container that homeostat runs in.
    #[error("step {0} touches homeostat's own container")]
    Own(StepId),
    /// Its operation is above the tier in which steps are carried out.
    #[error("step {0} does `{1}`, which the tier {2} doesn't allow")]
    AboveTier(StepId, &'static str, Tier),
    /// It touches a service that a person holds.
    #[error("step {0} touches {1}, which is held")]
    Held(StepId, String),
    /// It comes before the backoff of its resource ends.
    #[error("step {0} touches {1} within its backoff")]
    Backoff(StepId, String),
    /// It recovers a service for which nothing more may be tried.
    #[error("step {0} recovers {1}, whose attempts are spent")]
    Exhausted(StepId, String),
    /// It recovers a second service while most of the project is down.
    #[error("step {0} recovers {1} beside another one, and the project brakes")]
    Braked(StepId, String),
    /// A running container is removed without being stopped before.
    #[error("step {0} removes running container {1} without stopping it first")]
    RemovesRunning(StepId, ContainerId),
    /// A wanted container goes and nothing takes its place.
    #[error("step {0} leaves service {1} with fewer containers than it has and wants")]
    Depletes(StepId, String),
    /// The container that an update keeps goes before the new one has proved itself.
    #[error("step {0} removes {1}, which an update keeps")]
    RemovesKept(StepId, ContainerId),
    /// An old container is stopped before its replacement is made.
    #[error("step {0} stops {1} before its replacement is made")]
    StopsBeforeCreate(StepId, ContainerId),
    /// A start comes before, or beside, that of a dependency.
    #[error("step {0} starts {1} before its dependency {2}")]
    StartsBeforeDependency(StepId, String, String),
    /// A start whose dependency doesn't meet its condition.
    #[error("step {0} starts {1}, whose dependency {2} isn't {3}")]
    UnmetDependency(StepId, String, String, &'static str),
    /// A detached container stays detached.
    #[error("step {0} disconnects {1} from {2} and nothing connects it again")]
    LeftDetached(StepId, ContainerId, String),
    /// Two steps change one thing, and either could come first.
    #[error("steps {0} and {1} change the same thing in no order")]
    Unordered(StepId, StepId),
}

/// Checks a plan. `now` is the time that it was made at.
pub fn check(
    plan: &Plan,
    desired: &Desired,
    observed: &Observed,
    memory: &Memory,
    now: Now,
) -> Result<(), Vec<Violation>> {
    let by_service = BTreeMap::new();
    let mut check = Check { plan, desired, observed, memory, now, by_service, found: Vec::new() };
    for container in observed.containers.values() {
        if let (true, Some(service)) = (check.is_ours(container), &container.service) {
            check.by_service.entry(service).or_default().push(container);
        }
    }
    check.shape();
    check.tier();
    // The other rules walk the edges and may rely on them.
    if check.found.is_empty() {
        check.ownership();
        check.recoveries();
        check.order();
    }
    let Check { mut found, .. } = check;
    found.sort();
    found.dedup();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

struct Check<'a> {
    plan: &'a Plan,
    desired: &'a Desired,
    observed: &'a Observed,
    memory: &'a Memory,
    now: Now,
    by_service: BTreeMap<&'a str, Vec<&'a Container>>,
    found: Vec<Violation>,
}

impl<'a> Check<'a> {
    fn shape(&mut self) {
        for (i, step) in self.plan.steps.iter().enumerate() {
            if step.id.0 != i + 1 {
                self.found.push(Violation::Misnumbered(step.id));
            }
            for before in &step.after {
                if before.0 == 0 || *before >= step.id {
                    self.found.push(Violation::ForwardEdge(step.id, *before));
                }
            }
        }
    }

    /// A plan of `observe` is shown only: none of its steps is begun.
    fn tier(&mut self) {
        let tier = self.memory.tier;
        if tier == Tier::Observe {
            return;
        }
        for step in self.plan.steps.iter().filter(|step| step.op.tier() > tier) {
            self.found.push(Violation::AboveTier(step.id, step.op.action(), tier));
        }
    }

    /// Whether `first` has ended well before `then` begins.
    fn precedes(&self, first: StepId, then: StepId) -> bool {
        let mut seen = std::collections::BTreeSet::new();
        let mut open = vec![then];
        while let Some(step) = open.pop().and_then(|id| self.plan.step(id)) {
            if step.after.contains(&first) {
                return true;
            }
            // Edges lead to lower numbers only.
            open.extend(step.after.iter().filter(|id| **id > first && seen.insert(**id)));
        }
        false
    }

    fn steps(&self) -> &'a [Step] {
        &self.plan.steps
    }

    fn existing(&self, id: &ContainerId) -> Option<&'a Container> {
        self.observed.container(id)
    }

    fn is_ours(&self, container: &Container) -> bool {
        !container.oneoff && container.project.as_ref() == Some(&self.desired.project.name)
    }

    /// The slot that a step's container stands for, whatever the step says it is about.
    fn slot_of(&self, op: &Op) -> Option<Slot> {
        match op {
            Op::Create { slot, .. } | Op::Recreate { slot, .. } => Some(slot.clone()),
            Op::Connect { container: Target::Created(step), .. }
            | Op::Start { container: Target::Created(step) }
            | Op::Rename { container: Target::Created(step), .. } => {
                match &self.plan.step(*step)?.op {
                    Op::Create { slot, .. } | Op::Recreate { slot, .. } => Some(slot.clone()),
                    _ => None,
                }
            }
            _ => self.existing(op.container()?)?.slot(),
        }
    }

    /// Every resource that a step works on.
    fn resources(&self, step: &Step) -> Vec<Resource> {
        let mut resources = vec![step.resource.clone()];
        resources.extend(self.slot_of(&step.op).map(Resource::Slot));
        match &step.op {
            Op::CreateNetwork { key } => {
                let network = self.desired.project.networks.get(key);
                resources.extend(network.map(|n| Resource::Network(n.name.clone())));
            }
            Op::RemoveNetwork { id } => {
                let network = self.observed.networks.get(id);
                resources.extend(network.map(|n| Resource::Network(n.name.clone())));
            }
            Op::CreateVolume { key } => {
                let volume = self.desired.project.volumes.get(key);
                resources.extend(volume.map(|v| Resource::Volume(v.name.clone())));
            }
            Op::Pull { reference, .. } => resources.push(Resource::Image(reference.clone())),
            _ => {}
        }
        resources.sort();
        resources.dedup();
        resources
    }

    /// The name of the network that a step connects to or disconnects from.
    fn network_name(&self, op: &Op) -> Option<&'a str> {
        let by_key = |key: &str| self.desired.project.networks.get(key).map(|n| n.name.as_str());
        match op {
            Op::Connect { key, .. } => by_key(key),
            Op::Disconnect { network, .. } => match self.observed.networks.get(network) {
                Some(found) => Some(&found.name),
                None => {
                    let mut networks = self.desired.project.networks.values();
                    networks.find(|n| n.name == *network).map(|n| n.name.as_str())
                }
            },
            _ => None,
        }
    }

    /// Steps by the container that they change.
    fn by_container(&self) -> BTreeMap<Changed<'a>, Vec<&'a Step>> {
        let mut changes: BTreeMap<Changed<'_>, Vec<&Step>> = BTreeMap::new();
        for step in self.steps() {
            let changed = match (&step.op, step.op.container()) {
                (_, Some(id)) => Changed::Existing(id),
                (Op::Create { .. } | Op::Recreate { .. }, _) => Changed::Created(step.id),
                (
                    Op::Connect { container: Target::Created(id), .. }
                    | Op::Start { container: Target::Created(id) }
                    | Op::Rename { container: Target::Created(id), .. },
                    _,
                ) => Changed::Created(*id),
                _ => continue,
            };
            changes.entry(changed).or_default().push(step);
        }
        changes
    }
}

/// A container that steps change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Changed<'a> {
    Existing(&'a ContainerId),
    Created(StepId),
}

/// What a step makes for others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Makes {
    Container,
    Network,
}

impl Makes {
    const fn of(op: &Op) -> Option<Self> {
        match op {
            Op::Create { .. } | Op::Recreate { .. } => Some(Self::Container),
            Op::CreateNetwork { .. } => Some(Self::Network),
            _ => None,
        }
    }
}

/// The steps whose outcome an operation uses, and what they must make.
fn used_by(op: &Op) -> Vec<(StepId, Makes)> {
    let container = |target: &Target| match target {
        Target::Created(step) => Some((*step, Makes::Container)),
        Target::Existing(_) => None,
    };
    match op {
        Op::Connect { container: target, network, .. } => {
            let network = match network {
                NetworkRef::Created(step) => Some((*step, Makes::Network)),
                NetworkRef::Existing(_) => None,
            };
            container(target).into_iter().chain(network).collect()
        }
        Op::Start { container: target } | Op::Rename { container: target, .. } => {
            container(target).into_iter().collect()
        }
        Op::Create { parents, .. } => parents.iter().filter_map(|(_, p)| container(p)).collect(),
        _ => vec![],
    }
}
