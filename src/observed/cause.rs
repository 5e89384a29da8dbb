//! What an exit code alone says of a death.

use super::hands::Cause;

impl Cause {
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
