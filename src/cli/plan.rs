//! `plan`: what would be done and why, touching nothing.

use super::args::{PlanArgs, PlanOutput};
use super::error::{CliError, Exit, printable};
use super::look::look;
use super::output::print;
use super::resolved::Resolved;
use super::{daemon, goal};
use crate::api::plan::PlanAnswer;
use crate::clock::SystemClock;
use crate::controller::answer::answer;
use crate::controller::worker::Goal;
use crate::engine::Tier;
use crate::plan::Memory;

/// Runs the verb. With a daemon, the plan is the daemon's: it knows what it works on and what it
/// waits with.
///
/// # Errors
/// Wrong files, an engine that can't be reached, or a daemon that keeps another project.
pub async fn run(options: &Resolved, args: &PlanArgs) -> Result<Exit, CliError> {
    let meant = goal::load(options, &args.services)?;
    let answer = match daemon::of(options, &meant).await? {
        Some(daemon) => daemon.plan(&args.services).await?,
        None => by_looking(options, &meant.goal).await?,
    };
    print(&match args.output {
        PlanOutput::Text => printable(&answer.text),
        PlanOutput::Json => json(&answer)?,
    })?;
    let changes = args.detailed_exitcode && answer.document.changes;
    Ok(if changes { Exit::Changes } else { Exit::Well })
}

async fn by_looking(options: &Resolved, goal: &Goal) -> Result<PlanAnswer, CliError> {
    let engine = options.engine(Tier::Observe)?;
    let seen = look(&engine, &SystemClock::new(), goal, &Memory::insisting()).await?;
    let project = &goal.desired.project.name;
    Ok(answer(project, &engine.endpoint(), &goal.scope, &seen.plan, &seen.report))
}

fn json(answer: &PlanAnswer) -> Result<String, CliError> {
    let mut text = serde_json::to_string_pretty(&answer.document)
        .map_err(|error| CliError::Failed(format!("can't print the plan: {error}")))?;
    text.push('\n');
    Ok(text)
}
