//! Updates: the old container stays, stopped, until the new one has proved itself. Whether it has,
//! whether it has failed, and whether the old one may then come back by itself.
//!
//! A service whose data the new version may have rewritten is never put back by itself: the old
//! version over newer data can lose them. It is stopped, and a person is told.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use super::readiness::START_DEADLINE;
use crate::clock::Timestamp;
use crate::compose::types::Service;
use crate::desired::{Desired, RollbackPolicy, ServiceTraits};
use crate::engine::ContainerId;
use crate::observed::{Container, ContainerState, ExitCause, Observed};

/// A new container that nobody can call ready has proved itself when it has run for so long.
pub const PROOF: Duration = Duration::from_secs(10);
/// So many deaths before it was ever ready, and an update has failed.
pub const DEATHS: u32 = 3;
/// So many refused starts in a row of a container that never ran, and an update has failed.
pub const REFUSED_STARTS: u32 = 3;
/// The engine's defaults of a healthcheck (API documentation, `HealthConfig`).
const INTERVAL: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;
/// Characters of the engine's words that are kept.
const WORDS: usize = 300;
/// Mounts that are named to a person; of more, the rest is left out.
const NAMED: usize = 8;

/// An update of one slot that isn't over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// The container that worked before. It is kept, stopped.
    pub kept: ContainerId,
    /// The image that it was made of, by ID.
    pub image: String,
    /// Its configuration hash.
    pub hash: String,
    /// The container under whose ID is written down what it was made of, if anything is: it can
    /// be made again, should somebody remove it.
    pub body: Option<ContainerId>,
    /// The container that takes its place, once it was seen.
    pub new: Option<ContainerId>,
    /// How often that one has ended by itself before it was ever ready.
    pub deaths: u32,
    /// When it last did.
    pub last_death: Option<Timestamp>,
}

impl Update {
    /// The deaths of the new container, a last one that isn't counted yet included.
    pub fn deaths_of(&self, new: &Container, observed: &Observed) -> u32 {
        let known = if self.new.as_ref() == Some(&new.id) { self.deaths } else { 0 };
        let counted = known + u32::from(self.is_news(new, observed));
        // The engine counts the restarts that it makes itself.
        counted.max(u32::try_from(new.restart_count).unwrap_or(u32::MAX))
    }

    /// It has ended by itself, and that end isn't counted yet. What somebody did to it through
    /// the engine says nothing of its version.
    pub fn is_news(&self, new: &Container, observed: &Observed) -> bool {
        let seen = self.last_death.filter(|_| self.new.as_ref() == Some(&new.id));
        let undecided = new.slot().is_some_and(|slot| observed.hands.yields.contains_key(&slot));
        let cause = observed.cause(new).filter(|_| new.state == ContainerState::Exited);
        let itself = matches!(cause, Some(ExitCause::Spontaneous | ExitCause::Unknown));
        itself && !undecided && new.finished > seen
    }
}

/// An update of a service that failed: it isn't tried again until the service's files or its image
/// change, or a person asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pin {
    /// Hash of the service's configuration that failed, namespaces unbound.
    pub edition: String,
    /// ID of the image that failed.
    pub image: String,
    /// Why it failed.
    pub why: String,
    /// What there was before, in words.
    pub before: String,
    /// Why it can't go back by itself; `None` where it does.
    pub person: Option<String>,
}

impl Pin {
    /// The sentence that people read wherever the service shows.
    pub fn sentence(&self) -> String {
        let (why, before) = (&self.why, &self.before);
        let again = "edit the file, or run `homeostat apply` to try again";
        match &self.person {
            None => format!("update failed: {why}; rolled back to {before}; {again}"),
            Some(because) => {
                let image = short_image(&self.image);
                format!(
                    "update failed: {why}; stopped and not rolled back to {before}, because \
                     {because}; the new one is image {image}; {again}"
                )
            }
        }
    }
}

/// How far an update is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The new container has proved itself.
    Proven,
    /// The old one is wanted again, and runs.
    Returned,
    /// It has failed just now: this is to be remembered.
    Failed(Pin),
    /// It failed before; why it needs a person, if it does.
    Pinned(Option<String>),
}

/// What decides whether an update that failed goes back by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The new container's process has run.
    pub ran: bool,
    /// Old and new are made of the same image.
    pub same_image: bool,
    /// Where writable volumes and folders of the host are mounted, in either of them.
    pub writable: BTreeSet<String>,
    /// The old container is there, or can be made again.
    pub way_back: bool,
    /// The name of the container that a person would take the data from.
    pub container: String,
}

/// Why an update that failed needs a person; `None` if it goes back by itself. With the command
/// that saves the data.
pub fn needs_person(policy: RollbackPolicy, facts: &Facts) -> Option<String> {
    if !facts.way_back {
        return Some("the old container is gone and can't be made again".into());
    }
    let stateless = facts.writable.is_empty() || !facts.ran || facts.same_image;
    let because = match policy {
        RollbackPolicy::Always => return None,
        RollbackPolicy::Stateless if stateless => return None,
        RollbackPolicy::Stateless => "the new version may have rewritten its data",
        RollbackPolicy::Never => "policy.rollback is Never",
    };
    if facts.writable.is_empty() {
        return Some(because.to_owned());
    }
    let paths: Vec<&str> = facts.writable.iter().take(NAMED).map(String::as_str).collect();
    Some(format!(
        "{because}; save that first: docker run --rm --volumes-from {0}:ro -v \"$PWD:/backup\" \
         busybox tar czf /backup/{0}.tar.gz {1}",
        facts.container,
        paths.join(" ")
    ))
}

/// Time that a new container has to become ready.
pub fn deadline(service: &Service, traits: &ServiceTraits, container: &Container) -> Duration {
    if let Some(within) = traits.ready_within {
        return within;
    }
    if !container.has_healthcheck {
        return START_DEADLINE;
    }
    let check = service.healthcheck.clone().unwrap_or_default();
    let one = check.interval.unwrap_or(INTERVAL) + check.timeout.unwrap_or(INTERVAL);
    let all = one.saturating_mul(check.retries.unwrap_or(RETRIES));
    (check.start_period.unwrap_or_default().saturating_add(all)).max(START_DEADLINE)
}

/// The hash of a service's configuration, namespaces unbound.
pub fn edition<'d>(desired: &'d Desired, service: &Service) -> Cow<'d, str> {
    match desired.hashes.get(&service.name) {
        Some(hash) => Cow::Borrowed(hash),
        None => Cow::Owned(crate::compose::service_hash(service.canonical.expose())),
    }
}

/// An image's ID as people see it.
pub fn short_image(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}

/// The engine's words, at a length that a line can hold.
pub fn excerpt(text: &str) -> String {
    let short: String = text.chars().take(WORDS).collect();
    if short.len() < text.len() { short + "…" } else { short }
}
