//! Images: pulled as the policy says, once per reference.

use super::step::{Cause, Op, Resource};
use super::{Planner, Standing, SupplyState};
use crate::compose::types::{PullPolicy, Service};

impl Planner<'_> {
    /// Whether the image that a new container of this service needs is there. Plans a pull at
    /// most once per reference.
    pub(super) fn image(&mut self, service: &Service) -> SupplyState {
        let Some(reference) = &service.image else {
            return SupplyState::Blocked(format!(
                "service {} names no image; build it and name it with `image:`",
                service.name
            ));
        };
        if let Some(state) = self.images.get(reference) {
            return state.clone();
        }
        let state = self.supply_image(service, reference);
        self.images.insert(reference.clone(), state.clone());
        state
    }

    fn supply_image(&mut self, service: &Service, reference: &str) -> SupplyState {
        let resource = Resource::Image(reference.to_owned());
        if self.memory.busy.contains(&resource) {
            return SupplyState::Busy;
        }
        let present = self.image_id(reference).is_some();
        let always = service.pull_policy == PullPolicy::Always
            && !service.names_no_image
            && !self.memory.pulled.contains(reference)
            && !reference.starts_with("sha256:");
        if present && !always {
            return SupplyState::Present;
        }
        let built = format!("docker compose build {}", service.name);
        if !present && service.names_no_image {
            return SupplyState::Blocked(format!("image {reference} is missing; run `{built}`"));
        }
        if !present && matches!(service.pull_policy, PullPolicy::Never | PullPolicy::Build) {
            let pulled = format!("docker pull {reference}");
            let mend = if service.has_build { built } else { pulled };
            return SupplyState::Blocked(format!(
                "image {reference} is missing and may not be pulled; `{mend}` provides it"
            ));
        }
        if let Some(wait) = self.resource_backoff(&resource).or_else(|| self.no_room()) {
            let why = wait.to_string();
            self.note(resource, wait);
            // A policy of `always` doesn't stop what the engine already has from running.
            return if present {
                SupplyState::Present
            } else {
                let or = if service.has_build { format!("; or run `{built}`") } else { "".into() };
                SupplyState::Blocked(format!("image {reference} can't be pulled: {why}{or}"))
            };
        }
        let op = Op::Pull { reference: reference.to_owned(), platform: service.platform.clone() };
        let cause = if present { Cause::PullPolicy } else { Cause::Missing };
        SupplyState::Coming(self.push(resource, op, cause, vec![]))
    }

    /// No room was found for another image: this one would fare no better.
    fn no_room(&mut self) -> Option<Standing> {
        let memory = self.memory;
        let mut full = memory.resource_backoff.values().filter(|backoff| backoff.full);
        full.find_map(|backoff| self.in_force(backoff))
    }

    /// The backoff of something that isn't a slot, if it is in force.
    pub(super) fn resource_backoff(&mut self, resource: &Resource) -> Option<Standing> {
        let memory = self.memory;
        self.in_force(memory.resource_backoff.get(resource)?)
    }
}
