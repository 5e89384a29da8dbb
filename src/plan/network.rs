//! Networks: create, adopt, attach; a network that somebody recreated gets its members back.

use std::collections::BTreeSet;

use super::step::{Cause, NetworkRef, Op, Resource, StepId, Target};
use super::{NetworkState, Planner, Standing};
use crate::compose::types::{Network, Service};
use crate::desired::network_order;
use crate::engine::NetworkSummary;
use crate::observed::{Container, Slot, labels};

impl<'a> Planner<'a> {
    pub(super) fn networks(&mut self) {
        let project = &self.desired.project;
        for (key, network) in &project.networks {
            let state = self.network(network);
            self.networks.insert(key.clone(), state);
        }
    }

    fn network(&mut self, network: &Network) -> NetworkState {
        let resource = Resource::Network(network.name.clone());
        if self.memory.busy.contains(&resource) {
            self.note(resource, Standing::InProgress);
            return NetworkState::Busy;
        }
        let found = self.pick_network(network);
        if network.external {
            return match found {
                Some(n) => NetworkState::Present(n.id.clone()),
                None => {
                    let why = format!(
                        "external network {0} is missing; create it with `docker network create {0}`",
                        network.name
                    );
                    self.note(resource, Standing::Blocked(why.clone()));
                    NetworkState::Blocked(why)
                }
            };
        }
        let Some(found) = found else {
            if let Some(wait) = self.resource_backoff(&resource) {
                self.note(resource, wait);
                return NetworkState::Blocked("the network could not be created".into());
            }
            let cause = if self.network_had_members(&network.name) {
                Cause::DeletedElsewhere
            } else {
                Cause::Missing
            };
            let op = Op::CreateNetwork { key: network.key.clone() };
            return NetworkState::Creating(self.push(resource, op, cause, vec![]));
        };
        self.adopt(network, found)
    }

    /// The network of that name that is ours, else the one with most of our containers, else the
    /// first by ID.
    fn pick_network(&self, network: &Network) -> Option<&'a NetworkSummary> {
        let project = self.desired.project.name.as_str();
        let named = self.observed.networks.values().filter(|n| n.name == network.name);
        named.max_by_key(|n| {
            let ours = n.labels.get(labels::PROJECT).is_some_and(|p| p == project)
                && n.labels.get(labels::NETWORK).is_some_and(|k| *k == network.key);
            let members = self
                .by_service
                .values()
                .flatten()
                .filter(|c| c.networks.values().any(|e| e.network_id == n.id))
                .count();
            (ours, members, std::cmp::Reverse(n.id.as_str()))
        })
    }

    fn network_had_members(&self, name: &str) -> bool {
        self.by_service.values().flatten().any(|c| c.networks.contains_key(name))
    }

    fn adopt(&mut self, network: &Network, found: &NetworkSummary) -> NetworkState {
        let resource = Resource::Network(network.name.clone());
        let label = |name: &str| found.labels.get(name).map(String::as_str);
        if label(labels::PROJECT) != Some(&self.desired.project.name) {
            self.note(resource, Standing::Notice("not made by this project; used as it is".into()));
            return NetworkState::Present(found.id.clone());
        }
        let wanted = crate::compose::network_hash(network);
        let differs = label(labels::CONFIG_HASH).is_some_and(|h| !h.is_empty() && h != wanted);
        if !differs {
            return NetworkState::Present(found.id.clone());
        }
        if label(labels::VERSION) != Some(crate::compose::COMPOSE_VERSION) {
            let why = "its configuration hash was written by another Compose version".into();
            self.note(resource, Standing::Notice(why));
            return NetworkState::Present(found.id.clone());
        }
        self.recreate_network(network, found)
    }

    /// Detaches every member, removes the network and creates it anew; the services attach
    /// their containers again because the new network isn't where their endpoints point.
    fn recreate_network(&mut self, network: &Network, found: &NetworkSummary) -> NetworkState {
        let resource = Resource::Network(network.name.clone());
        let members: Vec<&Container> = self
            .observed
            .containers
            .values()
            .filter(|c| c.networks.get(&network.name).is_some_and(|e| e.network_id == found.id))
            .collect();
        let project = self.desired.project.name.as_str();
        if let Some(foreign) =
            members.iter().find(|c| c.is_live() && c.project.as_deref() != Some(project))
        {
            let why = format!("its configuration changed, but {} uses it too", foreign.name);
            self.note(resource, Standing::Blocked(why));
            return NetworkState::Present(found.id.clone());
        }
        let detached: Vec<StepId> = members
            .iter()
            .filter(|c| c.is_live())
            .map(|c| {
                let op = Op::Disconnect { network: found.id.clone(), container: c.id.clone() };
                let resource =
                    c.slot().map_or_else(|| Resource::Container(c.name.clone()), Resource::Slot);
                self.push(resource, op, Cause::Replacement, vec![])
            })
            .collect();
        let remove = self.push(
            resource.clone(),
            Op::RemoveNetwork { id: found.id.clone() },
            Cause::ConfigChanged,
            detached,
        );
        let op = Op::CreateNetwork { key: network.key.clone() };
        NetworkState::Creating(self.push(resource, op, Cause::ConfigChanged, vec![remove]))
    }

    /// Networks that a service needs and that can't be had, with the reason.
    pub(super) fn networks_blocked(&self, service: &Service) -> Option<Standing> {
        service.networks.keys().find_map(|key| match self.networks.get(key) {
            Some(NetworkState::Blocked(why)) => Some(Standing::Blocked(why.clone())),
            Some(NetworkState::Busy) => Some(Standing::WaitingOn(format!("network {key}"))),
            _ => None,
        })
    }

    /// The steps whose success a container of this service needs before it is created.
    pub(super) fn network_steps(&self, service: &Service) -> Vec<StepId> {
        let created = service.networks.keys().filter_map(|key| match self.networks.get(key) {
            Some(NetworkState::Creating(step)) => Some(*step),
            _ => None,
        });
        created.collect()
    }

    fn network_ref(&self, key: &str) -> Option<NetworkRef> {
        match self.networks.get(key)? {
            NetworkState::Present(id) => Some(NetworkRef::Existing(id.clone())),
            NetworkState::Creating(step) => Some(NetworkRef::Created(*step)),
            NetworkState::Blocked(_) | NetworkState::Busy => None,
        }
    }

    /// Attaches a new container to every network that the create call couldn't name.
    pub(super) fn connect_created(
        &mut self,
        service: &Service,
        slot: &Slot,
        created: StepId,
    ) -> Vec<StepId> {
        if self.observed.engine.capabilities.many_endpoints_at_create {
            return vec![];
        }
        let rest: Vec<String> =
            network_order(service).into_iter().skip(1).map(str::to_owned).collect();
        let mut steps = Vec::new();
        for key in rest {
            let Some(network) = self.network_ref(&key) else { continue };
            let mut after = vec![created];
            if let NetworkRef::Created(step) = network {
                after.push(step);
            }
            let op = Op::Connect {
                key,
                network,
                container: Target::Created(created),
                slot: slot.clone(),
            };
            steps.push(self.push(Resource::Slot(slot.clone()), op, Cause::NewContainer, after));
        }
        steps
    }

    /// Mends the endpoints of a container that stays. Returns the steps that its start needs, or
    /// `None` when an endpoint can't be had now (already noted).
    pub(super) fn endpoints(
        &mut self,
        service: &Service,
        slot: &Slot,
        container: &Container,
    ) -> Option<Vec<StepId>> {
        let mut steps = Vec::new();
        for key in network_order(service) {
            let Some(name) = self.desired.project.networks.get(key).map(|n| n.name.clone()) else {
                continue;
            };
            let Some(network) = self.network_ref(key) else { return None };
            let endpoint = container.networks.get(&name);
            let Some((cause, detach)) = self.endpoint_drift(service, key, &network, container)
            else {
                continue;
            };
            if let Some(holder) = self.address_holder(service, key, &name, container) {
                self.note(Resource::Slot(slot.clone()), Standing::Blocked(holder));
                return None;
            }
            let mut after = Vec::new();
            if let NetworkRef::Created(step) = network {
                after.push(step);
            }
            if detach {
                let network_id = endpoint.map_or(name.clone(), |e| e.network_id.clone());
                // Where the network is replaced in this plan, its members are detached already.
                if !matches!(network, NetworkRef::Created(_)) || cause == Cause::StaleNetwork {
                    let gone = !self.observed.networks.contains_key(&network_id);
                    let op = Op::Disconnect {
                        network: if gone { name.clone() } else { network_id },
                        container: container.id.clone(),
                    };
                    let resource = Resource::Slot(slot.clone());
                    after.push(self.push(resource, op, cause.clone(), after.clone()));
                }
            }
            let op = Op::Connect {
                key: key.to_owned(),
                network,
                container: Target::Existing(container.id.clone()),
                slot: slot.clone(),
            };
            steps.push(self.push(Resource::Slot(slot.clone()), op, cause, after));
        }
        Some(steps)
    }

    /// What is wrong with a container's endpoint, and whether the old one must go first.
    fn endpoint_drift(
        &self,
        service: &Service,
        key: &str,
        network: &NetworkRef,
        container: &Container,
    ) -> Option<(Cause, bool)> {
        let name = &self.desired.project.networks.get(key)?.name;
        let Some(endpoint) = container.networks.get(name) else {
            return Some((Cause::NotConnected, false));
        };
        let running = container.is_live();
        match network {
            NetworkRef::Created(_) => return Some((Cause::StaleNetwork, false)),
            NetworkRef::Existing(id) if *id != endpoint.network_id => {
                // A stopped container's stale entry is overwritten by the connect itself.
                return Some((Cause::StaleNetwork, running));
            }
            NetworkRef::Existing(_) => {}
        }
        let wanted = service.networks.get(key)?;
        if let Some(have) = &endpoint.aliases {
            let have: BTreeSet<&str> = have.iter().map(String::as_str).collect();
            let missing: Vec<&str> = std::iter::once(service.name.as_str())
                .chain(wanted.aliases.iter().map(String::as_str))
                .filter(|a| !have.contains(a))
                .collect();
            if !missing.is_empty() {
                let what = format!("connected without its alias {}", missing.join(", "));
                return Some((Cause::WrongEndpoint(what), true));
            }
        }
        if container.inspected {
            let addresses = [
                (&wanted.ipv4_address, &endpoint.wanted_ipv4),
                (&wanted.ipv6_address, &endpoint.wanted_ipv6),
            ];
            for (want, have) in addresses {
                if let Some(want) = want.as_ref().filter(|w| have.as_ref() != Some(w)) {
                    let what = format!("connected without its address {want}");
                    return Some((Cause::WrongEndpoint(what), true));
                }
            }
        }
        None
    }

    /// Names the container that holds this service's static address on a network, if any.
    pub(super) fn address_holder(
        &self,
        service: &Service,
        key: &str,
        network_name: &str,
        own: &Container,
    ) -> Option<String> {
        let wanted = service.networks.get(key)?.ipv4_address.as_ref()?;
        let holder = self.observed.containers.values().find(|c| {
            c.id != own.id
                && c.is_live()
                && c.networks.get(network_name).is_some_and(|e| e.ipv4 == *wanted)
        })?;
        Some(format!("address {wanted} on {network_name} is held by container {}", holder.name))
    }
}
