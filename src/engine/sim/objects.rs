//! Making, naming and removing containers, volumes and images.

use serde_json::{Map, Value};

use super::body::{self, text, texts};
use super::model::{Refusal, SimContainer};
use super::world::{Due, World};
use crate::engine::types::{ContainerId, ImageSummary, VolumeSummary};
use crate::observed::{ContainerState, Health, canonical_reference};

impl World {
    fn name_is_free(&self, name: &str) -> Result<(), Refusal> {
        match self.containers.values().find(|c| c.name == name) {
            None => Ok(()),
            Some(holder) => Err(Refusal::new(
                409,
                format!(
                    "Conflict. The container name \"/{name}\" is already in use by container \
                     \"{}\". You have to remove (or rename) that container to be able to reuse \
                     that name.",
                    holder.id.0
                ),
            )),
        }
    }

    /// The image that a reference names here.
    pub fn image(&self, reference: &str) -> Option<&ImageSummary> {
        let wanted = canonical_reference(reference);
        self.images.get(reference).or_else(|| {
            self.images
                .values()
                .find(|i| i.tags.iter().chain(&i.digests).any(|t| canonical_reference(t) == wanted))
        })
    }

    pub fn create_container(
        &mut self,
        name: &str,
        body: &Map<String, Value>,
    ) -> Result<ContainerId, Refusal> {
        let many = self.info.capabilities.many_endpoints_at_create;
        let mut container = body::container(body, many)?;
        let Some(image) = self.image(&container.image) else {
            return Err(Refusal::new(404, format!("No such image: {}", container.image)));
        };
        container.image_id.clone_from(&image.id);
        if let Some(path) = body::needed_paths(body).find(|path| self.absent.contains(*path)) {
            let words = format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {path}"
            );
            return Err(Refusal::new(400, words));
        }
        self.name_is_free(name)?;
        for other in &container.volumes_from {
            self.find(other.split(':').next().unwrap_or(other))
                .map_err(|refusal| Refusal::new(400, refusal.message))?;
        }
        let id = ContainerId(self.new_id("container"));
        for mount in &mut container.mounts {
            if mount.kind == "volume" {
                if mount.name.is_empty() {
                    mount.name = self.new_id("volume");
                    mount.source = format!("/var/lib/docker/volumes/{}/_data", mount.name);
                }
                let volume = VolumeSummary {
                    name: mount.name.clone(),
                    driver: "local".into(),
                    ..VolumeSummary::default()
                };
                self.ensure_volume(volume);
            }
        }
        let created = self.wall();
        let (name, body) = (name.to_owned(), body.clone());
        self.recipes.insert(name.clone(), body.clone());
        let container = SimContainer { id: id.clone(), name, created, body, ..container };
        self.containers.insert(id.clone(), container);
        self.emit_container(&id, "create", &[]);
        Ok(id)
    }

    pub fn rename(&mut self, id: &ContainerId, name: &str) -> Result<(), Refusal> {
        let old = self.get(id)?.name.clone();
        if old == name {
            let words = "Renaming a container with the same name as its current name";
            return Err(Refusal::new(400, words));
        }
        self.name_is_free(name).map_err(|r| {
            Refusal::new(r.status, format!("Error when allocating new name: {}", r.message))
        })?;
        name.clone_into(&mut self.get(id)?.name);
        self.emit_container(id, "rename", &[("oldName", &format!("/{old}"))]);
        Ok(())
    }

    /// Whether a removal may begin; whether the container must be killed first.
    pub fn begin_remove(&mut self, id: &ContainerId, force: bool) -> Result<bool, Refusal> {
        let container = self.get(id)?;
        if !container.live() {
            return Ok(false);
        }
        if !force {
            let (state, first) = match container.state {
                ContainerState::Paused => ("paused", "Unpause and then stop"),
                ContainerState::Restarting => ("restarting", "Stop"),
                _ => ("running", "Stop"),
            };
            let words = format!(
                "You cannot remove a {state} container {}. {first} the container before \
                 attempting removal or force remove",
                id.0
            );
            return Err(Refusal::new(409, words));
        }
        container.removing = true;
        if container.has_process() {
            self.signal(id, 9);
        } else {
            self.begin_stop(id, None)?;
        }
        Ok(true)
    }

    pub fn destroy(&mut self, id: &ContainerId) {
        self.release(id);
        self.emit_container(id, "destroy", &[]);
        self.containers.remove(id);
    }

    pub fn pause(&mut self, id: &ContainerId, pause: bool) -> Result<(), Refusal> {
        let container = self.get(id)?;
        let (from, to, action) = if pause {
            (ContainerState::Running, ContainerState::Paused, "pause")
        } else {
            (ContainerState::Paused, ContainerState::Running, "unpause")
        };
        if container.state != from {
            let what = if pause { "running" } else { "paused" };
            return Err(Refusal::new(500, format!("Container {} is not {what}", id.0)));
        }
        container.state = to;
        // The engine stops its checks while a container is paused, and calls that unhealthy
        // until the first check after it.
        let again = container.health_config.as_ref().map(|config| config.interval);
        if again.is_some() {
            container.health = Health::Unhealthy;
            container.failing = 0;
            container.checks += 1;
        }
        let (run, checks) = (container.run, container.checks);
        self.emit_container(id, action, &[]);
        if let Some(interval) = again.filter(|_| !pause) {
            self.schedule(interval, id, run, Due::Health(checks));
        }
        Ok(())
    }

    /// Makes a volume unless there is one of that name; its labels stay those of its making.
    pub fn ensure_volume(&mut self, volume: VolumeSummary) {
        if !self.volumes.contains_key(&volume.name) {
            self.emit("volume", "create", &volume.name, &[("driver", &volume.driver)]);
            self.volumes.insert(volume.name.clone(), volume);
        }
    }

    pub fn create_volume(&mut self, body: &Map<String, Value>) -> String {
        let body = &Value::Object(body.clone());
        let name = match text(body, "/Name") {
            given if !given.is_empty() => given,
            _ => self.new_id("volume"),
        };
        let driver = match text(body, "/Driver") {
            given if !given.is_empty() => given,
            _ => "local".to_owned(),
        };
        self.ensure_volume(VolumeSummary {
            name: name.clone(),
            driver,
            labels: texts(body, "/Labels"),
        });
        name
    }

    pub fn remove_volume(&mut self, name: &str) -> Result<(), Refusal> {
        let user = self
            .containers
            .values()
            .find(|c| c.mounts.iter().any(|m| m.kind == "volume" && m.name == name));
        if let Some(user) = user {
            let words = format!("remove {name}: volume is in use - [{}]", user.id.0);
            return Err(Refusal::new(409, words));
        }
        if self.volumes.remove(name).is_none() {
            return Err(Refusal::new(404, format!("get {name}: no such volume")));
        }
        self.emit("volume", "destroy", name, &[("driver", "local")]);
        Ok(())
    }

    /// Takes a reference from its image. One without any goes, unless a container is made of it.
    pub fn untag_image(&mut self, reference: &str) {
        let wanted = canonical_reference(reference);
        for image in self.images.values_mut() {
            image.tags.retain(|t| canonical_reference(t) != wanted);
            image.digests.retain(|d| canonical_reference(d) != wanted);
        }
        let used = |id: &String| self.containers.values().any(|c| c.image_id == *id);
        self.images.retain(|id, i| !i.tags.is_empty() || !i.digests.is_empty() || used(id));
        self.emit("image", "untag", reference, &[("name", reference)]);
    }

    /// Puts a tag on an image, taking it from the one that had it.
    pub fn tag_image(&mut self, reference: &str, image_id: &str) {
        let wanted = canonical_reference(reference);
        for image in self.images.values_mut() {
            image.tags.retain(|t| canonical_reference(t) != wanted);
        }
        let image = self.images.entry(image_id.to_owned()).or_default();
        image_id.clone_into(&mut image.id);
        if reference.contains('@') {
            image.digests.push(reference.to_owned());
        } else {
            let familiar = wanted
                .strip_prefix("docker.io/library/")
                .or_else(|| wanted.strip_prefix("docker.io/"))
                .unwrap_or(&wanted);
            image.tags.push(familiar.to_owned());
        }
    }
}
