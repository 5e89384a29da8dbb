//! What outlives the process: the state folder, and in it the journal of intents, outcomes,
//! backoff, jobs and events.
//!
//! [`Journal`] is synchronous and belongs to one thread. [`Handle`] gives it that thread and lets
//! async code await a committed write without blocking the runtime.

pub mod events;
mod file;
mod handle;
mod health;
pub mod holds;
mod incidents;
pub mod journal;
mod kept;
mod remember;
pub mod rows;
mod schema;
mod sources;
pub mod state_dir;
mod updates;

pub use events::EventQuery;
pub use file::SetAside;
pub use handle::{Handle, Keeper, StoreError};
pub use health::{Failing, Health};
pub use holds::{HoldRow, HoldWrite, OwnStop};
pub use journal::{Journal, JournalError};
pub use rows::{
    Backoff, Completion, EventKind, EventRecord, Generation, Intent, IntentId, JobRun, LostVolume,
    NewEvent, Outcome, Recalled, Unfinished,
};
pub use state_dir::{StateDir, StateDirError, StateLock, default_state_dir, restrict_umask};
