//! What one connection to the engine brought so far, and what its events make doubtful.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::changes::Changes;
use super::deaths::Deaths;
use super::reads::{Need, Reads};
use super::snapshot::{Dirty, Picture};
use crate::clock::{Now, Timestamp};
use crate::engine::{ContainerId, EngineEvent, EngineInfo};
use crate::observed::{labels, normalise};

/// A full read that isn't over yet.
struct Full {
    need: Need,
    begun: Now,
    projects: BTreeSet<String>,
}

/// What one connection brought so far.
pub struct Session {
    /// The engine as far as it was read.
    pub picture: Picture,
    /// Something may have been missed: nothing is published before a full read.
    pub hidden: bool,
    changes: Arc<Changes>,
    deaths: Deaths,
    full: Option<Full>,
    shown: BTreeSet<String>,
}

impl Session {
    /// Nothing yet.
    pub fn new(info: EngineInfo, projects: BTreeSet<String>, changes: Arc<Changes>) -> Self {
        Self {
            picture: Picture::new(info, projects, Arc::clone(&changes)),
            hidden: true,
            changes,
            deaths: Deaths::default(),
            full: None,
            shown: BTreeSet::new(),
        }
    }

    /// The projects of which the picture shows all containers in full.
    pub const fn shown(&self) -> &BTreeSet<String> {
        &self.shown
    }

    /// Inspects the containers of these projects from now on. A full read must follow.
    pub fn manage(&mut self, projects: BTreeSet<String>) {
        self.shown.retain(|project| projects.contains(project));
        self.picture.manage(projects);
    }

    /// A full read begins. One that isn't over is taken up into it.
    pub fn begin(&mut self, number: u64, begun: Now) {
        let need = Need::new(number, Dirty::everything().targets());
        let projects = self.picture.projects().clone();
        self.full = Some(Full { need, begun, projects });
    }

    /// What the full read under way waits for.
    pub fn need(&mut self) -> Option<&mut Need> {
        self.full.as_mut().map(|full| &mut full.need)
    }

    /// When the full read began that is over now, if one is.
    pub fn finish(&mut self, reads: &Reads) -> Option<Now> {
        let full = self.full.take_if(|full| full.need.is_over())?;
        self.hidden = false;
        self.shown = full.projects;
        self.picture.is_true_of(full.begun);
        let sought = |id: &ContainerId| reads.concerns(id);
        self.deaths.forget(&self.picture.observed, sought);
        let observed = &mut self.picture.observed;
        observed.exits.retain(|id, _| observed.containers.contains_key(id) || sought(id));
        self.changes.forget(&self.picture.observed, sought);
        Some(full.begun)
    }

    /// Writes the deaths that events told in full into the picture. True if it changed.
    pub fn write_deaths(&mut self, number: u64) -> bool {
        let died = self.deaths.write(&mut self.picture.observed);
        let any = !died.is_empty();
        self.picture.told(died, number);
        any
    }

    /// Sorts an event into what must be read again. True when a container of somebody else
    /// changed.
    pub fn hear(&mut self, event: &EngineEvent, number: u64, dirty: &mut Dirty) -> bool {
        match event.kind.as_str() {
            "container" => return self.hear_container(event, number, dirty),
            "network" => match event.action.as_str() {
                "connect" | "disconnect" => self.hear_endpoint(event, number, dirty),
                _ => dirty.networks = true,
            },
            "volume" if !matches!(event.action.as_str(), "mount" | "unmount") => {
                dirty.volumes = true;
            }
            "image" => dirty.images = true,
            _ => {}
        }
        false
    }

    fn hear_endpoint(&self, event: &EngineEvent, number: u64, dirty: &mut Dirty) {
        let id = event.attributes.get("container").cloned().map(ContainerId);
        let known = id.and_then(|id| self.picture.observed.containers.get(&id));
        let Some(container) = known else { return };
        if !self.picture.is_managed(container.project.as_deref()) {
            return;
        }
        // That the dead lose their endpoints is no news.
        if container.is_live() && !self.deaths.heard(&container.id) {
            self.changes.doubt(container.id.clone(), number, None);
        }
        dirty.containers.insert(container.id.clone());
    }

    fn hear_container(&mut self, event: &EngineEvent, number: u64, dirty: &mut Dirty) -> bool {
        let project = event.attributes.get(labels::PROJECT).map(String::as_str);
        if !self.picture.is_managed(project) {
            return true;
        }
        self.changes.note(event, number);
        if let Some(cause) = self.deaths.cause(event) {
            let at = Timestamp(event.time_nano / 1_000_000);
            self.picture.observed.exits.insert(ContainerId(event.actor.clone()), (at, cause));
        }
        self.deaths.hear(event);
        // A signal alone changes nothing; if it ends the process, `die` follows.
        if event.action == "kill" {
            return false;
        }
        let id = ContainerId(event.actor.clone());
        let known = self.picture.observed.containers.contains_key(&id);
        if !known || event.action == "update" || event.action.starts_with("health_status") {
            self.changes.doubt(id.clone(), number, normalise::slot_of(&event.attributes));
        }
        dirty.containers.insert(id);
        false
    }
}
