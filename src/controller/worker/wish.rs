//! What a person wants of a running loop: to be tried again, or to be told how it stands.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::afresh::asked;
use super::{Link, Tap, View, Worker, ledger, updates};
use crate::plan::hold::HoldEnd;
use crate::plan::{Scope, Standing, plan};
use crate::recovery::{IncidentId, Word};

/// What a person wants.
pub enum Wish {
    /// What waits for a later attempt is tried at once.
    Afresh(Scope),
    /// A person's word about an incident, and who it is. The answer: whether it is open.
    Incident(IncidentId, Word, String, oneshot::Sender<bool>),
    /// How these services stand now, by the newest facts and all that the loop remembers.
    Look(Scope, oneshot::Sender<View>),
    /// These services, or the whole stack, are to be left alone. Answered, with what changed, once
    /// it is written down.
    Pause(BTreeSet<String>, String, oneshot::Sender<Vec<String>>),
    /// The holds on these services, or all, are over.
    Release(BTreeSet<String>, HoldEnd, oneshot::Sender<Vec<String>>),
    /// The same, as a person's `apply` would find it: what failed before is to be tried again.
    Foresee(Scope, oneshot::Sender<View>),
}

impl Tap {
    /// Pauses these services, or the whole stack, in the name of a user; returns what changed.
    /// `None` when the loop is over.
    pub async fn pause(&self, services: BTreeSet<String>, who: String) -> Option<Vec<String>> {
        let (answer, changed) = oneshot::channel();
        self.wishes.send(Wish::Pause(services, who, answer)).await.ok()?;
        changed.await.ok()
    }

    /// Ends the holds on these services, or all; returns what changed. `None` when the loop is
    /// over.
    pub async fn release(&self, services: BTreeSet<String>, end: HoldEnd) -> Option<Vec<String>> {
        let (answer, changed) = oneshot::channel();
        self.wishes.send(Wish::Release(services, end, answer)).await.ok()?;
        changed.await.ok()
    }

    /// How the services of a scope stand now; `None` when the loop is over.
    pub async fn look(&self, scope: &Scope) -> Option<View> {
        let (answer, view) = oneshot::channel();
        self.wishes.send(Wish::Look(scope.clone(), answer)).await.ok()?;
        view.await.ok()
    }

    /// The same, as a person's `apply` would find it.
    pub async fn foresee(&self, scope: &Scope) -> Option<View> {
        let (answer, view) = oneshot::channel();
        self.wishes.send(Wish::Foresee(scope.clone(), answer)).await.ok()?;
        view.await.ok()
    }
}

impl Worker {
    /// Does what is wanted. Returns whether there is something new to plan for.
    pub(super) async fn grant(&mut self, wish: Wish) -> bool {
        match wish {
            Wish::Afresh(scope) => {
                self.start_afresh(&scope);
                true
            }
            Wish::Pause(services, who, answer) => {
                let _ = answer.send(self.pause_services(&services, &who).await);
                true
            }
            Wish::Release(services, end, answer) => {
                let _ = answer.send(self.release_holds(&services, &end).await);
                true
            }
            Wish::Incident(id, word, by, answer) => {
                let known = self.obey(&id, &word, &by);
                // Whoever asked may have left.
                let _ = answer.send(known);
                known
            }
            Wish::Look(scope, answer) => {
                // Whoever asked may have left.
                let _ = answer.send(self.look(&scope, false));
                false
            }
            Wish::Foresee(scope, answer) => {
                let _ = answer.send(self.look(&scope, true));
                false
            }
        }
    }

    /// Plans for a scope and does nothing.
    fn look(&mut self, scope: &Scope, again: bool) -> View {
        let snapshot = self.parts.observer.snapshots.borrow().clone();
        let goal = self.parts.goal.borrow().clone();
        let (Link::Live, Some(goal)) = (&snapshot.link, goal) else {
            let (link, observed) = (snapshot.link, snapshot.observed);
            return View { link, observed, lease: self.parts.permit.state(), ..View::default() };
        };
        if !self.is_shown(&goal.desired.project.name, &snapshot) {
            return View { link: Link::Connecting, ..View::default() };
        }
        let mut observed = (*snapshot.observed).clone();
        observed.probes = self.probes.clone();
        let scope = if scope.services.is_empty() { &goal.scope } else { scope };
        let now = self.parts.clock.now();
        let doubtful = self.set_doubtful(&observed);
        // As an `apply` would find it.
        let mut memory = self.memory.clone();
        let services = asked(&goal.desired.project, scope);
        if again {
            updates::ask_again(&mut memory, &services);
        }
        memory.insisted.add(services);
        let (plan, report) = plan(&goal.desired, &observed, &memory, scope, now);
        let busy = match scope.services.is_empty() {
            true => self.memory.busy.len(),
            false => report.entries.iter().filter(|e| e.standing == Standing::InProgress).count(),
        };
        self.memory.busy.retain(|resource| !doubtful.contains(resource));
        View {
            turn: self.turn,
            revision: snapshot.revision,
            generation: goal.desired.generation,
            link: Link::Live,
            observed: Arc::new(observed),
            plan: Arc::new(plan),
            unproven: ledger::unproven(&self.memory, &report),
            incidents: Arc::new(self.memory.incidents.all()),
            brake: self.memory.incidents.brake(),
            report: Arc::new(report),
            busy,
            holds: memory.holds,
            lease: self.parts.permit.state(),
        }
    }
}
