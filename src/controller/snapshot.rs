//! Reading the engine: a full list, or only what events made doubtful.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use crate::clock::{Clock, Mono};
use crate::engine::{ContainerId, ContainerSummary, DynEngine, EngineInfo, Fault};
use crate::observed::{Container, Observed, labels, normalise};

/// Each container is inspected at least this often: some drift shows nowhere else.
pub const INSPECT_EVERY: Duration = Duration::from_secs(600);
/// Inspections under way at once.
const CONCURRENCY: usize = 16;

/// What must be read again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dirty {
    /// These containers.
    pub containers: BTreeSet<ContainerId>,
    /// The container list.
    pub list: bool,
    /// The network list.
    pub networks: bool,
    /// The volume list.
    pub volumes: bool,
    /// The image list.
    pub images: bool,
}

impl Dirty {
    /// All lists.
    pub fn everything() -> Self {
        Self {
            containers: BTreeSet::new(),
            list: true,
            networks: true,
            volumes: true,
            images: true,
        }
    }

    /// Nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Both.
    pub fn merge(&mut self, other: Self) {
        self.containers.extend(other.containers);
        self.list |= other.list;
        self.networks |= other.networks;
        self.volumes |= other.volumes;
        self.images |= other.images;
    }
}

/// The growing picture of the engine.
pub struct Picture {
    /// As last read.
    pub observed: Observed,
    /// Projects whose containers are inspected; others are only listed.
    pub projects: BTreeSet<String>,
    /// Containers of which the engine tells only what the list shows: to be asked about again.
    pub owed: BTreeSet<ContainerId>,
    inspected: BTreeMap<ContainerId, Mono>,
}

impl Picture {
    /// An empty picture of this engine.
    pub fn new(info: EngineInfo, projects: BTreeSet<String>) -> Self {
        let observed = Observed { engine: info, ..Observed::default() };
        Self { observed, projects, owed: BTreeSet::new(), inspected: BTreeMap::new() }
    }

    /// Whether a container with these labels belongs to a project of ours.
    pub fn is_managed(&self, project: Option<&str>) -> bool {
        project.is_some_and(|p| self.projects.contains(p))
    }

    /// Reads again what is dirty. On a fault the picture is as before, in parts newer.
    pub async fn refresh(
        &mut self,
        engine: &DynEngine,
        clock: &dyn Clock,
        dirty: Dirty,
    ) -> Result<(), Fault> {
        let now = clock.now();
        let (list, networks, volumes, images) = tokio::join!(
            when(dirty.list, engine.containers()),
            when(dirty.networks, engine.networks()),
            when(dirty.volumes, engine.volumes()),
            when(dirty.images, engine.images()),
        );
        let mut doubtful = dirty.containers;
        if let Some(rows) = list? {
            doubtful.extend(self.merge_list(rows, now.mono));
        }
        if let Some(networks) = networks? {
            self.observed.networks = networks.into_iter().map(|n| (n.id.clone(), n)).collect();
        }
        if let Some(volumes) = volumes? {
            self.observed.volumes = volumes.into_iter().map(|v| (v.name.clone(), v)).collect();
        }
        if let Some(images) = images? {
            self.observed.images = images;
        }
        let failed = self.inspect(engine, doubtful, now.mono).await?;
        self.fall_back(engine, failed).await?;
        self.observed.at = now;
        Ok(())
    }

    /// Takes a fresh list; returns the containers that must be inspected.
    fn merge_list(&mut self, rows: Vec<ContainerSummary>, now: Mono) -> BTreeSet<ContainerId> {
        let mut before = std::mem::take(&mut self.observed.containers);
        let mut doubtful = BTreeSet::new();
        for row in rows {
            let managed = self.is_managed(row.labels.get(labels::PROJECT).map(String::as_str));
            let container = match before.remove(&row.id) {
                Some(cached) if cached.inspected => {
                    let merged = normalise::merge(&cached, &row);
                    let stale = self
                        .inspected
                        .get(&row.id)
                        .is_none_or(|at| now.since(*at) >= INSPECT_EVERY);
                    if managed && (stale || differs(&cached, &merged)) {
                        doubtful.insert(row.id.clone());
                    }
                    merged
                }
                _ => {
                    if managed {
                        doubtful.insert(row.id.clone());
                    }
                    normalise::from_summary(&row)
                }
            };
            self.observed.containers.insert(row.id, container);
        }
        self.inspected.retain(|id, _| self.observed.containers.contains_key(id));
        doubtful
    }

    /// Returns those that the engine can't tell about: one bad container must not hide the others.
    async fn inspect(
        &mut self,
        engine: &DynEngine,
        ids: BTreeSet<ContainerId>,
        now: Mono,
    ) -> Result<BTreeSet<ContainerId>, Fault> {
        let mut failed = BTreeSet::new();
        let mut answers = stream::iter(ids)
            .map(|id| async move {
                let answer = engine.inspect(&id).await;
                (id, answer)
            })
            .buffer_unordered(CONCURRENCY);
        while let Some((id, answer)) = answers.next().await {
            self.owed.remove(&id);
            match answer {
                Ok(container) => {
                    self.inspected.insert(id.clone(), now);
                    self.observed.containers.insert(id, container);
                }
                Err(Fault::NotFound { .. }) => {
                    self.inspected.remove(&id);
                    self.observed.containers.remove(&id);
                }
                Err(fault) if is_its_own(&fault) => {
                    tracing::warn!(container = %id, error = %fault, "only the list tells about it");
                    failed.insert(id);
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(failed)
    }

    /// Takes what the list shows of containers that can't be inspected.
    async fn fall_back(
        &mut self,
        engine: &DynEngine,
        failed: BTreeSet<ContainerId>,
    ) -> Result<(), Fault> {
        if failed.is_empty() {
            return Ok(());
        }
        let rows = engine.containers().await?;
        let mut rows: BTreeMap<_, _> = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        for id in failed {
            self.inspected.remove(&id);
            match rows.remove(&id) {
                Some(row) => {
                    self.observed.containers.insert(id.clone(), normalise::from_summary(&row));
                    self.owed.insert(id);
                }
                None => {
                    self.observed.containers.remove(&id);
                }
            }
        }
        Ok(())
    }
}

/// Whether a failed inspection says something about its container rather than about the engine.
const fn is_its_own(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Server { .. }
            | Fault::Conflict { .. }
            | Fault::Rejected { .. }
            | Fault::Timeout { .. }
            | Fault::Garbage { .. }
            | Fault::TooLarge { .. }
    )
}

/// What the list shows of a change that only `inspect` tells in full.
fn differs(cached: &Container, merged: &Container) -> bool {
    let networks = |c: &Container| -> Vec<(String, String)> {
        c.networks.iter().map(|(name, e)| (name.clone(), e.network_id.clone())).collect()
    };
    cached.state != merged.state
        || cached.health != merged.health
        || cached.name != merged.name
        || networks(cached) != networks(merged)
}

async fn when<T>(
    wanted: bool,
    call: impl Future<Output = Result<T, Fault>>,
) -> Result<Option<T>, Fault> {
    if wanted { call.await.map(Some) } else { Ok(None) }
}

/// Everything at once, for a process that looks only once: `/info`, four lists, and an inspect
/// for each container of these projects, as concurrently as they allow.
pub async fn read_once(
    engine: &DynEngine,
    clock: &dyn Clock,
    projects: BTreeSet<String>,
) -> Result<Picture, Fault> {
    let mut picture = Picture::new(EngineInfo::default(), projects);
    let (info, refreshed) =
        tokio::join!(engine.info(), picture.refresh(engine, clock, Dirty::everything()));
    refreshed?;
    picture.observed.engine = info?;
    Ok(picture)
}
