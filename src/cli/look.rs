//! One look at the engine: everything is read once, services with a probe are asked once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;

use crate::clock::Clock;
use crate::controller::snapshot;
use crate::controller::worker::Goal;
use crate::engine::{DynEngine, Fault};
use crate::observed::{ContainerState, Observed, Slot};
use crate::plan::{Memory, Plan, Report, plan};
use crate::probe::ask::ask;
use crate::probe::vantage::{Reach, candidates};
use crate::probe::{Answer, Readiness};

/// Longest time for the probes of one look.
const PROBES: Duration = Duration::from_secs(2);

/// What was seen, and what follows from it.
pub struct Look {
    /// The facts.
    pub observed: Observed,
    /// What would be done.
    pub plan: Plan,
    /// What waits, and how each service stands.
    pub report: Report,
}

/// Reads everything once.
///
/// # Errors
/// The engine can't be reached or fails.
pub async fn read(engine: &DynEngine, clock: &dyn Clock, goal: &Goal) -> Result<Observed, Fault> {
    let project = BTreeSet::from([goal.desired.project.name.clone()]);
    Ok(snapshot::read_once(engine, clock, project).await?.observed)
}

/// Asks the services and plans, upon what was read.
pub async fn look(mut observed: Observed, clock: &dyn Clock, goal: &Goal, memory: &Memory) -> Look {
    observed.probes = probe(&observed, clock, goal).await;
    let (plan, report) = plan(&goal.desired, &observed, memory, &goal.scope, clock.now());
    Look { observed, plan, report }
}

/// Asks every running service that has a probe, all at once.
async fn probe(observed: &Observed, clock: &dyn Clock, goal: &Goal) -> BTreeMap<Slot, Readiness> {
    let reach =
        Reach { addresses: observed.engine.capabilities.addresses_reachable, ..Reach::LOCAL };
    let asks = observed.of_project(&goal.desired.project.name).filter_map(|container| {
        let slot = container.slot()?;
        let probe = goal.probes.get(&slot.service)?;
        let started = container.started.filter(|_| container.state == ContainerState::Running)?;
        let ways = candidates(probe, container, observed, reach);
        Some(async move {
            let reached = BTreeSet::new();
            let asked = ask(probe, &ways, &reached, clock);
            let seen = tokio::time::timeout(PROBES, asked).await.ok()?;
            let was_ready = seen.outcome.answer == Answer::Ready;
            let since = clock.now().mono;
            let readiness = Readiness {
                container: container.id.clone(),
                started: started.0,
                last: seen.outcome,
                since,
                was_ready,
                ..Readiness::default()
            };
            Some((slot, readiness))
        })
    });
    join_all(asks).await.into_iter().flatten().collect()
}
