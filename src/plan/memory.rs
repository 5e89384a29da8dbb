//! What the past contributes to a plan. Rebuilt from the journal at start.

use std::collections::{BTreeMap, BTreeSet};

use super::age::Ages;
use super::hold::Holds;
use super::step::{Followed, Resource};
use super::update::{Pin, Update};
use crate::clock::{Mono, Timestamp};
use crate::engine::{ContainerId, Tier};
use crate::observed::Slot;
use crate::recovery::Incidents;

/// What the past contributes to a plan.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Failures in a row and when to try again, by slot.
    pub backoff: BTreeMap<Slot, Backoff>,
    /// The same for networks, volumes and images.
    pub resource_backoff: BTreeMap<Resource, Backoff>,
    /// Jobs that ended well, by service: (configuration hash, image ID).
    pub jobs: BTreeMap<String, (String, String)>,
    /// Resources that a running step works on: hands off.
    pub busy: BTreeSet<Resource>,
    /// References that were pulled for this generation.
    pub pulled: BTreeSet<String>,
    /// Containers that we made and whose replacement we may finish at once.
    pub owned: BTreeSet<ContainerId>,
    /// Names of containers whose making was asked for and never answered, by slot: one that turns
    /// up under such a name is ours.
    pub unanswered: BTreeMap<Slot, BTreeSet<String>>,
    /// What stays as it is because a person said so.
    pub holds: Holds,
    /// Containers that an earlier run was about to stop: their stops are ours until then.
    pub stopping: BTreeMap<ContainerId, Mono>,
    /// Hash that we last applied, by service; or found unapplied when we first saw its container.
    /// Beside them, under names that no service can have, what [`Note`] tells.
    pub applied: BTreeMap<String, String>,
    /// Services that a person wants as the files say, whoever made their containers.
    pub insisted: Insisted,
    /// Updates that aren't over, by slot.
    pub updates: BTreeMap<Slot, Update>,
    /// Containers that an update kept until the new one had proved itself.
    pub superseded: BTreeSet<ContainerId>,
    /// Updates that failed, by service.
    pub pins: BTreeMap<String, Pin>,
    /// The container that homeostat itself runs in.
    pub own: Option<ContainerId>,
    /// The run of another service for which a slot was last restarted.
    pub followed: BTreeMap<Slot, Followed>,
    /// How long containers have run, or have been down.
    pub ages: Ages,
    /// When something last happened to a slot's containers.
    pub touched: BTreeMap<Slot, Timestamp>,
    /// When a service became the one that others softly wait for.
    pub down_since: BTreeMap<String, Mono>,
    /// What was tried for services that are down, and whether more may be.
    pub incidents: Incidents,
    /// Containers that the engine can't start any more, whatever is done.
    pub stuck: BTreeSet<ContainerId>,
    /// What may be done to the engine.
    pub tier: Tier,
    /// Volumes that were removed with their data, by name, until somebody has taken note.
    pub lost: BTreeMap<String, Lost>,
}

/// What is written down beside the hash of a service, in the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Of a service: its container was there, otherwise than wanted, before anything was applied.
    /// Empty if that is over.
    Found,
    /// Of a service: the files that its container was last seen to be made from, as
    /// [`crate::desired::Desired::files`] has them.
    Files,
    /// Of a network, by its key: the hash that was applied, or wanted when it was first seen.
    Network,
}

impl Note {
    /// The name under which it stands.
    pub fn of(self, name: &str) -> String {
        let kind = match self {
            Self::Found => "found",
            Self::Files => "files",
            Self::Network => "network",
        };
        format!("{kind}/{name}")
    }
}

/// A volume that somebody removed while a service used it: an empty one is in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The service, or the first of several.
    pub service: String,
    /// When the empty one was made.
    pub at: Timestamp,
    /// Since when all that use it have been ready.
    pub ready_since: Option<Mono>,
}

/// The services that a person wants as the files say now, whoever made their containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Insisted {
    /// None.
    #[default]
    Nothing,
    /// These.
    Services(BTreeSet<String>),
    /// All: the memory of a command that a person gave.
    Everything,
}

impl Insisted {
    /// Whether a person wants it for this service.
    pub fn has(&self, service: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Services(services) => services.contains(service),
            Self::Everything => true,
        }
    }

    /// Adds services.
    pub fn add(&mut self, more: impl IntoIterator<Item = String>) {
        match self {
            Self::Nothing => *self = Self::Services(more.into_iter().collect()),
            Self::Services(services) => services.extend(more),
            Self::Everything => {}
        }
    }

    /// Drops services that have become as the files say.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        if let Self::Services(services) = self {
            services.retain(|service| keep(service));
        }
    }
}

impl Memory {
    /// What is noted of a service or a network; `None` if nothing is.
    pub fn noted(&self, note: Note, name: &str) -> Option<&str> {
        self.applied.get(&note.of(name)).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// What a command remembers that a person gave: the files count.
    pub fn insisting() -> Self {
        Self { insisted: Insisted::Everything, ..Self::default() }
    }

    /// The failures in a row of a slot or of another resource.
    pub fn backoff_of(&self, resource: &Resource) -> Option<&Backoff> {
        match resource {
            Resource::Slot(slot) => self.backoff.get(slot),
            other => self.resource_backoff.get(other),
        }
    }

    /// The same, to be changed.
    pub fn backoff_mut(&mut self, resource: &Resource) -> Option<&mut Backoff> {
        match resource {
            Resource::Slot(slot) => self.backoff.get_mut(slot),
            other => self.resource_backoff.get_mut(other),
        }
    }
}

/// Attempts in a row for one slot or resource, none of which lasted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backoff {
    /// How many.
    pub failures: u32,
    /// Don't try before this.
    pub not_before: Mono,
    /// Why the last one failed, for people, no secrets; empty if the engine did it and it is only
    /// that it didn't last.
    pub last: String,
    /// Ready since, in the present run.
    pub ready_since: Option<Mono>,
    /// The call that the engine refuses (403), until it succeeds or fails in another way.
    pub refused: Option<Refusal>,
    /// The engine had no room for it: nothing is pulled before this is over.
    pub full: bool,
}

/// A call that somebody before the engine doesn't let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Method and path without IDs.
    pub call: String,
    /// The action word of the step that made it.
    pub action: &'static str,
}
