//! Logging to standard error: text for people, one JSON object a line for machines.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

const MOST_DIRECTIVES: usize = 1024;

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One line an event, for people.
    #[default]
    Text,
    /// One JSON object an event.
    Json,
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level isn't one.
    #[error(
        "bad log level `{given}`: use error, warn, info, debug or trace, or directives such as `homeostat=debug,hyper=warn`"
    )]
    Level {
        /// As given, at most 1,024 bytes.
        given: String,
    },
    /// Somebody else has installed a subscriber in this process.
    #[error("logging is already set up in this process")]
    AlreadySet,
}

/// Starts logging. `level` is `--log-level` or `HOMEOSTAT_LOG`: a word, which counts for
/// homeostat alone (other crates stay at `warn`), or directives of `tracing-subscriber`.
///
/// # Errors
/// A level that can't be read, or a process that already logs.
pub fn init(format: LogFormat, level: &str) -> Result<(), TelemetryError> {
    let colour = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let filter = filter(level)?;
    tracing_subscriber::registry()
        .with(layer(format, colour, io::stderr).with_filter(filter))
        .try_init()
        .map_err(|_| TelemetryError::AlreadySet)
}

fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    let bad = || TelemetryError::Level { given: level.chars().take(MOST_DIRECTIVES).collect() };
    if level.len() > MOST_DIRECTIVES {
        return Err(bad());
    }
    let directives = match level.trim().parse::<LevelFilter>() {
        Ok(level) => format!("warn,homeostat={level}"),
        Err(_) => level.to_owned(),
    };
    // Without regular expressions: a field filter of `HOMEOSTAT_LOG` compares literally.
    EnvFilter::builder().with_regex(false).parse(directives).map_err(|_| bad())
}

fn layer<W>(
    format: LogFormat,
    colour: bool,
    writer: W,
) -> Box<dyn Layer<Registry> + Send + Sync + 'static>
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer).with_ansi(colour && format == LogFormat::Text);
    match format {
        LogFormat::Text => layer.compact().with_target(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("page").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str, work: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let layer = layer(format, false, move || writer.clone());
        let subscriber =
            tracing_subscriber::registry().with(layer.with_filter(filter(level).expect("level")));
        tracing::subscriber::with_default(subscriber, work);
        let bytes = page.0.lock().expect("page").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = logged(LogFormat::Json, "info", || {
            tracing::info!(project = "p", "two\nlines");
            tracing::debug!("below the level");
        });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 1, "{text}");
        let value: serde_json::Value = serde_json::from_str(lines[0]).expect("json");
        assert_eq!((&value["message"], &value["project"]), (&"two\nlines".into(), &"p".into()));
        assert_eq!(value["level"], "INFO");
    }

    #[test]
    fn text_holds_no_colour_and_no_escapes_from_outside() {
        let text = logged(LogFormat::Text, "info", || tracing::info!("name \x1b[31mred"));
        assert!(text.contains("INFO") && text.contains("red"), "{text}");
        assert!(!text.contains('\x1b'), "{text:?}");
    }

    #[test]
    fn a_level_counts_for_homeostat_alone_and_directives_for_all() {
        let work = || {
            tracing::info!(target: "hyper", "theirs");
            tracing::debug!("ours");
        };
        let text = logged(LogFormat::Text, "debug", work);
        assert!(text.contains("ours") && !text.contains("theirs"), "{text}");
        let text = logged(LogFormat::Text, "hyper=info", work);
        assert!(text.contains("theirs") && !text.contains("ours"), "{text}");
    }

    #[test]
    fn a_bad_level_names_the_good_ones() {
        for given in ["homeostat=loud", &"x".repeat(5000)] {
            let error = filter(given).expect_err("refused");
            assert!(error.to_string().contains("error, warn, info, debug or trace"), "{error}");
        }
    }
}
