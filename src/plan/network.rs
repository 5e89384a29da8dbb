//! Networks: create, adopt, attach; a network that somebody recreated gets its members back.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::leftover::UNFINISHED_GRACE;
use super::memory::Note;
use super::service::SlotPlan;
use super::step::{Cause, NetworkRef, Op, Resource, StepId, Target};
use super::{NetworkState, Planner, Standing};
use crate::compose::types::{Network, Service, ServiceNetwork};
use crate::desired::network_order;
use crate::engine::NetworkSummary;
use crate::observed::{Container, Endpoint, Slot, labels};

impl<'a> Planner<'a> {
    pub(super) fn networks(&mut self) {
        let project = &self.desired.project;
        let used: Option<BTreeSet<&str>> = self.scope.as_ref().map(|scope| {
            let services = scope.iter().filter_map(|s| project.services.get(*s));
            services.flat_map(|s| s.networks.keys()).map(String::as_str).collect()
        });
        for (key, network) in &project.networks {
            if used.as_ref().is_none_or(|used| used.contains(key.as_str())) {
                let state = self.network(network);
                self.networks.insert(key, state);
            }
        }
    }

    fn network(&mut self, network: &'a Network) -> NetworkState {
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
            let cause = if self.members.contains_key(network.name.as_str()) {
                Cause::DeletedElsewhere
            } else {
                Cause::Missing
            };
            let op = Op::CreateNetwork { key: network.key.clone() };
            return NetworkState::Creating(self.push(resource, op, cause, vec![]));
        };
        if self.has_twins(&network.name) && self.remove_twins(network, found) {
            return NetworkState::Present(found.id.clone());
        }
        self.adopt(network, found)
    }

    /// Several networks have this name; the engine allows it.
    fn has_twins(&self, name: &str) -> bool {
        self.found_networks.get(name).is_some_and(|named| named.len() > 1)
    }

    /// Removes the other networks of this name that this project made and that nobody uses; names
    /// the rest. Returns whether a step does so.
    fn remove_twins(&mut self, network: &Network, used: &NetworkSummary) -> bool {
        let resource = Resource::Network(network.name.clone());
        let named = self.found_networks.get(network.name.as_str()).into_iter().flatten();
        let others: Vec<&'a NetworkSummary> = named.copied().filter(|n| n.id != used.id).collect();
        let (unused, rest): (Vec<_>, Vec<_>) = others
            .into_iter()
            .partition(|n| self.made(network, n) && !self.is_used(n) && self.is_settled(n));
        if !rest.is_empty() {
            let what = format!(
                "{} networks have this name, {} is used; Docker Compose may fail to start \
                 containers until `docker network rm` removes the others",
                rest.len() + 1,
                used.id.get(..12).unwrap_or(&used.id)
            );
            self.note(resource.clone(), Standing::Notice(what));
        }
        if unused.is_empty() {
            return false;
        }
        if let Some(wait) = self.resource_backoff(&resource) {
            self.note(resource, wait);
            return false;
        }
        let mut after = vec![];
        for twin in unused {
            let op = Op::RemoveNetwork { id: twin.id.clone() };
            after = vec![self.push(resource.clone(), op, Cause::Twin, after)];
        }
        true
    }

    /// Whether this project made that network for this key.
    fn made(&self, network: &Network, found: &NetworkSummary) -> bool {
        let label = |name: &str| found.labels.get(name).map(String::as_str);
        label(labels::PROJECT) == Some(&self.desired.project.name)
            && label(labels::NETWORK) == Some(&network.key)
    }

    /// Whether a network has been there for a while: who made it just now may be about to use it,
    /// and a container that never started doesn't show in it.
    fn is_settled(&mut self, network: &NetworkSummary) -> bool {
        let age = self.elapsed(network.created).unwrap_or(UNFINISHED_GRACE);
        if age < UNFINISHED_GRACE {
            self.report.wake_at(self.now.mono.after(UNFINISHED_GRACE.saturating_sub(age)));
        }
        age >= UNFINISHED_GRACE
    }

    /// Whether any container, running or not, has an endpoint in that network.
    fn is_used(&self, network: &NetworkSummary) -> bool {
        let mut endpoints = self.observed.containers.values().flat_map(|c| c.networks.values());
        endpoints.any(|endpoint| endpoint.network_id == network.id)
    }

    /// A service's networks whose name is no name: with the IDs that are meant.
    pub(super) fn twins_of(&self, service: &Service) -> Vec<(String, String)> {
        let twins = service.networks.keys().filter_map(|key| {
            let name = &self.desired.project.networks.get(key)?.name;
            match self.network_ref(key)? {
                NetworkRef::Existing(id) if self.has_twins(name) => Some((name.clone(), id)),
                _ => None,
            }
        });
        twins.collect()
    }

    /// The network of that name that is ours, else the one with most of our containers, else the
    /// first by ID.
    fn pick_network(&self, network: &Network) -> Option<&'a NetworkSummary> {
        let members = self.members.get(network.name.as_str());
        let named = self.found_networks.get(network.name.as_str())?;
        named.iter().copied().max_by_key(|n| {
            let members = members.and_then(|ids| ids.get(n.id.as_str())).copied();
            (self.made(network, n), members.unwrap_or_default(), std::cmp::Reverse(n.id.as_str()))
        })
    }

    fn adopt(&mut self, network: &'a Network, found: &'a NetworkSummary) -> NetworkState {
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
        if self.is_left(network, &wanted) {
            let why = "made otherwise by somebody else; used as it is until the file changes, or \
                       `homeostat apply` makes it as the file says";
            self.note(resource, Standing::Notice(why.into()));
            return NetworkState::Present(found.id.clone());
        }
        self.recreate_network(network, found)
    }

    /// Whether a network that differs stays so: the files haven't changed since it was first seen,
    /// or was as wanted, and no person asks.
    fn is_left(&self, network: &Network, wanted: &str) -> bool {
        let noted = self.memory.noted(Note::Network, &network.key);
        let services = self.desired.project.services.values();
        let mut users = services.filter(|s| s.networks.contains_key(&network.key)).peekable();
        let asked =
            users.peek().is_some() && users.all(|user| self.memory.insisted.has(&user.name));
        noted.is_none_or(|noted| noted == wanted) && !asked
    }

    /// Detaches every member, removes the network and creates it anew; the services attach
    /// their containers again because their endpoints point at the network that goes.
    fn recreate_network(
        &mut self,
        network: &'a Network,
        found: &'a NetworkSummary,
    ) -> NetworkState {
        let resource = Resource::Network(network.name.clone());
        let present = NetworkState::Present(found.id.clone());
        if let Some(wait) = self.resource_backoff(&resource) {
            self.note(resource, wait);
            return present;
        }
        let members: Vec<&'a Container> = self
            .observed
            .all()
            .filter(|c| c.networks.get(&network.name).is_some_and(|e| e.network_id == found.id))
            .collect();
        for member in &members {
            if let Some(why) = self.keeps_network(network, member) {
                let what = format!("its configuration changed, but {} {why}", member.name);
                self.note(resource, Standing::Blocked(what));
                return present;
            }
        }
        let live: Vec<&'a Container> = members.into_iter().filter(|c| c.is_live()).collect();
        let mut detached = Vec::new();
        for member in live {
            let op = Op::Disconnect { network: found.id.clone(), container: member.id.clone() };
            let slot = member.slot().map_or_else(|| resource.clone(), Resource::Slot);
            let step = self.push(slot, op, Cause::Replacement, vec![]);
            self.lent.insert(&member.id, step);
            detached.push(step);
        }
        self.dissolved.insert(&found.id);
        let op = Op::RemoveNetwork { id: found.id.clone() };
        let remove = self.push(resource.clone(), op, Cause::ConfigChanged, detached);
        let op = Op::CreateNetwork { key: network.key.clone() };
        NetworkState::Creating(self.push(resource, op, Cause::ConfigChanged, vec![remove]))
    }

    /// Why a network can't be taken from a member: this plan wouldn't give it the new one.
    fn keeps_network(&self, network: &Network, member: &Container) -> Option<&'static str> {
        if self.is_own(member) {
            return Some("is homeostat's own container");
        }
        let ours = self.is_ours(member);
        if !member.is_live() {
            // One-offs that have ended are never started again.
            let other = member.project.as_deref() != Some(&self.desired.project.name);
            return other.then_some("of another project uses it too");
        }
        let slot = member.slot().filter(|_| ours);
        let Some(slot) = slot else { return Some("isn't ours to detach") };
        let service = self.desired.project.services.get(&slot.service);
        if service.is_none_or(|s| !s.networks.contains_key(&network.key)) {
            return Some("wouldn't be attached again");
        }
        if self.memory.holds.of(&slot).is_some() || !self.in_scope(&slot.service) {
            return Some("is held");
        }
        let backoff = self.memory.backoff.get(&slot);
        if backoff.is_some_and(|b| b.not_before > self.now.mono)
            || self.memory.busy.contains(&Resource::Slot(slot.clone()))
        {
            return Some("is being worked on");
        }
        let siblings = self.by_service.get(slot.service.as_str()).into_iter().flatten();
        let kept = self.kept(&slot);
        let stands = |c: &&&Container| c.number == slot.number && kept != Some(&c.id);
        let crowd = siblings.filter(stands).count() > 1;
        crowd.then_some("is being replaced")
    }

    /// Networks that a service needs and that can't be had, with the reason.
    pub(super) fn networks_blocked(&self, service: &Service) -> Option<Standing> {
        service.networks.keys().find_map(|key| match self.networks.get(key.as_str()) {
            Some(NetworkState::Blocked(why)) => Some(Standing::Blocked(why.clone())),
            Some(NetworkState::Busy) => Some(Standing::WaitingOn(format!("network {key}"))),
            _ => None,
        })
    }

    /// The steps whose success a container of this service needs before it is created.
    pub(super) fn network_steps(&self, service: &Service) -> Vec<StepId> {
        let created =
            service.networks.keys().filter_map(|key| match self.networks.get(key.as_str()) {
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
            let op = self.connect(key, network, Target::Created(created), slot.clone());
            steps.push(self.push(Resource::Slot(slot.clone()), op, Cause::NewContainer, after));
        }
        steps
    }

    fn connect(&self, key: String, network: NetworkRef, container: Target, slot: Slot) -> Op {
        let twin = self.desired.project.networks.get(&key).is_some_and(|n| self.has_twins(&n.name));
        Op::Connect { key, network, container, slot, twin }
    }

    /// What the endpoints of a container that stays need, and why some of them can't have it now.
    pub(super) fn endpoint_mends(
        &self,
        service: &Service,
        container: &Container,
    ) -> (Vec<EndpointMend>, Option<Standing>) {
        let mut mends = Vec::new();
        let mut blocked = self.networks_blocked(service);
        for key in network_order(service) {
            let Some(network) = self.network_ref(key) else { continue };
            let drift = self.endpoint_drift(service, key, &network, container);
            let Some((cause, detach)) = drift else { continue };
            match self.address_blocked(service, key, container) {
                Some(standing) => blocked = blocked.or(Some(standing)),
                None => mends.push(EndpointMend { key: key.to_owned(), network, cause, detach }),
            }
        }
        (mends, blocked)
    }

    /// Plans what [`Self::endpoint_mends`] found. Returns the steps that a start needs.
    pub(super) fn mend_endpoints(
        &mut self,
        plan: &SlotPlan<'_>,
        container: &Container,
        mends: Vec<EndpointMend>,
        before: &[StepId],
    ) -> Vec<StepId> {
        let mut steps = Vec::new();
        for EndpointMend { key, network, cause, detach } in mends {
            let mut after = before.to_vec();
            if let NetworkRef::Created(step) = network {
                after.push(step);
            }
            if let Some(network) = detach {
                let op = Op::Disconnect { network, container: container.id.clone() };
                after.push(self.push(plan.resource(), op, cause.clone(), after.clone()));
            }
            let container = Target::Existing(container.id.clone());
            let op = self.connect(key, network, container, plan.slot.clone());
            steps.push(self.push(plan.resource(), op, cause, after));
        }
        steps
    }

    /// What is wrong with a container's endpoint, and from which network (by ID, or by name where
    /// only a stale entry is left) it must be detached first.
    fn endpoint_drift(
        &self,
        service: &Service,
        key: &str,
        network: &NetworkRef,
        container: &Container,
    ) -> Option<(Cause, Option<String>)> {
        let name = &self.desired.project.networks.get(key)?.name;
        let Some(endpoint) = container.networks.get(name) else {
            return Some((Cause::NotConnected, None));
        };
        let known = self.observed.networks.contains_key(&endpoint.network_id);
        let attached = if known { endpoint.network_id.clone() } else { name.clone() };
        // Until its first start, a container knows a network by its name only (seen on 20.10),
        // which starts nothing where several networks have it.
        let by_name =
            endpoint.network_id.is_empty() && !container.is_live() && !self.has_twins(name);
        let fits = |id: &String| by_name || *id == endpoint.network_id;
        if !matches!(network, NetworkRef::Existing(id) if fits(id)) {
            // A stopped container's stale entry is overwritten by the connect itself, and where
            // this plan replaces the network, its members are detached already.
            let dissolved = self.dissolved.contains(endpoint.network_id.as_str());
            let detach = container.is_live() && !dissolved;
            return Some((Cause::StaleNetwork, detach.then_some(attached)));
        }
        let wanted = service.networks.get(key)?;
        let what = missing_aliases(service, wanted, endpoint)
            .or_else(|| missing_address(wanted, endpoint).filter(|_| container.inspected))?;
        Some((Cause::WrongEndpoint(what), Some(attached)))
    }
}

/// A change to one endpoint of a container that stays.
pub(super) struct EndpointMend {
    /// Network key.
    key: String,
    /// Network to attach to.
    network: NetworkRef,
    /// Why.
    pub cause: Cause,
    /// Network to detach from first.
    detach: Option<String>,
}

fn missing_aliases(
    service: &Service,
    wanted: &ServiceNetwork,
    endpoint: &Endpoint,
) -> Option<String> {
    let have = endpoint.aliases.as_ref()?;
    let missing: Vec<&str> = std::iter::once(&service.name)
        .chain(&wanted.aliases)
        .filter(|alias| !have.contains(alias))
        .map(String::as_str)
        .collect();
    (!missing.is_empty()).then(|| format!("connected without its alias {}", missing.join(", ")))
}

fn missing_address(wanted: &ServiceNetwork, endpoint: &Endpoint) -> Option<String> {
    let addresses = [
        (&wanted.ipv4_address, &endpoint.wanted_ipv4),
        (&wanted.ipv6_address, &endpoint.wanted_ipv6),
    ];
    addresses.into_iter().find_map(|(want, have)| {
        let want = want.as_deref()?;
        let same = have.as_deref().is_some_and(|have| same_address(want, have));
        (!same).then(|| format!("connected without its address {want}"))
    })
}

/// IPv6 addresses have several spellings.
fn same_address(a: &str, b: &str) -> bool {
    match (a.parse::<IpAddr>(), b.parse::<IpAddr>()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
