//! `/events`: what happens from now on, filtered at the engine.
//!
//! Each healthcheck run makes three `exec_*` events; without the filter they are most of the
//! stream. Actions that tell why a container ended are all asked for.

use std::time::Duration;

use futures_util::stream::BoxStream;
use serde_json::json;

use super::decode;
use super::encode::query;
use super::lines::{Line, Lines};
use super::transport::{Call, SharedTransport};
use crate::engine::{Fault, StreamItem};

const NAME: &str = "GET /events";

/// Kinds of objects asked for.
const KINDS: [&str; 4] = ["container", "network", "volume", "image"];

/// Actions asked for. With `health_status` among them the engine compares by prefix, so that
/// `health_status: healthy` passes.
const ACTIONS: [&str; 23] = [
    "connect",
    "create",
    "delete",
    "destroy",
    "die",
    "disconnect",
    "health_status",
    "import",
    "kill",
    "load",
    "oom",
    "pause",
    "prune",
    "pull",
    "remove",
    "rename",
    "restart",
    "start",
    "stop",
    "tag",
    "unpause",
    "untag",
    "update",
];

/// Path and query. Podman names some actions otherwise and compares exactly, so there only the
/// kinds are filtered.
fn path(version: &str, by_action: bool, since: Option<i64>) -> String {
    let filters =
        if by_action { json!({"type": KINDS, "event": ACTIONS}) } else { json!({"type": KINDS}) };
    let filters = filters.to_string();
    let mut words = vec![("filters", filters.as_str())];
    let since = since.map(|nano| format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000));
    words.extend(since.as_deref().map(|since| ("since", since)));
    format!("{version}/events?{}", query(&words))
}

fn item(line: &Line) -> StreamItem {
    match line {
        Line::TooLong { bytes } => StreamItem::Skipped { bytes: *bytes },
        Line::Whole(line) => match decode::event(line) {
            Some(event) => StreamItem::Event(event),
            None => StreamItem::Skipped { bytes: line.len() },
        },
    }
}

/// Subscribes. The stream has a connection of its own and may be silent for as long as nothing
/// happens: whoever reads it pings meanwhile.
pub(super) async fn subscribe(
    transport: &SharedTransport,
    version: &str,
    by_action: bool,
    since: Option<i64>,
    deadline: Duration,
) -> Result<BoxStream<'static, Result<StreamItem, Fault>>, Fault> {
    let call = Call::get(NAME, path(version, by_action, since), deadline, 0);
    let mut lines = Lines::default();
    let items = transport.stream(&call).await?.items(move |piece| {
        let lines = match piece {
            Some(piece) => lines.push(&piece),
            None => lines.finish().into_iter().collect(),
        };
        Ok(lines.iter().map(item).collect())
    });
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_lets_every_cause_of_an_end_pass_and_no_healthcheck() {
        for action in ["kill", "stop", "die", "oom", "destroy", "disconnect", "health_status"] {
            assert!(ACTIONS.contains(&action), "{action}");
        }
        // The engine compares by prefix.
        for noise in ["exec_create: x", "exec_start: x", "exec_die"] {
            assert!(!ACTIONS.iter().any(|action| noise.starts_with(action)), "{noise}");
        }
    }

    #[test]
    fn the_query_is_percent_encoded() {
        let path = path("/v1.41", true, None);
        assert!(path.starts_with("/v1.41/events?filters=%7B%22type%22%3A%5B%22container%22"));
        assert!(!path.contains(['"', ' ', '{']), "{path}");
        assert!(!path.contains("since"), "{path}");
    }

    #[test]
    fn what_the_engine_still_knows_is_asked_for_to_the_nanosecond() {
        let path = path("/v1.41", true, Some(1_700_000_000_000_000_012));
        assert!(path.ends_with("&since=1700000000.000000012"), "{path}");
    }
}
