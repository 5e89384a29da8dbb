//! What went through the proxy.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

/// One request, from its head to the end of its answer.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Number in order of arrival, from 0.
    pub number: usize,
    /// HTTP method.
    pub method: String,
    /// API version in the path, `1.41`.
    pub version: Option<String>,
    /// Path without version, IDs and names replaced: `/containers/{id}/start`.
    pub path: String,
    /// Path and query as sent.
    pub target: String,
    /// Query parameters, percent-encoding kept.
    pub query: BTreeMap<String, String>,
    /// Request body, when it was JSON.
    pub request: Option<Value>,
    /// Status that the client was given; `None` when it got none, or not yet.
    pub status: Option<u16>,
    /// Status that the engine gave, when it was asked.
    pub engine_status: Option<u16>,
    /// Faults that were applied, in their order.
    pub faults: Vec<String>,
    /// Since the proxy's start.
    pub at: Duration,
    /// Until the end of the answer; `None` while it lasts.
    pub took: Option<Duration>,
}

impl Record {
    /// `POST /containers/{id}/start`.
    pub fn endpoint(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Whether the request may change the engine.
    pub fn is_write(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD")
    }

    pub(super) fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (version, path) = split_version(path);
        Self {
            method: method.to_owned(),
            version: version.map(str::to_owned),
            path: normalise(path),
            target: target.to_owned(),
            query: query
                .split('&')
                .filter(|p| !p.is_empty())
                .map(|p| p.split_once('=').unwrap_or((p, "")))
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
            ..Self::default()
        }
    }
}

fn split_version(path: &str) -> (Option<&str>, &str) {
    let Some(rest) = path.strip_prefix("/v") else { return (None, path) };
    let Some((version, _)) = rest.split_once('/') else { return (None, path) };
    if version.is_empty() || !version.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return (None, path);
    }
    (Some(version), &rest[version.len()..])
}

/// Replaces the ID or name in an engine path.
fn normalise(path: &str) -> String {
    let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let Some((&kind, rest)) = words.split_first() else { return path.to_owned() };
    let placeholder = match kind {
        "containers" | "networks" | "exec" | "services" | "tasks" | "nodes" | "secrets"
        | "configs" => "{id}",
        "volumes" | "images" | "distribution" | "plugins" => "{name}",
        _ => return path.to_owned(),
    };
    match rest {
        [] => path.to_owned(),
        ["json" | "create" | "prune" | "search" | "load" | "get"] => path.to_owned(),
        [_] => format!("/{kind}/{placeholder}"),
        // Image names hold slashes: the last word is the verb if it can be one.
        [.., last] if placeholder == "{name}" => match *last {
            "json" | "history" | "push" | "tag" | "get" => format!("/{kind}/{placeholder}/{last}"),
            _ => format!("/{kind}/{placeholder}"),
        },
        [_, tail @ ..] => format!("/{kind}/{placeholder}/{}", tail.join("/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lose_versions_ids_and_names() {
        let cases = [
            ("/v1.41/containers/abc/start", "/containers/{id}/start"),
            ("/containers/json", "/containers/json"),
            ("/v1.41/containers/create", "/containers/create"),
            ("/v1.41/networks/demo_default", "/networks/{id}"),
            ("/v1.41/networks", "/networks"),
            ("/v1.41/volumes/demo_data", "/volumes/{name}"),
            ("/v1.41/images/a/b:1/json", "/images/{name}/json"),
            ("/v1.41/images/json", "/images/json"),
            ("/v1.41/exec/abc/start", "/exec/{id}/start"),
            ("/_ping", "/_ping"),
            ("/version", "/version"),
        ];
        for (path, wanted) in cases {
            assert_eq!(Record::new("GET", path).path, wanted, "{path}");
        }
        let record = Record::new("POST", "/v1.41/containers/x/stop?t=3&signal=TERM");
        assert_eq!(record.version.as_deref(), Some("1.41"));
        assert_eq!(record.query["t"], "3");
        assert_eq!(record.endpoint(), "POST /containers/{id}/stop");
        assert!(record.is_write());
    }
}
