//! `delete stack/NAME`: takes a stack down. Volumes stay.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::args::{DeleteArgs, Kind};
use super::daemon;
use super::error::{CliError, Exit, printable};
use super::journal::Journalled;
use super::lease::{self, Alone, Keeper};
use super::output::{count, print};
use super::progress::{Board, Mark, words};
use super::resolved::Resolved;
use super::shown::label;
use crate::api::diagnostic::did_you_mean;
use crate::api::status::Status;
use crate::clock::{Clock, SystemClock};
use crate::compose::Project;
use crate::controller::changes::Changes;
use crate::controller::snapshot;
use crate::desired::source::find;
use crate::desired::{Desired, Policy};
use crate::engine::{DynEngine, Tier};
use crate::execute::lease::Permit;
use crate::execute::{Context, News, StepResult, execute};
use crate::observed::{Observed, labels};
use crate::plan::{Memory, Plan, Report, check, teardown};

/// What could not be removed is looked at again this often.
const ROUNDS: usize = 3;
/// How long a daemon may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(5);

/// Runs the verb.
///
/// # Errors
/// A stack that isn't there or that a daemon keeps, or removals that fail.
pub async fn run(options: &Resolved, args: &DeleteArgs) -> Result<Exit, CliError> {
    let name = &args.object.name;
    if args.object.kind != Kind::Stacks {
        return Err(CliError::Usage(format!(
            "only stacks can be deleted: `homeostat delete stack/NAME`, not {}/{name}",
            args.object.kind.noun()
        )));
    }
    refuse_while_served(options, name).await?;
    let engine = options.engine(Tier::Reconcile)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let project = project_of(options, name);
    let projects = BTreeSet::from([project.clone()]);
    let observed = snapshot::read_once(&engine, &*clock, projects).await?.observed;
    refuse_while_kept(options, &project, &observed).await?;
    let (plan, report) = teardown(&project, &observed);
    if plan.is_empty() && report.entries.is_empty() {
        return Err(CliError::Usage(nothing_of(&project, &observed)));
    }
    if !args.yes && !confirmed(&project, &plan)? {
        return Err(CliError::Failed("nothing was deleted".into()));
    }
    let lease = Alone::seek(options, &engine, &clock, &project).await?;
    let engine = Site { engine, clock, permit: lease.permit.clone() };
    let outcome = take_down(options, &engine, &project, observed).await;
    lease.end().await;
    let removed = outcome?;
    print(&format!("{project}: taken down; {}; volumes kept\n", count(removed, "change")))?;
    Ok(Exit::Well)
}

/// Where it is taken down.
struct Site {
    engine: DynEngine,
    clock: Arc<dyn Clock>,
    permit: Permit,
}

/// Returns how many steps changed something.
async fn take_down(
    options: &Resolved,
    site: &Site,
    project: &str,
    mut observed: Observed,
) -> Result<usize, CliError> {
    let Site { engine, clock, permit } = site;
    let projects = BTreeSet::from([project.to_owned()]);
    let (mut plan, mut report) = teardown(project, &observed);
    let journalled = Journalled::open(options, clock, &observed.engine.id, project)?;
    let bare = Project { name: project.to_owned(), ..Project::default() };
    let desired = Desired::new(0, Arc::new(bare), &[], BTreeMap::new(), Policy::default());
    let desired = Arc::new(desired.map_err(|error| CliError::Failed(error.to_string()))?);
    let mut board = Board::new(Arc::clone(clock));
    let mut removed = 0;
    let mut failures = Vec::new();
    for _ in 0..ROUNDS {
        if plan.is_empty() {
            break;
        }
        check::check(&plan, &desired, &observed, &Memory::default(), clock.now())
            .map_err(|found| refused(&found))?;
        let context = Arc::new(Context {
            engine: Arc::clone(engine),
            desired: Arc::clone(&desired),
            observed: Arc::new(observed),
            recorder: journalled.recorder(),
            freshness: Arc::new(Changes::default()),
            permit: permit.clone(),
            stop: CancellationToken::new(),
        });
        failures.clear();
        removed += walk(Arc::new(plan), context, &mut board, &mut failures).await;
        observed = snapshot::read_once(engine, &**clock, projects.clone()).await?.observed;
        (plan, report) = teardown(project, &observed);
    }
    board.close();
    let clean = plan.is_empty() && report.entries.is_empty();
    if clean {
        journalled.forget().await;
    }
    journalled.close().await;
    if !clean {
        return Err(left(project, &plan, &report, &failures));
    }
    Ok(removed)
}

/// Whoever keeps the project would bring back what is taken down.
async fn refuse_while_kept(
    options: &Resolved,
    project: &str,
    observed: &Observed,
) -> Result<(), CliError> {
    match lease::keeper(options, project, observed.volumes.values(), ANSWER).await? {
        Keeper::Nobody => Ok(()),
        Keeper::Daemon(_) => Err(brings_back(project)),
        Keeper::Beyond(why) => Err(CliError::Failed(why)),
    }
}

fn brings_back(name: &str) -> CliError {
    CliError::Failed(format!(
        "a daemon keeps `{name}` and would bring it back; stop the daemon first"
    ))
}

/// Also one that stands by, or waits for the engine.
async fn refuse_while_served(options: &Resolved, name: &str) -> Result<(), CliError> {
    let Some(client) = daemon::connect(options).await? else { return Ok(()) };
    let status: Status = client.get("/api/v1/status").await?;
    if status.stacks.iter().any(|s| s.name == *name || s.project == *name) {
        return Err(brings_back(name));
    }
    Ok(())
}

/// The project of the Stack with this name, when its files are here; otherwise the name is the
/// project's.
fn project_of(options: &Resolved, name: &str) -> String {
    let request = super::goal::request(options, None, true);
    let sources = find(&request).map(|found| found.sources).unwrap_or_default();
    let source = sources.into_iter().find(|source| source.name == name);
    let loaded = source.and_then(|source| source.load(1).ok());
    loaded.map_or_else(|| name.to_owned(), |l| l.goal.desired.project.name.clone())
}

fn nothing_of(project: &str, observed: &Observed) -> String {
    let known: BTreeSet<&str> = observed
        .containers
        .values()
        .filter_map(|c| c.project.as_deref())
        .chain(
            observed
                .networks
                .values()
                .filter_map(|n| Some(n.labels.get(labels::PROJECT)?.as_str())),
        )
        .collect();
    let mend = did_you_mean(project, known.iter().copied());
    let mend = mend.map_or_else(String::new, |mend| format!("; {mend}"));
    format!("the engine has nothing of `{project}`{mend}")
}

/// Asks on a terminal; a script has already decided.
fn confirmed(project: &str, plan: &Plan) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        return Ok(true);
    }
    let mut stderr = io::stderr().lock();
    write!(
        stderr,
        "{}\nTake {project} down? Volumes are kept. [y/N] ",
        printable(&plan.to_string())
    )?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Executes and shows. Returns how many steps changed something.
async fn walk(
    plan: Arc<Plan>,
    context: Arc<Context>,
    board: &mut Board,
    failures: &mut Vec<String>,
) -> usize {
    let (tx, mut news) = mpsc::channel(64);
    let project = Arc::clone(&context.desired.project);
    let run = tokio::spawn(execute(Arc::clone(&plan), context, tx));
    let mut done = 0;
    while let Some(item) = news.recv().await {
        let (id, result) = match item {
            News::Started(id) => (id, None),
            News::Finished(id, result) => (id, Some(result)),
            News::Pulling(..) | News::Kept(_) => continue,
        };
        let Some(step) = plan.step(id) else { continue };
        let (doing, finished) = words(step.op.action());
        let label = label(&project, &step.resource);
        let error = match result {
            None => {
                board.show(&label, Mark::Working, doing, "");
                continue;
            }
            Some(StepResult::Done(_)) => {
                done += 1;
                board.show(&label, Mark::Done, finished, "");
                continue;
            }
            Some(StepResult::Skipped(_)) => continue,
            Some(StepResult::Failed(error)) => error.to_string(),
            Some(StepResult::Unknown(fault)) => fault.to_string(),
        };
        board.show(&label, Mark::Failed, "Error", &error);
        failures.push(format!("{}: {}: {error}", step.resource, step.op));
    }
    let _ = run.await;
    done
}

fn refused(found: &[check::Violation]) -> CliError {
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    CliError::Failed(format!(
        "the plan isn't safe and was not run: {}; please report it",
        found.join("; ")
    ))
}

fn left(project: &str, plan: &Plan, report: &Report, failures: &[String]) -> CliError {
    let mut message = format!("{project}: not everything could be removed");
    let entries = report.entries.iter().map(|e| format!("{}: {}", e.resource, e.standing));
    let rest = plan.steps.iter().map(|s| format!("{}: {} is still to do", s.resource, s.op));
    for line in failures.iter().cloned().chain(entries).chain(rest) {
        message.push_str("\n  ");
        message.push_str(&line);
    }
    CliError::Failed(message)
}
