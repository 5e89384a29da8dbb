//! Loads a Compose project: parse, interpolate, include, extends, merge, normalise, types, hash.

pub mod types;

pub use types::Project;

/// Compose version whose hashes and labels we reproduce.
pub const COMPOSE_VERSION: &str = "5.6.1";

/// STUB until the loader lands.
pub fn service_hash(m: &serde_json::Map<String, serde_json::Value>) -> String {
    serde_json::to_string(m).unwrap_or_default()
}
/// STUB
pub fn bound_service_hash(
    s: &types::Service,
    ids: &std::collections::BTreeMap<String, String>,
) -> String {
    format!("{}{ids:?}", serde_json::to_string(s.canonical.expose()).unwrap_or_default())
}
/// STUB
pub fn network_hash(n: &types::Network) -> String {
    serde_json::to_string(n.canonical.expose()).unwrap_or_default()
}
/// STUB
pub fn volume_hash(n: &types::Volume) -> String {
    serde_json::to_string(n.canonical.expose()).unwrap_or_default()
}
pub mod translate;
