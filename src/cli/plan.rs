//! `plan`: what would be done and why, touching nothing.

use super::args::{PlanArgs, PlanOutput};
use super::error::{CliError, Exit, printable, warn};
use super::look::{look, read};
use super::output::print;
use super::resolved::Resolved;
use super::{daemon, goal, hold};
use crate::api::plan::PlanAnswer;
use crate::clock::SystemClock;
use crate::controller::answer::answer;
use crate::engine::Tier;
use crate::plan::Memory;

/// Runs the verb. With a daemon, the plan is the daemon's: it knows what it works on and what it
/// waits with. With one that can't be reached it is planned from here, with a warning.
///
/// # Errors
/// Wrong files, an engine that can't be reached, or a daemon that keeps another project.
pub async fn run(options: &Resolved, args: &PlanArgs) -> Result<Exit, CliError> {
    let meant = goal::load(options, &args.services)?;
    let engine = options.engine(Tier::Observe)?;
    let clock = SystemClock::new();
    let observed = read(&engine, &clock, &meant.goal).await?;
    let answer = match daemon::seek(options, &meant, &observed).await? {
        Ok(Some(daemon)) => daemon.plan(&args.services).await?,
        alone => {
            // It touches nothing, so it needn't be refused.
            if let Err(why) = alone {
                warn(&format!("{why}; planning without what it remembers"));
            }
            let goal = &meant.goal;
            let holds = hold::kept(options, &observed.engine.id, &goal.desired.project.name);
            let memory = Memory { holds, tier: options.tier, ..Memory::insisting() };
            let seen = look(observed, &clock, goal, &memory).await;
            let project = &goal.desired.project.name;
            answer(project, &engine.endpoint(), &goal.scope, &seen.plan, &seen.report)
        }
    };
    print(&match args.output {
        PlanOutput::Text => printable(&answer.text),
        PlanOutput::Json => json(&answer)?,
    })?;
    let changes = args.detailed_exitcode && answer.document.changes;
    Ok(if changes { Exit::Changes } else { Exit::Well })
}

fn json(answer: &PlanAnswer) -> Result<String, CliError> {
    let mut text = serde_json::to_string_pretty(&answer.document)
        .map_err(|error| CliError::Failed(format!("can't print the plan: {error}")))?;
    text.push('\n');
    Ok(text)
}
