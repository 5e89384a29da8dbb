//! Random small projects in random trouble: every plan is allowed, repeatable, and leads home.

use std::time::Duration;

use proptest::prelude::*;

use super::fixture::{World, ago, at, endpoint, id, made_network, service, slot};
use super::model::{run, settle};
use crate::compose::types::{Condition, RestartPolicy, Service, ServiceNetwork};
use crate::controller::updates;
use crate::desired::{OrphanPolicy, network_order, parents};
use crate::engine::{ContainerId, Tier};
use crate::observed::{ContainerState, Health, Slot, labels};
use crate::plan::memory::Backoff;
use crate::plan::{Op, Resource, SlotStatus, plan};

/// Decisions read from random bytes; when they run out, the simplest one.
struct Dice(std::vec::IntoIter<u8>);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % sides
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.roll(n) == n - 1
    }
}

fn name(i: usize) -> String {
    format!("s{i}")
}

fn random_service(dice: &mut Dice, i: usize, earlier: &[Service]) -> Service {
    let mut made = service(&name(i));
    made.image = Some(if dice.one_in(4) { "other" } else { "app" }.into());
    made.restart = match dice.roll(6) {
        3 => RestartPolicy::Always,
        4 => RestartPolicy::OnFailure(Some(2)),
        5 => RestartPolicy::UnlessStopped,
        _ => RestartPolicy::No,
    };
    if dice.one_in(2) {
        made = made.checked();
    }
    for before in earlier {
        let condition = match dice.roll(6) {
            3 => Condition::Started,
            4 if before.healthcheck.is_some() => Condition::Healthy,
            5 => Condition::CompletedSuccessfully,
            _ => continue,
        };
        made = made.needs(&before.name, condition);
        let (required, restart) = (!dice.one_in(4), dice.one_in(3));
        made = made.edge(&before.name, |d| {
            d.required = required;
            d.restart = restart;
        });
    }
    match dice.roll(6) {
        3 => made = made.on("lan", at(&format!("10.0.0.{}", i + 2))),
        4 => {
            let www = ServiceNetwork { aliases: vec![format!("www{i}")], ..Default::default() };
            made = made.on("lan", www).on("default", ServiceNetwork::default());
        }
        5 => {
            let mut able = earlier.iter().filter(|p| p.scale == 1 && p.network_mode.is_none());
            if let Some(parent) = able.next() {
                made = made.in_network_of(&parent.name);
            }
        }
        _ => {}
    }
    if dice.one_in(3) {
        made = made.port(8000 + u16::try_from(i).expect("few services"));
    } else if made.networks.values().all(|n| n.ipv4_address.is_none()) {
        made.scale = [1, 1, 1, 2, 3, 0][dice.roll(6)];
    }
    if dice.one_in(3) { made.volume(["data", "more"][i % 2]) } else { made }
}

fn random_world(dice: &mut Dice) -> World {
    let mut services: Vec<Service> = Vec::new();
    for i in 0..=dice.roll(5) {
        let made = random_service(dice, i, &services);
        services.push(made);
    }
    // A namespace's owner runs for good: what waits for its end would wait for ever.
    let owners: Vec<String> = services.iter().flat_map(parents).map(str::to_owned).collect();
    for service in &mut services {
        let ends = |name: &str| !owners.iter().any(|o| o == name);
        if !ends(&service.name) {
            service.restart = RestartPolicy::Always;
        }
        for (name, dependency) in &mut service.depends_on {
            if dependency.condition == Condition::CompletedSuccessfully && !ends(name) {
                dependency.condition = Condition::Started;
            }
        }
    }
    let names: Vec<String> = services.iter().map(|s| s.name.clone()).collect();
    let mut world = World::new(services);
    world.hex = true;
    world.image("other", "sha256:other");
    world.policy.unpause = true;
    world.policy.orphans = OrphanPolicy::Remove;
    world.recovery = names.into_iter().rev().filter(|_| dice.one_in(2)).collect();
    world.observed.engine.capabilities.many_endpoints_at_create = dice.one_in(2);
    world
}

fn trouble(dice: &mut Dice, world: &mut World) {
    for key in world.project.networks.keys().cloned().collect::<Vec<_>>() {
        network_trouble(dice, world, &key);
    }
    for text in world.observed.containers.keys().cloned().collect::<Vec<_>>() {
        container_trouble(dice, world, &text);
    }
    if dice.one_in(4) {
        world.observed.images.retain(|i| i.id != "sha256:other");
    }
    if dice.one_in(4) {
        world.image("app", "sha256:newer");
    }
    if dice.one_in(4) {
        let gone = name(dice.roll(5));
        let needed = world.project.services.values().any(|s| s.depends_on.contains_key(&gone));
        if !needed && world.project.services.len() > 1 {
            world.project.services.remove(&gone);
            world.recovery.retain(|n| *n != gone);
        }
    }
    if dice.one_in(4)
        && let Some(service) = world.project.services.values_mut().next()
        && parents(service).is_empty()
        && service.scale > 1
    {
        service.scale = 1;
    }
}

fn network_trouble(dice: &mut Dice, world: &mut World, key: &str) {
    let id = format!("net-{key}");
    let name = world.project.networks[key].name.clone();
    match dice.roll(8) {
        4 | 5 => {
            for container in world.observed.containers.values_mut().filter(|c| c.is_live()) {
                container.networks.remove(&name);
            }
            world.observed.networks.remove(&id);
            if dice.one_in(2) {
                let again = made_network(&world.project.networks[key], &format!("{id}-again"));
                world.observed.networks.insert(again.id.clone(), again);
            }
        }
        6 => {
            let mut twin = made_network(&world.project.networks[key], &format!("{id}-twin"));
            if dice.one_in(2) {
                twin.labels.clear();
            }
            world.observed.networks.insert(twin.id.clone(), twin);
        }
        7 => {
            let found = world.observed.networks.get_mut(&id).expect("it is up");
            found.labels.insert(labels::CONFIG_HASH.into(), "older".into());
        }
        _ => {}
    }
}

fn container_trouble(dice: &mut Dice, world: &mut World, own: &ContainerId) {
    let fault = dice.roll(22);
    let mut container = world.observed.containers[own].clone();
    let running = container.state == ContainerState::Running;
    let stop = |c: &mut crate::observed::Container, state| {
        c.state = state;
        c.health = Health::None;
        c.published.clear();
        c.finished = Some(ago(100));
    };
    match fault {
        8 => {
            world.observed.containers.remove(own);
            return;
        }
        9 | 10 => {
            stop(&mut container, ContainerState::Exited);
            container.exit_code = Some([1, 0, 137][dice.roll(3)]);
        }
        11 => {
            stop(&mut container, ContainerState::Created);
            container.started = None;
        }
        12 => stop(&mut container, ContainerState::Dead),
        13 if running => container.state = ContainerState::Paused,
        14 => container.name = format!("by-hand-{}", own.short()),
        15 => {
            container.networks.pop_first();
        }
        16 => {
            for endpoint in container.networks.values_mut() {
                endpoint.aliases = Some(vec![]);
            }
        }
        17 if !running => {
            for endpoint in container.networks.values_mut() {
                endpoint.network_id = "ghost".into();
            }
        }
        18 => container.config_hash = Some("older".into()),
        19 if container.has_healthcheck && running => container.health = Health::Unhealthy,
        20 => {
            let mut half = container.clone();
            half.id =
                id(&format!("{}f{}", own.short().replace("000", "abc").split_at(11).0, own.0));
            half.name = format!("{}_{}", own.short(), container.name);
            half.created = ago(90);
            half.started = None;
            stop(&mut half, ContainerState::Created);
            if dice.one_in(2) {
                container.config_hash = Some("older".into());
            }
            if dice.one_in(2) {
                stop(&mut container, ContainerState::Exited);
            }
            if dice.one_in(3) {
                half.config_hash = Some("oldest".into());
            }
            if dice.one_in(4) {
                half.networks.clear();
            } else if dice.one_in(4) {
                container.networks.clear();
            }
            world.observed.containers.insert(half.id.clone(), half);
        }
        21 => {
            let other = name(dice.roll(5));
            container.name = format!("p-{other}-1");
            if world.observed.containers.values().any(|c| c.name == container.name) {
                return;
            }
        }
        _ => return,
    }
    world.observed.containers.insert(own.clone(), container);
}

/// A past that keeps hands off some of it.
fn random_past(dice: &mut Dice, world: &mut World) {
    let later = world.now.mono.after(Duration::from_secs(1));
    let backoff = Backoff { failures: 1, not_before: later, ..Backoff::default() };
    let slots: Vec<Slot> = world.observed.containers.values().filter_map(|c| c.slot()).collect();
    for slot in slots {
        match dice.roll(10) {
            6 => drop(world.memory.busy.insert(Resource::Slot(slot))),
            7 => drop(world.memory.backoff.insert(slot, backoff.clone())),
            8 => world.hold(&slot.service),
            9 => drop(world.scope.services.insert(slot.service)),
            _ => {}
        }
    }
    let networks = world.project.networks.values().map(|n| Resource::Network(n.name.clone()));
    let volumes = world.project.volumes.values().map(|v| Resource::Volume(v.name.clone()));
    let images = ["app", "other"].map(|i| Resource::Image(i.into()));
    for resource in networks.chain(volumes).chain(images) {
        match dice.roll(6) {
            4 => drop(world.memory.busy.insert(resource)),
            5 => drop(world.memory.resource_backoff.insert(resource, backoff.clone())),
            _ => {}
        }
    }
    if dice.one_in(2) {
        world.memory.owned = world.observed.containers.keys().cloned().collect();
    }
}

/// Plans and runs until nothing is left to do.
fn converge(world: &mut World, dice: &mut Dice) {
    for _ in 0..30 {
        let desired = world.desired();
        let (plan, report) = world.planned();
        for name in desired.order.clone() {
            let ready = |s: &SlotStatus| s.is_settled();
            let slots = report.slots.iter().filter(|(slot, _)| slot.service == name);
            if slots.map(|(_, r)| &r.status).all(ready) {
                world.memory.down_since.remove(&name);
            } else {
                world.memory.down_since.entry(name).or_insert(world.now.mono);
            }
        }
        let over = updates::observe(&mut world.memory, &desired, &world.observed, &report);
        if plan.is_empty() && report.settled() && over.is_empty() {
            return;
        }
        updates::begin(&mut world.memory, &plan, &world.observed);
        // Now and then we are killed between two steps.
        let mut left = if dice.one_in(3) { dice.roll(6) } else { usize::MAX };
        let refused = run(world, &plan, |open| {
            left = left.saturating_sub(1);
            if left == 0 { usize::MAX } else { dice.roll(open) }
        });
        assert!(refused.is_empty(), "{refused:?} in\n{plan}");
        settle(world);
    }
    panic!("no end: {}", world.text());
}

fn assert_home(world: &World) {
    let desired = world.desired();
    let mut wanted = 0;
    for service in desired.project.services.values() {
        let found: Vec<_> = world
            .observed
            .containers
            .values()
            .filter(|c| c.service.as_deref() == Some(&service.name))
            .collect();
        let numbers: std::collections::BTreeSet<u32> = found.iter().map(|c| c.number).collect();
        assert_eq!(numbers.len(), service.scale as usize, "slots of {}", service.name);
        assert_eq!(found.len(), service.scale as usize, "containers of {}", service.name);
        wanted += found.len();
        for container in found {
            let fresh = world.made(&desired, &slot(&service.name, container.number), "x");
            assert_eq!(container.config_hash, fresh.config_hash, "{}", container.name);
            let same_image = fresh.image_id.is_empty() || container.image_id == fresh.image_id;
            assert!(same_image, "image of {}", container.name);
            assert_eq!(container.network_mode, fresh.network_mode, "{}", container.name);
            let ended = container.state == ContainerState::Exited && container.exit_code == Some(0);
            assert!(container.state == ContainerState::Running || ended, "{container:?}");
            assert!(!container.name.contains("_p-"), "{}", container.name);
            for key in network_order(service).into_iter().filter(|_| !ended) {
                let name = &desired.project.networks[key].name;
                let have = container.networks.get(name).expect("attached");
                assert!(world.observed.networks.contains_key(&have.network_id), "{have:?}");
                assert_eq!(*have, endpoint(service, key, &have.network_id));
            }
        }
    }
    assert_eq!(world.observed.containers.len(), wanted, "nothing is left over");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_converged_project_needs_no_plan(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let mut world = random_world(&mut Dice(bytes.into_iter())).up();
        let (plan, _) = world.planned();
        prop_assert!(plan.is_empty(), "{plan}");
    }

    #[test]
    fn whatever_the_past_a_plan_is_allowed_and_repeatable(
        bytes in proptest::collection::vec(any::<u8>(), 0..300)
    ) {
        let mut dice = Dice(bytes.into_iter());
        let mut world = random_world(&mut dice).up();
        trouble(&mut dice, &mut world);
        random_past(&mut dice, &mut world);
        let desired = world.desired();
        let again = plan(&desired, &world.observed, &world.memory, &world.scope, world.now);
        prop_assert_eq!(world.planned(), again);
    }

    #[test]
    fn below_the_tier_reconcile_nothing_is_begun_that_may_not_be_finished(
        bytes in proptest::collection::vec(any::<u8>(), 0..300)
    ) {
        let mut dice = Dice(bytes.into_iter());
        let mut world = random_world(&mut dice).up();
        trouble(&mut dice, &mut world);
        random_past(&mut dice, &mut world);
        world.memory.tier = Tier::Heal;
        let (healing, _) = world.planned();
        prop_assert!(healing.steps.iter().all(|step| step.op.tier() <= Tier::Heal), "{healing}");
        // Whatever is taken away is given back: nothing is stopped for what can't follow.
        let stops = healing.steps.iter().filter(|step| matches!(step.op, Op::Stop { .. }));
        prop_assert_eq!(stops.count(), 0, "{}", healing);
    }

    #[test]
    fn every_trouble_ends(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut dice = Dice(bytes.into_iter());
        let mut world = random_world(&mut dice).up();
        trouble(&mut dice, &mut world);
        converge(&mut world, &mut dice);
        assert_home(&world);
    }

    #[test]
    fn an_empty_engine_is_filled(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut dice = Dice(bytes.into_iter());
        let mut world = random_world(&mut dice);
        world.observed.images.retain(|i| i.id != "sha256:other");
        converge(&mut world, &mut dice);
        assert_home(&world);
    }
}
