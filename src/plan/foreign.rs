//! Containers that others made otherwise than the files say, and stacks whose files are seen under
//! another path: left alone, and said.
//!
//! - **Adoption**: nothing of this service was ever applied here. The first run over a running
//!   stack recreates nothing.
//! - **Foreign**: just this configuration was applied before, and somebody has put another
//!   container there since. Their word is the newer one, until the files change.
//! - **Path**: the same files seen from elsewhere name other folders of the host. A container made
//!   from there would start on an empty folder.

use std::collections::BTreeMap;
use std::path::Path;

use super::memory::Note;
use super::service::{SlotPlan, SlotState};
use super::step::{Cause, Target};
use super::{Planner, Standing};
use crate::compose::translate::{self, BindContext, Parent, ParentIds};
use crate::compose::types::MountKind;
use crate::engine::Tier;
use crate::observed::{Container, Fields};

/// Differing settings that are named; of more, only how many.
const NAMED: usize = 6;

impl Planner<'_> {
    /// Why a container that doesn't fit its slot stays as it is; `None` if it doesn't stay.
    pub(super) fn left_alone(
        &self,
        plan: &SlotPlan<'_>,
        container: &Container,
        cause: &Cause,
    ) -> Option<Standing> {
        if self.memory.tier == Tier::Heal
            && matches!(cause, Cause::ConfigChanged | Cause::ImageChanged | Cause::PullPolicy)
        {
            return Some(Standing::Blocked(format!(
                "{cause}; the tier heal replaces no container: start with --tier reconcile"
            )));
        }
        if !matches!(cause, Cause::ConfigChanged | Cause::ImageChanged) {
            return None;
        }
        if container.is_live()
            && let Some(moved) = self.moved().or_else(|| self.bound_elsewhere(plan, container))
        {
            return Some(Standing::Blocked(moved));
        }
        let ours = self.memory.owned.contains(&container.id)
            || self.kept(&plan.slot) == Some(&container.id);
        if ours || self.memory.insisted.has(&plan.service.name) {
            return None;
        }
        let found = self.memory.noted(Note::Found, &plan.service.name).is_some();
        let why = match self.applied_before(plan) {
            None => "made before homeostat came",
            Some(true) if found => "made before homeostat came",
            // Its image has another ID since: that is an edit by whoever moved the name.
            Some(true) if matches!(cause, Cause::ImageChanged) => return None,
            Some(true) => "made by somebody else since",
            Some(false) => return None,
        };
        let mut differing = self.differing(plan, container);
        if matches!(cause, Cause::ImageChanged) {
            differing = vec!["image, which has another ID now".into()];
        }
        Some(Standing::Held(format!(
            "differs: {}; {why}; edit the file or run `homeostat apply` to have it as the file says",
            named(&differing)
        )))
    }

    /// Homeostat itself runs in it.
    pub(super) fn is_own(&self, container: &Container) -> bool {
        self.memory.own.as_ref() == Some(&container.id)
    }

    /// Our own container is nobody's to touch: who would start it again?
    pub(super) fn leave_ourselves(
        &mut self,
        plan: &SlotPlan<'_>,
        own: &Container,
        mut state: SlotState,
    ) -> SlotState {
        let Some(cause) = self.drift(plan, own) else { return state };
        let why = format!(
            "{cause}; homeostat runs in this container and doesn't replace itself: run `docker \
             compose up -d {}`",
            plan.service.name
        );
        state.report.differs = true;
        state.report.message.clone_from(&why);
        self.note(plan.resource(), Standing::Blocked(why));
        state
    }

    /// Whether this very configuration was the last one that was applied; `None` if nothing ever
    /// was.
    fn applied_before(&self, plan: &SlotPlan<'_>) -> Option<bool> {
        let name = plan.service.name.as_str();
        match self.desired.hashes.get(name) {
            Some(wanted) => self.memory.applied.get(name).map(|applied| applied == wanted),
            // Its hash has its parents' containers in it: nothing is written down of it alone.
            None => (!self.memory.applied.is_empty()).then_some(false),
        }
    }

    /// Another path under which live containers of this project were made.
    fn moved(&self) -> Option<String> {
        let here = self.desired.project.working_dir.display().to_string();
        let live = self.by_service.values().flatten().filter(|c| c.is_live());
        let there = live.filter_map(|c| c.working_dir.as_deref()).find(|there| *there != here)?;
        Some(format!(
            "project path differs: {here}, was {there}; mount the folder at the same path, set \
             spec.source.hostPath, or run `docker compose up -d` if the project has moved"
        ))
    }

    /// Why a container would be made anew from another folder of the host than it has, though
    /// nobody edited a file: a variable or the home folder is another one, and a database would
    /// start on an empty folder.
    fn bound_elsewhere(&self, plan: &SlotPlan<'_>, container: &Container) -> Option<String> {
        let edited = match self.memory.noted(Note::Files, &plan.service.name) {
            Some(files) => files != self.desired.files,
            // Nobody knows which files it was made from.
            None => self.memory.owned.contains(&container.id),
        };
        if edited {
            return None;
        }
        let binds = plan.service.mounts.iter().filter(|mount| mount.kind == MountKind::Bind);
        let (here, there) = binds
            .filter_map(|mount| Some((mount.source.as_deref()?, mount)))
            .find_map(|(source, mount)| {
                let mut theirs = container.mounts.iter().filter(|m| m.kind == "bind");
                let there = theirs.find(|m| m.destination == mount.target)?;
                (Path::new(source) != Path::new(&there.source)).then_some((source, &there.source))
            })?;
        Some(format!(
            "bind source differs: {here}, was {there}, and no file was edited; set the variable or \
             the home folder that it follows from, or run `docker compose up -d` if it is meant"
        ))
    }

    /// A new container that would be made from other folders than its neighbours.
    pub(super) fn misplaced(&self, plan: &SlotPlan<'_>) -> Option<Standing> {
        let folder = &self.desired.project.working_dir;
        let binds = plan.service.mounts.iter().filter(|m| m.kind == MountKind::Bind);
        let mut sources = binds.filter_map(|m| m.source.as_deref());
        if !sources.any(|source| Path::new(source).starts_with(folder)) {
            return None;
        }
        self.moved().map(Standing::Blocked)
    }

    /// The settings in which a container differs from what is wanted.
    fn differing(&self, plan: &SlotPlan<'_>, container: &Container) -> Vec<String> {
        let project = &self.desired.project;
        let mut ids = ParentIds::default();
        for (parent, target) in plan.parents.unwrap_or_default() {
            if let Target::Existing(id) = target {
                let parent_is = Parent { id: id.0.clone(), name: parent.clone() };
                ids.0.insert(parent.clone(), vec![parent_is]);
            }
        }
        let context = BindContext {
            api: self.observed.engine.capabilities.api,
            replaces: None,
            env_files: &[],
            images: &BTreeMap::new(),
            seccomp_profiles: &BTreeMap::new(),
            proxy_environment: &BTreeMap::new(),
            hash: &crate::compose::service_hash,
        };
        let number = plan.slot.number;
        match translate::bind(plan.service, project, &ids, "", number, &context) {
            Ok(bound) => Fields::of_body(bound.body.expose()).differing(&container.fields),
            Err(_) => Vec::new(),
        }
    }
}

fn named(differing: &[String]) -> String {
    match differing.len() {
        0 => "its configuration hash".into(),
        1..=NAMED => differing.join(", "),
        more => format!("{} and {} more", differing[..NAMED].join(", "), more - NAMED),
    }
}
