//! Incidents in the journal: how each stands, and the story that `events` tells.

use std::sync::Arc;

use super::JournalRecorder;
use crate::clock::Now;
use crate::recovery::{AttemptResult, Change, EndReason, Incident, Stop, What};
use crate::store::{EventKind, Journal, JournalError, NewEvent};

/// Hands a change to the journal. It is written before the intents that come later.
pub(super) fn write(recorder: &JournalRecorder, change: &Change, _now: Now) {
    log(change);
    let (engine, project) = (recorder.engine.clone(), recorder.project.clone());
    let change = change.clone();
    let metrics = Arc::clone(&recorder.metrics);
    let failed = move |error: JournalError| {
        metrics.journal_failed();
        tracing::error!(%error, "can't journal a recovery; going on without");
    };
    let work = move |journal: &mut Journal| save(journal, &engine, &project, &change);
    if let Err(error) = recorder.journal.post(work, failed) {
        recorder.failed("a recovery", &error);
    }
}

fn log(change: &Change) {
    if let Some((kind, reason, _, message)) = story(change) {
        match kind {
            EventKind::Warning => tracing::warn!(reason, "{message}"),
            EventKind::Normal => tracing::info!(reason, "{message}"),
        }
    }
}

/// Writes a change, and its event.
///
/// # Errors
/// Something wasn't written.
pub fn save(
    journal: &mut Journal,
    engine: &str,
    project: &str,
    change: &Change,
) -> Result<(), JournalError> {
    match change {
        Change::Incident(incident, _) => journal.save_incident(engine, incident)?,
        Change::Proven(slot, generation) => journal.note_proven(engine, slot, generation)?,
        Change::Fell(slot, run) => journal.note_death(engine, slot, run)?,
        Change::Forgiven(slot) => journal.forget_deaths(engine, slot)?,
        Change::Braked(_) => {}
    }
    if let Some((kind, reason, object, message)) = story(change) {
        let (engine, project, reason) = (engine.to_owned(), project.to_owned(), reason.to_owned());
        journal.record_event(&NewEvent { engine, project, kind, reason, object, message })?;
    }
    Ok(())
}

/// What `events` tells of a change: kind, reason, object, message.
fn story(change: &Change) -> Option<(EventKind, &'static str, String, String)> {
    use EventKind::{Normal, Warning};
    let (incident, what) = match change {
        Change::Incident(incident, what) => (incident, what),
        Change::Braked(Some(brake)) => {
            let message = format!("{brake}; somebody should look at the host");
            return Some((Warning, "Braked", "stack".into(), message));
        }
        Change::Braked(None) => {
            let message = "enough is healthy again".to_owned();
            return Some((Normal, "BrakeReleased", "stack".into(), message));
        }
        Change::Proven(..) | Change::Fell(..) | Change::Forgiven(..) => return None,
    };
    let id = &incident.id;
    let (kind, reason, message) = match what {
        What::Ticked => return None,
        What::Opened => {
            (Warning, "IncidentOpened", format!("{}: {}", incident.scenario, incident.cause))
        }
        What::Raised => {
            let message = format!("part of {} from now on", incident.scenario);
            (Warning, "IncidentRaised", message)
        }
        What::AttemptBegan => (Normal, "RecoveryAttempt", attempt(incident)),
        What::AttemptEnded(result) => {
            let kind = if *result == AttemptResult::Failed { Warning } else { Normal };
            (kind, ended(*result), outcome(incident))
        }
        What::Exhausted(stop) => (Warning, "Exhausted", stopped(incident, *stop)),
        What::Escalated { silenced: false } => {
            (Warning, "Escalated", format!("needs a person: {}", why(incident)))
        }
        What::Escalated { silenced: true } => {
            (Normal, "Escalated", format!("acknowledged, so nobody is told: {}", why(incident)))
        }
        What::Acked => {
            let ack = incident.ack.as_ref()?;
            let until = ack.until_wall.map_or_else(|| "its end".into(), |at| at.to_string());
            (Normal, "Acknowledged", format!("by {} until {until}; recovery goes on", ack.by))
        }
        What::Retried(by) => {
            (Normal, "Retried", format!("by {by}: a fresh budget of {} attempts", incident.budget))
        }
        What::Ended => {
            let end = incident.end.as_ref()?;
            let by = if end.by.is_empty() { String::new() } else { format!(" by {}", end.by) };
            let message = match end.reason {
                EndReason::Recovered => "recovered: ready for 10 minutes".to_owned(),
                EndReason::Changed => "over: its configuration or image is another one".to_owned(),
                EndReason::Resolved => format!("resolved{by}"),
                EndReason::Gone => "over: its service is gone from the files".to_owned(),
            };
            (Normal, "IncidentEnded", message)
        }
    };
    let object = format!("service {}", incident.slot);
    Some((kind, reason, object, format!("incident {id}: {message}")))
}

const fn ended(result: AttemptResult) -> &'static str {
    match result {
        AttemptResult::Open => "RecoveryAttempt",
        AttemptResult::Succeeded => "RecoverySucceeded",
        AttemptResult::Failed => "RecoveryFailed",
        AttemptResult::Withdrawn => "RecoveryWithdrawn",
    }
}

fn attempt(incident: &Incident) -> String {
    let what = incident.attempts.back().map(|attempt| attempt.what.as_str()).unwrap_or_default();
    format!("attempt {} of {}: {what}", incident.spent + 1, incident.budget)
}

fn outcome(incident: &Incident) -> String {
    let reason = incident.attempts.back().map(|last| last.reason.as_str()).unwrap_or_default();
    format!("{reason}; {} of {} attempts are spent", incident.spent, incident.budget)
}

fn stopped(incident: &Incident, stop: Stop) -> String {
    let Incident { spent, budget, id, .. } = incident;
    let what = match stop {
        Stop::Budget => format!("{spent} of {budget} attempts failed"),
        Stop::CrashLoop => "crash loop: it fell 5 times in 10 minutes".to_owned(),
        Stop::Update => "its update failed".to_owned(),
    };
    format!("{what}; nothing more is tried until it is mended, or `homeostat incident retry {id}`")
}

/// Why a person is told.
fn why(incident: &Incident) -> String {
    match incident.stopped {
        Some(Stop::Update) => incident.cause.clone(),
        Some(stop) => stopped(incident, stop),
        None => {
            let down = incident.clock.passed.as_secs();
            format!("down for {down} s: {}", incident.cause)
        }
    }
}
