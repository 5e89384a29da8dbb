//! What is left in the world after a scene, without what differs from run to run by its nature
//! (IDs, times, addresses).

use std::collections::BTreeMap;

use super::super::*;
use crate::store::Recalled;

/// The engine and the journal at the end of a scene.
#[derive(Debug, PartialEq)]
pub(super) struct World {
    containers: BTreeMap<String, String>,
    networks: Vec<String>,
    volumes: Vec<String>,
    /// How often each service's containers were made and started, each volume and network made.
    made: BTreeMap<String, usize>,
    backoff: BTreeMap<String, u32>,
    jobs: BTreeMap<String, (String, String)>,
    applied: BTreeMap<String, String>,
    /// Updates under way: what each keeps, and how often the new one died.
    updates: BTreeMap<String, (String, u32)>,
    /// Updates that failed.
    pins: BTreeMap<String, String>,
    open: Vec<String>,
    /// Attempts of recoveries that count.
    spent: u32,
}

impl World {
    pub async fn of(sim: &SimEngine, recalled: Recalled) -> Self {
        let mut containers = BTreeMap::new();
        let rows = sim.containers().await.expect("a list");
        let names: BTreeMap<&str, &str> =
            rows.iter().map(|c| (c.id.0.as_str(), c.name.as_str())).collect();
        for row in &rows {
            let c = sim.inspect(&row.id).await.expect("is there");
            containers.insert(c.name.clone(), shown(&c, &names));
        }
        let networks = sim.networks().await.expect("a list");
        let mut networks: Vec<String> =
            networks.into_iter().map(|n| format!("{} {:?}", n.name, n.subnets)).collect();
        networks.sort();
        let mut volumes: Vec<String> =
            sim.volumes().await.expect("a list").into_iter().map(|v| v.name).collect();
        volumes.sort();
        let backoff = recalled.backoff.iter().map(|(s, b)| (s.to_string(), b.failures)).collect();
        let jobs = recalled.jobs.into_iter();
        let jobs = jobs.map(|(s, j)| (s.to_string(), (j.config_hash, j.image_id))).collect();
        let open = recalled.unfinished.into_iter();
        let open = open.map(|u| format!("{}: {}", u.intent.name, u.intent.op)).collect();
        let applied = recalled.applied;
        let spent = recalled.recoveries.incidents.iter().map(|incident| incident.spent).sum();
        let name = |id: &ContainerId| (*names.get(id.0.as_str()).unwrap_or(&"gone")).to_owned();
        let updates = recalled.updates.iter();
        let updates = updates.map(|(s, u)| (s.to_string(), (name(&u.kept), u.deaths))).collect();
        let pins = recalled.pins.into_iter().map(|(s, pin)| (s, pin.sentence())).collect();
        Self {
            containers,
            networks,
            volumes,
            made: made(sim),
            backoff,
            jobs,
            applied,
            updates,
            pins,
            open,
            spent,
        }
    }

    /// How often something was made or started: `start web`.
    pub fn times(&self, what: &str) -> usize {
        self.made.get(what).copied().unwrap_or_default()
    }

    /// The same without how often things were made.
    pub fn end_state(&self) -> String {
        format!(
            "{:#?}\n{:#?}\n{:#?}\nbackoff {:?}\njobs {:?}\napplied {:#?}\nupdates {:#?}\n\
             pins {:#?}\nopen {:?}\nspent {}",
            self.containers,
            self.networks,
            self.volumes,
            self.backoff,
            self.jobs,
            self.applied,
            self.updates,
            self.pins,
            self.open,
            self.spent
        )
    }

    /// What was made or started more often than there.
    pub fn more_than(&self, other: &Self) -> Vec<String> {
        let all = self.made.iter();
        let more = all.filter(|(what, n)| **n > other.times(what));
        more.map(|(what, n)| format!("{what}: {n}, undisturbed {}", other.times(what))).collect()
    }
}

fn shown(c: &Container, names: &BTreeMap<&str, &str>) -> String {
    let of = |mode: &str| {
        let parent = mode.strip_prefix("container:");
        parent.map(|id| format!("container:{}", names.get(id).unwrap_or(&"gone")))
    };
    // The hash of one that shares a namespace has its parent's ID in it.
    let (mode, hash) = match of(&c.network_mode) {
        Some(mode) => (mode, String::new()),
        None => (c.network_mode.clone(), c.config_hash.clone().unwrap_or_default()),
    };
    let networks: Vec<String> = c
        .networks
        .iter()
        .map(|(name, e)| {
            let aliases = e.aliases.iter().flatten().filter(|a| **a != c.id.short());
            let aliases: BTreeSet<&String> = aliases.collect();
            format!("{name} {aliases:?} {:?}", e.wanted_ipv4)
        })
        .collect();
    let mounts: Vec<String> =
        c.mounts.iter().map(|m| format!("{}:{}", m.name, m.destination)).collect();
    format!(
        "{:?}/{} {:?} exit {:?} image {} hash {hash} mode {mode} networks {networks:?} mounts \
         {mounts:?}",
        c.service, c.number, c.state, c.exit_code, c.image_id
    )
}

fn made(sim: &SimEngine) -> BTreeMap<String, usize> {
    let mut made = BTreeMap::new();
    for event in sim.all_events() {
        let service = event.attributes.get(crate::observed::labels::SERVICE);
        let what = match (event.kind.as_str(), event.action.as_str(), service) {
            ("container", "create" | "start" | "destroy", Some(service)) => service.clone(),
            ("network", "create" | "destroy", _) => {
                event.attributes.get("name").cloned().unwrap_or_default()
            }
            ("volume", "create" | "destroy", _) => event.actor.clone(),
            ("image", "pull", _) => event.actor.clone(),
            _ => continue,
        };
        *made.entry(format!("{} {} {what}", event.kind, event.action)).or_default() += 1;
    }
    made
}
