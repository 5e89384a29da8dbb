//! Faults of single calls.

use std::time::Duration;

use super::world::World;
use crate::engine::Fault;

/// How a call goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFault {
    /// The engine answers this status with `injected`; nothing happens. 403 is a socket proxy's.
    Status(u16),
    /// No answer before the caller's deadline.
    Timeout {
        /// The engine did it all the same.
        effect: bool,
    },
    /// The connection breaks.
    Cut {
        /// The engine did it all the same.
        effect: bool,
    },
    /// The engine did it, and the answer makes no sense.
    Garbage,
    /// The call comes to the engine so much later.
    Delay(Duration),
    /// The answer comes so much later, and is so old then.
    Late(Duration),
}

/// Which of its matches a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Strikes {
    /// Each.
    Always,
    /// The next so many.
    Next(u32),
    /// Each with this chance in `0.0..=1.0`, by the engine's seed.
    Chance(f64),
}

/// A fault with the calls that it strikes.
#[derive(Debug, Clone, PartialEq)]
pub struct SimFault {
    /// Beginning of the call as [`crate::engine::Write::call`] names it (`POST /containers/{id}/`);
    /// empty strikes every call, `GET ` every read.
    pub call: String,
    /// Only calls about the object of this name; empty any.
    pub about: String,
    /// What goes wrong.
    pub fault: CallFault,
    /// How often.
    pub strikes: Strikes,
}

impl World {
    /// The first fault that strikes this call.
    pub fn strike(&mut self, call: &str, about: &str) -> Option<CallFault> {
        for i in 0..self.faults.len() {
            let fault = &self.faults[i];
            let hit =
                call.starts_with(&fault.call) && (fault.about.is_empty() || fault.about == about);
            let strikes = match fault.strikes {
                _ if !hit => false,
                Strikes::Always => true,
                Strikes::Next(0) => false,
                Strikes::Next(n) => {
                    self.faults[i].strikes = Strikes::Next(n - 1);
                    true
                }
                Strikes::Chance(likely) => self.chance() < likely,
            };
            if strikes {
                return Some(self.faults[i].fault.clone());
            }
        }
        None
    }
}

/// An injected status as the adapter sorts it.
pub(super) fn status_fault(call: &str, status: u16) -> Fault {
    let (call, message) = (call.to_owned(), "injected".to_owned());
    match status {
        401 | 403 => Fault::Forbidden { call, message },
        404 => Fault::NotFound { call, message },
        409 => Fault::Conflict { call, message },
        400..=499 => Fault::Rejected { call, status, message },
        _ => Fault::Server { call, status, message },
    }
}
