//! homeostat keeps a Docker Compose stack in its desired state.
//!
//! The data flows one way: files become [`desired`] state, the engine's answers become
//! [`observed`] state, [`plan`] compares them without any effect, [`execute`] walks the plan, and
//! [`controller`] does so again whenever something may have changed.
#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod clock;
pub mod compose;
pub mod controller;
pub mod desired;
pub mod engine;
pub mod execute;
pub mod lease;
pub mod metrics;
pub mod observed;
pub mod plan;
pub mod probe;
pub mod recovery;
pub mod sensitive;
pub mod server;
pub mod shutdown;
pub mod store;
pub mod telemetry;
