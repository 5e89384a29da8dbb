//! One thing goes wrong with one container.

use std::time::Duration;

use super::fixture::{World, ago, id, service, slot};
use crate::clock::Mono;
use crate::compose::types::Healthcheck;
use crate::desired::OrphanPolicy;
use crate::observed::{ContainerState, Health};
use crate::plan::memory::{Backoff, Refusal};
use crate::probe::Answer;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn web() -> World {
    World::new([service("web").checked()]).up()
}

#[test]
fn a_missing_container_is_made_and_started() {
    let mut w = web();
    w.remove("web");
    w.expect(&[
        "[]     -> #1 service web/1: create p-web-1  (missing)",
        "[1]    -> #2 service web/1: start  (new container)",
    ]);
    w.memory.applied.insert("web".into(), "any".into());
    w.expect(&[
        "[]     -> #1 service web/1: create p-web-1  (deleted by someone else)",
        "[1]    -> #2 service web/1: start  (new container)",
    ]);
}

#[test]
fn an_exited_container_is_started() {
    let mut w = web();
    w.exit("web", 137, 0);
    w.expect(&["[]     -> #1 service web/1: start  (exited 137)"]);
}

#[test]
fn a_container_that_never_started_is_started() {
    let mut w = web();
    w.fault("web", |c| {
        c.state = ContainerState::Created;
        c.started = None;
        c.health = Health::None;
    });
    w.expect(&["[]     -> #1 service web/1: start  (never started)"]);
}

#[test]
fn a_dead_container_is_replaced_and_removed_by_force() {
    let mut w = web();
    w.fault("web", |c| c.state = ContainerState::Dead);
    w.expect(&[
        "[]     -> #1 service web/1: create web1_p-web-1  (dead)",
        "[1]    -> #2 service web/1: remove web1  (replaced)",
        "[2]    -> #3 service web/1: rename to p-web-1  (replaced)",
        "[1,2,3] -> #4 service web/1: start  (replaced)",
    ]);
}

#[test]
fn a_container_that_goes_away_is_waited_for() {
    let mut w = web();
    w.fault("web", |c| c.state = ContainerState::Removing);
    w.expect(&["service web/1: waiting_on(removal)"]);
}

#[test]
fn a_paused_container_is_reported_and_let_go_on_by_policy_only() {
    let mut w = web();
    w.fault("web", |c| c.state = ContainerState::Paused);
    w.expect(&["service web/1: held(paused by hand; `docker unpause p-web-1` ends it)"]);
    w.policy.unpause = true;
    w.expect(&["[]     -> #1 service web/1: unpause  (paused)"]);
}

#[test]
fn a_renamed_container_is_known_by_its_labels() {
    let mut w = web();
    w.fault("web", |c| c.name = "mine".into());
    w.expect(&["service web/1: notice(renamed to mine by hand; known by its labels)"]);
}

#[test]
fn docker_unhealthy_is_restarted_and_starting_is_not() {
    let mut w = web();
    w.fault("web", |c| c.health = Health::Starting);
    w.expect(&[]);
    w.fault("web", |c| c.health = Health::Unhealthy);
    w.expect(&["[]     -> #1 service web/1: restart  (unhealthy: Docker healthcheck)"]);
}

#[test]
fn a_silent_service_is_restarted_after_three_failures_and_its_start_deadline() {
    let mut w = World::new([service("web")]).up();
    w.traits.entry("web".into()).or_default().probed = true;
    w.probe("web", Answer::NotReady, "Refused", 2);
    w.expect(&[]);
    w.fault("web", |c| c.started = Some(ago(59)));
    w.probe("web", Answer::NotReady, "Refused", 3);
    w.expect(&[]);
    w.fault("web", |c| c.started = Some(ago(60)));
    w.probe("web", Answer::NotReady, "Refused", 3);
    w.expect(&["[]     -> #1 service web/1: restart  (unhealthy: Refused (3 times))"]);
}

#[test]
fn what_failed_within_its_start_period_counts_for_no_restart() {
    let mut w = World::new([service("web")]).up();
    w.traits.entry("web".into()).or_default().probed = true;
    let check = Healthcheck { start_period: Some(secs(120)), ..Healthcheck::default() };
    w.project.services.get_mut("web").expect("there").healthcheck = Some(check);
    w.fault("web", |c| c.started = Some(ago(130)));
    w.probe("web", Answer::NotReady, "Refused", 3);
    // The first of the three was made so many seconds ago.
    let first = |w: &mut World, ago: u64| {
        let probe = w.observed.probes.values_mut().next().expect("there");
        probe.counted_before = [w.now.mono, Mono(w.now.mono.0 - secs(ago))];
    };
    first(&mut w, 20);
    w.expect(&[]);
    first(&mut w, 9);
    w.expect(&["[]     -> #1 service web/1: restart  (unhealthy: Refused (3 times))"]);
    // One that was ready has left its start behind.
    first(&mut w, 20);
    w.observed.probes.values_mut().next().expect("there").was_ready = true;
    w.expect(&["[]     -> #1 service web/1: restart  (unhealthy: Refused (3 times))"]);
}

#[test]
fn a_service_that_answers_is_never_restarted() {
    let mut w = web();
    w.traits.entry("web".into()).or_default().probed = true;
    w.fault("web", |c| c.health = Health::Unhealthy);
    w.probe("web", Answer::NotReady, "Loading", 99);
    w.expect(&[]);
    w.probe("web", Answer::Ready, "Ready", 0);
    w.expect(&[]);
    let web = &w.planned().1.slots[&slot("web", 1)];
    assert_eq!(web.status, crate::plan::SlotStatus::Degraded, "said, though it serves");
}

#[test]
fn the_policy_says_whose_word_makes_a_service_ready() {
    use crate::desired::ReadinessPolicy::{Both, Docker, Either};
    use Answer::{NotReady, Ready, Unknown};
    let (well, ill, begins, none) =
        (Health::Healthy, Health::Unhealthy, Health::Starting, Health::None);
    for (docker, driver, ready) in [
        // With the policies Either, Docker and Both.
        (well, Ready, [true, true, true]),
        (well, NotReady, [true, true, false]),
        (well, Unknown, [true, true, true]),
        (ill, Ready, [true, false, false]),
        (ill, NotReady, [false, false, false]),
        (ill, Unknown, [false, false, false]),
        (begins, Ready, [true, false, false]),
        (begins, Unknown, [false, false, false]),
        // Without a healthcheck the driver's word is all there is, then that it runs.
        (none, Ready, [true, true, true]),
        (none, NotReady, [false, false, false]),
        (none, Unknown, [true, true, true]),
    ] {
        for (policy, ready) in [Either, Docker, Both].into_iter().zip(ready) {
            let mut w = World::new([service("web")]).up();
            w.policy.readiness = policy;
            w.traits.entry("web".into()).or_default().probed = true;
            w.fault("web", |c| (c.health, c.has_healthcheck) = (docker, docker != none));
            w.probe("web", driver, "Reason", 0);
            let status = w.planned().1.slots[&slot("web", 1)].status;
            assert_eq!(status.is_good(), ready, "{policy:?}: {docker:?} and {driver:?}: {status}");
        }
    }
}

#[test]
fn a_ready_service_is_degraded_only_when_its_driver_says_so() {
    let mut w = World::new([service("web")]).up();
    w.traits.entry("web".into()).or_default().probed = true;
    w.probe("web", Answer::Ready, "Ready", 0);
    assert_eq!(
        w.planned().1.slots[&super::fixture::slot("web", 1)].status,
        crate::plan::SlotStatus::Ready
    );
    w.probe("web", Answer::Ready, "ModelMissing", 0);
    assert_eq!(
        w.planned().1.slots[&super::fixture::slot("web", 1)].status,
        crate::plan::SlotStatus::Degraded
    );
}

#[test]
fn an_answer_about_another_run_says_nothing() {
    let mut w = World::new([service("web")]).up();
    w.traits.entry("web".into()).or_default().probed = true;
    w.probe("web", Answer::NotReady, "Refused", 9);
    w.fault("web", |c| c.started = Some(ago(100)));
    w.expect(&[]);
}

#[test]
fn a_backoff_is_waited_out() {
    let mut w = web();
    w.exit("web", 1, 60);
    let not_before = w.now.mono.after(std::time::Duration::from_millis(1500));
    let backoff = Backoff { failures: 2, not_before, ..Backoff::default() };
    w.memory.backoff.insert(slot("web", 1), backoff);
    w.expect(&["service web/1: backoff(2 attempts; next in 1.5 s)"]);
    assert_eq!(w.planned().1.wake, Some(not_before));
    w.now.mono = not_before;
    w.expect(&["[]     -> #1 service web/1: start  (exited 1, attempt 3)"]);
}

#[test]
fn a_refused_call_blocks_and_is_named_until_it_is_not_needed_any_more() {
    let mut w = web();
    w.exit("web", 1, 60);
    let not_before = w.now.mono.after(std::time::Duration::from_millis(1500));
    let call = "POST /containers/{id}/start".to_owned();
    let refused = Some(Refusal { call: call.clone(), action: "start_container" });
    let last = "no start (403)".to_owned();
    let backoff = Backoff { failures: 2, not_before, last, refused, ..Backoff::default() };
    w.memory.backoff.insert(slot("web", 1), backoff);
    w.expect(&["service web/1: blocked(no start (403); next try in 1.5 s)"]);
    let report = w.planned().1;
    assert_eq!((report.wake, report.settled()), (Some(not_before), false));
    assert_eq!(report.refused, [call.clone()].into());
    w.now.mono = not_before;
    w.expect(&["[]     -> #1 service web/1: start  (exited 1, attempt 3)"]);
    assert_eq!(w.planned().1.refused, [call.clone()].into(), "about to be tried");
    w.memory.busy.insert(crate::plan::Resource::Slot(slot("web", 1)));
    assert_eq!(w.planned().1.refused, [call].into(), "being tried");
    let mut by_hand = web();
    by_hand.memory.backoff = w.memory.backoff;
    assert!(by_hand.planned().1.refused.is_empty(), "somebody else started it");
}

#[test]
fn a_busy_or_held_service_is_left_alone() {
    let mut w = web();
    w.exit("web", 1, 60);
    w.memory.busy.insert(crate::plan::Resource::Slot(slot("web", 1)));
    w.expect(&["service web/1: in_progress"]);
    w.memory.busy.clear();
    w.hold("web");
    w.expect(&["service web/1: held(stopped by hand)"]);
}

#[test]
fn a_held_service_is_not_scaled_down() {
    let mut w = web();
    w.edit("web", |mut s| {
        s.scale = 0;
        s
    });
    w.hold("web");
    w.expect(&[]);
}

#[test]
fn orphans_are_named_or_removed_by_policy_and_inactive_profiles_are_none() {
    let mut w = World::new([service("web"), service("old"), service("tool")]).up();
    w.project.services.remove("old");
    let tool = w.project.services.remove("tool").expect("there");
    w.project.disabled_services.insert("tool".into(), tool);
    w.expect(&[
        "container p-old-1: notice(orphan: its service is no longer in the project; `policy.orphans: Remove` removes it)",
    ]);
    w.policy.orphans = OrphanPolicy::Remove;
    w.expect(&[
        "[]     -> #1 service old/1: stop old1  (its service is no longer in the project)",
        "[1]    -> #2 service old/1: remove old1  (its service is no longer in the project)",
    ]);
}

#[test]
fn one_offs_and_other_projects_are_never_touched() {
    let mut w = web();
    w.policy.orphans = OrphanPolicy::Remove;
    w.stranger("run", |c| {
        c.project = Some("p".into());
        c.service = Some("gone".into());
        c.number = 1;
        c.oneoff = true;
    });
    w.stranger("other", |c| {
        c.project = Some("q".into());
        c.service = Some("web".into());
        c.number = 1;
    });
    w.expect(&[]);
}

#[test]
fn scaling_up_fills_gaps_and_scaling_down_keeps_the_lowest() {
    let mut w = World::new([service("web")]);
    w.edit("web", |mut s| {
        s.scale = 3;
        s
    });
    let mut w = w.up();
    w.observed.containers.remove(&id("web2"));
    w.expect(&[
        "[]     -> #1 service web/2: create p-web-2  (missing)",
        "[1]    -> #2 service web/2: start  (new container)",
    ]);
    w.edit("web", |mut s| {
        s.scale = 1;
        s
    });
    w.expect(&[
        "[]     -> #1 service web/3: stop web3  (more containers than wanted)",
        "[1]    -> #2 service web/3: remove web3  (more containers than wanted)",
    ]);
}

#[test]
fn what_nobody_can_judge_is_young_for_a_second() {
    let young = |w: &mut World| w.planned().1.slots[&slot("web", 1)].young;
    let mut w = World::new([service("web")]).up();
    assert!(!young(&mut w));
    w.fault("web", |c| c.started = Some(ago(0)));
    assert!(young(&mut w));
    assert_eq!(w.planned().1.wake, Some(w.now.mono.after(std::time::Duration::from_secs(1))));
    w.traits.entry("web".into()).or_default().probed = true;
    w.probe("web", Answer::Ready, "Ready", 0);
    assert!(!young(&mut w), "somebody can");
}
