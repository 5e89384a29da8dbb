//! Time of one plan against the number of services: 10,000 in at most 100 ms, and twice the
//! services in at most 2.3 times the time.
//!
//! `cargo bench --bench planner` prints one line a case and fails when a limit is broken.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use homeostat::clock::{Clock, Now, SystemClock, Timestamp};
use homeostat::compose::types::{
    Condition, Dependency, Healthcheck, Mount, MountKind, Network, Project, Service,
    ServiceNetwork, Volume,
};
use homeostat::desired::{Desired, Policy};
use homeostat::engine::types::{ContainerId, ImageSummary, NetworkSummary, VolumeSummary};
use homeostat::observed::{Container, ContainerState, Endpoint, Health, Observed, labels};
use homeostat::plan::check::check;
use homeostat::plan::{Memory, Scope, plan};
use homeostat::sensitive::Sensitive;
use serde_json::json;

const SERVICES: usize = 10_000;
const LIMIT: Duration = Duration::from_millis(100);
const RATIO: f64 = 2.3;
const RUNS: usize = 11;

fn main() -> ExitCode {
    let mut fine = true;
    for (case, running) in [("all running", true), ("all missing", false)] {
        let (half, whole) = measure(running);
        let ratio = whole.plan.as_secs_f64() / half.plan.as_secs_f64();
        println!(
            "{case}: {SERVICES} services {:.1} ms ({} steps), twice as many {:.1} ms, ratio \
             {ratio:.2}; the checker takes {:.1} ms and {:.1} ms",
            millis(half.plan),
            half.steps,
            millis(whole.plan),
            millis(half.check),
            millis(whole.check),
        );
        fine &= half.plan <= LIMIT && ratio <= RATIO;
    }
    if fine {
        ExitCode::SUCCESS
    } else {
        eprintln!("too slow: the limits are {} ms and a ratio of {RATIO}", millis(LIMIT));
        ExitCode::FAILURE
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Shortest times over all runs: what the machine does besides only adds to them.
struct Times {
    plan: Duration,
    check: Duration,
    steps: usize,
}

/// Times with `SERVICES` services and with twice as many, in turns.
fn measure(running: bool) -> (Times, Times) {
    let stacks = [SERVICES, SERVICES * 2].map(|services| {
        let desired = desired(services);
        let observed = if running { observed(&desired) } else { bare() };
        (desired, observed)
    });
    let longest = || Times { plan: Duration::MAX, check: Duration::MAX, steps: 0 };
    let mut times = (longest(), longest());
    for _ in 0..RUNS {
        run(&stacks[0].0, &stacks[0].1, &mut times.0);
        run(&stacks[1].0, &stacks[1].1, &mut times.1);
    }
    times
}

fn run(desired: &Desired, observed: &Observed, times: &mut Times) {
    let clock = SystemClock::new();
    let (memory, scope) = (Memory::default(), Scope::default());
    let now = Now { wall: Timestamp(10_000_000), ..Now::default() };
    let began = clock.now().mono;
    let (made, report) = plan(desired, observed, &memory, &scope, now);
    times.plan = times.plan.min(clock.now().mono.since(began));
    assert_eq!(report.slots.len(), desired.order.len(), "every service is reported");
    let running = !observed.containers.is_empty();
    assert_eq!(made.is_empty(), running, "a running stack needs nothing, a missing one something");
    times.steps = made.steps.len();
    let began = clock.now().mono;
    assert_eq!(check(&made, desired, observed, &memory, now), Ok(()));
    times.check = times.check.min(clock.now().mono.since(began));
}

/// Chains of eight with a healthy head, each chain's head under one common root: deep and wide.
fn desired(services: usize) -> Desired {
    let mut project = Project { name: "bench".into(), ..Project::default() };
    for n in 0..10 {
        let key = format!("net{n}");
        let network =
            Network { key: key.clone(), name: format!("bench_{key}"), ..Network::default() };
        project.networks.insert(key, network);
    }
    for n in 0..services {
        let service = service(n);
        for mount in &service.mounts {
            let key = mount.source.clone().unwrap_or_default();
            let volume =
                Volume { key: key.clone(), name: format!("bench_{key}"), ..Volume::default() };
            project.volumes.insert(key, volume);
        }
        project.services.insert(service.name.clone(), service);
    }
    let recovery: Vec<String> = (0..5).map(name).collect();
    let project = Arc::new(project);
    Desired::new(1, project, &recovery, BTreeMap::new(), Policy::default()).expect("orders")
}

fn name(n: usize) -> String {
    format!("service{n:06}")
}

fn service(n: usize) -> Service {
    let mut depends_on = BTreeMap::new();
    let started = Dependency { condition: Condition::Started, required: true, restart: false };
    if n > 0 {
        depends_on.insert(name(0), started);
    }
    if !n.is_multiple_of(8) {
        depends_on.insert(name(n - 1), started);
    }
    if n % 16 == 8 {
        let condition = Condition::Healthy;
        depends_on.insert(name(n - 8), Dependency { condition, ..started });
    }
    let canonical = json!({"name": name(n), "image": format!("image{}:1", n % 50)});
    let mount = Mount {
        kind: MountKind::Volume,
        source: Some(format!("data{}", n / 4)),
        target: "/data".into(),
        read_only: false,
        canonical: Sensitive::default(),
    };
    Service {
        name: name(n),
        image: Some(format!("image{}:1", n % 50)),
        scale: 1,
        depends_on,
        networks: [(format!("net{}", n % 10), ServiceNetwork::default())].into(),
        healthcheck: n.is_multiple_of(8).then(Healthcheck::default),
        mounts: if n.is_multiple_of(4) { vec![mount] } else { vec![] },
        canonical: Sensitive::new(canonical.as_object().cloned().unwrap_or_default()),
        ..Service::default()
    }
}

/// An engine with every image and nothing else.
fn bare() -> Observed {
    let mut observed = Observed::default();
    observed.engine.capabilities.many_endpoints_at_create = true;
    for n in 0..50 {
        let tags = vec![format!("image{n}:1")];
        let image = ImageSummary { id: format!("sha256:{n:064}"), tags, digests: vec![] };
        observed.images.push(image);
    }
    observed
}

fn observed(desired: &Desired) -> Observed {
    let mut observed = bare();
    for network in desired.project.networks.values() {
        let id = format!("{:0>64}", network.key);
        let labels = [(labels::PROJECT, "bench"), (labels::NETWORK, network.key.as_str())];
        let labels = labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let name = network.name.clone();
        let summary = NetworkSummary { id: id.clone(), name, labels, ..NetworkSummary::default() };
        observed.networks.insert(id, summary);
    }
    for volume in desired.project.volumes.values() {
        let summary = VolumeSummary { name: volume.name.clone(), ..VolumeSummary::default() };
        observed.volumes.insert(volume.name.clone(), summary);
    }
    for (n, service) in desired.project.services.values().enumerate() {
        let mut container = Container {
            id: ContainerId(format!("{n:064x}")),
            name: format!("bench-{}-1", service.name),
            project: Some("bench".into()),
            service: Some(service.name.clone()),
            number: 1,
            config_hash: desired.hashes.get(&service.name).cloned(),
            compose_version: Some(homeostat::compose::COMPOSE_VERSION.into()),
            image_id: format!("sha256:{:064}", n % 50),
            state: ContainerState::Running,
            started: Some(Timestamp(1000)),
            created: Timestamp(900),
            inspected: true,
            has_healthcheck: service.healthcheck.is_some(),
            ..Container::default()
        };
        if container.has_healthcheck {
            container.health = Health::Healthy;
        }
        for key in service.networks.keys() {
            let endpoint = Endpoint {
                network_id: format!("{key:0>64}"),
                aliases: Some(vec![service.name.clone()]),
                ipv4: format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255),
                ..Endpoint::default()
            };
            container.networks.insert(format!("bench_{key}"), endpoint);
        }
        observed.containers.insert(container.id.clone(), container.into());
    }
    observed
}
