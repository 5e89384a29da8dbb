//! An operator that can be killed: everything that it does to the world outside of its process
//! passes one gate, and after its end nothing passes any more. So SIGKILL is seen from outside.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, FutureExt, pending};
use futures_util::stream::BoxStream;
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::engine::sim::SimEngine;
use crate::engine::{
    ContainerId, ContainerSummary, Engine, EngineInfo, Fault, ImageSummary, LogChunk, LogOptions,
    NetworkSummary, PullProgress, StreamItem, VolumeSummary, Write, WriteReply,
};
use crate::observed::Container;
use crate::sensitive::Sensitive;

/// When a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Just before this act.
    Before(usize),
    /// Just after the request of this act was sent: the engine carries it out, nobody hears.
    Sent(usize),
}

#[derive(Default)]
struct Book {
    /// What was done since the life counts, in order.
    acts: Vec<String>,
    counts: bool,
    end: Option<End>,
    dead: bool,
}

/// One life of an operator.
pub(super) struct Life {
    book: Mutex<Book>,
    over: watch::Sender<bool>,
}

impl Life {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { book: Mutex::default(), over: watch::Sender::new(false) })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on acts are numbered, from 0, and the life ends at one of them.
    pub fn count(&self, end: Option<End>) {
        let mut book = self.book();
        book.counts = true;
        book.end = end;
    }

    /// The acts that were counted.
    pub fn acts(&self) -> Vec<String> {
        self.book().acts.clone()
    }

    /// Ends it now.
    pub fn end(&self) {
        self.book().dead = true;
        self.over.send_replace(true);
    }

    /// Waits for the end.
    pub async fn over(&self) {
        // The sender lives in `self`.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    /// An act is about to begin. Never returns in a life that is over. True: the act is to be
    /// begun, and the life ends with that.
    pub async fn pass(&self, act: &str) -> bool {
        let last = {
            let mut book = self.book();
            if book.counts && !book.dead {
                book.acts.push(act.to_owned());
                let number = book.acts.len() - 1;
                book.dead = book.end == Some(End::Before(number));
            }
            book.end == Some(End::Sent(book.acts.len().wrapping_sub(1))) && book.counts
        };
        if self.book().dead {
            self.over.send_replace(true);
            pending::<()>().await;
        }
        last
    }

    /// Does `act` at the gate; `work` goes on at the engine when the life ends with it.
    async fn does<T>(&self, act: &str, work: impl Future<Output = T>) -> T {
        if self.pass(act).await {
            let mut work = Box::pin(work);
            // One look sends the request.
            let _ = futures_util::poll!(&mut work);
            self.end();
            return pending().await;
        }
        work.await
    }
}

/// The engine as an operator reaches it.
pub(super) struct Mortal {
    pub sim: Arc<SimEngine>,
    pub life: Arc<Life>,
}

type Answer<'a, T> = BoxFuture<'a, Result<T, Fault>>;

impl Engine for Mortal {
    fn endpoint(&self) -> String {
        self.sim.endpoint()
    }

    fn info(&self) -> Answer<'_, EngineInfo> {
        self.life.does("GET /info", self.sim.info()).boxed()
    }

    fn ping(&self) -> Answer<'_, ()> {
        self.life.does("GET /_ping", self.sim.ping()).boxed()
    }

    fn containers(&self) -> Answer<'_, Vec<ContainerSummary>> {
        self.life.does("GET /containers/json", self.sim.containers()).boxed()
    }

    fn networks(&self) -> Answer<'_, Vec<NetworkSummary>> {
        self.life.does("GET /networks", self.sim.networks()).boxed()
    }

    fn volumes(&self) -> Answer<'_, Vec<VolumeSummary>> {
        self.life.does("GET /volumes", self.sim.volumes()).boxed()
    }

    fn images(&self) -> Answer<'_, Vec<ImageSummary>> {
        self.life.does("GET /images/json", self.sim.images()).boxed()
    }

    fn inspect(&self, id: &ContainerId) -> Answer<'_, Container> {
        self.life.does("GET /containers/{id}/json", self.sim.inspect(id)).boxed()
    }

    fn create_body(&self, id: &ContainerId) -> Answer<'_, Sensitive<Map<String, Value>>> {
        self.life.does("GET /containers/{id}/json", self.sim.create_body(id)).boxed()
    }

    fn inspect_network(&self, id: &str) -> Answer<'_, NetworkSummary> {
        self.life.does("GET /networks/{id}", self.sim.inspect_network(id)).boxed()
    }

    fn events(
        &self,
        since: Option<i64>,
    ) -> Answer<'_, BoxStream<'static, Result<StreamItem, Fault>>> {
        self.life.does("GET /events", self.sim.events(since)).boxed()
    }

    fn logs<'a>(
        &'a self,
        id: &'a ContainerId,
        options: &'a LogOptions,
    ) -> Answer<'a, BoxStream<'static, Result<LogChunk, Fault>>> {
        self.life.does("GET /containers/{id}/logs", self.sim.logs(id, options)).boxed()
    }

    fn pull<'a>(
        &'a self,
        reference: &'a str,
        platform: Option<&'a str>,
        progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> Answer<'a, ()> {
        self.life.does("POST /images/create", self.sim.pull(reference, platform, progress)).boxed()
    }

    fn write<'a>(&'a self, write: &'a Write) -> Answer<'a, WriteReply> {
        self.life.does(write.call(), self.sim.write(write)).boxed()
    }
}
