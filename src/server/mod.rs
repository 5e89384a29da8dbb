//! The daemon's doors: HTTP on loopback for reading, the control socket for its owner, and a
//! listener that serves nothing but metrics.
//!
//! | door | who | routes |
//! | --- | --- | --- |
//! | `--listen` (loopback only) | every user of the host, `Host` checked | reads |
//! | control socket (0600) | own user and root, by peer credentials | reads and writes |
//! | `--metrics-listen` (any address) | everyone | `/metrics`, `/healthz` |

pub mod client;
pub mod command;
mod connection;
pub mod control;
mod host;
pub mod listen;
mod problem;
mod routes;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::api::status::StatusReader;
use crate::metrics::Metrics;
use crate::store;

pub use client::{Client, ClientError};
pub use command::{
    Command, IncidentWord, Progress, Reporter, Request, StepState, Version, Wanted, reason,
};
pub use control::ControlSocket;
pub use listen::{ServerError, serve_http, serve_metrics};
pub use problem::Problem;

/// Version of the control socket's protocol: both sides must agree.
pub const PROTOCOL: u32 = 3;

/// What the routes read, and where writes go.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What the controller publishes.
    pub status: StatusReader,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The journal, for events.
    pub store: store::Handle,
    /// The controller's inbox.
    pub commands: mpsc::Sender<Request>,
    /// This process as the holder of leases.
    pub holder: String,
}

#[cfg(test)]
mod tests;
