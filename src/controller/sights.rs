//! What the incidents are told of each slot: the engine's facts in their terms. Pure.

use std::collections::BTreeMap;

use crate::compose::types::RestartPolicy;
use crate::desired::Desired;
use crate::observed::{Container, ContainerState, ExitCause, Observed, Slot};
use crate::plan::readiness::start_deadline;
use crate::plan::{Memory, Plan, Report, Resource, SlotStatus};
use crate::recovery::{Death, Generation, Run, Sight, Standing};

/// Every slot of the project. `hashes` are those of the services, namespaces unbound.
pub fn sights(
    desired: &Desired,
    hashes: &BTreeMap<String, String>,
    observed: &Observed,
    memory: &Memory,
) -> Vec<Sight> {
    let project = &desired.project;
    let mut newest: BTreeMap<Slot, &Container> = BTreeMap::new();
    for container in observed.of_project(&project.name) {
        let Some(slot) = container.slot() else { continue };
        let known = newest.entry(slot).or_insert(container);
        if (container.created, &container.id) > (known.created, &known.id) {
            *known = container;
        }
    }
    let mut sights = Vec::new();
    for service in project.services.values() {
        let traits = desired.traits(&service.name);
        let deadline = (!traits.job).then(|| start_deadline(service, &traits));
        let image = service.image.as_deref().and_then(|r| observed.image_id(r));
        let generation = Generation {
            hash: hashes.get(&service.name).cloned().unwrap_or_default(),
            image: image.unwrap_or_default().to_owned(),
        };
        let may_end = traits.job || matches!(service.restart, RestartPolicy::OnFailure(_));
        for number in 1..=service.scale {
            let slot =
                Slot { project: project.name.clone(), service: service.name.clone(), number };
            let container = newest.get(&slot).copied();
            sights.push(Sight {
                generation: generation.clone(),
                run: container.and_then(run),
                death: container.and_then(|c| death(&slot, c, observed, may_end)),
                engine_restarts: container.map_or(0, |c| c.restart_count),
                engine_owned: service.restart != RestartPolicy::No,
                // A rollout that isn't over has its own end: back to what worked, or a person.
                held: memory.holds.of(&slot).is_some()
                    || memory.updates.contains_key(&slot) && memory.incidents.of(&slot).is_none(),
                deadline,
                slot,
            });
        }
    }
    sights
}

fn run(container: &Container) -> Option<Run> {
    let started = container.started?;
    Some(Run { container: container.id.0.clone(), started: started.0 })
}

/// How a container's last run ended, unless it may end so.
fn death(slot: &Slot, container: &Container, observed: &Observed, may_end: bool) -> Option<Death> {
    let over = matches!(container.state, ContainerState::Exited | ContainerState::Dead);
    let started = container.started.filter(|_| over)?;
    let code = container.exit_code.unwrap_or_default();
    if code == 0 && may_end {
        return None;
    }
    let heard = observed.deaths.get(slot).filter(|d| d.container == container.id);
    let cause = match heard.filter(|death| death.at >= started) {
        // What we ended ourselves is nobody's fault.
        Some(death) if death.ours => ExitCause::ApiStop,
        Some(death) => death.cause,
        None => ExitCause::of_code(code),
    };
    Some(Death { cause, code })
}

/// How a slot stands after planning; `None` while a step works on it, because that shows what was.
pub fn standing(report: &Report, memory: &Memory, slot: &Slot) -> Option<Standing> {
    let found = report.slots.get(slot)?;
    let busy = memory.busy.contains(&Resource::Slot(slot.clone()));
    (!busy).then_some(Standing { ready: found.status.is_good(), ill: found.ill })
}

/// Containers that the files ask for. A job that is over asks for none.
pub fn wanted(report: &Report) -> usize {
    report.slots.values().filter(|slot| slot.status != SlotStatus::Completed).count()
}

/// The first step of each slot of a plan that recovers it, as the plan prints it.
pub fn recoveries(plan: &Plan) -> BTreeMap<Slot, (String, bool)> {
    use crate::plan::{Cause, Op, Target};
    let mut found = BTreeMap::new();
    for step in &plan.steps {
        let Resource::Slot(slot) = &step.resource else { continue };
        let recovers = match &step.op {
            Op::Start { container: Target::Existing(_) } => true,
            Op::Create { .. } => true,
            Op::Restart { .. } => matches!(step.cause, Cause::Unhealthy(_)),
            _ => false,
        };
        if recovers {
            let ill = matches!(step.cause, Cause::Unhealthy(_));
            let what = format!("{} ({})", step.op, step.cause);
            found.entry(slot.clone()).or_insert((what, ill));
        }
    }
    found
}
