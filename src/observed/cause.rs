//! Why a container's process ended.

use serde::Serialize;

/// Why a container's process ended, as far as the engine's events tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub enum ExitCause {
    /// By itself, by the kernel, or by a signal from outside of the engine.
    Spontaneous,
    /// Somebody stopped it through the API.
    ApiStop,
    /// Somebody killed it through the API.
    ApiKill,
    /// Somebody removed it.
    Removed,
    /// The engine ended.
    Engine,
    /// Nobody can tell.
    #[default]
    Unknown,
}

impl ExitCause {
    /// What the exit code alone says, of a death whose event nobody heard. A code that an engine's
    /// end or a person's stop gives as well (0, 128 + a signal that they send, 255) says nothing.
    pub const fn of_code(code: i64) -> Self {
        match code {
            // 128 + SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV: a process does that to itself.
            1..=127 | 132 | 134 | 135 | 136 | 139 => Self::Spontaneous,
            _ => Self::Unknown,
        }
    }
}
