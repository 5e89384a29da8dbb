//! Deaths that their event tells in full. The engine answers no inspect of a container while it
//! tears it down, 120 ms and more; a process that ended by itself needn't wait for that.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::engine::ContainerId;
use crate::observed::{Container, ContainerState, Health, Observed};

/// Writes deaths, each with its time and exit code, into the picture; returns whose it could
/// write. Only for containers without a restart policy: of the others the engine restarts some
/// itself.
pub fn write(
    died: BTreeMap<ContainerId, (Timestamp, i64)>,
    observed: &mut Observed,
) -> Vec<ContainerId> {
    let mut written = Vec::new();
    for (id, (at, exit_code)) in died {
        let Some(container) = observed.containers.get_mut(&id) else { continue };
        if is_ours_to_restart(container)
            && container.state == ContainerState::Running
            && container.started.is_some_and(|started| started < at)
        {
            container.state = ContainerState::Exited;
            container.exit_code = Some(exit_code);
            container.finished = Some(at);
            container.health = Health::None;
            container.pid = 0;
            written.push(id);
        }
    }
    written
}

fn is_ours_to_restart(container: &Container) -> bool {
    container.inspected && matches!(container.restart_policy.as_str(), "" | "no")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: i64 = 1_000;
    const DIED: i64 = 5_000;

    fn running() -> Container {
        Container {
            id: ContainerId("c".into()),
            state: ContainerState::Running,
            health: Health::Healthy,
            started: Some(Timestamp(STARTED)),
            pid: 7,
            inspected: true,
            ..Container::default()
        }
    }

    /// What the picture shows after its death; `None` if that didn't change it.
    fn after(container: Container) -> Option<Container> {
        let id = container.id.clone();
        let mut observed = Observed::default();
        observed.containers.insert(id.clone(), container.into());
        let written = write([(id.clone(), (Timestamp(DIED), 137))].into(), &mut observed);
        written.contains(&id).then(|| (*observed.containers[&id]).clone())
    }

    #[test]
    fn a_process_that_ended_by_itself_is_seen_at_once() {
        let seen = after(running()).expect("changed");
        assert_eq!(seen.state, ContainerState::Exited);
        assert_eq!((seen.exit_code, seen.finished), (Some(137), Some(Timestamp(DIED))));
        assert_eq!((seen.health, seen.pid), (Health::None, 0));
    }

    #[test]
    fn the_engine_is_asked_where_it_restarts_itself() {
        let policy = |name: &str| Container { restart_policy: name.into(), ..running() };
        assert!(after(policy("always")).is_none());
        assert!(after(policy("on-failure")).is_none());
        assert!(after(policy("no")).is_some());
    }

    #[test]
    fn old_news_change_nothing() {
        let later = Container { started: Some(Timestamp(DIED)), ..running() };
        assert!(after(later).is_none());
        let listed = Container { inspected: false, ..running() };
        assert!(after(listed).is_none());
    }
}
