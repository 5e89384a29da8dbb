//! How long each kind of call may take.

use std::time::Duration;

/// Time for a whole answer, by kind of call. A call that takes longer ends in
/// [`Fault::Timeout`](crate::engine::Fault::Timeout).
///
/// The defaults leave room for a busy engine: a call that is given up too early costs a look at
/// the engine and a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// `/_ping` and `/version`.
    pub ping: Duration,
    /// `/info`.
    pub info: Duration,
    /// Subscribing to events, until the answer begins.
    pub subscribe: Duration,
    /// Each list.
    pub list: Duration,
    /// Inspecting one object.
    pub inspect: Duration,
    /// Creating a container: a new volume is filled from the image meanwhile.
    pub create: Duration,
    /// Starting a container, and every write on networks and volumes.
    pub act: Duration,
    /// Stopping, beyond the grace that the process gets.
    pub stop: Duration,
    /// Restarting, beyond the grace that the process gets.
    pub restart: Duration,
    /// Removing a container.
    pub remove: Duration,
    /// Renaming and unpausing.
    pub quick: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            ping: seconds(5),
            info: seconds(10),
            subscribe: seconds(10),
            list: seconds(30),
            inspect: seconds(15),
            create: seconds(120),
            act: seconds(60),
            stop: seconds(15),
            restart: seconds(30),
            remove: seconds(120),
            quick: seconds(30),
        }
    }
}
