//! Holds as the journal keeps them, and what is told of them. What holds is decided in
//! [`crate::plan::hold`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::worker::Goal;
use crate::clock::{Mono, Now, Timestamp};
use crate::engine::ContainerId;
use crate::observed::{Slot, Word};
use crate::plan::hold::{Hold, HoldChange, HoldKind, Holds, On};
use crate::store::{EventKind, Handle, HoldRow, HoldWrite, NewEvent, StoreError};

/// Grace of a container whose service doesn't say.
const GRACE: Duration = Duration::from_secs(10);
/// How long after its grace a stop may take.
const BEYOND_GRACE: Duration = Duration::from_secs(15);
/// How long after a call's answer its events may still be on their way.
const LINGERS: Duration = Duration::from_secs(2);
/// How far back our own stops are looked for; nobody has a longer grace.
const BACK: Duration = Duration::from_secs(24 * 3600);

/// What is told of a change: a CamelCase reason, what it is about, and words for people.
struct Told {
    reason: &'static str,
    object: String,
    message: String,
}

/// What a change means for the journal.
pub fn write(change: &HoldChange) -> HoldWrite {
    match change {
        HoldChange::Began(on, hold) | HoldChange::Proven(on, hold) => HoldWrite::Put(row(on, hold)),
        HoldChange::Ended(on, hold, _) => HoldWrite::Delete(row(on, hold)),
    }
}

/// What `events` shows of changes.
pub fn events(changes: &[HoldChange], engine: &str, project: &str) -> Vec<NewEvent> {
    let event = |told: Told| NewEvent {
        engine: engine.to_owned(),
        project: project.to_owned(),
        kind: EventKind::Normal,
        reason: told.reason.into(),
        object: told.object,
        message: told.message,
    };
    changes.iter().filter_map(told).map(event).collect()
}

/// Nothing is told of what changes no more than our certainty.
fn told(change: &HoldChange) -> Option<Told> {
    let told = |reason, on: &On, message| Told { reason, object: on.to_string(), message };
    Some(match change {
        HoldChange::Began(on, hold) if hold.provisional => {
            let why = hold.why();
            told("Held", on, format!("{why}; for good once it is certain that a person did it"))
        }
        HoldChange::Began(on, hold) => told("Held", on, format!("{} ({})", hold.why(), hold.by())),
        HoldChange::Ended(on, hold, end) => {
            told("HoldEnded", on, format!("was {}: {end}", hold.why()))
        }
        HoldChange::Proven(..) => return None,
    })
}

fn row(on: &On, hold: &Hold) -> HoldRow {
    let (service, number) = match on {
        On::Stack => (String::new(), 0),
        On::Service(service) => (service.clone(), 0),
        On::Slot(service, number) => (service.clone(), *number),
    };
    HoldRow {
        service,
        number,
        kind: hold.kind.word().into(),
        who: hold.who.clone(),
        since: hold.since,
        provisional: hold.provisional,
        container: hold.container.0.clone(),
        event: hold.nano,
    }
}

/// A hold as it was kept; `None` for a kind that we don't know.
fn hold(row: HoldRow) -> Option<(On, Hold)> {
    let kind = HoldKind::parse(&row.kind)?;
    let on = match (row.service, row.number) {
        (service, _) if service.is_empty() => On::Stack,
        (service, 0) => On::Service(service),
        (service, number) => On::Slot(service, number),
    };
    let hold = Hold {
        kind,
        who: row.who,
        since: row.since,
        provisional: row.provisional,
        container: ContainerId(row.container),
        nano: row.event,
        number: 0,
    };
    Some((on, hold))
}

/// The holds that these rows keep.
pub fn holds(rows: Vec<HoldRow>) -> Holds {
    Holds::recalled(rows.into_iter().filter_map(hold))
}

/// The rows that keep these holds.
pub fn rows(holds: &Holds) -> Vec<HoldRow> {
    holds.iter().map(|(on, hold)| row(on, hold)).collect()
}

/// Stops that an earlier run heard of and that weren't certain when it ended.
///
/// # Errors
/// The journal can't be read.
pub async fn uncertain(journal: &Handle) -> Result<Vec<(Slot, Word)>, StoreError> {
    let rows = journal.provisional_holds().await?;
    let words = rows.into_iter().flat_map(|(project, row)| {
        let holds = holds(vec![row]);
        holds.provisional(&project).collect::<Vec<_>>()
    });
    Ok(words.collect())
}

/// Containers that an earlier run was about to stop: until when their stops are its own.
pub async fn stopping(
    journal: &Handle,
    engine: &str,
    goal: &Goal,
    now: Now,
) -> BTreeMap<ContainerId, Mono> {
    let project = &goal.desired.project;
    let back = i64::try_from(BACK.as_millis()).unwrap_or(i64::MAX);
    let since = Timestamp(now.wall.0.saturating_sub(back));
    let stops = match journal.own_stops(engine, &project.name, since).await {
        Ok(stops) => stops,
        Err(error) => {
            tracing::error!(%error, "can't read what the last run was about to stop");
            return BTreeMap::new();
        }
    };
    let mut until = BTreeMap::new();
    for stop in stops {
        let service = project.services.get(&stop.service);
        let grace = service.and_then(|s| s.stop_grace_period).unwrap_or(GRACE);
        let (from, lasts) = match stop.done {
            Some(done) => (done, LINGERS),
            None => (stop.at, grace.saturating_add(BEYOND_GRACE)),
        };
        let left = lasts.saturating_sub(now.wall.since(from));
        if left > Duration::ZERO {
            let end = until.entry(ContainerId(stop.container)).or_insert(now.mono);
            *end = (*end).max(now.mono.after(left));
        }
    }
    until
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::hold::HoldEnd;

    fn stopped(provisional: bool) -> Hold {
        Hold {
            kind: HoldKind::Stopped,
            provisional,
            container: ContainerId("c".into()),
            nano: 7_000_001,
            ..Hold::pause("", Timestamp(7))
        }
    }

    #[test]
    fn a_hold_is_kept_as_it_is() {
        let all = [
            (On::Stack, Hold { kind: HoldKind::Down, ..stopped(true) }),
            (On::Stack, Hold::pause("ann", Timestamp(5))),
            (On::Service("web".into()), Hold::pause("ann", Timestamp(5))),
            (On::Slot("db".into(), 2), stopped(false)),
        ];
        for (on, kept) in &all {
            let HoldWrite::Put(row) = write(&HoldChange::Began(on.clone(), kept.clone())) else {
                panic!("it is put");
            };
            assert_eq!(hold(row), Some((on.clone(), kept.clone())));
        }
        let unknown = HoldRow { kind: "later".into(), ..HoldRow::default() };
        assert_eq!(hold(unknown), None);
    }

    #[test]
    fn what_begins_and_ends_is_told_with_its_reason() {
        let on = On::Slot("db".into(), 1);
        let text = |change: &HoldChange| {
            told(change).map(|t| format!("{} {}: {}", t.reason, t.object, t.message))
        };
        let began = text(&HoldChange::Began(on.clone(), stopped(false)));
        assert_eq!(
            began.as_deref(),
            Some("Held service db/1: stopped by hand (somebody at the engine)")
        );
        let began = text(&HoldChange::Began(on.clone(), stopped(true)));
        let words = "Held service db/1: stopped by hand; for good once it is certain that a person \
                     did it";
        assert_eq!(began.as_deref(), Some(words));
        let end = HoldEnd::Resumed("ann".into());
        let ended = text(&HoldChange::Ended(on.clone(), stopped(false), end));
        assert_eq!(
            ended.as_deref(),
            Some("HoldEnded service db/1: was stopped by hand: resumed by ann")
        );
        assert_eq!(text(&HoldChange::Proven(on, stopped(false))), None);
    }
}
