//! `logs -f`: goes on over restarts and replacements, until Ctrl-C.
//!
//! The engine's own stream ends with a container's run. What comes after is asked for from right
//! after the last message that was shown, by the engine's own time of it: nothing is shown twice
//! and nothing is missed.

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
/// Bytes within which a message's time ends.
const STAMP: usize = 64;

/// Follows the logs of services.
pub(super) struct Follow<'a> {
    engine: &'a DynEngine,
    clock: &'a dyn Clock,
    project: &'a Project,
    services: &'a [String],
    /// As the person asked, for what is there at the beginning.
    wanted: LogOptions,
    /// The person wants to see the times.
    timestamps: bool,
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
    /// Where to go on while it has printed nothing.
    since: Option<String>,
    stamps: Stamps,
}

/// Takes the times off what a container prints, and remembers the last one.
#[derive(Default)]
struct Stamps {
    last: Option<String>,
    /// The beginning of a message whose time isn't complete, of either stream.
    open: [Option<Vec<u8>>; 2],
}

impl Stamps {
    /// What is to be shown of a chunk; `None` if nothing is yet.
    fn take(&mut self, mut chunk: LogChunk, shown: bool) -> Option<LogChunk> {
        let open = &mut self.open[usize::from(chunk.stderr)];
        if chunk.begins {
            *open = Some(Vec::new());
        }
        let Some(head) = open else { return Some(chunk) };
        head.append(&mut chunk.bytes);
        let space = head.iter().position(|byte| *byte == b' ');
        if space.is_none() && head.len() < STAMP {
            return None;
        }
        chunk.bytes = open.take()?;
        let time = std::str::from_utf8(&chunk.bytes[..space.unwrap_or_default()]).ok();
        let time = time.filter(|time| time.parse::<jiff::Timestamp>().is_ok());
        // No time: shown as it is.
        let Some(time) = time.map(str::to_owned) else { return Some(chunk) };
        if !shown {
            chunk.bytes.drain(..=time.len());
        }
        self.last = Some(time);
        Some(chunk)
    }
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
        let timestamps = wanted.timestamps;
        Self {
            engine,
            clock,
            project,
            services,
            wanted: LogOptions { timestamps: true, ..wanted },
            timestamps,
            known: BTreeMap::new(),
            told: false,
            begun: false,
        }
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
                    if !self.take(&id, piece, show)? {
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
    fn take(
        &mut self,
        id: &ContainerId,
        piece: Option<Result<LogChunk, Fault>>,
        show: &mut Show<'_>,
    ) -> Result<bool, CliError> {
        let Some(known) = self.known.get_mut(id) else { return Ok(true) };
        match piece {
            Some(Ok(chunk)) => {
                let index = known.index;
                let Some(chunk) = known.stamps.take(chunk, self.timestamps) else {
                    return Ok(true);
                };
                return show.take(index, chunk);
            }
            Some(Err(fault)) => self.tell(&fault),
            None => {
                known.open = false;
                show.end(known.index)?;
            }
        }
        Ok(true)
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
                    let since = known.stamps.last.as_deref().and_then(after);
                    let since = since.or_else(|| known.since.clone());
                    LogOptions { tail: None, since, ..self.wanted.clone() }
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
            let since = match self.wanted.tail {
                // Lines that weren't wanted at the beginning aren't wanted later.
                Some(_) => Some(self.clock.now().wall.rfc3339()),
                None => self.wanted.since.clone(),
            };
            let known = self.known.entry(id).or_insert_with(|| Known {
                index: show.line(&slot),
                run: None,
                open: true,
                since,
                stamps: Stamps::default(),
            });
            (known.run, known.open) = (now.started, true);
            known.stamps.open = Default::default();
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
    fn times_are_taken_off_however_the_messages_are_cut() {
        let time = "2026-12-01T02:05:51.123456789Z";
        let whole = format!("{time} one two\n").into_bytes();
        for size in 1..=whole.len() {
            for shown in [false, true] {
                let (mut stamps, mut seen) = (Stamps::default(), Vec::new());
                for (at, bytes) in whole.chunks(size).enumerate() {
                    let bytes = bytes.to_vec();
                    let chunk = LogChunk { stderr: false, begins: at == 0, bytes };
                    seen.extend(stamps.take(chunk, shown).map(|chunk| chunk.bytes));
                }
                let wanted = if shown { &whole[..] } else { b"one two\n" };
                assert_eq!(seen.concat(), wanted, "{size}");
                assert_eq!(stamps.last.as_deref(), Some(time));
            }
        }
    }

    #[test]
    fn it_goes_on_right_after_the_last_line() {
        let at = |stamp| after(stamp).expect("a time");
        assert_eq!(at("2026-12-01T02:05:51.123456789Z"), "1796090751.123456790");
        assert_eq!(at("1970-01-01T00:00:00.999999999Z"), "1.000000000");
        assert_eq!(after("Listening"), None);
    }
}
