//! Progress as `docker compose up` shows it: on a terminal one line a resource that changes in
//! place, otherwise one plain line a change.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::error::printable;
use super::output;
use crate::clock::{Clock, Mono};

/// Longest message behind a line, in characters.
const MESSAGE: usize = 300;

/// How far a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It is being worked on, or waited for.
    Working,
    /// Done.
    Done,
    /// Failed.
    Failed,
}

/// Shows what happens.
pub struct Board {
    clock: Arc<dyn Clock>,
    lines: BTreeMap<String, Line>,
    live: Option<MultiProgress>,
    colour: bool,
}

struct Line {
    begun: Mono,
    word: String,
    bar: Option<ProgressBar>,
}

impl Board {
    /// A board on standard error.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let stderr = io::stderr();
        let live = stderr
            .is_terminal()
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        Self { clock, lines: BTreeMap::new(), live, colour: output::coloured(&stderr) }
    }

    /// Shows that `label` (`Container p-web-1`) is at `word` (`Creating`). A word that it is at
    /// already changes nothing but the message.
    pub fn show(&mut self, label: &str, mark: Mark, word: &str, message: &str) {
        let now = self.clock.now().mono;
        let message = cut(message);
        let begins =
            self.lines.get(label).is_none_or(|line| mark == Mark::Working && line.is_over());
        if begins {
            let bar = self.lines.remove(label).and_then(|line| line.bar);
            let bar = bar.or_else(|| self.live.as_ref().map(|live| live.add(spinner())));
            let line = Line { begun: now, word: String::new(), bar };
            self.lines.insert(label.to_owned(), line);
        }
        let Some(line) = self.lines.get_mut(label) else { return };
        let same = line.word == word;
        line.word = word.to_owned();
        let took = now.since(line.begun);
        let label = printable(label);
        match &line.bar {
            Some(bar) => draw(bar, mark, &text(mark, &label, word, &message, took), self.colour),
            None if same => {}
            None => {
                let line = text(mark, &label, word, &message, took);
                // Nobody to show it to is no reason to stop.
                let _ = writeln!(io::stderr().lock(), " {line}");
            }
        }
    }

    /// Says something that isn't about one resource.
    pub fn say(&self, text: &str) {
        let text = printable(text);
        // Nobody to say it to is no reason to stop.
        let _ = match &self.live {
            Some(live) => live.println(text),
            None => writeln!(io::stderr().lock(), "{text}"),
        };
    }

    /// Leaves the lines as they are.
    pub fn close(self) {
        for line in self.lines.into_values() {
            if let Some(bar) = line.bar
                && !bar.is_finished()
            {
                bar.abandon();
            }
        }
    }
}

impl Line {
    fn is_over(&self) -> bool {
        !self.word.ends_with("ing")
    }
}

fn text(mark: Mark, label: &str, word: &str, message: &str, took: Duration) -> String {
    let mut text = format!("{label}  {word}");
    if mark != Mark::Working {
        text.push_str(&format!("  {:.1}s", took.as_secs_f64()));
    }
    if !message.is_empty() {
        text.push_str("  ");
        text.push_str(message);
    }
    text
}

fn draw(bar: &ProgressBar, mark: Mark, text: &str, colour: bool) {
    let (sign, code) = match mark {
        Mark::Working => {
            bar.set_style(ProgressStyle::default_spinner());
            bar.set_message(text.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            return;
        }
        Mark::Done => ("✔", "32"),
        Mark::Failed => ("✘", "31"),
    };
    let sign = if colour { format!("\x1b[{code}m{sign}\x1b[0m") } else { sign.to_owned() };
    bar.disable_steady_tick();
    if let Ok(style) = ProgressStyle::with_template(" {prefix} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(sign);
    bar.set_message(text.to_owned());
    bar.tick();
}

fn spinner() -> ProgressBar {
    ProgressBar::new_spinner()
}

/// One line of bounded length.
fn cut(message: &str) -> String {
    let mut short: String =
        message.chars().take(MESSAGE).map(|c| if c == '\n' { ' ' } else { c }).collect();
    if short.len() < message.len() {
        short.push('…');
    }
    printable(&short)
}

/// The two words for an action: while it goes on, and once it is done.
pub fn words(action: &str) -> (&'static str, &'static str) {
    match action.split_once('_').map_or(action, |(verb, _)| verb) {
        "create" => ("Creating", "Created"),
        "remove" => ("Removing", "Removed"),
        "connect" => ("Connecting", "Connected"),
        "disconnect" => ("Disconnecting", "Disconnected"),
        "pull" => ("Pulling", "Pulled"),
        "start" => ("Starting", "Started"),
        "stop" => ("Stopping", "Stopped"),
        "unpause" => ("Unpausing", "Unpaused"),
        "restart" => ("Restarting", "Restarted"),
        "rename" => ("Renaming", "Renamed"),
        _ => ("Working", "Done"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Op;

    #[test]
    fn every_action_has_its_words() {
        for action in Op::ACTIONS {
            assert_ne!(words(action), words("something else"), "{action}");
        }
    }

    #[test]
    fn a_line_has_its_time_once_it_is_over() {
        let took = Duration::from_millis(1449);
        let label = "Container p-web-1";
        assert_eq!(text(Mark::Working, label, "Creating", "", took), "Container p-web-1  Creating");
        assert_eq!(
            text(Mark::Failed, label, "Error", "no such image", took),
            "Container p-web-1  Error  1.4s  no such image"
        );
    }

    #[test]
    fn a_message_stays_on_its_line() {
        assert_eq!(cut("a\nb\x07"), "a b\\u{7}");
        assert_eq!(cut(&"x".repeat(1000)).chars().count(), MESSAGE + 1);
    }
}
