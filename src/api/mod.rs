//! Resource kinds and the types that they share.

pub mod quantity;
