//! Volumes: created when absent, never replaced, never removed.

use std::collections::BTreeMap;

use super::memory::Lost;
use super::step::{Cause, Op, Resource, StepId};
use super::{Planner, Standing, SupplyState};
use crate::compose::types::{MountKind, Project, Service, Volume};
use crate::desired::Desired;
use crate::observed::labels;

impl Planner<'_> {
    pub(super) fn volumes(&mut self) {
        let project = &self.desired.project;
        let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for service in project.services.values().filter(|s| self.in_scope(&s.name)) {
            for key in volume_keys(service) {
                users.entry(key).or_default().push(&service.name);
            }
        }
        let everything = self.scope.is_none();
        for (key, volume) in &project.volumes {
            let used_by = users.get(key.as_str());
            if everything || used_by.is_some() {
                let state = self.volume(volume, used_by.map_or(&[], Vec::as_slice));
                self.volumes.insert(key, state);
            }
        }
    }

    fn volume(&mut self, volume: &Volume, users: &[&str]) -> SupplyState {
        let resource = Resource::Volume(volume.name.clone());
        if self.memory.busy.contains(&resource) {
            self.note(resource, Standing::InProgress);
            return SupplyState::Busy;
        }
        if let Some(found) = self.observed.volumes.get(&volume.name) {
            let hash = found.labels.get(labels::CONFIG_HASH);
            let ours = found.labels.get(labels::VERSION).map(String::as_str)
                == Some(crate::compose::COMPOSE_VERSION);
            if !volume.external
                && ours
                && hash.is_some_and(|h| !h.is_empty() && *h != crate::compose::volume_hash(volume))
            {
                let what = "its configuration changed; a volume is never replaced, move the data \
                            to a new one by hand";
                self.note(resource.clone(), Standing::Notice(what.into()));
            }
            if let Some(lost) = self.memory.lost.get(&volume.name) {
                self.tell_loss(resource, lost);
            }
            return SupplyState::Present;
        }
        if volume.external {
            let why = format!(
                "external volume {0} is missing; create it with `docker volume create {0}`",
                volume.name
            );
            self.note(resource, Standing::Blocked(why.clone()));
            return SupplyState::Blocked(why);
        }
        if let Some(wait) = self.resource_backoff(&resource) {
            self.note(resource, wait);
            return SupplyState::Blocked("the volume could not be created".into());
        }
        let op = Op::CreateVolume { key: volume.key.clone() };
        let had_it = |user: &&&str| had_volumes(self.desired, &self.memory.applied, user);
        let Some(user) = users.iter().find(had_it) else {
            return SupplyState::Coming(self.push(resource, op, Cause::Missing, vec![]));
        };
        let what = format!("was removed, and its data with it; {user} starts with an empty one");
        self.note(resource.clone(), Standing::Notice(what));
        SupplyState::Coming(self.push(resource, op, Cause::DeletedElsewhere, vec![]))
    }

    /// An empty volume looks well: what it lacks is said until somebody knows.
    fn tell_loss(&mut self, resource: Resource, lost: &Lost) {
        let what = format!(
            "was removed, and its data with it; {} began with an empty one at {}: restore a \
             backup, or run `homeostat apply` to go on with it",
            lost.service, lost.at
        );
        self.report.lost.push(format!("{resource} {what}"));
        self.note(resource, Standing::Notice(what));
    }

    fn volumes_of<'s>(
        &self,
        service: &'s Service,
    ) -> impl Iterator<Item = (&'s str, &SupplyState)> {
        volume_keys(service).filter_map(|key| self.volumes.get(key).map(|state| (key, state)))
    }

    /// Volumes that a service needs and that can't be had, with the reason.
    pub(super) fn volumes_blocked(&self, service: &Service) -> Option<Standing> {
        self.volumes_of(service).find_map(|(key, state)| match state {
            SupplyState::Blocked(why) => Some(Standing::Blocked(why.clone())),
            SupplyState::Busy => Some(Standing::WaitingOn(format!("volume {key}"))),
            SupplyState::Present | SupplyState::Coming(_) => None,
        })
    }

    /// The steps that create this service's volumes.
    pub(super) fn volume_steps(&self, service: &Service) -> Vec<StepId> {
        self.volumes_of(service)
            .filter_map(|(_, state)| match state {
                SupplyState::Coming(step) => Some(*step),
                _ => None,
            })
            .collect()
    }
}

/// Whether the volumes of a service were there: what an edit adds never was.
fn had_volumes(desired: &Desired, applied: &BTreeMap<String, String>, service: &str) -> bool {
    applied.get(service).is_some_and(|hash| desired.hashes.get(service) == Some(hash))
}

/// The services that mount a volume, by its key.
pub fn volume_users<'p>(project: &'p Project, key: &str) -> impl Iterator<Item = &'p Service> {
    let mounts = move |service: &&Service| volume_keys(service).any(|k| k == key);
    project.services.values().filter(mounts)
}

/// The first service that loses its data when an empty volume is made under this key.
pub fn loser<'p>(
    desired: &'p Desired,
    applied: &BTreeMap<String, String>,
    key: &str,
) -> Option<&'p str> {
    let mut users = volume_users(&desired.project, key).map(|s| s.name.as_str());
    users.find(|user| had_volumes(desired, applied, user))
}

/// Keys of the named volumes that a service mounts.
fn volume_keys(service: &Service) -> impl Iterator<Item = &str> {
    let volumes = service.mounts.iter().filter(|m| m.kind == MountKind::Volume);
    volumes.filter_map(|m| m.source.as_deref())
}
