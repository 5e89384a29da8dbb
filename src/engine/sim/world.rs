//! The engine's state and its own timetable. Synchronous: whoever holds it sees one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::events::Subscribers;
use super::faults::SimFault;
use super::model::{Behaviour, Refusal, Remote, SimContainer, SimNetwork, WriteRecord};
use crate::clock::{Timestamp, unit_from};
use crate::engine::Fault;
use crate::engine::types::{
    ContainerId, EngineEvent, EngineInfo, ImageSummary, StreamItem, VolumeSummary,
};

/// Something that the engine or a process does by itself at its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Due {
    /// A start is complete.
    Started,
    /// The process ends.
    Exit(i64),
    /// The grace is over.
    GraceOver,
    /// The kernel ends the process for its memory.
    Oom,
    /// A death is cleaned up.
    TornDown,
    /// The engine's own policy starts it again.
    PolicyRestart,
    /// The next healthcheck of a series.
    Health(u64),
}

pub(super) struct World {
    pub now: Duration,
    /// Wall clock in milliseconds at `now`.
    pub wall_ms: i64,
    pub seed: u64,
    pub up: bool,
    pub info: EngineInfo,
    /// Why the adapter speaks with no such engine.
    pub refused: Option<Fault>,
    pub containers: BTreeMap<ContainerId, SimContainer>,
    pub networks: BTreeMap<String, SimNetwork>,
    pub volumes: BTreeMap<String, VolumeSummary>,
    pub images: BTreeMap<String, ImageSummary>,
    pub registry: BTreeMap<String, Remote>,
    pub behaviours: BTreeMap<String, Behaviour>,
    /// Services and containers that fail their healthcheck whatever the script says.
    pub sick: BTreeSet<String>,
    /// Paths that the host doesn't have; of all others there is something.
    pub absent: BTreeSet<String>,
    /// What each container and network was last made of, by name, for who brings a stack up again.
    pub recipes: BTreeMap<String, Map<String, Value>>,
    pub subscribers: Subscribers,
    pub faults: Vec<SimFault>,
    pub writes: Vec<WriteRecord>,
    pub calls: BTreeMap<String, u64>,
    serial: u64,
    queue: BTreeMap<(Duration, u64), (ContainerId, u64, Due)>,
}

impl World {
    pub fn new(seed: u64, info: EngineInfo) -> Self {
        let mut world = Self {
            now: Duration::ZERO,
            wall_ms: 0,
            seed: seed | 1,
            up: true,
            info,
            refused: None,
            containers: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            registry: BTreeMap::new(),
            behaviours: BTreeMap::new(),
            sick: BTreeSet::new(),
            absent: BTreeSet::new(),
            recipes: BTreeMap::new(),
            subscribers: Subscribers::default(),
            faults: Vec::new(),
            writes: Vec::new(),
            calls: BTreeMap::new(),
            serial: 0,
            queue: BTreeMap::new(),
        };
        for (name, driver) in [("bridge", "bridge"), ("host", "host"), ("none", "null")] {
            let id = world.new_id(name);
            let (subnet, gateway) = match name {
                "bridge" => ("172.17.0.0/16".to_owned(), "172.17.0.1".to_owned()),
                _ => Default::default(),
            };
            let (name, driver) = (name.to_owned(), driver.to_owned());
            let network =
                SimNetwork { id: id.clone(), name, driver, subnet, gateway, ..Default::default() };
            world.networks.insert(id, network);
        }
        world
    }

    /// 64 hexadecimal digits, the same in every run with this seed.
    pub fn new_id(&mut self, kind: &str) -> String {
        self.serial += 1;
        let digest = Sha256::digest(format!("{kind} {}", self.serial));
        digest.iter().map(|b| format!("{b:02x}")).collect()
    }

    pub fn chance(&mut self) -> f64 {
        unit_from(&mut self.seed)
    }

    pub const fn wall(&self) -> Timestamp {
        Timestamp(self.wall_ms)
    }

    pub fn schedule(&mut self, after: Duration, id: &ContainerId, run: u64, due: Due) {
        self.serial += 1;
        self.queue.insert((self.now + after, self.serial), (id.clone(), run, due));
    }

    /// When something happens by itself next.
    pub fn next_due(&self) -> Option<Duration> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    /// Moves to `now`, doing what is due on the way at its own time. Whether anything was.
    pub fn advance(&mut self, now: Duration, wall_ms: impl Fn(Duration) -> i64) -> bool {
        let mut did = false;
        while let Some(entry) = self.queue.first_entry() {
            let at = entry.key().0;
            if at > now {
                break;
            }
            let (id, run, due) = entry.remove();
            self.now = self.now.max(at);
            self.wall_ms = wall_ms(self.now);
            self.happen(&id, run, &due);
            did = true;
        }
        self.now = self.now.max(now);
        self.wall_ms = wall_ms(self.now);
        did
    }

    /// Nothing that was planned happens.
    pub fn forget_plans(&mut self) {
        self.queue.clear();
    }

    pub fn emit(&mut self, kind: &str, action: &str, actor: &str, attributes: &[(&str, &str)]) {
        let attributes =
            attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.send(kind, action, actor, attributes);
    }

    /// An event about a container, with its labels, image and name.
    pub fn emit_container(&mut self, id: &ContainerId, action: &str, more: &[(&str, &str)]) {
        let Some(container) = self.containers.get(id) else { return };
        let mut attributes = container.labels.clone();
        attributes.insert("image".into(), container.image.clone());
        attributes.insert("name".into(), container.name.clone());
        attributes.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        self.send("container", action, &id.0, attributes);
    }

    fn send(
        &mut self,
        kind: &str,
        action: &str,
        actor: &str,
        attributes: BTreeMap<String, String>,
    ) {
        // Events have nanoseconds; no two share one.
        self.serial += 1;
        let time_nano =
            self.wall_ms * 1_000_000 + i64::try_from(self.serial % 1_000_000).unwrap_or(0);
        let event = EngineEvent {
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor: actor.to_owned(),
            attributes,
            time_nano,
        };
        let seed = &mut self.seed;
        self.subscribers.send(StreamItem::Event(event), || unit_from(seed));
    }

    /// A container by full ID, name, or the first digits of its ID.
    pub fn find(&self, wanted: &str) -> Result<ContainerId, Refusal> {
        let bare = wanted.trim_start_matches('/');
        let by_id = ContainerId(bare.to_owned());
        if self.containers.contains_key(&by_id) {
            return Ok(by_id);
        }
        self.containers
            .values()
            .find(|c| c.name == bare)
            .or_else(|| {
                self.containers.values().find(|c| !bare.is_empty() && c.id.0.starts_with(bare))
            })
            .map(|c| c.id.clone())
            .ok_or_else(|| Refusal::no_container(wanted))
    }

    pub fn get(&mut self, id: &ContainerId) -> Result<&mut SimContainer, Refusal> {
        self.containers.get_mut(id).ok_or_else(|| Refusal::no_container(&id.0))
    }

    /// The script of a container: by its name, else by its service.
    pub fn behaviour(&self, id: &ContainerId) -> Behaviour {
        let Some(container) = self.containers.get(id) else { return Behaviour::default() };
        self.behaviours
            .get(&container.name)
            .or_else(|| self.behaviours.get(&container.image))
            .or_else(|| self.behaviours.get(container.service()?))
            .cloned()
            .unwrap_or_default()
    }

    /// Whether a container's process serves now.
    pub fn serves(&self, id: &ContainerId) -> bool {
        let Some(container) = self.containers.get(id) else { return false };
        let sick = self.sick.contains(&container.name)
            || container.service().is_some_and(|s| self.sick.contains(s));
        let up = self.now.saturating_sub(container.since);
        container.state == crate::observed::ContainerState::Running
            && !sick
            && self.behaviour(id).ready_after.is_some_and(|after| up >= after)
    }
}
