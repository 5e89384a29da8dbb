//! What the journal remembers, as the planner's memory.

use std::time::Duration;

use super::worker::Goal;
use crate::clock::{Clock, Mono};
use crate::engine::ContainerId;
use crate::plan::Memory;
use crate::plan::memory::Backoff;
use crate::plan::recovery::CEILING;
use crate::store::{Completion, Handle, Outcome};

/// Rebuilds the memory of a project. A journal that can't be read is an empty memory, said.
///
/// Intents without an outcome are closed as unknown: the first plan rests on a fresh list, which
/// shows what came of them.
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
    for open in recalled.unfinished {
        if !open.intent.container.is_empty() {
            memory.owned.insert(ContainerId(open.intent.container.clone()));
        }
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
    memory
}

/// The host's boot ID, empty where there is none.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}
