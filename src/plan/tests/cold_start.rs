//! Nothing is there yet, or everything is.

use super::fixture::{World, service};
use crate::compose::types::Condition;

fn chain() -> World {
    World::new([
        service("db").checked().volume("data"),
        service("cache").after("db"),
        service("web").after_healthy("db").after("cache"),
    ])
}

#[test]
fn an_empty_engine_gets_everything_that_can_be_made_now_in_order() {
    chain().expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[]     -> #2 volume p_data: create  (missing)",
        "[1,2]  -> #3 service db/1: create p-db-1  (missing)",
        "[3]    -> #4 service db/1: start  (new container)",
        "[1]    -> #5 service cache/1: create p-cache-1  (missing)",
        "[4,5]  -> #6 service cache/1: start  (new container)",
        "[1]    -> #7 service web/1: create p-web-1  (missing)",
        "service web/1: waiting_on(db healthy)",
    ]);
}

#[test]
fn what_waits_for_health_is_made_and_not_started() {
    let mut w = chain().up();
    w.remove("web");
    w.fault("db", |c| c.health = crate::observed::Health::Starting);
    w.expect(&[
        "[]     -> #1 service web/1: create p-web-1  (missing)",
        "service web/1: waiting_on(db healthy)",
    ]);
}

#[test]
fn a_healthy_dependency_lets_it_start() {
    let mut w = chain().up();
    w.remove("web");
    w.expect(&[
        "[]     -> #1 service web/1: create p-web-1  (missing)",
        "[1]    -> #2 service web/1: start  (new container)",
    ]);
}

#[test]
fn a_converged_stack_needs_nothing() {
    let mut w = chain().up();
    w.expect(&[]);
    assert!(w.planned().1.settled());
}

#[test]
fn a_job_runs_before_what_waits_for_its_end() {
    let done = Condition::CompletedSuccessfully;
    let mut w = World::new([service("init"), service("web").needs("init", done)]);
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[1]    -> #2 service init/1: create p-init-1  (missing)",
        "[2]    -> #3 service init/1: start  (new container)",
        "[1]    -> #4 service web/1: create p-web-1  (missing)",
        "service web/1: waiting_on(init completed)",
    ]);
    let mut w = w.up();
    w.remove("web");
    w.expect(&[
        "[]     -> #1 service web/1: create p-web-1  (missing)",
        "[1]    -> #2 service web/1: start  (new container)",
    ]);
}

#[test]
fn a_remembered_job_does_not_run_again_and_an_edited_one_does() {
    let done = Condition::CompletedSuccessfully;
    let mut w = World::new([service("init"), service("web").needs("init", done)]).up();
    w.remove("init");
    let hash = w.desired().hashes["init"].clone();
    w.memory.jobs.insert("init".into(), (hash, "sha256:app".into()));
    w.expect(&[]);
    w.edit("init", |s| s.changed("command"));
    w.expect(&[
        "[]     -> #1 service init/1: create p-init-1  (missing)",
        "[1]    -> #2 service init/1: start  (new container)",
    ]);
}

#[test]
fn a_failed_job_is_tried_again_and_keeps_its_dependents_waiting() {
    let done = Condition::CompletedSuccessfully;
    let mut w = World::new([service("init"), service("web").needs("init", done)]).up();
    w.exit("init", 1, 60);
    w.remove("web");
    w.expect(&[
        "[]     -> #1 service init/1: start  (exited 1)",
        "[]     -> #2 service web/1: create p-web-1  (missing)",
        "service web/1: waiting_on(init completed)",
    ]);
}

#[test]
fn a_missing_optional_dependency_holds_nobody_up() {
    let web = service("web").after_healthy("db").edge("db", |d| d.required = false);
    let mut w = World::new([service("db").checked(), web]);
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[1]    -> #2 service db/1: create p-db-1  (missing)",
        "[2]    -> #3 service db/1: start  (new container)",
        "[1]    -> #4 service web/1: create p-web-1  (missing)",
        "service web/1: waiting_on(db healthy)",
    ]);
    w.hold("db");
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[1]    -> #2 service web/1: create p-web-1  (missing)",
        "[2]    -> #3 service web/1: start  (new container)",
        "service db/1: held(stopped by hand)",
    ]);
}

#[test]
fn an_optional_dependency_that_is_on_its_way_is_waited_for() {
    let web = service("web").after_healthy("cache").edge("cache", |d| d.required = false);
    let mut w =
        World::new([service("db").checked(), service("cache").checked().after_healthy("db"), web]);
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[1]    -> #2 service db/1: create p-db-1  (missing)",
        "[2]    -> #3 service db/1: start  (new container)",
        "[1]    -> #4 service cache/1: create p-cache-1  (missing)",
        "[1]    -> #5 service web/1: create p-web-1  (missing)",
        "service cache/1: waiting_on(db healthy)",
        "service web/1: waiting_on(cache healthy)",
    ]);
}

#[test]
fn health_that_nobody_can_tell_is_refused() {
    let mut w = World::new([service("db"), service("web").after_healthy("db")]).up();
    w.remove("web");
    w.expect(&[
        "[]     -> #1 service web/1: create p-web-1  (missing)",
        "service web/1: blocked(service_healthy of db, which has neither a healthcheck nor a driver; give it one, or use service_started)",
    ]);
}

#[test]
fn a_service_scaled_to_zero_holds_nobody_up() {
    let mut w = World::new([service("db"), service("web").after_healthy("db")]);
    w.edit("db", |mut s| {
        s.scale = 0;
        s
    });
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[1]    -> #2 service web/1: create p-web-1  (missing)",
        "[2]    -> #3 service web/1: start  (new container)",
    ]);
}

#[test]
fn the_recovery_order_holds_between_services_that_are_down_together() {
    let mut w = World::new([service("bot"), service("valkey").checked()]);
    w.recovery = vec!["valkey".into(), "bot".into()];
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[1]    -> #2 service valkey/1: create p-valkey-1  (missing)",
        "[2]    -> #3 service valkey/1: start  (new container)",
        "[1]    -> #4 service bot/1: create p-bot-1  (missing)",
        "service bot/1: waiting_on(valkey ready, by recoveryOrder)",
    ]);
    let mut w = w.up();
    w.exit("bot", 1, 60);
    w.expect(&["[]     -> #1 service bot/1: start  (exited 1)"]);
}

#[test]
fn the_recovery_order_lets_go_at_its_deadline() {
    let mut w = World::new([service("bot"), service("valkey").checked()]).up();
    w.recovery = vec!["valkey".into(), "bot".into()];
    w.exit("bot", 1, 60);
    w.fault("valkey", |c| c.health = crate::observed::Health::Starting);
    let mut since = w.now.mono;
    since.0 -= std::time::Duration::from_secs(59);
    w.memory.down_since.insert("valkey".into(), since);
    w.expect(&["service bot/1: waiting_on(valkey ready, by recoveryOrder)"]);
    assert_eq!(w.planned().1.wake, Some(w.now.mono.after(std::time::Duration::from_secs(1))));
    since.0 -= std::time::Duration::from_secs(1);
    w.memory.down_since.insert("valkey".into(), since);
    w.expect(&["[]     -> #1 service bot/1: start  (exited 1)"]);
}

#[test]
fn an_optional_service_is_not_softly_waited_for() {
    let mut w = World::new([service("bot"), service("valkey").checked()]);
    w.recovery = vec!["valkey".into(), "bot".into()];
    w.traits.entry("valkey".into()).or_default().optional = true;
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[1]    -> #2 service valkey/1: create p-valkey-1  (missing)",
        "[2]    -> #3 service valkey/1: start  (new container)",
        "[1]    -> #4 service bot/1: create p-bot-1  (missing)",
        "[4]    -> #5 service bot/1: start  (new container)",
    ]);
}

#[test]
fn a_scope_covers_what_its_services_need_and_nothing_else() {
    let mut w = World::new([service("db"), service("web").after("db"), service("other")]);
    w.scope.services.insert("web".into());
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[1]    -> #2 service db/1: create p-db-1  (missing)",
        "[2]    -> #3 service db/1: start  (new container)",
        "[1]    -> #4 service web/1: create p-web-1  (missing)",
        "[3,4]  -> #5 service web/1: start  (new container)",
    ]);
}
