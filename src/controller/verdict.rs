//! Is an `apply` over? Pure: what a turn of the loop shows is the whole input.

use super::observer::Link;
use super::worker::View;
use crate::engine::Fault;
use crate::lease::LeaseState;
use crate::observed::Slot;
use crate::plan::update::Stage;
use crate::plan::{Entry, Report, Resource, Scope, SlotReport, SlotStatus, Standing};

/// A call that the engine refused so often in a row won't succeed by being repeated.
const REFUSED_FOR_GOOD: u32 = 3;

/// How an `apply` stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Something goes on.
    Working,
    /// Everything in scope is as it should be.
    Settled,
    /// Nothing goes on that could help.
    Stuck,
    /// The same, and waiting can't change it: somebody before the engine says no.
    Refused,
}

/// The slots of services in scope.
pub fn in_scope<'a>(
    report: &'a Report,
    scope: &'a Scope,
) -> impl Iterator<Item = (&'a Slot, &'a SlotReport)> {
    report
        .slots
        .iter()
        .filter(|(slot, _)| scope.services.is_empty() || scope.services.contains(&slot.service))
}

fn entries<'a>(report: &'a Report, scope: &'a Scope) -> impl Iterator<Item = &'a Entry> {
    report.entries.iter().filter(|entry| match &entry.resource {
        Resource::Slot(slot) => scope.services.is_empty() || scope.services.contains(&slot.service),
        _ => true,
    })
}

/// Slots in scope whose update failed: what serves there, if anything does, isn't what is wanted.
pub fn failed_updates<'a>(
    report: &'a Report,
    scope: &'a Scope,
) -> impl Iterator<Item = (&'a Slot, &'a SlotReport)> {
    in_scope(report, scope)
        .filter(|(slot, _)| matches!(report.updates.get(*slot), Some(Stage::Pinned(_))))
}

/// How many slots in scope are ready or completed, and how many there are.
pub fn ready(report: &Report, scope: &Scope) -> (usize, usize) {
    let slots = || in_scope(report, scope);
    (slots().filter(|(_, slot)| slot.status.is_good()).count(), slots().count())
}

/// Whether everything in scope is as it should be and nothing waits. What somebody froze serves
/// nobody, though it is left as it is.
pub fn settled(report: &Report, scope: &Scope) -> bool {
    in_scope(report, scope).all(|(_, slot)| is_settled(slot.status) && !slot.young)
        && entries(report, scope).all(|entry| !hinders(&entry.standing))
        && failed_updates(report, scope).next().is_none()
}

const fn is_settled(status: SlotStatus) -> bool {
    status.is_settled() && !matches!(status, SlotStatus::Paused)
}

/// Somebody must clear the way, or it may clear by itself: not settled yet.
pub(super) const fn hinders(standing: &Standing) -> bool {
    standing.is_pending() || matches!(standing, Standing::Blocked(_) | Standing::Exhausted { .. })
}

/// Judges a turn of the loop.
pub fn judge(view: &View, scope: &Scope) -> Verdict {
    if matches!(view.link, Link::Stale(Fault::Forbidden { .. })) {
        return Verdict::Refused;
    }
    let others = matches!(
        view.lease,
        Some(LeaseState::Standby { .. } | LeaseState::Refused(_) | LeaseState::Observing)
    );
    if others && view.link == Link::Live && !view.plan.is_empty() {
        let refused = matches!(view.lease, Some(LeaseState::Refused(_)));
        return if refused { Verdict::Refused } else { Verdict::Stuck };
    }
    if view.link != Link::Live || view.busy > 0 || !view.plan.is_empty() {
        return Verdict::Working;
    }
    let report = &view.report;
    if settled(report, scope) {
        return Verdict::Settled;
    }
    let paused = in_scope(report, scope).any(|(_, slot)| slot.status == SlotStatus::Paused);
    let mut hopeless = paused || failed_updates(report, scope).next().is_some();
    let mut refused = false;
    let mut given_up: Vec<&Resource> = Vec::new();
    for entry in entries(report, scope) {
        match &entry.standing {
            Standing::Refused { .. } => (hopeless, refused) = (true, true),
            Standing::Blocked(_) | Standing::Full { .. } => hopeless = true,
            Standing::Exhausted { .. } => {
                hopeless = true;
                given_up.push(&entry.resource);
            }
            Standing::Backoff { failures, last, .. } => {
                if last.is_empty() || *failures < REFUSED_FOR_GOOD {
                    return Verdict::Working;
                }
                hopeless = true;
            }
            Standing::InProgress => return Verdict::Working,
            // What it waits for has a line or a status of its own.
            Standing::WaitingOn(_) | Standing::Held(_) | Standing::Notice(_) => {}
        }
    }
    let coming = in_scope(report, scope).any(|(slot, report)| {
        matches!(report.status, SlotStatus::Starting | SlotStatus::Unhealthy)
            && !given_up.iter().any(|r| matches!(r, Resource::Slot(given_up) if given_up == slot))
    });
    match hopeless && !coming {
        true if refused => Verdict::Refused,
        true => Verdict::Stuck,
        false => Verdict::Working,
    }
}

/// Why it isn't settled: one line each for what is blocked, waits or isn't ready.
pub fn reasons(view: &View, scope: &Scope) -> Vec<String> {
    let report = &view.report;
    let mut lines: Vec<String> = Vec::new();
    if let Link::Stale(fault) = &view.link {
        lines.push(fault.to_string());
    }
    // Who can't read the engine can't look at the lease: that says nothing more.
    let seeks = matches!(view.lease, Some(LeaseState::Seeking(_))) && !lines.is_empty();
    if let Some(lease) = view.lease.as_ref().filter(|_| !view.acts() && !seeks) {
        lines.push(lease.to_string());
    }
    let hindering = entries(report, scope)
        .filter(|entry| hinders(&entry.standing) && entry.standing != Standing::InProgress);
    lines.extend(hindering.map(|entry| format!("{}: {}", entry.resource, entry.standing)));
    let failed = failed_updates(report, scope);
    lines.extend(failed.map(|(slot, report)| format!("service {slot}: {}", report.message)));
    for (slot, report) in in_scope(report, scope).filter(|(_, r)| !is_settled(r.status)) {
        let head = format!("service {slot}: ");
        if lines.iter().any(|line| line.starts_with(&head)) {
            continue;
        }
        let message = match report.message.as_str() {
            "" => String::new(),
            message => format!(" ({message})"),
        };
        lines.push(format!("{head}{}{message}", report.status));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn slot(service: &str) -> Slot {
        Slot { project: "p".into(), service: service.into(), number: 1 }
    }

    fn view(slots: &[(&str, SlotStatus)], entries: Vec<(&str, Standing)>) -> View {
        let slots = slots.iter().map(|(name, status)| {
            (slot(name), SlotReport { status: *status, ..SlotReport::default() })
        });
        let entries = entries
            .into_iter()
            .map(|(name, standing)| Entry { resource: Resource::Slot(slot(name)), standing });
        let report =
            Report { slots: slots.collect(), entries: entries.collect(), ..Report::default() };
        View { link: Link::Live, report: Arc::new(report), ..View::default() }
    }

    fn verdict(view: &View) -> Verdict {
        judge(view, &Scope::default())
    }

    fn backoff(failures: u32, last: &str) -> Standing {
        Standing::Backoff { failures, remaining: Duration::from_secs(1), last: last.into() }
    }

    #[test]
    fn ready_and_idle_is_settled() {
        let mut view = view(&[("a", SlotStatus::Ready), ("job", SlotStatus::Completed)], vec![]);
        assert_eq!(verdict(&view), Verdict::Settled);
        view.busy = 1;
        assert_eq!(verdict(&view), Verdict::Working);
        view.busy = 0;
        view.link = Link::Connecting;
        assert_eq!(verdict(&view), Verdict::Working);
    }

    #[test]
    fn what_another_operator_has_to_do_is_not_waited_for() {
        let mut view = view(&[("a", SlotStatus::Missing)], vec![]);
        let step = crate::plan::Step {
            id: crate::plan::StepId(1),
            after: Vec::new(),
            resource: Resource::Network("p_default".into()),
            op: crate::plan::Op::CreateNetwork { key: "default".into() },
            cause: crate::plan::Cause::Missing,
        };
        view.plan = Arc::new(crate::plan::Plan { generation: 1, steps: vec![step] });
        assert_eq!(verdict(&view), Verdict::Working);
        let why = "bob keeps p (lease epoch 1)".to_owned();
        view.lease = Some(LeaseState::Standby { epoch: 1, by: None, why: why.clone() });
        assert_eq!(verdict(&view), Verdict::Stuck);
        assert_eq!(reasons(&view, &Scope::default())[0], why);
        for (lease, expected) in [
            (LeaseState::Held { epoch: 1 }, Verdict::Working),
            (LeaseState::Seeking(String::new()), Verdict::Working),
            (LeaseState::Refused(String::new()), Verdict::Refused),
            (LeaseState::Observing, Verdict::Stuck),
        ] {
            view.lease = Some(lease);
            assert_eq!(verdict(&view), expected);
        }
    }

    #[test]
    fn a_service_outside_the_scope_keeps_nobody() {
        let view = view(&[("a", SlotStatus::Ready), ("b", SlotStatus::Missing)], vec![]);
        assert_eq!(verdict(&view), Verdict::Working);
        let scope = Scope { services: ["a".to_owned()].into() };
        assert_eq!(judge(&view, &scope), Verdict::Settled);
    }

    #[test]
    fn blocked_with_nothing_else_coming_is_stuck() {
        let blocked = || ("a", Standing::Blocked("port 80 is taken".into()));
        let waits = || ("b", Standing::WaitingOn("a healthy".into()));
        let down = ("a", SlotStatus::Missing);
        let stuck = view(&[down, ("b", SlotStatus::Waiting)], vec![blocked(), waits()]);
        assert_eq!(verdict(&stuck), Verdict::Stuck);
        assert_eq!(
            reasons(&stuck, &Scope::default()),
            ["service a/1: blocked(port 80 is taken)", "service b/1: waiting_on(a healthy)"]
        );
        let starting = view(&[down, ("c", SlotStatus::Starting)], vec![blocked()]);
        assert_eq!(verdict(&starting), Verdict::Working);
    }

    #[test]
    fn an_update_that_failed_is_no_success_whatever_serves_now() {
        for (status, person) in [(SlotStatus::Ready, None), (SlotStatus::Held, Some("data"))] {
            let mut view = view(&[("a", status), ("b", SlotStatus::Ready)], vec![]);
            let mut report = (*view.report).clone();
            let stage = Stage::Pinned(person.map(str::to_owned));
            report.updates.insert(slot("a"), stage);
            report.slots.get_mut(&slot("a")).expect("there").message = "update failed: x".into();
            view.report = Arc::new(report);
            assert_eq!(verdict(&view), Verdict::Stuck);
            assert_eq!(reasons(&view, &Scope::default()), ["service a/1: update failed: x"]);
            let other = Scope { services: ["b".to_owned()].into() };
            assert_eq!(judge(&view, &other), Verdict::Settled);
        }
    }

    #[test]
    fn a_refused_call_is_the_end_whether_it_writes_or_reads() {
        let refused = || Standing::Refused {
            why: "the engine refuses POST /x (403)".into(),
            remaining: Duration::from_secs(1),
        };
        let mut view = view(&[("a", SlotStatus::Waiting)], vec![("a", refused())]);
        assert_eq!(verdict(&view), Verdict::Refused);
        let fault = Fault::Forbidden { call: "GET /events".into(), message: String::new() };
        view.link = Link::Stale(fault);
        view.report = Arc::default();
        view.lease = Some(LeaseState::default());
        assert_eq!(verdict(&view), Verdict::Refused);
        assert_eq!(
            reasons(&view, &Scope::default()),
            ["the engine refuses GET /events (403); allow that in the socket proxy"]
        );
    }

    #[test]
    fn the_engines_no_counts_after_the_third_time_and_a_crash_never() {
        let after = |standing| verdict(&view(&[("a", SlotStatus::Waiting)], vec![("a", standing)]));
        assert_eq!(after(backoff(2, "pull access denied")), Verdict::Working);
        assert_eq!(after(backoff(3, "pull access denied")), Verdict::Stuck);
        assert_eq!(after(backoff(9, "")), Verdict::Working);
    }

    #[test]
    fn what_has_just_been_started_and_nobody_can_judge_is_waited_for() {
        let young = |young| {
            let slot_report =
                SlotReport { status: SlotStatus::Ready, young, ..SlotReport::default() };
            let slots = [(slot("web"), slot_report)].into();
            let report = Report { slots, ..Report::default() };
            View { link: Link::Live, report: Arc::new(report), ..View::default() }
        };
        assert_eq!(verdict(&young(true)), Verdict::Working);
        assert_eq!(verdict(&young(false)), Verdict::Settled);
    }
}
