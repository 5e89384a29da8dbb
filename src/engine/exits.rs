//! Why containers ended, and what people did to them: the engine's raw events, told in our words.
//! Pure: events and times in, facts out.
//!
//! Which events an act makes, and when, was seen on Engine 20.10 with Compose 5.6.1:
//!
//! | act | events |
//! | --- | --- |
//! | crash, exit, memory limit | `die`, no `kill` before it |
//! | `docker kill` | `kill`, `die` |
//! | `docker stop` | `kill`, `die`, `stop` 42–75 ms later |
//! | `docker restart` | the same, `start`, `restart` |
//! | `docker rm -f` | `kill`, `die`, `destroy` 48–84 ms later |
//! | `compose up` recreating | `create` of `<id12>_name`, `kill`, `die`, `stop`, `destroy`, `rename`, `start` |
//! | `compose down`, `rm -sf`, scale down | `kill`, `die`, `stop`, `destroy` |
//!
//! # Guarantees
//! - A process that ended without a signal through the API is known for that at once.
//! - Nobody is said to have stopped something without a `stop`.
//! - An engine that ends looks like a person who stops everything. So a stop is proven only when
//!   the engine outlived it by [`PROVISIONAL`]; one that isn't proven is forgotten after a lost
//!   connection, unless the engine still knows the last event that we had heard before.
//! - Nobody is waited for without end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::types::{ContainerId, EngineEvent};
use crate::clock::{Mono, Timestamp};
use crate::observed::hands::PROVISIONAL;
use crate::observed::{Cause, Death, Hands, Observed, Said, Slot, Word, Yield};

/// How long after a death a `stop` or `destroy` may still come.
pub const DECIDED_WITHIN: Duration = Duration::from_millis(500);
/// How long somebody who makes a container may take until its start.
pub const STARTED_WITHIN: Duration = Duration::from_secs(30);
/// Time between two looks whether the engine lives, while a stop isn't proven.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Events that are known again when they come twice. The engine itself keeps 256.
const RECENT: usize = 512;
/// An event that is older than the last word about its slot is old news, unless it is older by
/// more than this: then the engine's clock jumped.
const OLD_NEWS: i64 = 60_000_000_000;
/// Slots of which the last word is kept.
const MOST_SLOTS: usize = 4096;

/// What makes an event the same one.
type Key = (i64, String, String);

/// What is known of one run of a container.
#[derive(Debug, Default)]
struct Life {
    /// Signalled through the API since its start, by us or by somebody else.
    signal: Option<Signal>,
    /// It died by such a signal, and what follows isn't known before then.
    undecided: Option<Mono>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Ours,
    Theirs,
}

/// A slot that is left to somebody else.
#[derive(Debug)]
struct Yielding {
    why: Yield,
    until: Mono,
    /// The beginning of the ID of the container that is replaced.
    replaced: String,
}

/// An event of a container, with what only others know of it.
#[derive(Debug, Clone)]
pub struct Heard<'e> {
    /// As the engine told it.
    pub event: &'e EngineEvent,
    /// The slot that its labels name.
    pub slot: Option<Slot>,
    /// The container's own stop signal, as its configuration has it; empty is SIGTERM.
    pub stop_signal: &'e str,
    /// One of our own steps made it.
    pub ours: bool,
}

/// Reads the containers' events.
#[derive(Debug, Default)]
pub struct Exits {
    lives: BTreeMap<ContainerId, Life>,
    /// Ended without a signal, and not taken yet: time and exit code.
    told: BTreeMap<ContainerId, (Timestamp, i64)>,
    deaths: BTreeMap<Slot, Death>,
    heard: u64,
    words: BTreeMap<Slot, Word>,
    yields: BTreeMap<Slot, Yielding>,
    gone: BTreeSet<ContainerId>,
    /// Stops that aren't proven, with when they were heard.
    unproven: BTreeMap<Slot, Mono>,
    looked: Option<Mono>,
    recent: VecDeque<Key>,
    last: Option<Key>,
    /// The event whose return shows that the engine is still the same process.
    sought: Option<Key>,
    changed: bool,
}

impl Exits {
    /// Takes up stops that an earlier process had heard of and that weren't proven yet.
    pub fn recall(&mut self, stops: impl IntoIterator<Item = (Slot, Word)>) {
        for (slot, word) in stops {
            let key = (word.nano, word.container.0.clone(), "stop".to_owned());
            if self.last.as_ref().is_none_or(|last| last.0 < key.0) {
                self.last = Some(key);
            }
            self.unproven.insert(slot.clone(), Mono::default());
            self.words.insert(slot, word);
        }
    }

    /// A stream is about to be opened. Returns the time, in nanoseconds, from which on the engine
    /// should tell again what it told before.
    pub fn reconnect(&mut self) -> Option<i64> {
        self.sought.clone_from(&self.last);
        Some(self.last.as_ref()?.0)
    }

    /// All that the engine tells again was heard. If it doesn't know the last event any more, it
    /// may be another process, and stops may have been its predecessor's end.
    pub fn caught_up(&mut self, now: Mono) {
        if self.sought.take().is_some() {
            self.unproven_are_the_engines();
            // Who was signalled before may have been started since.
            self.lives.retain(|_, life| life.undecided.is_some());
        }
        for heard in self.unproven.values_mut().filter(|heard| **heard == Mono::default()) {
            *heard = now;
        }
    }

    fn unproven_are_the_engines(&mut self) {
        for slot in std::mem::take(&mut self.unproven).into_keys() {
            let Some(word) = self.words.remove(&slot) else { continue };
            if let Some(death) = self.deaths.get_mut(&slot)
                && death.container == word.container
            {
                death.cause = Cause::Engine;
            }
            self.changed = true;
        }
    }

    /// An event of any kind arrived. False if it is one that was heard before.
    pub fn see(&mut self, event: &EngineEvent) -> bool {
        let key = (event.time_nano, event.actor.clone(), event.action.clone());
        if self.sought.as_ref() == Some(&key) {
            self.sought = None;
        }
        if self.recent.contains(&key) {
            return false;
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(key.clone());
        self.last = Some(key);
        true
    }

    /// An event of a container that wasn't heard before.
    pub fn hear(&mut self, heard: &Heard<'_>, now: Mono) {
        let id = ContainerId(heard.event.actor.clone());
        match heard.event.action.as_str() {
            "kill" if is_deadly(heard) => {
                let signal = if heard.ours { Signal::Ours } else { Signal::Theirs };
                self.lives.entry(id).or_default().signal = Some(signal);
            }
            "die" => self.died(id, heard, now),
            "stop" => self.stopped(id, heard, now),
            "destroy" => self.destroyed(&id, heard),
            "start" => self.started(id, heard),
            "create" => self.created(id, heard, now),
            _ => {}
        }
    }

    fn died(&mut self, id: ContainerId, heard: &Heard<'_>, now: Mono) {
        let at = Timestamp(heard.event.time_nano / 1_000_000);
        let code = heard.event.attributes.get("exitCode").and_then(|code| code.parse().ok());
        let life = self.lives.entry(id.clone()).or_default();
        // Without a signal nobody ended it, whoever is at work on the container: a process may fall
        // as soon as we have restarted it.
        let (ours, cause) = match life.signal {
            None => (false, Cause::Spontaneous),
            Some(signal) if heard.ours || signal == Signal::Ours => (true, Cause::ApiStop),
            Some(_) => (false, Cause::Unknown),
        };
        if cause == Cause::Spontaneous
            && let Some(code) = code
        {
            self.told.insert(id.clone(), (at, code));
        }
        if cause == Cause::Unknown {
            let until = now.after(DECIDED_WITHIN);
            life.undecided = Some(until);
            if let Some(slot) = &heard.slot {
                self.leave(slot, Yield::Undecided, until, String::new());
            }
        }
        if let Some(slot) = heard.slot.clone() {
            self.deaths.insert(slot, Death { container: id, cause, ours, at, exit_code: code });
            self.changed = true;
        }
    }

    fn stopped(&mut self, id: ContainerId, heard: &Heard<'_>, now: Mono) {
        self.decide(&id, heard, Cause::ApiStop);
        let Some(slot) = heard.slot.clone().filter(|_| !heard.ours) else { return };
        let update = self.yields.get(&slot).is_some_and(|y| y.replaces(&id));
        if update || self.is_old(&slot, heard.event.time_nano) {
            return;
        }
        self.unproven.insert(slot.clone(), now);
        let said = Said::Stop { removed: self.gone.contains(&id), proven: false };
        self.say(slot, said, id, heard.event.time_nano);
    }

    fn destroyed(&mut self, id: &ContainerId, heard: &Heard<'_>) {
        self.told.remove(id);
        self.gone.insert(id.clone());
        let signalled = self.lives.get(id).is_some_and(|l| l.signal == Some(Signal::Theirs));
        let stopped = heard.slot.as_ref().and_then(|slot| self.words.get_mut(slot));
        match stopped.filter(|word| word.container == *id).map(|word| &mut word.said) {
            Some(Said::Stop { removed, .. }) => *removed = true,
            _ if signalled => self.decide(id, heard, Cause::Removed),
            _ => {}
        }
        self.lives.remove(id);
        self.changed = true;
    }

    fn started(&mut self, id: ContainerId, heard: &Heard<'_>) {
        self.told.remove(&id);
        self.lives.remove(&id);
        self.gone.remove(&id);
        let Some(slot) = heard.slot.clone() else { return };
        self.changed |= self.yields.remove(&slot).is_some();
        if !heard.ours && !self.is_old(&slot, heard.event.time_nano) {
            self.say(slot, Said::Start, id, heard.event.time_nano);
        }
    }

    fn created(&mut self, id: ContainerId, heard: &Heard<'_>, now: Mono) {
        let Some(slot) = heard.slot.clone().filter(|_| !heard.ours) else { return };
        let until = now.after(STARTED_WITHIN);
        let name = heard.event.attributes.get("name").map_or("", String::as_str);
        match replaced(name) {
            Some(old) => {
                // Heard out of order: what was stopped is being replaced.
                if self.words.get(&slot).is_some_and(|word| word.container.0.starts_with(old)) {
                    self.words.remove(&slot);
                    self.unproven.remove(&slot);
                }
                self.leave(&slot, Yield::Update, until, old.to_owned());
            }
            None => self.leave(&slot, Yield::Creation, until, String::new()),
        }
        self.say(slot, Said::Create, id, heard.event.time_nano);
    }

    /// A death that waited for its cause has one.
    fn decide(&mut self, id: &ContainerId, heard: &Heard<'_>, cause: Cause) {
        let life = self.lives.entry(id.clone()).or_default();
        life.undecided = None;
        let Some(slot) = &heard.slot else { return };
        if self.yields.get(slot).is_some_and(|y| y.why == Yield::Undecided) {
            self.yields.remove(slot);
        }
        self.changed = true;
        if let Some(death) = self.deaths.get_mut(slot).filter(|d| d.container == *id) {
            death.cause = cause;
        }
    }

    fn leave(&mut self, slot: &Slot, why: Yield, until: Mono, replaced: String) {
        // Who replaces a container ends it, too.
        let longer = self.yields.get(slot).is_some_and(|y| y.until > until);
        if !longer {
            self.yields.insert(slot.clone(), Yielding { why, until, replaced });
            self.changed = true;
        }
    }

    fn is_old(&self, slot: &Slot, nano: i64) -> bool {
        let age = self.words.get(slot).map_or(0, |word| word.nano.saturating_sub(nano));
        age > 0 && age < OLD_NEWS
    }

    fn say(&mut self, slot: Slot, said: Said, container: ContainerId, nano: i64) {
        if !matches!(said, Said::Stop { .. }) {
            self.unproven.remove(&slot);
        }
        if self.words.len() >= MOST_SLOTS && !self.words.contains_key(&slot) {
            let oldest = self.words.iter().min_by_key(|(_, w)| w.number).map(|(s, _)| s.clone());
            if let Some(oldest) = oldest {
                self.words.remove(&oldest);
                self.unproven.remove(&oldest);
                self.deaths.remove(&oldest);
            }
        }
        self.heard += 1;
        let number = self.heard;
        self.words.insert(slot, Word { said, number, container, nano });
        self.changed = true;
    }
}

/// What follows from the mere passing of time.
impl Exits {
    /// When something is decided by then.
    pub fn due(&self) -> Option<Mono> {
        let lives = self.lives.values().filter_map(|life| life.undecided);
        lives.chain(self.yields.values().map(|y| y.until)).min()
    }

    /// Time passed.
    pub fn pass(&mut self, now: Mono) {
        let mut killed = BTreeSet::new();
        for (id, life) in &mut self.lives {
            if life.undecided.take_if(|until| *until <= now).is_some() {
                killed.insert(id.clone());
            }
        }
        for death in self.deaths.values_mut().filter(|d| killed.contains(&d.container)) {
            death.cause = Cause::ApiKill;
            self.changed = true;
        }
        let before = self.yields.len();
        self.yields.retain(|_, y| y.until > now);
        self.changed |= self.yields.len() != before;
    }

    /// When to look whether the engine lives, if that is to be known.
    pub fn look_at(&self) -> Option<Mono> {
        let first = *self.unproven.values().min()?;
        let next = self.looked.map_or(first, |looked| looked.max(first)).after(LOOK_EVERY);
        let ends = self.unproven.values().map(|heard| heard.after(PROVISIONAL));
        ends.filter(|end| self.looked.is_none_or(|l| l < *end)).chain([next]).min()
    }

    /// The engine lived at that time.
    pub fn lived(&mut self, at: Mono) {
        self.looked = Some(at);
        let over: Vec<Slot> = self
            .unproven
            .extract_if(.., |_, heard| heard.after(PROVISIONAL) <= at)
            .map(|(slot, _)| slot)
            .collect();
        for slot in over {
            if let Some(Word { said: Said::Stop { proven, .. }, .. }) = self.words.get_mut(&slot) {
                *proven = true;
                self.changed = true;
            }
        }
    }

    /// Whether the facts changed since the last question.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether a death was heard of that its event told in full and that isn't taken yet.
    pub fn has_told(&self, id: &ContainerId) -> bool {
        self.told.contains_key(id)
    }

    /// Deaths that their event told in full: when, and the exit code.
    pub fn take_told(&mut self) -> BTreeMap<ContainerId, (Timestamp, i64)> {
        std::mem::take(&mut self.told)
    }

    /// Writes down what is known.
    pub fn show(&self, observed: &mut Observed) {
        observed.deaths.clone_from(&self.deaths);
        observed.hands = Hands {
            heard: self.heard,
            words: self.words.clone(),
            yields: self.yields.iter().map(|(slot, y)| (slot.clone(), y.why)).collect(),
            gone: self.gone.clone(),
        };
    }

    /// Forgets containers that are gone and aren't being looked for, and slots of projects that
    /// nobody keeps; what an earlier run had heard waits for whoever is going to keep its project.
    pub fn forget(
        &mut self,
        known: &Observed,
        sought: impl Fn(&ContainerId) -> bool,
        is_kept: impl Fn(&str) -> bool,
    ) {
        let there = |id: &ContainerId| known.containers.contains_key(id) || sought(id);
        self.lives.retain(|id, _| there(id));
        self.gone.retain(there);
        self.words.retain(|slot, word| word.number == 0 || is_kept(&slot.project));
        let words = &self.words;
        self.unproven.retain(|slot, _| words.contains_key(slot));
        self.deaths.retain(|slot, _| is_kept(&slot.project));
    }
}

impl Yielding {
    fn replaces(&self, id: &ContainerId) -> bool {
        self.why == Yield::Update && id.0.starts_with(&self.replaced)
    }
}

/// The beginning of the ID of the container that one of this name replaces.
fn replaced(name: &str) -> Option<&str> {
    let (id, _) = name.split_once('_')?;
    let hex = id.len() == 12 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    hex.then_some(id)
}

/// Whether a signal asks for the process's end. One that we don't know may.
fn is_deadly(heard: &Heard<'_>) -> bool {
    let sent = heard.event.attributes.get("signal").map_or("", String::as_str);
    let Some(sent) = signal(sent) else { return true };
    matches!(sent, 2 | 3 | 9 | 15) || signal(heard.stop_signal) == Some(sent)
}

/// The number of a signal as the engine and Compose files write it (signal(7), x86 and ARM).
fn signal(text: &str) -> Option<u8> {
    let text = text.trim().to_ascii_uppercase();
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    if let Some(more) = name.strip_prefix("RTMIN+") {
        return more.parse::<u8>().ok()?.checked_add(34);
    }
    Some(match name {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ABRT" => 6,
        "KILL" => 9,
        "USR1" => 10,
        "USR2" => 12,
        "ALRM" => 14,
        "TERM" => 15,
        "CONT" => 18,
        "WINCH" => 28,
        "PWR" => 30,
        number => number.parse().ok()?,
    })
}

#[cfg(test)]
mod tests;
