//! Watches over a project's lease for as long as somebody may write to the project: takes it,
//! looks at it in every volume list, makes it again when it is lost, and says at once when
//! somebody else has taken over. While all is as it was it asks the engine nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::observer::{Link, Snapshot};
use crate::clock::{Clock, Mono, Now};
use crate::engine::{DynEngine, Fault, VolumeSummary};
use crate::execute::lease::{self, PAUSE, Permit, Tenancy};
use crate::lease::{Act, Found, Holder, LeaseState, Life, Tenure, of_project};
use crate::observed::Shared;

/// Time between two signs that this process is awake, while it holds the lease. Well below
/// [`PAUSE`], and no call to the engine.
const AWAKE: Duration = Duration::from_secs(10);
/// Time between two looks at whoever else holds it. No call to the engine either.
const WATCH: Duration = Duration::from_secs(2);
/// Lists that one look may need: a list, and one after each create.
const ROUNDS: usize = 6;
/// Pauses after an engine that failed.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);
/// How long giving it back may take.
const LEAVE: Duration = Duration::from_secs(2);

/// Judges whether a holder lives.
pub type Judge = Arc<dyn Fn(&Holder) -> Life + Send + Sync>;
/// Hears how the lease stands whenever that changes.
pub type Tell = Box<dyn Fn(&LeaseState) + Send + Sync>;

/// What a lease is sought with.
pub struct Terms {
    /// The engine.
    pub engine: DynEngine,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The project.
    pub project: String,
    /// Who we are.
    pub me: Holder,
    /// Who lives.
    pub life: Judge,
    /// A person asked to take over from whoever holds it now.
    pub take_over: bool,
    /// Who hears of it.
    pub tell: Tell,
}

/// An operator's dealings with one project's lease.
pub struct Leasing {
    terms: Terms,
    tenure: Tenure,
    tenancy: watch::Sender<Tenancy>,
    nudge: Arc<Notify>,
    /// The leases at the last look at the engine's own list, or at a snapshot.
    leases: Vec<Found>,
    /// The observer's list that was looked at last.
    noticed: Shared<BTreeMap<String, VolumeSummary>>,
    looked: bool,
    awake: Now,
    retry: Option<(Mono, Duration)>,
    /// Something was asked for that may have to be given back.
    asked: bool,
}

impl Leasing {
    /// Nothing is looked at yet: the permit denies everything.
    pub fn new(terms: Terms) -> (Self, Permit) {
        let tenure = Tenure::new(&terms.project, terms.me.clone(), terms.take_over);
        let (tenancy, seen) = watch::channel(Tenancy::default());
        let nudge = Arc::new(Notify::new());
        let permit = Permit::leased(seen, Arc::clone(&terms.clock), Arc::clone(&nudge));
        let awake = terms.clock.now();
        let leasing = Self {
            terms,
            tenure,
            tenancy,
            nudge,
            leases: Vec::new(),
            noticed: Shared::default(),
            looked: false,
            awake,
            retry: None,
            asked: false,
        };
        (leasing, permit)
    }

    /// A permit that never holds, for the tier `observe`.
    pub fn observing(clock: Arc<dyn Clock>) -> Permit {
        let tenancy = Tenancy { state: LeaseState::Observing, ..Tenancy::default() };
        // Nobody changes it any more.
        Permit::leased(watch::channel(tenancy).1, clock, Arc::default())
    }

    /// How it stands.
    pub const fn state(&self) -> &LeaseState {
        self.tenure.state()
    }

    /// Begins to watch over the lease beside the observer.
    pub fn start(terms: Terms, snapshots: watch::Receiver<Snapshot>) -> (Permit, Running) {
        let (leasing, permit) = Self::new(terms);
        let stop = CancellationToken::new();
        let task = tokio::spawn(leasing.run(snapshots, stop.clone()));
        (permit, Running { task, stop: stop.drop_guard() })
    }

    /// Reads the engine's volumes, takes or makes again what is ours to take, and looks again,
    /// until there is nothing to be done.
    ///
    /// # Errors
    /// The engine can't be asked, or refuses.
    pub async fn settle(&mut self) -> Result<(), Fault> {
        let begun = self.terms.clock.now();
        for _ in 0..ROUNDS {
            let volumes = self.terms.engine.volumes().await?;
            self.leases = of_project(&self.terms.project, &volumes);
            let now = self.terms.clock.now().mono;
            let act = self.tenure.look(&self.leases, &*self.terms.life, now);
            self.looked = true;
            // What was seen is as old as the request for it.
            self.awake = begun;
            // Whoever lost it writes nothing else before it is there again. A refusal stands until
            // another answer: that it is tried again is no news.
            let state = self.tenure.state().clone();
            let tries = matches!(state, LeaseState::Seeking(_));
            if !(tries && matches!(self.tenancy.borrow().state, LeaseState::Refused(_))) {
                self.publish(state);
            }
            let again = matches!(act, Act::Create(_));
            self.asked |= again;
            if matches!(act, Act::Remove(_)) {
                if let Err(error) = lease::act(&self.terms.engine, act).await {
                    tracing::warn!(%error, "can't remove a lease that counts no longer");
                }
                return Ok(());
            }
            lease::act(&self.terms.engine, act).await?;
            if !again {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Gives the lease back, so that others can act at once. It is kept where the engine doesn't
    /// answer: then its holder's death has to be proven.
    pub async fn leave(mut self) {
        if !self.asked && !self.tenure.state().is_held() {
            return;
        }
        let engine = Arc::clone(&self.terms.engine);
        let given = async {
            let volumes = engine.volumes().await?;
            let leases = of_project(&self.terms.project, &volumes);
            let old = self.tenure.leave(&leases);
            self.publish(self.tenure.state().clone());
            lease::act(&engine, Act::Remove(old)).await
        };
        match tokio::time::timeout(LEAVE, given).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "can't give the lease back"),
            Err(_) => tracing::warn!("can't give the lease back: the engine doesn't answer"),
        }
    }

    async fn run(
        mut self,
        mut snapshots: watch::Receiver<Snapshot>,
        stop: CancellationToken,
    ) -> Self {
        loop {
            let pause = self.pause();
            let look = tokio::select! {
                biased;
                () = stop.cancelled() => return self,
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return self;
                    }
                    let snapshot = snapshots.borrow_and_update().clone();
                    self.notice(&snapshot)
                }
                () = self.nudge.notified() => true,
                () = tokio::time::sleep(pause) => {
                    let now = self.terms.clock.now().mono;
                    let due = self.retry.is_some_and(|(at, _)| now >= at);
                    let agrees = || self.tenure.agrees(&self.leases, &*self.terms.life, now);
                    due || (self.looked && self.retry.is_none() && !agrees())
                }
            };
            if look || self.slept() {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return self,
                    () = self.look() => {}
                }
            } else {
                self.stay_awake();
            }
        }
    }

    fn pause(&self) -> Duration {
        let now = self.terms.clock.now().mono;
        let usual = if self.tenure.state().is_held() { AWAKE } else { WATCH };
        self.retry.map_or(usual, |(at, _)| at.since(now).min(usual))
    }

    /// Longer than a sleep of its own can be.
    fn slept(&self) -> bool {
        let now = self.terms.clock.now();
        now.mono.since(self.awake.mono).max(now.wall.since(self.awake.wall)) > PAUSE
            && self.tenure.state().is_held()
    }

    fn stay_awake(&mut self) {
        if self.slept() {
            return;
        }
        let awake = self.terms.clock.now();
        self.awake = awake;
        self.tenancy.send_if_modified(|tenancy| {
            tenancy.awake = awake;
            false
        });
    }

    /// Looks at the leases in a volume list of the observer. Returns whether the engine must be
    /// asked.
    fn notice(&mut self, snapshot: &Snapshot) -> bool {
        let volumes = &snapshot.observed.volumes;
        // One that was read before our own last look shows nothing new.
        if snapshot.link != Link::Live || volumes.is_same(&self.noticed) {
            return false;
        }
        self.noticed = volumes.clone();
        let now = self.terms.clock.now().mono;
        let leases = of_project(&self.terms.project, volumes.values());
        if self.tenure.agrees(&leases, &*self.terms.life, now) {
            return false;
        }
        // Whatever comes of the look: who isn't sure any more writes nothing.
        let mut next = self.tenure.clone();
        next.look(&leases, &*self.terms.life, now);
        if !next.state().is_held() {
            self.publish(next.state().clone());
        }
        true
    }

    async fn look(&mut self) {
        match self.settle().await {
            Ok(()) => self.retry = None,
            Err(fault) => {
                let pause = self.retry.map_or(RETRY_FIRST, |(_, last)| (last * 2).min(RETRY_LAST));
                let now = self.terms.clock.now().mono;
                self.retry =
                    Some((now.after(pause.mul_f64(1.0 + 0.2 * self.terms.clock.jitter())), pause));
                let unsure = !matches!(self.tenure.state(), LeaseState::Standby { .. });
                if unsure && (!self.tenure.state().is_held() || !self.is_held()) {
                    self.publish(match &fault {
                        Fault::Forbidden { .. } | Fault::TierForbids { .. } => {
                            LeaseState::Refused(fault.to_string())
                        }
                        _ => LeaseState::Seeking(format!("can't look at the lease: {fault}")),
                    });
                }
            }
        }
    }

    fn is_held(&self) -> bool {
        self.tenancy.borrow().state.is_held()
    }

    /// Tells everybody, also when nothing but a doubt is over.
    fn publish(&self, state: LeaseState) {
        let changed = self.tenancy.borrow().state != state;
        if changed {
            match &state {
                LeaseState::Standby { .. } | LeaseState::Refused(_) => {
                    tracing::warn!(project = %self.terms.project, "standing by: {state}");
                }
                LeaseState::Held { .. } => {
                    tracing::info!(project = %self.terms.project, "the lease is ours: {state}");
                }
                _ => tracing::debug!(project = %self.terms.project, "lease: {state}"),
            }
            (self.terms.tell)(&state);
        }
        let awake = self.awake;
        self.tenancy.send_replace(Tenancy { state, awake });
    }
}

/// A lease that is watched over. Ends when dropped, without giving the lease back.
pub struct Running {
    task: JoinHandle<Leasing>,
    stop: DropGuard,
}

impl Running {
    /// Ends. `give_back` says that nothing of ours goes on at the engine.
    pub async fn end(self, give_back: bool) {
        drop(self.stop);
        if let (Ok(leasing), true) = (self.task.await, give_back) {
            leasing.leave().await;
        }
    }
}
