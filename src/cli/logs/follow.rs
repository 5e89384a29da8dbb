//! `logs -f`: goes on over restarts and replacements, until Ctrl-C.
//!
//! The engine's own stream ends with a container's run. What comes after is asked for from the
//! moment of the last line on, so that nothing is shown twice and nothing is missed.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::{Show, found, nothing};
use crate::cli::error::{CliError, Exit, warn};
use crate::clock::{Clock, Timestamp};
use crate::compose::Project;
use crate::engine::{ContainerId, DynEngine, Fault, LogChunk, LogOptions};
use crate::observed::{Container, ContainerState};

/// How often new containers and new runs are looked for.
const LOOK: Duration = Duration::from_millis(300);
/// Most bytes of a last line that are read for its time.
const STAMP: usize = 64;

/// Follows the logs of services.
pub(super) struct Follow<'a> {
    engine: &'a DynEngine,
    clock: &'a dyn Clock,
    project: &'a Project,
    services: &'a [String],
    /// As the person asked, for what is there at the beginning.
    wanted: LogOptions,
    known: BTreeMap<ContainerId, Known>,
    /// What is wrong was said, and nothing since.
    told: bool,
    begun: bool,
}

/// A container whose log was opened.
struct Known {
    /// Its number in what is shown.
    index: usize,
    /// The run that was, or is, followed; `None` before the first one.
    run: Option<Timestamp>,
    /// Its stream is open.
    open: bool,
    /// Where to go on.
    since: Option<String>,
}

/// A piece of a container's log; `None` at its end.
type Piece = (ContainerId, Option<Result<LogChunk, Fault>>);
type Streams = stream::SelectAll<BoxStream<'static, Piece>>;

impl<'a> Follow<'a> {
    pub(super) fn new(
        engine: &'a DynEngine,
        clock: &'a dyn Clock,
        project: &'a Project,
        services: &'a [String],
        wanted: LogOptions,
    ) -> Self {
        let known = BTreeMap::new();
        Self { engine, clock, project, services, wanted, known, told: false, begun: false }
    }

    /// Ends when the reader leaves.
    pub(super) async fn run(mut self, show: &mut Show<'_>) -> Result<Exit, CliError> {
        let mut streams: Streams = stream::SelectAll::new();
        // The first look fails as every verb does.
        self.look(&mut streams, show).await?;
        if self.known.is_empty() {
            warn(&format!("{}; waiting for it", nothing(self.project, self.services)));
        }
        self.begun = true;
        loop {
            tokio::select! {
                Some((id, piece)) = streams.next() => {
                    if !self.take(&id, piece, show).await? {
                        return Ok(Exit::Well);
                    }
                }
                () = tokio::time::sleep(LOOK) => match self.look(&mut streams, show).await {
                    Ok(()) => self.told = false,
                    Err(fault) => self.tell(&fault),
                }
            }
        }
    }

    fn tell(&mut self, fault: &Fault) {
        if !std::mem::replace(&mut self.told, true) {
            warn(&format!("{fault}; it goes on when the engine answers"));
        }
    }

    /// False when the reader has left.
    async fn take(
        &mut self,
        id: &ContainerId,
        piece: Option<Result<LogChunk, Fault>>,
        show: &mut Show<'_>,
    ) -> Result<bool, CliError> {
        let Some(index) = self.known.get(id).map(|known| known.index) else { return Ok(true) };
        match piece {
            Some(Ok(chunk)) => return show.take(index, chunk),
            Some(Err(fault)) => self.tell(&fault),
            None => {
                show.end(index)?;
                let since = self.resumes_at(id).await;
                if let Some(known) = self.known.get_mut(id) {
                    known.open = false;
                    known.since = Some(since);
                }
            }
        }
        Ok(true)
    }

    /// From when on nothing of a log was shown whose stream has ended.
    async fn resumes_at(&self, id: &ContainerId) -> String {
        let last = self.last_line(id).await;
        let now = self.engine.inspect(id).await.ok();
        let run = self.known.get(id).and_then(|known| known.run);
        // The last line may be one of the next run already.
        let next = now.as_ref().filter(|now| is_running(now) && now.started != run);
        let at = match next {
            Some(next) => next.finished.map(Timestamp::rfc3339),
            None => last,
        };
        at.unwrap_or_else(|| self.clock.now().wall.rfc3339())
    }

    /// The moment after the last line of a log.
    async fn last_line(&self, id: &ContainerId) -> Option<String> {
        let options = LogOptions { tail: Some(1), timestamps: true, ..LogOptions::default() };
        let mut log = self.engine.logs(id, &options).await.ok()?;
        let mut text = Vec::new();
        while let Some(Ok(chunk)) = log.next().await {
            text.extend(chunk.bytes.into_iter().take(STAMP - text.len().min(STAMP)));
        }
        let text = String::from_utf8_lossy(&text);
        after(text.split_whitespace().next()?)
    }

    /// Opens the logs of new containers, and of those that run again.
    async fn look(&mut self, streams: &mut Streams, show: &mut Show<'_>) -> Result<(), Fault> {
        let all = found(self.engine, self.project, self.services).await?;
        self.known.retain(|id, known| known.open || all.iter().any(|(_, other)| other == id));
        for (slot, id) in all {
            if self.known.get(&id).is_some_and(|known| known.open) {
                continue;
            }
            let now = match self.engine.inspect(&id).await {
                Ok(now) => now,
                Err(Fault::NotFound { .. }) => continue,
                Err(fault) => return Err(fault),
            };
            let options = match self.known.get(&id) {
                // What runs and has no stream runs anew, or somebody cut the connection.
                Some(known) if !is_running(&now) && known.run == now.started => continue,
                Some(known) => {
                    LogOptions { tail: None, since: known.since.clone(), ..self.wanted.clone() }
                }
                // What is made while we look is shown from its beginning.
                None if self.begun => LogOptions { tail: None, since: None, ..self.wanted.clone() },
                None => self.wanted.clone(),
            };
            let log = match self.engine.logs(&id, &options).await {
                Ok(log) => log,
                Err(fault) if self.begun => {
                    self.tell(&fault);
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            let (piece, end) = (id.clone(), id.clone());
            let log = log.map(move |chunk| (piece.clone(), Some(chunk)));
            streams.push(log.chain(stream::once(async move { (end, None) })).boxed());
            let index = self.known.get(&id).map(|known| known.index);
            let index = index.unwrap_or_else(|| show.line(&slot));
            let known = Known { index, run: now.started, open: true, since: None };
            self.known.insert(id, known);
        }
        Ok(())
    }
}

const fn is_running(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running | ContainerState::Paused)
}

/// The next nanosecond, as the engine takes it.
fn after(stamp: &str) -> Option<String> {
    let time: jiff::Timestamp = stamp.parse().ok()?;
    let next = time.checked_add(jiff::SignedDuration::from_nanos(1)).ok()?;
    Some(format!("{}.{:09}", next.as_second(), next.subsec_nanosecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_right_after_the_last_line() {
        let at = |stamp| after(stamp).expect("a time");
        assert_eq!(at("2026-12-01T02:05:51.123456789Z"), "1796090751.123456790");
        assert_eq!(at("1970-01-01T00:00:00.999999999Z"), "1.000000000");
        assert_eq!(after("Listening"), None);
    }
}
