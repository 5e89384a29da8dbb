//! Incidents as people and programs read them.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::recovery::{Attempt, Incident, Stop};

/// An incident.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentView {
    /// Its name.
    pub id: String,
    /// Project.
    pub project: String,
    /// Service.
    pub service: String,
    /// Slot number from 1.
    pub slot: u32,
    /// What kind of trouble: `singleServiceDown`, `multipleServicesDown`…
    pub scenario: String,
    /// `recovering`, `exhausted` or `ended`.
    pub state: String,
    /// The service whose recovery is at stake.
    pub root: String,
    /// Why it opened.
    pub cause: String,
    /// Attempts that failed, of the present budget.
    pub spent: u32,
    /// Attempts that may fail.
    pub budget: u32,
    /// Time down so far, in seconds.
    pub down_seconds: u64,
    /// When it opened.
    pub opened_at: Timestamp,
    /// When a person was told.
    pub escalated_at: Option<Timestamp>,
    /// Who has taken note; empty while nobody has.
    pub acknowledged_by: String,
    /// Until when nobody is notified; absent where that is until the end.
    pub acknowledged_until: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended: `recovered`, `changed`, `resolved` or `gone`; empty while it is open.
    pub end: String,
    /// Who ended it; empty where nobody did.
    pub ended_by: String,
    /// For people: what comes next.
    pub message: String,
    /// The last attempts, oldest first.
    pub attempts: Vec<AttemptView>,
}

/// One run of a recovery.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptView {
    /// From 1 over the whole life of the incident.
    pub number: u32,
    /// When it began.
    pub begun_at: Timestamp,
    /// What it does.
    pub what: String,
    /// `open`, `succeeded`, `failed` or `withdrawn`.
    pub result: String,
    /// Why.
    pub reason: String,
}

impl From<&Attempt> for AttemptView {
    fn from(attempt: &Attempt) -> Self {
        Self {
            number: attempt.number,
            begun_at: attempt.begun,
            what: attempt.what.clone(),
            result: attempt.result.word().to_owned(),
            reason: attempt.reason.clone(),
        }
    }
}

impl From<&Incident> for IncidentView {
    fn from(incident: &Incident) -> Self {
        let ack = incident.ack.as_ref();
        let end = incident.end.as_ref();
        let state = match (end, incident.stopped) {
            (Some(_), _) => "ended",
            (None, Some(_)) => "exhausted",
            (None, None) => "recovering",
        };
        Self {
            id: incident.id.to_string(),
            project: incident.slot.project.clone(),
            service: incident.slot.service.clone(),
            slot: incident.slot.number,
            scenario: incident.scenario.word().to_owned(),
            state: state.to_owned(),
            root: incident.root.clone(),
            cause: incident.cause.clone(),
            spent: incident.spent,
            budget: incident.budget,
            down_seconds: incident.clock.passed.as_secs(),
            opened_at: incident.opened,
            escalated_at: incident.escalated,
            acknowledged_by: ack.map(|ack| ack.by.clone()).unwrap_or_default(),
            acknowledged_until: ack.and_then(|ack| ack.until_wall),
            ended_at: end.map(|end| end.at),
            end: end.map(|end| end.reason.word().to_owned()).unwrap_or_default(),
            ended_by: end.map(|end| end.by.clone()).unwrap_or_default(),
            message: next(incident),
            attempts: incident.attempts.iter().map(AttemptView::from).collect(),
        }
    }
}

/// What comes next.
fn next(incident: &Incident) -> String {
    let Incident { spent, budget, id, .. } = incident;
    if !incident.is_open() {
        return String::new();
    }
    match incident.stopped {
        Some(Stop::Budget) => format!(
            "{spent} of {budget} attempts failed; mend it, or `homeostat incident retry {id}`"
        ),
        Some(Stop::CrashLoop) => {
            format!("crash loop; mend it, or `homeostat incident retry {id}`")
        }
        Some(Stop::Update) => {
            format!("edit the file, or `homeostat incident retry {id}` to try the update again")
        }
        None => "over when the service has been ready for 10 minutes".to_owned(),
    }
}
