//! What people and other programs read and write: resources, their parts, and status.

pub mod diagnostic;
pub mod document;
pub mod escalation;
pub mod incident;
pub mod meta;
pub mod plan;
pub mod quantity;
pub mod stack;
pub mod status;
pub mod walk;

pub use diagnostic::{Diagnostic, Severity};
pub use escalation::EscalationPolicy;
pub use stack::Stack;
