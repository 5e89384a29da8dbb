//! What a person asks of the daemon over the control socket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::answer::answer;
use super::course::{Course, End};
use super::observer::{Handle, Link};
use super::process;
use super::snapshot::Dirty;
use super::watch::{Following, SourceStatus};
use super::worker::{Goal, Phase, Progress as Progressed, Tap, View, Wish};
use crate::clock::{Clock, Mono};
use crate::desired::digest::{Digests, differing, digests};
use crate::desired::scope::{known, scope};
use crate::engine::Fault;
use crate::execute::StepResult;
use crate::plan::hold::HoldEnd;
use crate::plan::{Scope, Standing};
use crate::recovery::IncidentId;
use crate::server::{
    Command, IncidentWord, Progress, Reporter, Request, StepState, Wanted, reason,
};

/// How long a stack that begins just now may take until its loop runs.
const BEGINS_WITHIN: Duration = Duration::from_secs(5);

/// How long an `apply` bears an engine that is away.
const AWAY: Duration = Duration::from_secs(30);

/// Differing parts that are named.
const MOST_PARTS: usize = 10;

/// How a command reaches a stack.
#[derive(Clone)]
pub struct Kept {
    /// Its files.
    pub following: Following,
    /// Its loop, while one runs.
    pub tap: watch::Receiver<Option<Tap>>,
}

/// The stacks, by name.
pub type Stacks = Arc<Mutex<BTreeMap<String, Kept>>>;

/// What commands are carried out with.
#[derive(Clone)]
pub struct Desk {
    /// The stacks.
    pub stacks: Stacks,
    /// The observer.
    pub observer: Handle,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The engine's address.
    pub endpoint: String,
}

/// Serves commands until `stop`, each in its own task.
pub async fn serve(mut inbox: mpsc::Receiver<Request>, desk: Desk, stop: CancellationToken) {
    loop {
        let request = tokio::select! {
            () = stop.cancelled() => return,
            request = inbox.recv() => request,
        };
        let Some(Request { command, uid, progress }) = request else { return };
        let (desk, stop) = (desk.clone(), stop.clone());
        tokio::spawn(async move {
            let result = tokio::select! {
                () = stop.cancelled() => return,
                () = progress.gone() => return,
                result = desk.carry_out(command, uid, &progress) => result,
            };
            if let Some(result) = result.unwrap_or_else(|refusal| Some(refusal.into())) {
                progress.finish(result);
            }
        });
    }
}

/// Why a command isn't carried out, or not to its end.
struct Refusal {
    reason: String,
    message: String,
}

impl From<Refusal> for Progress {
    fn from(Refusal { reason, message }: Refusal) -> Self {
        Self::Failed { reason, message }
    }
}

fn refusal(reason: &str, message: impl Into<String>) -> Refusal {
    Refusal { reason: reason.to_owned(), message: message.into() }
}

/// A stack whose files, facts and loop are as fresh as can be.
struct Fresh {
    goal: Goal,
    tap: Tap,
    scope: Scope,
}

impl Fresh {
    /// How the scope stands, planned for this goal or a later one.
    async fn view(&self) -> Result<View, Refusal> {
        let mut views = self.tap.views.clone();
        loop {
            views.mark_unchanged();
            let view = look(&self.tap, &self.scope).await?;
            if view.link == Link::Live && view.generation >= self.goal.desired.generation {
                return Ok(view);
            }
            views.changed().await.map_err(|_| over())?;
        }
    }
}

impl Desk {
    /// The result; `None` when the caller has left.
    async fn carry_out(
        &self,
        command: Command,
        uid: u32,
        progress: &Reporter,
    ) -> Result<Option<Progress>, Refusal> {
        match command {
            Command::Incident { stack, id, word } => {
                self.obey(&stack, id, word, uid).await.map(Some)
            }
            Command::Apply { stack, wanted } => {
                let fresh = self.fresh(&stack, &wanted).await?;
                let end = HoldEnd::Applied(process::user(uid));
                let services = fresh.scope.services.clone();
                fresh.tap.release(services, end).await.ok_or_else(over)?;
                self.converge(fresh, progress).await
            }
            Command::Pause { stack, wanted } => {
                let (tap, services) = self.named(&stack, wanted).await?;
                let changes = tap.pause(services, process::user(uid)).await.ok_or_else(over)?;
                Ok(Some(Progress::Held { changes }))
            }
            Command::Resume { stack, wanted } => {
                let (tap, services) = self.named(&stack, wanted).await?;
                let end = HoldEnd::Resumed(process::user(uid));
                let changes = tap.release(services, end).await.ok_or_else(over)?;
                Ok(Some(Progress::Held { changes }))
            }
            Command::Reconcile { stack } => {
                let fresh = self.fresh(&stack, &Wanted::default()).await?;
                self.converge(fresh, progress).await
            }
            Command::Plan { stack, wanted } => {
                let fresh = self.fresh(&stack, &wanted).await?;
                let view = fresh.view().await?;
                let project = &fresh.goal.desired.project.name;
                let answer =
                    answer(project, &self.endpoint, &fresh.scope, &view.plan, &view.report);
                Ok(Some(Progress::Planned(Box::new(answer))))
            }
        }
    }

    /// The loop of a stack, and services of it that a person names.
    async fn named(&self, stack: &str, wanted: Wanted) -> Result<(Tap, BTreeSet<String>), Refusal> {
        let kept = self.kept(stack)?;
        let goal = kept.following.goal.borrow().clone();
        let goal = goal.ok_or_else(|| refusal("Loading", "the files are not loaded yet"))?;
        for name in &wanted.services {
            known(&goal.desired.project, name)
                .map_err(|unknown| refusal(reason::UNKNOWN_SERVICE, unknown.to_string()))?;
        }
        Ok((self.running(kept.tap).await?, wanted.services.into_iter().collect()))
    }

    /// Looks again at the stack's files and at the engine, so that what was just edited counts.
    async fn fresh(&self, stack: &str, wanted: &Wanted) -> Result<Fresh, Refusal> {
        let kept = self.kept(stack)?;
        kept.following.refresh().await;
        usable(&kept.following.status.borrow())?;
        let goal = kept.following.goal.borrow().clone();
        let goal = goal.ok_or_else(|| refusal("Loading", "the files are not loaded yet"))?;
        if let Some(theirs) = &wanted.project {
            same(&digests(&goal.desired.project), theirs)?;
        }
        let scope = scope(&goal.desired.project, &wanted.services)
            .map_err(|unknown| refusal(reason::UNKNOWN_SERVICE, unknown.to_string()))?;
        let tap = self.running(kept.tap).await?;
        self.observer.refresh(Dirty::everything()).await;
        if let Link::Stale(fault) = &self.observer.snapshots.borrow().link {
            return Err(refusal(fault.reason(), fault.to_string()));
        }
        Ok(Fresh { goal, tap, scope })
    }

    /// Says a person's word about an incident to the stack's loop.
    async fn obey(
        &self,
        stack: &str,
        id: String,
        word: IncidentWord,
        uid: u32,
    ) -> Result<Progress, Refusal> {
        let gone = || refusal(reason::NO_INCIDENT, format!("incident {id} is no longer open"));
        let kept = self.kept(stack).map_err(|_| gone())?;
        let tap = self.running(kept.tap).await?;
        let (answer, known) = oneshot::channel();
        let by = format!("user {uid}");
        let wish = Wish::Incident(IncidentId(id.clone()), word.into(), by, answer);
        tap.wishes.send(wish).await.map_err(|_| over())?;
        match known.await {
            Ok(true) => Ok(Progress::Finished { changed: 0 }),
            Ok(false) => Err(gone()),
            Err(_) => Err(over()),
        }
    }

    fn kept(&self, stack: &str) -> Result<Kept, Refusal> {
        let stacks = self.stacks.lock().unwrap_or_else(PoisonError::into_inner);
        stacks.get(stack).cloned().ok_or_else(|| {
            let mend = "`homeostat get stacks` lists what runs here";
            refusal(reason::NOT_FOUND, format!("no stack {stack} is kept here any more; {mend}"))
        })
    }

    /// The stack's loop, once it runs.
    async fn running(&self, mut tap: watch::Receiver<Option<Tap>>) -> Result<Tap, Refusal> {
        let begun = tokio::time::timeout(BEGINS_WITHIN, tap.wait_for(Option::is_some));
        if let Ok(Ok(tap)) = begun.await
            && let Some(tap) = tap.clone()
        {
            return Ok(tap);
        }
        Err(match &self.observer.snapshots.borrow().link {
            Link::Stale(fault) => refusal(fault.reason(), fault.to_string()),
            Link::Connecting => refusal("Connecting", "the engine hasn't answered yet"),
            Link::Live => {
                let why = "the stack isn't kept now; `homeostat describe stack/NAME` says why";
                refusal("NotKept", why)
            }
        })
    }

    /// Tries again what waits, and reports until all of the scope is ready or nothing more can
    /// happen.
    async fn converge(
        &self,
        fresh: Fresh,
        progress: &Reporter,
    ) -> Result<Option<Progress>, Refusal> {
        let Fresh { goal, tap, scope } = fresh;
        let mut course = Course::new(Arc::clone(&goal.desired.project), scope.clone());
        let mut steps = tap.progress.subscribe();
        let mut views = tap.views.clone();
        let _ = tap.wishes.send(Wish::Afresh(scope.clone())).await;
        let mut number = 0;
        let mut stale_since = None;
        loop {
            views.mark_unchanged();
            let view = tap.look(&scope).await.ok_or_else(over)?;
            self.bear(&view.link, &mut stale_since)?;
            // What led to this is told before the end.
            while let Ok(step) = steps.try_recv() {
                if course.step(&step, self.clock.now().mono) {
                    number += 1;
                    progress.report(line(number, &step));
                }
            }
            let end = (view.generation >= goal.desired.generation)
                .then(|| course.turn(&view, self.clock.now().mono))
                .flatten();
            match end {
                Some(End::Settled) => {
                    left_alone(&view, progress);
                    let changed = u32::try_from(course.changed).unwrap_or(u32::MAX);
                    return Ok(Some(Progress::Finished { changed }));
                }
                Some(End::Stuck) => {
                    let why = course.unready("can't go on", &view, self.clock.now().mono);
                    return Err(refusal("Blocked", why));
                }
                None => {}
            }
            let again = tokio::time::sleep(course.recheck());
            tokio::pin!(again);
            loop {
                tokio::select! {
                    step = steps.recv() => match step {
                        Ok(step) if course.step(&step, self.clock.now().mono) => {
                            number += 1;
                            if !progress.report(line(number, &step)) {
                                return Ok(None);
                            }
                        }
                        Ok(_) | Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return Err(over()),
                    },
                    seen = views.changed() => {
                        seen.map_err(|_| over())?;
                        break;
                    }
                    () = &mut again => break,
                }
            }
        }
    }
}

impl Desk {
    /// Refuses when the engine has been away for too long, or refuses us. An engine that restarts,
    /// or a stream that a proxy cuts, is back soon.
    fn bear(&self, link: &Link, stale_since: &mut Option<Mono>) -> Result<(), Refusal> {
        let Link::Stale(fault) = link else {
            *stale_since = None;
            return Ok(());
        };
        let now = self.clock.now().mono;
        let since = *stale_since.get_or_insert(now);
        if matches!(fault, Fault::Forbidden { .. }) || now.since(since) >= AWAY {
            return Err(refusal(fault.reason(), fault.to_string()));
        }
        Ok(())
    }
}

/// Refuses while the daemon can't use the files: what it does then isn't what they say.
fn usable(status: &SourceStatus) -> Result<(), Refusal> {
    let Some(error) = &status.error else { return Ok(()) };
    let message = format!("the daemon can't use the files and keeps what it read before: {error}");
    Err(refusal(reason::SOURCE_INVALID, message))
}

/// Refuses when the caller means another project than ours, naming the parts that differ.
fn same(ours: &Digests, theirs: &Digests) -> Result<(), Refusal> {
    let mut parts = differing(ours, theirs);
    if parts.is_empty() {
        return Ok(());
    }
    let more = parts.len().saturating_sub(MOST_PARTS);
    parts.truncate(MOST_PARTS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let parts = parts.join(", ");
    let message =
        format!("the daemon keeps another project than this command means: {parts}{more}");
    Err(refusal(reason::PROJECT_DIFFERS, message))
}

/// How the scope stands by facts that are true.
async fn look(tap: &Tap, scope: &Scope) -> Result<View, Refusal> {
    let view = tap.foresee(scope).await.ok_or_else(over)?;
    match &view.link {
        Link::Stale(fault) => Err(refusal(fault.reason(), fault.to_string())),
        Link::Live | Link::Connecting => Ok(view),
    }
}

fn over() -> Refusal {
    refusal(
        "NotKept",
        "the stack's loop ended meanwhile: its project has another name, or the daemon stops",
    )
}

/// Services that are left alone on purpose are named, so that nobody takes them for ready.
fn left_alone(view: &View, progress: &Reporter) {
    for entry in &view.report.entries {
        if matches!(entry.standing, Standing::Held(_) | Standing::Notice(_)) {
            let (object, message) = (entry.resource.to_string(), entry.standing.to_string());
            progress.report(Progress::LeftAlone { object, message });
        }
    }
}

fn line(number: u32, step: &Progressed) -> Progress {
    let (state, message) = match &step.phase {
        Phase::Started => (StepState::Working, step.cause.clone()),
        Phase::Pulling(words, current, total) => {
            let bytes = match (current, total) {
                (Some(current), Some(total)) => format!(" {current}/{total}"),
                _ => String::new(),
            };
            (StepState::Working, format!("{words}{bytes}"))
        }
        Phase::Ended(StepResult::Done(_), _) => (StepState::Done, String::new()),
        Phase::Ended(StepResult::Failed(error), _) => (StepState::Failed, error.to_string()),
        Phase::Ended(StepResult::Unknown(fault), _) => (StepState::Unknown, fault.to_string()),
        Phase::Ended(StepResult::Skipped(_), _) => (StepState::Skipped, String::new()),
    };
    Progress::Step {
        id: number,
        object: step.resource.to_string(),
        op: step.op.clone(),
        state,
        message,
    }
}
