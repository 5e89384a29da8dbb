//! Who restarts what: the engine, homeostat, and the children of a namespace.

use super::fixture::{World, ago, service};
use crate::compose::types::{RestartPolicy, Service};
use crate::observed::ContainerState;

fn with(policy: RestartPolicy) -> World {
    let web = Service { restart: policy, ..service("web") };
    World::new([web]).up()
}

#[test]
fn without_a_policy_the_start_is_ours_at_once() {
    let mut w = with(RestartPolicy::No);
    w.exit("web", 0, 0);
    w.expect(&["[]     -> #1 service web/1: start  (exited 0)"]);
}

#[test]
fn the_engine_has_two_seconds_to_restart_what_it_owns() {
    for policy in [
        RestartPolicy::Always,
        RestartPolicy::UnlessStopped,
        RestartPolicy::OnFailure(None),
        RestartPolicy::OnFailure(Some(3)),
    ] {
        let mut w = with(policy);
        w.exit("web", 1, 1);
        w.expect(&["service web/1: waiting_on(engine restart)"]);
        assert_eq!(w.planned().1.wake, Some(w.now.mono.after(std::time::Duration::from_secs(1))));
        w.exit("web", 1, 2);
        w.expect(&["[]     -> #1 service web/1: start  (exited 1)"]);
    }
}

#[test]
fn on_failure_used_up_is_ours_at_once() {
    let mut w = with(RestartPolicy::OnFailure(Some(3)));
    w.exit("web", 1, 0);
    w.fault("web", |c| c.restart_count = 3);
    w.expect(&["[]     -> #1 service web/1: start  (exited 1)"]);
}

#[test]
fn exit_zero_under_on_failure_is_the_end_and_under_always_it_is_not() {
    let mut w = with(RestartPolicy::OnFailure(None));
    w.exit("web", 0, 60);
    w.expect(&[]);
    let mut w = with(RestartPolicy::Always);
    w.exit("web", 0, 60);
    w.expect(&["[]     -> #1 service web/1: start  (exited 0)"]);
}

#[test]
fn a_restart_by_the_engine_is_waited_for() {
    let mut w = with(RestartPolicy::Always);
    w.fault("web", |c| c.state = ContainerState::Restarting);
    w.expect(&["service web/1: waiting_on(engine restart)"]);
}

#[test]
fn a_clock_that_jumped_back_stalls_nothing() {
    let mut w = with(RestartPolicy::Always);
    w.exit("web", 1, -3600);
    w.expect(&["[]     -> #1 service web/1: start  (exited 1)"]);
}

fn child() -> World {
    World::new([service("vpn"), service("app").in_network_of("vpn"), service("web").after("app")])
}

#[test]
fn a_child_is_made_after_its_parent() {
    child().expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[1]    -> #2 service vpn/1: create p-vpn-1  (missing)",
        "[2]    -> #3 service vpn/1: start  (new container)",
        "[2]    -> #4 service app/1: create p-app-1  (missing)",
        "[3,4]  -> #5 service app/1: start  (new container)",
        "[1]    -> #6 service web/1: create p-web-1  (missing)",
        "[5,6]  -> #7 service web/1: start  (new container)",
    ]);
}

#[test]
fn a_converged_child_needs_nothing() {
    child().up().expect(&[]);
}

#[test]
fn a_child_of_a_missing_parent_is_replaced() {
    let mut w = child().up();
    w.remove("vpn");
    w.expect(&[
        "[]     -> #1 service vpn/1: create p-vpn-1  (missing)",
        "[1]    -> #2 service vpn/1: start  (new container)",
        "[1]    -> #3 service app/1: create app1_p-app-1  (shares a namespace with vpn, which is replaced)",
        "[2,3]  -> #4 service app/1: stop app1  (replaced)",
        "[4]    -> #5 service app/1: remove app1  (replaced)",
        "[5]    -> #6 service app/1: rename to p-app-1  (replaced)",
        "[2,3,5,6] -> #7 service app/1: start  (replaced)",
    ]);
}

#[test]
fn a_child_of_a_replaced_parent_is_replaced() {
    let mut w = child().up();
    w.edit("vpn", |s| s.changed("image"));
    w.expect(&[
        "[]     -> #1 service vpn/1: create 221aa09e3eb9_p-vpn-1  (configuration changed)",
        "[1]    -> #2 service vpn/1: stop vpn1  (replaced)",
        "[2]    -> #3 service vpn/1: rename to vpn1_p-vpn-1  (kept until the new one is ready)",
        "[3]    -> #4 service vpn/1: rename to p-vpn-1  (replaced)",
        "[1,3,4] -> #5 service vpn/1: start  (replaced)",
        "[1]    -> #6 service app/1: create app1_p-app-1  (shares a namespace with vpn, which is replaced)",
        "[5,6]  -> #7 service app/1: stop app1  (replaced)",
        "[7]    -> #8 service app/1: remove app1  (replaced)",
        "[8]    -> #9 service app/1: rename to p-app-1  (replaced)",
        "[5,6,8,9] -> #10 service app/1: start  (replaced)",
    ]);
}

#[test]
fn a_child_of_a_parent_that_somebody_recreated_is_replaced_whoever_made_it() {
    let mut w = child().up();
    let mut vpn = w.observed.containers.remove(&super::fixture::id("vpn1")).expect("there");
    vpn.id = super::fixture::id("vpn2");
    w.observed.containers.insert(vpn.id.clone(), vpn);
    w.fault("app", |c| c.compose_version = Some("2.40.0".into()));
    w.expect(&[
        "[]     -> #1 service app/1: create app1_p-app-1  (shares a namespace with vpn, which is replaced)",
        "[1]    -> #2 service app/1: stop app1  (replaced)",
        "[2]    -> #3 service app/1: remove app1  (replaced)",
        "[3]    -> #4 service app/1: rename to p-app-1  (replaced)",
        "[1,3,4] -> #5 service app/1: start  (replaced)",
    ]);
    w.fault("app", |c| c.config_hash = None);
    w.expect(&[
        "[]     -> #1 service app/1: create app1_p-app-1  (shares a namespace with vpn, which is replaced)",
        "[1]    -> #2 service app/1: stop app1  (replaced)",
        "[2]    -> #3 service app/1: remove app1  (replaced)",
        "[3]    -> #4 service app/1: rename to p-app-1  (replaced)",
        "[1,3,4] -> #5 service app/1: start  (replaced)",
    ]);
}

#[test]
fn a_child_of_a_restarted_parent_is_restarted() {
    let mut w = child().up();
    w.exit("vpn", 1, 60);
    w.expect(&[
        "[]     -> #1 service vpn/1: start  (exited 1)",
        "[1]    -> #2 service app/1: restart  (shares a namespace with vpn, which was restarted)",
    ]);
    let mut w = child().up();
    w.fault("vpn", |c| c.started = Some(ago(10)));
    w.expect(&[
        "[]     -> #1 service app/1: restart  (shares a namespace with vpn, which was restarted)",
    ]);
}

#[test]
fn a_child_waits_while_its_parent_cannot_be_made() {
    let mut w = child();
    w.edit("vpn", |s| Service { image: None, ..s });
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[1]    -> #2 service web/1: create p-web-1  (missing)",
        "service vpn/1: blocked(service vpn names no image; build it and name it with `image:`)",
        "service app/1: waiting_on(vpn created)",
        "service web/1: waiting_on(app started)",
    ]);
}

#[test]
fn a_dependency_that_was_replaced_restarts_those_that_ask_for_it() {
    let web = service("web").after("db").edge("db", |d| d.restart = true);
    let mut w = World::new([service("db"), web, service("other").after("db")]).up();
    w.edit("db", |s| s.changed("image"));
    w.expect(&[
        "[]     -> #1 service db/1: create 82e64648d9ab_p-db-1  (configuration changed)",
        "[1]    -> #2 service db/1: stop db1  (replaced)",
        "[2]    -> #3 service db/1: rename to db1_p-db-1  (kept until the new one is ready)",
        "[3]    -> #4 service db/1: rename to p-db-1  (replaced)",
        "[1,3,4] -> #5 service db/1: start  (replaced)",
        "[5]    -> #6 service web/1: restart  (db was replaced and asks for a restart)",
    ]);
    let web = service("web").after_healthy("db").edge("db", |d| d.restart = true);
    let mut w = World::new([service("db").checked(), web]).up();
    w.fault("db", |c| {
        c.created = ago(5);
        c.started = Some(ago(4));
    });
    w.expect(&["[]     -> #1 service web/1: restart  (db was replaced and asks for a restart)"]);
}

#[test]
fn dependents_keep_running_while_their_dependency_is_down() {
    let mut w = World::new([service("db"), service("web").after("db")]).up();
    w.exit("db", 1, 0);
    w.expect(&["[]     -> #1 service db/1: start  (exited 1)"]);
}

#[test]
fn a_start_that_lies_in_the_future_after_a_clock_jump_restarts_no_child() {
    let mut w = child().up();
    w.fault("vpn", |c| c.started = Some(ago(-3600)));
    w.expect(&[]);
}
