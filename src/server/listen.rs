//! The TCP doors.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::middleware;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::connection::{self, Limits};
use super::{Shared, host, routes};
use crate::metrics::Metrics;

/// Why a door can't open.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is taken or not ours.
    #[error("can't listen on {address}: {source}; name another address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The API would be open to the network.
    #[error(
        "--listen {address} is no loopback address; the API is served on loopback only, use --metrics-listen for a Prometheus elsewhere"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// Another daemon answers on the control socket.
    #[error(
        "another homeostat runs on {}; stop it or name another folder with --state-dir",
        .path.display()
    )]
    AlreadyRunning {
        /// The socket.
        path: PathBuf,
    },
    /// Something that isn't a socket is in its place.
    #[error("{} is not a socket; move it away", .path.display())]
    NotASocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// The socket can't be made.
    #[error(
        "can't make the control socket {}: {source}; its path may have at most 100 bytes, a shorter --state-dir helps",
        .path.display()
    )]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Opens the read-only API on a loopback address. Returns the address in use and the task, which
/// ends after `stop`.
///
/// # Errors
/// [`ServerError::NotLoopback`], [`ServerError::Listen`].
pub async fn serve_http(
    address: SocketAddr,
    shared: Shared,
    stop: CancellationToken,
) -> Result<(SocketAddr, JoinHandle<()>), ServerError> {
    if !address.ip().is_loopback() {
        return Err(ServerError::NotLoopback { address });
    }
    let (listener, own) = bind(address).await?;
    let metrics = Arc::clone(&shared.metrics);
    let router = routes::reads(shared).layer(middleware::from_fn(move |request, next| {
        let metrics = Arc::clone(&metrics);
        host::check(own, move || metrics.http_rejected(), request, next)
    }));
    let serving = connection::serve(listener, Limits::OPEN, stop, move |_| Some(router.clone()));
    Ok((own, tokio::spawn(serving)))
}

/// Opens `/metrics` and `/healthz` on any address, for every `Host`.
///
/// # Errors
/// [`ServerError::Listen`].
pub async fn serve_metrics(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(SocketAddr, JoinHandle<()>), ServerError> {
    let (listener, own) = bind(address).await?;
    let router = routes::metrics_only(metrics);
    let serving = connection::serve(listener, Limits::OPEN, stop, move |_| Some(router.clone()));
    Ok((own, tokio::spawn(serving)))
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServerError> {
    let failed = |source| ServerError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let own = listener.local_addr().map_err(failed)?;
    Ok((listener, own))
}
