//! The configuration hashes of Docker Compose v5.6.1, byte for byte: SHA-256 of compact Go JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::number::float_json;
use super::schema::HASH_ORDER;

/// The hash of a canonical service, as the label `com.docker.compose.config-hash` holds it.
///
/// Works on any canonical service map: on the service as loaded, which gives what
/// `docker compose config --hash` prints, and on one whose `service:` references were replaced by
/// container IDs, which gives what is on the container.
pub fn service_hash(canonical: &Map<String, Value>) -> String {
    let mut text = String::with_capacity(512);
    let mut open = '{';
    for key in HASH_ORDER {
        let Some(value) = canonical.get(key) else { continue };
        text.push(open);
        open = ',';
        string(key, &mut text);
        text.push(':');
        match (key, value) {
            ("deploy", Value::Object(deploy)) => {
                let hashed = deploy.iter().filter(|(name, _)| *name != "replicas");
                object(hashed, &mut text);
            }
            _ => json(value, &mut text),
        }
    }
    if open == '{' {
        text.push(open);
    }
    text.push('}');
    sha256(&text)
}

fn sha256(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let mut hex = String::with_capacity(64);
    for byte in digest {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Writes a value as Go's `json.Marshal` does.
pub(super) fn json(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => out.push_str(&float_json(float)),
            None => {
                let _ = write!(out, "{number}");
            }
        },
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                json(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => object(map.iter(), out),
    }
}

fn object<'v>(entries: impl Iterator<Item = (&'v String, &'v Value)>, out: &mut String) {
    out.push('{');
    for (index, (key, value)) in entries.enumerate() {
        if index > 0 {
            out.push(',');
        }
        string(key, out);
        out.push(':');
        json(value, out);
    }
    out.push('}');
}

/// Writes a string as Go does: HTML characters and two line separators are escaped.
pub(super) fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{0}'..='\u{1f}' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).expect("is JSON")
    }

    /// `docker compose config --hash` of v5.6.1.
    #[test]
    fn a_service_hashes_in_its_own_order_and_without_what_only_compose_uses() {
        let service =
            map(r#"{"build":{},"command":null,"entrypoint":null,"image":"x","depends_on":{},
                "networks":{"default":null},"environment":{"A":"1"},"scale":2,"profiles":["p"]}"#);
        assert_eq!(
            service_hash(&service),
            "95ca1b32488beb02300555e1890cc05773b0da0b75fbcce43b3179cd20bf17bb"
        );
    }

    #[test]
    fn strings_escape_as_go_escapes_them() {
        let mut out = String::new();
        string("<a>&\u{2028}\u{1}\n\u{7f}é", &mut out);
        assert_eq!(out, "\"\\u003ca\\u003e\\u0026\\u2028\\u0001\\n\u{7f}é\"");
    }
}
