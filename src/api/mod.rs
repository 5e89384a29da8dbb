//! The resource kinds, the types that they share, and what the daemon says about them.

pub mod quantity;
pub mod status;
