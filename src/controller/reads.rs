//! Reads of the engine that go on beside the observer's loop: a slow one holds up nobody else.
//!
//! # Guarantees
//! - At most one read of each target is under way, and at most [`INSPECTS`] inspects. What is
//!   wanted again meanwhile is read once more afterwards: the answer may be older than the wish.
//! - Reads and events share one count, which outlives a lost connection: of two facts the one with
//!   the higher number is the newer one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::clock::{Clock, Mono, Now};
use crate::engine::{
    ContainerId, ContainerSummary, DynEngine, Fault, ImageSummary, NetworkSummary, VolumeSummary,
};
use crate::observed::Container;

/// Inspects under way at once.
pub const INSPECTS: usize = 16;

/// What one call reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The container list.
    Containers,
    /// The network list.
    Networks,
    /// The volume list.
    Volumes,
    /// The image list.
    Images,
    /// One container in full.
    Container(ContainerId),
}

/// What the engine says.
#[derive(Debug)]
pub enum Facts {
    /// The container list.
    Containers(Vec<ContainerSummary>),
    /// The network list.
    Networks(Vec<NetworkSummary>),
    /// The volume list.
    Volumes(Vec<VolumeSummary>),
    /// The image list.
    Images(Vec<ImageSummary>),
    /// One container in full.
    Container(Box<Container>),
}

/// A read that is over.
#[derive(Debug)]
pub struct Answer {
    /// What was read.
    pub target: Target,
    /// Its place among reads and events.
    pub number: u64,
    /// When it was asked for.
    pub asked: Now,
    /// Arrival of the first event that led to it.
    pub event_at: Option<Mono>,
    /// What came of it.
    pub facts: Result<Facts, Fault>,
}

/// The reads of one engine.
pub struct Reads {
    engine: DynEngine,
    last: u64,
    /// In the order of the wishes, each target once.
    wanted: Vec<(Target, Option<Mono>)>,
    begun: BTreeMap<Target, u64>,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
}

impl Reads {
    /// None yet.
    pub fn new(engine: DynEngine) -> Self {
        let (wanted, begun) = (Vec::new(), BTreeMap::new());
        Self { engine, last: 0, wanted, begun, answers: FuturesUnordered::new() }
    }

    /// A number for what is known now: higher than those of the reads that were begun before,
    /// lower than those of later ones.
    pub const fn count(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Reads this once more from now on.
    pub fn want(&mut self, target: Target, event_at: Option<Mono>) {
        match self.wanted.iter_mut().find(|(wanted, _)| *wanted == target) {
            Some((_, at)) => *at = at.or(event_at),
            None => self.wanted.push((target, event_at)),
        }
    }

    /// Reads this, unless a read with a higher number is under way.
    pub fn want_after(&mut self, target: Target, number: u64, event_at: Option<Mono>) {
        if self.begun.get(&target).is_none_or(|begun| *begun <= number) {
            self.want(target, event_at);
        }
    }

    /// Whether this container will be inspected or is being inspected.
    pub fn concerns(&self, id: &ContainerId) -> bool {
        let is_it = |target: &Target| matches!(target, Target::Container(c) if c == id);
        self.begun.keys().any(is_it) || self.wanted.iter().any(|(target, _)| is_it(target))
    }

    /// Nothing is under way or wanted.
    pub fn is_idle(&self) -> bool {
        self.begun.is_empty() && self.wanted.is_empty()
    }

    /// The lowest number of the reads under way; of the next one when there is none.
    pub fn oldest(&self) -> u64 {
        self.begun.values().copied().min().unwrap_or(self.last + 1)
    }

    /// Drops what is under way or wanted. The count goes on.
    pub fn clear(&mut self) {
        self.wanted.clear();
        self.begun.clear();
        self.answers = FuturesUnordered::new();
    }

    /// Begins what may begin and waits for an answer; `None` when there is nothing to wait for.
    /// Loses nothing when it is dropped.
    pub async fn next(&mut self, clock: &dyn Clock) -> Option<Answer> {
        self.begin(clock);
        let answer = self.answers.next().await?;
        self.begun.remove(&answer.target);
        Some(answer)
    }

    /// An answer that is there already.
    pub fn ready(&mut self, clock: &dyn Clock) -> Option<Answer> {
        self.next(clock).now_or_never().flatten()
    }

    fn begin(&mut self, clock: &dyn Clock) {
        let is_inspect = |target: &Target| matches!(target, Target::Container(_));
        let mut inspects = self.begun.keys().filter(|target| is_inspect(target)).count();
        for (target, event_at) in std::mem::take(&mut self.wanted) {
            let full = is_inspect(&target) && inspects >= INSPECTS;
            if full || self.begun.contains_key(&target) {
                self.wanted.push((target, event_at));
                continue;
            }
            inspects += usize::from(is_inspect(&target));
            let (number, asked) = (self.count(), clock.now());
            self.begun.insert(target.clone(), number);
            let engine = Arc::clone(&self.engine);
            let read = async move {
                let facts = read(&engine, &target).await;
                Answer { target, number, asked, event_at, facts }
            };
            self.answers.push(read.boxed());
        }
    }
}

async fn read(engine: &DynEngine, target: &Target) -> Result<Facts, Fault> {
    Ok(match target {
        Target::Containers => Facts::Containers(engine.containers().await?),
        Target::Networks => Facts::Networks(engine.networks().await?),
        Target::Volumes => Facts::Volumes(engine.volumes().await?),
        Target::Images => Facts::Images(engine.images().await?),
        Target::Container(id) => Facts::Container(Box::new(engine.inspect(id).await?)),
    })
}

/// What somebody waits for: these targets, read later than the wish.
#[derive(Debug)]
pub struct Need {
    after: u64,
    left: BTreeSet<Target>,
}

impl Need {
    /// Reads with a higher number than `after` meet it.
    pub fn new(after: u64, targets: impl IntoIterator<Item = Target>) -> Self {
        Self { after, left: targets.into_iter().collect() }
    }

    /// A target was read, which showed that these must be read, too.
    pub fn met(&mut self, target: &Target, number: u64, more: &[Target]) {
        if number > self.after && self.left.remove(target) {
            self.left.extend(more.iter().cloned());
        }
    }

    /// Nothing is left.
    pub fn is_over(&self) -> bool {
        self.left.is_empty()
    }
}
