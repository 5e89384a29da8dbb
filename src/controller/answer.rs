//! Answers `plan`: the one place where a plan becomes text and a document. Pure.

use super::verdict;
use crate::api::plan::{
    PlanAnswer, PlanDocument, PlannedEntry, PlannedResource, PlannedService, PlannedStep,
};
use crate::plan::{Plan, Report, Resource, Scope, Standing};

/// What `plan` says of a project's services in scope, as the engine at `endpoint` shows them.
pub fn answer(
    project: &str,
    endpoint: &str,
    scope: &Scope,
    plan: &Plan,
    report: &Report,
) -> PlanAnswer {
    PlanAnswer {
        text: text(project, endpoint, scope, plan, report),
        document: document(project, scope, plan, report),
    }
}

fn text(project: &str, endpoint: &str, scope: &Scope, plan: &Plan, report: &Report) -> String {
    let mut out = String::new();
    if !plan.is_empty() {
        out.push_str(&format!("Plan for {project} on {endpoint}\n\n{plan}\n"));
    }
    if !report.entries.is_empty() {
        out.push_str(&format!("Not done\n\n{report}\n"));
    }
    out.push_str(&summary(project, scope, plan, report));
    out.push('\n');
    out
}

/// One line: `demo: 3 steps to do, 1 waiting; 2 of 5 ready`.
fn summary(project: &str, scope: &Scope, plan: &Plan, report: &Report) -> String {
    let todo = match plan.steps.len() {
        0 => "nothing to do".to_owned(),
        1 => "1 step to do".to_owned(),
        steps => format!("{steps} steps to do"),
    };
    let (mut waiting, mut blocked, mut held, mut exhausted) = (0usize, 0usize, 0usize, 0usize);
    for entry in &report.entries {
        match &entry.standing {
            Standing::WaitingOn(_) | Standing::Backoff { .. } | Standing::InProgress => {
                waiting += 1;
            }
            Standing::Blocked(_) | Standing::Refused { .. } | Standing::Full { .. } => {
                blocked += 1;
            }
            Standing::Held(_) => held += 1,
            Standing::Exhausted { .. } => exhausted += 1,
            Standing::Notice(_) => {}
        }
    }
    let mut line = format!("{project}: {todo}");
    let counts =
        [(waiting, "waiting"), (blocked, "blocked"), (held, "held"), (exhausted, "exhausted")];
    for (number, word) in counts {
        if number > 0 {
            line.push_str(&format!(", {number} {word}"));
        }
    }
    let (ready, wanted) = verdict::ready(report, scope);
    format!("{line}; {ready} of {wanted} ready")
}

fn document(project: &str, scope: &Scope, plan: &Plan, report: &Report) -> PlanDocument {
    // What is tried again later, is under way, or waits for somebody is still to be done.
    let outstanding = report.entries.iter().any(|entry| {
        matches!(
            entry.standing,
            Standing::InProgress
                | Standing::Backoff { .. }
                | Standing::Refused { .. }
                | Standing::Full { .. }
                | Standing::Blocked(_)
        )
    });
    let steps = plan.steps.iter().map(|step| PlannedStep {
        id: step.id.0,
        after: step.after.iter().map(|id| id.0).collect(),
        resource: resource(&step.resource),
        action: step.op.action().to_owned(),
        op: step.op.to_string(),
        kind: step.cause.kind().to_owned(),
        cause: step.cause.to_string(),
    });
    let entries = report.entries.iter().map(|entry| PlannedEntry {
        resource: resource(&entry.resource),
        reason: reason(&entry.standing).to_owned(),
        message: entry.standing.to_string(),
    });
    let services = verdict::in_scope(report, scope).map(|(slot, report)| PlannedService {
        service: slot.service.clone(),
        slot: slot.number,
        status: report.status.word().to_owned(),
        message: report.message.clone(),
        container: report.container.as_ref().map_or_else(String::new, |id| id.0.clone()),
    });
    PlanDocument {
        project: project.to_owned(),
        changes: !plan.is_empty() || outstanding,
        steps: steps.collect(),
        report: entries.collect(),
        services: services.collect(),
    }
}

fn resource(resource: &Resource) -> PlannedResource {
    let (resource, name) = match resource {
        Resource::Network(name) => ("network", name.clone()),
        Resource::Volume(name) => ("volume", name.clone()),
        Resource::Image(name) => ("image", name.clone()),
        Resource::Slot(slot) => ("service", slot.to_string()),
        Resource::Container(name) => ("container", name.clone()),
    };
    PlannedResource { resource: resource.to_owned(), name }
}

const fn reason(standing: &Standing) -> &'static str {
    match standing {
        Standing::WaitingOn(_) => "waiting_on",
        Standing::Held(_) => "held",
        Standing::Blocked(_) | Standing::Refused { .. } | Standing::Full { .. } => "blocked",
        Standing::Backoff { .. } => "backoff",
        Standing::Exhausted { .. } => "exhausted",
        Standing::InProgress => "in_progress",
        Standing::Notice(_) => "notice",
    }
}
