//! A proxy before the engine's unix socket that records what passes and injects faults.
//!
//! It runs in the test's process on threads of its own, so it works beside any runtime and any
//! child process (`docker -H unix://…`). See the `README.md` beside this file.
#![allow(dead_code, reason = "each test takes the part that it needs")]

mod http;
mod lines;
mod record;
mod relay;
mod rule;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use homeostat::clock::{Clock, SystemClock};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

pub use record::Record;
pub use rule::{Action, Rule};

/// What all connections share.
struct Shared {
    engine: PathBuf,
    clock: SystemClock,
    rules: Mutex<Vec<Rule>>,
    records: Mutex<Vec<Record>>,
    /// Grows when all open event streams are to be cut.
    cut_streams: watch::Sender<u64>,
    /// Grows when all connections are to be cut.
    cut_all: watch::Sender<u64>,
    /// Age at which an event stream is cut.
    stream_age: Mutex<Option<Duration>>,
    /// Event streams that are open now.
    streams: watch::Sender<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running proxy. It ends, with all its connections, when it is dropped.
pub struct EngineProxy {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
    acceptor: Mutex<Option<AbortHandle>>,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl EngineProxy {
    /// Starts a proxy before the engine at `engine`, on a socket in a new temporary folder.
    pub fn start(engine: impl AsRef<Path>) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("engine-proxy").tempdir()?;
        let socket = folder.path().join("engine.sock");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("engine-proxy")
            .enable_all()
            .build()?;
        let proxy = Self {
            shared: Arc::new(Shared {
                engine: engine.as_ref().to_owned(),
                clock: SystemClock::new(),
                rules: Mutex::default(),
                records: Mutex::default(),
                cut_streams: watch::Sender::new(0),
                cut_all: watch::Sender::new(0),
                stream_age: Mutex::default(),
                streams: watch::Sender::new(0),
            }),
            runtime: Some(runtime),
            acceptor: Mutex::default(),
            socket,
            _folder: folder,
        };
        proxy.up()?;
        Ok(proxy)
    }

    /// Starts a proxy before the engine that `DOCKER_HOST` names when it is a unix socket, else
    /// before the default socket.
    pub fn before_engine() -> io::Result<Self> {
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        Self::start(host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock"))
    }

    /// Path of the proxy's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The socket as `-H` and `DOCKER_HOST` take it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Adds a fault. All matching rules apply, in the order in which they were added; the first
    /// that answers or cuts decides.
    pub fn inject(&self, rule: Rule) {
        lock(&self.shared.rules).push(rule);
    }

    /// Forgets all faults. Requests that hang go on hanging; see [`Self::cut_all`].
    pub fn heal(&self) {
        lock(&self.shared.rules).clear();
        *lock(&self.shared.stream_age) = None;
    }

    /// Closes all open event streams.
    pub fn cut_streams(&self) {
        self.shared.cut_streams.send_modify(|n| *n += 1);
    }

    /// Closes each event stream that begins from now on at this age, as socket proxies do;
    /// `None` ends it.
    pub fn cut_streams_every(&self, age: Option<Duration>) {
        *lock(&self.shared.stream_age) = age;
    }

    /// Closes all connections, whatever they are doing.
    pub fn cut_all(&self) {
        self.shared.cut_all.send_modify(|n| *n += 1);
    }

    /// The engine is gone: connections are refused (the socket file stays) and open ones end.
    pub fn down(&self) {
        if let Some(acceptor) = lock(&self.acceptor).take() {
            acceptor.abort();
            while !acceptor.is_finished() {
                std::thread::yield_now();
            }
        }
        self.cut_all();
    }

    /// The engine is back. Does nothing while it is up.
    pub fn up(&self) -> io::Result<()> {
        let mut acceptor = lock(&self.acceptor);
        let Some(runtime) = self.runtime.as_ref().filter(|_| acceptor.is_none()) else {
            return Ok(());
        };
        match std::fs::remove_file(&self.socket) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let guard = runtime.enter();
        let listener = UnixListener::bind(&self.socket)?;
        drop(guard);
        let shared = Arc::clone(&self.shared);
        *acceptor = Some(runtime.spawn(accept(listener, shared)).abort_handle());
        Ok(())
    }

    /// All requests so far, in order of arrival.
    pub fn records(&self) -> Vec<Record> {
        lock(&self.shared.records).clone()
    }

    /// Requests so far that may change the engine, in order of arrival.
    pub fn writes(&self) -> Vec<Record> {
        self.records().into_iter().filter(Record::is_write).collect()
    }

    /// How often each endpoint was asked.
    pub fn endpoints(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for record in lock(&self.shared.records).iter() {
            *counts.entry(record.endpoint()).or_default() += 1;
        }
        counts
    }

    /// Time on the scale of [`Record::at`].
    pub fn elapsed(&self) -> Duration {
        self.shared.clock.now().mono.0
    }

    /// Number of event streams that are open now.
    pub fn open_streams(&self) -> usize {
        *self.shared.streams.borrow()
    }

    /// Waits until a condition on the proxy holds; whether it came true in time.
    pub fn wait_until(&self, within: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let end = self.elapsed() + within;
        loop {
            if condition(self) {
                return true;
            }
            if self.elapsed() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for EngineProxy {
    fn drop(&mut self) {
        // A runtime may not be dropped inside another one; this also ends tasks that hang.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Takes connections until it is aborted, which ends those that it took.
async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                match accepted {
                    Ok((client, _)) => {
                        connections.spawn(relay::connection(client, Arc::clone(&shared)));
                    }
                    // Out of descriptors: some will end.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
