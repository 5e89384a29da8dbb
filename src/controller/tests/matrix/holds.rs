//! Rows 19 and 20: what people stop, take down, update and pause while homeostat watches.

use super::*;
use crate::clock::unit_from;
use crate::desired::ManualStopPolicy;
use crate::observed::Cause;
use crate::plan::hold::HoldEnd;

const PAIR: &str = "
services:
  a: {image: 'app:1', healthcheck: {test: [CMD, ok], interval: 1s, retries: 2}}
  b: {image: 'app:1', depends_on: {a: {condition: service_healthy}}}
";

async fn pair() -> Scene {
    let scene = Scene::new(1, PAIR);
    scene.settle(secs(20)).await;
    scene.sim.forget_writes();
    scene
}

impl Scene {
    fn condition(&self, kind: &str) -> String {
        let status = self.told();
        let stack = status.stacks.first().expect("a stack");
        let found = stack.conditions.iter().find(|c| c.kind == kind);
        found.map(|c| format!("{:?} {}", c.status, c.reason)).unwrap_or_default()
    }

    async fn resume(&self, services: &[&str]) {
        let services = services.iter().map(|s| (*s).to_owned()).collect();
        let end = HoldEnd::Resumed("ann".into());
        self.tap.release(services, end).await.expect("it listens");
    }

    fn cause(&self, service: &str) -> Option<Cause> {
        let slot = Slot { project: "p".into(), service: service.into(), number: 1 };
        self.view().observed.deaths.get(&slot).map(|death| death.cause)
    }

    async fn running(&self) -> Vec<String> {
        let all = self.containers().await;
        let running = all.into_iter().filter(|c| c.state == ContainerState::Running);
        let mut names: Vec<String> = running.map(|c| c.name).collect();
        names.sort();
        names
    }
}

#[tokio::test(start_paused = true)]
async fn row_19_what_a_person_stops_stays_so_until_they_start_it() {
    let scene = pair().await;
    scene.sim.stop("p-a-1").await.expect("stops");
    sleep(secs(1)).await;
    assert_eq!(scene.status("a"), SlotStatus::Held, "{}", scene.show());
    assert_eq!(scene.condition("Held"), "True NotYetForGood");
    assert_eq!(scene.cause("a"), Some(Cause::ApiStop));
    sleep(secs(21)).await;
    assert_eq!(scene.condition("Held"), "True StoppedByHand");
    scene.says("service a/1", "stopped by hand");
    let row = scene.told().services.into_iter().find(|s| s.service == "a").expect("a row");
    assert_eq!(row.held_by, "somebody at the engine");
    assert!(row.held_since.is_some());
    // What needs it isn't stopped; once it is down it waits, and says for what.
    assert_eq!(scene.status("b"), SlotStatus::Ready);
    scene.sim.crash("p-b-1", 1).expect("runs");
    sleep(secs(1)).await;
    scene.says("service b/1", "waiting_on(a held)");
    scene.stays_quiet(secs(3600)).await;
    scene.sim.start("p-a-1").await.expect("starts");
    sleep(secs(1)).await;
    scene.settle(secs(30)).await;
    assert_eq!(scene.announced.ends(), ["service a/1: started by hand"]);
    assert_eq!(scene.condition("Held"), "", "it isn't told of what never held");
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_19_a_hold_survives_the_containers_removal_and_ends_with_resume() {
    let scene = pair().await;
    scene.sim.stop("p-b-1").await.expect("stops");
    sleep(secs(30)).await;
    scene.sim.remove("p-b-1", false).await.expect("goes");
    scene.stays_quiet(secs(3600)).await;
    assert_eq!(scene.status("b"), SlotStatus::Held);
    scene.resume(&["a"]).await;
    scene.stays_quiet(secs(60)).await;
    scene.resume(&["b"]).await;
    scene.settle(secs(30)).await;
    assert_eq!(scene.running().await, ["p-a-1", "p-b-1"]);
    assert_eq!(scene.announced.ends(), ["service b/1: resumed by ann"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_stop_is_repaired() {
    for restart in ["no", "always"] {
        let yaml = format!("services: {{web: {{image: 'app:1', restart: '{restart}'}}}}");
        let scene = Scene::new(1, &yaml);
        scene.settle(secs(20)).await;
        scene.sim.kill("p-web-1", 9).expect("runs");
        sleep(ms(300)).await;
        let held = scene.view();
        assert!(held.plan.is_empty(), "a stop may still follow: {}", held.plan);
        sleep(secs(5)).await;
        assert_eq!(scene.status("web"), SlotStatus::Ready, "killed: {}", scene.show());
        assert_eq!(scene.cause("web"), Some(Cause::ApiKill));
        sleep(secs(15)).await;
        scene.sim.remove("p-web-1", true).await.expect("goes");
        sleep(secs(5)).await;
        assert_eq!(scene.status("web"), SlotStatus::Ready, "removed: {}", scene.show());
        assert_eq!(scene.cause("web"), Some(Cause::Removed));
        sleep(secs(15)).await;
        let starts = scene.starts().len();
        scene.sim.restart("p-web-1").await.expect("restarts");
        sleep(secs(2)).await;
        assert_eq!(scene.starts().len(), starts + 1, "nobody else starts it");
        scene.sim.kill("p-web-1", 1).expect("runs");
        sleep(secs(30)).await;
        assert_eq!(scene.starts().len(), starts + 1, "a signal that ends nothing");
        assert!(scene.view().holds.is_empty());
        scene.stays_idle(secs(600)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn row_20_a_stack_that_is_taken_down_stays_down_until_somebody_brings_it_up() {
    let scene = pair().await;
    scene.sim.compose_down("p").await.expect("goes");
    scene.stays_quiet(secs(3600)).await;
    assert!(scene.containers().await.is_empty());
    let networks = scene.sim.networks().await.expect("a list");
    assert!(!networks.iter().any(|n| n.name.starts_with("p_")), "its networks too");
    assert_eq!(scene.condition("Held"), "True TakenDown");
    assert!(scene.told().stacks[0].message.starts_with("taken down by hand, since "));
    scene.sim.compose_up("p").await.expect("comes up");
    sleep(secs(1)).await;
    scene.settle(secs(60)).await;
    assert_eq!(scene.running().await, ["p-a-1", "p-b-1"]);
    assert!(scene.view().holds.is_empty());
    let creates = scene.sim.writes().iter().filter(|w| w.write.call().contains("create")).count();
    assert_eq!(creates, 0, "nothing is made beside the tool: {}", scene.show());
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_20_a_stack_that_is_down_comes_back_with_resume() {
    let scene = pair().await;
    scene.sim.compose_down("p").await.expect("goes");
    sleep(secs(60)).await;
    scene.resume(&[]).await;
    scene.settle(secs(60)).await;
    assert_eq!(scene.running().await, ["p-a-1", "p-b-1"]);
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_20_an_update_by_another_tool_is_left_alone_and_none_of_it_is_a_hold() {
    let scene = pair().await;
    let change = json!({ "Env": ["A=1"] });
    let change = change.as_object().cloned().expect("an object");
    let new = scene.sim.compose_recreate("p-a-1", &change).await.expect("recreates");
    sleep(secs(1)).await;
    scene.settle(secs(60)).await;
    assert!(scene.sim.writes().is_empty(), "{}", scene.show());
    assert_eq!(scene.sim.id("p-a-1"), Some(new));
    assert!(scene.announced.held().is_empty());
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_everywhere_holds_everything_and_an_up_ends_that() {
    let scene = pair().await;
    scene.sim.compose_stop("p").await.expect("stops");
    scene.stays_quiet(secs(600)).await;
    assert_eq!((scene.status("a"), scene.status("b")), (SlotStatus::Held, SlotStatus::Held));
    assert_ne!(scene.condition("Held"), "True TakenDown");
    scene.sim.compose_up("p").await.expect("comes up");
    sleep(secs(1)).await;
    scene.settle(secs(60)).await;
    assert!(scene.view().holds.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_another_tool_scales_away_is_held_and_its_sibling_is_not() {
    let scene = Scene::new(1, "services: {web: {image: 'app:1', scale: 2}}");
    scene.settle(secs(20)).await;
    scene.sim.stop("p-web-2").await.expect("stops");
    scene.sim.remove("p-web-2", false).await.expect("goes");
    sleep(secs(60)).await;
    assert_eq!(scene.running().await, ["p-web-1"]);
    scene.sim.crash("p-web-1", 1).expect("runs");
    sleep(secs(5)).await;
    assert_eq!(scene.running().await, ["p-web-1"], "{}", scene.show());
}

#[tokio::test(start_paused = true)]
async fn revert_starts_again_what_people_stop() {
    let policy = Policy { manual_stop: ManualStopPolicy::Revert, ..Policy::default() };
    let scene = Scene::on(engine(1), goal_with(1, PAIR, policy, BTreeMap::new(), &[]));
    scene.settle(secs(20)).await;
    scene.sim.stop("p-a-1").await.expect("stops");
    sleep(secs(5)).await;
    assert_eq!(scene.status("a"), SlotStatus::Ready, "{}", scene.show());
    scene.sim.compose_stop("p").await.expect("stops");
    sleep(secs(20)).await;
    scene.settle(secs(60)).await;
    assert_eq!(scene.running().await, ["p-a-1", "p-b-1"]);
    assert!(scene.announced.held().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_paused_is_left_alone_whatever_happens_to_it() {
    let scene = pair().await;
    let services = BTreeSet::from(["a".to_owned()]);
    let changed = scene.tap.pause(services, "ann".into()).await.expect("it listens");
    assert_eq!(changed, ["service a: paused by ann"]);
    assert_eq!(scene.condition("Paused"), "True Paused");
    scene.sim.crash("p-a-1", 1).expect("runs");
    scene.stays_quiet(secs(600)).await;
    scene.sim.start("p-a-1").await.expect("starts");
    sleep(secs(5)).await;
    scene.sim.remove("p-a-1", true).await.expect("goes");
    scene.stays_quiet(secs(600)).await;
    scene.says("service a/1", "paused by ann");
    scene.resume(&["a"]).await;
    scene.settle(secs(30)).await;
    assert_eq!(scene.running().await, ["p-a-1", "p-b-1"]);
    // The whole stack.
    scene.tap.pause(BTreeSet::new(), "ann".into()).await.expect("it listens");
    for name in ["p-a-1", "p-b-1"] {
        scene.sim.remove(name, true).await.expect("goes");
    }
    scene.sim.remove_network("p_default").expect("goes");
    scene.stays_quiet(secs(600)).await;
    scene.resume(&[]).await;
    scene.settle(secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_cut_loses_no_stop_while_the_engine_lives() {
    let scene = pair().await;
    scene.sim.stop("p-a-1").await.expect("stops");
    sleep(secs(5)).await;
    scene.sim.end_streams();
    // Somebody stops something while nobody listens.
    scene.sim.stop("p-b-1").await.expect("stops");
    sleep(secs(60)).await;
    assert_eq!(scene.condition("Held"), "True StoppedByHand");
    assert_eq!((scene.status("a"), scene.status("b")), (SlotStatus::Held, SlotStatus::Held));
    scene.stays_quiet(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_answers_no_more_after_a_stop_holds_nothing() {
    let scene = pair().await;
    scene.sim.stop("p-a-1").await.expect("stops");
    // It ends within 20 s of the stop: it may have been its own.
    sleep(secs(10)).await;
    scene.sim.restart_engine(EngineStop::Kill, secs(3)).await;
    sleep(secs(1)).await;
    scene.settle(secs(60)).await;
    assert_eq!(scene.running().await, ["p-a-1", "p-b-1"]);
    assert_eq!(scene.announced.ends(), ["service a/1: it may have been the engine's own end"]);
    // What was certain before stays held.
    scene.sim.stop("p-b-1").await.expect("stops");
    sleep(secs(25)).await;
    for how in [EngineStop::Kill, EngineStop::Terminate] {
        scene.sim.restart_engine(how, secs(3)).await;
        sleep(secs(60)).await;
        assert_eq!(scene.running().await, ["p-a-1"], "{}", scene.show());
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_fails_a_ping_is_taken_for_one_that_ends() {
    let scene = pair().await;
    scene.sim.inject(SimFault {
        call: "GET /_ping".into(),
        about: String::new(),
        fault: CallFault::Cut { effect: false },
        strikes: Strikes::Next(1),
    });
    scene.sim.stop("p-a-1").await.expect("stops");
    sleep(ms(1900)).await;
    assert_eq!(scene.view().link, Link::Live);
    sleep(ms(200)).await;
    assert!(matches!(scene.view().link, Link::Stale(_)), "nothing is done on its facts");
    // It is the same engine: the stop counts.
    sleep(secs(60)).await;
    assert_eq!(scene.status("a"), SlotStatus::Held);
    assert_eq!(scene.condition("Held"), "True StoppedByHand");
}

/// What people do to one service, and how it should be afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Runs,
    Stopped,
    Gone,
    Frozen,
}

/// Does one thing as a person, and says what follows from it.
async fn act(scene: &Scene, seed: &mut u64, want: &mut BTreeMap<&'static str, Want>) -> String {
    let sim = &scene.sim;
    let mut pick = |n: usize| (unit_from(seed) * n as f64) as usize;
    let service = ["a", "b", "c"][pick(3)];
    let name = format!("p-{service}-1");
    let before = want[service];
    let live = matches!(before, Want::Runs | Want::Frozen);
    let mut all = |to: fn(Want) -> Want| {
        for state in want.values_mut() {
            *state = to(*state);
        }
    };
    match pick(10) {
        0 | 1 => {
            drop(sim.stop(&name).await);
            if live {
                want.insert(service, Want::Stopped);
            }
            format!("stop {service}")
        }
        2 => {
            if sim.start(&name).await.is_ok() {
                want.insert(service, Want::Runs);
            }
            format!("start {service}")
        }
        3 => {
            if sim.restart(&name).await.is_ok() {
                want.insert(service, Want::Runs);
            }
            format!("restart {service}")
        }
        4 => {
            drop(sim.kill(&name, 9));
            if before == Want::Frozen {
                want.insert(service, Want::Runs);
            }
            format!("kill {service}")
        }
        5 => {
            if sim.remove(&name, true).await.is_ok() {
                want.insert(service, if live { Want::Runs } else { Want::Gone });
            }
            format!("rm {service}")
        }
        6 => {
            if sim.pause(&name, true).is_ok() {
                want.insert(service, Want::Frozen);
            }
            format!("pause {service}")
        }
        7 => {
            drop(sim.compose_stop("p").await);
            all(|w| if w == Want::Gone { Want::Gone } else { Want::Stopped });
            "compose stop".into()
        }
        8 => {
            drop(sim.compose_down("p").await);
            all(|_| Want::Gone);
            "compose down".into()
        }
        _ => {
            // Docker Compose starts nothing that is frozen, and ends there.
            for name in ["p-a-1", "p-b-1", "p-c-1"] {
                drop(sim.pause(name, false));
            }
            sim.compose_up("p").await.expect("comes up");
            all(|_| Want::Runs);
            "compose up".into()
        }
    }
}

#[tokio::test(start_paused = true)]
async fn forty_acts_of_people_leave_an_unknown_stack_as_the_last_ones_say() {
    const YAML: &str = "services: {a: {image: 'app:1'}, b: {image: 'app:1', restart: always}, \
                        c: {image: 'app:1', restart: unless-stopped}}";
    for number in 1..=6 {
        let sim = engine(number);
        {
            // Somebody else's stack, which homeostat has never seen.
            let scene = Scene::on(Arc::clone(&sim), goal(1, YAML));
            scene.settle(secs(30)).await;
        }
        let scene = Scene::on(sim, goal(1, YAML));
        scene.settle(secs(30)).await;
        let mut seed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut want = BTreeMap::from([("a", Want::Runs), ("b", Want::Runs), ("c", Want::Runs)]);
        let mut done = Vec::new();
        for _ in 0..40 {
            done.push(act(&scene, &mut seed, &mut want).await);
            let pause = [4_000, 15_000, 60_000][(unit_from(&mut seed) * 3.0) as usize];
            sleep(
                ms(4_000) + Duration::from_millis((unit_from(&mut seed) * f64::from(pause)) as u64),
            )
            .await;
        }
        sleep(secs(120)).await;
        scene.sim.forget_writes();
        sleep(secs(600)).await;
        let containers = scene.containers().await;
        for (service, want) in &want {
            let found = containers.iter().find(|c| c.service.as_deref() == Some(service));
            let is = match found.map(|c| c.state) {
                None => Want::Gone,
                Some(ContainerState::Running) => Want::Runs,
                Some(ContainerState::Paused) => Want::Frozen,
                Some(_) => Want::Stopped,
            };
            assert_eq!(is, *want, "{number}: {service} after {done:#?}\n{}", scene.show());
        }
        let writes: Vec<String> = scene.sim.writes().iter().map(line).collect();
        assert!(writes.is_empty(), "{number}: idle means no writes: {writes:?}\n{}", scene.show());
    }
}
