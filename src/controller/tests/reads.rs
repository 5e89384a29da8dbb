//! The observer hears events and publishes answers as they come, whatever else is being read.

use super::*;
use crate::clock::unit_from;
use crate::controller::observer::{Handle, Link, Snapshot};
use crate::controller::snapshot::Dirty;
use crate::engine::sim::{CallFault, SimFault, StreamFaults, Strikes};
use crate::observed::{ContainerState, labels};
use crate::plan::{Resource, Standing};
use crate::sensitive::Sensitive;

const INSPECT: &str = "GET /containers/{id}/json";
const LIST: &str = "GET /containers/json";

/// An observer of a project `p`; nobody mends anything.
struct Watch {
    sim: Arc<SimEngine>,
    handle: Handle,
    _stop: DropGuard,
}

async fn make(sim: &SimEngine, project: &str, service: &str) {
    let labels = serde_json::json!({
        labels::PROJECT: project, labels::SERVICE: service, labels::NUMBER: "1",
    });
    let body = serde_json::json!({ "Image": IMAGE, "Labels": labels });
    let body = Sensitive::new(body.as_object().cloned().expect("an object"));
    let name = format!("{project}-{service}-1");
    by_hand(sim, Write::CreateContainer { name: name.clone(), platform: None, body }).await;
    sim.start(&name).await.expect("starts");
}

impl Watch {
    /// These services run and have been seen.
    async fn over(services: &[&str]) -> Self {
        let sim = engine(1);
        for service in services {
            make(&sim, "p", service).await;
        }
        let (observer, mut handle) = Observer::new(
            Arc::clone(&sim) as DynEngine,
            sim.clock(),
            Arc::new(Uncounted),
            secs(86_400),
        );
        handle.projects.send_replace(["p".to_owned()].into());
        let stop = CancellationToken::new();
        tokio::spawn(observer.run(stop.clone()));
        handle.snapshots.wait_for(|s| s.link == Link::Live).await.expect("it runs");
        sleep(ms(100)).await;
        Self { sim, handle, _stop: stop.drop_guard() }
    }

    fn strike(&self, call: &str, about: &str, fault: CallFault, strikes: Strikes) {
        let (call, about) = (call.into(), about.into());
        self.sim.inject(SimFault { call, about, fault, strikes });
    }

    /// The next inspect of this container gets no answer.
    fn hang(&self, name: &str) {
        self.strike(INSPECT, name, CallFault::Timeout { effect: false }, Strikes::Next(1));
    }

    fn seen(&self) -> Snapshot {
        self.handle.snapshots.borrow().clone()
    }

    fn state(&self, name: &str) -> Option<ContainerState> {
        state(&self.seen(), name)
    }

    /// All states of this container that are published from now on.
    fn history(&self, name: &str) -> Arc<Mutex<Vec<Option<ContainerState>>>> {
        let history = Arc::new(Mutex::new(Vec::new()));
        let (mut snapshots, name) = (self.handle.snapshots.clone(), name.to_owned());
        let seen = Arc::clone(&history);
        tokio::spawn(async move {
            while snapshots.changed().await.is_ok() {
                let now = state(&snapshots.borrow_and_update(), &name);
                seen.lock().expect("no panic").push(now);
            }
        });
        history
    }

    fn inspects(&self) -> u64 {
        self.sim.calls().get(INSPECT).copied().unwrap_or_default()
    }

    fn doubtful(&self) -> BTreeSet<Resource> {
        self.handle.changes.doubtful(&self.seen().observed)
    }

    fn one(&self, name: &str) -> Dirty {
        let id = self.sim.id(name).expect("is there");
        Dirty { containers: [id].into(), ..Dirty::default() }
    }
}

fn state(snapshot: &Snapshot, name: &str) -> Option<ContainerState> {
    snapshot.observed.containers.values().find(|c| c.name == name).map(|c| c.state)
}

fn slot(service: &str) -> Resource {
    Resource::Slot(Slot { project: "p".into(), service: service.into(), number: 1 })
}

#[tokio::test(start_paused = true)]
async fn a_death_is_published_at_once_while_another_containers_inspect_hangs() {
    let watch = Watch::over(&["a", "b", "c"]).await;
    watch.hang("p-a-1");
    watch.sim.pause("p-a-1", true).expect("pauses");
    sleep(ms(50)).await;
    watch.sim.crash("p-b-1", 7).expect("runs");
    watch.sim.pause("p-c-1", true).expect("pauses");
    tokio::task::yield_now().await;
    sleep(Duration::from_micros(100)).await;
    assert_eq!(watch.state("p-b-1"), Some(ContainerState::Exited), "the event tells it all");
    sleep(ms(3)).await;
    assert_eq!(watch.state("p-c-1"), Some(ContainerState::Paused), "its inspect is answered");
    assert_eq!(watch.state("p-a-1"), Some(ContainerState::Running), "still hangs");
    assert_eq!(watch.doubtful(), [slot("a")].into(), "and is known to be old");
}

#[tokio::test(start_paused = true)]
async fn a_hung_inspect_delays_only_who_asked_for_that_container() {
    let watch = Watch::over(&["a", "b"]).await;
    watch.hang("p-a-1");
    let handle = watch.handle.clone();
    let dirty = watch.one("p-a-1");
    let asker = tokio::spawn(async move { handle.refresh(dirty).await });
    sleep(ms(5)).await;
    let other = watch.handle.refresh(watch.one("p-b-1"));
    tokio::time::timeout(ms(5), other).await.expect("b is answered");
    let lists = watch.handle.refresh(Dirty { list: true, networks: true, ..Dirty::default() });
    tokio::time::timeout(ms(5), lists).await.expect("so are lists");
    sleep(secs(25)).await;
    assert!(!asker.is_finished());
    sleep(secs(6)).await;
    assert!(asker.is_finished(), "then the list tells of it");
}

#[tokio::test(start_paused = true)]
async fn who_asks_while_an_inspect_is_under_way_waits_for_a_later_one() {
    let watch = Watch::over(&["a"]).await;
    watch.strike(INSPECT, "p-a-1", CallFault::Late(ms(300)), Strikes::Next(1));
    let (handle, dirty) = (watch.handle.clone(), watch.one("p-a-1"));
    tokio::spawn(async move { handle.refresh(dirty).await });
    sleep(ms(50)).await;
    watch
        .sim
        .set_stream_faults(crate::engine::sim::StreamFaults { lose: 1.0, ..Default::default() });
    watch.sim.pause("p-a-1", true).expect("pauses");
    watch.handle.refresh(watch.one("p-a-1")).await;
    assert_eq!(watch.state("p-a-1"), Some(ContainerState::Paused));
}

#[tokio::test(start_paused = true)]
async fn an_event_during_an_inspect_leads_to_a_second_one() {
    let watch = Watch::over(&["a"]).await;
    watch.strike(INSPECT, "p-a-1", CallFault::Late(ms(300)), Strikes::Next(1));
    let before = watch.inspects();
    watch.sim.pause("p-a-1", true).expect("pauses");
    sleep(ms(50)).await;
    watch.sim.pause("p-a-1", false).expect("goes on");
    sleep(ms(200)).await;
    assert_eq!(watch.inspects() - before, 1, "one at a time");
    let mut snapshots = watch.handle.snapshots.clone();
    snapshots.mark_unchanged();
    snapshots.changed().await.expect("the late answer");
    assert_eq!(watch.state("p-a-1"), Some(ContainerState::Paused), "older than the event");
    assert_eq!(watch.doubtful(), [slot("a")].into());
    sleep(ms(50)).await;
    assert_eq!(watch.state("p-a-1"), Some(ContainerState::Running));
    assert_eq!(watch.inspects() - before, 2);
    assert_eq!(watch.doubtful(), BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn an_answer_older_than_a_death_brings_nobody_back_to_life() {
    let watch = Watch::over(&["a", "b"]).await;
    watch.strike(INSPECT, "p-a-1", CallFault::Late(ms(300)), Strikes::Next(1));
    watch.strike(LIST, "", CallFault::Late(ms(600)), Strikes::Next(1));
    let (handle, mut dirty) = (watch.handle.clone(), watch.one("p-a-1"));
    dirty.list = true;
    let asker = tokio::spawn(async move { handle.refresh(dirty).await });
    sleep(ms(50)).await;
    let history = watch.history("p-a-1");
    watch.sim.crash("p-a-1", 7).expect("runs");
    sleep(secs(1)).await;
    assert!(asker.is_finished(), "both were taken");
    let history = history.lock().expect("no panic");
    assert!(history.len() > 2, "{history:?}");
    assert!(history.iter().all(|state| *state == Some(ContainerState::Exited)), "{history:?}");
}

#[tokio::test(start_paused = true)]
async fn what_only_a_list_tells_is_doubtful_until_it_is_inspected() {
    let watch = Watch::over(&["a", "b"]).await;
    let lost = StreamFaults { lose: 1.0, ..StreamFaults::default() };
    watch.sim.set_stream_faults(lost);
    watch.sim.pause("p-a-1", true).expect("pauses");
    make(&watch.sim, "p", "c").await;
    watch.sim.remove("p-b-1", true).await.expect("goes");
    for name in ["p-a-1", "p-c-1"] {
        watch.strike(INSPECT, name, CallFault::Delay(secs(1)), Strikes::Next(1));
    }
    let handle = watch.handle.clone();
    let lists = Dirty { list: true, ..Dirty::default() };
    let asker = tokio::spawn(async move { handle.refresh(lists).await });
    sleep(ms(100)).await;
    assert_eq!(watch.doubtful(), [slot("a"), slot("c")].into());
    assert_eq!(watch.state("p-a-1"), Some(ContainerState::Running), "half of it would be older");
    assert_eq!((watch.state("p-b-1"), watch.state("p-c-1")), (None, None));
    assert!(!asker.is_finished());
    sleep(secs(1)).await;
    assert!(asker.is_finished());
    assert_eq!(watch.doubtful(), BTreeSet::new());
    assert_eq!(watch.state("p-a-1"), Some(ContainerState::Paused));
    assert_eq!(watch.state("p-c-1"), Some(ContainerState::Running));
}

#[tokio::test(start_paused = true)]
async fn the_slot_of_a_container_that_nobody_has_seen_yet_is_doubtful() {
    let watch = Watch::over(&["a"]).await;
    watch.strike(INSPECT, "p-b-1", CallFault::Delay(secs(1)), Strikes::Next(1));
    make(&watch.sim, "p", "b").await;
    assert_eq!(watch.doubtful(), [slot("b")].into());
    watch.sim.remove("p-b-1", true).await.expect("goes");
    sleep(secs(2)).await;
    assert_eq!(watch.doubtful(), BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn a_list_older_than_an_inspect_brings_no_removed_container_back_and_loses_no_new_one() {
    let watch = Watch::over(&["a", "b"]).await;
    watch.strike(LIST, "", CallFault::Late(secs(2)), Strikes::Next(1));
    let handle = watch.handle.clone();
    let lists = Dirty { list: true, ..Dirty::default() };
    let asker = tokio::spawn(async move { handle.refresh(lists).await });
    sleep(ms(50)).await;
    watch.sim.remove("p-a-1", true).await.expect("goes");
    make(&watch.sim, "p", "d").await;
    sleep(ms(100)).await;
    for _ in 0..300 {
        assert_eq!(watch.state("p-a-1"), None);
        assert_eq!(watch.state("p-b-1"), Some(ContainerState::Running));
        assert_eq!(watch.state("p-d-1"), Some(ContainerState::Running));
        sleep(ms(10)).await;
    }
    assert!(asker.is_finished(), "the list was taken");
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_events_about_one_container_costs_two_inspects() {
    for slow in [ms(0), ms(300)] {
        let watch = Watch::over(&["a"]).await;
        watch.strike(INSPECT, "p-a-1", CallFault::Delay(slow), Strikes::Always);
        let before = watch.inspects();
        for n in 0..40 {
            watch.sim.pause("p-a-1", n % 2 == 0).expect("works");
            sleep(slow / 50).await;
        }
        sleep(secs(2)).await;
        assert_eq!(watch.state("p-a-1"), Some(ContainerState::Running));
        assert!(watch.inspects() - before <= 2, "{} inspects", watch.inspects() - before);
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_sixteen_inspects_are_under_way_and_all_are_answered() {
    let names: Vec<String> = (0..40).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let watch = Watch::over(&names).await;
    watch.strike(INSPECT, "", CallFault::Delay(ms(100)), Strikes::Always);
    let before = watch.inspects();
    let containers = watch.seen().observed.containers.keys().cloned().collect();
    let handle = watch.handle.clone();
    let asker = tokio::spawn(async move {
        handle.refresh(Dirty { containers, ..Dirty::default() }).await;
    });
    for most in [16, 32, 40] {
        sleep(ms(90)).await;
        assert_eq!(watch.inspects() - before, most);
        sleep(ms(12)).await;
    }
    assert!(asker.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_project_counts_as_shown_once_its_containers_were_inspected() {
    let watch = Watch::over(&["a"]).await;
    make(&watch.sim, "q", "x").await;
    sleep(secs(1)).await;
    watch.strike(INSPECT, "q-x-1", CallFault::Delay(secs(3)), Strikes::Next(1));
    watch.handle.projects.send_modify(|projects| {
        projects.insert("q".into());
    });
    sleep(secs(1)).await;
    watch.sim.crash("p-a-1", 1).expect("runs");
    sleep(ms(1)).await;
    assert_eq!(watch.state("p-a-1"), Some(ContainerState::Exited), "others don't wait for it");
    assert!(!watch.seen().projects.contains("q"));
    sleep(secs(3)).await;
    assert!(watch.seen().projects.contains("q"));
    assert!(watch.seen().observed.of_project("q").all(|c| c.inspected));
}

/// Whether what the observer shows as certain is so.
async fn is_true(watch: &Watch) {
    watch.sim.heal();
    let mut real = BTreeMap::new();
    for row in watch.sim.containers().await.expect("a list") {
        let container = watch.sim.inspect(&row.id).await.expect("is there");
        real.insert(row.id, (container.name, container.state));
    }
    let (seen, doubtful) = (watch.seen(), watch.doubtful());
    for container in seen.observed.containers.values().filter(|c| c.inspected) {
        if doubtful.contains(&Resource::Slot(container.slot().expect("a slot"))) {
            continue;
        }
        let shown = (container.name.clone(), container.state);
        assert_eq!(real.get(&container.id), Some(&shown), "shown as certain");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_late_nothing_is_certain_that_is_not_so_and_in_the_end_all_is() {
    for number in 1..=60u64 {
        let mut seed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let watch = Watch::over(&["a", "b", "c", "d"]).await;
        let mut snapshots = watch.handle.snapshots.clone();
        let gone = tokio::spawn(async move {
            let (mut before, mut gone) = (BTreeSet::new(), BTreeSet::new());
            while snapshots.changed().await.is_ok() {
                let now: BTreeSet<ContainerId> =
                    snapshots.borrow_and_update().observed.containers.keys().cloned().collect();
                gone.extend(before.difference(&now).cloned());
                assert!(now.is_disjoint(&gone), "one that was gone came back");
                before = now;
            }
        });
        for turn in 0..40 {
            for call in [INSPECT, LIST, "GET /networks"] {
                let chance = |likely| Strikes::Chance(likely);
                watch.strike(call, "", CallFault::Late(ms(70)), chance(0.3));
                watch.strike(call, "", CallFault::Delay(ms(40)), chance(0.3));
            }
            watch.strike(INSPECT, "", CallFault::Status(500), Strikes::Chance(0.05));
            let mut pick = |n: usize| (unit_from(&mut seed) * n as f64) as usize;
            let service = ["a", "b", "c", "d"][pick(4)];
            let name = format!("p-{service}-1");
            let sim = &watch.sim;
            match pick(9) {
                0 | 1 => drop(sim.crash(&name, 1)),
                2 => drop(sim.start(&name).await),
                3 => drop(sim.pause(&name, true)),
                4 => drop(sim.pause(&name, false)),
                5 => drop(sim.remove(&name, true).await),
                6 => {
                    if sim.id(&name).is_none() {
                        make(sim, "p", service).await;
                    }
                }
                7 => {
                    let handle = watch.handle.clone();
                    tokio::spawn(async move { handle.refresh(Dirty::everything()).await });
                }
                _ => {
                    let handle = watch.handle.clone();
                    let containers = sim.id(&name).into_iter().collect();
                    let dirty = Dirty { containers, ..Dirty::default() };
                    tokio::spawn(async move { handle.refresh(dirty).await });
                }
            }
            sleep(ms([1, 10, 60][pick(3)])).await;
            if turn % 4 == 0 {
                is_true(&watch).await;
            }
        }
        watch.sim.heal();
        // What couldn't be inspected is asked about again within a minute.
        sleep(secs(120)).await;
        assert_eq!(watch.doubtful(), BTreeSet::new());
        is_true(&watch).await;
        let shown = watch.seen().observed.containers.len();
        assert_eq!(shown, watch.sim.containers().await.expect("a list").len());
        assert!(watch.seen().observed.containers.values().all(|c| c.inspected));
        assert!(!gone.is_finished(), "it looked at all snapshots");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_decided_about_a_container_whose_facts_are_known_to_be_old() {
    let yaml = "services: {a: {image: 'app:1'}, b: {image: 'app:1'}}";
    let scene = Scene::new(1, yaml);
    scene.settle(secs(10)).await;
    scene.sim.inject(SimFault {
        call: INSPECT.into(),
        about: "p-a-1".into(),
        fault: CallFault::Delay(secs(5)),
        strikes: Strikes::Next(1),
    });
    let id = scene.sim.id("p-a-1").expect("is there");
    by_hand(&scene.sim, Write::RestartContainer { id, grace: None }).await;
    sleep(ms(20)).await;
    scene.sim.forget_writes();
    let turns = scene.view().turn;
    scene.edit(goal(2, &yaml.replace("image: 'app:1'", "image: 'app:1', labels: {n: '2'}")));
    sleep(secs(3)).await;
    let about: BTreeSet<String> = scene.sim.writes().into_iter().map(|w| w.name).collect();
    assert!(about.iter().all(|name| !name.contains("-a-")), "{about:?}");
    assert!(scene.count("create", "p-b-1") > 0 || about.iter().any(|n| n.contains("-b-")));
    assert_eq!(scene.status("b"), SlotStatus::Ready);
    let entries = &scene.view().report.entries;
    let a = entries.iter().find(|e| e.resource == slot("a"));
    assert_eq!(a.map(|e| &e.standing), Some(&Standing::InProgress), "{}", scene.show());
    let turned = scene.view().turn - turns;
    assert!(turned < 60, "{turned} turns: it must not go round and round");
    scene.settle(secs(30)).await;
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn lists_that_take_longer_than_the_time_between_two_are_waited_for() {
    let sim = engine(1);
    let (call, about) = (LIST.into(), String::new());
    let fault = CallFault::Late(secs(3));
    sim.inject(SimFault { call, about, fault, strikes: Strikes::Always });
    let engine = Arc::clone(&sim) as DynEngine;
    let (observer, mut handle) = Observer::new(engine, sim.clock(), Arc::new(Uncounted), secs(1));
    let _stop = {
        let stop = CancellationToken::new();
        tokio::spawn(observer.run(stop.clone()));
        stop.drop_guard()
    };
    let live = handle.snapshots.wait_for(|s| s.link == Link::Live);
    assert!(tokio::time::timeout(secs(10), live).await.is_ok(), "no full read ever ends");
}
