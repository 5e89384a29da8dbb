//! The engine's calls: what each does, and how long it takes. A call goes on when its caller
//! leaves, as on the real engine, and ends with the engine.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::clock::SimClock;
use super::model::{Refusal, SimContainer, timing};
use super::world::World;
use crate::engine::types::{ContainerId, VolumeSummary, Write, WriteReply};

pub(super) struct Core {
    pub clock: Arc<SimClock>,
    world: Mutex<World>,
    /// Grows with every change.
    pub changed: watch::Sender<u64>,
    /// Grows when the engine ends.
    pub epoch: watch::Sender<u64>,
    /// Hears of writes and pulls before they are done.
    pub witness: Mutex<Option<Witness>>,
}

pub(super) type Witness = Arc<dyn Fn(&str, &str) + Send + Sync>;

type Done = Result<WriteReply, Refusal>;

impl Core {
    pub fn new(clock: Arc<SimClock>, world: World) -> Self {
        let (changed, epoch) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { clock, world: Mutex::new(world), changed, epoch, witness: Mutex::default() }
    }

    fn locked<T>(&self, f: impl FnOnce(&mut World, bool) -> T) -> T {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let did = world.advance(self.clock.elapsed(), |at| self.clock.wall_ms(at));
        f(&mut world, did)
    }

    /// Looks at the state of this moment.
    pub fn read<T>(&self, f: impl FnOnce(&World) -> T) -> T {
        self.locked(|world, did| {
            if did {
                self.changed.send_modify(|n| *n += 1);
            }
            f(world)
        })
    }

    /// Changes the state at this moment.
    pub fn write<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        let out = self.locked(|world, _| f(world));
        self.changed.send_modify(|n| *n += 1);
        out
    }

    /// Somebody asks for a change through the trait.
    pub fn tell(&self, call: &str, about: &str) {
        let witness = self.witness.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(witness) = witness {
            witness(call, about);
        }
    }

    /// Waits until something can be said of the state.
    pub async fn wait<T>(&self, say: impl Fn(&World) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if let Some(out) = self.read(&say) {
                return out;
            }
            // The sender lives in `self`.
            let _ = changed.changed().await;
        }
    }

    /// Does what is due when it is due, for ever.
    pub async fn run(self: Arc<Self>) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let next = self.read(World::next_due);
            let until_next = async {
                match next {
                    Some(at) => sleep(at.saturating_sub(self.clock.elapsed())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = until_next => {}
                _ = changed.changed() => {}
            }
        }
    }

    /// Waits while a start or a teardown of the container is under way.
    async fn settled(&self, id: &ContainerId) {
        self.wait(|w| w.containers.get(id).is_none_or(|c| !c.busy()).then_some(())).await;
    }

    /// Waits for the end of this run and its teardown, also when somebody starts it again at once.
    async fn ended(&self, id: &ContainerId, run: u64) {
        self.wait(|w| {
            let over = |c: &SimContainer| !c.live() && !c.busy() || c.run > run && !c.tearing_down;
            w.containers.get(id).is_none_or(over).then_some(())
        })
        .await;
    }

    fn run_of(&self, id: &ContainerId) -> u64 {
        self.read(|w| w.containers.get(id).map_or(0, |c| c.run))
    }

    pub async fn perform(&self, write: Write) -> Done {
        match write {
            Write::CreateContainer { name, body, .. } => {
                sleep(timing::CREATE).await;
                let id = self.write(|w| w.create_container(&name, body.expose()))?;
                Ok(WriteReply { id: Some(id.0), warnings: Vec::new() })
            }
            Write::StartContainer { id } => self.start(&self.find(&id)?).await,
            Write::StopContainer { id, grace } => self.stop(&self.find(&id)?, grace).await,
            Write::RestartContainer { id, grace } => {
                let id = self.find(&id)?;
                self.stop(&id, grace).await?;
                self.start(&id).await?;
                self.write(|w| w.emit_container(&id, "restart", &[]));
                done()
            }
            Write::UnpauseContainer { id } => {
                let id = self.find(&id)?;
                sleep(timing::READ * 10).await;
                self.write(|w| w.pause(&id, false))?;
                done()
            }
            Write::RenameContainer { id, name } => {
                let id = self.find(&id)?;
                sleep(timing::READ).await;
                self.write(|w| w.rename(&id, &name))?;
                done()
            }
            Write::RemoveContainer { id, force } => match self.find(&id) {
                Ok(id) => self.remove(&id, force).await,
                // The seam counts a missing container as removed.
                Err(_) => done(),
            },
            Write::CreateNetwork { body } => {
                sleep(timing::NETWORK_CREATE).await;
                let (id, warning) = self.write(|w| w.create_network(body.expose()))?;
                Ok(WriteReply { id: Some(id), warnings: warning.into_iter().collect() })
            }
            Write::RemoveNetwork { id } => {
                let result = self.write(|w| w.remove_network(&id));
                match result {
                    Err(refusal) if refusal.status != 404 => return Err(refusal),
                    Err(_) => {}
                    Ok(()) => sleep(timing::NETWORK_REMOVE).await,
                }
                done()
            }
            Write::ConnectNetwork { network, container, endpoint } => {
                if self.write(|w| w.connect(&network, &container.0, &endpoint))? {
                    sleep(timing::CONNECT).await;
                }
                done()
            }
            Write::DisconnectNetwork { network, container, force } => {
                self.write(|w| w.disconnect(&network, &container.0, force))?;
                sleep(timing::DISCONNECT).await;
                done()
            }
            Write::CreateVolume { body } => {
                sleep(timing::READ).await;
                let name = self.write(|w| w.create_volume(body.expose()));
                Ok(WriteReply { id: Some(name), warnings: Vec::new() })
            }
            Write::CreateLease { lease } => {
                sleep(timing::READ).await;
                let volume = VolumeSummary {
                    name: lease.name().to_owned(),
                    driver: "local".into(),
                    labels: lease.labels().clone(),
                };
                self.write(|w| w.ensure_volume(volume));
                Ok(WriteReply { id: Some(lease.name().to_owned()), warnings: Vec::new() })
            }
            Write::RemoveLease { lease } => {
                sleep(timing::READ).await;
                match self.write(|w| w.remove_volume(lease.name())) {
                    Err(refusal) if refusal.status != 404 => Err(refusal),
                    _ => done(),
                }
            }
        }
    }

    fn find(&self, id: &ContainerId) -> Result<ContainerId, Refusal> {
        self.read(|w| w.find(&id.0))
    }

    pub async fn start(&self, id: &ContainerId) -> Done {
        self.settled(id).await;
        let begun = match self.write(|w| w.begin_start(id)) {
            Ok(begun) => begun,
            Err(refusal) => {
                sleep(timing::REFUSED_START).await;
                return Err(refusal);
            }
        };
        if begun {
            self.settled(id).await;
        }
        done()
    }

    pub async fn stop(&self, id: &ContainerId, grace: Option<Duration>) -> Done {
        self.settled(id).await;
        let run = self.run_of(id);
        if self.write(|w| w.begin_stop(id, grace))? {
            self.ended(id, run).await;
            sleep(timing::AFTER_TEARDOWN).await;
            self.write(|w| w.emit_container(id, "stop", &[]));
        }
        done()
    }

    pub async fn remove(&self, id: &ContainerId, force: bool) -> Done {
        self.settled(id).await;
        let run = self.run_of(id);
        if self.write(|w| w.begin_remove(id, force))? {
            self.ended(id, run).await;
            sleep(timing::AFTER_TEARDOWN).await;
        } else {
            sleep(timing::REMOVE).await;
        }
        self.write(|w| w.destroy(id));
        done()
    }
}

fn done() -> Done {
    Ok(WriteReply::default())
}
