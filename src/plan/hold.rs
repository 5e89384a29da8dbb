//! Holds: what a person stopped, took down or paused stays so, until they say otherwise. Pure.
//!
//! - A **stop** holds its slot, whether or not the container is there any more. It ends when
//!   somebody starts or makes a container of that slot.
//! - **Down** holds the whole stack: every live container of it went by a stop and a removal within
//!   [`DOWN_WITHIN`]. It ends when somebody makes or starts anything in it.
//! - A **pause** holds what it names, whatever happens to it.
//!
//! All of them end with `homeostat resume` and `homeostat apply`. A stop is provisional until it is
//! proven that the engine outlived it; without evidence there is no hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::clock::{Mono, Timestamp};
use crate::desired::{Desired, ManualStopPolicy};
use crate::engine::ContainerId;
use crate::observed::{ContainerState, Observed, Said, Slot, Word};

/// The longest time from the first stop to the last of a stack that is taken down.
pub const DOWN_WITHIN: Duration = Duration::from_secs(60);

/// What a person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldKind {
    /// Stopped a container.
    Stopped,
    /// Took the stack down.
    Down,
    /// `homeostat pause`.
    Paused,
}

impl HoldKind {
    /// The word, for the journal.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Down => "down",
            Self::Paused => "paused",
        }
    }

    /// The kind of this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Stopped, Self::Down, Self::Paused].into_iter().find(|kind| kind.word() == word)
    }

    /// CamelCase, for conditions and events.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Stopped => "StoppedByHand",
            Self::Down => "TakenDown",
            Self::Paused => "Paused",
        }
    }
}

/// What is held.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// The whole stack.
    Stack,
    /// A service, all of its slots.
    Service(String),
    /// One slot of a service.
    Slot(String, u32),
}

impl On {
    fn service(&self) -> Option<&str> {
        match self {
            Self::Stack => None,
            Self::Service(service) | Self::Slot(service, _) => Some(service),
        }
    }

    /// Whether a slot is part of it.
    pub fn has(&self, slot: &Slot) -> bool {
        match self {
            Self::Stack => true,
            Self::Service(service) => *service == slot.service,
            Self::Slot(service, number) => *service == slot.service && *number == slot.number,
        }
    }
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stack => f.write_str("stack"),
            Self::Service(service) => write!(f, "service {service}"),
            Self::Slot(service, number) => write!(f, "service {service}/{number}"),
        }
    }
}

/// A person's word that something stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// What they did.
    pub kind: HoldKind,
    /// Who; empty where the engine didn't tell.
    pub who: String,
    /// Since when: by the engine's clock for what was done there, else by our own.
    pub since: Timestamp,
    /// Whether it was a person isn't certain yet.
    pub provisional: bool,
    /// Whose stop it was.
    pub container: ContainerId,
    /// The time of that stop's event, in nanoseconds.
    pub nano: i64,
    /// The last word that was heard when it began; 0 in a later run.
    pub number: u64,
}

impl Hold {
    /// For people: `stopped by hand`.
    pub fn why(&self) -> String {
        match self.kind {
            HoldKind::Stopped => "stopped by hand".into(),
            HoldKind::Down => "taken down by hand".into(),
            HoldKind::Paused if self.who.is_empty() => "paused".into(),
            HoldKind::Paused => format!("paused by {}", self.who),
        }
    }

    /// Who, for people.
    pub fn by(&self) -> &str {
        if self.who.is_empty() { "somebody at the engine" } else { &self.who }
    }

    /// A pause that somebody asks for now.
    pub fn pause(who: &str, since: Timestamp) -> Self {
        Self {
            kind: HoldKind::Paused,
            who: who.to_owned(),
            since,
            provisional: false,
            container: ContainerId::default(),
            nano: 0,
            number: 0,
        }
    }

    fn of(kind: HoldKind, word: &Word, proven: bool, heard: u64) -> Self {
        Self {
            kind,
            who: String::new(),
            since: word.at(),
            provisional: !proven,
            container: word.container.clone(),
            nano: word.nano,
            number: heard,
        }
    }
}

/// Why a hold ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldEnd {
    /// Somebody started a container.
    Started,
    /// Somebody made a container.
    Created,
    /// Its container runs, though nobody was seen to start it.
    FoundRunning,
    /// Nothing shows that it was a person and not the engine's own end.
    NoEvidence,
    /// `homeostat resume`, by this user.
    Resumed(String),
    /// `homeostat apply`, by this user.
    Applied(String),
    /// `policy.manualStop` says `Revert`.
    Policy,
}

impl fmt::Display for HoldEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = |verb: &str, who: &str, f: &mut fmt::Formatter<'_>| match who {
            "" => f.write_str(verb),
            who => write!(f, "{verb} by {who}"),
        };
        match self {
            Self::Started => f.write_str("started by hand"),
            Self::Created => f.write_str("made anew by hand"),
            Self::FoundRunning => f.write_str("found running"),
            Self::NoEvidence => f.write_str("it may have been the engine's own end"),
            Self::Resumed(who) => by("resumed", who, f),
            Self::Applied(who) => by("applied", who, f),
            Self::Policy => f.write_str("policy.manualStop is Revert"),
        }
    }
}

/// A change of the holds, to be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldChange {
    /// It holds from now on.
    Began(On, Hold),
    /// It is for good now.
    Proven(On, Hold),
    /// It is over.
    Ended(On, Hold, HoldEnd),
}

/// The holds of one stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holds {
    all: BTreeMap<(On, HoldKind), Hold>,
    /// Words up to this number were considered.
    heard: u64,
    /// Words up to this number belong to an earlier time that the stack was taken down.
    down: u64,
}

/// What is held, and how.
impl Holds {
    /// Those that an earlier run wrote down.
    pub fn recalled(holds: impl IntoIterator<Item = (On, Hold)>) -> Self {
        let all = holds.into_iter().map(|(on, hold)| ((on, hold.kind), hold)).collect();
        Self { all, ..Self::default() }
    }

    /// Nothing is held.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them, the widest first.
    pub fn iter(&self) -> impl Iterator<Item = (&On, &Hold)> {
        self.all.iter().map(|((on, _), hold)| (on, hold))
    }

    /// The widest hold on the whole stack.
    pub fn of_stack(&self) -> Option<&Hold> {
        self.iter().find(|(on, _)| **on == On::Stack).map(|(_, hold)| hold)
    }

    /// The widest hold on a slot.
    pub fn of(&self, slot: &Slot) -> Option<&Hold> {
        self.iter().find(|(on, _)| on.has(slot)).map(|(_, hold)| hold)
    }

    /// The widest hold on all slots, or on some slot, of a service.
    pub fn on_service(&self, service: &str) -> Option<&Hold> {
        let about = |on: &On| on.service().is_none_or(|s| s == service);
        self.iter().find(|(on, _)| about(on)).map(|(_, hold)| hold)
    }

    /// Holds that aren't for good yet, as the words that they rest upon.
    pub fn provisional<'h>(
        &'h self,
        project: &'h str,
    ) -> impl Iterator<Item = (Slot, Word)> + use<'h> {
        self.iter().filter(|(_, hold)| hold.provisional).filter_map(move |(on, hold)| {
            let On::Slot(service, number) = on else { return None };
            let slot =
                Slot { project: project.to_owned(), service: service.clone(), number: *number };
            let said = Said::Stop { removed: false, proven: false };
            let container = hold.container.clone();
            Some((slot, Word { said, number: 0, container, nano: hold.nano }))
        })
    }
}

/// What people say to homeostat itself.
impl Holds {
    /// Pauses these services, or the whole stack.
    pub fn pause(&mut self, services: &BTreeSet<String>, hold: &Hold) -> Vec<HoldChange> {
        let ons: Vec<On> = match services.is_empty() {
            true => vec![On::Stack],
            false => services.iter().cloned().map(On::Service).collect(),
        };
        ons.into_iter().filter_map(|on| self.begin(on, hold.clone())).collect()
    }

    /// Ends every hold on these services, or all. What the whole stack was held by goes on for the
    /// other services.
    pub fn release(
        &mut self,
        services: &BTreeSet<String>,
        desired: &Desired,
        end: &HoldEnd,
    ) -> Vec<HoldChange> {
        let named = |on: &On| {
            services.is_empty() || on.service().is_none_or(|service| services.contains(service))
        };
        let ended: Vec<_> = self.all.extract_if(.., |(on, _), _| named(on)).collect();
        let mut changes = Vec::new();
        for ((on, _), hold) in ended {
            let others = desired.project.services.keys().filter(|s| !services.contains(*s));
            if on == On::Stack && !services.is_empty() {
                for other in others {
                    changes.extend(self.begin(On::Service(other.clone()), hold.clone()));
                }
            }
            changes.push(HoldChange::Ended(on, hold, end.clone()));
        }
        changes
    }

    /// Whatever was heard up to this number says nothing: others may have been at work.
    pub fn ignore(&mut self, heard: u64) {
        self.heard = heard;
    }

    fn begin(&mut self, on: On, hold: Hold) -> Option<HoldChange> {
        let key = (on, hold.kind);
        if self.all.contains_key(&key) {
            return None;
        }
        self.all.insert(key.clone(), hold.clone());
        Some(HoldChange::Began(key.0, hold))
    }
}

/// What people do at the engine.
impl Holds {
    /// Follows what was observed. `stopping` are containers that an earlier run of ours was about
    /// to stop, with the time until which their stops are its own.
    pub fn follow(
        &mut self,
        desired: &Desired,
        observed: &Observed,
        stopping: &BTreeMap<ContainerId, Mono>,
        now: Mono,
    ) -> Vec<HoldChange> {
        let facts = Facts { desired, observed };
        let mut changes = Vec::new();
        if desired.policy.manual_stop == ManualStopPolicy::Revert {
            let by_hand = |kind: HoldKind| kind != HoldKind::Paused;
            for ((on, _), hold) in self.all.extract_if(.., |(_, kind), _| by_hand(*kind)) {
                changes.push(HoldChange::Ended(on, hold, HoldEnd::Policy));
            }
        } else {
            self.take_stops(&facts, stopping, now, &mut changes);
        }
        self.heard = observed.hands.heard;
        let over: Vec<_> = self
            .all
            .iter()
            .filter_map(|((on, _), hold)| Some((on.clone(), hold.kind, facts.end(on, hold)?)))
            .collect();
        for (on, kind, end) in over {
            if let Some(hold) = self.all.remove(&(on.clone(), kind)) {
                changes.push(HoldChange::Ended(on, hold, end));
            }
        }
        for ((on, _), hold) in self.all.iter_mut().filter(|(_, hold)| hold.provisional) {
            if facts.is_proven(on) {
                hold.provisional = false;
                changes.push(HoldChange::Proven(on.clone(), hold.clone()));
            }
        }
        changes
    }

    fn take_stops(
        &mut self,
        facts: &Facts<'_>,
        stopping: &BTreeMap<ContainerId, Mono>,
        now: Mono,
        changes: &mut Vec<HoldChange>,
    ) {
        let heard = facts.observed.hands.heard;
        let is_ours = |id: &ContainerId| stopping.get(id).is_some_and(|until| now < *until);
        for (slot, word, _, proven) in facts.stops() {
            if word.number > self.heard && !is_ours(&word.container) {
                let on = On::Slot(slot.service.clone(), slot.number);
                let hold = Hold::of(HoldKind::Stopped, word, proven, word.number);
                changes.extend(self.begin(on, hold));
            }
        }
        if let Some(word) = self.taken_down(facts) {
            let hold = Hold::of(HoldKind::Down, word, facts.is_proven(&On::Stack), heard);
            self.down = heard;
            changes.extend(self.begin(On::Stack, hold));
        }
    }

    /// The last stop of a stack that was taken down: nothing of it is left, and all that lived
    /// went within a minute by a stop that holds.
    fn taken_down<'f>(&self, facts: &Facts<'f>) -> Option<&'f Word> {
        if facts.containers().next().is_some() {
            return None;
        }
        let is_held = |slot: &Slot| {
            let on = On::Slot(slot.service.clone(), slot.number);
            self.all.contains_key(&(on, HoldKind::Stopped))
        };
        let gone = || {
            facts.stops().filter(|(slot, word, removed, _)| {
                *removed && word.number > self.down && is_held(slot)
            })
        };
        let first = gone().map(|(_, word, ..)| word).min_by_key(|word| word.nano)?;
        let last = gone().map(|(_, word, ..)| word).max_by_key(|word| word.nano)?;
        (last.at().since(first.at()) <= DOWN_WITHIN).then_some(last)
    }
}

struct Facts<'f> {
    desired: &'f Desired,
    observed: &'f Observed,
}

impl<'f> Facts<'f> {
    fn words(&self) -> impl Iterator<Item = (&'f Slot, &'f Word)> {
        let project = &self.desired.project;
        let words = self.observed.hands.words.iter();
        words.filter(move |(slot, _)| {
            slot.project == project.name && project.services.contains_key(&slot.service)
        })
    }

    /// Stops: slot, word, whether the container was removed, whether it is proven.
    fn stops(&self) -> impl Iterator<Item = (&'f Slot, &'f Word, bool, bool)> {
        self.words().filter_map(|(slot, word)| match word.said {
            Said::Stop { removed, proven } => Some((slot, word, removed, proven)),
            Said::Start | Said::Create => None,
        })
    }

    /// Containers of the wanted services that are still there.
    fn containers(&self) -> impl Iterator<Item = &'f crate::observed::Container> {
        let (project, gone) = (&self.desired.project, &self.observed.hands.gone);
        self.observed.of_project(&project.name).filter(move |c| {
            let service = c.service.as_ref();
            service.is_some_and(|s| project.services.contains_key(s)) && !gone.contains(&c.id)
        })
    }

    /// Why a hold is over, if it is.
    fn end(&self, on: &On, hold: &Hold) -> Option<HoldEnd> {
        if hold.kind == HoldKind::Paused {
            return None;
        }
        let later = self.words().filter(|(slot, word)| on.has(slot) && word.number > hold.number);
        let ends = later.filter_map(|(_, word)| match word.said {
            Said::Start => Some(HoldEnd::Started),
            Said::Create => Some(HoldEnd::Created),
            Said::Stop { .. } => None,
        });
        if let Some(end) = { ends }.next() {
            return Some(end);
        }
        // An event may be missed, and somebody may have been here while we were not.
        let runs = self.containers().any(|c| {
            c.slot().is_some_and(|slot| on.has(&slot))
                && c.state == ContainerState::Running
                && c.started.is_some_and(|started| started > hold.since)
        });
        if runs {
            return Some(HoldEnd::FoundRunning);
        }
        let evidence = self.stops().any(|(slot, ..)| on.has(slot));
        (hold.provisional && !evidence).then_some(HoldEnd::NoEvidence)
    }

    fn is_proven(&self, on: &On) -> bool {
        let mut stops = self.stops().filter(|(slot, ..)| on.has(slot)).peekable();
        stops.peek().is_some() && stops.all(|(.., proven)| proven)
    }
}
