//! A tier below `reconcile`: what may not be done isn't planned, and nothing is prepared for it.
//!
//! In the tier `observe` nothing is begun at all, so its plan shows what would have to be done.

use std::collections::{BTreeMap, BTreeSet};

use super::step::{Op, Resource, StepId};
use super::{Planner, Standing};
use crate::engine::Tier;

impl Op {
    /// The least tier that allows it.
    pub const fn tier(&self) -> Tier {
        match self {
            Self::CreateNetwork { .. }
            | Self::RemoveNetwork { .. }
            | Self::CreateVolume { .. }
            | Self::Pull { .. }
            | Self::Create { .. }
            | Self::Recreate { .. }
            | Self::Remove { .. }
            | Self::Rename { .. } => Tier::Reconcile,
            Self::Connect { .. }
            | Self::Disconnect { .. }
            | Self::Start { .. }
            | Self::Stop { .. }
            | Self::Unpause { .. }
            | Self::Restart { .. } => Tier::Heal,
        }
    }

    /// It takes something away for the sake of what follows: without that it would only harm.
    const fn prepares(&self) -> bool {
        matches!(self, Self::Stop { .. } | Self::Disconnect { .. })
    }
}

impl Planner<'_> {
    /// Takes out what the tier doesn't allow, what follows from it and what only prepares it, and
    /// says so.
    pub(super) fn keep_within_tier(&mut self) {
        let tier = self.memory.tier;
        if tier != Tier::Heal {
            return;
        }
        let forbidden: BTreeMap<StepId, Resource> = self
            .steps
            .iter()
            .filter(|step| step.op.tier() > tier)
            .map(|step| (step.id, step.resource.clone()))
            .collect();
        if forbidden.is_empty() {
            return;
        }
        let dropped = self.dropped_with(forbidden.keys().copied().collect());
        self.say_forbidden(tier, &forbidden, &dropped);
        let kept = std::mem::take(&mut self.steps).into_iter().filter(|s| !dropped.contains(&s.id));
        let mut numbers = BTreeMap::new();
        for mut step in kept {
            let id = StepId(self.steps.len() + 1);
            numbers.insert(step.id, id);
            step.id = id;
            step.after = step.after.iter().filter_map(|a| numbers.get(a).copied()).collect();
            self.steps.push(step);
        }
    }

    /// Everything that goes with these steps.
    fn dropped_with(&self, mut dropped: BTreeSet<StepId>) -> BTreeSet<StepId> {
        loop {
            let before = dropped.len();
            let gone = self.steps.iter().filter(|step| dropped.contains(&step.id));
            let prepared: BTreeSet<StepId> = gone.flat_map(|step| step.after.clone()).collect();
            for step in &self.steps {
                let follows = step.after.iter().any(|after| dropped.contains(after));
                if follows || step.op.prepares() && prepared.contains(&step.id) {
                    dropped.insert(step.id);
                }
            }
            if dropped.len() == before {
                return dropped;
            }
        }
    }

    fn say_forbidden(
        &mut self,
        tier: Tier,
        forbidden: &BTreeMap<StepId, Resource>,
        dropped: &BTreeSet<StepId>,
    ) {
        let steps = self.steps.iter().filter(|step| dropped.contains(&step.id));
        let mut said: BTreeMap<Resource, Standing> = BTreeMap::new();
        for step in steps {
            let standing = if forbidden.contains_key(&step.id) {
                let what = format!(
                    "the tier {tier} doesn't allow `{}` ({}); start with --tier reconcile",
                    step.op, step.cause
                );
                Standing::Blocked(what)
            } else {
                Standing::WaitingOn(format!("what the tier {tier} doesn't allow"))
            };
            let blocked = matches!(standing, Standing::Blocked(_));
            let known = said.entry(step.resource.clone()).or_insert_with(|| standing.clone());
            if blocked && !matches!(known, Standing::Blocked(_)) {
                *known = standing;
            }
        }
        for (resource, standing) in said {
            if let Resource::Slot(slot) = &resource
                && let Some(report) = self.report.slots.get_mut(slot)
                && report.message.is_empty()
            {
                report.message = standing.to_string();
            }
            self.note(resource, standing);
        }
    }
}
