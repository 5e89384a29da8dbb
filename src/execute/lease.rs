//! Lease volumes: the calls that make and remove them, and the permit to write anything else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::clock::{Clock, Now};
use crate::engine::{DynEngine, Fault, Write};
use crate::lease::{Act, LeaseState};

/// A process that was asleep for longer than this looks at its lease again before it writes: it may
/// have been taken over meanwhile.
pub const PAUSE: Duration = Duration::from_secs(30);

/// Does what a look at the leases asked for. A call whose outcome nobody knows is no failure: a
/// look must follow anyway.
///
/// # Errors
/// The engine refuses.
pub async fn act(engine: &DynEngine, act: Act) -> Result<(), Fault> {
    match act {
        Act::Nothing => Ok(()),
        Act::Create(lease) => match engine.write(&Write::CreateLease { lease }).await {
            Err(fault) if !fault.outcome_unknown() => Err(fault),
            _ => Ok(()),
        },
        Act::Remove(old) => {
            for lease in old {
                engine.write(&Write::RemoveLease { lease }).await?;
            }
            Ok(())
        }
    }
}

/// What the holder of a permit goes by.
#[derive(Debug, Clone, Default)]
pub struct Tenancy {
    /// How the lease stands.
    pub state: LeaseState,
    /// When whoever watches over the lease was last awake.
    pub awake: Now,
}

/// Why nothing may be written now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied(pub String);

/// The word that this operator may change a project. Asked before each step.
#[derive(Clone)]
pub struct Permit(Option<Leased>);

#[derive(Clone)]
struct Leased {
    tenancy: watch::Receiver<Tenancy>,
    clock: Arc<dyn Clock>,
    nudge: Arc<Notify>,
}

impl Permit {
    /// One that holds always, for engines that nobody else uses.
    pub const fn unleased() -> Self {
        Self(None)
    }

    /// One that holds while the lease does. `nudge` asks for a look at it.
    pub fn leased(
        tenancy: watch::Receiver<Tenancy>,
        clock: Arc<dyn Clock>,
        nudge: Arc<Notify>,
    ) -> Self {
        Self(Some(Leased { tenancy, clock, nudge }))
    }

    /// How the lease stands; `None` where none is asked for.
    pub fn state(&self) -> Option<LeaseState> {
        self.0.as_ref().map(|leased| leased.tenancy.borrow().state.clone())
    }

    /// Whether something may be written now.
    ///
    /// # Errors
    /// [`Denied`] with the reason. [`Self::changed`] tells when to ask again.
    pub fn check(&self) -> Result<(), Denied> {
        let Some(leased) = &self.0 else { return Ok(()) };
        let tenancy = leased.tenancy.borrow();
        if !tenancy.state.is_held() {
            return Err(Denied(tenancy.state.to_string()));
        }
        let now = leased.clock.now();
        // Only the wall clock goes on while the machine sleeps, and only the other one is steady.
        let pause = now.mono.since(tenancy.awake.mono).max(now.wall.since(tenancy.awake.wall));
        if pause > PAUSE {
            leased.nudge.notify_one();
            return Err(Denied("this process was asleep; looking at the lease again".into()));
        }
        Ok(())
    }

    /// Asks for a look at the lease.
    pub fn look(&self) {
        if let Some(leased) = &self.0 {
            leased.nudge.notify_one();
        }
    }

    /// Waits until it is known whose lease it is.
    ///
    /// # Errors
    /// It isn't ours.
    pub async fn decided(&mut self) -> Result<(), Denied> {
        while let Some(LeaseState::Seeking(_)) = self.state() {
            self.changed().await;
        }
        self.check()
    }

    /// Ends when the lease stands differently, or was looked at again after a pause.
    pub async fn changed(&mut self) {
        let over = match &mut self.0 {
            Some(leased) => leased.tenancy.changed().await.is_err(),
            None => true,
        };
        if over {
            std::future::pending().await
        }
    }
}
