//! The scenes.

use super::*;
use crate::recovery::Incident;

/// A volume, a job, a health that others wait for, two networks, a shared namespace.
const STACK: &str = "
services:
  a:
    image: app:1
    healthcheck: {test: [CMD, ok], interval: 1s, retries: 3}
    networks: {back: {ipv4_address: 10.8.0.10, aliases: [store]}}
    volumes: ['data:/data']
  job: {image: 'app:1', networks: [back], depends_on: {a: {condition: service_healthy}}}
  b:
    image: app:2
    networks: [front, back]
    depends_on:
      a: {condition: service_healthy}
      job: {condition: service_completed_successfully}
    healthcheck: {test: [CMD, ok], interval: 1s, retries: 3}
  side: {image: 'app:1', network_mode: 'service:b', depends_on: [b]}
networks: {front: {}, back: {ipam: {config: [{subnet: 10.8.0.0/24}]}}}
volumes: {data: {}}
";

fn stage() -> Arc<SimEngine> {
    let sim = engine(1);
    let remote = crate::engine::sim::Remote {
        image_id: format!("sha256:{}", "b".repeat(64)),
        takes: secs(2),
        fails: None,
    };
    sim.publish("app:2", Some(remote));
    sim.behave("a", ready_after(ms(300)));
    sim.behave("b", ready_after(ms(300)));
    sim.behave("job", exits(ms(500), 0));
    sim
}

const fn nothing(_: &SimEngine) {}

#[tokio::test(start_paused = true)]
async fn row_38_killed_at_every_act_of_a_cold_start() {
    let cold = Play {
        engine: stage,
        before: None,
        act: nothing,
        then: || STACK.to_owned(),
        within: secs(25),
    };
    // A pull that was cut off is asked for anew.
    at_every_act(cold, &["image pull"]).await;
}

/// Somebody removes a network with its members on it: all are moved to a new one.
#[tokio::test(start_paused = true)]
async fn row_38_killed_at_every_act_of_a_network_swap() {
    let swap = Play {
        engine: stage,
        before: Some(STACK),
        act: |sim| {
            for name in ["p-a-1", "p-job-1", "p-b-1"] {
                let _ = sim.disconnect("p_back", name);
            }
            sim.remove_network("p_back").expect("goes");
        },
        then: || STACK.to_owned(),
        within: secs(25),
    };
    at_every_act(swap, &[]).await;
}

/// The file gives the network another range: its members stop, it is made anew, they come back.
#[tokio::test(start_paused = true)]
async fn row_38_killed_at_every_act_of_an_edited_network() {
    let edit = Play {
        engine: stage,
        before: Some(STACK),
        act: nothing,
        then: || STACK.replace("10.8.0.", "10.9.0."),
        within: secs(25),
    };
    at_every_act(edit, &[]).await;
}

/// The parent of a shared namespace is recreated, and its child after it.
#[tokio::test(start_paused = true)]
async fn row_38_killed_at_every_act_of_a_namespace_recreate() {
    let recreate = Play {
        engine: stage,
        before: Some(STACK),
        act: nothing,
        then: || STACK.replace("image: app:2", "image: app:2\n    labels: {edit: '1'}"),
        within: secs(25),
    };
    at_every_act(recreate, &[]).await;
}

/// Everything dies at once, and something is removed: an ordered recovery.
#[tokio::test(start_paused = true)]
async fn row_38_killed_at_every_act_of_a_recovery() {
    let recovery = Play {
        engine: stage,
        before: Some(STACK),
        act: |sim| {
            for name in ["p-a-1", "p-b-1", "p-side-1"] {
                sim.crash(name, 137).expect("runs");
            }
        },
        then: || STACK.to_owned(),
        within: secs(25),
    };
    at_every_act(recovery, &[]).await;
}

/// A service with a child in its namespace.
const PAIR: &str = "
services:
  a:
    image: app:1
    healthcheck: {test: [CMD, ok], interval: 1s, retries: 3}
    networks: {back: {ipv4_address: 10.8.0.10}}
  side: {image: 'app:1', network_mode: 'service:a', depends_on: [a]}
networks: {back: {ipam: {config: [{subnet: 10.8.0.0/24}]}}}
";

/// A stage on which the next image may not work.
fn update_stage() -> Arc<SimEngine> {
    let sim = stage();
    sim.add_image("good:1", "sha256:good");
    sim.add_image("bad:1", "sha256:bad");
    sim.behave("good:1", ready_after(secs(1)));
    sim.behave("bad:1", Behaviour { ready_after: None, ..Behaviour::default() });
    sim
}

/// The old container stays until the new one is ready, and then goes.
#[tokio::test(start_paused = true)]
async fn row_38_killed_at_every_act_of_an_update() {
    let update = Play {
        engine: update_stage,
        before: Some(PAIR),
        act: nothing,
        then: || PAIR.replacen("app:1", "good:1", 1),
        within: secs(30),
    };
    at_every_act(update, &[]).await;
}

/// The new container is never ready: the old one comes back, and its child with it.
#[tokio::test(start_paused = true)]
async fn row_38_killed_at_every_act_of_an_update_with_rollback() {
    let update = Play {
        engine: update_stage,
        before: Some(PAIR),
        act: nothing,
        then: || PAIR.replacen("app:1", "bad:1", 1),
        within: secs(30),
    };
    at_every_act(update, &[]).await;
}

/// A service falls, and from now on whenever it is started; the operator is killed at one act.
/// Returns the acts, the starts after the fall, and the incidents.
async fn falls_for_good(end: Option<End>) -> (Vec<String>, usize, Vec<Incident>) {
    let sim = engine(1);
    let journal = Journal::in_memory(sim.clock()).expect("opens");
    let journal = Arc::new(Mutex::new(journal));
    let life = Life::new();
    let files = || goal(1, "services: {web: {image: 'app:1'}}");
    let operator = Operator::live(&sim, &journal, files(), Arc::clone(&life)).await;
    let operator = operator.expect("nothing ends it yet");
    assert!(operator.settle(secs(60), &*sim.clock(), "before").await);
    life.count(end);
    sim.behave("web", exits(ms(20), 1));
    sim.crash("p-web-1", 1).expect("runs");
    tokio::select! {
        () = life.over() => {}
        () = sleep(secs(40)) => {}
    }
    let acts = life.acts();
    operator.kill();
    let heir = Operator::start(&sim, &journal, files()).await;
    sleep(secs(240)).await;
    heir.kill();
    let starts = |e: &&crate::engine::EngineEvent| e.kind == "container" && e.action == "start";
    let starts = sim.all_events().iter().filter(starts).count() - 1;
    let recalled = journal.lock().expect("no panic").recoveries("SIMU:LATE", "p").expect("reads");
    (acts, starts, recalled.incidents)
}

#[tokio::test(start_paused = true)]
async fn row_38_killed_at_every_act_of_a_crash_loop_it_spends_one_budget() {
    let (acts, starts, incidents) = falls_for_good(None).await;
    assert_eq!((starts, incidents.len(), incidents[0].spent), (3, 1, 3));
    let mut bad = Vec::new();
    for (number, act) in acts.iter().enumerate() {
        let mut ends = vec![End::Before(number)];
        if act.starts_with("POST") {
            ends.push(End::Sent(number));
        }
        for end in ends {
            let (_, starts, incidents) = falls_for_good(Some(end)).await;
            let spent: Vec<u32> = incidents.iter().map(|incident| incident.spent).collect();
            let stopped = incidents.iter().all(|incident| incident.stopped.is_some());
            if (starts, &spent[..], stopped) != (3, &[3][..], true) {
                bad.push(format!("{end:?} ({act}): {starts} starts, spent {spent:?}, {stopped}"));
            }
        }
    }
    assert!(bad.is_empty(), "{} of {} acts:\n{}", bad.len(), acts.len(), bad.join("\n"));
}
