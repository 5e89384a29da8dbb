//! Turns a turn of the loop into the status that people and programs read. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::conditions::{
    camel, failed_updates, held_conditions, holds_true, set_held, stall, unanswered, worst,
};
use super::observer::Link;
use super::verdict;
use super::worker::{Goal, View};
use crate::api::status::{
    Condition, ConditionStatus, EngineView, IncidentView, LeaseView, NetworkView, PlanView,
    ReportView, ServiceStatusView, StackStatus, Status, StepView, VolumeView, set_condition,
};
use crate::clock::Timestamp;
use crate::engine::{Fault, fault};
use crate::lease::{self, Holder, LeaseState};
use crate::observed::{Container, Observed, Slot, labels};
use crate::plan::{Entry, Plan, Report, Resource, SlotReport, Standing};
use crate::recovery::Incident;
use crate::store::Health;

/// What is known of a stack's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceView {
    /// Why the newest edit can't be used, with the place; empty while it can.
    pub error: String,
    /// The files are gone or can't be read.
    pub gone: bool,
    /// Fingerprint of the last good load.
    pub fingerprint: String,
    /// Which other stack keeps the same project; empty while none does.
    pub conflict: String,
    /// How the journal stands that keeps what is known of the stack; `None` where there is none.
    pub journal: Option<Health>,
}

/// One stack, as its worker and its follower see it.
#[derive(Clone)]
pub struct StackSight {
    /// The stack's name.
    pub name: String,
    /// What it should look like, once that is known.
    pub goal: Option<Goal>,
    /// The worker's last turn.
    pub view: View,
    /// Its files.
    pub source: SourceView,
}

/// The status of everything. `before` gives conditions their times.
pub fn status(endpoint: &str, sights: &[StackSight], before: &Status, now: Timestamp) -> Status {
    let mut status = Status::default();
    let live = sights.iter().find(|s| s.view.link == Link::Live);
    let observed = live.or_else(|| sights.first()).map(|s| &s.view.observed);
    status.leases = observed.map(|observed| leases(observed, sights)).unwrap_or_default();
    status.engine = engine(endpoint, sights, observed.map(|o| &**o));
    status.observed_at = observed.map(|o| o.at.wall).filter(|at| at.0 > 0);
    for sight in sights {
        let old = before.stack(&sight.name);
        status.stacks.push(stack(sight, old, now));
        let Some(goal) = &sight.goal else { continue };
        let unseen = unseen(goal, &sight.view);
        for (slot, report) in sight.view.report.slots.iter().chain(&unseen) {
            let old = before.services.iter().find(|s| {
                s.project == slot.project && s.service == slot.service && s.slot == slot.number
            });
            status.services.push(service(sight, slot, report, old, now));
        }
        status.networks.extend(networks(goal, &sight.view));
        status.volumes.extend(volumes(goal, &sight.view));
        let ours = |i: &&Incident| i.slot.project == goal.desired.project.name;
        status.incidents.extend(sight.view.incidents.iter().filter(ours).map(IncidentView::from));
        status.plans.push(plan_view(&sight.name, &sight.view.plan, &sight.view.report));
    }
    status
}

/// The slots that the files ask for while nobody has ever seen what there is of them.
fn unseen(goal: &Goal, view: &View) -> BTreeMap<Slot, SlotReport> {
    if !view.report.slots.is_empty() || view.link == Link::Live {
        return BTreeMap::new();
    }
    let message = match &view.link {
        Link::Stale(fault) => fault.to_string(),
        _ => "the engine hasn't answered yet".to_owned(),
    };
    let project = &goal.desired.project;
    let slots = project.services.values().flat_map(|service| {
        (1..=service.scale).map(|number| Slot {
            project: project.name.clone(),
            service: service.name.clone(),
            number,
        })
    });
    slots
        .map(|slot| (slot, SlotReport { message: message.clone(), ..SlotReport::default() }))
        .collect()
}

fn engine(endpoint: &str, sights: &[StackSight], observed: Option<&Observed>) -> EngineView {
    let info = observed.map(|o| o.engine.clone()).unwrap_or_default();
    let (major, minor) = info.capabilities.api;
    let fault = sights.iter().find_map(|s| match &s.view.link {
        Link::Stale(fault) => Some(fault.to_string()),
        _ => None,
    });
    EngineView {
        endpoint: endpoint.to_owned(),
        id: info.id,
        version: info.version,
        api_version: format!("{major}.{minor}"),
        reachable: sights.iter().any(|s| s.view.link == Link::Live),
        message: fault.unwrap_or_default(),
    }
}

fn told(entry: &Entry) -> String {
    format!("{}: {}", entry.resource, entry.standing)
}

fn stack(sight: &StackSight, old: Option<&StackStatus>, now: Timestamp) -> StackStatus {
    let (report, view) = (&sight.view.report, &sight.view);
    let generation = sight.goal.as_ref().map_or(0, |g| g.desired.generation);
    let ready = report.slots.values().filter(|s| s.status.is_good()).count();
    let desired = report.slots.len();
    let idle = view.plan.is_empty() && view.busy == 0 && view.link == Link::Live;
    let hindered = report.entries.iter().find(|entry| verdict::hinders(&entry.standing));
    let synced = idle && hindered.is_none();
    let waiting: Vec<String> = report
        .entries
        .iter()
        .filter(|e| !matches!(e.standing, Standing::Notice(_)))
        .map(told)
        .collect();
    let mut conditions = old.map(|o| o.conditions.clone()).unwrap_or_default();
    for condition in held_conditions(view.holds.iter(), now, view.generation) {
        set_held(&mut conditions, condition);
    }
    let mut set = |kind: &str, status: ConditionStatus, reason: &str, message: String| {
        set_condition(
            &mut conditions,
            Condition {
                kind: kind.into(),
                status,
                reason: reason.into(),
                message,
                last_transition_time: now.rfc3339(),
                observed_generation: view.generation,
            },
        );
    };
    let all_ready = ready == desired && desired > 0 && view.link == Link::Live;
    let reason = if all_ready { "AllReady" } else { "NotAllReady" };
    set("Ready", holds_true(all_ready), reason, format!("{ready} of {desired} ready"));
    let (reason, message) = match hindered.filter(|_| idle) {
        _ if synced => ("InSync", waiting.first().cloned().unwrap_or_default()),
        Some(entry) if entry.standing.is_pending() => ("Waiting", told(entry)),
        Some(entry) => ("Blocked", told(entry)),
        None => ("Progressing", waiting.first().cloned().unwrap_or_default()),
    };
    set("Synced", holds_true(synced), reason, message);
    let source = &sight.source;
    let (source_status, reason, message) = match source {
        _ if source.gone => (ConditionStatus::False, "SourceGone", &source.error),
        _ if !source.error.is_empty() => (ConditionStatus::False, "Invalid", &source.error),
        _ if !source.conflict.is_empty() => {
            (ConditionStatus::False, "ProjectTaken", &source.conflict)
        }
        _ if sight.goal.is_none() => (ConditionStatus::Unknown, "Loading", &source.error),
        _ => (ConditionStatus::True, "Valid", &source.error),
    };
    set("SourceValid", source_status, reason, message.clone());
    let (engine_reason, message) = match &view.link {
        Link::Live => ("Connected", String::new()),
        Link::Connecting => ("Connecting", String::new()),
        Link::Stale(fault) => (fault.reason(), fault.to_string()),
    };
    set("EngineReachable", holds_true(view.link == Link::Live), engine_reason, message);
    let refused = refused_calls(view);
    let (reason, message) = if refused.is_empty() {
        ("NothingRefused", String::new())
    } else {
        ("EngineRefuses", fault::refused(refused.iter().copied()))
    };
    set("PermissionMissing", holds_true(!refused.is_empty()), reason, message);
    let full = report.entries.iter().find_map(|entry| match &entry.standing {
        Standing::Full { why, .. } => Some(why.clone()),
        _ => None,
    });
    let reason = if full.is_some() { "NoRoomForImages" } else { "EnoughRoom" };
    set("DiskFull", holds_true(full.is_some()), reason, full.unwrap_or_default());
    let lost = &report.lost;
    let reason = if lost.is_empty() { "NothingLost" } else { "VolumeRemoved" };
    set("DataLost", holds_true(!lost.is_empty()), reason, lost.join("; "));
    if let Some(journal) = &source.journal {
        let (reason, message) = match (&journal.failing, &journal.rebuilt) {
            (Some(failing), _) => (failing.reason, failing.message.clone()),
            (None, Some(what)) => ("Rebuilt", what.clone()),
            (None, None) => ("Writable", String::new()),
        };
        set("JournalUsable", holds_true(journal.failing.is_none()), reason, message);
    }
    let (reason, message) = failed_updates(report);
    set("UpdateFailed", holds_true(reason != "NoneFailed"), reason, message);
    let stalled = view.incidents.iter().filter(|i| i.is_open() && i.stopped.is_some());
    let (status, reason, message) = stall(stalled);
    set("Stalled", status, reason, message);
    let brake = view.brake.map(|brake| brake.to_string());
    let reason = if brake.is_some() { "BelowMinHealthy" } else { "EnoughHealthy" };
    set("Braked", holds_true(brake.is_some()), reason, brake.unwrap_or_default());
    if let Some(lease) = &view.lease {
        let held = match lease {
            LeaseState::Held { .. } => ConditionStatus::True,
            LeaseState::Seeking(_) => ConditionStatus::Unknown,
            _ => ConditionStatus::False,
        };
        set("LeaseHeld", held, lease.reason(), lease.to_string());
    }
    let others = view
        .lease
        .as_ref()
        .filter(|lease| matches!(lease, LeaseState::Standby { .. } | LeaseState::Refused(_)));
    let whole = view.holds.of_stack();
    let (status, worst) = worst(&conditions, whole.is_some());
    let message = Some(worst)
        .filter(|text| !text.is_empty() && !matches!(&*status, "NotReady" | "Progressing"))
        .or_else(|| others.map(ToString::to_string))
        .or_else(|| whole.map(|hold| format!("{}, since {}", hold.why(), hold.since)))
        .or_else(|| waiting.first().cloned())
        .or_else(|| lost.first().cloned());
    StackStatus {
        name: sight.name.clone(),
        project: sight.goal.as_ref().map(|g| g.desired.project.name.clone()).unwrap_or_default(),
        generation,
        observed_generation: view.generation,
        hash: source.fingerprint.clone(),
        synced,
        ready: u32::try_from(ready).unwrap_or(u32::MAX),
        desired: u32::try_from(desired).unwrap_or(u32::MAX),
        status,
        message: message.unwrap_or_default(),
        held_by: whole.map(|hold| hold.by().to_owned()).unwrap_or_default(),
        held_since: whole.map(|hold| hold.since),
        conditions,
    }
}

fn leases(observed: &Observed, sights: &[StackSight]) -> Vec<LeaseView> {
    let ours = |project: &str, epoch: u64| {
        sights.iter().any(|sight| {
            sight.goal.as_ref().is_some_and(|goal| goal.desired.project.name == project)
                && sight.view.lease == Some(LeaseState::Held { epoch })
        })
    };
    let strongest = lease::strongest(observed.volumes.values());
    let view = |(project, found): (String, lease::Found)| {
        let nobody = Holder::default();
        let holder = found.holder.as_ref();
        let known = holder.unwrap_or(&nobody);
        LeaseView {
            epoch: found.epoch,
            ours: ours(&project, found.epoch),
            project,
            holder: holder.map(ToString::to_string).unwrap_or_default(),
            host: known.host.clone(),
            user: known.user.clone(),
            pid: known.pid,
            version: known.version.clone(),
            control: known.control.clone(),
            since: known.since.map(Timestamp),
        }
    };
    strongest.into_iter().map(view).collect()
}

/// Calls that somebody before the engine doesn't let through.
fn refused_calls(view: &View) -> BTreeSet<&str> {
    let mut calls: BTreeSet<&str> = view.report.refused.iter().map(String::as_str).collect();
    if let Link::Stale(Fault::Forbidden { call, .. }) = &view.link {
        calls.insert(call);
    }
    calls
}

fn service(
    sight: &StackSight,
    slot: &Slot,
    report: &SlotReport,
    old: Option<&ServiceStatusView>,
    now: Timestamp,
) -> ServiceStatusView {
    let observed = &sight.view.observed;
    let container = report.container.as_ref().and_then(|id| observed.container(id));
    let resource = Resource::Slot(slot.clone());
    let planned = sight.view.plan.steps.iter().any(|s| s.resource == resource);
    let mut entries = sight.view.report.entries.iter();
    let hindered = entries.any(|e| e.resource == resource && verdict::hinders(&e.standing));
    let mut conditions = old.map(|o| o.conditions.clone()).unwrap_or_default();
    let good = report.status.is_good();
    set_condition(
        &mut conditions,
        Condition {
            kind: "Ready".into(),
            status: holds_true(good),
            reason: camel(report.status.word()),
            message: report.message.clone(),
            last_transition_time: now.rfc3339(),
            observed_generation: sight.view.generation,
        },
    );
    if sight.goal.as_ref().is_some_and(|goal| goal.probes.contains_key(&slot.service)) {
        let probe =
            observed.probes.get(slot).filter(|p| container.is_some_and(|c| c.id == p.container));
        for (kind, status, reason, message) in unanswered(probe) {
            set_condition(
                &mut conditions,
                Condition {
                    kind: kind.into(),
                    status,
                    reason,
                    message,
                    last_transition_time: now.rfc3339(),
                    observed_generation: sight.view.generation,
                },
            );
        }
    }
    let holds = &sight.view.holds;
    let about = holds.iter().filter(|(on, _)| on.has(slot));
    for condition in held_conditions(about, now, sight.view.generation) {
        set_held(&mut conditions, condition);
    }
    let hold = holds.of(slot);
    let stalled = sight.view.incidents.iter();
    let stalled = stalled.filter(|i| i.is_open() && i.stopped.is_some() && i.slot == *slot);
    let (status, reason, message) = stall(stalled);
    set_condition(
        &mut conditions,
        Condition {
            kind: "Stalled".into(),
            status,
            reason: reason.into(),
            message,
            last_transition_time: now.rfc3339(),
            observed_generation: sight.view.generation,
        },
    );
    let wanted = sight.goal.as_ref().and_then(|g| g.desired.project.services.get(&slot.service));
    let image = wanted.and_then(|s| s.image.clone()).unwrap_or_default();
    let text = |get: fn(&Container) -> String| container.map(get).unwrap_or_default();
    ServiceStatusView {
        project: slot.project.clone(),
        service: slot.service.clone(),
        slot: slot.number,
        status: report.status,
        health: container.map(|c| c.health).unwrap_or_default(),
        synced: !planned && !report.differs && !hindered && report.status.is_settled(),
        container_id: text(|c| c.id.0.clone()),
        container_name: text(|c| c.name.clone()),
        image: container.map_or(image, |c| c.image.clone()),
        restarts: container.map_or(0, |c| c.restart_count),
        started_at: container.filter(|c| c.is_live()).and_then(|c| c.started),
        message: report.message.clone(),
        held_by: hold.map(|hold| hold.by().to_owned()).unwrap_or_default(),
        held_since: hold.map(|hold| hold.since),
        conditions,
    }
}

fn networks(goal: &Goal, view: &View) -> Vec<NetworkView> {
    let project = &goal.desired.project;
    let mut members: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in view.observed.containers.values().filter(|c| c.is_live()) {
        for endpoint in container.networks.values() {
            members.entry(&endpoint.network_id).or_default().insert(&container.id.0);
        }
    }
    project
        .networks
        .values()
        .map(|network| {
            let found = view.observed.networks.values().find(|n| n.name == network.name);
            let resource = Resource::Network(network.name.clone());
            let planned = view.plan.steps.iter().any(|s| s.resource == resource);
            NetworkView {
                project: project.name.clone(),
                key: network.key.clone(),
                name: network.name.clone(),
                id: found.map(|n| n.id.clone()).unwrap_or_default(),
                driver: found.map(|n| n.driver.clone()).unwrap_or_default(),
                external: network.external,
                synced: found.is_some() && !planned,
                members: found
                    .and_then(|n| members.get(n.id.as_str()))
                    .map_or(0, |m| u32::try_from(m.len()).unwrap_or(u32::MAX)),
                message: message_of(&view.report, &resource),
            }
        })
        .collect()
}

fn volumes(goal: &Goal, view: &View) -> Vec<VolumeView> {
    let project = &goal.desired.project;
    project
        .volumes
        .values()
        .map(|volume| {
            let found = view.observed.volumes.get(&volume.name);
            VolumeView {
                project: project.name.clone(),
                key: volume.key.clone(),
                name: volume.name.clone(),
                driver: found.map(|v| v.driver.clone()).unwrap_or_default(),
                external: volume.external
                    || found.is_some_and(|v| !v.labels.contains_key(labels::PROJECT)),
                exists: found.is_some(),
                message: message_of(&view.report, &Resource::Volume(volume.name.clone())),
            }
        })
        .collect()
}

fn message_of(report: &Report, resource: &Resource) -> String {
    let entry = report.entries.iter().find(|e| e.resource == *resource);
    entry.map(|e| e.standing.to_string()).unwrap_or_default()
}

/// A plan and its report in the API's words.
pub fn plan_view(stack: &str, plan: &Plan, report: &Report) -> PlanView {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    PlanView {
        stack: stack.to_owned(),
        generation: plan.generation,
        steps: plan
            .steps
            .iter()
            .map(|s| StepView {
                id: number(s.id.0),
                after: s.after.iter().map(|a| number(a.0)).collect(),
                object: s.resource.to_string(),
                op: s.op.to_string(),
                cause: s.cause.to_string(),
            })
            .collect(),
        report: report
            .entries
            .iter()
            .map(|e| {
                let text = e.standing.to_string();
                let (reason, message) = text.split_once('(').unwrap_or((&text, ""));
                ReportView {
                    object: e.resource.to_string(),
                    reason: reason.to_owned(),
                    message: message.trim_end_matches(')').to_owned(),
                }
            })
            .collect(),
        text: plan.to_string(),
    }
}
