//! Sorts what goes wrong on the wire into [`Fault`].

use std::error::Error;
use std::io::ErrorKind;

use hyper::StatusCode;
use hyper::header::{HeaderMap, SERVER};
use serde_json::Value;

use crate::engine::Fault;

/// Characters of the engine's words that we keep.
const WORDS: usize = 1000;

/// A connection or an answer that broke after the request went out.
pub(super) fn broken(call: &str, error: &hyper::Error) -> Fault {
    let mut reason = error.to_string();
    let mut garbage = error.is_parse();
    let mut cause = error.source();
    while let Some(inner) = cause {
        reason = format!("{reason}: {inner}");
        garbage |= inner
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| matches!(e.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput));
        cause = inner.source();
    }
    let call = call.to_owned();
    if garbage { Fault::Garbage { call, reason } } else { Fault::Interrupted { call, reason } }
}

/// The engine's words of an error answer: `message` of its JSON, otherwise the text; on one line
/// and cut.
pub(super) fn refused(body: &[u8]) -> String {
    let text = match message(body) {
        Some(message) => message,
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.trim().chars().take(WORDS).collect()
}

fn message(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<Value>(body).ok()?.get("message")?.as_str().map(str::to_owned)
}

/// An answer whose status is neither 2xx nor 304.
pub(super) fn status_fault(
    call: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Fault {
    let message = refused(body);
    let call = call.to_owned();
    match status.as_u16() {
        403 if is_engines_own(headers, body) => own_403(call, message),
        401 | 403 => Fault::Forbidden { call, message },
        404 => Fault::NotFound { call, message },
        409 => Fault::Conflict { call, message },
        // Somebody before the engine asks to slow down.
        status @ (408 | 429 | 500..) => Fault::Server { call, status, message },
        status @ 400..=499 => Fault::Rejected { call, status, message },
        status => Fault::Garbage { call, reason: format!("unexpected status {status}") },
    }
}

/// The engine itself answers 403 where something is in the way: an endpoint that exists already,
/// a network in use. A proxy's 403 has no engine's `Server` header, and that of an authorisation
/// plugin says so.
fn is_engines_own(headers: &HeaderMap, body: &[u8]) -> bool {
    let engine = headers
        .get(SERVER)
        .and_then(|server| server.to_str().ok())
        .is_some_and(|server| server.starts_with("Docker/") || server.starts_with("Libpod/"));
    engine && message(body).is_some_and(|m| !m.contains("authorization denied"))
}

fn own_403(call: String, message: String) -> Fault {
    const IN_THE_WAY: [&str; 5] = [
        "already exists",
        "active endpoints",
        "already in use",
        "already attached",
        "already allocated",
    ];
    let lower = message.to_ascii_lowercase();
    if IN_THE_WAY.iter().any(|words| lower.contains(words)) {
        Fault::Conflict { call, message }
    } else {
        Fault::Rejected { call, status: 403, message }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn fault(status: u16, server: Option<&'static str>, body: &str) -> Fault {
        let mut headers = HeaderMap::new();
        if let Some(server) = server {
            headers.insert(SERVER, HeaderValue::from_static(server));
        }
        let status = StatusCode::from_u16(status).expect("a status");
        status_fault("GET /x", status, &headers, body.as_bytes())
    }

    #[test]
    fn a_403_of_the_engine_is_a_conflict_and_that_of_a_proxy_is_not() {
        let exists = r#"{"message":"endpoint with name x already exists in network y"}"#;
        let engine = Some("Docker/20.10.24 (linux)");
        assert_eq!(fault(403, engine, exists).reason(), "Conflict");
        assert_eq!(fault(403, None, exists).reason(), "PermissionMissing");
        assert_eq!(fault(403, None, "<h1>403 Forbidden</h1>").reason(), "PermissionMissing");
        let plugin = r#"{"message":"authorization denied by plugin opa: no"}"#;
        assert_eq!(fault(403, engine, plugin).reason(), "PermissionMissing");
        let other = r#"{"message":"operation is not permitted on predefined bridge network"}"#;
        assert_eq!(fault(403, engine, other).reason(), "Rejected");
    }

    #[test]
    fn statuses_are_sorted_by_what_to_do_next() {
        let reasons: Vec<_> = [400, 401, 404, 409, 429, 500, 503, 301]
            .map(|status| fault(status, None, "{}").reason())
            .into();
        assert_eq!(
            reasons,
            [
                "Rejected",
                "PermissionMissing",
                "NotFound",
                "Conflict",
                "EngineError",
                "EngineError",
                "EngineError",
                "Garbage"
            ]
        );
    }

    #[test]
    fn the_engines_words_are_one_short_line() {
        assert_eq!(refused(b"{\"message\":\"a\\nb\"}"), "a b");
        assert_eq!(refused("é".repeat(5000).as_bytes()).chars().count(), WORDS);
    }
}
