//! Finds the stacks that appear beside those which a daemon keeps already.
//!
//! One that disappears is its follower's to tell: it is kept as it was last read.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::debounce::Debounce;
use super::folders::FolderWatch;
use super::{LONGEST, QUIET};
use crate::clock::Clock;
use crate::desired::source::{Request, Source, find};

/// Stacks that one daemon keeps at most.
pub const MOST_STACKS: usize = 100;

/// Looks for new stacks.
pub struct Roster {
    request: Request,
    clock: Arc<dyn Clock>,
    known: BTreeSet<String>,
    files: Vec<PathBuf>,
    found: mpsc::Sender<Source>,
    /// What went wrong last: said once.
    told: String,
}

impl Roster {
    /// A roster of these stacks, which tells of the others that the request finds later.
    pub fn new(
        request: Request,
        sources: &[Source],
        clock: Arc<dyn Clock>,
        found: mpsc::Sender<Source>,
    ) -> Self {
        Self {
            request,
            clock,
            known: sources.iter().map(|source| source.name.clone()).collect(),
            files: sources.iter().flat_map(Source::files).collect(),
            found,
            told: String::new(),
        }
    }

    /// Looks at every change of the folders until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let (changed, mut changes) = mpsc::channel(1);
        let mut folders = FolderWatch::new(changed.clone());
        folders.watch(&self.files);
        // One may have come since the daemon looked first.
        self.look().await;
        let mut debounce = Debounce::new(QUIET, LONGEST);
        loop {
            let now = self.clock.now().mono;
            let pause = debounce.due().map_or(folders.pause(), |due| due.since(now));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(()) = changes.recv() => debounce.note(self.clock.now().mono),
                () = tokio::time::sleep(pause) => {
                    if debounce.due().is_none() && folders.poll() {
                        debounce.note(self.clock.now().mono);
                    }
                }
            }
            if debounce.take(self.clock.now().mono) {
                // Takes up folders that were made anew.
                folders.watch(&self.files);
                self.look().await;
            }
        }
    }

    async fn look(&mut self) {
        let request = self.request.clone();
        let Ok(found) = tokio::task::spawn_blocking(move || find(&request)).await else { return };
        let problem = match found {
            Ok(found) => self.welcome(found.sources).await,
            Err(error) => error.to_string(),
        };
        if !problem.is_empty() && problem != self.told {
            tracing::error!("can't take up new stacks: {problem}");
        }
        self.told = problem;
    }

    /// Tells of stacks that aren't known yet. Returns why some aren't kept; empty when all are.
    async fn welcome(&mut self, sources: Vec<Source>) -> String {
        let mut refused = Vec::new();
        for source in sources {
            if self.known.contains(&source.name) {
                continue;
            }
            if self.known.len() >= MOST_STACKS {
                refused.push(source.name);
                continue;
            }
            self.known.insert(source.name.clone());
            tracing::info!(stack = %source.name, "a new stack");
            if self.found.send(source).await.is_err() {
                break;
            }
        }
        if refused.is_empty() {
            return String::new();
        }
        format!(
            "one daemon keeps at most {MOST_STACKS} stacks, and these would be more: {}; give them a folder and a daemon of their own",
            refused.join(", ")
        )
    }
}
