//! A small project with an engine beside it, and shorthands for what can happen to both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::{Mono, Now, Timestamp};
use crate::compose::types::{
    Condition, Dependency, Mount, MountKind, Namespace, Network, Port, Project, Service,
    ServiceNetwork, Volume,
};
use crate::desired::{Desired, Policy, ServiceTraits, network_order, parents};
use crate::engine::types::{ContainerId, ImageSummary, NetworkSummary, VolumeSummary};
use crate::observed::{
    Container, ContainerState, Endpoint, Health, Observed, PublishedPort, Slot, labels,
};
use crate::plan::check::check;
use crate::plan::hold::{Hold, HoldKind, Holds, On};
use crate::plan::{Memory, Plan, Report, Scope, plan};
use crate::probe::{Answer, Outcome, Readiness};
use crate::sensitive::Sensitive;

/// Wall clock of every test, in milliseconds.
pub const WALL: i64 = 1_000_000_000;

pub fn canonical(value: Value) -> Sensitive<Map<String, Value>> {
    Sensitive::new(value.as_object().cloned().unwrap_or_default())
}

pub fn slot(service: &str, number: u32) -> Slot {
    Slot { project: "p".into(), service: service.into(), number }
}

pub fn id(text: &str) -> ContainerId {
    ContainerId(text.into())
}

pub fn ago(seconds: i64) -> Timestamp {
    Timestamp(WALL - seconds * 1000)
}

/// A service that says little.
pub fn service(name: &str) -> Service {
    Service {
        name: name.into(),
        image: Some("app".into()),
        scale: 1,
        canonical: canonical(json!({"image": name})),
        ..Service::default()
    }
}

impl Service {
    pub(crate) fn needs(mut self, name: &str, condition: Condition) -> Self {
        let dependency = Dependency { condition, required: true, restart: false };
        self.depends_on.insert(name.into(), dependency);
        self
    }

    pub(crate) fn after(self, name: &str) -> Self {
        self.needs(name, Condition::Started)
    }

    pub(crate) fn after_healthy(self, name: &str) -> Self {
        self.needs(name, Condition::Healthy)
    }

    /// Changes how it depends on `name`.
    pub(crate) fn edge(mut self, name: &str, change: impl Fn(&mut Dependency)) -> Self {
        self.depends_on.get_mut(name).map(change);
        self
    }

    pub(crate) fn on(mut self, key: &str, network: ServiceNetwork) -> Self {
        self.networks.insert(key.into(), network);
        self.changed(key)
    }

    pub(crate) fn in_network_of(mut self, parent: &str) -> Self {
        self.network_mode = Some(Namespace::Service(parent.into()));
        let mode = json!(format!("service:{parent}"));
        self.canonical.expose_mut().insert("network_mode".into(), mode);
        self.after(parent)
    }

    pub(crate) fn port(mut self, host: u16) -> Self {
        let published = Some(host.to_string());
        self.ports.push(Port { target: 80, published, protocol: "tcp".into(), host_ip: None });
        self
    }

    pub(crate) fn volume(mut self, key: &str) -> Self {
        self.mounts.push(Mount {
            kind: MountKind::Volume,
            source: Some(key.into()),
            target: "/data".into(),
            read_only: false,
            canonical: canonical(json!({})),
        });
        self
    }

    pub(crate) fn checked(mut self) -> Self {
        self.healthcheck = Some(Default::default());
        self
    }

    /// An edit of the file: the hash differs afterwards.
    pub(crate) fn changed(mut self, what: &str) -> Self {
        let canonical = self.canonical.expose_mut();
        let labels = canonical.entry("labels").or_insert_with(|| json!({}));
        if let Value::Object(labels) = labels {
            labels.insert(format!("edit{}", labels.len()), json!(what));
        }
        self
    }
}

pub fn network(key: &str) -> Network {
    Network {
        key: key.into(),
        name: format!("p_{key}"),
        canonical: canonical(json!({"key": key})),
        ..Network::default()
    }
}

pub fn volume(key: &str) -> Volume {
    Volume {
        key: key.into(),
        name: format!("p_{key}"),
        canonical: canonical(json!({"key": key})),
        ..Volume::default()
    }
}

/// Static address on a network.
pub fn at(address: &str) -> ServiceNetwork {
    ServiceNetwork { ipv4_address: Some(address.into()), ..ServiceNetwork::default() }
}

/// A project, an engine and a past.
#[derive(Clone)]
pub struct World {
    pub project: Project,
    pub recovery: Vec<String>,
    pub traits: BTreeMap<String, ServiceTraits>,
    pub policy: Policy,
    pub observed: Observed,
    pub memory: Memory,
    pub scope: Scope,
    pub now: Now,
    /// What is written in the files, by another name.
    pub files: String,
    /// Container IDs look like the engine's rather than like `web1`.
    pub hex: bool,
}

impl World {
    /// Services of project `p`, each on its default network unless it says otherwise; image `app`
    /// is there, nothing else.
    pub fn new(services: impl IntoIterator<Item = Service>) -> Self {
        let mut world = Self {
            project: Project { name: "p".into(), ..Project::default() },
            recovery: vec![],
            traits: BTreeMap::new(),
            policy: Policy::default(),
            observed: Observed::default(),
            memory: Memory::insisting(),
            scope: Scope::default(),
            now: Now { wall: Timestamp(WALL), mono: Mono(Duration::from_secs(1000)) },
            files: String::new(),
            hex: false,
        };
        world.observed.engine.capabilities.many_endpoints_at_create = true;
        world.image("app", "sha256:app");
        for service in services {
            world.set(service);
        }
        world
    }

    pub fn set(&mut self, mut service: Service) {
        if service.networks.is_empty() && service.network_mode.is_none() {
            service.networks.insert("default".into(), ServiceNetwork::default());
        }
        for key in service.networks.keys() {
            self.project.networks.entry(key.clone()).or_insert_with(|| network(key));
        }
        for mount in &service.mounts {
            let key = mount.source.clone().unwrap_or_default();
            self.project.volumes.entry(key.clone()).or_insert_with(|| volume(&key));
        }
        self.project.services.insert(service.name.clone(), service);
    }

    pub fn edit(&mut self, name: &str, change: impl FnOnce(Service) -> Service) {
        let service = self.project.services.remove(name).expect("a service of the project");
        self.set(change(service));
    }

    pub fn image(&mut self, tag: &str, id: &str) {
        self.observed.images.retain(|i| i.tags != [tag.to_owned()]);
        let image = ImageSummary { id: id.into(), tags: vec![tag.into()], digests: vec![] };
        self.observed.images.push(image);
    }

    pub fn desired(&self) -> Desired {
        let project = Arc::new(self.project.clone());
        let traits = self.traits.clone();
        let desired = Desired::new(1, project, &self.recovery, traits, self.policy);
        Desired { files: self.files.clone(), ..desired.expect("orders") }
    }

    /// The engine shows exactly what is desired, ready, since an hour.
    pub fn up(mut self) -> Self {
        let desired = self.desired();
        for network in self.project.networks.values() {
            let id = format!("net-{}", network.key);
            self.observed.networks.insert(id.clone(), made_network(network, &id));
        }
        for volume in self.project.volumes.values() {
            self.observed.volumes.insert(volume.name.clone(), made_volume(volume));
        }
        for name in &desired.order {
            let service = &self.project.services[name];
            for number in 1..=service.scale {
                let mut text = format!("{name}{number}");
                if self.hex {
                    text = format!("{:012x}{:052x}", self.observed.containers.len(), 0);
                }
                let mut container = self.made(&desired, &slot(name, number), &text);
                container.started = Some(ago(3600));
                container.state = ContainerState::Running;
                container.name = format!("p-{name}-{number}");
                container.published = published(service);
                if container.has_healthcheck {
                    container.health = Health::Healthy;
                }
                if desired.traits(name).job {
                    container.state = ContainerState::Exited;
                    container.exit_code = Some(0);
                    container.finished = Some(ago(3599));
                }
                self.observed.containers.insert(container.id.clone(), container.into());
            }
        }
        self
    }

    /// A container as homeostat or Docker Compose makes it, never started.
    pub fn made(&self, desired: &Desired, slot: &Slot, text: &str) -> Container {
        let service = &desired.project.services[&slot.service];
        let mut ids = BTreeMap::new();
        let mut mode = String::from("p_default");
        for parent in parents(service) {
            let found = self.observed.containers.values().find(|c| {
                c.service.as_deref() == Some(parent) && c.state != ContainerState::Removing
            });
            let found = found.expect("the parent is there");
            ids.insert(parent.to_owned(), found.id.0.clone());
            mode = format!("container:{}", found.id.0);
        }
        let mut container = Container {
            id: id(text),
            name: text.into(),
            project: Some("p".into()),
            service: Some(slot.service.clone()),
            number: slot.number,
            config_hash: Some(desired.bound_hash(service, &ids)),
            compose_version: Some(crate::compose::COMPOSE_VERSION.into()),
            image: service.image.clone().unwrap_or_default(),
            state: ContainerState::Created,
            created: ago(3600),
            network_mode: mode,
            has_healthcheck: service.healthcheck.is_some(),
            inspected: true,
            ..Container::default()
        };
        let reference = service.image.as_deref().unwrap_or_default();
        container.image_id = self.observed.image_id(reference).unwrap_or_default().into();
        for key in network_order(service) {
            let name = &desired.project.networks[key].name;
            if let Some(found) = self.observed.networks.values().find(|n| n.name == *name) {
                let id = found.id.clone();
                container.networks.insert(name.clone(), endpoint(service, key, &id));
            }
        }
        container
    }

    /// Changes slot 1's only container of a service.
    pub fn fault(&mut self, service: &str, change: impl FnOnce(&mut Container)) {
        let text = format!("{service}1");
        change(self.observed.containers.get_mut(&id(&text)).expect("the container is there"));
    }

    pub fn exit(&mut self, service: &str, code: i64, seconds_ago: i64) {
        self.fault(service, |c| {
            c.state = ContainerState::Exited;
            c.health = Health::None;
            c.exit_code = Some(code);
            c.finished = Some(ago(seconds_ago));
            c.published.clear();
        });
    }

    pub fn remove(&mut self, service: &str) {
        self.observed.containers.remove(&id(&format!("{service}1")));
    }

    /// Somebody stopped slot 1 of a service an hour ago.
    pub fn hold(&mut self, service: &str) {
        let hold = Hold { kind: HoldKind::Stopped, ..Hold::pause("", ago(3600)) };
        self.held(On::Slot(service.into(), 1), hold);
    }

    /// Adds a hold.
    pub fn held(&mut self, on: On, hold: Hold) {
        let before = self.memory.holds.iter().map(|(on, hold)| (on.clone(), hold.clone()));
        self.memory.holds = Holds::recalled(before.chain([(on, hold)]).collect::<Vec<_>>());
    }

    /// What a probe says of slot 1's present run.
    pub fn probe(&mut self, service: &str, answer: Answer, reason: &str, failures: u32) {
        let container = &self.observed.containers[&id(&format!("{service}1"))];
        let readiness = Readiness {
            container: container.id.clone(),
            started: container.started.map_or(0, |t| t.0),
            last: Outcome {
                answer,
                reason: reason.into(),
                alive: reason == "Loading",
                degraded: reason == "ModelMissing",
                ..Outcome::default()
            },
            failures,
            ..Readiness::default()
        };
        self.observed.probes.insert(slot(service, 1), readiness);
    }

    /// A container of another project, running.
    pub fn stranger(&mut self, name: &str, change: impl FnOnce(&mut Container)) {
        let mut container = Container {
            id: id(name),
            name: name.into(),
            state: ContainerState::Running,
            inspected: true,
            ..Container::default()
        };
        change(&mut container);
        self.observed.containers.insert(container.id.clone(), container.into());
    }

    /// Plans, and has the plan checked.
    pub fn planned(&mut self) -> (Plan, Report) {
        self.observed.at = self.now;
        let desired = self.desired();
        let made = plan(&desired, &self.observed, &self.memory, &self.scope, self.now);
        let verdict = check(&made.0, &desired, &self.observed, &self.memory, self.now);
        assert_eq!(verdict, Ok(()), "of the plan\n{}{}", made.0, made.1);
        made
    }

    /// The plan's text, then the report's entries.
    pub fn text(&mut self) -> String {
        let (plan, report) = self.planned();
        let mut text = String::new();
        let _ = write!(text, "{plan}{report}");
        text
    }

    #[track_caller]
    pub fn expect(&mut self, lines: &[&str]) {
        let text = self.text();
        let got: Vec<&str> = text.lines().collect();
        assert_eq!(got, lines, "\n{text}");
    }
}

pub fn made_network(network: &Network, id: &str) -> NetworkSummary {
    let pairs = [
        (labels::PROJECT, "p".to_owned()),
        (labels::NETWORK, network.key.clone()),
        (labels::CONFIG_HASH, crate::compose::network_hash(network)),
        (labels::VERSION, crate::compose::COMPOSE_VERSION.to_owned()),
    ];
    NetworkSummary {
        id: id.into(),
        name: network.name.clone(),
        labels: pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        ..NetworkSummary::default()
    }
}

pub fn made_volume(volume: &Volume) -> VolumeSummary {
    let pairs = [
        (labels::PROJECT, "p".to_owned()),
        (labels::VOLUME, volume.key.clone()),
        (labels::CONFIG_HASH, crate::compose::volume_hash(volume)),
        (labels::VERSION, crate::compose::COMPOSE_VERSION.to_owned()),
    ];
    VolumeSummary {
        name: volume.name.clone(),
        labels: pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        ..VolumeSummary::default()
    }
}

pub fn endpoint(service: &Service, key: &str, network_id: &str) -> Endpoint {
    let wanted = &service.networks[key];
    let mut aliases = vec![service.name.clone()];
    aliases.extend(wanted.aliases.iter().cloned());
    Endpoint {
        network_id: network_id.into(),
        aliases: Some(aliases),
        ipv4: wanted.ipv4_address.clone().unwrap_or_default(),
        wanted_ipv4: wanted.ipv4_address.clone(),
        wanted_ipv6: wanted.ipv6_address.clone(),
        ..Endpoint::default()
    }
}

pub fn published(service: &Service) -> Vec<PublishedPort> {
    let fixed = service.ports.iter().filter_map(|port| {
        Some(PublishedPort {
            host_ip: "0.0.0.0".into(),
            host_port: port.published.as_ref()?.parse().ok()?,
            target: port.target,
            protocol: port.protocol.clone(),
        })
    });
    fixed.collect()
}
