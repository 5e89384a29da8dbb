//! `pause` and `resume`: through the daemon that keeps the project, otherwise into the journal.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::args::HoldArgs;
use super::error::{CliError, Exit, warn};
use super::journal::Journalled;
use super::output::print;
use super::resolved::Resolved;
use super::{daemon, goal};
use crate::clock::{Clock, SystemClock};
use crate::controller::worker::holds::words;
use crate::controller::{holding, process};
use crate::desired::scope::known;
use crate::engine::Tier;
use crate::observed::Observed;
use crate::plan::hold::{Hold, HoldEnd, Holds};
use crate::store::Journal;

/// Leaves services alone.
///
/// # Errors
/// Wrong files, a service that isn't there, an engine or a daemon that fails.
pub async fn pause(options: &Resolved, args: &HoldArgs) -> Result<Exit, CliError> {
    change(options, args, true).await
}

/// Ends holds.
///
/// # Errors
/// As [`pause`].
pub async fn resume(options: &Resolved, args: &HoldArgs) -> Result<Exit, CliError> {
    change(options, args, false).await
}

async fn change(options: &Resolved, args: &HoldArgs, pause: bool) -> Result<Exit, CliError> {
    let meant = goal::load(options, &[])?;
    let desired = &meant.goal.desired;
    let project = &desired.project.name;
    for name in &args.services {
        known(&desired.project, name)?;
    }
    let engine = options.engine(Tier::Observe)?;
    let (info, volumes) = tokio::try_join!(engine.info(), engine.volumes())?;
    let volumes = volumes.into_iter().map(|volume| (volume.name.clone(), volume));
    let mut observed = Observed::default();
    observed.volumes.extend(volumes);
    let changes = match daemon::of(options, &meant, &observed).await? {
        Some(daemon) => daemon.hold(pause, &args.services).await?,
        None => {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            let journalled = Journalled::open(options, &clock, &info.id, project)?;
            let mut holds = journalled.holds().await?;
            let services: BTreeSet<String> = args.services.iter().cloned().collect();
            let who = process::this_user();
            let changes = match pause {
                true => holds.pause(&services, &Hold::pause(&who, clock.now().wall)),
                false => holds.release(&services, desired, &HoldEnd::Resumed(who)),
            };
            journalled.change_holds(&changes).await?;
            journalled.close().await;
            words(&changes)
        }
    };
    let nothing = if pause { "paused already" } else { "nothing is held" };
    let mut text = String::new();
    for change in &changes {
        text.push_str(&format!("{project}: {change}\n"));
    }
    if changes.is_empty() {
        text = format!("{project}: {nothing}\n");
    }
    print(&text)?;
    Ok(Exit::Well)
}

/// What the journal of the state folder holds of a project, where there is one. Makes nothing.
pub fn kept(options: &Resolved, engine: &str, project: &str) -> Holds {
    let path = options.state_path().ok().map(|folder| folder.join("journal.db"));
    let Some(path) = path.filter(|path| path.is_file()) else { return Holds::default() };
    let read = Journal::open(&path, Arc::new(SystemClock::new()))
        .and_then(|(journal, _)| journal.holds(engine, project));
    match read {
        Ok(rows) => holding::holds(rows),
        Err(error) => {
            warn(&format!("{project}: what is held can't be read: {error}"));
            Holds::default()
        }
    }
}
