//! Loads a Compose project: parse, interpolate, include, extends, merge, normalise, types, hash.

pub mod translate;
pub mod types;

pub use translate::{bound_service_hash, network_hash, volume_hash};
pub use types::Project;

/// Compose version whose hashes and labels we reproduce.
pub const COMPOSE_VERSION: &str = "5.6.1";

/// STUB until the loader lands.
pub fn service_hash(m: &serde_json::Map<String, serde_json::Value>) -> String {
    serde_json::to_string(m).unwrap_or_default()
}
