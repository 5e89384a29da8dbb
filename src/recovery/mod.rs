//! When recovery is allowed, when it stops, and when a person is told.
//!
//! Pure: no engine, no runtime, no clock. `now` is an argument; durations are measured with its
//! monotonic part, and only times that people read or the journal keeps come from the wall clock.
//!
//! # Guarantees
//! - Attempts that count never exceed the budget of their incident.
//! - Deaths through the API, holds, rollouts and ends of the engine open no incident.
//! - A person is told once for each budget.

pub mod brake;
pub mod budget;
mod crash_loop;
pub mod escalation;
mod incident;
mod incidents;
mod slot;
#[cfg(test)]
mod tests;

pub use brake::Brake;
pub use budget::{Budget, RecoveryPolicy, Scenario};
pub use incident::{
    Ack, Attempt, AttemptResult, End, EndReason, Generation, Incident, IncidentId, Run, Stop, What,
};
pub use incidents::{Allowance, Change, Incidents, Recalled, Standing, StepEnd, Word};
pub use slot::{Death, Sight};

use std::time::Duration;

/// An attempt that stayed Ready for so long did it.
pub const PROVEN: Duration = Duration::from_secs(60);
/// Ready for so long, and an incident is over.
pub const RECOVERED: Duration = Duration::from_secs(600);
