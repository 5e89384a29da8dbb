//! Conditions of stacks and services: what they say, and when. Pure.

use crate::api::status::{Condition, ConditionStatus, set_condition};
use crate::clock::Timestamp;
use crate::lease::LeaseState;
use crate::plan::Report;
use crate::plan::hold::{Hold, HoldKind, On};
use crate::plan::update::Stage;
use crate::probe::{Answer, Readiness, reason};
use crate::recovery::{Incident, Stop};

/// `Held` and `Paused`, as these holds make them.
pub(super) fn held_conditions<'h>(
    holds: impl Iterator<Item = (&'h On, &'h Hold)>,
    now: Timestamp,
    generation: u64,
) -> [Condition; 2] {
    let (paused, stopped): (Vec<_>, Vec<_>) =
        holds.partition(|(_, hold)| hold.kind == HoldKind::Paused);
    let condition = |kind: &str, nothing: &str, holds: Vec<(&On, &Hold)>| {
        let reason = match holds.first() {
            None => nothing,
            Some((_, hold)) if hold.provisional => "NotYetForGood",
            Some((_, hold)) => hold.kind.reason(),
        };
        let line = |(on, hold): &(&On, &Hold)| {
            format!("{on}: {} ({}), since {}", hold.why(), hold.by(), hold.since)
        };
        Condition {
            kind: kind.into(),
            status: holds_true(!holds.is_empty()),
            reason: reason.into(),
            message: holds.iter().map(line).collect::<Vec<_>>().join("; "),
            last_transition_time: now.rfc3339(),
            observed_generation: generation,
        }
    };
    [condition("Held", "NothingHeld", stopped), condition("Paused", "NothingPaused", paused)]
}

/// A condition that never held isn't worth telling.
pub(super) fn set_held(conditions: &mut Vec<Condition>, new: Condition) {
    if new.status == ConditionStatus::True || conditions.iter().any(|c| c.kind == new.kind) {
        set_condition(conditions, new);
    }
}

/// Whether an update failed, and whether a person has to do something about it.
pub(super) fn failed_updates(report: &Report) -> (&'static str, String) {
    let (mut reason, mut messages) = ("NoneFailed", Vec::new());
    for (slot, stage) in &report.updates {
        let Stage::Pinned(person) = stage else { continue };
        if person.is_some() || reason == "NoneFailed" {
            reason = if person.is_some() { "NeedsPerson" } else { "RolledBack" };
        }
        let message = report.slots.get(slot).map(|r| r.message.as_str()).unwrap_or_default();
        messages.push(format!("service {slot}: {message}"));
    }
    (reason, messages.join("; "))
}

/// Nothing more is tried for these.
pub(super) fn stall<'i>(
    stalled: impl Iterator<Item = &'i Incident>,
) -> (ConditionStatus, &'static str, String) {
    let mut reason = "NotStalled";
    let mut told = Vec::new();
    for incident in stalled {
        let Incident { slot, spent, budget, id, .. } = incident;
        let what;
        (reason, what) = match incident.stopped {
            Some(Stop::CrashLoop) => ("CrashLoop", format!("{spent} of {budget} attempts failed")),
            Some(Stop::Update) => ("UpdateFailed", "its update failed".to_owned()),
            _ => ("BudgetExhausted", format!("{spent} of {budget} attempts failed")),
        };
        told.push(format!(
            "service {slot}: {what} (incident {id}); mend it, or `homeostat incident retry {id}`"
        ));
    }
    (holds_true(!told.is_empty()), reason, told.join("; "))
}

/// A condition that a person has to know of, and whether it is bad when it holds. Worst first.
const WORST: [(&str, bool); 12] = [
    ("EngineReachable", false),
    ("SourceValid", false),
    ("LeaseHeld", false),
    ("DataLost", true),
    ("PermissionMissing", true),
    ("DiskFull", true),
    ("JournalUsable", false),
    ("UpdateFailed", true),
    ("Stalled", true),
    ("Braked", true),
    ("Synced", false),
    ("Ready", false),
];

/// Why an operator of the tier `observe` holds no lease.
const OBSERVING: &str = LeaseState::Observing.reason();

/// The word and the message of the worst condition. `held` says that the whole stack is.
pub(super) fn worst(conditions: &[Condition], held: bool) -> (String, String) {
    for (kind, bad) in WORST {
        let Some(found) = conditions.iter().find(|c| c.kind == kind) else { continue };
        let is_bad = match found.status {
            ConditionStatus::True => bad,
            ConditionStatus::False => !bad,
            // Nobody can tell yet.
            ConditionStatus::Unknown => !bad,
        };
        // Who only observes was told to: that hides nothing that is wrong.
        if kind == "LeaseHeld" && found.reason == OBSERVING {
            continue;
        }
        // What is held as a whole is neither in sync nor ready, and shall not be.
        if !is_bad || held && matches!(kind, "Synced" | "Ready") {
            continue;
        }
        let word = match (kind, bad) {
            ("EngineReachable", _) => "EngineUnreachable".to_owned(),
            ("SourceValid", _) if found.reason == "Invalid" => "SourceInvalid".to_owned(),
            ("Ready", _) => "NotReady".to_owned(),
            (_, true) => kind.to_owned(),
            (_, false) => found.reason.clone(),
        };
        return (word, found.message.clone());
    }
    (if held { "Held" } else { "Ready" }.to_owned(), String::new())
}

pub(super) const fn holds_true(condition: bool) -> ConditionStatus {
    if condition { ConditionStatus::True } else { ConditionStatus::False }
}

/// Why a probe can't tell: a person must open a way, or give credentials.
pub(super) fn unanswered(
    probe: Option<&Readiness>,
) -> [(&'static str, ConditionStatus, String, String); 2] {
    let condition = |kind, reasons: &[&str]| match probe.map(|probe| &probe.last) {
        None => (kind, ConditionStatus::Unknown, "NotAsked".to_owned(), String::new()),
        Some(last) if last.answer == Answer::Unknown && reasons.contains(&&*last.reason) => {
            (kind, ConditionStatus::True, last.reason.clone(), last.message.clone())
        }
        Some(_) => (kind, ConditionStatus::False, "Asked".to_owned(), String::new()),
    };
    [
        condition("CredentialMissing", &[reason::CREDENTIAL_MISSING]),
        condition("ProbeUnreachable", &[reason::PROBE_UNREACHABLE, reason::ADDRESS_FORBIDDEN]),
    ]
}

pub(super) fn camel(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |c| c.to_ascii_uppercase().to_string() + chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: &str, status: ConditionStatus, reason: &str) -> Condition {
        Condition {
            kind: kind.into(),
            status,
            reason: reason.into(),
            message: format!("about {kind}"),
            last_transition_time: String::new(),
            observed_generation: 1,
        }
    }

    fn word(conditions: &[(&str, ConditionStatus, &str)], held: bool) -> String {
        let all: Vec<Condition> = conditions
            .iter()
            .map(|(kind, status, reason)| condition(kind, *status, reason))
            .collect();
        worst(&all, held).0
    }

    #[test]
    fn the_worst_is_said_first() {
        use ConditionStatus::{False, True, Unknown};
        let well = [("Ready", True, "AllReady"), ("Synced", True, "InSync")];
        assert_eq!(word(&well, false), "Ready");
        let waits = [("Ready", False, "NotAllReady"), ("Synced", False, "Progressing")];
        assert_eq!(word(&waits, false), "Progressing");
        assert_eq!(word(&waits, true), "Held");
        assert_eq!(word(&[("Ready", False, "NotAllReady"), well[1]], false), "NotReady");
        let broken = [waits[0], waits[1], ("SourceValid", False, "Invalid")];
        assert_eq!(word(&broken, false), "SourceInvalid");
        assert_eq!(
            word(&[waits[0], ("SourceValid", False, "ProjectTaken")], false),
            "ProjectTaken"
        );
        assert_eq!(word(&[waits[0], ("SourceValid", Unknown, "Loading")], false), "Loading");
        let observes = [waits[1], ("LeaseHeld", False, OBSERVING)];
        assert_eq!(word(&observes, false), "Progressing");
        assert_eq!(word(&[waits[1], ("LeaseHeld", False, "Standby")], false), "Standby");
        let away = [broken[2], ("EngineReachable", False, "Refused"), ("DataLost", True, "x")];
        assert_eq!(word(&away, false), "EngineUnreachable");
        assert_eq!(word(&[well[0], ("DataLost", True, "VolumeRemoved")], false), "DataLost");
    }
}
