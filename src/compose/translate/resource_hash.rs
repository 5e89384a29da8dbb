//! The configuration hash that Compose writes on networks and volumes: SHA-256 of compose-go's
//! JSON of the resource, user labels included and Compose's own left out.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::compose::types::{Network, Volume};

/// Fields in the order of compose-go's structures; maps below them are sorted by key.
const NETWORK: &[&str] = &[
    "name",
    "driver",
    "driver_opts",
    "ipam",
    "external",
    "internal",
    "attachable",
    "labels",
    "enable_ipv4",
    "enable_ipv6",
];
const IPAM: &[&str] = &["driver", "config", "options"];
const POOL: &[&str] = &["subnet", "gateway", "ip_range", "aux_addresses"];
const VOLUME: &[&str] = &["name", "driver", "driver_opts", "external", "labels"];

/// The hash in a network's label `com.docker.compose.config-hash`.
pub fn network_hash(network: &Network) -> String {
    let mut canonical = network.canonical.expose().clone();
    // The structure isn't a pointer, so Go writes it even when empty.
    let ipam = canonical.remove("ipam").unwrap_or_default();
    let mut ipam = in_order(ipam.as_object().unwrap_or(&Map::new()), IPAM);
    for pool in ipam.get_mut("config").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(fields) = pool.as_object() {
            *pool = Value::Object(in_order(fields, POOL));
        }
    }
    canonical.insert("ipam".into(), Value::Null);
    let mut ordered = in_order(&canonical, NETWORK);
    ordered.insert("ipam".into(), Value::Object(ipam));
    hash(ordered)
}

/// The hash in a volume's label `com.docker.compose.config-hash`. Compose takes an absent driver
/// for `local` here, though not in the body.
pub fn volume_hash(volume: &Volume) -> String {
    let mut canonical = volume.canonical.expose().clone();
    let driver = canonical.get("driver").and_then(Value::as_str).unwrap_or_default();
    if driver.is_empty() {
        canonical.insert("driver".into(), "local".into());
    }
    hash(in_order(&canonical, VOLUME))
}

fn in_order(map: &Map<String, Value>, order: &[&str]) -> Map<String, Value> {
    let present = |key: &&str| Some(((*key).to_owned(), sorted(map.get(*key)?)));
    order.iter().filter_map(present).collect()
}

fn sorted(value: &Value) -> Value {
    let Value::Object(map) = value else { return value.clone() };
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn hash(map: Map<String, Value>) -> String {
    let digest = Sha256::digest(go_json(&Value::Object(map)));
    digest.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Compact JSON as Go's encoder writes it: `<`, `>`, `&` and the two line separators escaped.
fn go_json(value: &Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
}
