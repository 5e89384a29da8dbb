//! A simulated engine on virtual time, for tests of planner, executor and controller.
//!
//! It behaves as Engine 20.10 was seen to behave, its refusals in its words, and takes the time
//! that the real one takes. Under `tokio::time::pause` an hour passes at once and every run with
//! the same seed is the same.
//!
//! # Assumptions
//! A tokio runtime runs where [`SimEngine::new`] is called.
//!
//! # Caveats
//! - Events of healthchecks (`exec_*`) and of mounts are left out, as the adapter's filter does.
//! - Logs are what the script says, without time; a followed log ends.
//! - IPv6, swarm scopes, plugins and an image's own labels and volumes are not simulated.

mod actors;
mod body;
mod clock;
mod events;
mod faults;
mod model;
mod network;
mod objects;
mod ops;
mod process;
mod seam;
mod show;
mod world;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::task::AbortHandle;

use ops::Core;
use world::World;

pub use clock::SimClock;
pub use events::StreamFaults;
pub use faults::{CallFault, SimFault, Strikes};
pub use model::{Behaviour, EngineStop, OnStop, Remote, WriteRecord};

use crate::engine::types::{Capabilities, EngineInfo};

/// A simulated engine.
pub struct SimEngine {
    core: Arc<Core>,
    driver: AbortHandle,
}

impl std::fmt::Debug for SimEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimEngine").finish_non_exhaustive()
    }
}

impl SimEngine {
    /// An engine of API 1.41 without containers or images.
    pub fn new(seed: u64) -> Self {
        let clock = Arc::new(SimClock::new(seed));
        let info = EngineInfo {
            id: "SIMU:LATE".into(),
            name: "sim".into(),
            version: "20.10.24".into(),
            os_type: "linux".into(),
            runtimes: vec!["runc".into()],
            capabilities: Capabilities {
                api: (1, 41),
                addresses_reachable: true,
                ..Capabilities::default()
            },
            ..EngineInfo::default()
        };
        let core = Arc::new(Core::new(clock, World::new(seed, info)));
        let driver = tokio::spawn(Arc::clone(&core).run()).abort_handle();
        Self { core, driver }
    }

    /// The clock that the engine goes by.
    pub fn clock(&self) -> Arc<SimClock> {
        Arc::clone(&self.core.clock)
    }
}

impl Drop for SimEngine {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
