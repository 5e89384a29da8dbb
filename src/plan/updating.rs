//! A slot under update: which container is kept, and whether the new one has proved itself.

use std::borrow::Cow;
use std::time::Duration;

use super::readiness::Verdict;
use super::service::SlotPlan;
use super::slots::{container_name, temporary_base, temporary_name};
use super::step::{Cause, Op, StepId, Target};
use super::update::{self, DEATHS, PROOF, Pin, REFUSED_STARTS, Stage, Update};
use super::{Planner, Standing};
use crate::compose::types::Service;
use crate::engine::ContainerId;
use crate::observed::{Container, ContainerState, Health, Slot};
use crate::probe::Answer;

/// Exit codes of a process that was asked to end: it worked until then.
const ENDED_BY_SIGNAL: [i64; 4] = [0, 130, 137, 143];

impl<'a> Planner<'a> {
    /// The hash of a service's configuration, namespaces unbound.
    pub(super) fn edition(&self, service: &Service) -> Cow<'a, str> {
        update::edition(self.desired, service)
    }

    /// The failed update that still stands for this service.
    pub(super) fn pinned(&self, service: &Service) -> Option<&'a Pin> {
        let pin = self.memory.pins.get(&service.name)?;
        let image = service.image.as_deref().and_then(|r| self.image_id(r));
        let same =
            pin.edition == self.edition(service) && image.is_none_or(|image| image == pin.image);
        same.then_some(pin)
    }

    /// The container that a slot's update keeps.
    pub(super) fn kept(&self, slot: &Slot) -> Option<&'a ContainerId> {
        self.memory.updates.get(slot).map(|update| &update.kept)
    }

    /// The container to keep when `old` is replaced for `cause`; `None` where nothing says that
    /// it worked, or where there is no way back to it anyway.
    pub(super) fn worth_keeping(
        &self,
        plan: &SlotPlan<'_>,
        old: &'a Container,
        group: &[&'a Container],
        cause: &Cause,
    ) -> Option<&'a Container> {
        // What shares a namespace with a container that goes can't run again.
        let update = matches!(cause, Cause::ConfigChanged | Cause::ImageChanged);
        if !update || plan.traits.job {
            return None;
        }
        let kept = self.kept(&plan.slot).and_then(|id| group.iter().find(|c| c.id == *id));
        let kept = kept.copied().or_else(|| self.works(plan, old).then_some(old))?;
        let wanted = container_name(&self.desired.project.name, plan.service, plan.slot.number);
        let aside = temporary_name(kept, &wanted);
        let holder = self.names.get(aside.as_str());
        holder.is_none_or(|holder| holder.id == kept.id).then_some(kept)
    }

    fn works(&self, plan: &SlotPlan<'_>, container: &Container) -> bool {
        match container.state {
            ContainerState::Running => {
                let verdict = self.judge(plan, container);
                verdict.restart.is_none() && container.health != Health::Unhealthy
            }
            ContainerState::Paused => true,
            ContainerState::Exited => {
                let code = container.exit_code.unwrap_or_default();
                container.started.is_some() && ENDED_BY_SIGNAL.contains(&code)
            }
            _ => false,
        }
    }

    /// Another slot of the service whose update comes first: one at a time, so that a version
    /// that doesn't work takes down one container only.
    pub(super) fn updated_before(&self, slot: &Slot) -> Option<&Slot> {
        let own = self.memory.updates.contains_key(slot);
        let known = self.memory.updates.keys().find(|other| {
            let same = other.project == slot.project && other.service == slot.service;
            same && (other.number < slot.number || other.number > slot.number && !own)
        });
        known.or_else(|| self.updating.get(&slot.service)).filter(|other| *other != slot)
    }

    /// Stops a container that is kept and gives it the name of one that was replaced.
    pub(super) fn set_aside(
        &mut self,
        plan: &SlotPlan<'_>,
        kept: &'a Container,
        mut after: Vec<StepId>,
    ) -> Option<StepId> {
        let mut last = None;
        if kept.is_live() {
            let op = Op::Stop { container: kept.id.clone() };
            let stop = self.push(plan.resource(), op, Cause::Replacement, after);
            self.stopped.insert(&kept.id, stop);
            after = vec![stop];
            last = Some(stop);
        }
        let wanted = container_name(&self.desired.project.name, plan.service, plan.slot.number);
        let name = temporary_name(kept, &wanted);
        if kept.name != name {
            let op = Op::Rename { container: Target::Existing(kept.id.clone()), name };
            last = Some(self.push(plan.resource(), op, Cause::Kept, after));
        }
        last
    }

    /// Whether this is the container that a slot's update keeps, out of the new one's way.
    pub(super) fn is_aside(&self, slot: &Slot, container: &Container) -> bool {
        let kept = self.kept(slot) == Some(&container.id);
        kept && !container.is_live() && temporary_base(&container.name).is_some()
    }

    /// Follows the update of a slot whose container fits. Returns whether it has just failed:
    /// nothing is to be done then before that is remembered.
    pub(super) fn follow(
        &mut self,
        plan: &SlotPlan<'_>,
        new: &'a Container,
        group: &[&'a Container],
        message: &mut String,
    ) -> bool {
        let memory = self.memory;
        let Some(update) = memory.updates.get(&plan.slot) else { return false };
        if update.kept == new.id {
            // Edited back: nothing of the update is left once it stands alone under its name.
            if group.len() == 1 && new.is_live() && temporary_base(&new.name).is_none() {
                self.report.updates.insert(plan.slot.clone(), Stage::Returned);
            }
            return false;
        }
        let stage = self.stage(plan, update, new, group);
        let failed = matches!(stage, Some(Stage::Failed(_)));
        if let Some(stage) = stage {
            self.report.updates.insert(plan.slot.clone(), stage);
            return failed;
        }
        let up = new.state == ContainerState::Running && self.judge(plan, new).ready;
        let what = match up {
            // Only time can tell here.
            true => format!("the new container up for {} s", PROOF.as_secs()),
            false => "the new container ready".to_owned(),
        };
        let standing = Standing::WaitingOn(format!("{what}; the old one is kept until then"));
        if message.is_empty() {
            *message = standing.to_string();
        }
        self.note(plan.resource(), standing);
        false
    }

    /// How far the update of a slot is whose new container is `new`. Wakes when that changes by
    /// time alone.
    pub(super) fn stage(
        &mut self,
        plan: &SlotPlan<'_>,
        update: &Update,
        new: &'a Container,
        group: &[&'a Container],
    ) -> Option<Stage> {
        let why = match new.state {
            ContainerState::Running | ContainerState::Restarting | ContainerState::Paused => {
                let verdict = self.judge(plan, new);
                let up = self.memory.ages.since_start(new, self.now).unwrap_or_default();
                if new.state == ContainerState::Running && verdict.ready {
                    if self.vouched(plan, new) || up >= PROOF {
                        return Some(Stage::Proven);
                    }
                    self.report.wake_at(self.now.mono.after(PROOF.saturating_sub(up)));
                    return None;
                }
                self.too_late(plan, new, &verdict, up)
            }
            _ => None,
        };
        let deaths = update.deaths_of(new, self.observed);
        let died = (deaths >= DEATHS).then(|| {
            let code = new.exit_code.map(|code| format!("exited {code}, ")).unwrap_or_default();
            format!("{code}{deaths} times before it was ready")
        });
        // The engine's own word about a start: other calls that fail say nothing of the version.
        let never = new.started.is_none() && !new.is_live() && !new.error.is_empty();
        let failures = self.memory.backoff.get(&plan.slot).map_or(0, |backoff| backoff.failures);
        let refused = (never && failures >= REFUSED_STARTS)
            .then(|| format!("it can't be started: {}", update::excerpt(&new.error)));
        let why = died.or(refused).or(why)?;
        Some(Stage::Failed(self.failed(plan, update, new, group, why)))
    }

    /// Somebody who can tell calls it ready, not only that it runs.
    fn vouched(&self, plan: &SlotPlan<'_>, new: &Container) -> bool {
        let probe = self.observed.probes.get(&plan.slot).filter(|probe| {
            probe.container == new.id && Some(probe.started) == new.started.map(|t| t.0)
        });
        new.health == Health::Healthy || probe.is_some_and(|p| p.last.answer == Answer::Ready)
    }

    fn too_late(
        &mut self,
        plan: &SlotPlan<'_>,
        new: &Container,
        verdict: &Verdict,
        up: Duration,
    ) -> Option<String> {
        if let Some(reason) = &verdict.restart {
            return Some(format!("unhealthy: {reason}"));
        }
        if new.state != ContainerState::Running {
            return None;
        }
        let limit = update::deadline(plan.service, plan.traits, new);
        if up >= limit {
            let message = match verdict.message.as_str() {
                "" => String::new(),
                message => format!(" ({message})"),
            };
            return Some(format!("not ready within {} s{message}", limit.as_secs()));
        }
        self.report.wake_at(self.now.mono.after(limit.saturating_sub(up)));
        None
    }

    fn failed(
        &self,
        plan: &SlotPlan<'_>,
        update: &Update,
        new: &Container,
        group: &[&'a Container],
        why: String,
    ) -> Pin {
        let old = group.iter().find(|c| c.id == update.kept);
        let image = self.observed.images.iter().any(|image| image.id == update.image);
        let mounts = new.mounts.iter().chain(old.iter().flat_map(|old| &old.mounts));
        let writable = mounts.filter(|m| m.rw && matches!(m.kind.as_str(), "volume" | "bind"));
        let facts = update::Facts {
            ran: new.started.is_some(),
            same_image: new.image_id == update.image,
            writable: writable.map(|m| m.destination.clone()).collect(),
            way_back: old.is_some() || update.body.is_some() && image,
            container: new.name.clone(),
        };
        Pin {
            edition: self.edition(plan.service).into_owned(),
            image: new.image_id.clone(),
            why,
            before: format!(
                "image {}, configuration {}",
                update::short_image(&update.image),
                update.hash.get(..12).unwrap_or(&update.hash)
            ),
            person: update::needs_person(self.desired.policy.rollback, &facts),
        }
    }
}
