//! Finds the stacks that appear beside those which a daemon keeps already.
//!
//! It looks only where those were found. One that disappears is its follower's to tell: it is kept as
//! it was last read, and what stands there in its place for a moment is not meant.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::debounce::Debounce;
use super::folders::FolderWatch;
use super::{LONGEST, QUIET, without_excerpts};
use crate::clock::{Clock, Mono};
use crate::desired::source::{Request, Source};

/// Stacks that one daemon keeps at most.
pub const MOST_STACKS: usize = 100;

/// Looks for new stacks.
pub struct Roster {
    /// A stack that was found at first: others lie beside it. `None` where one alone is meant.
    first: Option<Source>,
    clock: Arc<dyn Clock>,
    /// Stacks that are kept, their files there or not.
    known: BTreeSet<String>,
    /// Those of them that the last look didn't find.
    missing: BTreeSet<String>,
    /// When to look again because one of them has just gone; until then nothing new is taken up.
    again: Option<Mono>,
    files: Vec<PathBuf>,
    found: mpsc::Sender<Source>,
    ended: mpsc::Receiver<String>,
    /// What went wrong last: said once.
    told: String,
}

impl Roster {
    /// A roster of these stacks, which the request found, and which tells of others beside them.
    /// `ended` names those that are kept no longer. With `-p` one stack alone is meant.
    pub fn new(
        request: &Request,
        sources: &[Source],
        clock: Arc<dyn Clock>,
        found: mpsc::Sender<Source>,
        ended: mpsc::Receiver<String>,
    ) -> Self {
        let several = request.flags.project_name.is_none();
        Self {
            first: sources.first().filter(|_| several).cloned(),
            clock,
            missing: BTreeSet::new(),
            again: None,
            known: sources.iter().map(|source| source.name.clone()).collect(),
            files: sources.iter().flat_map(Source::files).collect(),
            found,
            ended,
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
            let next = debounce.due().into_iter().chain(self.again).min();
            let pause = next.map_or(folders.pause(), |due| due.since(now));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(name) = self.ended.recv() => {
                    self.known.remove(&name);
                    debounce.note(self.clock.now().mono);
                }
                Some(()) = changes.recv() => debounce.note(self.clock.now().mono),
                () = tokio::time::sleep(pause) => {
                    if debounce.due().is_none() && folders.poll() {
                        debounce.note(self.clock.now().mono);
                    }
                }
            }
            let now = self.clock.now().mono;
            let again = self.again.take_if(|at| *at <= now).is_some();
            if debounce.take(now) || again {
                // Takes up folders that were made anew.
                folders.watch(&self.files);
                self.look().await;
            }
        }
    }

    async fn look(&mut self) {
        let Some(first) = self.first.clone() else { return };
        let Ok(beside) = tokio::task::spawn_blocking(move || first.beside()).await else { return };
        let problem = match beside {
            Ok(sources) if self.settled(&sources) => self.welcome(sources).await,
            Ok(_) => return,
            Err(mut error) => {
                without_excerpts(&mut error.list);
                error.to_string()
            }
        };
        if !problem.is_empty() && problem != self.told {
            tracing::error!("can't take up new stacks: {problem}");
        }
        self.told = problem;
    }

    /// Whether no known stack has gone just now.
    fn settled(&mut self, sources: &[Source]) -> bool {
        let here: BTreeSet<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        let missing = self.known.iter().filter(|name| !here.contains(name.as_str()));
        let missing: BTreeSet<String> = missing.cloned().collect();
        if missing.is_empty() {
            self.again = None;
        } else if !missing.is_subset(&self.missing) {
            self.again = Some(self.clock.now().mono.after(LONGEST));
        }
        self.missing = missing;
        self.again.is_none()
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
