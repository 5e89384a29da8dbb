//! The only loop: observe, plan, execute, again.

pub mod ledger;
pub mod meter;
pub mod observer;
pub mod snapshot;
pub mod worker;
