//! What a turn of the loop shows.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::controller::observer::Link;
use crate::lease::LeaseState;
use crate::observed::{Observed, Slot};
use crate::plan::hold::Holds;
use crate::plan::{Plan, Report};
use crate::recovery::{Brake, Incident};

/// How a stack stands after a turn of the loop.
#[derive(Clone, Default)]
pub struct View {
    /// Grows with each turn.
    pub turn: u64,
    /// Generation of the desired state that was planned for.
    pub generation: u64,
    /// Whether the facts are true.
    pub link: Link,
    /// Revision of the facts.
    pub revision: u64,
    /// The facts.
    pub observed: Arc<Observed>,
    /// What is still to be done now.
    pub plan: Arc<Plan>,
    /// What waits, and how each service stands.
    pub report: Arc<Report>,
    /// Resources that steps work on, or of which only old facts are known.
    pub busy: usize,
    /// Slots that failed several times and haven't been ready for long enough since.
    pub unproven: BTreeSet<Slot>,
    /// The incidents: those that are open, and the last ones that ended.
    pub incidents: Arc<Vec<Incident>>,
    /// Why recoveries happen one at a time; `None` while they don't.
    pub brake: Option<Brake>,
    /// What people hold.
    pub holds: Holds,
    /// How the project's lease stands; `None` where none is asked for.
    pub lease: Option<LeaseState>,
}

impl View {
    /// Whether what is planned is ours to do.
    pub fn acts(&self) -> bool {
        self.lease.as_ref().is_none_or(LeaseState::is_held)
    }
}
