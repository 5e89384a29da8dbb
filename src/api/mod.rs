//! The resource kinds, and what the daemon says about them.

pub mod status;
