//! Counts and times every call to the engine.

use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde_json::{Map, Value};

use super::{EngineCall, Metrics};
use crate::clock::Clock;
use crate::engine::types::Exec;
use crate::engine::types::{
    ContainerSummary, EngineInfo, ImageSummary, LogChunk, LogOptions, NetworkSummary, PullProgress,
    StreamItem, VolumeSummary, Write, WriteReply,
};
use crate::engine::{ContainerId, DynEngine, Engine, Fault, Tier};
use crate::observed::Container;
use crate::sensitive::Sensitive;

/// An engine whose calls are counted.
pub struct Counted {
    engine: DynEngine,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Counted {
    /// Counts the calls to `engine`.
    pub fn new(engine: DynEngine, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self { engine, metrics, clock }
    }

    fn timed<'a, T>(
        &'a self,
        call: EngineCall,
        work: impl Future<Output = Result<T, Fault>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Fault>> {
        async move {
            let begun = self.clock.now().mono;
            let result = work.await;
            let took = self.clock.now().mono.since(begun);
            self.metrics.called(call, Some(took), result.as_ref().err());
            result
        }
        .boxed()
    }

    /// What opens a stream or goes on for as long as it likes has no meaningful time.
    fn counted<'a, T>(
        &'a self,
        call: EngineCall,
        work: impl Future<Output = Result<T, Fault>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Fault>> {
        async move {
            let result = work.await;
            self.metrics.called(call, None, result.as_ref().err());
            result
        }
        .boxed()
    }
}

impl Engine for Counted {
    fn endpoint(&self) -> String {
        self.engine.endpoint()
    }

    fn tier(&self) -> Tier {
        self.engine.tier()
    }

    fn info(&self) -> BoxFuture<'_, Result<EngineInfo, Fault>> {
        self.timed(EngineCall::Info, self.engine.info())
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), Fault>> {
        self.timed(EngineCall::Ping, self.engine.ping())
    }

    fn containers(&self) -> BoxFuture<'_, Result<Vec<ContainerSummary>, Fault>> {
        self.timed(EngineCall::ListContainers, self.engine.containers())
    }

    fn networks(&self) -> BoxFuture<'_, Result<Vec<NetworkSummary>, Fault>> {
        self.timed(EngineCall::ListNetworks, self.engine.networks())
    }

    fn volumes(&self) -> BoxFuture<'_, Result<Vec<VolumeSummary>, Fault>> {
        self.timed(EngineCall::ListVolumes, self.engine.volumes())
    }

    fn images(&self) -> BoxFuture<'_, Result<Vec<ImageSummary>, Fault>> {
        self.timed(EngineCall::ListImages, self.engine.images())
    }

    fn inspect(&self, id: &ContainerId) -> BoxFuture<'_, Result<Container, Fault>> {
        self.timed(EngineCall::InspectContainer, self.engine.inspect(id))
    }

    fn create_body(
        &self,
        id: &ContainerId,
    ) -> BoxFuture<'_, Result<Sensitive<Map<String, Value>>, Fault>> {
        self.timed(EngineCall::InspectContainer, self.engine.create_body(id))
    }

    fn inspect_network(&self, id: &str) -> BoxFuture<'_, Result<NetworkSummary, Fault>> {
        self.timed(EngineCall::InspectNetwork, self.engine.inspect_network(id))
    }

    fn events(
        &self,
        since: Option<i64>,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<StreamItem, Fault>>, Fault>> {
        self.counted(EngineCall::Events, self.engine.events(since))
    }

    fn logs<'a>(
        &'a self,
        id: &'a ContainerId,
        options: &'a LogOptions,
    ) -> BoxFuture<'a, Result<BoxStream<'static, Result<LogChunk, Fault>>, Fault>> {
        self.counted(EngineCall::Logs, self.engine.logs(id, options))
    }

    fn pull<'a>(
        &'a self,
        reference: &'a str,
        platform: Option<&'a str>,
        progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), Fault>> {
        self.counted(EngineCall::Pull, self.engine.pull(reference, platform, progress))
    }

    fn exec<'a>(
        &'a self,
        id: &'a ContainerId,
        exec: &'a Exec,
    ) -> BoxFuture<'a, Result<Vec<u8>, Fault>> {
        self.timed(EngineCall::Exec, self.engine.exec(id, exec))
    }

    fn write<'a>(&'a self, write: &'a Write) -> BoxFuture<'a, Result<WriteReply, Fault>> {
        self.timed(EngineCall::Write, self.engine.write(write))
    }
}
