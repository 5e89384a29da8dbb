//! Loads a Compose project as Docker Compose v5.6.1 does: parse, interpolate, include, extends,
//! merge, validate, canonicalise, normalise, types, hash.
//!
//! [`load`] takes files and variables and gives a [`Project`]; it talks to no engine. Every stage
//! works on one tree whose nodes know their place, so every mistake is shown in the file.

mod canonical;
mod cast;
pub mod config;
mod consistency;
mod construct;
mod diagnostic;
mod dotenv;
mod environment;
mod extends;
mod hash;
mod include;
mod interpolate;
mod load;
mod loader;
mod merge;
mod node;
mod normalise;
mod number;
mod options;
mod parse;
mod paths;
mod port;
mod print;
mod scalar;
mod schema;
mod shellwords;
mod support;
pub mod translate;
mod tree;
mod typed;
pub mod types;
mod unique;
mod validate;
mod volume;

#[cfg(test)]
mod parity_tests;

pub use diagnostic::{Diagnostic, LoadError};
pub use hash::service_hash;
pub use load::load;
pub use options::LoadOptions;
pub use parse::{MAX_FILE, STDIN};
pub use translate::{bound_service_hash, network_hash, volume_hash};
pub use types::Project;

/// Compose version whose hashes and labels we reproduce.
pub const COMPOSE_VERSION: &str = "5.6.1";
