//! The only loop: observe, plan, execute, again.

pub mod acts;
pub mod adoption;
pub mod answer;
pub mod changes;
pub mod claims;
pub mod command;
mod conditions;
pub mod course;
pub mod daemon;
pub mod deaths;
pub mod holding;
pub mod keeper;
pub mod leasing;
pub mod ledger;
mod loss;
pub mod meter;
pub mod observer;
pub mod own;
pub mod process;
pub mod publish;
pub mod reads;
pub mod recall;
pub mod recording;
pub mod session;
pub mod sights;
pub mod snapshot;
pub mod updates;
pub mod verdict;
pub mod watch;
pub mod worker;

#[cfg(test)]
mod tests;
