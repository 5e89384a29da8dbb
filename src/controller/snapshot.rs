//! What is known of the engine, as reads bring it: a full list, or only what events made doubtful.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::changes::Changes;
use super::reads::{Answer, Facts, Reads, Target};
use crate::clock::{Clock, Mono, Now};
use crate::engine::{ContainerId, ContainerSummary, DynEngine, EngineInfo, Fault};
use crate::observed::{Container, Observed, Shared, labels, normalise};

/// Each container is inspected at least this often: some drift shows nowhere else.
pub const INSPECT_EVERY: Duration = Duration::from_secs(600);

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

    /// The reads that it takes.
    pub fn targets(self) -> impl Iterator<Item = Target> {
        let lists = [
            (self.list, Target::Containers),
            (self.networks, Target::Networks),
            (self.volumes, Target::Volumes),
            (self.images, Target::Images),
        ];
        let lists = lists.into_iter().filter_map(|(dirty, list)| dirty.then_some(list));
        lists.chain(self.containers.into_iter().map(Target::Container))
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
///
/// Answers may come in any order: of each container the one that was asked for last counts, so an
/// older list neither hides a new container nor brings a removed one back.
pub struct Picture {
    /// As last read.
    pub observed: Observed,
    /// Containers of which the engine tells only what the list shows: to be asked about again.
    pub owed: BTreeSet<ContainerId>,
    /// Projects whose containers are inspected; others are only listed.
    projects: BTreeSet<String>,
    changes: Arc<Changes>,
    inspected: BTreeMap<ContainerId, Mono>,
    /// Number of the read or event that last told of a container; of one that is gone, too, while
    /// an older read is under way.
    told: BTreeMap<ContainerId, u64>,
    /// When the latest of the reads in it was asked for.
    latest: Now,
}

impl Picture {
    /// An empty picture of this engine. Notes in `changes` which facts are known to be old.
    pub fn new(info: EngineInfo, projects: BTreeSet<String>, changes: Arc<Changes>) -> Self {
        Self {
            observed: Observed { engine: info, ..Observed::default() },
            owed: BTreeSet::new(),
            projects,
            changes,
            inspected: BTreeMap::new(),
            told: BTreeMap::new(),
            latest: Now::default(),
        }
    }

    /// Whether a container with these labels belongs to a project of ours.
    pub fn is_managed(&self, project: Option<&str>) -> bool {
        project.is_some_and(|p| self.projects.contains(p))
    }

    /// The projects whose containers are inspected.
    pub const fn projects(&self) -> &BTreeSet<String> {
        &self.projects
    }

    /// Inspects the containers of these projects from now on. A full read must follow.
    pub fn manage(&mut self, projects: BTreeSet<String>) {
        self.projects = projects;
        // Nobody listens to the events of the others: when they come back, they are read anew.
        let containers = &self.observed.containers;
        self.inspected.retain(|id, _| {
            let project = containers.get(id).and_then(|c| c.project.as_ref());
            project.is_some_and(|p| self.projects.contains(p))
        });
    }

    /// These containers were changed by what an event told in full.
    pub fn told(&mut self, ids: impl IntoIterator<Item = ContainerId>, number: u64) {
        self.told.extend(ids.into_iter().map(|id| (id, number)));
    }

    /// All that was known to have changed by `at` has been read since.
    pub fn is_true_of(&mut self, at: Now) {
        if at.mono > self.observed.at.mono {
            self.observed.at = at;
        }
    }

    /// Takes what was read, and wants what it shows to be doubtful; returns that, too.
    ///
    /// # Errors
    /// A fault that says something about the engine rather than about one container.
    pub fn take(&mut self, answer: Answer, reads: &mut Reads) -> Result<Vec<Target>, Fault> {
        let Answer { target, number, asked, event_at, facts } = answer;
        let more = match (target, facts) {
            (Target::Container(id), facts) => self.merge(id, facts, number, asked)?,
            (_, Ok(Facts::Containers(rows))) => self.merge_list(rows, number, asked.mono),
            (_, Ok(Facts::Networks(networks))) => {
                self.observed.networks = by(networks, |network| network.id.clone());
                vec![]
            }
            (_, Ok(Facts::Volumes(volumes))) => {
                self.observed.volumes = by(volumes, |volume| volume.name.clone());
                vec![]
            }
            (_, Ok(Facts::Images(images))) => {
                self.observed.images = images.into();
                vec![]
            }
            (_, Ok(Facts::Container(_))) => vec![],
            (_, Err(fault)) => return Err(fault),
        };
        for target in &more {
            reads.want_after(target.clone(), number, event_at);
        }
        let (containers, oldest) = (&self.observed.containers, reads.oldest());
        self.told.retain(|id, told| containers.contains_key(id) || *told > oldest);
        if asked.mono > self.latest.mono {
            self.latest = asked;
        }
        if reads.is_idle() {
            self.is_true_of(self.latest);
        }
        Ok(more)
    }

    fn is_newer(&self, id: &ContainerId, number: u64) -> bool {
        self.told.get(id).is_some_and(|told| *told > number)
    }

    /// Takes the answer of an inspect. One bad container must not hide the others.
    fn merge(
        &mut self,
        id: ContainerId,
        facts: Result<Facts, Fault>,
        number: u64,
        asked: Now,
    ) -> Result<Vec<Target>, Fault> {
        if facts.is_ok() && self.is_newer(&id, number) {
            return Ok(vec![Target::Container(id)]);
        }
        let mut more = Vec::new();
        match facts {
            Ok(Facts::Container(container)) => {
                self.owed.remove(&id);
                self.inspected.insert(id.clone(), asked.mono);
                let container = Container { read: number, ..*container };
                self.observed.containers.insert(id.clone(), container.into());
            }
            Ok(_) => return Ok(more),
            Err(Fault::NotFound { .. }) => self.remove(&id),
            Err(fault) if is_its_own(&fault) => {
                tracing::warn!(container = %id, error = %fault, "only the list tells about it");
                self.inspected.remove(&id);
                self.owed.insert(id.clone());
                more.push(Target::Containers);
            }
            Err(fault) => return Err(fault),
        }
        let told = self.told.entry(id).or_default();
        *told = number.max(*told);
        Ok(more)
    }

    fn remove(&mut self, id: &ContainerId) {
        self.owed.remove(id);
        self.inspected.remove(id);
        self.observed.containers.remove(id);
        self.changes.settle(id);
    }

    /// Takes a list; returns the containers that must be inspected.
    fn merge_list(&mut self, rows: Vec<ContainerSummary>, number: u64, asked: Mono) -> Vec<Target> {
        let mut before = std::mem::take(&mut self.observed.containers);
        let mut more = Vec::new();
        for row in rows {
            let cached = before.remove(&row.id);
            let container = if self.is_newer(&row.id, number) {
                cached
            } else {
                self.merge_row(cached, &row, number, asked, &mut more)
            };
            if let Some(container) = container {
                self.observed.containers.insert(row.id, container);
            }
        }
        for (id, container) in before {
            if self.is_newer(&id, number) {
                self.observed.containers.insert(id, container);
            } else {
                self.told.insert(id.clone(), number);
                self.remove(&id);
            }
        }
        let listed = &self.observed.containers;
        let (known, gone): (BTreeSet<_>, _) = std::mem::take(&mut self.owed)
            .into_iter()
            .partition(|id| listed.contains_key(id) || self.is_newer(id, number));
        self.owed = known;
        for id in gone {
            self.changes.settle(&id);
        }
        more
    }

    /// A container as a row of the list shows it; `None` while an inspect must tell of it first.
    /// One of ours that the list shows changed stays as it was until then: half of its facts would
    /// be older than the other half.
    fn merge_row(
        &mut self,
        cached: Option<Shared<Container>>,
        row: &ContainerSummary,
        number: u64,
        asked: Mono,
        more: &mut Vec<Target>,
    ) -> Option<Shared<Container>> {
        let managed = self.is_managed(row.labels.get(labels::PROJECT).map(String::as_str));
        let owed = self.owed.contains(&row.id);
        if !managed || owed {
            self.told.insert(row.id.clone(), number);
            let container = match cached {
                Some(cached) if cached.inspected && !owed => normalise::merge(&cached, row),
                _ => normalise::from_summary(row),
            };
            return Some(Container { read: number, ..container }.into());
        }
        let target = || Target::Container(row.id.clone());
        let read_at = self.inspected.get(&row.id);
        if let (Some(cached), Some(read_at)) = (&cached, read_at) {
            let merged = normalise::merge(cached, row);
            if !differs(cached, &merged) {
                if asked.since(*read_at) >= INSPECT_EVERY {
                    more.push(target());
                }
                return Some(merged.into());
            }
        }
        more.push(target());
        self.changes.doubt(row.id.clone(), number, normalise::slot_of(&row.labels));
        cached
    }
}

/// Facts by their key.
fn by<T>(facts: Vec<T>, key: impl Fn(&T) -> String) -> Shared<BTreeMap<String, T>> {
    facts.into_iter().map(|fact| (key(&fact), fact)).collect::<BTreeMap<_, _>>().into()
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
    !merged.inspected
        || cached.state != merged.state
        || cached.health != merged.health
        || cached.name != merged.name
        || networks(cached) != networks(merged)
}

/// Everything at once, for a process that looks only once: `/info`, four lists, and an inspect
/// for each container of these projects, as concurrently as they allow.
pub async fn read_once(
    engine: &DynEngine,
    clock: &dyn Clock,
    projects: BTreeSet<String>,
) -> Result<Picture, Fault> {
    let mut picture = Picture::new(EngineInfo::default(), projects, Arc::default());
    let mut reads = Reads::new(Arc::clone(engine));
    for target in Dirty::everything().targets() {
        reads.want(target, None);
    }
    let read = async {
        while let Some(answer) = reads.next(clock).await {
            picture.take(answer, &mut reads)?;
        }
        Ok(())
    };
    let (info, read): (_, Result<(), Fault>) = tokio::join!(engine.info(), read);
    read?;
    picture.observed.engine = info?;
    Ok(picture)
}
