//! The engine over Docker's HTTP API, version 1.41 (Engine 20.10) and up.
//!
//! Why not a ready client: `docs/decisions/0002-engine-transport.md`.
//!
//! # Guarantees
//! - Requests carry the version that was negotiated, at most [`NEWEST`]; an engine below
//!   [`OLDEST`] is refused with the reason.
//! - Calls run side by side; streams have connections of their own.
//! - No write above the tier leaves this process.

mod auth;
mod connect;
mod context;
mod deadlines;
mod decode;
mod encode;
pub mod endpoint;
mod events;
mod exec;
#[cfg(test)]
mod fake;
mod faults;
mod lines;
mod logs;
mod pull;
mod rebuild;
mod transport;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use hyper::header::{HeaderMap, SERVER};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

pub use self::deadlines::Deadlines;
use self::encode::encode;
pub use self::endpoint::{Address, Endpoint, Surroundings, Tls};
use self::transport::{Answer, Call, SharedTransport, Transport};
use super::{
    ContainerId, ContainerSummary, Engine, EngineInfo, Exec, Fault, ImageSummary, LogChunk,
    LogOptions, NetworkSummary, PullProgress, StreamItem, Tier, VolumeSummary, Write, WriteReply,
};
use crate::observed::lenient::{at, flag, int, text};
use crate::observed::{Container, normalise};
use crate::sensitive::Sensitive;

/// Oldest API version that we speak.
pub const OLDEST: (u32, u32) = (1, 41);
/// Newest API version that we ask for.
pub const NEWEST: (u32, u32) = (1, 51);

const LIST_LIMIT: usize = 64 * 1024 * 1024;
const INSPECT_LIMIT: usize = 4 * 1024 * 1024;

/// What negotiation found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Negotiated {
    api: (u32, u32),
    podman: bool,
}

impl Negotiated {
    fn prefix(self) -> String {
        format!("/v{}.{}", self.api.0, self.api.1)
    }
}

/// A Docker Engine, or another that speaks its API.
pub struct Docker {
    transport: SharedTransport,
    tier: Tier,
    deadlines: Deadlines,
    negotiated: Mutex<Option<Negotiated>>,
    skipped: AtomicU64,
}

impl Docker {
    /// An engine at `endpoint`; nothing is sent yet.
    ///
    /// # Errors
    /// [`Fault::BadEndpoint`] when the TLS material is unusable.
    pub fn new(endpoint: Endpoint, tier: Tier) -> Result<Self, Fault> {
        Ok(Self {
            transport: Arc::new(Transport::new(endpoint)?),
            tier,
            deadlines: Deadlines::default(),
            negotiated: Mutex::new(None),
            skipped: AtomicU64::new(0),
        })
    }

    /// The same engine with other deadlines.
    #[must_use]
    pub const fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Rows of lists that made no sense and were left out, since the start.
    pub fn skipped_rows(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// The version in use. Asks the engine once; who comes meanwhile waits for the answer.
    async fn version(&self) -> Result<Negotiated, Fault> {
        let mut negotiated = self.negotiated.lock().await;
        if let Some(known) = *negotiated {
            return Ok(known);
        }
        let ping = Call::get("GET /_ping", "/_ping".into(), self.deadlines.ping, 64 * 1024);
        let found = match self.greet(&ping).await {
            // A socket proxy may let the one pass and not the other.
            Err(Fault::Forbidden { .. } | Fault::NotFound { .. }) => {
                let call = Call::get(
                    "GET /version",
                    "/version".into(),
                    self.deadlines.ping,
                    INSPECT_LIMIT,
                );
                self.greet(&call).await?.1
            }
            greeted => greeted?.1,
        };
        Ok(*negotiated.insert(found))
    }

    /// Sends a call without a version and reads the version off its answer.
    async fn greet(&self, call: &Call) -> Result<(Answer, Negotiated), Fault> {
        let answer = self.transport.call(call).await?;
        self.greeted(answer).await
    }

    async fn greeted(&self, answer: Answer) -> Result<(Answer, Negotiated), Fault> {
        let has = match answer.headers.get("api-version").and_then(|v| v.to_str().ok()) {
            Some(version) => version.to_owned(),
            None => {
                let call = Call::get(
                    "GET /version",
                    "/version".into(),
                    self.deadlines.ping,
                    INSPECT_LIMIT,
                );
                text(&self.json(&call).await?, "ApiVersion")
            }
        };
        let negotiated = Negotiated { api: negotiate(&has)?, podman: is_podman(&answer.headers) };
        Ok((answer, negotiated))
    }

    async fn get(
        &self,
        name: &'static str,
        path: &str,
        deadline: Duration,
        limit: usize,
    ) -> Result<Answer, Fault> {
        let path = format!("{}{path}", self.version().await?.prefix());
        let answer = self.transport.call(&Call::get(name, path, deadline, limit)).await;
        self.heed(answer).await
    }

    /// Negotiates again after an answer that the engine doesn't speak our version any more: it
    /// was replaced by an older one.
    async fn heed<T>(&self, answer: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(Fault::Rejected { status: 400, message, .. }) = &answer
            && message.contains("client version")
        {
            *self.negotiated.lock().await = None;
        }
        answer
    }

    async fn json(&self, call: &Call) -> Result<Value, Fault> {
        let answer = self.transport.call(call).await?;
        decode::json(&answer.body)
            .map_err(|reason| Fault::Garbage { call: call.name.into(), reason })
    }

    async fn list<T>(
        &self,
        name: &'static str,
        path: &str,
        key: Option<&str>,
        decode: impl Fn(&Value) -> Option<T>,
    ) -> Result<Vec<T>, Fault> {
        let answer = self.get(name, path, self.deadlines.list, LIST_LIMIT).await?;
        let rows = decode::rows(&answer.body, key, decode)
            .map_err(|reason| Fault::Garbage { call: name.into(), reason })?;
        if rows.skipped > 0 {
            tracing::warn!(call = name, rows = rows.skipped, "skipped rows that make no sense");
            self.skipped.fetch_add(rows.skipped as u64, Ordering::Relaxed);
        }
        Ok(rows.rows)
    }

    async fn inspect_json(&self, id: &ContainerId) -> Result<Value, Fault> {
        let name = "GET /containers/{id}/json";
        let path = format!("/containers/{}/json", encode(&id.0));
        let answer = self.get(name, &path, self.deadlines.inspect, INSPECT_LIMIT).await?;
        decode::json(&answer.body).map_err(|reason| Fault::Garbage { call: name.into(), reason })
    }

    /// The grace that a stop or restart without one gets: the container's own.
    async fn own_grace(&self, write: &Write) -> Duration {
        let id = match write {
            Write::StopContainer { id, grace: None } => id,
            Write::RestartContainer { id, grace: None } => id,
            _ => return write::DEFAULT_GRACE,
        };
        match self.inspect_json(id).await {
            Ok(json) => int(at(&json, &["Config"]), "StopTimeout")
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map_or(write::DEFAULT_GRACE, Duration::from_secs),
            Err(_) => write::DEFAULT_GRACE,
        }
    }

    fn allow(&self, needed: Tier, call: &str) -> Result<(), Fault> {
        if needed <= self.tier {
            return Ok(());
        }
        Err(Fault::TierForbids { call: call.into(), tier: self.tier.to_string() })
    }
}

/// The version to speak with an engine that has `has`.
pub(in crate::engine) fn negotiate(has: &str) -> Result<(u32, u32), Fault> {
    let parse = |text: &str| -> Option<(u32, u32)> {
        let (major, minor) = text.trim().split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let version = parse(has).ok_or_else(|| Fault::Garbage {
        call: "GET /_ping".into(),
        reason: format!("`{has}` isn't an API version; is this a container engine?"),
    })?;
    if version < OLDEST {
        return Err(Fault::TooOld {
            what: "homeostat".into(),
            needs: format!("{}.{}", OLDEST.0, OLDEST.1),
            has: has.into(),
        });
    }
    Ok(version.min(NEWEST))
}

fn is_podman(headers: &HeaderMap) -> bool {
    headers.contains_key("libpod-api-version")
        || headers.get(SERVER).is_some_and(|server| server.as_bytes().starts_with(b"Libpod"))
}

impl Engine for Docker {
    fn endpoint(&self) -> String {
        self.transport.endpoint().to_string()
    }

    fn tier(&self) -> Tier {
        self.tier
    }

    /// Negotiates the version anew, with no extra call: called first, or first among calls that
    /// run together, it spares them the `/_ping`.
    fn info(&self) -> BoxFuture<'_, Result<EngineInfo, Fault>> {
        Box::pin(async {
            let call = Call::get("GET /info", "/info".into(), self.deadlines.info, INSPECT_LIMIT);
            let mut negotiated = self.negotiated.lock().await;
            let (answer, found) = if negotiated.is_none() {
                let (answer, found) = self.greet(&call).await?;
                *negotiated = Some(found);
                drop(negotiated);
                (answer, found)
            } else {
                // Nobody waits for a version that is known.
                drop(negotiated);
                let (answer, found) = self.greet(&call).await?;
                *self.negotiated.lock().await = Some(found);
                (answer, found)
            };
            let json = decode::json(&answer.body)
                .map_err(|reason| Fault::Garbage { call: call.name.into(), reason })?;
            Ok(decode::info(&json, found.api, self.transport.endpoint().is_local()))
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async {
            let call = Call::get("GET /_ping", "/_ping".into(), self.deadlines.ping, 64 * 1024);
            let answer = self.transport.call_anew(&call).await?;
            let found = self.greeted(answer).await?.1;
            *self.negotiated.lock().await = Some(found);
            Ok(())
        })
    }

    fn containers(&self) -> BoxFuture<'_, Result<Vec<ContainerSummary>, Fault>> {
        Box::pin(self.list(
            "GET /containers/json",
            "/containers/json?all=true",
            None,
            decode::container,
        ))
    }

    fn networks(&self) -> BoxFuture<'_, Result<Vec<NetworkSummary>, Fault>> {
        Box::pin(self.list("GET /networks", "/networks", None, decode::network))
    }

    fn volumes(&self) -> BoxFuture<'_, Result<Vec<VolumeSummary>, Fault>> {
        Box::pin(self.list("GET /volumes", "/volumes", Some("Volumes"), decode::volume))
    }

    fn images(&self) -> BoxFuture<'_, Result<Vec<ImageSummary>, Fault>> {
        Box::pin(self.list("GET /images/json", "/images/json", None, decode::image))
    }

    fn inspect(&self, id: &ContainerId) -> BoxFuture<'_, Result<Container, Fault>> {
        let id = id.clone();
        Box::pin(async move {
            normalise::from_inspect(&self.inspect_json(&id).await?).map_err(|reason| {
                Fault::Garbage { call: "GET /containers/{id}/json".into(), reason }
            })
        })
    }

    fn create_body(
        &self,
        id: &ContainerId,
    ) -> BoxFuture<'_, Result<Sensitive<Map<String, Value>>, Fault>> {
        let id = id.clone();
        Box::pin(async move {
            let many = self.version().await?.api >= (1, 44);
            rebuild::body(&self.inspect_json(&id).await?, many).map(Sensitive::new).map_err(
                |reason| Fault::Garbage { call: "GET /containers/{id}/json".into(), reason },
            )
        })
    }

    fn inspect_network(&self, id: &str) -> BoxFuture<'_, Result<NetworkSummary, Fault>> {
        let path = format!("/networks/{}", encode(id));
        Box::pin(async move {
            let name = "GET /networks/{id}";
            let garbage = |reason: String| Fault::Garbage { call: name.into(), reason };
            let answer = self.get(name, &path, self.deadlines.inspect, INSPECT_LIMIT).await?;
            let json = decode::json(&answer.body).map_err(garbage)?;
            decode::network(&json).ok_or_else(|| garbage("no Id in the answer".into()))
        })
    }

    fn events(
        &self,
        since: Option<i64>,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<StreamItem, Fault>>, Fault>> {
        Box::pin(async move {
            let version = self.version().await?;
            let prefix = version.prefix();
            let events = events::subscribe(
                &self.transport,
                &prefix,
                !version.podman,
                since,
                self.deadlines.subscribe,
            )
            .await;
            self.heed(events).await
        })
    }

    fn logs<'a>(
        &'a self,
        id: &'a ContainerId,
        options: &'a LogOptions,
    ) -> BoxFuture<'a, Result<BoxStream<'static, Result<LogChunk, Fault>>, Fault>> {
        Box::pin(async move {
            let version = self.version().await?.prefix();
            let json = self.inspect_json(id).await?;
            let tty = flag(at(&json, &["Config"]), "Tty");
            logs::open(&self.transport, &version, id, options, tty).await
        })
    }

    /// Needs the tier `reconcile`. Registry credentials come from Docker's `config.json`.
    fn pull<'a>(
        &'a self,
        reference: &'a str,
        platform: Option<&'a str>,
        progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            self.allow(Tier::Reconcile, "POST /images/create")?;
            let version = self.version().await?.prefix();
            let config = self.transport.endpoint().docker_config.clone();
            let auth = match config.map(|folder| auth::header(&folder, reference)) {
                None => None,
                Some(Ok(auth)) => auth,
                Some(Err(reason)) => {
                    tracing::warn!(%reason, "pulling without credentials");
                    None
                }
            };
            pull::pull(&self.transport, &version, reference, platform, auth, progress).await
        })
    }

    fn exec<'a>(
        &'a self,
        id: &'a ContainerId,
        exec: &'a Exec,
    ) -> BoxFuture<'a, Result<Vec<u8>, Fault>> {
        Box::pin(async move {
            const NAME: &str = "POST /containers/{id}/exec";
            self.allow(Tier::Heal, NAME)?;
            let version = self.version().await?.prefix();
            let run = exec::run(&self.transport, &version, id, exec);
            let late = || Fault::Timeout { call: NAME.into(), after: exec.deadline };
            tokio::time::timeout(exec.deadline, run).await.map_err(|_| late())?
        })
    }

    fn write<'a>(&'a self, write: &'a Write) -> BoxFuture<'a, Result<WriteReply, Fault>> {
        Box::pin(async move {
            self.allow(write.tier(), write.call())?;
            let version = self.version().await?.prefix();
            let call =
                write::request(&version, write, self.own_grace(write).await, &self.deadlines);
            let answer = self.transport.call(&call).await;
            write::outcome(write, self.heed(answer).await)
        })
    }
}

#[cfg(test)]
mod tests;
