//! How containers ended, and what people did to them, in our own words: whoever plans never sees
//! the engine's names of events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::{Container, ContainerState, Observed, Slot};
use crate::clock::Timestamp;
use crate::engine::types::ContainerId;

/// An engine that ends stops its containers as a person does. Only when it still lives so long
/// after a stop was the stop a person's.
pub const PROVISIONAL: Duration = Duration::from_secs(20);

/// The engine notes an end, then tells of it: at most this much later, in milliseconds.
const TOLD_WITHIN_MS: i64 = 1_000;

/// Why a container's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub enum Cause {
    /// By itself: a crash, an exit, the kernel, a signal from outside of the engine.
    Spontaneous,
    /// Somebody stopped it through the engine.
    ApiStop,
    /// Somebody killed it through the engine, and nothing more: a fault.
    ApiKill,
    /// Somebody removed it while it ran: a fault.
    Removed,
    /// The engine itself ended, and it with the engine.
    Engine,
    /// Nobody can tell, or not yet. A fault once nobody is waited for.
    #[default]
    Unknown,
}

impl Cause {
    /// The word, in CamelCase.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Spontaneous => "Spontaneous",
            Self::ApiStop => "ApiStop",
            Self::ApiKill => "ApiKill",
            Self::Removed => "Removed",
            Self::Engine => "Engine",
            Self::Unknown => "Unknown",
        }
    }
}

/// How the last run of a slot ended, as far as events told. Outlives the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Whose process it was.
    pub container: ContainerId,
    /// Why.
    pub cause: Cause,
    /// One of our own steps asked for it.
    pub ours: bool,
    /// When, by the engine's clock.
    pub at: Timestamp,
    /// Its exit code; `None` where no event told.
    pub exit_code: Option<i64>,
}

/// The last that somebody else did to a slot's containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// What.
    pub said: Said,
    /// Its place among all words of this process, from 1; 0 if an earlier process heard it.
    pub number: u64,
    /// To which container.
    pub container: ContainerId,
    /// When, in nanoseconds by the engine's clock.
    pub nano: i64,
}

impl Word {
    /// When.
    pub const fn at(&self) -> Timestamp {
        Timestamp(self.nano / 1_000_000)
    }
}

/// What somebody did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Stopped it.
    Stop {
        /// And removed it afterwards.
        removed: bool,
        /// The engine outlived it by [`PROVISIONAL`], so it wasn't the engine's own end.
        proven: bool,
    },
    /// Started it.
    Start,
    /// Made it.
    Create,
}

/// Why a slot is left to somebody else for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Yield {
    /// Its process was ended through the engine, and whether that was a stop isn't known yet.
    Undecided,
    /// Somebody else replaces its container.
    Update,
    /// Somebody else made its container and is about to start it.
    Creation,
}

/// What people did to containers, as far as events told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hands {
    /// Number of the last word.
    pub heard: u64,
    /// The last word about each slot.
    pub words: BTreeMap<Slot, Word>,
    /// Slots that are left to others for a moment.
    pub yields: BTreeMap<Slot, Yield>,
    /// Containers that are known to be gone, whatever the rest of the picture shows.
    pub gone: BTreeSet<ContainerId>,
}

impl Observed {
    /// Why a container's last run ended; `None` while it runs or has never run.
    pub fn cause(&self, container: &Container) -> Option<Cause> {
        let ended = matches!(container.state, ContainerState::Exited | ContainerState::Dead);
        if !ended || container.started.is_none() {
            return None;
        }
        let death = container.slot().and_then(|slot| self.deaths.get(&slot));
        let told = death.filter(|d| {
            let same_run = |end: Timestamp| (d.at.0 - end.0).abs() <= TOLD_WITHIN_MS;
            d.container == container.id && container.finished.is_none_or(same_run)
        });
        Some(told.map_or(Cause::Unknown, |death| death.cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_that_of_the_run_that_ended_then() {
        let slot = Slot { project: "p".into(), service: "web".into(), number: 1 };
        let mut container = Container {
            id: ContainerId("c".into()),
            project: Some("p".into()),
            service: Some("web".into()),
            number: 1,
            state: ContainerState::Exited,
            started: Some(Timestamp(1_000)),
            finished: Some(Timestamp(50_000)),
            ..Container::default()
        };
        let mut observed = Observed::default();
        assert_eq!(observed.cause(&container), Some(Cause::Unknown));
        let death = Death {
            container: container.id.clone(),
            cause: Cause::Spontaneous,
            ours: false,
            at: Timestamp(50_020),
            exit_code: Some(1),
        };
        observed.deaths.insert(slot, death);
        assert_eq!(observed.cause(&container), Some(Cause::Spontaneous));
        container.finished = Some(Timestamp(90_000));
        assert_eq!(observed.cause(&container), Some(Cause::Unknown), "a later run");
        container.state = ContainerState::Running;
        assert_eq!(observed.cause(&container), None);
    }
}
