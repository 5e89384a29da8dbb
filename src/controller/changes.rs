//! Which containers changed after a snapshot was read: events that the snapshot doesn't show yet.
//!
//! An event can arrive later than the answer of an inspect that already shows its effect, the more
//! so on a busy machine. So an event counts only while the facts don't reflect it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::acts::Acts;
use crate::clock::Clock;
use crate::engine::{ContainerId, EngineEvent, Write};
use crate::execute::Freshness;
use crate::observed::{Container, ContainerState, Observed, Slot};
use crate::plan::Resource;

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

/// A container whose facts are known to be old.
#[derive(Debug)]
struct Doubt {
    number: u64,
    /// Where it belongs, while the facts don't show it at all.
    slot: Option<Slot>,
}

#[derive(Debug, Default)]
struct Noted {
    /// The last lasting event of each container.
    changes: BTreeMap<ContainerId, (u64, Change)>,
    doubts: BTreeMap<ContainerId, Doubt>,
}

/// What is known to have changed, by the numbers of the observer's reads and events; and which of
/// it was our own doing.
#[derive(Debug, Default)]
pub struct Changes {
    /// Our own calls.
    pub acts: Acts,
    noted: Mutex<Noted>,
}

impl Changes {
    /// Nothing yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { acts: Acts::new(clock), noted: Mutex::default() }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event arrived.
    pub fn note(&self, event: &EngineEvent, number: u64) {
        if let Some(change) = Change::of(event) {
            let id = ContainerId(event.actor.clone());
            self.noted().changes.insert(id, (number, change));
        }
    }

    /// Facts about this container that were asked for earlier are old.
    pub fn doubt(&self, id: ContainerId, number: u64, slot: Option<Slot>) {
        self.noted().doubts.insert(id, Doubt { number, slot });
    }

    /// This container is known to be gone.
    pub fn settle(&self, id: &ContainerId) {
        self.noted().doubts.remove(id);
    }

    /// Forgets doubts that are over, and containers that are gone and aren't being looked for.
    pub fn forget(&self, known: &Observed, sought: impl Fn(&ContainerId) -> bool) {
        let mut noted = self.noted();
        noted.changes.retain(|id, _| known.containers.contains_key(id) || sought(id));
        noted.doubts.retain(|id, doubt| match known.containers.get(id) {
            Some(container) => doubt.number > container.read,
            None => sought(id),
        });
    }

    /// What nothing may be decided about on these facts: they are known to be old.
    pub fn doubtful(&self, observed: &Observed) -> BTreeSet<Resource> {
        let noted = self.noted();
        let changed = noted.changes.iter().filter_map(|(id, (number, change))| {
            let container = observed.containers.get(id)?;
            (*number > container.read && !change.shows_in(container)).then(|| of(container))
        });
        let doubted =
            noted.doubts.iter().filter_map(|(id, doubt)| match observed.containers.get(id) {
                Some(container) => (doubt.number > container.read).then(|| of(container)),
                None => doubt.slot.clone().map(Resource::Slot),
            });
        changed.chain(doubted).collect()
    }
}

fn of(container: &Container) -> Resource {
    let name = || Resource::Container(container.name.clone());
    container.slot().map_or_else(name, Resource::Slot)
}

impl Freshness for Changes {
    fn changed_since(&self, id: &ContainerId, observed: &Observed) -> bool {
        let noted = self.noted();
        let Some((number, change)) = noted.changes.get(id) else { return false };
        let container = observed.containers.get(id);
        container.is_none_or(|c| *number > c.read && !change.shows_in(c))
    }

    fn begins(&self, write: &Write) -> Option<u64> {
        self.acts.begins(write)
    }

    fn ended(&self, act: u64, unsure: bool) {
        self.acts.ended(act, unsure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

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
        changes.note(event, 9);
        let mut observed = Observed::default();
        let container = Container { id: id.clone(), read: 8, ..container };
        observed.containers.insert(id.clone(), container.into());
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
