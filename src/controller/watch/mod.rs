//! Follows a stack's files: every edit that has an effect becomes a new goal.
//!
//! # Guarantees
//! - The goal is the last good one. A bad edit leaves it as it is and is told with its place.
//! - Files that are gone change nothing but the status.
//! - The generation grows only when the goal differs.

mod debounce;
mod folders;
mod roster;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::debounce::Debounce;
use self::folders::FolderWatch;
pub use self::roster::{MOST_STACKS, Roster};
use super::publish::SourceView;
use super::worker::Goal;
use crate::api::diagnostic::Diagnostic;
use crate::clock::{Clock, Mono, Timestamp};
use crate::desired::source::Source;
use crate::desired::{Diagnostics, LoadedStack};

/// Quiet after which a burst of changes is over.
const QUIET: Duration = Duration::from_millis(200);
/// Longest time that a burst puts a load off.
const LONGEST: Duration = Duration::from_secs(2);
/// Pause before a failed load is tried once more: the file may be half written.
const SECOND_TRY: Duration = Duration::from_millis(500);

/// How the files stand.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourceStatus {
    /// Generation of the goal; 0 before the first good load.
    pub generation: u64,
    /// Fingerprint of the goal.
    pub fingerprint: Option<String>,
    /// What is wrong with the files as they are now; the goal is an earlier state of them.
    pub error: Option<Diagnostics>,
    /// The files are gone; the goal stays.
    pub source_gone: bool,
    /// What a person should know about the goal's files.
    pub warnings: Vec<Diagnostic>,
    /// When the files were last loaded without an error.
    pub loaded_at: Option<Timestamp>,
}

impl From<&SourceStatus> for SourceView {
    fn from(status: &SourceStatus) -> Self {
        Self {
            error: status.error.as_ref().map(ToString::to_string).unwrap_or_default(),
            gone: status.source_gone,
            fingerprint: status.fingerprint.clone().unwrap_or_default(),
            ..Self::default()
        }
    }
}

/// What a follower tells.
#[derive(Debug, Clone)]
pub struct Following {
    /// The last good goal; `None` before the first.
    pub goal: watch::Receiver<Option<Goal>>,
    /// How the files stand.
    pub status: watch::Receiver<SourceStatus>,
    /// Requests to load now, answered once that is done.
    pub requests: mpsc::Sender<oneshot::Sender<()>>,
}

impl Following {
    /// Loads now, whatever the watch knows yet; ends when goal and status say what came of it.
    pub async fn refresh(&self) {
        let (done, answer) = oneshot::channel();
        if self.requests.send(done).await.is_ok() {
            let _ = answer.await;
        }
    }
}

/// Turns a source's files into goals.
pub struct Follower {
    source: Arc<Source>,
    clock: Arc<dyn Clock>,
    generation: u64,
    fingerprint: Option<String>,
    /// Files of the last good load.
    files: Vec<PathBuf>,
    goal: watch::Sender<Option<Goal>>,
    status: watch::Sender<SourceStatus>,
    requests: mpsc::Receiver<oneshot::Sender<()>>,
    poll_only: bool,
}

impl Follower {
    /// A follower that isn't running yet. `known` is the generation and fingerprint of the last
    /// run, so that a restart alone begins no new generation.
    pub fn new(
        source: Source,
        clock: Arc<dyn Clock>,
        known: Option<(u64, String)>,
    ) -> (Self, Following) {
        let (goal, goals) = watch::channel(None);
        let (status, statuses) = watch::channel(SourceStatus::default());
        let (request, requests) = mpsc::channel(16);
        let (generation, fingerprint) = known.unzip();
        let follower = Self {
            source: Arc::new(source),
            clock,
            generation: generation.unwrap_or(0),
            fingerprint,
            files: Vec::new(),
            goal,
            status,
            requests,
            poll_only: false,
        };
        (follower, Following { goal: goals, status: statuses, requests: request })
    }

    /// Looks every 5 seconds instead of asking the kernel, for file systems that tell nothing.
    #[must_use]
    pub const fn poll_only(mut self) -> Self {
        self.poll_only = true;
        self
    }

    /// Loads, then follows the files until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        // `changed` stays here, so that the channel is open even if nothing watches.
        let (changed, mut changes) = mpsc::channel(1);
        let mut folders =
            if self.poll_only { FolderWatch::polling() } else { FolderWatch::new(changed.clone()) };
        folders.watch(&self.source.files());
        self.reload(&mut folders, &stop).await;
        let mut debounce = Debounce::new(QUIET, LONGEST);
        loop {
            let now = self.clock.now().mono;
            let until = |due: Mono| due.since(now);
            let pause = debounce.due().map_or(folders.pause(), until);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(done) = self.requests.recv() => {
                    let mut waiting = vec![done];
                    while let Ok(more) = self.requests.try_recv() {
                        waiting.push(more);
                    }
                    self.reload(&mut folders, &stop).await;
                    for done in waiting {
                        let _ = done.send(());
                    }
                }
                Some(()) = changes.recv() => {
                    folders.poll();
                    debounce.note(self.clock.now().mono);
                }
                () = tokio::time::sleep(pause) => {
                    // At the end of the quiet time too: where the kernel doesn't tell, a file that
                    // is still being written is only found so.
                    if folders.poll() {
                        debounce.note(self.clock.now().mono);
                    }
                }
            }
            if debounce.take(self.clock.now().mono) {
                self.reload(&mut folders, &stop).await;
            }
        }
    }

    async fn reload(&mut self, folders: &mut FolderWatch, stop: &CancellationToken) {
        let mut result = self.load(folders).await;
        if result.is_err() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SECOND_TRY) => {}
            }
            result = self.load(folders).await;
        }
        match result {
            Ok(mut loaded) => {
                without_excerpts(&mut loaded.warnings);
                self.accept(loaded);
            }
            Err(mut error) => {
                without_excerpts(&mut error.list);
                self.refuse(error);
            }
        }
    }

    /// Loads once. Watches what the load turned out to read; when that is more than was watched
    /// while it read, it loads again, as an edit in between went unseen.
    async fn load(&mut self, folders: &mut FolderWatch) -> Result<LoadedStack, Diagnostics> {
        loop {
            let before = self.watched();
            folders.watch(&before);
            let (source, next) = (Arc::clone(&self.source), self.generation + 1);
            let result = tokio::task::spawn_blocking(move || source.load(next))
                .await
                .unwrap_or_else(|e| Err(Diagnostic::file(&PathBuf::new(), e.to_string()).into()));
            let read = match &result {
                Ok(loaded) => &loaded.files_read,
                Err(error) => &error.files,
            };
            if read.iter().all(|file| before.contains(file)) {
                return result;
            }
            self.files.extend(read.iter().cloned());
            self.files.sort();
            self.files.dedup();
        }
    }

    fn watched(&self) -> Vec<PathBuf> {
        let mut files = self.source.files();
        files.extend(self.files.iter().cloned());
        files.sort();
        files.dedup();
        files
    }

    fn accept(&mut self, mut loaded: LoadedStack) {
        let same = self.fingerprint.as_ref() == Some(&loaded.fingerprint);
        if same {
            Arc::make_mut(&mut loaded.goal.desired).generation = self.generation;
        } else {
            self.generation += 1;
        }
        self.files = loaded.files_read;
        self.fingerprint = Some(loaded.fingerprint.clone());
        let had_error = self.status.borrow().error.is_some();
        if !same || had_error || self.goal.borrow().is_none() {
            tracing::info!(source = %self.source.name, generation = self.generation, "loaded");
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
        }
        // The goal first: who sees the new status finds the new goal.
        self.goal.send_if_modified(|goal| {
            // What is written differently and means the same is no edit, but is what was read.
            let read = &loaded.goal.desired.files;
            let replace = !same || goal.as_ref().is_none_or(|goal| goal.desired.files != *read);
            if replace {
                *goal = Some(loaded.goal);
            }
            replace
        });
        let loaded_at = Some(self.clock.now().wall);
        self.status.send_replace(SourceStatus {
            generation: self.generation,
            fingerprint: Some(loaded.fingerprint),
            error: None,
            source_gone: false,
            warnings: loaded.warnings,
            loaded_at,
        });
    }

    fn refuse(&self, error: Diagnostics) {
        let changed = self.status.borrow().error.as_ref() != Some(&error);
        if changed {
            tracing::error!("{error}");
        }
        self.status.send_modify(|status| {
            status.source_gone = error.source_gone;
            status.error = Some(error);
        });
    }
}

/// The place is enough: a line of the files may hold a secret, and what the follower tells goes to
/// logs and to the API.
fn without_excerpts(findings: &mut [Diagnostic]) {
    for finding in findings {
        finding.excerpt = None;
    }
}
