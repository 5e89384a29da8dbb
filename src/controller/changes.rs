//! Which containers changed after a snapshot was read: events that the snapshot doesn't show yet.
//!
//! An event can arrive later than the answer of an inspect that already shows its effect, the more
//! so on a busy machine. So an event counts only while the facts don't reflect it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::clock::Mono;
use crate::engine::{ContainerId, EngineEvent};
use crate::execute::Freshness;
use crate::observed::{Container, ContainerState, Observed};

/// The engine notes a start or an end, then tells of it: at most this much later.
const TOLD_WITHIN_MS: i64 = 1_000;

/// What lastingly changed a container, as its last event says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Started(i64),
    Died(i64),
    Renamed(String),
    Paused,
    Unpaused,
    Destroyed,
}

impl Change {
    fn of(event: &EngineEvent) -> Option<Self> {
        let at = event.time_nano / 1_000_000;
        Some(match event.action.as_str() {
            "start" => Self::Started(at),
            "die" => Self::Died(at),
            "rename" => Self::Renamed(event.attributes.get("name").cloned().unwrap_or_default()),
            "pause" => Self::Paused,
            "unpause" => Self::Unpaused,
            "destroy" => Self::Destroyed,
            _ => return None,
        })
    }

    /// Whether these facts show it, or something later.
    fn shows_in(&self, container: &Container) -> bool {
        let since = |time: Option<crate::clock::Timestamp>, at: i64| {
            time.is_some_and(|t| t.0 >= at - TOLD_WITHIN_MS)
        };
        match self {
            Self::Started(at) => container.is_live() && since(container.started, *at),
            Self::Died(at) if container.is_live() => container.started.is_some_and(|t| t.0 >= *at),
            Self::Died(at) => since(container.finished, *at),
            Self::Renamed(name) => container.name == *name,
            Self::Paused => container.state == ContainerState::Paused,
            Self::Unpaused => container.state != ContainerState::Paused,
            Self::Destroyed => false,
        }
    }
}

/// The last lasting event of each container.
#[derive(Debug, Default)]
pub struct Changes(Mutex<BTreeMap<ContainerId, (Mono, Change)>>);

impl Changes {
    /// An event arrived.
    pub fn note(&self, event: &EngineEvent, at: Mono) {
        if let (Some(change), Ok(mut changes)) = (Change::of(event), self.0.lock()) {
            changes.insert(ContainerId(event.actor.clone()), (at, change));
        }
    }

    /// Forgets containers that are gone.
    pub fn forget(&self, known: &Observed) {
        if let Ok(mut changes) = self.0.lock() {
            changes.retain(|id, _| known.containers.contains_key(id));
        }
    }
}

impl Freshness for Changes {
    fn changed_since(&self, id: &ContainerId, observed: &Observed) -> bool {
        let Ok(changes) = self.0.lock() else { return true };
        let Some((arrived, change)) = changes.get(id) else { return false };
        let shown = observed.containers.get(id).is_some_and(|c| change.shows_in(c));
        *arrived > observed.at.mono && !shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Now, Timestamp};
    use std::time::Duration;

    fn event(action: &str, at_ms: i64) -> EngineEvent {
        EngineEvent {
            kind: "container".into(),
            action: action.into(),
            actor: "c".into(),
            time_nano: at_ms * 1_000_000,
            ..EngineEvent::default()
        }
    }

    /// Whether the event counts as a change for a plan that rests on this container.
    fn counts(event: &EngineEvent, container: Container) -> bool {
        let id = ContainerId("c".into());
        let changes = Changes::default();
        changes.note(event, Mono(Duration::from_secs(9)));
        let mut observed = Observed {
            at: Now { mono: Mono(Duration::from_secs(8)), ..Now::default() },
            ..Observed::default()
        };
        observed.containers.insert(id.clone(), Container { id: id.clone(), ..container });
        changes.changed_since(&id, &observed)
    }

    fn running(started: i64) -> Container {
        Container {
            state: ContainerState::Running,
            started: Some(Timestamp(started)),
            ..Container::default()
        }
    }

    fn exited(finished: i64) -> Container {
        Container {
            state: ContainerState::Exited,
            finished: Some(Timestamp(finished)),
            ..Container::default()
        }
    }

    #[test]
    fn an_event_whose_effect_is_seen_already_is_no_change() {
        assert!(!counts(&event("start", 50_020), running(50_000)));
        assert!(!counts(&event("die", 50_020), exited(50_000)));
        assert!(!counts(&event("die", 50_020), running(51_000)));
        assert!(!counts(&event("kill", 50_000), running(1_000)));
    }

    #[test]
    fn an_event_that_the_facts_do_not_show_is_a_change() {
        assert!(counts(&event("die", 50_000), running(1_000)));
        assert!(counts(&event("start", 50_000), exited(49_000)));
        assert!(counts(&event("die", 50_000), exited(1_000)));
        assert!(counts(&event("destroy", 50_000), running(1_000)));
        assert!(counts(&event("pause", 50_000), running(1_000)));
    }

    #[test]
    fn a_rename_counts_until_the_name_is_seen() {
        let mut renamed = event("rename", 1);
        renamed.attributes.insert("name".into(), "new".into());
        let named = |name: &str| Container { name: name.into(), ..running(1) };
        assert!(counts(&renamed, named("old")));
        assert!(!counts(&renamed, named("new")));
    }
}
