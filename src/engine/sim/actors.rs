//! The test's side: the script, the faults, the other people at the engine, and what was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::SimEngine;
use super::events::StreamFaults;
use super::faults::SimFault;
use super::model::{Behaviour, EngineStop, Refusal, Remote, WriteRecord};
use super::world::Due;
use crate::clock::Mono;
use crate::engine::Fault;
use crate::engine::docker::negotiate;
use crate::engine::types::{ContainerId, EngineEvent, StreamItem, Write, WriteReply};
use crate::observed::{Slot, canonical_reference, labels};
use crate::probe::{Answer, Outcome, Readiness};

fn by_hand(refusal: Refusal) -> Fault {
    refusal.into_fault("by hand")
}

/// The script.
impl SimEngine {
    /// Says what the process of a service, or of a container by name, does from its next start;
    /// `ready_after` and `on_stop` count at once.
    pub fn behave(&self, service: &str, behaviour: Behaviour) {
        self.core.write(|w| w.behaviours.insert(service.to_owned(), behaviour));
    }

    /// Makes a service, or a container by name, fail its healthcheck and probe, or mends it.
    pub fn set_sick(&self, service: &str, sick: bool) {
        self.core.write(|w| match sick {
            true => w.sick.insert(service.to_owned()),
            false => w.sick.remove(service),
        });
    }

    /// Puts an image on the engine under a reference; an image that had it loses it.
    pub fn add_image(&self, reference: &str, image_id: &str) {
        self.core.write(|w| w.tag_image(reference, image_id));
    }

    /// `docker rmi -f` of a reference.
    pub fn remove_image(&self, reference: &str) {
        self.core.write(|w| w.untag_image(reference));
    }

    /// Says what a registry has under a reference; `None` is nothing.
    pub fn publish(&self, reference: &str, remote: Option<Remote>) {
        let reference = canonical_reference(reference);
        self.core.write(|w| match remote {
            Some(remote) => w.registry.insert(reference, remote),
            None => w.registry.remove(&reference),
        });
    }

    /// Makes it an engine whose newest API version is this one. One that is too old for the
    /// adapter is refused by every call, as the adapter refuses it.
    pub fn set_api(&self, newest: &str) {
        let negotiated = negotiate(newest);
        self.core.write(|w| {
            w.refused = negotiated.as_ref().err().cloned();
            if let Ok(api) = negotiated {
                w.info.capabilities.api = api;
                w.info.capabilities.many_endpoints_at_create = api >= (1, 44);
            }
        });
    }

    /// Says that no container's address can be reached from here, as with rootless Docker.
    pub fn hide_addresses(&self) {
        self.core.write(|w| w.info.capabilities.addresses_reachable = false);
    }

    /// Tells of every write and pull that comes through the trait, by its call and the name or ID
    /// that it names, before anything comes of it.
    pub fn witness(&self, witness: impl Fn(&str, &str) + Send + Sync + 'static) {
        *self.core.witness.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(witness));
    }

    /// Says whether the host has a file or folder at this path. It has all that nobody mentions.
    pub fn set_absent(&self, path: &str, absent: bool) {
        self.core.write(|w| match absent {
            true => w.absent.insert(path.to_owned()),
            false => w.absent.remove(path),
        });
    }

    /// Adds a fault of calls. The first that strikes a call counts.
    pub fn inject(&self, fault: SimFault) {
        self.core.write(|w| w.faults.push(fault));
    }

    /// Sets the faults of the event stream.
    pub fn set_stream_faults(&self, faults: StreamFaults) {
        self.core.write(|w| w.subscribers.faults = faults);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.core.write(|w| {
            w.faults.clear();
            w.subscribers.faults = StreamFaults::default();
        });
    }

    /// The engine keeps none of its events for those who come later, as after 256 others.
    pub fn forget_events(&self) {
        self.core.write(|w| w.subscribers.begin());
    }

    /// Ends all open event streams; the engine lives.
    pub fn end_streams(&self) {
        self.core.write(|w| w.subscribers.end());
    }
}

/// Other people and the world.
impl SimEngine {
    /// The process ends by itself with this code.
    ///
    /// # Errors
    /// As the engine would refuse it, like all calls of this block.
    pub fn crash(&self, container: &str, code: i64) -> Result<(), Fault> {
        self.soon(container, Due::Exit(code))
    }

    /// The kernel ends the process for its memory.
    ///
    /// # Errors
    /// No such container.
    pub fn oom(&self, container: &str) -> Result<(), Fault> {
        self.soon(container, Due::Oom)
    }

    /// The kernel ends a child process for its memory; the container goes on.
    ///
    /// # Errors
    /// No such container.
    pub fn oom_child(&self, container: &str) -> Result<(), Fault> {
        self.core.write(|w| {
            let id = w.find(container).map_err(by_hand)?;
            w.get(&id).map_err(by_hand)?.oom_killed = true;
            w.emit_container(&id, "oom", &[]);
            Ok(())
        })
    }

    fn soon(&self, container: &str, due: Due) -> Result<(), Fault> {
        self.core.write(|w| {
            let id = w.find(container).map_err(by_hand)?;
            let run = w.get(&id).map_err(by_hand)?.run;
            w.schedule(Duration::ZERO, &id, run, due);
            Ok(())
        })
    }

    /// `docker kill -s SIGNAL`.
    ///
    /// # Errors
    /// No such container, or it isn't running.
    pub fn kill(&self, container: &str, signal: u8) -> Result<(), Fault> {
        self.core.write(|w| {
            let id = w.find(container).map_err(by_hand)?;
            let container = w.get(&id).map_err(by_hand)?;
            if !container.live() {
                let words = format!(
                    "Cannot kill container: {container}: Container {} is not running",
                    id.0,
                    container = container.name
                );
                return Err(by_hand(Refusal::new(409, words)));
            }
            if !container.has_process() {
                // Between two restarts there is nothing to signal: only the next one is dropped.
                return w.begin_stop(&id, None).map(drop).map_err(by_hand);
            }
            w.signal(&id, signal);
            Ok(())
        })
    }

    /// Any write by somebody else: it isn't recorded and no fault strikes it.
    ///
    /// # Errors
    /// As the engine refuses it.
    pub async fn by_hand(&self, write: Write) -> Result<WriteReply, Fault> {
        self.core.perform(write).await.map_err(by_hand)
    }

    /// `docker start`.
    ///
    /// # Errors
    /// As the engine refuses it.
    pub async fn start(&self, container: &str) -> Result<(), Fault> {
        let id = self.core.read(|w| w.find(container)).map_err(by_hand)?;
        self.core.start(&id).await.map(drop).map_err(by_hand)
    }

    /// `docker stop`.
    ///
    /// # Errors
    /// As the engine refuses it.
    pub async fn stop(&self, container: &str) -> Result<(), Fault> {
        let id = self.core.read(|w| w.find(container)).map_err(by_hand)?;
        self.core.stop(&id, None).await.map(drop).map_err(by_hand)
    }

    /// `docker rm`, with `-f` or without.
    ///
    /// # Errors
    /// As the engine refuses it.
    pub async fn remove(&self, container: &str, force: bool) -> Result<(), Fault> {
        let id = self.core.read(|w| w.find(container)).map_err(by_hand)?;
        self.core.remove(&id, force).await.map(drop).map_err(by_hand)
    }

    /// `docker pause` and `docker unpause`.
    ///
    /// # Errors
    /// As the engine refuses it.
    pub fn pause(&self, container: &str, pause: bool) -> Result<(), Fault> {
        self.core
            .write(|w| {
                let id = w.find(container)?;
                w.pause(&id, pause)
            })
            .map_err(by_hand)
    }

    /// `docker rename`.
    ///
    /// # Errors
    /// As the engine refuses it.
    pub fn rename(&self, container: &str, name: &str) -> Result<(), Fault> {
        self.core
            .write(|w| {
                let id = w.find(container)?;
                w.rename(&id, name)
            })
            .map_err(by_hand)
    }

    /// `docker network disconnect -f`.
    ///
    /// # Errors
    /// As the engine refuses it.
    pub fn disconnect(&self, network: &str, container: &str) -> Result<(), Fault> {
        self.core.write(|w| w.disconnect(network, container, true)).map_err(by_hand)
    }

    /// `docker network connect`, as people type it: without aliases.
    ///
    /// # Errors
    /// As the engine refuses it.
    pub fn connect(&self, network: &str, container: &str) -> Result<(), Fault> {
        let none = serde_json::Map::new();
        self.core.write(|w| w.connect(network, container, &none)).map(drop).map_err(by_hand)
    }

    /// `docker network rm`.
    ///
    /// # Errors
    /// As the engine refuses it.
    pub fn remove_network(&self, network: &str) -> Result<(), Fault> {
        self.core.write(|w| w.remove_network(network)).map_err(by_hand)
    }

    /// `docker volume rm`.
    ///
    /// # Errors
    /// As the engine refuses it.
    pub fn remove_volume(&self, volume: &str) -> Result<(), Fault> {
        self.core.write(|w| w.remove_volume(volume)).map_err(by_hand)
    }

    /// `docker compose stop`: dependents last to first isn't kept, all at once.
    ///
    /// # Errors
    /// As the engine refuses it.
    pub async fn compose_stop(&self, project: &str) -> Result<(), Fault> {
        let ids = self.of_project(project);
        let stops = ids.iter().map(|id| self.core.stop(id, None));
        let done = futures_util::future::join_all(stops).await;
        done.into_iter().collect::<Result<Vec<_>, _>>().map(drop).map_err(by_hand)
    }

    /// `docker compose down`: each container by `stop` and `destroy`, then the networks.
    ///
    /// # Errors
    /// As the engine refuses it.
    pub async fn compose_down(&self, project: &str) -> Result<(), Fault> {
        self.compose_stop(project).await?;
        for id in self.of_project(project) {
            self.core.remove(&id, false).await.map_err(by_hand)?;
        }
        let networks: Vec<_> = self.core.read(|w| {
            let ours =
                |l: &BTreeMap<String, String>| l.get(labels::PROJECT).is_some_and(|p| p == project);
            w.networks.values().filter(|n| ours(&n.labels)).map(|n| n.id.clone()).collect()
        });
        for network in networks {
            self.remove_network(&network)?;
        }
        Ok(())
    }

    /// `docker compose up` after an edit: a new container under `<id12>_name`, the old one stopped
    /// and removed, the new one renamed and started. `change` replaces keys of the create body.
    ///
    /// # Errors
    /// As the engine refuses it; what was done so far stays.
    pub async fn compose_recreate(
        &self,
        container: &str,
        change: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<ContainerId, Fault> {
        let made = self.core.write(|w| {
            let old = w.find(container)?;
            let (name, mut body) = {
                let old = w.get(&old)?;
                (old.name.clone(), old.body.clone())
            };
            body.extend(change.clone());
            let new = w.create_container(&format!("{}_{name}", old.short()), &body)?;
            Ok((old, new, name))
        });
        let (old, new, name) = made.map_err(by_hand)?;
        sleep(Duration::from_millis(10)).await;
        self.core.stop(&old, None).await.map_err(by_hand)?;
        self.core.remove(&old, false).await.map_err(by_hand)?;
        self.core.write(|w| w.rename(&new, &name)).map_err(by_hand)?;
        self.core.start(&new).await.map_err(by_hand)?;
        Ok(new)
    }

    /// `docker compose up -d` of a stack that was up before, without an edit: what is missing is
    /// made first, then everything is started.
    ///
    /// # Errors
    /// As the engine refuses it; what was done so far stays.
    pub async fn compose_up(&self, project: &str) -> Result<(), Fault> {
        let recipes = self.core.read(|w| w.recipes.clone());
        let label = |body: &serde_json::Map<String, serde_json::Value>, name: &str| {
            let found = body.get("Labels").and_then(|labels| labels.get(name)?.as_str());
            found.map(str::to_owned)
        };
        let ours = |body: &serde_json::Map<String, serde_json::Value>| {
            label(body, labels::PROJECT).as_deref() == Some(project)
        };
        let (containers, networks): (Vec<_>, Vec<_>) = recipes
            .into_iter()
            .filter(|(_, body)| ours(body))
            .partition(|(_, body)| body.contains_key("Image"));
        for (name, body) in networks {
            if self.core.read(|w| w.find_network(&name).is_err()) {
                self.core
                    .perform(Write::CreateNetwork { body: body.into() })
                    .await
                    .map_err(by_hand)?;
            }
        }
        let wanted = containers.iter().filter(|(name, body)| {
            let service = label(body, labels::SERVICE).unwrap_or_default();
            *name == format!("{project}-{service}-1")
        });
        for (name, body) in wanted.clone() {
            if self.core.read(|w| w.find(name).is_err()) {
                let (name, body) = (name.clone(), body.clone().into());
                let write = Write::CreateContainer { name, platform: None, body };
                self.core.perform(write).await.map_err(by_hand)?;
            }
        }
        for (name, _) in wanted {
            self.start(name).await?;
        }
        Ok(())
    }

    /// `docker restart`.
    ///
    /// # Errors
    /// As the engine refuses it.
    pub async fn restart(&self, container: &str) -> Result<(), Fault> {
        let id = self.core.read(|w| w.find(container)).map_err(by_hand)?;
        self.by_hand(Write::RestartContainer { id, grace: None }).await.map(drop)
    }

    fn of_project(&self, project: &str) -> Vec<ContainerId> {
        self.core.read(|w| {
            w.containers
                .values()
                .filter(|c| c.labels.get(labels::PROJECT).is_some_and(|p| p == project))
                .map(|c| c.id.clone())
                .collect()
        })
    }

    /// The engine ends. Calls under way break, later ones find nobody.
    pub fn stop_engine(&self, how: EngineStop) {
        self.core.write(|w| w.engine_stops(how));
        self.core.epoch.send_modify(|n| *n += 1);
    }

    /// The engine starts again, and does what restart policies say.
    pub fn start_engine(&self) {
        self.core.write(super::world::World::engine_starts);
    }

    /// The engine ends and starts again so much later.
    pub async fn restart_engine(&self, how: EngineStop, down: Duration) {
        self.stop_engine(how);
        sleep(down).await;
        self.start_engine();
    }
}

/// What was asked and what is so.
impl SimEngine {
    /// All writes through the [`crate::engine::Engine`] trait, in their order.
    pub fn writes(&self) -> Vec<WriteRecord> {
        self.core.read(|w| w.writes.clone())
    }

    /// Forgets the writes so far.
    pub fn forget_writes(&self) {
        self.core.write(|w| w.writes.clear());
    }

    /// How often each call came through the trait.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.core.read(|w| w.calls.clone())
    }

    /// All events so far, before the stream's faults.
    pub fn all_events(&self) -> Vec<EngineEvent> {
        self.core.read(|w| {
            let events = w.subscribers.seen.iter().filter_map(|item| match item {
                StreamItem::Event(event) => Some(event.clone()),
                StreamItem::Skipped { .. } => None,
            });
            events.collect()
        })
    }

    /// ID of a container by name.
    pub fn id(&self, name: &str) -> Option<ContainerId> {
        self.core.read(|w| w.containers.values().find(|c| c.name == name).map(|c| c.id.clone()))
    }

    /// Whether a container's process serves now, as a probe of it would find.
    pub fn serves(&self, id: &ContainerId) -> bool {
        self.core.read(|w| w.serves(id))
    }

    /// What probes would know of every slot with a process.
    pub fn readiness(&self) -> BTreeMap<Slot, Readiness> {
        self.core.read(|w| {
            let running = w.containers.values().filter(|c| c.has_process());
            running
                .filter_map(|c| {
                    let slot = super::show::container(c).slot()?;
                    let serves = w.serves(&c.id);
                    let last = Outcome {
                        answer: if serves { Answer::Ready } else { Answer::NotReady },
                        reason: if serves { "Served" } else { "Refused" }.into(),
                        ..Outcome::default()
                    };
                    let readiness = Readiness {
                        container: c.id.clone(),
                        started: c.started.unwrap_or_default().0,
                        last,
                        since: Mono(c.since),
                        failures: u32::from(!serves) * c.failing.max(1),
                        was_ready: w
                            .behaviour(&c.id)
                            .ready_after
                            .is_some_and(|after| w.now.saturating_sub(c.since) >= after),
                        ..Readiness::default()
                    };
                    Some((slot, readiness))
                })
                .collect()
        })
    }
}
