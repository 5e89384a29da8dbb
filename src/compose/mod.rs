//! Loads a Compose project: parse, interpolate, include, extends, merge, normalise, types, hash.

pub mod translate;
pub mod types;

pub use types::Project;
