//! What people and other programs read and write: resources, their parts, and status.

pub mod quantity;
pub mod status;
