//! What the journal remembers, as the planner's memory.

use std::time::Duration;

use super::holding;
use super::worker::Goal;
use crate::clock::{Clock, Mono, Now, Timestamp};
use crate::engine::ContainerId;
use crate::observed::Slot;
use crate::plan::memory::{Backoff, Lost};
use crate::plan::recovery::CEILING;
use crate::plan::{Memory, Resource};
use crate::recovery::Incidents;
use crate::store::{self, Completion, Handle, JobRun, LostVolume, Outcome, Recalled, Unfinished};

/// How long after a request that nobody waited for the engine may still carry it out.
const STILL_ANSWERED: Duration = Duration::from_secs(5);

/// Rebuilds the memory of a project. A journal that can't be read is an empty memory, said.
///
/// Intents without an outcome are closed as unknown: the first plan rests on a fresh list, which
/// shows what came of them. A container that was asked for is known for ours by that alone, so its
/// intent stays open until it was seen or another one was made.
pub async fn memory(journal: &Handle, engine: &str, goal: &Goal, clock: &dyn Clock) -> Memory {
    let project = &goal.desired.project.name;
    let mut memory = Memory::default();
    let recalled = match journal.load_memory(engine, project).await {
        Ok(recalled) => recalled,
        Err(error) => {
            tracing::error!(%error, "can't read the journal; starting without memory");
            return memory;
        }
    };
    let now = clock.now();
    for (slot, backoff) in recalled.backoff {
        // Wall clocks jump: never wait longer than the longest pause.
        let wait = backoff.next.since(now.wall).min(CEILING.mul_f64(1.2));
        let not_before =
            if wait == Duration::ZERO { Mono::default() } else { now.mono.after(wait) };
        let backoff = Backoff { failures: backoff.failures, not_before, ..Backoff::default() };
        memory.backoff.insert(slot, backoff);
    }
    for (slot, job) in recalled.jobs.into_iter().filter(|(_, job)| job.exit_code == 0) {
        memory.jobs.insert(slot.service, (job.config_hash, job.image_id));
    }
    memory.applied = recalled.applied;
    memory.updates = recalled.updates;
    memory.pins = recalled.pins;
    memory.holds = holding::holds(recalled.holds);
    memory.stopping = holding::stopping(journal, engine, goal, now).await;
    memory.incidents = Incidents::recall(recalled.recoveries, now);
    memory.owned.extend(recalled.made.into_iter().map(ContainerId));
    for (volume, LostVolume { service, at }) in recalled.lost {
        memory.lost.insert(volume, Lost { service, at, ready_since: None });
    }
    for open in recalled.unfinished {
        match asked_for(&mut memory, &open, now) {
            Until::Now => close(journal, &open).await,
            Until::Answered => {}
            Until::After(left) => {
                // Open until then: the next run must know of it too, should this one be cut off.
                let journal = journal.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(left).await;
                    close(&journal, &open).await;
                });
            }
        }
    }
    memory
}

/// What a memory comes to in the journal: the way back of [`memory`].
pub fn rows(memory: &Memory, project: &str, now: Now) -> Recalled {
    let mut known = Recalled { applied: memory.applied.clone(), ..Recalled::default() };
    known.made = memory.owned.iter().map(|id| id.0.clone()).collect();
    known.backoff = memory.backoff.iter().map(|(s, b)| (s.clone(), pause(b, now))).collect();
    let job = |(service, (hash, image)): (&String, &(String, String))| {
        let slot = Slot { project: project.to_owned(), service: service.clone(), number: 1 };
        let (config_hash, image_id) = (hash.clone(), image.clone());
        (slot, JobRun { config_hash, image_id, exit_code: 0, finished: now.wall })
    };
    known.jobs = memory.jobs.iter().map(job).collect();
    known.lost = memory.lost.iter().map(|(v, lost)| (v.clone(), loss(lost))).collect();
    known.updates.clone_from(&memory.updates);
    known.pins.clone_from(&memory.pins);
    known.holds = holding::rows(&memory.holds);
    known.recoveries.incidents = memory.incidents.all();
    known.recoveries.proven = memory.incidents.proven();
    known
}

/// A slot's failures in a row, as the journal keeps them.
pub fn pause(backoff: &Backoff, now: Now) -> store::Backoff {
    let left = i64::try_from(backoff.not_before.since(now.mono).as_millis()).unwrap_or(i64::MAX);
    let next = Timestamp(now.wall.0.saturating_add(left));
    store::Backoff { failures: backoff.failures, next, last_ready: None }
}

/// The loss of a volume, as the journal keeps it.
pub fn loss(lost: &Lost) -> LostVolume {
    LostVolume { service: lost.service.clone(), at: lost.at }
}

/// Ends an intent whose outcome nobody saw.
async fn close(journal: &Handle, open: &Unfinished) {
    tracing::info!(
        "the last run ended before it knew what came of: {}: {}",
        open.intent.name,
        open.intent.op
    );
    let outcome =
        Outcome { reason: "OperatorRestarted".into(), ..Outcome::plain(Completion::Skipped) };
    if let Err(error) = journal.end(open.id, outcome).await {
        tracing::error!(%error, "can't close an intent of the last run");
    }
}

/// How long an intent without an outcome stays open.
enum Until {
    Now,
    /// Until the planner's facts tell what came of it.
    Answered,
    /// The engine may yet carry it out for so long.
    After(Duration),
}

/// What an intent without an outcome teaches.
fn asked_for(memory: &mut Memory, open: &Unfinished, now: Now) -> Until {
    let intent = &open.intent;
    if !intent.container.is_empty() {
        memory.owned.insert(ContainerId(intent.container.clone()));
    }
    let Some(made) = intent.op.strip_prefix("create") else {
        return Until::Now;
    };
    match intent.kind.as_str() {
        "container" => {
            let slot = Slot {
                project: intent.project.clone(),
                service: intent.service.clone(),
                number: intent.number,
            };
            memory.unanswered.entry(slot).or_default().insert(made.trim().to_owned());
            Until::Answered
        }
        // The engine lets two networks have one name, and starts no container on either then.
        "network" => {
            let age = now.wall.since(open.at);
            let left = STILL_ANSWERED.saturating_sub(age);
            if left == Duration::ZERO {
                return Until::Now;
            }
            let backoff = Backoff {
                failures: 1,
                not_before: now.mono.after(left),
                last: "the last run asked for it, and the engine may still make it".into(),
                ..Backoff::default()
            };
            memory.resource_backoff.insert(Resource::Network(intent.name.clone()), backoff);
            Until::After(left)
        }
        _ => Until::Now,
    }
}

/// The host's boot ID, empty where there is none.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}
