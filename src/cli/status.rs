//! The status that `get`, `describe` and `events` show: the daemon's when one runs, otherwise
//! one look at the engine in the same words.

use std::sync::Arc;
use std::time::Duration;

use super::args::Kind;
use super::error::CliError;
use super::lease::{self, Keeper};
use super::look::{Look, look, read};
use super::resolved::Resolved;
use super::{daemon, goal, hold, incident};
use crate::api::status::Status;
use crate::clock::{Clock, SystemClock};
use crate::controller::observer::Link;
use crate::controller::publish::{SourceView, StackSight, status};
use crate::controller::worker::View;
use crate::engine::Tier;
use crate::plan::Memory;
use crate::server::Client;

/// Time between two looks without a daemon.
const INTERVAL: Duration = Duration::from_secs(2);
/// The daemon answers a long poll within 25 s.
const LONG_POLL: Duration = Duration::from_secs(40);

/// Where the status comes from.
pub enum Source {
    /// The daemon.
    Daemon(Client),
    /// The engine, for the stack of these options.
    Engine(Arc<dyn Clock>),
}

impl Source {
    /// The daemon of this state folder, then the one that holds the project's lease, then the
    /// engine.
    ///
    /// # Errors
    /// A daemon runs that doesn't answer to us.
    pub async fn choose(options: &Resolved) -> Result<Self, CliError> {
        Ok(match daemon::connect_within(options, LONG_POLL).await? {
            Some(client) => Self::Daemon(client),
            None => match of_the_lease(options).await {
                Some(client) => Self::Daemon(client),
                None => Self::Engine(Arc::new(SystemClock::new())),
            },
        })
    }

    /// The status now.
    ///
    /// # Errors
    /// Whoever is asked fails; without a daemon, wrong files too.
    pub async fn read(&self, options: &Resolved) -> Result<Status, CliError> {
        match self {
            Self::Daemon(client) => Ok(client.get("/api/v1/status").await?),
            Self::Engine(clock) => from_engine(options, &**clock).await,
        }
    }

    /// The status, as far as this kind of object needs it: without a daemon, incidents are in the
    /// journal, and neither files nor the engine are asked.
    ///
    /// # Errors
    /// As [`Self::read`]; or the journal can't be read.
    pub async fn read_for(&self, options: &Resolved, kind: Kind) -> Result<Status, CliError> {
        match (self, kind) {
            (Self::Engine(clock), Kind::Incidents) => {
                let incidents = incident::journalled(options)?;
                let observed_at = Some(clock.now().wall);
                Ok(Status { incidents, observed_at, ..Status::default() })
            }
            _ => self.read(options).await,
        }
    }

    /// The next status after `last`, which may be equal.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn next(
        &self,
        options: &Resolved,
        kind: Kind,
        last: &Status,
    ) -> Result<Status, CliError> {
        match self {
            Self::Daemon(client) => {
                let path = format!("/api/v1/status?after={}", last.resource_version);
                Ok(client.get(&path).await?)
            }
            Self::Engine(_) => {
                tokio::time::sleep(INTERVAL).await;
                self.read_for(options, kind).await
            }
        }
    }
}

/// Reading is never refused: whatever is in the way, the engine is asked, and says so better.
async fn of_the_lease(options: &Resolved) -> Option<Client> {
    let project = goal::project(options)?;
    match lease::find(options, &project, LONG_POLL).await {
        Ok(Keeper::Daemon(client)) => Some(client),
        _ => None,
    }
}

async fn from_engine(options: &Resolved, clock: &dyn Clock) -> Result<Status, CliError> {
    let meant = goal::load(options, &[])?;
    let engine = options.engine(Tier::Observe)?;
    let observed = read(&engine, clock, &meant.goal).await?;
    let holds = hold::kept(options, &observed.engine.id, &meant.goal.desired.project.name);
    let memory = Memory { holds, ..Memory::default() };
    let Look { observed, plan, report } = look(observed, clock, &meant.goal, &memory).await;
    let view = View {
        turn: 1,
        generation: meant.goal.desired.generation,
        link: Link::Live,
        observed: Arc::new(observed),
        plan: Arc::new(plan),
        report: Arc::new(report),
        holds: memory.holds,
        ..View::default()
    };
    let sight = StackSight {
        name: meant.name,
        goal: Some(meant.goal),
        view,
        source: SourceView::default(),
    };
    let now = clock.now().wall;
    Ok(status(&engine.endpoint(), &[sight], &Status::default(), now))
}
