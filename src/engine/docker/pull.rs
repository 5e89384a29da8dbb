//! Pulls an image: `/images/create`, whose errors come as lines under HTTP 200.

use std::time::Duration;

use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;

use super::encode::query;
use super::faults::refused;
use super::lines::{Line, Lines};
use super::transport::{Call, SharedTransport};
use crate::engine::{Fault, PullProgress};
use crate::observed::lenient::{at, int, non_empty, text};
use crate::sensitive::Sensitive;

const NAME: &str = "POST /images/create";

/// Silence after which a pull is given up.
const STALL: Duration = Duration::from_secs(60);

/// Name and tag or digest. Without either the engine would pull every tag.
fn name_and_tag(reference: &str) -> (&str, &str) {
    if let Some((name, digest)) = reference.split_once('@') {
        // The engine takes a digest as the tag; a tag beside it says nothing more.
        return (untagged(name).0, digest);
    }
    untagged(reference)
}

fn untagged(name: &str) -> (&str, &str) {
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[path..].rfind(':') {
        Some(colon) => (&name[..path + colon], &name[path + colon + 1..]),
        None => (name, "latest"),
    }
}

/// What one line of the answer says.
fn line(bytes: &[u8]) -> Option<Result<PullProgress, Fault>> {
    let json: Value = serde_json::from_slice(bytes).ok()?;
    let detail = at(&json, &["errorDetail"]);
    if let Some(message) = non_empty(&json, "error").or_else(|| non_empty(detail, "message")) {
        return Some(Err(fault(refused(message.as_bytes()), int(detail, "code"))));
    }
    let progress = at(&json, &["progressDetail"]);
    let bytes = |key: &str| int(progress, key).and_then(|n| u64::try_from(n).ok());
    Some(Ok(PullProgress {
        layer: non_empty(&json, "id"),
        status: text(&json, "status"),
        current: bytes("current"),
        total: bytes("total"),
    }))
}

/// A registry's refusal isn't one of the engine's endpoint, so it is never
/// [`Fault::Forbidden`].
fn fault(message: String, code: Option<i64>) -> Fault {
    let call = NAME.to_owned();
    let lower = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    if matches!(code, Some(401 | 403)) || says(&["unauthorized", "denied", "authentication"]) {
        Fault::Rejected { call, status: 401, message }
    } else if code == Some(404) || says(&["not found", "manifest unknown", "does not exist"]) {
        Fault::NotFound { call, message }
    } else {
        Fault::Server { call, status: 500, message }
    }
}

/// Pulls `reference`. `auth` is the value of `X-Registry-Auth`.
pub(super) async fn pull(
    transport: &SharedTransport,
    version: &str,
    reference: &str,
    platform: Option<&str>,
    auth: Option<Sensitive<String>>,
    progress: &(dyn Fn(PullProgress) + Send + Sync),
) -> Result<(), Fault> {
    let (name, tag) = name_and_tag(reference);
    let mut pairs = vec![("fromImage", name), ("tag", tag)];
    pairs.extend(platform.map(|platform| ("platform", platform)));
    let mut headers = Vec::new();
    if let Some(auth) = auth
        && let Ok(mut value) = HeaderValue::from_str(auth.expose())
    {
        value.set_sensitive(true);
        headers.push((HeaderName::from_static("x-registry-auth"), value));
    }
    let call = Call {
        method: Method::POST,
        path: format!("{version}/images/create?{}", query(&pairs)),
        name: NAME,
        body: None,
        headers,
        deadline: STALL,
        limit: 0,
    };
    let mut body = transport.stream(&call).await?;
    let mut lines = Lines::default();
    let tell = |got: Vec<Line>| -> Result<(), Fault> {
        for got in got {
            if let Line::Whole(bytes) = got
                && let Some(said) = line(&bytes)
            {
                progress(said?);
            }
        }
        Ok(())
    };
    while let Some(piece) = body.next(Some(STALL)).await {
        tell(lines.push(&piece?))?;
    }
    tell(lines.finish().into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_always_names_one_image() {
        assert_eq!(name_and_tag("valkey"), ("valkey", "latest"));
        assert_eq!(name_and_tag("localhost:5000/a/b"), ("localhost:5000/a/b", "latest"));
        assert_eq!(name_and_tag("localhost:5000/a:1"), ("localhost:5000/a", "1"));
        assert_eq!(name_and_tag("a/b:1@sha256:ff"), ("a/b", "sha256:ff"));
    }

    #[test]
    fn an_error_under_200_is_a_fault() {
        let of = |text: &str| line(text.as_bytes()).expect("a line").map_err(|f| f.reason());
        assert_eq!(of(r#"{"error":"manifest for x:1 not found"}"#), Err("NotFound"));
        assert_eq!(of(r#"{"errorDetail":{"message":"no space left"}}"#), Err("EngineError"));
        assert_eq!(of(r#"{"errorDetail":{"code":401,"message":"x"}}"#), Err("Rejected"));
        let progress =
            of(r#"{"status":"Downloading","id":"ab","progressDetail":{"current":5,"total":9}}"#);
        let wanted = PullProgress {
            layer: Some("ab".into()),
            status: "Downloading".into(),
            current: Some(5),
            total: Some(9),
        };
        assert_eq!(progress, Ok(wanted));
    }
}
