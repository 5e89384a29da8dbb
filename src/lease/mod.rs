//! One operator for each engine and project: the lease, decided purely.
//!
//! A lease is an engine volume `homeostat-lease-<project>-<epoch>` whose labels say who holds it.
//! Creating a volume that exists changes nothing, not even its labels (seen on 20.10), so a create
//! with the labels compared afterwards is a compare-and-swap. The highest epoch counts. There is
//! no heartbeat: a holder is dead when its own machine proves it, or when a person says so.
//!
//! # Caveats
//! - Between the moment in which a lease changes hands and the one in which its former holder
//!   hears of that (an event of the engine, a few ms) both may act.
//! - Whoever may create volumes on the engine may write any lease; that is root on it anyway.

mod holder;
mod life;
mod name;
mod tenure;

#[cfg(test)]
mod property;

pub use holder::{Holder, Role};
pub use life::{Around, Life, Process, judge as judge_life};
pub use name::{Found, Lease, OldLease, of_project, strongest};
pub use tenure::{Act, LeaseState, Tenure, Verdict, judge};
