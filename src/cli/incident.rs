//! `incident ack|retry|resolve ID`: a person's word, through the daemon when one keeps the project,
//! otherwise into the journal.

use std::sync::Arc;

use super::args::IncidentVerb;
use super::error::{CliError, Exit, printable};
use super::output::print;
use super::resolved::Resolved;
use super::status::Source;
use crate::api::incident::IncidentView;
use crate::clock::{Clock, SystemClock};
use crate::controller::recording;
use crate::recovery::{IncidentId, Incidents, RecoveryPolicy, Stop, Word};
use crate::server::{IncidentWord, Progress};
use crate::store::{Journal, StateDir};

/// Runs the verb.
///
/// # Errors
/// No open incident of this ID, with those that are open; or nobody to ask.
pub async fn run(options: &Resolved, verb: &IncidentVerb) -> Result<Exit, CliError> {
    let id = verb.args().id.trim().to_lowercase();
    let (word, done) = match verb {
        IncidentVerb::Ack(ack) => {
            let for_seconds = ack.time.map(|time| time.get().as_secs().max(1));
            (IncidentWord::Ack { for_seconds }, "acknowledged; recovery goes on")
        }
        IncidentVerb::Retry(_) => (IncidentWord::Retry, "tried again, with a fresh budget"),
        IncidentVerb::Resolve(_) => (IncidentWord::Resolve, "resolved"),
    };
    let source = Source::choose(options).await?;
    match &source {
        Source::Daemon(client) => {
            let status: crate::api::status::Status = client.get("/api/v1/status").await?;
            known(options, &id, &status.incidents)?;
            let mut lines = client.incident(&id, &word).await?;
            while let Some(line) = lines.next().await? {
                if let Progress::Failed { message, .. } = line {
                    return Err(CliError::Failed(message));
                }
            }
        }
        Source::Engine(_) => {
            known(options, &id, &journalled(options)?)?;
            write(options, &id, &word.into())?;
        }
    }
    print(&printable(&format!("incident {id}: {done}\n")))?;
    Ok(Exit::Well)
}

/// Refuses an ID that names no open incident, and says which are.
fn known(options: &Resolved, id: &str, all: &[IncidentView]) -> Result<(), CliError> {
    let project = options.load.project_name.as_deref();
    let open: Vec<&IncidentView> = all
        .iter()
        .filter(|i| i.ended_at.is_none() && project.is_none_or(|p| p == i.project))
        .collect();
    if open.iter().any(|incident| incident.id == id) {
        return Ok(());
    }
    let list: Vec<String> = open
        .iter()
        .map(|i| format!("{} ({} {}/{}, {})", i.id, i.project, i.service, i.slot, i.state))
        .collect();
    let open = match list.as_slice() {
        [] => "none is open".to_owned(),
        list => format!("open are: {}", list.join(", ")),
    };
    Err(CliError::Usage(format!("no open incident `{id}`; {open}")))
}

/// The incidents of the journal. Without a journal nothing has happened yet.
///
/// # Errors
/// The journal can't be read.
pub fn journalled(options: &Resolved) -> Result<Vec<IncidentView>, CliError> {
    let Some(journal) = open(options)? else { return Ok(Vec::new()) };
    let found = journal.incidents(None).map_err(|e| CliError::Failed(e.to_string()))?;
    Ok(found.iter().map(|(_, incident)| IncidentView::from(incident)).collect())
}

fn open(options: &Resolved) -> Result<Option<Journal>, CliError> {
    let path = options.state_path()?;
    if !path.join("journal.db").exists() {
        return Ok(None);
    }
    let failed = |error: &dyn std::error::Error| CliError::Failed(error.to_string());
    let dir = StateDir::open(&path).map_err(|e| failed(&e))?;
    let (journal, _) =
        Journal::open(&dir.journal(), Arc::new(SystemClock::new())).map_err(|e| failed(&e))?;
    Ok(Some(journal))
}

/// Writes a person's word into the journal, for the next daemon or `apply`.
fn write(options: &Resolved, id: &str, word: &Word) -> Result<(), CliError> {
    let failed = |error: &dyn std::error::Error| CliError::Failed(error.to_string());
    let Some(mut journal) = open(options)? else { return Ok(()) };
    let now = SystemClock::new().now();
    let found = journal.incidents(None).map_err(|e| failed(&e))?;
    let Some((engine, incident)) = found.into_iter().find(|(_, i)| i.id.0 == id && i.is_open())
    else {
        return Ok(());
    };
    let project = incident.slot.project.clone();
    if (word, incident.stopped) == (&Word::Retry, Some(Stop::Update)) {
        let service = &incident.slot.service;
        journal.retry_update(&engine, &project, service).map_err(|e| failed(&e))?;
    }
    // The budget that it had is the one that it gets anew: the files may not be at hand.
    let mut policy = RecoveryPolicy::default();
    let mut budget = policy.budget(incident.scenario);
    budget.attempts = incident.budget;
    policy.set(incident.scenario, budget);
    let recalled = crate::recovery::Recalled { incidents: vec![incident], ..Default::default() };
    let mut incidents = Incidents::recall(recalled, now);
    incidents.set_policy(policy);
    let by = format!("user {}", rustix::process::geteuid().as_raw());
    let changes = incidents.obey(&IncidentId(id.to_owned()), word, &by, now);
    for change in changes.unwrap_or_default() {
        recording::save(&mut journal, &engine, &project, &change).map_err(|e| failed(&e))?;
    }
    Ok(())
}
