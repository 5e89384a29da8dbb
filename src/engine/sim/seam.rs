//! The simulated engine behind the [`Engine`] trait.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use serde_json::{Map, Value};
use tokio::time::sleep;

use super::SimEngine;
use super::faults::{CallFault, status_fault};
use super::model::{Refusal, WriteRecord, timing};
use super::show;
use super::world::World;
use crate::engine::types::Exec;
use crate::engine::types::{
    ContainerId, ContainerSummary, EngineInfo, ImageSummary, LogChunk, LogOptions, NetworkSummary,
    PullProgress, StreamItem, VolumeSummary, Write, WriteReply,
};
use crate::engine::{Engine, Fault};
use crate::observed::Container;
use crate::sensitive::Sensitive;

/// Deadline of a call that has none of its own.
const DEADLINE: Duration = Duration::from_secs(30);
/// Progress messages of a pull.
const PULL_STEPS: u32 = 10;
/// Bytes of a simulated image.
const IMAGE_BYTES: u64 = 100 << 20;

type Answer<'a, T> = BoxFuture<'a, Result<T, Fault>>;
type Events = BoxStream<'static, Result<StreamItem, Fault>>;
type Log = BoxStream<'static, Result<LogChunk, Fault>>;

impl SimEngine {
    fn gone(&self) -> Fault {
        Fault::Unreachable { endpoint: self.endpoint(), reason: "connection refused".into() }
    }

    /// One call: the faults that strike it, its deadline, the end of the engine.
    async fn call<T: Send + 'static>(
        &self,
        call: &'static str,
        about: &str,
        deadline: Duration,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Fault> {
        let mut epoch = self.core.epoch.subscribe();
        let (up, refused) = self.core.read(|w| (w.up, w.refused.clone()));
        let struck = self.core.write(|w| {
            *w.calls.entry(call.to_owned()).or_default() += 1;
            if up { w.strike(call, about) } else { None }
        });
        if !up {
            return Err(self.gone());
        }
        if let Some(fault) = refused {
            return Err(fault);
        }
        let timeout = || Fault::Timeout { call: call.to_owned(), after: deadline };
        let cut =
            || Fault::Interrupted { call: call.to_owned(), reason: "connection reset".into() };
        match struck {
            Some(CallFault::Status(status)) => return Err(status_fault(call, status)),
            Some(CallFault::Timeout { effect: false }) => {
                sleep(deadline).await;
                return Err(timeout());
            }
            Some(CallFault::Cut { effect: false }) => return Err(cut()),
            Some(CallFault::Delay(delay)) => sleep(delay).await,
            _ => {}
        }
        let mut ends = epoch.clone();
        let work = tokio::spawn(async move {
            tokio::select! {
                out = work => Some(out),
                _ = ends.changed() => None,
            }
        });
        if struck == Some(CallFault::Timeout { effect: true }) {
            sleep(deadline).await;
            return Err(timeout());
        }
        let out = tokio::select! {
            out = work => out,
            () = sleep(deadline) => return Err(timeout()),
            _ = epoch.changed() => return Err(cut()),
        };
        if let Some(CallFault::Late(delay)) = struck {
            sleep(delay).await;
        }
        match (struck, out) {
            (Some(CallFault::Cut { .. }), _) | (_, Ok(None) | Err(_)) => Err(cut()),
            (Some(CallFault::Garbage), _) => {
                Err(Fault::Garbage { call: call.to_owned(), reason: "injected".into() })
            }
            (_, Ok(Some(out))) => out.map_err(|refusal| refusal.into_fault(call)),
        }
    }

    fn list<T: Send + 'static>(
        &self,
        call: &'static str,
        show: impl FnOnce(&World) -> Result<T, Refusal> + Send + 'static,
    ) -> Answer<'_, T> {
        let core = Arc::clone(&self.core);
        Box::pin(self.call(call, "", DEADLINE, async move {
            sleep(timing::READ).await;
            core.read(show)
        }))
    }
}

/// What a write names: a name, or an ID.
fn named(write: &Write) -> &str {
    match write {
        Write::CreateContainer { name, .. } => name,
        Write::CreateNetwork { body } | Write::CreateVolume { body } => {
            body.expose().get("Name").and_then(|n| n.as_str()).unwrap_or_default()
        }
        Write::CreateLease { lease } => lease.name(),
        Write::RemoveLease { lease } => lease.name(),
        Write::RemoveNetwork { id } => id,
        Write::StartContainer { id }
        | Write::StopContainer { id, .. }
        | Write::RestartContainer { id, .. }
        | Write::UnpauseContainer { id }
        | Write::RenameContainer { id, .. }
        | Write::RemoveContainer { id, .. }
        | Write::ConnectNetwork { container: id, .. }
        | Write::DisconnectNetwork { container: id, .. } => &id.0,
    }
}

/// What a write is about, by the name that people know.
fn name_of(world: &World, write: &Write) -> String {
    let named = named(write);
    let container = world.containers.get(&ContainerId(named.to_owned()));
    container
        .map(|c| &c.name)
        .or_else(|| world.networks.get(named).map(|n| &n.name))
        .map_or_else(|| named.to_owned(), Clone::clone)
}

/// The caller's deadline as the seam promises it.
fn deadline(world: &World, write: &Write) -> Duration {
    let grace_of = |id: &ContainerId, grace: &Option<Duration>| {
        grace.unwrap_or_else(|| world.containers.get(id).map_or(timing::GRACE, |c| c.stop_grace))
    };
    match write {
        Write::StopContainer { id, grace } => grace_of(id, grace) + Duration::from_secs(15),
        Write::RestartContainer { id, grace } => grace_of(id, grace) + Duration::from_secs(30),
        _ => DEADLINE,
    }
}

impl Engine for SimEngine {
    fn endpoint(&self) -> String {
        "sim://engine".into()
    }

    fn info(&self) -> Answer<'_, EngineInfo> {
        self.list("GET /info", |w| Ok(w.info.clone()))
    }

    fn ping(&self) -> Answer<'_, ()> {
        self.list("GET /_ping", |_| Ok(()))
    }

    fn containers(&self) -> Answer<'_, Vec<ContainerSummary>> {
        self.list("GET /containers/json", |w| Ok(show::containers(w)))
    }

    fn networks(&self) -> Answer<'_, Vec<NetworkSummary>> {
        self.list("GET /networks", |w| {
            Ok(w.networks.values().map(|n| show::network(w, n, false)).collect())
        })
    }

    fn volumes(&self) -> Answer<'_, Vec<VolumeSummary>> {
        self.list("GET /volumes", |w| Ok(w.volumes.values().cloned().collect()))
    }

    fn images(&self) -> Answer<'_, Vec<ImageSummary>> {
        self.list("GET /images/json", |w| Ok(w.images.values().cloned().collect()))
    }

    fn inspect(&self, id: &ContainerId) -> Answer<'_, Container> {
        let (core, id) = (Arc::clone(&self.core), id.0.clone());
        let name = core
            .read(|w| w.find(&id).ok().and_then(|id| Some(w.containers.get(&id)?.name.clone())));
        Box::pin(async move {
            let work = async move {
                sleep(timing::READ).await;
                core.read(|w| {
                    let id = w.find(&id)?;
                    let found = w.containers.get(&id).map(show::container);
                    found.ok_or_else(|| Refusal::no_container(&id.0))
                })
            };
            self.call("GET /containers/{id}/json", &name.unwrap_or_default(), DEADLINE, work).await
        })
    }

    fn create_body(&self, id: &ContainerId) -> Answer<'_, Sensitive<Map<String, Value>>> {
        let id = id.clone();
        self.list("GET /containers/{id}/json", move |w| {
            let id = w.find(&id.0)?;
            let found = w.containers.get(&id).ok_or_else(|| Refusal::no_container(&id.0))?;
            let mut body = found.body.clone();
            body.insert("Image".into(), found.image_id.clone().into());
            Ok(Sensitive::new(body))
        })
    }

    fn inspect_network(&self, id: &str) -> Answer<'_, NetworkSummary> {
        let id = id.to_owned();
        self.list("GET /networks/{id}", move |w| {
            w.find_network(&id).map(|n| show::network(w, n, true))
        })
    }

    fn events(&self, since: Option<i64>) -> Answer<'_, Events> {
        let core = Arc::clone(&self.core);
        Box::pin(self.call("GET /events", "", DEADLINE, async move {
            Ok(core.write(|w| w.subscribers.subscribe(since)))
        }))
    }

    fn logs<'a>(&'a self, id: &'a ContainerId, options: &'a LogOptions) -> Answer<'a, Log> {
        let (id, tail) = (id.clone(), options.tail);
        self.list("GET /containers/{id}/logs", move |w| {
            let id = w.find(&id.0)?;
            let log = w.behaviour(&id).log;
            let lines: Vec<&str> = log.split_inclusive('\n').collect();
            let skip = tail.and_then(|n| usize::try_from(n).ok());
            let skip = lines.len().saturating_sub(skip.unwrap_or(usize::MAX));
            let chunks: Vec<_> = lines[skip..]
                .iter()
                .map(|l| Ok(LogChunk { stderr: false, begins: true, bytes: l.as_bytes().to_vec() }))
                .collect();
            Ok(stream::iter(chunks).boxed())
        })
    }

    fn pull<'a>(
        &'a self,
        reference: &'a str,
        _platform: Option<&'a str>,
        progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            const CALL: &str = "POST /images/create";
            self.core.tell(CALL, reference);
            let wanted = crate::observed::canonical_reference(reference);
            let (core, owned) = (Arc::clone(&self.core), wanted.clone());
            let remote = self
                .call(CALL, reference, DEADLINE, async move {
                    core.read(|w| w.registry.get(&owned).cloned()).ok_or_else(|| {
                        Refusal::new(
                            404,
                            format!("manifest for {owned} not found: manifest unknown"),
                        )
                    })
                })
                .await?;
            // A pull lives as long as bytes come; its caller's leaving ends it.
            for step in 1..=PULL_STEPS {
                sleep(remote.takes / PULL_STEPS).await;
                if !self.core.read(|w| w.up) {
                    return Err(Fault::Interrupted {
                        call: CALL.into(),
                        reason: "connection reset".into(),
                    });
                }
                progress(PullProgress {
                    layer: remote.image_id.get(7..19).map(str::to_owned),
                    status: "Downloading".into(),
                    current: Some(IMAGE_BYTES * u64::from(step) / u64::from(PULL_STEPS)),
                    total: Some(IMAGE_BYTES),
                });
            }
            if let Some(message) = remote.fails {
                return Err(Fault::Server { call: CALL.into(), status: 500, message });
            }
            self.core.write(|w| {
                w.tag_image(reference, &remote.image_id);
                w.emit("image", "pull", reference, &[("name", reference)]);
            });
            Ok(())
        })
    }

    /// Every container has the client that is asked for, and it finds a server where one serves.
    fn exec<'a>(&'a self, id: &'a ContainerId, exec: &'a Exec) -> Answer<'a, Vec<u8>> {
        let (core, container) = (Arc::clone(&self.core), id.clone());
        Box::pin(self.call("POST /containers/{id}/exec", &id.0, exec.deadline, async move {
            sleep(timing::READ).await;
            let serves = core.read(|w| w.serves(&container));
            Ok(if serves { b"PONG\n".to_vec() } else { b"Could not connect\n".to_vec() })
        }))
    }

    fn write<'a>(&'a self, write: &'a Write) -> Answer<'a, WriteReply> {
        Box::pin(async move {
            self.core.tell(write.call(), named(write));
            let (number, name, deadline) = self.core.write(|w| {
                let (name, deadline) = (name_of(w, write), deadline(w, write));
                let record = WriteRecord {
                    at: w.now,
                    write: write.clone(),
                    name: name.clone(),
                    outcome: None,
                };
                w.writes.push(record);
                (w.writes.len() - 1, name, deadline)
            });
            let (core, work) = (Arc::clone(&self.core), write.clone());
            let work = async move { core.perform(work).await };
            let out = self.call(write.call(), &name, deadline, work).await;
            self.core.write(|w| {
                if let Some(record) = w.writes.get_mut(number) {
                    record.outcome = Some(out.clone());
                }
            });
            out
        })
    }
}
