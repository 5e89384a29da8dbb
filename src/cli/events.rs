//! `events`: what homeostat did and saw, from the daemon or from the journal that it left.

use std::sync::Arc;
use std::time::Duration;

use super::args::EventsArgs;
use super::daemon;
use super::error::{CliError, Exit, printable};
use super::output::print;
use super::resolved::Resolved;
use crate::api::status::{EventView, List};
use crate::clock::SystemClock;
use crate::store::{EventQuery, Journal, StateDir};

/// Events that are shown at first.
const NEWEST: u32 = 100;
/// Time between two questions for news.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs the verb.
///
/// # Errors
/// Nobody to ask, or a journal that can't be read.
pub async fn run(options: &Resolved, args: &EventsArgs) -> Result<Exit, CliError> {
    let project = options.load.project_name.as_deref();
    let mut since = None;
    loop {
        let found = read(options, project, since).await?;
        let lines: String = found.iter().map(|event| line(event) + "\n").collect();
        if !lines.is_empty() {
            print(&printable(&lines))?;
        }
        // From now on only what is newer, even when nothing was there.
        since = Some(found.iter().map(|event| event.seq).max().or(since).unwrap_or(0));
        if !args.watch {
            return Ok(Exit::Well);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The newest events of a project, oldest first; only those about `object` when given.
///
/// # Errors
/// As [`run`].
pub async fn recent(
    options: &Resolved,
    project: &str,
    object: Option<&str>,
) -> Result<Vec<EventView>, CliError> {
    let mut events = read(options, Some(project), None).await?;
    events.retain(|event| object.is_none_or(|object| event.object == object));
    let surplus = events.len().saturating_sub(10);
    events.drain(..surplus);
    Ok(events)
}

async fn read(
    options: &Resolved,
    project: Option<&str>,
    since: Option<i64>,
) -> Result<Vec<EventView>, CliError> {
    let mut events: Vec<EventView> = match daemon::connect(options).await? {
        Some(client) => {
            let mut path = format!("/api/v1/events?limit={NEWEST}");
            if let Some(project) = project {
                path.push_str(&format!("&project={project}"));
            }
            if let Some(since) = since {
                path.push_str(&format!("&since={since}"));
            }
            let list: List<EventView> = client.get(&path).await?;
            list.items
        }
        None => journalled(options, project, since)?,
    };
    events.sort_by_key(|event| event.seq);
    Ok(events)
}

/// What the last daemon or `apply` wrote down. Without a journal nothing has happened yet.
fn journalled(
    options: &Resolved,
    project: Option<&str>,
    since: Option<i64>,
) -> Result<Vec<EventView>, CliError> {
    let path = options.state_path()?;
    if !path.join("journal.db").exists() {
        return Ok(Vec::new());
    }
    let failed = |error: &dyn std::error::Error| CliError::Failed(error.to_string());
    let dir = StateDir::open(&path).map_err(|e| failed(&e))?;
    let clock = Arc::new(SystemClock::new());
    let (journal, _) = Journal::open(&dir.journal(), clock).map_err(|e| failed(&e))?;
    let query = EventQuery { project: project.map(ToOwned::to_owned), since, limit: NEWEST };
    let found = journal.events(&query).map_err(|e| failed(&e))?;
    Ok(found.into_iter().map(EventView::from).collect())
}

/// One event as a line.
pub fn line(event: &EventView) -> String {
    let times = if event.count > 1 { format!(" (x{})", event.count) } else { String::new() };
    let project = match event.project.as_str() {
        "" => String::new(),
        project => format!("{project}/"),
    };
    format!(
        "{}  {:<7}  {:<14}  {project}{}: {}{times}",
        event.last_timestamp,
        format!("{:?}", event.kind),
        event.reason,
        event.object,
        event.message.replace('\n', " ")
    )
}
