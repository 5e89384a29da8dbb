//! `logs`: what the containers of services print, interleaved as it comes.

mod follow;

use std::io::{self, IsTerminal, Write};

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::args::{LogsArgs, Tail};
use super::error::{CliError, Exit, printable};
use super::goal;
use super::output::coloured;
use super::resolved::Resolved;
use crate::api::quantity::Duration;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::compose::Project;
use crate::compose::translate::container_name;
use crate::desired::scope::known;
use crate::engine::{ContainerId, DynEngine, Fault, LogChunk, LogOptions, Tier};
use crate::observed::{Slot, normalise};

use follow::Follow;

/// A line that has no end yet is shown in pieces of this many bytes.
const LINE: usize = 64 * 1024;
/// Colours of prefixes, in turn: cyan, yellow, green, magenta, blue.
const COLOURS: [&str; 5] = ["36", "33", "32", "35", "34"];

/// Runs the verb.
///
/// # Errors
/// An unknown service, or an engine that fails.
pub async fn run(options: &Resolved, args: &LogsArgs) -> Result<Exit, CliError> {
    let goal = goal::load(options, &[])?.goal;
    let project = &goal.desired.project;
    for service in &args.services {
        known(project, service)?;
    }
    let clock = SystemClock::new();
    let wanted = LogOptions {
        follow: args.follow,
        tail: match args.tail {
            Some(Tail::Lines(lines)) => Some(lines),
            Some(Tail::All) | None => None,
        },
        since: args.since.as_deref().map(|text| since(text, clock.now().wall)).transpose()?,
        timestamps: args.timestamps,
    };
    let engine = options.engine(Tier::Observe)?;
    let mut show = Show::new(project, &args.services, args.no_log_prefix);
    if args.follow {
        return Follow::new(&engine, &clock, project, &args.services, wanted).run(&mut show).await;
    }
    let containers = found(&engine, project, &args.services).await?;
    if containers.is_empty() {
        return Err(CliError::Failed(nothing(project, &args.services)));
    }
    let mut streams: stream::SelectAll<BoxStream<'_, Piece>> = stream::SelectAll::new();
    for (slot, id) in containers {
        let index = show.line(&slot);
        let log = engine.logs(&id, &wanted).await?;
        streams.push(log.map(move |piece| (index, piece)).boxed());
    }
    while let Some((index, piece)) = streams.next().await {
        if !show.take(index, piece?)? {
            return Ok(Exit::Well);
        }
    }
    show.rest()?;
    Ok(Exit::Well)
}

type Piece = (usize, Result<LogChunk, Fault>);

/// The containers of these services, by slot; of one that is being replaced there are two.
async fn found(
    engine: &DynEngine,
    project: &Project,
    services: &[String],
) -> Result<Vec<(Slot, ContainerId)>, Fault> {
    let all = engine.containers().await?.into_iter();
    let mut found: Vec<(Slot, ContainerId)> = all
        .filter_map(|row| Some((normalise::from_summary(&row).slot()?, row.id)))
        .filter(|(slot, _)| slot.project == project.name && services.contains(&slot.service))
        .collect();
    found.sort();
    Ok(found)
}

fn nothing(project: &Project, services: &[String]) -> String {
    let names = services.join(", ");
    format!("{names}: no container in project `{}`; `homeostat apply` makes it", project.name)
}

/// Shows whole lines of each container and stream, so that they don't mix.
struct Show<'p> {
    project: &'p Project,
    /// Characters of the longest name; `None` where one container needs no prefix.
    width: Option<usize>,
    lines: Vec<Line>,
}

/// What one container printed and hasn't ended with a line end, on either stream.
#[derive(Default)]
struct Line {
    prefix: String,
    open: [Vec<u8>; 2],
}

impl<'p> Show<'p> {
    fn new(project: &'p Project, services: &[String], no_prefix: bool) -> Self {
        let wanted = services.iter().filter_map(|name| project.services.get(name));
        let names: Vec<String> = wanted
            .flat_map(|s| (1..=s.scale).map(|number| container_name(project, s, number)))
            .collect();
        let width = names.iter().map(|name| name.chars().count()).max();
        let width = width.filter(|_| names.len() > 1 && !no_prefix);
        Self { project, width, lines: Vec::new() }
    }

    /// A container's number.
    fn line(&mut self, slot: &Slot) -> usize {
        let index = self.lines.len();
        let name =
            self.project.services.get(&slot.service).map_or_else(String::new, |service| {
                container_name(self.project, service, slot.number)
            });
        let prefix = self.width.map_or_else(String::new, |width| prefix(&name, width, index));
        self.lines.push(Line { prefix, ..Line::default() });
        index
    }

    /// False when the reader has left.
    fn take(&mut self, index: usize, chunk: LogChunk) -> Result<bool, CliError> {
        let Some(Line { prefix, open }) = self.lines.get_mut(index) else { return Ok(true) };
        let open = &mut open[usize::from(chunk.stderr)];
        open.extend_from_slice(&chunk.bytes);
        let end = match open.iter().rposition(|b| *b == b'\n') {
            Some(end) => end + 1,
            None if open.len() > LINE => open.len(),
            None => return Ok(true),
        };
        let whole: Vec<u8> = open.drain(..end).collect();
        write(prefix, &whole, chunk.stderr)
    }

    /// What ended without a line end.
    fn rest(&mut self) -> Result<(), CliError> {
        (0..self.lines.len()).try_for_each(|index| self.end(index))
    }

    /// The same of one container.
    fn end(&mut self, index: usize) -> Result<(), CliError> {
        let Some(Line { prefix, open }) = self.lines.get_mut(index) else { return Ok(()) };
        for (stderr, open) in [false, true].into_iter().zip(open) {
            if !open.is_empty() {
                open.push(b'\n');
                write(prefix, &std::mem::take(open), stderr)?;
            }
        }
        Ok(())
    }
}

fn prefix(name: &str, width: usize, index: usize) -> String {
    let text = format!("{name:<width$} | ");
    if coloured(&io::stdout()) {
        format!("\x1b[{}m{text}\x1b[0m", COLOURS[index % COLOURS.len()])
    } else {
        text
    }
}

/// `10m` ago, or a time as the engine takes it.
fn since(text: &str, now: Timestamp) -> Result<String, CliError> {
    if let Ok(ago) = text.parse::<Duration>() {
        let millis = i64::try_from(ago.get().as_millis()).unwrap_or(i64::MAX);
        return Ok((now.0.saturating_sub(millis) / 1000).max(0).to_string());
    }
    let unix = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if unix || Timestamp::parse(text).is_some() {
        return Ok(text.to_owned());
    }
    Err(CliError::Usage(format!(
        "--since: `{text}` is no time; use a duration (10m), RFC 3339 or Unix seconds"
    )))
}

/// The containers' own bytes; a terminal is shown what can't steer it.
fn write(prefix: &str, lines: &[u8], stderr: bool) -> Result<bool, CliError> {
    let terminal = if stderr { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
    let mut text = Vec::with_capacity(lines.len() + prefix.len());
    for line in lines.split_inclusive(|b| *b == b'\n') {
        text.extend_from_slice(prefix.as_bytes());
        if terminal {
            text.extend_from_slice(harmless(&String::from_utf8_lossy(line)).as_bytes());
        } else {
            text.extend_from_slice(line);
        }
    }
    let written = if stderr {
        io::stderr().lock().write_all(&text)
    } else {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&text).and_then(|()| stdout.flush())
    };
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::Failed(format!("can't write the log: {error}"))),
    }
}

/// A line as a terminal may have it: colours stay and end with it, all else that could steer the
/// terminal is shown as code points.
fn harmless(line: &str) -> String {
    let (mut rest, end) = match line.strip_suffix('\n') {
        Some(line) => (line.strip_suffix('\r').unwrap_or(line), "\n"),
        None => (line, ""),
    };
    let (mut safe, mut coloured) = (String::with_capacity(line.len()), false);
    while let Some(at) = rest.find('\x1b') {
        safe.push_str(&printable(&rest[..at]));
        let length = colour(&rest[at..]);
        coloured |= length.is_some();
        let (escape, after) = rest[at..].split_at(length.unwrap_or(1));
        safe.push_str(&if length.is_some() { escape.to_owned() } else { printable(escape) });
        rest = after;
    }
    safe.push_str(&printable(rest));
    safe.push_str(if coloured { "\x1b[0m" } else { "" });
    safe.push_str(end);
    safe
}

/// Bytes of the colour (`ESC [ numbers m`) that a text begins with.
fn colour(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("\x1b[")?;
    let end = inner.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    inner[end..].starts_with('m').then_some("\x1b[".len() + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_its_colours_and_is_not_steered() {
        assert_eq!(harmless("a\x1b[1;31mred\r\n"), "a\x1b[1;31mred\x1b[0m\n");
        assert_eq!(harmless("\x1b]0;title\x07b\n"), "\\u{1b}]0;title\\u{7}b\n");
        assert_eq!(harmless("\x1b[2J\x1b[\u{202e}x"), "\\u{1b}[2J\\u{1b}[\\u{202e}x");
    }

    #[test]
    fn since_is_a_duration_or_a_time() {
        let now = Timestamp(1_000_000);
        assert_eq!(since("10m", now).expect("duration"), "400");
        assert_eq!(since("1700000000.5", now).expect("unix"), "1700000000.5");
        assert!(since("2026-01-01T00:00:00Z", now).is_ok());
        assert_eq!(since("yesterday", now).expect_err("no time").code(), 2);
    }
}
