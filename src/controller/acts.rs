//! What this process does to containers itself, by the calls of journalled steps: the events that
//! tell of it are nobody's word.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Mono};
use crate::engine::{ContainerId, EngineEvent, Write};

/// How long after a call's answer its events may still be on their way.
const LINGERS: Duration = Duration::from_secs(2);
/// The same where nobody knows whether, or when, the engine carries the call out.
const MAY_FOLLOW: Duration = Duration::from_secs(60);
/// An event of a container that is older than the end of an act of ours by less than this is part
/// of that act; by more, the engine's clock jumped.
const OLD_NEWS: i64 = 60_000_000_000;
/// Containers of which the end of our last act is kept.
const MOST: usize = 1024;

/// The calls whose events could be taken for a person's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Create,
    Start,
    Stop,
    Restart,
    Remove,
}

impl Kind {
    const fn covers(self, action: &str) -> bool {
        match self {
            Self::Create => matches!(action.as_bytes(), b"create"),
            Self::Start => matches!(action.as_bytes(), b"start"),
            Self::Stop => matches!(action.as_bytes(), b"kill" | b"die" | b"stop"),
            Self::Restart => {
                matches!(action.as_bytes(), b"kill" | b"die" | b"stop" | b"start" | b"restart")
            }
            Self::Remove => matches!(action.as_bytes(), b"kill" | b"die" | b"destroy"),
        }
    }

    /// The event that comes last.
    const fn last(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Remove => "destroy",
        }
    }
}

#[derive(Debug)]
struct Act {
    kind: Kind,
    /// The container's ID, or its name while it has none.
    about: String,
    /// Its events may come until then; `None` while the call lasts.
    until: Option<Mono>,
}

#[derive(Debug, Default)]
struct Book {
    last: u64,
    acts: BTreeMap<u64, Act>,
    /// Time, in nanoseconds, of the event that ended our last act on a container.
    over: BTreeMap<ContainerId, i64>,
}

/// Our own calls under way, and those whose events may still come.
#[derive(Default)]
pub struct Acts {
    clock: Option<Arc<dyn Clock>>,
    book: Mutex<Book>,
}

impl fmt::Debug for Acts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acts").field("book", &self.book).finish_non_exhaustive()
    }
}

impl Acts {
    /// None yet. Without a clock, as by default, none is ever noted.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call is about to be made. Returns its number, if its events matter.
    pub fn begins(&self, write: &Write) -> Option<u64> {
        self.clock.as_ref()?;
        let (kind, about) = match write {
            Write::CreateContainer { name, .. } => (Kind::Create, name.clone()),
            Write::StartContainer { id } => (Kind::Start, id.0.clone()),
            Write::StopContainer { id, .. } => (Kind::Stop, id.0.clone()),
            Write::RestartContainer { id, .. } => (Kind::Restart, id.0.clone()),
            Write::RemoveContainer { id, .. } => (Kind::Remove, id.0.clone()),
            _ => return None,
        };
        let mut book = self.book();
        book.last += 1;
        let number = book.last;
        book.acts.insert(number, Act { kind, about, until: None });
        Some(number)
    }

    /// A call was answered; `unsure` says that it may be carried out all the same.
    pub fn ended(&self, number: u64, unsure: bool) {
        let Some(clock) = &self.clock else { return };
        let until = clock.now().mono.after(if unsure { MAY_FOLLOW } else { LINGERS });
        if let Some(act) = self.book().acts.get_mut(&number) {
            act.until = Some(until);
        }
    }

    /// Whether an event of a container tells of an act of ours.
    pub fn is_ours(&self, event: &EngineEvent, now: Mono) -> bool {
        let mut book = self.book();
        book.acts.retain(|_, act| act.until.is_none_or(|until| now < until));
        let id = ContainerId(event.actor.clone());
        let age = book.over.get(&id).map(|over| over.saturating_sub(event.time_nano));
        if age.is_some_and(|age| (0..OLD_NEWS).contains(&age)) {
            return true;
        }
        let name = event.attributes.get("name").map_or("", String::as_str);
        let found = book.acts.iter().find(|(_, act)| {
            let about = if act.kind == Kind::Create { name } else { event.actor.as_str() };
            act.about == about && act.kind.covers(&event.action)
        });
        let Some((number, act)) = found.map(|(number, act)| (*number, act)) else { return false };
        if act.kind.last() == event.action {
            book.acts.remove(&number);
            if book.over.len() >= MOST {
                let oldest = book.over.iter().min_by_key(|(_, at)| **at).map(|(id, _)| id.clone());
                oldest.and_then(|oldest| book.over.remove(&oldest));
            }
            book.over.insert(id, event.time_nano);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Now, Timestamp};

    #[derive(Default)]
    struct Hand(Mutex<u64>);

    impl Clock for Hand {
        fn now(&self) -> Now {
            let seconds = *self.0.lock().expect("no panic");
            Now { wall: Timestamp(0), mono: Mono(Duration::from_secs(seconds)) }
        }
        fn jitter(&self) -> f64 {
            0.0
        }
    }

    struct Desk {
        clock: Arc<Hand>,
        acts: Acts,
    }

    impl Desk {
        fn new() -> Self {
            let clock = Arc::new(Hand::default());
            Self { acts: Acts::new(clock.clone()), clock }
        }

        fn ours(&self, nano: i64, actor: &str, action: &str) -> bool {
            let event = EngineEvent {
                kind: "container".into(),
                action: action.into(),
                actor: actor.into(),
                attributes: [("name".to_owned(), "p-web-1".to_owned())].into(),
                time_nano: nano,
            };
            self.acts.is_ours(&event, self.clock.now().mono)
        }

        fn pass(&self, seconds: u64) {
            *self.clock.0.lock().expect("no panic") += seconds;
        }
    }

    fn id() -> ContainerId {
        ContainerId("c".into())
    }

    #[test]
    fn the_events_of_a_call_are_ours_until_its_last_and_nobodys_after() {
        let desk = Desk::new();
        assert!(!desk.ours(1, "c", "kill"));
        let stop = desk.acts.begins(&Write::StopContainer { id: id(), grace: None });
        for (nano, action) in [(10, "kill"), (20, "die"), (30, "stop")] {
            assert!(!desk.ours(nano, "d", action), "another container's");
            assert!(desk.ours(nano, "c", action), "{action}");
        }
        desk.acts.ended(stop.expect("matters"), false);
        assert!(desk.ours(30, "c", "stop"), "the same again is no other");
        assert!(!desk.ours(40, "c", "stop"), "a person's");
        assert!(!desk.ours(30 - 2 * OLD_NEWS, "c", "stop"), "the clock jumped");
    }

    #[test]
    fn each_call_covers_its_own_events_only() {
        let all = ["create", "start", "kill", "die", "stop", "restart", "destroy"];
        let of = |write: Write| -> Vec<&str> {
            let seen = |action: &&str| {
                let desk = Desk::new();
                desk.acts.begins(&write);
                desk.ours(1, "c", action)
            };
            all.into_iter().filter(seen).collect()
        };
        assert_eq!(of(Write::StartContainer { id: id() }), ["start"]);
        assert_eq!(of(Write::StopContainer { id: id(), grace: None }), ["kill", "die", "stop"]);
        assert_eq!(
            of(Write::RestartContainer { id: id(), grace: None }),
            ["start", "kill", "die", "stop", "restart"]
        );
        assert_eq!(
            of(Write::RemoveContainer { id: id(), force: true }),
            ["kill", "die", "destroy"]
        );
        let body = crate::sensitive::Sensitive::new(serde_json::Map::new());
        let create = |name: &str| Write::CreateContainer {
            name: name.into(),
            platform: None,
            body: body.clone(),
        };
        assert_eq!(of(create("p-web-1")), ["create"], "by its name");
        assert!(of(create("p-db-1")).is_empty());
        assert!(of(Write::UnpauseContainer { id: id() }).is_empty());
    }

    #[test]
    fn a_call_that_changed_nothing_covers_nothing_for_long() {
        for (unsure, lasts) in [(false, 2), (true, 60)] {
            let desk = Desk::new();
            let start = desk.acts.begins(&Write::StartContainer { id: id() }).expect("matters");
            desk.pass(3600);
            desk.acts.ended(start, unsure);
            desk.pass(lasts - 1);
            assert!(desk.acts.book().acts.contains_key(&start));
            desk.pass(1);
            assert!(!desk.ours(1, "c", "start"));
        }
    }
}
