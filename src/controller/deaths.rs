//! Deaths that their event tells in full. The engine answers no inspect of a container while it
//! tears it down, 120 ms and more; a process that ended by itself needn't wait for that.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::engine::{ContainerId, EngineEvent};
use crate::observed::{Container, ContainerState, ExitCause, Health, Observed};

/// How one process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Death {
    at: Timestamp,
    exit_code: i64,
}

/// Reads the containers' events of one connection.
#[derive(Debug, Default)]
pub struct Deaths {
    /// Signalled through the API since their last start: somebody may be stopping or removing
    /// them, and only later events or an inspect show which.
    signalled: BTreeSet<ContainerId>,
    /// Not yet taken.
    died: BTreeMap<ContainerId, Death>,
}

impl Deaths {
    /// Why the process ended whose end this event tells.
    pub fn cause(&self, event: &EngineEvent) -> Option<ExitCause> {
        let signalled = self.signalled.contains(&ContainerId(event.actor.clone()));
        let cause = if signalled { ExitCause::ApiKill } else { ExitCause::Spontaneous };
        (event.action == "die").then_some(cause)
    }

    /// An event of a container arrived.
    pub fn hear(&mut self, event: &EngineEvent) {
        let id = || ContainerId(event.actor.clone());
        match event.action.as_str() {
            "kill" => {
                self.signalled.insert(id());
            }
            "die" if !self.signalled.contains(&id()) => {
                let code = event.attributes.get("exitCode").and_then(|code| code.parse().ok());
                if let Some(exit_code) = code {
                    let at = Timestamp(event.time_nano / 1_000_000);
                    self.died.insert(id(), Death { at, exit_code });
                }
            }
            "start" | "destroy" => {
                self.signalled.remove(&id());
                self.died.remove(&id());
            }
            _ => {}
        }
    }

    /// Whether a death was heard of that isn't written yet.
    pub fn heard(&self, id: &ContainerId) -> bool {
        self.died.contains_key(id)
    }

    /// Writes the deaths that were heard of into the picture; returns whose it could write. Only
    /// for containers without a restart policy: of the others the engine restarts some itself.
    pub fn write(&mut self, observed: &mut Observed) -> Vec<ContainerId> {
        let mut written = Vec::new();
        for (id, death) in std::mem::take(&mut self.died) {
            let Some(container) = observed.containers.get_mut(&id) else { continue };
            if is_ours_to_restart(container)
                && container.state == ContainerState::Running
                && container.started.is_some_and(|started| started < death.at)
            {
                container.state = ContainerState::Exited;
                container.exit_code = Some(death.exit_code);
                container.finished = Some(death.at);
                container.health = Health::None;
                container.pid = 0;
                written.push(id);
            }
        }
        written
    }

    /// Forgets containers that are gone and aren't being looked for.
    pub fn forget(&mut self, known: &Observed, sought: impl Fn(&ContainerId) -> bool) {
        self.signalled.retain(|id| known.containers.contains_key(id) || sought(id));
    }
}

fn is_ours_to_restart(container: &Container) -> bool {
    container.inspected && matches!(container.restart_policy.as_str(), "" | "no")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: i64 = 1_000;
    const DIED: i64 = 5_000;

    fn event(action: &str) -> EngineEvent {
        EngineEvent {
            kind: "container".into(),
            action: action.into(),
            actor: "c".into(),
            attributes: [("exitCode".to_owned(), "137".to_owned())].into(),
            time_nano: DIED * 1_000_000,
        }
    }

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

    /// What the picture shows after these events; `None` if they didn't change it.
    fn after(events: &[&str], container: Container) -> Option<Container> {
        let mut deaths = Deaths::default();
        for action in events {
            deaths.hear(&event(action));
        }
        let id = container.id.clone();
        let mut observed = Observed::default();
        observed.containers.insert(id.clone(), container.into());
        let written = deaths.write(&mut observed);
        written.contains(&id).then(|| (*observed.containers[&id]).clone())
    }

    #[test]
    fn a_process_that_ended_by_itself_is_seen_at_once() {
        let seen = after(&["die"], running()).expect("changed");
        assert_eq!(seen.state, ContainerState::Exited);
        assert_eq!((seen.exit_code, seen.finished), (Some(137), Some(Timestamp(DIED))));
        assert_eq!((seen.health, seen.pid), (Health::None, 0));
    }

    #[test]
    fn what_may_be_a_stop_or_a_removal_waits_for_the_inspect() {
        assert!(after(&["kill", "die"], running()).is_none());
        assert!(after(&["die", "destroy"], running()).is_none());
    }

    #[test]
    fn a_start_ends_what_a_signal_began() {
        assert!(after(&["kill", "die", "start", "die"], running()).is_some());
        assert!(after(&["die", "start"], running()).is_none());
    }

    #[test]
    fn the_engine_is_asked_where_it_restarts_itself() {
        let policy = |name: &str| Container { restart_policy: name.into(), ..running() };
        assert!(after(&["die"], policy("always")).is_none());
        assert!(after(&["die"], policy("on-failure")).is_none());
        assert!(after(&["die"], policy("no")).is_some());
    }

    #[test]
    fn old_news_change_nothing() {
        let later = Container { started: Some(Timestamp(DIED)), ..running() };
        assert!(after(&["die"], later).is_none());
        let listed = Container { inspected: false, ..running() };
        assert!(after(&["die"], listed).is_none());
    }

    #[test]
    fn a_death_without_an_exit_code_waits_for_the_inspect() {
        let mut deaths = Deaths::default();
        deaths.hear(&EngineEvent { attributes: [].into(), ..event("die") });
        let mut observed = Observed::default();
        observed.containers.insert(ContainerId("c".into()), running().into());
        assert!(deaths.write(&mut observed).is_empty());
    }

    #[test]
    fn nothing_is_kept_of_containers_that_are_gone() {
        let mut deaths = Deaths::default();
        deaths.hear(&event("kill"));
        deaths.forget(&Observed::default(), |_| true);
        assert!(!deaths.signalled.is_empty());
        deaths.forget(&Observed::default(), |_| false);
        assert!(deaths.signalled.is_empty());
    }
}
