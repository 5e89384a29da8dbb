//! Resource kinds and the types that they share.

pub mod diagnostic;
pub mod document;
pub mod meta;
pub mod quantity;
pub mod stack;
pub mod walk;

pub use diagnostic::{Diagnostic, Severity};
pub use stack::Stack;
