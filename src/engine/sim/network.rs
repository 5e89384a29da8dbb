//! Networks, endpoints and addresses.

use std::net::Ipv4Addr;

use serde_json::{Map, Value};

use super::body::{endpoint, text, texts};
use super::model::{Refusal, SimNetwork};
use super::world::World;
use crate::engine::types::ContainerId;

/// First and last address of a subnet as numbers.
fn range(subnet: &str) -> Option<(u32, u32)> {
    let (base, length) = subnet.split_once('/')?;
    let base = u32::from(base.parse::<Ipv4Addr>().ok()?);
    let length: u32 = length.parse().ok().filter(|l| *l <= 32)?;
    let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
    Some((base & !hosts, base | hosts))
}

impl World {
    /// A network by full ID, else by name.
    pub fn find_network(&self, wanted: &str) -> Result<&SimNetwork, Refusal> {
        if let Some(network) = self.networks.get(wanted) {
            return Ok(network);
        }
        let mut named = self.networks.values().filter(|n| n.name == wanted);
        match (named.next(), named.count()) {
            (Some(network), 0) => Ok(network),
            (Some(_), more) => Err(Refusal::new(
                400,
                format!("network {wanted} is ambiguous ({} matches found based on name)", more + 1),
            )),
            (None, _) => Err(Refusal::new(404, format!("network {wanted} not found"))),
        }
    }

    /// Addresses that are taken in a network, with the containers that hold them.
    pub fn members(&self, network: &str) -> impl Iterator<Item = (&ContainerId, &str)> {
        self.containers.values().flat_map(move |c| {
            c.networks
                .values()
                .filter(move |e| e.network_id == network && !e.endpoint_id.is_empty())
                .map(move |e| (&c.id, e.ipv4.as_str()))
        })
    }

    pub fn create_network(
        &mut self,
        body: &Map<String, Value>,
    ) -> Result<(String, Option<String>), Refusal> {
        let recipe = body.clone();
        let body = &Value::Object(recipe.clone());
        let name = text(body, "/Name");
        self.recipes.insert(name.clone(), recipe);
        let twin = self.networks.values().find(|n| n.name == name).map(|n| n.id.clone());
        // From API 1.44 on it is always looked for.
        let check = body.pointer("/CheckDuplicate").and_then(Value::as_bool).unwrap_or(false)
            || self.info.capabilities.api >= (1, 44);
        if check && twin.is_some() {
            return Err(Refusal::new(409, format!("network with name {name} already exists")));
        }
        let wanted = text(body, "/IPAM/Config/0/Subnet");
        let chosen = !wanted.is_empty();
        let subnet = if chosen { wanted } else { self.free_subnet() };
        let overlaps = self.networks.values().any(|n| match (range(&n.subnet), range(&subnet)) {
            (Some(a), Some(b)) => a.0 <= b.1 && b.0 <= a.1,
            _ => false,
        });
        if overlaps {
            let words = "Pool overlaps with other one on this address space";
            return Err(Refusal::new(403, words));
        }
        let gateway = match text(body, "/IPAM/Config/0/Gateway") {
            given if !given.is_empty() => given,
            _ => range(&subnet).map_or_else(String::new, |r| Ipv4Addr::from(r.0 + 1).to_string()),
        };
        let driver = match text(body, "/Driver").as_str() {
            "" => "bridge".to_owned(),
            driver => driver.to_owned(),
        };
        let id = self.new_id("network");
        let network = SimNetwork {
            id: id.clone(),
            name: name.clone(),
            driver: driver.clone(),
            labels: texts(body, "/Labels"),
            subnet,
            gateway,
            chosen,
            created: self.wall(),
        };
        self.networks.insert(id.clone(), network);
        self.emit("network", "create", &id, &[("name", &name), ("type", &driver)]);
        let warning = twin.map(|t| format!("Network with name {name} (id : {t}) already exists"));
        Ok((id, warning))
    }

    fn free_subnet(&self) -> String {
        (18..=255u8)
            .map(|n| format!("172.{n}.0.0/16"))
            .find(|s| !self.networks.values().any(|n| n.subnet == *s))
            .unwrap_or_default()
    }

    pub fn remove_network(&mut self, wanted: &str) -> Result<(), Refusal> {
        let network = self.find_network(wanted)?.clone();
        let (id, name) = (&network.id, &network.name);
        if matches!(name.as_str(), "bridge" | "host" | "none") {
            let words = format!("{name} is a pre-defined network and cannot be removed");
            return Err(Refusal::new(403, words));
        }
        if self.members(id).next().is_some() {
            return Err(Refusal::new(
                403,
                format!(
                    "error while removing network: network {name} id {id} has active endpoints"
                ),
            ));
        }
        self.networks.remove(id);
        self.emit("network", "destroy", id, &[("name", name), ("type", &network.driver)]);
        Ok(())
    }

    /// Attaches a container that is about to run to all its networks.
    pub fn attach_all(&mut self, id: &ContainerId) -> Result<(), Refusal> {
        let names: Vec<_> = self.get(id)?.networks.keys().cloned().collect();
        for name in names {
            self.attach(id, &name)?;
        }
        Ok(())
    }

    /// Gives one entry its endpoint. An entry that holds a network's ID is bound to that network,
    /// and fails when it is gone, whatever has its name now.
    fn attach(&mut self, id: &ContainerId, name: &str) -> Result<(), Refusal> {
        let entry = self.get(id)?.networks.get(name).cloned().unwrap_or_default();
        let network = match entry.network_id.as_str() {
            "" => self.find_network(name)?,
            bound => self
                .networks
                .get(bound)
                .ok_or_else(|| Refusal::new(404, format!("network {bound} not found")))?,
        }
        .clone();
        let ipv4 = self.address(&network, entry.wanted_ipv4.as_deref())?;
        let endpoint_id = self.new_id("endpoint");
        // From API 1.45 on, the short ID is no alias any more.
        let short_id = self.info.capabilities.api < (1, 45);
        let container = self.get(id)?;
        let short = container.id.short().to_owned();
        let entry = container.networks.entry(name.to_owned()).or_default();
        entry.network_id.clone_from(&network.id);
        entry.endpoint_id = endpoint_id;
        entry.ipv4 = ipv4;
        if short_id && !matches!(name, "bridge" | "host" | "none") {
            let aliases = entry.aliases.get_or_insert_default();
            if !aliases.contains(&short) {
                aliases.push(short);
            }
        }
        self.emit_network(&network, "connect", id);
        Ok(())
    }

    fn emit_network(&mut self, network: &SimNetwork, action: &str, container: &ContainerId) {
        let attributes = [
            ("container", container.0.as_str()),
            ("name", &network.name),
            ("type", &network.driver),
        ];
        self.emit("network", action, &network.id, &attributes);
    }

    fn address(&self, network: &SimNetwork, wanted: Option<&str>) -> Result<String, Refusal> {
        let Some((first, last)) = range(&network.subnet) else { return Ok(String::new()) };
        let taken: Vec<&str> =
            self.members(&network.id).map(|(_, a)| a).chain([network.gateway.as_str()]).collect();
        match wanted {
            Some(_) if !network.chosen => Err(Refusal::new(
                400,
                "user specified IP address is supported only when connecting to networks with \
                 user configured subnets",
            )),
            Some(address) if taken.contains(&address) => {
                Err(Refusal::new(403, "Address already in use"))
            }
            Some(address) => Ok(address.to_owned()),
            None => (first + 1..last)
                .map(|a| Ipv4Addr::from(a).to_string())
                .find(|a| !taken.contains(&a.as_str()))
                .ok_or_else(|| {
                    Refusal::new(403, "no available IPv4 addresses on this network's address pools")
                }),
        }
    }

    /// Frees a container's endpoints and ports.
    pub fn release(&mut self, id: &ContainerId) {
        let Ok(container) = self.get(id) else { return };
        container.tearing_down = false;
        let mut left = Vec::new();
        for entry in container.networks.values_mut() {
            if !entry.endpoint_id.is_empty() {
                left.push(entry.network_id.clone());
            }
            entry.endpoint_id.clear();
            entry.ipv4.clear();
        }
        for network in left {
            if let Some(network) = self.networks.get(&network).cloned() {
                self.emit_network(&network, "disconnect", id);
            }
        }
    }

    /// Whether it was attached at once (it runs), or only noted for the next start.
    pub fn connect(
        &mut self,
        network: &str,
        container: &str,
        config: &Map<String, Value>,
    ) -> Result<bool, Refusal> {
        let network = self.find_network(network)?.clone();
        let id = self.find(container)?;
        let wanted = endpoint(&Value::Object(config.clone()));
        let container = self.get(&id)?;
        let runs = container.has_process();
        if !runs {
            // Noted only: also for one that shares another's namespace (seen).
        } else if container.network_mode.starts_with("container:")
            || container.network_mode == "host"
        {
            let words = "container sharing network namespace with another container or host cannot \
                         be connected to any other network";
            return Err(Refusal::new(400, words));
        }
        let name = container.name.clone();
        let before = container.networks.get(&network.name).cloned();
        if runs && before.as_ref().is_some_and(|e| e.network_id == network.id) {
            let words =
                format!("endpoint with name {name} already exists in network {}", network.name);
            return Err(Refusal::new(403, words));
        }
        // Unless the call names it, the new entry isn't bound to an ID before its container starts:
        // this mends a stale one.
        container.networks.insert(network.name.clone(), wanted);
        if !runs {
            return Ok(false);
        }
        if let Err(refusal) = self.attach(&id, &network.name) {
            let container = self.get(&id)?;
            match before {
                Some(before) => container.networks.insert(network.name, before),
                None => container.networks.remove(&network.name),
            };
            return Err(refusal);
        }
        Ok(true)
    }

    pub fn disconnect(
        &mut self,
        network: &str,
        container: &str,
        force: bool,
    ) -> Result<(), Refusal> {
        let id = self.find(container)?;
        let found = self.find_network(network).cloned();
        let runs = self.get(&id)?.has_process();
        let (name, found) = match found {
            Ok(found) => (found.name.clone(), Some(found)),
            Err(_) if !runs || force => (network.to_owned(), None),
            Err(refusal) => return Err(refusal),
        };
        let container = self.get(&id)?;
        let Some(entry) = container.networks.remove(&name) else {
            let the = if runs { "" } else { "the " };
            let words = format!("container {} is not connected to {the}network {name}", id.0);
            return Err(Refusal::new(500, words));
        };
        if let Some(network) = found.filter(|_| !entry.endpoint_id.is_empty()) {
            self.emit_network(&network, "disconnect", &id);
        }
        Ok(())
    }
}
