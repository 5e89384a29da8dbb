//! Serving one listener: at most so many connections, each within its limits.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const HEADER_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What a door grants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at once; more wait in the kernel's queue.
    pub(super) connections: usize,
    /// Time to send a request's head, and to stay silent between two requests.
    pub(super) head: Duration,
    /// Time after which a connection ends, also for a peer that reads slowly.
    pub(super) age: Option<Duration>,
}

impl Limits {
    /// For doors that anybody can knock at.
    pub(super) const OPEN: Self = Self {
        connections: 64,
        head: Duration::from_secs(10),
        age: Some(Duration::from_secs(120)),
    };
    /// For the owner, whose `apply` may take hours.
    pub(super) const OWNER: Self =
        Self { connections: 32, head: Duration::from_secs(10), age: None };
}

/// Accepts until `stop`, then lets requests in flight end for five seconds. `admit` may turn a
/// peer away.
pub(super) async fn serve<L: Listener>(
    mut listener: L,
    limits: Limits,
    stop: CancellationToken,
    admit: impl Fn(&L::Io) -> Option<Router> + Send,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let open = TaskTracker::new();
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, listener.accept().await.0))
        };
        let (slot, io) = tokio::select! {
            () = stop.cancelled() => break,
            next = next => match next {
                Some(next) => next,
                None => break,
            },
        };
        let Some(router) = admit(&io) else { continue };
        let stop = stop.clone();
        open.spawn(async move {
            converse(io, router, limits, stop).await;
            drop(slot);
        });
    }
    drop(listener);
    open.close();
    let _ = tokio::time::timeout(LAST_WORDS + Duration::from_secs(1), open.wait()).await;
}

async fn converse(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let aged = async {
        match limits.age {
            Some(age) => tokio::time::sleep(age).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = &mut connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "an HTTP connection broke");
            }
            return;
        }
        () = stop.cancelled() => {}
        () = aged => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(LAST_WORDS, connection).await;
}
