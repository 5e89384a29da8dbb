//! Loads a Compose project: parse, interpolate, include, extends, merge, normalise, types, hash.

pub mod types;

pub use types::Project;
