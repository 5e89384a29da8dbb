//! `plan`: what would be done and why, touching nothing.

use serde::Serialize;

use super::args::{PlanArgs, PlanOutput};
use super::error::{CliError, Exit, printable};
use super::goal;
use super::look::{Look, look};
use super::output::{count, print};
use super::resolved::Resolved;
use crate::clock::SystemClock;
use crate::controller::verdict;
use crate::controller::worker::Goal;
use crate::engine::Tier;
use crate::plan::{Memory, Plan, Report, Resource, Standing};

/// Runs the verb.
///
/// # Errors
/// Wrong files, or an engine that can't be reached.
pub async fn run(options: &Resolved, args: &PlanArgs) -> Result<Exit, CliError> {
    let goal = goal::load(options, &args.services)?.goal;
    let engine = options.engine(Tier::Observe)?;
    let clock = SystemClock::new();
    let seen = look(&engine, &clock, &goal, &Memory::default()).await?;
    let text = match args.output {
        PlanOutput::Text => text(&goal, &seen, &engine.endpoint()),
        PlanOutput::Json => json(&goal, &seen)?,
    };
    print(&text)?;
    let changes = args.detailed_exitcode && !seen.plan.is_empty();
    Ok(if changes { Exit::Changes } else { Exit::Well })
}

fn text(goal: &Goal, seen: &Look, endpoint: &str) -> String {
    let mut out = String::new();
    let project = &goal.desired.project.name;
    if !seen.plan.is_empty() {
        out.push_str(&format!("Plan for {project} on {endpoint}\n\n{}\n", seen.plan));
    }
    if !seen.report.entries.is_empty() {
        out.push_str(&format!("Not done\n\n{}\n", seen.report));
    }
    out.push_str(&summary(goal, &seen.plan, &seen.report));
    out.push('\n');
    printable(&out)
}

/// One line: `demo: 3 steps to do, 1 waits; 2 of 5 ready`.
pub fn summary(goal: &Goal, plan: &Plan, report: &Report) -> String {
    let todo = match plan.steps.len() {
        0 => "nothing to do".to_owned(),
        steps => format!("{} to do", count(steps, "step")),
    };
    let undone = report.entries.iter();
    let (mut waiting, mut blocked, mut held) = (0usize, 0usize, 0usize);
    for entry in undone {
        match &entry.standing {
            Standing::WaitingOn(_) | Standing::Backoff { .. } | Standing::InProgress => {
                waiting += 1
            }
            Standing::Blocked(_) => blocked += 1,
            Standing::Held(_) => held += 1,
            Standing::Notice(_) => {}
        }
    }
    let mut line = format!("{}: {todo}", goal.desired.project.name);
    for (number, word) in [(waiting, "waiting"), (blocked, "blocked"), (held, "held")] {
        if number > 0 {
            line.push_str(&format!(", {number} {word}"));
        }
    }
    let (ready, wanted) = verdict::ready(report, &goal.scope);
    format!("{line}; {ready} of {wanted} ready")
}

/// The plan for machines. Names are stable; values of the environment and labels never enter.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    project: &'a str,
    changes: bool,
    steps: Vec<StepOutput>,
    report: Vec<EntryOutput>,
    services: Vec<ServiceOutput<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StepOutput {
    id: usize,
    after: Vec<usize>,
    #[serde(flatten)]
    resource: ResourceOutput,
    action: &'static str,
    op: String,
    kind: &'static str,
    cause: String,
}

#[derive(Debug, Serialize)]
struct ResourceOutput {
    resource: &'static str,
    name: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryOutput {
    #[serde(flatten)]
    resource: ResourceOutput,
    reason: &'static str,
    message: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceOutput<'a> {
    service: &'a str,
    slot: u32,
    status: &'static str,
    message: &'a str,
    container: &'a str,
}

impl From<&Resource> for ResourceOutput {
    fn from(resource: &Resource) -> Self {
        let (resource, name) = match resource {
            Resource::Network(name) => ("network", name.clone()),
            Resource::Volume(name) => ("volume", name.clone()),
            Resource::Image(name) => ("image", name.clone()),
            Resource::Slot(slot) => ("service", slot.to_string()),
            Resource::Container(name) => ("container", name.clone()),
        };
        Self { resource, name }
    }
}

fn json(goal: &Goal, seen: &Look) -> Result<String, CliError> {
    let output = Output {
        project: &goal.desired.project.name,
        changes: !seen.plan.is_empty(),
        steps: seen
            .plan
            .steps
            .iter()
            .map(|step| StepOutput {
                id: step.id.0,
                after: step.after.iter().map(|id| id.0).collect(),
                resource: (&step.resource).into(),
                action: step.op.action(),
                op: step.op.to_string(),
                kind: step.cause.kind(),
                cause: step.cause.to_string(),
            })
            .collect(),
        report: seen
            .report
            .entries
            .iter()
            .map(|entry| EntryOutput {
                resource: (&entry.resource).into(),
                reason: reason(&entry.standing),
                message: entry.standing.to_string(),
            })
            .collect(),
        services: verdict::in_scope(&seen.report, &goal.scope)
            .map(|(slot, report)| ServiceOutput {
                service: &slot.service,
                slot: slot.number,
                status: report.status.word(),
                message: &report.message,
                container: report.container.as_ref().map_or("", |id| &id.0),
            })
            .collect(),
    };
    let mut text = serde_json::to_string_pretty(&output)
        .map_err(|error| CliError::Failed(format!("can't print the plan: {error}")))?;
    text.push('\n');
    Ok(text)
}

const fn reason(standing: &Standing) -> &'static str {
    match standing {
        Standing::WaitingOn(_) => "waiting_on",
        Standing::Held(_) => "held",
        Standing::Blocked(_) => "blocked",
        Standing::Backoff { .. } => "backoff",
        Standing::InProgress => "in_progress",
        Standing::Notice(_) => "notice",
    }
}
