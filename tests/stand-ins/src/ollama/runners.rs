//! Loaded models: what Ollama's scheduler does, as far as clients can see it.
//!
//! Time passes lazily: every look at the state first settles what became due since the last one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::Settings;
use super::catalog::Model;
use crate::clock;
use crate::faults::locked;

/// How often a request that must wait looks again.
const LOOK: Duration = Duration::from_millis(5);

/// A keep-alive without end, as Ollama stores it.
pub const FOREVER: Duration = Duration::from_nanos(i64::MAX as u64);

struct Runner {
    model: Model,
    context: u64,
    size_vram: u64,
    loading: bool,
    in_flight: usize,
    keep_alive: Duration,
    /// Set when the last request has ended, or when an unload is asked for.
    expires_at: Option<Duration>,
    /// Tells a runner from its successor of the same name.
    serial: u64,
}

#[derive(Default)]
struct Loaded {
    runners: BTreeMap<String, Runner>,
    /// VRAM of runners that are gone from the list, and until when it is still taken.
    freeing: Vec<(Duration, u64)>,
    serials: u64,
    pending: usize,
}

impl Loaded {
    /// Lets happen what is due at `now`.
    fn settle(&mut self, now: Duration, free: Duration) {
        let due =
            |r: &Runner| !r.loading && r.in_flight == 0 && r.expires_at.is_some_and(|at| at <= now);
        for (_, runner) in self.runners.extract_if(.., |_, runner| due(runner)) {
            self.freeing.push((now + free, runner.size_vram));
        }
        self.freeing.retain(|(until, _)| *until > now);
    }

    fn vram_used(&self) -> u64 {
        self.runners.values().map(|r| r.size_vram).chain(self.freeing.iter().map(|f| f.1)).sum()
    }
}

/// What a look at the runners means for a request.
enum Admission {
    Ready(u64),
    /// A new runner was entered and is to be loaded.
    Load(u64),
    Wait,
}

/// The loaded models.
#[derive(Clone, Default)]
pub struct Runners(Arc<Mutex<Loaded>>);

/// A request's hold on a runner: while it lives the runner isn't unloaded.
pub struct Hold {
    runners: Runners,
    key: String,
    serial: u64,
}

impl Hold {
    /// Whether the runner died under the request.
    pub fn is_lost(&self) -> bool {
        let loaded = locked(&self.runners.0);
        loaded.runners.get(&self.key).is_none_or(|runner| runner.serial != self.serial)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut loaded = locked(&self.runners.0);
        let Some(runner) = loaded.runners.get_mut(&self.key).filter(|r| r.serial == self.serial)
        else {
            return;
        };
        runner.in_flight -= 1;
        if runner.loading {
            // The client went away during the load: the load is given up.
            loaded.runners.remove(&self.key);
        } else if runner.in_flight == 0 {
            runner.expires_at = Some(clock::now().saturating_add(runner.keep_alive));
        }
    }
}

/// Counts a request that waits for its runner.
struct Pending(Runners);

impl Drop for Pending {
    fn drop(&mut self) {
        locked(&self.0.0).pending -= 1;
    }
}

/// The queue of waiting requests is full.
pub struct Busy;

impl Runners {
    /// Waits until `model` is loaded with that context, and holds it. A `keep_alive` of the
    /// request's own replaces the runner's, which revives a runner that was asked to unload.
    pub async fn hold(
        &self,
        model: &Model,
        context: u64,
        keep_alive: Option<Duration>,
        settings: &Mutex<Settings>,
    ) -> Result<Hold, Busy> {
        let key = model.name.key();
        let pending = self.queue(locked(settings).max_queue)?;
        loop {
            let admission = self.admit(model, context, keep_alive, &locked(settings));
            let (serial, load) = match admission {
                Admission::Ready(serial) => (serial, false),
                Admission::Load(serial) => (serial, true),
                Admission::Wait => {
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
            };
            let hold = Hold { runners: self.clone(), key: key.clone(), serial };
            if load {
                let duration = locked(settings).load;
                tokio::time::sleep(duration).await;
                if let Some(runner) = locked(&self.0).runners.get_mut(&key) {
                    runner.loading = false;
                }
            }
            drop(pending);
            return Ok(hold);
        }
    }

    fn queue(&self, max_queue: usize) -> Result<Pending, Busy> {
        let mut loaded = locked(&self.0);
        if loaded.pending >= max_queue {
            return Err(Busy);
        }
        loaded.pending += 1;
        Ok(Pending(self.clone()))
    }

    fn admit(
        &self,
        model: &Model,
        context: u64,
        keep_alive: Option<Duration>,
        settings: &Settings,
    ) -> Admission {
        let key = model.name.key();
        let now = clock::now();
        let mut loaded = locked(&self.0);
        loaded.settle(now, settings.free);
        if let Some(runner) = loaded.runners.get_mut(&key) {
            if runner.loading {
                return Admission::Wait;
            }
            if runner.context != context {
                // Other options need another runner: this one goes when its requests have ended.
                runner.keep_alive = Duration::ZERO;
                runner.expires_at = Some(now);
                return Admission::Wait;
            }
            runner.in_flight += 1;
            runner.keep_alive = keep_alive.unwrap_or(runner.keep_alive);
            return Admission::Ready(runner.serial);
        }
        let total = settings.vram.saturating_sub(settings.vram_foreign);
        let available = total.saturating_sub(loaded.vram_used());
        if model.resident > available && settings.vram > 0 {
            if !loaded.freeing.is_empty() {
                return Admission::Wait;
            }
            // Its own models make room first: an idle one, else the one that would expire first.
            let victim = |r: &&mut Runner| (r.in_flight > 0, r.expires_at, r.serial);
            if let Some(runner) = loaded.runners.values_mut().min_by_key(victim) {
                runner.keep_alive = Duration::ZERO;
                runner.expires_at = Some(now);
                return Admission::Wait;
            }
        }
        loaded.serials += 1;
        let serial = loaded.serials;
        let runner = Runner {
            model: model.clone(),
            context,
            size_vram: settings.spilled(model.resident, model.resident.min(available)),
            loading: true,
            in_flight: 1,
            keep_alive: keep_alive.unwrap_or(settings.keep_alive),
            expires_at: None,
            serial,
        };
        loaded.runners.insert(key, runner);
        Admission::Load(serial)
    }

    /// Asks for an unload. Returns before anything is freed, but not during a load.
    pub async fn expire(&self, key: &str, free: Duration) {
        loop {
            {
                let mut loaded = locked(&self.0);
                let now = clock::now();
                match loaded.runners.get_mut(key) {
                    Some(runner) if runner.loading => {}
                    Some(runner) => {
                        runner.keep_alive = Duration::ZERO;
                        runner.expires_at = Some(now);
                        loaded.settle(now, free);
                        return;
                    }
                    None => return,
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The entries of `/api/ps`, the one that stays longest first.
    pub fn list(&self, settings: &Settings) -> Vec<Value> {
        let now = clock::now();
        let mut loaded = locked(&self.0);
        loaded.settle(now, settings.free);
        let until = |r: &Runner| r.expires_at.unwrap_or(now.saturating_add(r.keep_alive));
        let mut runners: Vec<&Runner> = loaded.runners.values().collect();
        runners.sort_by_key(|r| std::cmp::Reverse(until(r)));
        let entry = |r: &&Runner| {
            let name = r.model.name.short();
            let mut entry = json!({
                "name": name, "model": name, "size": r.model.resident, "digest": r.model.digest,
                "details": r.model.details(), "expires_at": clock::rfc3339(until(r)),
                "size_vram": r.size_vram,
            });
            if settings.shows_context {
                entry["context_length"] = r.context.into();
            }
            entry
        };
        runners.iter().map(entry).collect()
    }

    /// Moves what is loaded out of VRAM as `settings` say.
    pub fn spill(&self, settings: &Settings) {
        for runner in locked(&self.0).runners.values_mut() {
            runner.size_vram = settings.spilled(runner.model.resident, runner.size_vram);
        }
    }

    /// All runners die at once, as by the kernel's OOM killer; what they served fails.
    pub fn kill(&self) {
        locked(&self.0).runners.clear();
    }

    /// Bytes of VRAM in use, models that are gone from the list but not yet freed included: what a
    /// GPU would show.
    pub fn vram_used(&self, settings: &Settings) -> u64 {
        let mut loaded = locked(&self.0);
        loaded.settle(clock::now(), settings.free);
        loaded.vram_used()
    }
}
