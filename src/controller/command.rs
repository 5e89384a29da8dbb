//! What a person asks of the daemon over the control socket.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::observer::{Handle, Link};
use super::snapshot::Dirty;
use super::worker::{Phase, Progress as Progressed, Tap, View};
use crate::execute::StepResult;
use crate::plan::{SlotStatus, Standing};
use crate::server::{Command, Progress, Request, StepState};

/// The workers, by stack.
pub type Taps = Arc<Mutex<BTreeMap<String, Tap>>>;

/// Serves commands until `stop`, each in its own task.
pub async fn serve(
    mut inbox: mpsc::Receiver<Request>,
    taps: Taps,
    observer: Handle,
    stop: CancellationToken,
) {
    loop {
        let request = tokio::select! {
            () = stop.cancelled() => return,
            request = inbox.recv() => request,
        };
        let Some(request) = request else { return };
        let stack = match &request.command {
            Command::Apply { stack, .. } | Command::Reconcile { stack } => stack.clone(),
        };
        let tap = taps.lock().unwrap_or_else(PoisonError::into_inner).get(&stack).cloned();
        let Some(tap) = tap else {
            request.progress.finish(Progress::Failed {
                reason: "NotFound".into(),
                message: format!(
                    "no stack {stack} runs here yet; `homeostat get stacks` lists them"
                ),
            });
            continue;
        };
        let (observer, stop) = (observer.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = carry_out(request, tap, observer) => {}
            }
        });
    }
}

/// Looks again at everything, then reports until all is ready or nothing more can happen.
async fn carry_out(request: Request, tap: Tap, observer: Handle) {
    let mut steps = tap.progress.subscribe();
    let mut views = tap.views.clone();
    observer.refresh(Dirty::everything()).await;
    // What was planned on older facts says nothing. A turn may be over before anybody looks.
    let fresh = observer.snapshots.borrow().revision;
    let _ = tap.nudge.send(()).await;
    views.mark_changed();
    let mut changed = 0;
    let mut number = 0;
    loop {
        tokio::select! {
            step = steps.recv() => match step {
                Ok(step) => {
                    number += 1;
                    changed += u32::from(matches!(&step.phase, Phase::Ended(StepResult::Done(_), _)));
                    if !request.progress.report(line(number, &step)) {
                        return;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
            seen = views.changed() => {
                if seen.is_err() {
                    return;
                }
                let view = views.borrow_and_update().clone();
                if view.revision < fresh {
                    continue;
                }
                if let Some(result) = verdict(&view, changed) {
                    request.progress.finish(result);
                    return;
                }
            }
        }
    }
}

/// The end of a command, once there is one.
pub fn verdict(view: &View, changed: u32) -> Option<Progress> {
    if let Link::Stale(fault) = &view.link {
        let (reason, message) = (fault.reason().into(), fault.to_string());
        return Some(Progress::Failed { reason, message });
    }
    if !view.plan.is_empty() || view.busy > 0 || view.link != Link::Live {
        return None;
    }
    if view.report.settled() {
        return Some(Progress::Finished { changed });
    }
    stuck(view).map(|message| Progress::Failed { reason: "Blocked".into(), message })
}

/// Why nothing more will happen by itself; `None` while something still may.
pub fn stuck(view: &View) -> Option<String> {
    let report = &view.report;
    let blocked: Vec<String> = report
        .entries
        .iter()
        .filter(|e| matches!(e.standing, Standing::Blocked(_)))
        .map(|e| format!("{}: {}", e.resource, e.standing))
        .collect();
    let coming = report.slots.values().any(|s| s.status == SlotStatus::Starting)
        || report
            .entries
            .iter()
            .any(|e| e.standing.is_pending() && !matches!(e.standing, Standing::WaitingOn(_)));
    (!blocked.is_empty() && !coming && view.busy == 0 && view.plan.is_empty())
        .then(|| blocked.join("\n"))
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
