//! Faults of single calls, the record, and virtual time.

use super::super::{CallFault, SimFault, Strikes};
use super::*;
use crate::clock::Clock;

fn strike(sim: &SimEngine, call: &str, fault: CallFault, strikes: Strikes) {
    sim.inject(SimFault { call: call.into(), about: String::new(), fault, strikes });
}

#[tokio::test(start_paused = true)]
async fn a_timeout_says_nothing_about_what_happened() {
    for effect in [false, true] {
        let sim = engine();
        let a = create(&sim, "a", json!({})).await.expect("it is made");
        let call = "POST /containers/{id}/start";
        strike(&sim, call, CallFault::Timeout { effect }, Strikes::Next(1));
        let before = sim.clock().elapsed();
        let fault = start(&sim, &a).await.expect_err("no answer");
        assert!(fault.outcome_unknown());
        assert_eq!(sim.clock().elapsed() - before, secs(30));
        let running = inspect(&sim, &a).await.state == ContainerState::Running;
        assert_eq!(running, effect);
        start(&sim, &a).await.expect("the fault is used up");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_call_may_have_happened() {
    for effect in [false, true] {
        let sim = engine();
        strike(&sim, "POST /volumes", CallFault::Cut { effect }, Strikes::Always);
        let body = body(json!({ "Name": "v" }));
        let fault = sim.write(&Write::CreateVolume { body }).await.expect_err("it broke");
        assert!(matches!(fault, Fault::Interrupted { .. }));
        assert_eq!(sim.volumes().await.expect("a list").len(), usize::from(effect));
    }
}

#[tokio::test(start_paused = true)]
async fn statuses_are_sorted_as_the_adapter_sorts_them() {
    let sim = engine();
    for (status, reason) in [
        (500, "EngineError"),
        (409, "Conflict"),
        (403, "PermissionMissing"),
        (404, "NotFound"),
        (400, "Rejected"),
    ] {
        strike(&sim, "GET /containers/json", CallFault::Status(status), Strikes::Next(1));
        let fault = sim.containers().await.expect_err("it is injected");
        assert_eq!(fault.reason(), reason);
    }
    strike(&sim, "GET /containers/json", CallFault::Garbage, Strikes::Next(1));
    assert_eq!(sim.containers().await.expect_err("it is injected").reason(), "Garbage");
    strike(&sim, "GET ", CallFault::Delay(secs(3)), Strikes::Next(1));
    let before = sim.clock().elapsed();
    sim.containers().await.expect("late");
    assert!(sim.clock().elapsed() - before >= secs(3));
    strike(&sim, "", CallFault::Status(500), Strikes::Always);
    sim.heal();
    sim.containers().await.expect("healed");
}

#[tokio::test(start_paused = true)]
async fn a_fault_can_be_about_one_object() {
    let sim = engine();
    let (call, about) = ("POST /containers/create".to_owned(), "a".to_owned());
    let (fault, strikes) = (CallFault::Status(500), Strikes::Always);
    sim.inject(SimFault { call, about, fault, strikes });
    create(&sim, "b", json!({})).await.expect("another one");
    create(&sim, "a", json!({})).await.expect_err("this one");
}

async fn outcomes(seed: u64) -> Vec<bool> {
    let sim = SimEngine::new(seed);
    strike(&sim, "GET /_ping", CallFault::Status(500), Strikes::Chance(0.5));
    let mut all = Vec::new();
    for _ in 0..40 {
        all.push(sim.ping().await.is_ok());
    }
    all
}

#[tokio::test(start_paused = true)]
async fn chance_is_the_same_for_the_same_seed() {
    let (first, again, other) = (outcomes(7).await, outcomes(7).await, outcomes(12_345).await);
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert!(first.contains(&true) && first.contains(&false));
}

#[tokio::test(start_paused = true)]
async fn two_runs_tell_the_same_story() {
    let story = || async {
        let sim = engine();
        sim.behave("a", Behaviour { exits: Some((ms(700), 1)), ..Behaviour::default() });
        let policy = json!({ "HostConfig": { "RestartPolicy": { "Name": "always" } } });
        run(&sim, "a", policy).await;
        run(&sim, "b", json!({})).await;
        sleep(secs(30)).await;
        sim.compose_down("demo").await.expect("down");
        sim.all_events()
    };
    assert_eq!(story().await, story().await);
}

#[tokio::test(start_paused = true)]
async fn a_stop_goes_on_when_its_caller_leaves() {
    let sim = engine();
    sim.behave("a", Behaviour { on_stop: OnStop::Ignores, ..Behaviour::default() });
    let id = run(&sim, "a", json!({})).await;
    let stop = Write::StopContainer { id: id.clone(), grace: None };
    let left = tokio::time::timeout(secs(1), sim.write(&stop)).await;
    assert!(left.is_err());
    sleep(secs(12)).await;
    assert_eq!(inspect(&sim, &id).await.state, ContainerState::Exited);
    assert_eq!(events(&sim).last().map(String::as_str), Some("stop"));
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_for_the_teardown_before_it() {
    let sim = engine();
    let id = run(&sim, "a", json!({})).await;
    sim.crash("a", 1).expect("it runs");
    sleep(ms(1)).await;
    start(&sim, &id).await.expect("it starts");
    assert_eq!(between(&sim, "die", "start"), 44 + 230);
}

#[tokio::test(start_paused = true)]
async fn writes_and_calls_are_recorded() {
    let sim = engine();
    let id = run(&sim, "a", json!({})).await;
    sim.stop("a").await.expect("another actor");
    start(&sim, &ContainerId("0".repeat(64))).await.expect_err("no such container");
    let writes = sim.writes();
    let calls: Vec<_> = writes.iter().map(|w| (w.write.call(), w.name.as_str())).collect();
    assert_eq!(
        calls[..2],
        [("POST /containers/create", "a"), ("POST /containers/{id}/start", "a")]
    );
    assert_eq!(writes.len(), 3, "other people's don't count");
    assert_eq!(writes[1].at, ms(23));
    assert!(matches!(&writes[0].outcome, Some(Ok(reply)) if reply.id == Some(id.0)));
    assert!(matches!(&writes[2].outcome, Some(Err(Fault::NotFound { .. }))));
    assert_eq!(sim.calls()["POST /containers/{id}/start"], 2);
    sim.forget_writes();
    assert!(sim.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_wall_clock_jumps_and_monotonic_time_does_not() {
    let sim = engine();
    let clock = sim.clock();
    let before = clock.now();
    sleep(secs(3600)).await;
    clock.jump_wall(-3_600_000);
    let after = clock.now();
    assert_eq!(after.wall, before.wall);
    assert_eq!(after.mono.since(before.mono), secs(3600));
    run(&sim, "a", json!({})).await;
    let started = sim.containers().await.expect("a list")[0].created;
    assert_eq!(started.since(before.wall), ms(23), "the engine goes by the same wall clock");
}
