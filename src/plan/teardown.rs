//! Takes a project down: dependents stop first, containers and the project's own networks go,
//! volumes stay.
//!
//! It rests on labels alone, so that a stack whose files are gone can be taken down too. One-off
//! containers and members of other projects are left alone, and so is a network that they use.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{Entry, Report, Standing};
use super::step::{Cause, Op, Plan, Resource, Step, StepId};
use crate::observed::{Container, ContainerState, Observed, labels};

/// Plans the removal of everything that was made for `project`, except volumes.
pub fn teardown(project: &str, observed: &Observed) -> (Plan, Report) {
    let mut teardown = Teardown { observed, plan: Plan::default(), report: Report::default() };
    let mut services: BTreeMap<&str, Vec<&Container>> = BTreeMap::new();
    for container in observed.of_project(project) {
        services
            .entry(container.service.as_deref().unwrap_or_default())
            .or_default()
            .push(container);
    }
    let mut stopped: BTreeMap<&str, Vec<StepId>> = BTreeMap::new();
    let mut removed = BTreeMap::new();
    for service in dependents_first(&services) {
        let after: Vec<StepId> = services
            .iter()
            .filter(|(_, containers)| depends_on(containers, service))
            .flat_map(|(dependent, _)| stopped.get(dependent).cloned().unwrap_or_default())
            .collect();
        for container in services.get(service).into_iter().flatten() {
            let (stop, remove) = teardown.container(container, &after);
            stopped.entry(service).or_default().push(stop);
            removed.insert(container.id.0.as_str(), remove);
        }
    }
    teardown.networks(project, &removed);
    (teardown.plan, teardown.report)
}

struct Teardown<'a> {
    observed: &'a Observed,
    plan: Plan,
    report: Report,
}

impl Teardown<'_> {
    /// Returns the step after which it doesn't run, and the one after which it is gone.
    fn container(&mut self, container: &Container, after: &[StepId]) -> (StepId, StepId) {
        let resource = container
            .slot()
            .map_or_else(|| Resource::Container(container.name.clone()), Resource::Slot);
        let id = || container.id.clone();
        let mut before = after.to_vec();
        let mut stopped = None;
        if container.is_live() {
            let stop = self.push(resource.clone(), Op::Stop { container: id() }, before);
            stopped = Some(stop);
            before = vec![stop];
        }
        // The engine refuses to remove what it calls dead without force.
        let force = container.state == ContainerState::Dead;
        let remove = self.push(resource, Op::Remove { container: id(), force }, before);
        (stopped.unwrap_or(remove), remove)
    }

    fn networks(&mut self, project: &str, removed: &BTreeMap<&str, StepId>) {
        for network in self.observed.networks.values() {
            if network.labels.get(labels::PROJECT).map(String::as_str) != Some(project) {
                continue;
            }
            let resource = Resource::Network(network.name.clone());
            let members =
                self.observed.containers.values().filter(|c| {
                    c.networks.values().any(|endpoint| endpoint.network_id == network.id)
                });
            let (mut after, mut others) = (Vec::new(), Vec::new());
            for member in members {
                match removed.get(member.id.0.as_str()) {
                    Some(step) => after.push(*step),
                    None => others.push(member.name.as_str()),
                }
            }
            if others.is_empty() {
                self.push(resource, Op::RemoveNetwork { id: network.id.clone() }, after);
            } else {
                others.sort_unstable();
                let why = format!("{} still uses it; disconnect it first", others.join(", "));
                self.report.entries.push(Entry { resource, standing: Standing::Blocked(why) });
            }
        }
    }

    fn push(&mut self, resource: Resource, op: Op, mut after: Vec<StepId>) -> StepId {
        after.sort_unstable();
        after.dedup();
        let id = StepId(self.plan.steps.len() + 1);
        self.plan.steps.push(Step { id, after, resource, op, cause: Cause::TakenDown });
        id
    }
}

/// Whether one of these containers was made to wait for `service`.
fn depends_on(containers: &[&Container], service: &str) -> bool {
    containers.iter().any(|container| dependencies(container).any(|d| d == service))
}

/// `web:service_started:true,db:service_healthy:false`, as Docker Compose writes it.
fn dependencies(container: &Container) -> impl Iterator<Item = &str> {
    let label = container.labels.get(labels::DEPENDS_ON);
    label
        .map(|label| label.expose().as_str())
        .unwrap_or_default()
        .split(',')
        .filter_map(|entry| entry.split(':').next())
        .filter(|name| !name.is_empty())
}

/// Services in an order in which each comes after those that depend on it. Labels may form a
/// cycle (they come from outside): its members then come last, in the order of their names.
fn dependents_first<'a>(services: &BTreeMap<&'a str, Vec<&'a Container>>) -> Vec<&'a str> {
    let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
    let mut needs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, containers) in services {
        let all = containers.iter().flat_map(|c| dependencies(c));
        let own: BTreeSet<&str> = all.filter(|d| d != name && services.contains_key(d)).collect();
        for dependency in &own {
            *waiting.entry(dependency).or_default() += 1;
        }
        needs.insert(name, own);
    }
    let mut free: BTreeSet<&str> =
        services.keys().filter(|name| !waiting.contains_key(**name)).copied().collect();
    let mut order = Vec::with_capacity(services.len());
    let mut placed = BTreeSet::new();
    while let Some(name) = free.pop_first() {
        let Some((name, _)) = services.get_key_value(name) else { continue };
        order.push(*name);
        placed.insert(*name);
        for dependency in needs.get(name).into_iter().flatten() {
            if let Some(left) = waiting.get_mut(dependency) {
                *left -= 1;
                if *left == 0 {
                    free.insert(dependency);
                }
            }
        }
    }
    order.extend(services.keys().filter(|name| !placed.contains(**name)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::compose::Project;
    use crate::desired::{Desired, Policy};
    use crate::engine::{ContainerId, NetworkSummary};
    use crate::observed::{ContainerState, Endpoint};
    use crate::plan::{Memory, check};
    use crate::sensitive::Sensitive;

    struct World(Observed);

    impl World {
        fn container(&mut self, project: &str, service: &str, state: ContainerState, on: &str) {
            let name = format!("{project}-{service}-1");
            let label = Sensitive::new(on.to_owned());
            let endpoint = Endpoint { network_id: "net".into(), ..Endpoint::default() };
            let container = Container {
                id: ContainerId(name.clone()),
                name,
                project: Some(project.into()),
                service: Some(service.into()),
                number: 1,
                state,
                labels: [(labels::DEPENDS_ON.to_owned(), label)].into(),
                networks: [("p_default".to_owned(), endpoint)].into(),
                ..Container::default()
            };
            self.0.containers.insert(container.id.clone(), container.into());
        }

        fn network(&mut self, id: &str, project: &str) {
            let network = NetworkSummary {
                id: id.into(),
                name: format!("{project}_default"),
                labels: [(labels::PROJECT.to_owned(), project.to_owned())].into(),
                ..NetworkSummary::default()
            };
            self.0.networks.insert(id.into(), network);
        }

        /// The plan's text, once the independent checker has let it pass.
        fn plan(&self) -> String {
            let (plan, report) = teardown("p", &self.0);
            let project = Project { name: "p".into(), ..Project::default() };
            let desired = Desired::new(1, project.into(), &[], BTreeMap::new(), Policy::default())
                .expect("an empty project");
            let now = Now::default();
            check::check(&plan, &desired, &self.0, &Memory::default(), now).expect("passes");
            format!("{plan}{report}")
        }
    }

    fn world() -> World {
        World(Observed::default())
    }

    #[test]
    fn dependents_stop_first_and_the_network_goes_last() {
        let mut world = world();
        world.container("p", "db", ContainerState::Running, "");
        world.container("p", "job", ContainerState::Exited, "db:service_healthy:false");
        world.container("p", "web", ContainerState::Running, "db:service_started:true,job:x:false");
        world.network("net", "p");
        world.network("other", "q");
        assert_eq!(
            world.plan(),
            "\
[]     -> #1 service web/1: stop p-web-1  (taken down)
[1]    -> #2 service web/1: remove p-web-1  (taken down)
[1]    -> #3 service job/1: remove p-job-1  (taken down)
[1,3]  -> #4 service db/1: stop p-db-1  (taken down)
[4]    -> #5 service db/1: remove p-db-1  (taken down)
[2,3,5] -> #6 network p_default: remove  (taken down)
"
        );
    }

    #[test]
    fn a_network_that_others_use_stays() {
        let mut world = world();
        world.container("q", "guest", ContainerState::Running, "");
        world.network("net", "p");
        assert_eq!(
            world.plan(),
            "network p_default: blocked(q-guest-1 still uses it; disconnect it first)\n"
        );
    }

    #[test]
    fn what_the_engine_calls_dead_goes_by_force() {
        let mut world = world();
        world.container("p", "db", ContainerState::Dead, "");
        world.container("p", "web", ContainerState::Exited, "");
        let (plan, _) = teardown("p", &world.0);
        let forced = plan.steps.iter().map(|s| matches!(s.op, Op::Remove { force: true, .. }));
        assert_eq!(forced.collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn labels_in_a_circle_still_end() {
        let mut world = world();
        world.container("p", "a", ContainerState::Running, "b:service_started:false");
        world.container("p", "b", ContainerState::Running, "a:service_started:false");
        assert_eq!(world.plan().lines().count(), 4);
    }
}
