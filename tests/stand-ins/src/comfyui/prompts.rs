//! The prompt queue, its one worker, and the flags that `/free` sets.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::Settings;
use crate::clock;
use crate::faults::locked;

/// How often a running node looks for an interrupt.
const PROGRESS: Duration = Duration::from_millis(20);
/// After a prompt the pool is emptied at most so often.
const COLLECTION: Duration = Duration::from_secs(10);
const MAX_HISTORY: usize = 10_000;

/// A prompt in the queue: `[number, prompt_id, prompt, extra, outputs]`.
#[derive(Clone, Debug)]
pub struct Item {
    pub number: f64,
    pub id: String,
    pub prompt: Map<String, Value>,
    pub extra: Value,
    pub outputs: Vec<String>,
}

impl Item {
    /// As `/queue` and `/history` show it.
    pub fn shown(&self) -> Value {
        let number: Value = if self.number.fract() == 0.0 {
            (self.number as i64).into()
        } else {
            self.number.into()
        };
        json!([number, self.id, self.prompt, self.extra, self.outputs])
    }
}

/// The card's memory as the torch allocator sees it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Pool {
    /// Bytes that the process holds.
    pub reserved: u64,
    /// Bytes of it that models use.
    pub models: u64,
    /// When the pool was last emptied.
    collected: Duration,
    wants_collection: bool,
}

#[derive(Default)]
struct State {
    counter: f64,
    running: Option<Item>,
    pending: VecDeque<Item>,
    history: Vec<(String, Value)>,
    unload_models: bool,
    free_memory: bool,
    interrupt: bool,
    pool: Pool,
}

/// Queue, history and memory of the stand-in.
#[derive(Default)]
pub struct Prompts {
    state: Mutex<State>,
    changed: Notify,
}

enum Outcome {
    Success,
    Interrupted,
    OutOfMemory,
}

impl Prompts {
    /// Puts a prompt into the queue; answers its number.
    pub fn put(&self, mut item: Item, number: Option<f64>, front: bool) -> f64 {
        let mut state = locked(&self.state);
        item.number = number.unwrap_or_else(|| {
            let next = if front { -state.counter } else { state.counter };
            state.counter += 1.0;
            next
        });
        let number = item.number;
        let at = state.pending.partition_point(|other| other.number <= number);
        state.pending.insert(at, item);
        drop(state);
        self.changed.notify_one();
        number
    }

    pub fn queue(&self) -> Value {
        let state = locked(&self.state);
        let running: Vec<Value> = state.running.iter().map(Item::shown).collect();
        let pending: Vec<Value> = state.pending.iter().map(Item::shown).collect();
        json!({"queue_running": running, "queue_pending": pending})
    }

    /// Running and waiting prompts.
    pub fn remaining(&self) -> usize {
        let state = locked(&self.state);
        state.pending.len() + usize::from(state.running.is_some())
    }

    pub fn clear(&self) {
        locked(&self.state).pending.clear();
    }

    pub fn delete(&self, id: &str) {
        locked(&self.state).pending.retain(|item| item.id != id);
    }

    /// Asks the running prompt to stop, or only if it is the named one.
    pub fn interrupt(&self, id: Option<&str>) {
        let mut state = locked(&self.state);
        let meant = id.is_none_or(|id| state.running.as_ref().is_some_and(|r| r.id == id));
        state.interrupt |= meant;
    }

    /// The newest `max` entries, or the one of a prompt.
    pub fn history(&self, max: Option<usize>, id: Option<&str>) -> Value {
        let state = locked(&self.state);
        let skipped = max.map_or(0, |max| state.history.len().saturating_sub(max));
        let entries = state.history.iter().skip(skipped);
        let entries = entries.filter(|(key, _)| id.is_none_or(|id| id == key));
        Value::Object(entries.cloned().collect())
    }

    pub fn forget(&self, id: Option<&str>) {
        locked(&self.state).history.retain(|(key, _)| id.is_some_and(|id| id != key));
    }

    /// Sets flags for the worker, which looks at them when it is between prompts.
    pub fn free(&self, unload_models: bool, free_memory: bool, lost: bool) {
        let mut state = locked(&self.state);
        state.unload_models |= unload_models;
        state.free_memory |= free_memory;
        drop(state);
        if (unload_models || free_memory) && !lost {
            self.changed.notify_one();
        }
    }

    pub fn pool(&self) -> Pool {
        locked(&self.state).pool
    }

    /// Works for ever: one prompt after another, flags in between.
    pub async fn work(&self, settings: &Mutex<Settings>) {
        loop {
            self.apply_flags();
            let next = {
                let mut state = locked(&self.state);
                let next = state.pending.pop_front();
                state.running.clone_from(&next);
                if next.is_some() {
                    state.interrupt = false;
                }
                next
            };
            match next {
                Some(item) => self.run(&item, settings).await,
                None => {
                    let collection = tokio::time::sleep(COLLECTION);
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = collection, if locked(&self.state).pool.wants_collection => {}
                    }
                }
            }
        }
    }

    fn apply_flags(&self) {
        let mut state = locked(&self.state);
        let unload = std::mem::take(&mut state.unload_models);
        let free = std::mem::take(&mut state.free_memory);
        let now = clock::now();
        if unload || free {
            state.pool.models = 0;
            state.pool.wants_collection = true;
            state.pool.collected = Duration::ZERO;
        }
        if state.pool.wants_collection && now.saturating_sub(state.pool.collected) >= COLLECTION {
            state.pool.reserved = state.pool.models;
            state.pool.collected = now;
            state.pool.wants_collection = false;
        }
    }

    async fn run(&self, item: &Item, settings: &Mutex<Settings>) {
        println!("got prompt");
        let began = millis();
        let (load, run, need, vram, foreign, fails) = {
            let mut settings = locked(settings);
            let fails = settings.oom_next > 0;
            settings.oom_next = settings.oom_next.saturating_sub(1);
            let s = &*settings;
            (s.load, s.run, s.need, s.vram, s.vram_foreign, fails)
        };
        // A load is one long call: it hears of no interrupt.
        tokio::time::sleep(load).await;
        let mut outcome = Outcome::Success;
        if fails || (vram > 0 && need > vram.saturating_sub(foreign)) {
            outcome = Outcome::OutOfMemory;
        } else {
            if vram > 0 {
                let mut state = locked(&self.state);
                state.pool.models = need;
                // It fills the card on purpose: what is free is kept for the next prompt.
                let free = vram.saturating_sub(foreign);
                state.pool.reserved = state.pool.reserved.max(need + (free - need) / 2);
            }
            let mut left = run;
            while !left.is_zero() {
                let step = left.min(PROGRESS);
                tokio::time::sleep(step).await;
                left -= step;
                if std::mem::take(&mut locked(&self.state).interrupt) {
                    outcome = Outcome::Interrupted;
                    break;
                }
            }
        }
        match outcome {
            Outcome::OutOfMemory => println!("Got an OOM, unloading all loaded models."),
            Outcome::Interrupted => println!("Processing interrupted"),
            Outcome::Success => {
                println!("Prompt executed in {:.2} seconds", (load + run).as_secs_f32());
            }
        }
        let entry = history_entry(item, began, &outcome);
        let mut state = locked(&self.state);
        state.running = None;
        state.history.retain(|(id, _)| *id != item.id);
        if state.history.len() == MAX_HISTORY {
            state.history.remove(0);
        }
        state.history.push((item.id.clone(), entry));
        state.pool.wants_collection = true;
        if matches!(outcome, Outcome::OutOfMemory) {
            state.pool.models = 0;
        }
    }
}

fn millis() -> u64 {
    clock::now().as_millis() as u64
}

fn history_entry(item: &Item, began: u64, outcome: &Outcome) -> Value {
    let id = &item.id;
    let mut messages = vec![
        json!(["execution_start", {"prompt_id": id, "timestamp": began}]),
        json!(["execution_cached", {"nodes": [], "prompt_id": id, "timestamp": began + 1}]),
    ];
    let class = |node: &str| item.prompt[node]["class_type"].clone();
    // The node at work is the last before an output; those named before it are done.
    let at_work = item
        .prompt
        .keys()
        .find(|node| !item.outputs.contains(node) && *node != first(item))
        .map_or_else(|| first(item), String::as_str);
    let executed = if at_work == first(item) { vec![] } else { vec![first(item)] };
    let (mut outputs, mut meta) = (Map::new(), Map::new());
    match outcome {
        Outcome::Success => {
            for node in &item.outputs {
                let image = json!({
                    "filename": format!("ComfyUI_{:05}_.png", item.number.abs() + 1.0),
                    "subfolder": "",
                    "type": if class(node) == "PreviewImage" { "temp" } else { "output" },
                });
                outputs.insert(node.clone(), json!({"images": [image]}));
                let about = json!({
                    "node_id": node, "display_node": node, "parent_node": null, "real_node_id": node,
                });
                meta.insert(node.clone(), about);
            }
            messages.push(json!(["execution_success", {"prompt_id": id, "timestamp": millis()}]));
        }
        Outcome::Interrupted => messages.push(json!(["execution_interrupted", {
            "prompt_id": id, "node_id": at_work, "node_type": class(at_work),
            "executed": executed, "timestamp": millis(),
        }])),
        Outcome::OutOfMemory => messages.push(json!(["execution_error", {
            "prompt_id": id, "node_id": at_work, "node_type": class(at_work),
            "executed": executed, "exception_message": "Allocation on device ",
            "exception_type": "torch.OutOfMemoryError", "traceback": [], "current_inputs": {},
            "current_outputs": [], "timestamp": millis(),
        }])),
    }
    let success = matches!(outcome, Outcome::Success);
    json!({
        "prompt": item.shown(),
        "outputs": outputs,
        "status": {
            "status_str": if success { "success" } else { "error" },
            "completed": success,
            "messages": messages,
        },
        "meta": meta,
    })
}

fn first(item: &Item) -> &str {
    item.prompt.keys().next().map_or("", String::as_str)
}
