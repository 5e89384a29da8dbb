//! The journal of a verb that changes something: what it did is there for the next daemon.

use std::sync::Arc;
use std::time::Duration;

use super::error::{CliError, warn};
use super::resolved::Resolved;
use crate::clock::Clock;
use crate::controller::holding;
use crate::controller::recall;
use crate::controller::recording::JournalRecorder;
use crate::controller::worker::Goal;
use crate::execute::Recorder;
use crate::metrics::Metrics;
use crate::plan::Memory;
use crate::plan::hold::{HoldChange, Holds};
use crate::store::{self, Journal, Keeper};

/// Time that the journal has to write what it was handed.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);
/// Time that it has to end after that.
const ENDED_WITHIN: Duration = Duration::from_millis(500);

/// An open journal.
pub struct Journalled {
    handle: store::Handle,
    keeper: Keeper,
    metrics: Arc<Metrics>,
    engine: String,
    project: String,
}

impl Journalled {
    /// Opens the journal of the state folder, making both when they are missing.
    ///
    /// # Errors
    /// The folder or the journal can't be used.
    pub fn open(
        options: &Resolved,
        clock: &Arc<dyn Clock>,
        engine: &str,
        project: &str,
    ) -> Result<Self, CliError> {
        let failed = |error: &dyn std::error::Error| CliError::Failed(error.to_string());
        let dir = options.state_dir()?;
        dir.load_redaction_key().map_err(|e| failed(&e))?;
        let (journal, aside) =
            Journal::open(&dir.journal(), Arc::clone(clock)).map_err(|e| failed(&e))?;
        if let Some(aside) = aside {
            let kept = aside.kept_as.display();
            warn(&format!(
                "the journal was damaged ({}) and is rebuilt; kept as {kept}",
                aside.reason
            ));
        }
        let (handle, keeper) = store::Handle::spawn(journal).map_err(|e| failed(&e))?;
        let metrics = Arc::new(Metrics::new().map_err(|e| failed(&e))?);
        Ok(Self { handle, keeper, metrics, engine: engine.into(), project: project.into() })
    }

    /// What it remembers of the project.
    pub async fn memory(&self, goal: &Goal, clock: &dyn Clock) -> Memory {
        recall::memory(&self.handle, &self.engine, goal, clock).await
    }

    /// What is held of the project.
    ///
    /// # Errors
    /// The journal can't be read.
    pub async fn holds(&self) -> Result<Holds, CliError> {
        let rows = self.handle.holds(&self.engine, &self.project).await;
        rows.map(holding::holds).map_err(|error| CliError::Failed(error.to_string()))
    }

    /// Writes down what changed of that, and for `events`.
    ///
    /// # Errors
    /// Nothing was written.
    pub async fn change_holds(&self, changes: &[HoldChange]) -> Result<(), CliError> {
        if changes.is_empty() {
            return Ok(());
        }
        let writes = changes.iter().map(holding::write).collect();
        let events = holding::events(changes, &self.engine, &self.project);
        let written = self.handle.change_holds(&self.engine, &self.project, writes, events).await;
        written.map_err(|error| CliError::Failed(error.to_string()))
    }

    /// Writes steps down.
    pub fn recorder(&self) -> Arc<dyn Recorder> {
        let (journal, metrics) = (self.handle.clone(), Arc::clone(&self.metrics));
        Arc::new(JournalRecorder::new(journal, metrics, &self.engine, &self.project))
    }

    /// Forgets the project: it was taken down.
    pub async fn forget(&self) {
        if let Err(error) = self.handle.forget_project(&self.engine, &self.project).await {
            warn(&format!("the journal still remembers {}: {error}", self.project));
        }
    }

    /// Waits until everything is written that was handed over. Recorders should be gone: one that
    /// a call without an answer still has isn't waited for.
    pub async fn close(self) {
        let Self { handle, keeper, engine, project, .. } = self;
        // It answers in order.
        let written = handle.holds(&engine, &project);
        let _ = tokio::time::timeout(WRITTEN_WITHIN, written).await;
        drop(handle);
        let closed = tokio::task::spawn_blocking(move || keeper.join());
        let _ = tokio::time::timeout(ENDED_WITHIN, closed).await;
    }
}
