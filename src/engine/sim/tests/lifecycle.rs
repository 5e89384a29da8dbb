//! The engine's own end and start, and its event stream.

use futures_util::StreamExt;

use super::super::{EngineStop, StreamFaults};
use super::*;
use crate::engine::StreamItem;

const POLICIES: [&str; 4] = ["no", "always", "unless-stopped", "on-failure"];

async fn stack(sim: &SimEngine) {
    for policy in POLICIES {
        run(sim, policy, json!({ "HostConfig": { "RestartPolicy": { "Name": policy } } })).await;
    }
}

async fn running(sim: &SimEngine) -> Vec<String> {
    let list = sim.containers().await.expect("a list");
    let mut names: Vec<_> =
        list.into_iter().filter(|c| c.state == ContainerState::Running).map(|c| c.name).collect();
    names.sort();
    names
}

#[tokio::test(start_paused = true)]
async fn a_terminated_engine_looks_like_a_person_stopping_everything() {
    let sim = engine();
    stack(&sim).await;
    let mut stream = sim.events(None).await.expect("a stream");
    sim.stop_engine(EngineStop::Terminate);
    let mut actions = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(StreamItem::Event(e)) if e.kind == "container" => actions.push(e.action),
            _ => {}
        }
    }
    assert_eq!(actions, ["kill", "die", "stop"].repeat(4), "and then the stream ends");
    assert!(matches!(sim.ping().await, Err(Fault::Unreachable { .. })));
    sim.start_engine();
    sleep(secs(2)).await;
    assert_eq!(running(&sim).await, ["always", "unless-stopped"]);
}

#[tokio::test(start_paused = true)]
async fn a_killed_engine_stops_everything_at_its_next_start() {
    let sim = engine();
    stack(&sim).await;
    sim.stop("unless-stopped").await.expect("it stops");
    sim.stop("always").await.expect("it stops");
    let before = events(&sim).len();
    sim.stop_engine(EngineStop::Kill);
    sleep(secs(3)).await;
    assert_eq!(events(&sim).len(), before, "nobody is there to tell");
    sim.start_engine();
    assert_eq!(events(&sim)[before..][..3], ["kill 15", "die 0", "stop"]);
    sleep(secs(2)).await;
    assert_eq!(running(&sim).await, ["always"], "`always` means even what a person stopped");
}

#[tokio::test(start_paused = true)]
async fn calls_under_way_break_with_the_engine() {
    let sim = engine();
    let a = create(&sim, "a", json!({})).await.expect("it is made");
    let begin = start(&sim, &a);
    let end = async {
        sleep(ms(100)).await;
        sim.restart_engine(EngineStop::Kill, secs(1)).await;
    };
    let (started, ()) = tokio::join!(begin, end);
    assert!(matches!(started, Err(Fault::Interrupted { .. })));
    sleep(secs(5)).await;
    assert_eq!(inspect(&sim, &a).await.state, ContainerState::Created);
    start(&sim, &a).await.expect("nothing is left in the way");
}

async fn actions_with(faults: StreamFaults) -> Vec<String> {
    let sim = engine();
    let mut stream = sim.events(None).await.expect("a stream");
    sim.set_stream_faults(faults);
    run(&sim, "a", json!({})).await;
    sim.stop("a").await.expect("it stops");
    sim.end_streams();
    let mut seen = Vec::new();
    while let Some(item) = stream.next().await {
        match item.expect("no fault") {
            StreamItem::Event(e) if e.kind == "container" => seen.push(e.action),
            StreamItem::Event(_) => {}
            StreamItem::Skipped { .. } => seen.push("?".into()),
        }
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn the_stream_duplicates_loses_reorders_and_is_spoilt() {
    let none = StreamFaults::default();
    assert_eq!(actions_with(none).await, ["create", "start", "kill", "die", "stop"]);
    let twice = actions_with(StreamFaults { duplicate: 1.0, ..none }).await;
    assert_eq!(twice[..4], ["create", "create", "start", "start"]);
    assert_eq!(actions_with(StreamFaults { lose: 1.0, ..none }).await, [""; 0]);
    // The network's events take part: create, connect, start, kill, die, disconnect, stop.
    let swapped = actions_with(StreamFaults { reorder: 1.0, ..none }).await;
    assert_eq!(swapped[..4], ["create", "kill", "start", "die"]);
    assert_eq!(actions_with(StreamFaults { garbage: 1.0, ..none }).await[..2], ["?", "create"]);
}

#[tokio::test(start_paused = true)]
async fn an_image_moves_with_its_tag() {
    let sim = engine();
    let remote = |id: &str, fails: Option<&str>| super::super::Remote {
        image_id: id.into(),
        takes: secs(60),
        fails: fails.map(str::to_owned),
    };
    let steps = std::sync::atomic::AtomicU32::new(0);
    let count = |_| {
        steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    };
    let missing = sim.pull(IMAGE, None, &count).await;
    assert!(matches!(missing, Err(Fault::NotFound { .. })));
    sim.publish(IMAGE, Some(remote("sha256:bbbb", Some("unexpected EOF"))));
    assert!(matches!(sim.pull(IMAGE, None, &count).await, Err(Fault::Server { .. })));
    let a = create(&sim, "a", json!({})).await.expect("the old one is there");
    sim.publish(IMAGE, Some(remote("sha256:bbbb", None)));
    let before = sim.clock().elapsed();
    sim.pull(IMAGE, None, &count).await.expect("it comes");
    assert!(sim.clock().elapsed() - before >= secs(60));
    assert_eq!(steps.into_inner(), 20);
    let b = create(&sim, "b", json!({})).await.expect("it is made");
    assert_eq!(inspect(&sim, &a).await.image_id, "sha256:aaaa");
    assert_eq!(inspect(&sim, &b).await.image_id, "sha256:bbbb");
    let mut listed: Vec<_> =
        sim.containers().await.expect("a list").into_iter().map(|c| (c.name, c.image)).collect();
    listed.sort();
    let expected = [("a", "sha256:aaaa"), ("b", IMAGE)];
    assert_eq!(listed, expected.map(|(name, image)| (name.to_owned(), image.to_owned())));
    assert_eq!(sim.images().await.expect("a list").len(), 2, "the old one lost its tag");
    let none = create(&sim, "c", json!({ "Image": "none:1" })).await;
    assert!(matches!(none, Err(Fault::NotFound { .. })));
}
