//! The seam to a container engine: what homeostat may ask of it and how it may fail.
//!
//! Reads are methods; every write is one [`Write`] value, so that tiers, the journal, the
//! recording of endpoints and the simulation each have one place to look at. Only
//! `execute` calls [`Engine::write`].
//!
//! # Guarantees
//! - Every call ends within its deadline ([`Fault::Timeout`]).
//! - Every answer is bounded in bytes ([`Fault::TooLarge`]).
//! - Unknown fields and unknown enum values never fail a read.

pub mod access;
pub mod docker;
pub mod exits;
pub mod fault;
pub mod sim;
pub mod types;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde_json::{Map, Value};

pub use fault::Fault;
pub use types::{
    Capabilities, ContainerId, ContainerSummary, EngineEvent, EngineInfo, Exec, ImageSummary,
    LogChunk, LogOptions, NetworkSummary, PullProgress, StreamItem, VolumeSummary, Write,
    WriteReply,
};

use crate::observed::Container;
use crate::sensitive::Sensitive;

/// What homeostat may do to the engine. Chosen at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Tier {
    /// Reads only.
    Observe,
    /// Start, stop, restart, unpause, connect.
    Heal,
    /// Create and remove too.
    #[default]
    Reconcile,
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Observe => "observe",
            Self::Heal => "heal",
            Self::Reconcile => "reconcile",
        })
    }
}

/// A shared engine.
pub type DynEngine = Arc<dyn Engine>;

/// A container engine.
pub trait Engine: Send + Sync + 'static {
    /// Where it is, for people: `unix:///var/run/docker.sock`.
    fn endpoint(&self) -> String;
    /// What may be done to it from here.
    fn tier(&self) -> Tier {
        Tier::Reconcile
    }
    /// `/info` (8.6 ms on a real engine: call it at start and on reconnect, not per resync) and
    /// the negotiated API version.
    fn info(&self) -> BoxFuture<'_, Result<EngineInfo, Fault>>;
    /// `/_ping`, on a connection of its own: an engine that ends takes no new ones.
    fn ping(&self) -> BoxFuture<'_, Result<(), Fault>>;
    /// All containers, running or not, of every project.
    fn containers(&self) -> BoxFuture<'_, Result<Vec<ContainerSummary>, Fault>>;
    /// All networks.
    fn networks(&self) -> BoxFuture<'_, Result<Vec<NetworkSummary>, Fault>>;
    /// All volumes.
    fn volumes(&self) -> BoxFuture<'_, Result<Vec<VolumeSummary>, Fault>>;
    /// All images.
    fn images(&self) -> BoxFuture<'_, Result<Vec<ImageSummary>, Fault>>;
    /// One container in full.
    fn inspect(&self, id: &ContainerId) -> BoxFuture<'_, Result<Container, Fault>>;
    /// The body of the create call that would make a container again as it is. It holds the
    /// environment.
    fn create_body(
        &self,
        id: &ContainerId,
    ) -> BoxFuture<'_, Result<Sensitive<Map<String, Value>>, Fault>>;
    /// One network in full (its IPAM and members).
    fn inspect_network(&self, id: &str) -> BoxFuture<'_, Result<NetworkSummary, Fault>>;
    /// The engine's event stream from now on; with `since`, nanoseconds since the epoch by its own
    /// clock, first what it still knows from then on (at most its last 256 events). Bad lines come
    /// as [`StreamItem::Skipped`]; the stream ends with an error or when the connection ends.
    fn events(
        &self,
        since: Option<i64>,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<StreamItem, Fault>>, Fault>>;
    /// A container's log.
    fn logs<'a>(
        &'a self,
        id: &'a ContainerId,
        options: &'a LogOptions,
    ) -> BoxFuture<'a, Result<BoxStream<'static, Result<LogChunk, Fault>>, Fault>>;
    /// Runs a command inside a running container and returns what it prints, cut at 4 KiB. The one
    /// exception to «idle means no writes»; nothing of the container's configuration changes. An
    /// engine that can't says so with [`Fault::Rejected`].
    fn exec<'a>(
        &'a self,
        _id: &'a ContainerId,
        _exec: &'a Exec,
    ) -> BoxFuture<'a, Result<Vec<u8>, Fault>> {
        Box::pin(async {
            Err(Fault::Rejected {
                call: "POST /containers/{id}/exec".into(),
                status: 501,
                message: "this engine runs no commands in containers".into(),
            })
        })
    }
    /// Pulls an image, reporting progress. Ends when the image is complete.
    fn pull<'a>(
        &'a self,
        reference: &'a str,
        platform: Option<&'a str>,
        progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), Fault>>;
    /// Changes something. 304 on start and stop, and 404 on removal, are success.
    fn write<'a>(&'a self, write: &'a Write) -> BoxFuture<'a, Result<WriteReply, Fault>>;
}
