//! The course of an `apply`, with or without a daemon: what its steps and turns tell so far, and
//! when it is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::verdict::{self, Verdict};
use super::worker::{Phase, Progress, View};
use crate::clock::Mono;
use crate::compose::Project;
use crate::desired::scope::concerns;
use crate::execute::StepResult;
use crate::plan::recovery::SUSTAINED;
use crate::plan::{Resource, Scope};

/// A stuck loop gets this long to become unstuck by itself.
const GRACE: Duration = Duration::from_secs(2);
/// A service that ended meanwhile must stay up this long before it counts as ready.
const QUIET: Duration = SUSTAINED;
/// A service that had to be started so often isn't waited for any longer.
const MOST_STARTS: u32 = 6;
/// Time after which a quiet course is judged again.
const SELDOM: Duration = Duration::from_secs(30);

/// Characters by which an error is known again in a line that may cut it.
const REPEATED: usize = 200;

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything in scope is as it should be.
    Settled,
    /// Nothing goes on that could help.
    Stuck,
}

/// What is known of a run.
pub struct Course {
    /// The project.
    pub project: Arc<Project>,
    /// What is waited for.
    pub scope: Scope,
    /// Steps that changed something.
    pub changed: usize,
    /// Steps that have begun and haven't ended.
    open: BTreeMap<Resource, String>,
    starts: BTreeMap<Resource, u32>,
    /// When one that had been started was last started again.
    last_again: Option<Mono>,
    /// The last failure of each resource: what was done, and what came of it.
    failures: BTreeMap<Resource, (String, String)>,
    stuck_since: Option<Mono>,
}

impl Course {
    /// Nothing has happened yet.
    pub fn new(project: Arc<Project>, scope: Scope) -> Self {
        Self {
            project,
            scope,
            changed: 0,
            open: BTreeMap::new(),
            starts: BTreeMap::new(),
            last_again: None,
            failures: BTreeMap::new(),
            stuck_since: None,
        }
    }

    /// A step moved on. Returns whether it is one of this run's.
    pub fn step(&mut self, progress: &Progress, now: Mono) -> bool {
        let resource = &progress.resource;
        if !concerns(&self.project, &self.scope, resource) {
            return false;
        }
        match &progress.phase {
            Phase::Started => self.open.insert(resource.clone(), progress.op.clone()),
            Phase::Ended(..) => self.open.remove(resource),
            Phase::Pulling(..) => None,
        };
        match &progress.phase {
            Phase::Started => {
                if is_start(progress) {
                    self.started(progress, now);
                }
            }
            Phase::Ended(StepResult::Done(_), _) => {
                self.changed += 1;
                if self.starts.get(resource).is_none_or(|starts| *starts == 1) {
                    self.failures.remove(resource);
                }
            }
            Phase::Ended(StepResult::Failed(error), _) => self.failed(progress, error),
            Phase::Ended(StepResult::Unknown(fault), _) => self.failed(progress, fault),
            Phase::Pulling(..) | Phase::Ended(StepResult::Skipped(_), _) => {}
        }
        true
    }

    /// Steps that have begun and haven't ended, as the plan prints them.
    pub fn open(&self) -> Vec<String> {
        self.open.iter().map(|(resource, op)| format!("{resource}: {op}")).collect()
    }

    /// Whether this was started more than once.
    pub fn again(&self, resource: &Resource) -> bool {
        self.starts.get(resource).is_some_and(|starts| *starts > 1)
    }

    /// Whether nothing was started again lately: what is ready may be called so.
    pub fn is_quiet(&self, now: Mono) -> bool {
        self.last_again.is_none_or(|end| now.since(end) >= QUIET)
    }

    fn started(&mut self, progress: &Progress, now: Mono) {
        let starts = self.starts.entry(progress.resource.clone()).or_default();
        *starts += 1;
        if *starts > 1 {
            self.last_again = Some(now);
            let logs = match &progress.resource {
                Resource::Slot(slot) => format!("; see `homeostat logs {}`", slot.service),
                _ => String::new(),
            };
            let what = format!("started {starts} times, the last time");
            let failure = (what, format!("{}{logs}", progress.cause));
            self.failures.insert(progress.resource.clone(), failure);
        }
    }

    fn failed(&mut self, progress: &Progress, error: &dyn std::fmt::Display) {
        self.failures.insert(progress.resource.clone(), (progress.op.clone(), error.to_string()));
    }

    /// Judges a turn of the loop.
    pub fn turn(&mut self, view: &View, now: Mono) -> Option<End> {
        if self.starts.values().any(|starts| *starts >= MOST_STARTS) {
            return Some(End::Stuck);
        }
        match verdict::judge(view, &self.scope) {
            Verdict::Settled if self.is_quiet(now) && !self.waits_for_proof(view) => {
                return Some(End::Settled);
            }
            Verdict::Settled | Verdict::Working => self.stuck_since = None,
            Verdict::Refused => return Some(End::Stuck),
            Verdict::Stuck => {
                let since = *self.stuck_since.get_or_insert(now);
                if now.since(since) >= GRACE {
                    return Some(End::Stuck);
                }
            }
        }
        None
    }

    /// Whether something in scope kept failing before, and may do so again.
    fn waits_for_proof(&self, view: &View) -> bool {
        let mut slots = view.unproven.iter().cloned().map(Resource::Slot);
        slots.any(|slot| concerns(&self.project, &self.scope, &slot))
    }

    /// When to judge again even if nothing happens.
    pub fn recheck(&self) -> Duration {
        let soon = self.stuck_since.is_some() || self.last_again.is_some();
        if soon { GRACE / 2 } else { SELDOM }
    }

    /// Why it isn't as it should be: `what`, then a line for each reason.
    pub fn unready(&self, what: &str, view: &View, now: Mono) -> String {
        let mut lines = verdict::reasons(view, &self.scope);
        for (resource, (what, error)) in &self.failures {
            let told = excerpt(error);
            if !lines.iter().any(|line| line.contains(told)) {
                lines.push(format!("{resource}: {what}: {error}"));
            }
        }
        if let Verdict::Settled = verdict::judge(view, &self.scope)
            && let Some(proof) = self.proof(view, now)
        {
            lines.push(proof);
        }
        lines.into_iter().fold(what.to_owned(), |all, line| all + "\n  " + &line)
    }

    /// What a course still waits for though everything is ready just now.
    fn proof(&self, view: &View, now: Mono) -> Option<String> {
        let all = QUIET.as_secs();
        if let Some(again) = self.last_again.filter(|_| !self.is_quiet(now)) {
            let left = (QUIET - now.since(again)).as_secs_f64().ceil();
            return Some(format!(
                "all are up, but one was started again: that counts once it stays up for {all} s, {left} s are left"
            ));
        }
        let slots = view
            .unproven
            .iter()
            .filter(|slot| concerns(&self.project, &self.scope, &Resource::Slot((*slot).clone())));
        let slots: Vec<String> = slots.map(|slot| format!("service {slot}")).collect();
        (!slots.is_empty()).then(|| {
            let slots = slots.join(", ");
            format!(
                "{slots}: up, but kept failing before: that counts once it stays ready for {all} s"
            )
        })
    }
}

/// As much of an error as a report's line repeats.
fn excerpt(error: &str) -> &str {
    error.char_indices().nth(REPEATED).map_or(error, |(end, _)| &error[..end])
}

fn is_start(progress: &Progress) -> bool {
    matches!(progress.action, "start_container" | "restart_container")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::observer::Link;
    use crate::engine::Fault;
    use crate::execute::StepError;
    use crate::observed::Slot;
    use crate::plan::{Entry, Report, SlotReport, SlotStatus, Standing};

    fn slot(service: &str) -> Slot {
        Slot { project: "p".into(), service: service.into(), number: 1 }
    }

    fn course(services: &[&str]) -> Course {
        let services = services.iter().map(|s| (*s).to_owned()).collect();
        Course::new(Arc::default(), Scope { services })
    }

    fn start(service: &str) -> Progress {
        Progress {
            resource: Resource::Slot(slot(service)),
            op: "start".into(),
            action: "start_container",
            cause: "exited 1".into(),
            phase: Phase::Started,
        }
    }

    fn ready(service: &str) -> View {
        let ready = SlotReport { status: SlotStatus::Ready, ..SlotReport::default() };
        let report = Report { slots: [(slot(service), ready)].into(), ..Report::default() };
        View { link: Link::Live, report: Arc::new(report), ..View::default() }
    }

    fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    #[test]
    fn steps_of_other_services_are_not_its_own() {
        let mut course = course(&["web"]);
        assert!(course.step(&start("web"), at(0)));
        for _ in 0..MOST_STARTS {
            assert!(!course.step(&start("db"), at(0)));
        }
        assert_eq!(course.turn(&ready("web"), at(0)), Some(End::Settled));
    }

    #[test]
    fn what_has_begun_and_not_ended_is_known() {
        let mut course = course(&[]);
        course.step(&start("web"), at(0));
        course.step(&start("db"), at(0));
        assert_eq!(course.open(), ["service db/1: start", "service web/1: start"]);
        let skipped = StepResult::Skipped(crate::execute::Skip::Changed);
        let phase = Phase::Ended(skipped, Duration::ZERO);
        course.step(&Progress { phase, ..start("db") }, at(1));
        assert_eq!(course.open(), ["service web/1: start"]);
    }

    #[test]
    fn what_was_started_again_must_stay_up_and_is_given_up_in_the_end() {
        let mut course = course(&[]);
        course.step(&start("web"), at(0));
        course.step(&start("web"), at(1));
        assert_eq!(course.turn(&ready("web"), at(2)), None);
        assert!(course.again(&Resource::Slot(slot("web"))) && !course.is_quiet(at(2)));
        assert_eq!(course.turn(&ready("web"), at(1).after(QUIET)), Some(End::Settled));
        for _ in 2..MOST_STARTS {
            course.step(&start("web"), at(3));
        }
        assert_eq!(course.turn(&ready("web"), at(1000)), Some(End::Stuck));
        let told = course.unready("can't go on", &View::default(), at(1000));
        assert!(told.contains("service web/1: started 6 times, the last time: exited 1"), "{told}");
    }

    #[test]
    fn why_what_is_up_does_not_count_yet_is_said() {
        let mut course = course(&[]);
        course.step(&start("web"), at(0));
        course.step(&start("web"), at(4));
        let told = course.unready("not ready after 5s", &ready("web"), at(5));
        assert!(told.contains("stays up for 10 s, 9 s are left"), "{told}");
        let mut unproven = ready("web");
        unproven.unproven.insert(slot("web"));
        let told = course.unready("not ready after 5s", &unproven, at(60));
        assert!(told.contains("service web/1: up, but kept failing before"), "{told}");
    }

    #[test]
    fn an_error_is_told_once_and_what_is_refused_is_not_waited_for() {
        let mut course = course(&[]);
        let fault = Fault::Forbidden { call: "POST /x".into(), message: "no ".repeat(200) };
        let error = StepError::Engine(fault);
        let mut step = start("web");
        step.phase = Phase::Ended(StepResult::Failed(error.clone()), Duration::ZERO);
        course.step(&step, at(0));
        let resource = Resource::Slot(slot("web"));
        let why = error.to_string().chars().take(300).collect();
        let standing = Standing::Refused { why, remaining: Duration::from_secs(2) };
        let entries = vec![Entry { resource, standing }];
        let report = Report { entries, ..Report::default() };
        let view = View { link: Link::Live, report: Arc::new(report), ..View::default() };
        assert_eq!(course.turn(&view, at(0)), Some(End::Stuck));
        let told = course.unready("can't go on", &view, at(0));
        assert_eq!(told.matches("the engine refuses POST /x (403)").count(), 1, "{told}");
    }
}
