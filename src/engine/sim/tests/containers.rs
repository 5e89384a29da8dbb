//! Ends, restarts, health: the table «Why did it die» and the engine's own policy.

use super::*;

/// The events after create and start.
fn since_start(sim: &SimEngine) -> Vec<String> {
    events(sim).split_off(2)
}

#[tokio::test(start_paused = true)]
async fn a_crash_dies_without_a_kill() {
    let sim = engine();
    let id = run(&sim, "a", json!({})).await;
    sim.crash("a", 3).expect("it runs");
    sleep(ms(100)).await;
    assert_eq!(since_start(&sim), ["die 3"]);
    let container = inspect(&sim, &id).await;
    assert_eq!((container.state, container.exit_code), (ContainerState::Exited, Some(3)));
    assert_eq!(container.networks["bridge"].endpoint_id, "");
}

#[tokio::test(start_paused = true)]
async fn a_memory_kill_tells_oom_first_and_its_flag_outlives_restarts() {
    let sim = engine();
    let id = run(&sim, "a", json!({})).await;
    sim.oom("a").expect("it runs");
    sleep(ms(100)).await;
    assert_eq!(since_start(&sim), ["oom", "die 137"]);
    assert_eq!(between(&sim, "oom", "die"), 29);
    start(&sim, &id).await.expect("it starts");
    assert!(inspect(&sim, &id).await.oom_killed);
}

#[tokio::test(start_paused = true)]
async fn a_kill_by_hand_has_no_stop() {
    let sim = engine();
    let id = run(&sim, "a", json!({})).await;
    sim.kill("a", 9).expect("it runs");
    sleep(secs(1)).await;
    assert_eq!(since_start(&sim), ["kill 9", "die 137"]);
    assert!(!inspect(&sim, &id).await.oom_killed, "137 is not OOM");
    let again = sim.kill("a", 9).expect_err("it has ended");
    assert!(message(&again).contains("is not running"), "{again}");
}

#[tokio::test(start_paused = true)]
async fn a_hangup_kills_nothing() {
    let sim = engine();
    run(&sim, "a", json!({})).await;
    sim.kill("a", 1).expect("it runs");
    sleep(secs(1)).await;
    assert_eq!(since_start(&sim), ["kill 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_with_stop_and_a_second_one_does_nothing() {
    let sim = engine();
    let id = run(&sim, "a", json!({})).await;
    for _ in 0..2 {
        sim.write(&Write::StopContainer { id: id.clone(), grace: None }).await.expect("done");
    }
    assert_eq!(since_start(&sim), ["kill 15", "die 0", "stop"]);
    assert!((24..=60).contains(&between(&sim, "kill", "die")));
    assert!((42..=75).contains(&between(&sim, "die", "stop")));
}

/// Seen: `stop?t=1` of `sleep` as process 1 took 1.10 s; `kill` 15, `kill` 9, `die` 137, `stop`.
#[tokio::test(start_paused = true)]
async fn a_process_that_ignores_its_signal_takes_the_whole_grace() {
    let sim = engine();
    sim.behave("a", Behaviour { on_stop: OnStop::Ignores, ..Behaviour::default() });
    let id = run(&sim, "a", json!({ "StopTimeout": 4 })).await;
    let before = sim.clock().elapsed();
    let grace = Some(secs(1));
    sim.write(&Write::StopContainer { id: id.clone(), grace }).await.expect("done");
    let took = sim.clock().elapsed() - before;
    assert!((ms(1050)..ms(1150)).contains(&took), "{took:?}");
    assert_eq!(since_start(&sim), ["kill 15", "kill 9", "die 137", "stop"]);

    start(&sim, &id).await.expect("it starts");
    let before = sim.clock().elapsed();
    sim.write(&Write::StopContainer { id, grace: None }).await.expect("done");
    assert!(sim.clock().elapsed() - before >= secs(4), "the container's own grace");
}

#[tokio::test(start_paused = true)]
async fn an_unkillable_process_makes_the_stop_time_out() {
    let sim = engine();
    let on_stop = OnStop::Ignores;
    sim.behave("a", Behaviour { on_stop, unkillable: true, ..Behaviour::default() });
    let id = run(&sim, "a", json!({})).await;
    let fault = sim.write(&Write::StopContainer { id: id.clone(), grace: None }).await;
    let expected = Fault::Timeout { call: "POST /containers/{id}/stop".into(), after: secs(25) };
    assert_eq!(fault, Err(expected));
    assert_eq!(inspect(&sim, &id).await.state, ContainerState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_restart_stops_starts_and_says_so() {
    let sim = engine();
    let id = run(&sim, "a", json!({})).await;
    sim.write(&Write::RestartContainer { id, grace: None }).await.expect("done");
    assert_eq!(since_start(&sim), ["kill 15", "die 0", "stop", "start", "restart"]);
    assert!((240..=365).contains(&between(&sim, "die", "start")));
}

/// Seen: without force 409 `You cannot remove a running container …`; with it 0.12 s.
#[tokio::test(start_paused = true)]
async fn a_forced_removal_destroys_without_a_stop() {
    let sim = engine();
    let id = run(&sim, "a", json!({})).await;
    let refused = sim.remove("a", false).await.expect_err("it runs");
    assert!(matches!(&refused, Fault::Conflict { message, .. }
        if message.starts_with("You cannot remove a running container")));
    sim.write(&Write::RemoveContainer { id: id.clone(), force: true }).await.expect("done");
    assert_eq!(since_start(&sim), ["kill 9", "die 137", "destroy"]);
    assert!((48..=84).contains(&between(&sim, "die", "destroy")));
    sim.write(&Write::RemoveContainer { id: id.clone(), force: true }).await.expect("404 is done");
    assert!(matches!(sim.inspect(&id).await, Err(Fault::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn compose_down_stops_and_destroys_everything() {
    let sim = engine();
    network(&sim, "demo_default", "10.1.0.0/24").await;
    run(&sim, "a", json!({ "HostConfig": { "NetworkMode": "demo_default" } })).await;
    sim.compose_down("demo").await.expect("done");
    assert_eq!(since_start(&sim), ["kill 15", "die 0", "stop", "destroy"]);
    assert!((5..=8).contains(&between(&sim, "stop", "destroy")));
    assert!(sim.containers().await.expect("a list").is_empty());
    let networks = sim.networks().await.expect("a list");
    assert!(networks.iter().all(|n| n.name != "demo_default"));
}

#[tokio::test(start_paused = true)]
async fn compose_recreates_under_a_temporary_name() {
    let sim = engine();
    let old = run(&sim, "a", json!({})).await;
    let change = map(json!({ "StopTimeout": 3 }));
    let new = sim.compose_recreate("a", &change).await.expect("it is recreated");
    let expected = ["create", "kill 15", "die 0", "stop", "destroy", "rename", "start"];
    assert_eq!(since_start(&sim), expected);
    assert_eq!(between(&sim, "create", "kill"), 10);
    let created = sim.all_events().into_iter().rfind(|e| e.action == "create").expect("an event");
    assert_eq!(created.attributes["name"], format!("{}_a", old.short()));
    let container = inspect(&sim, &new).await;
    assert_eq!((container.name.as_str(), container.service.as_deref()), ("a", Some("a")));
}

/// Seen: `die` to `start` 361 and 439 ms in `on-failure:2`, then exited with `RestartCount` 2.
#[tokio::test(start_paused = true)]
async fn on_failure_backs_off_and_ends_when_it_is_used_up() {
    let sim = engine();
    sim.behave("a", Behaviour { exits: Some((ms(30), 3)), ..Behaviour::default() });
    let policy = json!({ "RestartPolicy": { "Name": "on-failure", "MaximumRetryCount": 2 } });
    let id = run(&sim, "a", json!({ "HostConfig": policy })).await;
    sleep(ms(60)).await;
    assert_eq!(inspect(&sim, &id).await.state, ContainerState::Restarting);
    sleep(ms(300)).await;
    assert_eq!(between(&sim, "die", "start"), 330);
    sleep(secs(5)).await;
    assert_eq!(since_start(&sim), ["die 3", "start", "die 3", "start", "die 3"]);
    let container = inspect(&sim, &id).await;
    assert_eq!((container.state, container.restart_count), (ContainerState::Exited, 2));
}

#[tokio::test(start_paused = true)]
async fn the_back_off_doubles_to_a_minute_and_ends_after_ten_seconds_up() {
    let sim = engine();
    sim.behave("a", Behaviour { exits: Some((ms(1), 1)), ..Behaviour::default() });
    let policy = json!({ "HostConfig": { "RestartPolicy": { "Name": "always" } } });
    let id = run(&sim, "a", policy).await;
    sleep(secs(600)).await;
    let starts: Vec<i64> = sim
        .all_events()
        .iter()
        .filter(|e| e.action == "start")
        .map(|e| e.time_nano / 1_000_000)
        .collect();
    let pauses: Vec<i64> = starts.windows(2).map(|w| w[1] - w[0] - 231).collect();
    assert_eq!(pauses[..5], [100, 200, 400, 800, 1600]);
    assert_eq!(pauses.last(), Some(&60_000));
    sim.behave("a", Behaviour::default());
    sleep(secs(100)).await;
    assert_eq!(inspect(&sim, &id).await.state, ContainerState::Running);
    sim.crash("a", 1).expect("it runs");
    sleep(ms(400)).await;
    assert_eq!(between(&sim, "die", "start"), 330);
}

/// Seen: `always` isn't restarted after `docker kill`.
#[tokio::test(start_paused = true)]
async fn the_policy_leaves_what_a_person_killed() {
    let sim = engine();
    let policy = json!({ "HostConfig": { "RestartPolicy": { "Name": "always" } } });
    let id = run(&sim, "a", policy).await;
    sim.kill("a", 9).expect("it runs");
    sleep(secs(60)).await;
    assert_eq!(inspect(&sim, &id).await.state, ContainerState::Exited);
}

#[tokio::test(start_paused = true)]
async fn a_stop_between_two_restarts_ends_them() {
    let sim = engine();
    sim.behave("a", Behaviour { exits: Some((ms(1), 1)), ..Behaviour::default() });
    let policy = json!({ "HostConfig": { "RestartPolicy": { "Name": "always" } } });
    let id = run(&sim, "a", policy).await;
    sleep(secs(5)).await;
    assert_eq!(inspect(&sim, &id).await.state, ContainerState::Restarting);
    sim.stop("a").await.expect("it stops");
    sleep(secs(100)).await;
    assert_eq!(inspect(&sim, &id).await.state, ContainerState::Exited);
    assert_eq!(events(&sim).last().map(String::as_str), Some("stop"));
}

#[tokio::test(start_paused = true)]
async fn health_follows_interval_retries_and_start_period() {
    let sim = engine();
    let check = json!({ "Healthcheck": {
        "Test": ["CMD", "true"], "Interval": 1_000_000_000u64, "Retries": 2,
        "StartPeriod": 5_000_000_000u64,
    } });
    sim.behave("a", Behaviour { ready_after: Some(ms(2500)), ..Behaviour::default() });
    let id = run(&sim, "a", check).await;
    sleep(ms(2900)).await;
    assert_eq!(inspect(&sim, &id).await.health, Health::Starting);
    sleep(ms(200)).await;
    let container = inspect(&sim, &id).await;
    assert_eq!((container.health, container.has_healthcheck), (Health::Healthy, true));
    let status = &sim.containers().await.expect("a list")[0].status;
    assert_eq!(status, "Up 3 seconds (healthy)");
    sim.set_sick("a", true);
    sleep(ms(1100)).await;
    assert_eq!(inspect(&sim, &id).await.health, Health::Healthy, "one failure of two");
    sleep(secs(1)).await;
    assert_eq!(inspect(&sim, &id).await.health, Health::Unhealthy);
    assert_eq!(since_start(&sim), ["health_status: healthy", "health_status: unhealthy"]);
    sim.stop("a").await.expect("it stops");
    assert_eq!(inspect(&sim, &id).await.health, Health::None, "a stopped one says nothing");
    start(&sim, &id).await.expect("it starts");
    assert_eq!(inspect(&sim, &id).await.health, Health::Starting);
    sleep(secs(4)).await;
    assert_eq!(inspect(&sim, &id).await.health, Health::Starting, "the start period");
    sleep(secs(3)).await;
    assert_eq!(inspect(&sim, &id).await.health, Health::Unhealthy);
}

#[tokio::test(start_paused = true)]
async fn a_job_completes_and_a_service_without_its_need_dies() {
    let sim = engine();
    sim.behave("job", Behaviour { exits: Some((secs(2), 0)), ..Behaviour::default() });
    sim.behave("db", Behaviour { ready_after: Some(secs(3)), ..Behaviour::default() });
    sim.behave("web", Behaviour { needs: vec!["db".into()], ..Behaviour::default() });
    let job = run(&sim, "job", json!({})).await;
    let db = run(&sim, "db", json!({})).await;
    let web = run(&sim, "web", json!({})).await;
    sleep(secs(3)).await;
    let job = inspect(&sim, &job).await;
    assert_eq!((job.state, job.exit_code), (ContainerState::Exited, Some(0)));
    assert_eq!(inspect(&sim, &web).await.exit_code, Some(1));
    assert!(sim.serves(&db));
    start(&sim, &web).await.expect("it starts");
    sleep(secs(1)).await;
    assert!(sim.serves(&web));
    assert_eq!(sim.readiness().len(), 2);
}

/// Seen: a pause makes Docker's health unhealthy without an event and with no failing check, which
/// the adapter takes for none; the first check after it, one interval later, tells the truth again.
#[tokio::test(start_paused = true)]
async fn a_pause_leaves_health_open_for_an_interval() {
    let sim = engine();
    let check = json!({ "Test": ["CMD", "true"], "Interval": 2_000_000_000u64 });
    let id = run(&sim, "a", json!({ "Healthcheck": check })).await;
    sleep(secs(3)).await;
    sim.pause("a", true).expect("it runs");
    sleep(secs(10)).await;
    sim.pause("a", false).expect("it is paused");
    assert_eq!(inspect(&sim, &id).await.health, Health::Starting);
    let status = &sim.containers().await.expect("a list")[0].status;
    assert!(status.ends_with("(unhealthy)"), "{status}");
    sleep(ms(2100)).await;
    assert_eq!(inspect(&sim, &id).await.health, Health::Healthy);
    let healthy = "health_status: healthy";
    assert_eq!(since_start(&sim), [healthy, "pause", "unpause", healthy]);
}

/// Seen: `kill` 15, `unpause`, `die`, `stop`.
#[tokio::test(start_paused = true)]
async fn a_stop_thaws_a_paused_container() {
    let sim = engine();
    run(&sim, "a", json!({})).await;
    sim.pause("a", true).expect("it runs");
    sim.stop("a").await.expect("it stops");
    assert_eq!(since_start(&sim), ["pause", "kill 15", "unpause", "die 0", "stop"]);
}

/// Seen: exited, the last exit code, the words in `State.Error`, no event.
#[tokio::test(start_paused = true)]
async fn the_engine_gives_up_when_its_own_restart_is_refused() {
    let sim = engine();
    network(&sim, "n", "10.1.0.0/24").await;
    sim.behave("a", Behaviour { exits: Some((secs(1), 3)), ..Behaviour::default() });
    let host = json!({ "NetworkMode": "n", "RestartPolicy": { "Name": "always" } });
    let id = run(&sim, "a", json!({ "HostConfig": host })).await;
    sleep(ms(1050)).await;
    sim.remove_network("n").expect("no endpoint between two restarts");
    sleep(secs(60)).await;
    assert_eq!(since_start(&sim), ["die 3"]);
    let container = inspect(&sim, &id).await;
    assert_eq!((container.state, container.exit_code), (ContainerState::Exited, Some(3)));
    assert_eq!(container.restart_count, 1, "counted when it was decided");
    assert!(container.error.ends_with("not found"), "{}", container.error);
}

/// Seen: 204 without an event; a `stop` after it is 304.
#[tokio::test(start_paused = true)]
async fn a_kill_between_two_restarts_ends_them_silently() {
    let sim = engine();
    sim.behave("a", Behaviour { exits: Some((ms(1), 1)), ..Behaviour::default() });
    let policy = json!({ "HostConfig": { "RestartPolicy": { "Name": "always" } } });
    let id = run(&sim, "a", policy).await;
    sleep(secs(5)).await;
    sim.kill("a", 9).expect("it is restarting");
    sim.stop("a").await.expect("there is nothing to do");
    sleep(secs(60)).await;
    assert_eq!(events(&sim).last().map(String::as_str), Some("die 1"));
    assert_eq!(inspect(&sim, &id).await.state, ContainerState::Exited);
}

/// Seen: `always` isn't restarted after a crash that follows `docker kill -s HUP`.
#[tokio::test(start_paused = true)]
async fn any_signal_by_hand_ends_the_policy_for_this_run() {
    let sim = engine();
    let policy = json!({ "HostConfig": { "RestartPolicy": { "Name": "always" } } });
    let id = run(&sim, "a", policy).await;
    sim.kill("a", 1).expect("it runs");
    sim.crash("a", 1).expect("it runs");
    sleep(secs(60)).await;
    assert_eq!(inspect(&sim, &id).await.state, ContainerState::Exited);
}

/// Seen: start of a paused container 409, unpause of one that isn't 500.
#[tokio::test(start_paused = true)]
async fn a_paused_container_starts_only_by_unpause() {
    let sim = engine();
    let id = run(&sim, "a", json!({})).await;
    let not_paused = sim.write(&Write::UnpauseContainer { id: id.clone() }).await;
    assert!(matches!(not_paused, Err(Fault::Server { status: 500, .. })));
    sim.pause("a", true).expect("it runs");
    let refused = start(&sim, &id).await.expect_err("it is paused");
    assert!(message(&refused).contains("try unpause instead"));
    sim.write(&Write::UnpauseContainer { id: id.clone() }).await.expect("done");
    assert_eq!(inspect(&sim, &id).await.state, ContainerState::Running);
    assert_eq!(since_start(&sim), ["pause", "unpause"]);
}
