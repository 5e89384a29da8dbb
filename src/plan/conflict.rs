//! What another container holds and a service needs: a name, a host port, a static address.

use super::service::SlotPlan;
use super::slots::container_name;
use super::step::{Cause, Op, Resource, StepId, Target};
use super::{Planner, Standing};
use crate::compose::types::{Port, Service};
use crate::desired::OrphanPolicy;
use crate::observed::Container;

/// What stands between a container and its start.
enum Holder<'a> {
    /// A step of this plan makes it let go.
    LeavesAfter(StepId),
    /// A later step of this plan, or the next plan.
    Leaves(&'a Container),
    /// It stays.
    Stays(&'a Container),
}

/// How many services a circle of exchanged ports may have.
const MAX_EXCHANGE: usize = 16;

impl<'a> Planner<'a> {
    /// Clears `name` for a new container: another container of this project gives it back, any
    /// other blocks.
    pub(super) fn free_name(
        &mut self,
        plan: &SlotPlan<'_>,
        name: &str,
    ) -> Result<Option<StepId>, String> {
        let mut chain: Vec<(&'a Container, String)> = Vec::new();
        let mut taken = name.to_owned();
        let mut step = None;
        while let Some(holder) = self.names.get(taken.as_str()).copied() {
            if let Some(remove) = self.removed.get(&holder.id) {
                step = Some(*remove);
                break;
            }
            let Some(own) = self.given_back(plan, holder, &taken)? else {
                return Err(format!("the name {name} is taken by container {}", holder.id));
            };
            if chain.iter().any(|(c, _)| c.id == holder.id) {
                return Err(format!("the name {name} is taken by container {}", holder.id));
            }
            chain.push((holder, own.clone()));
            taken = own;
        }
        for (holder, own) in chain.into_iter().rev() {
            let slot = holder.slot();
            let resource =
                slot.map_or_else(|| Resource::Container(holder.name.clone()), Resource::Slot);
            let op =
                Op::Rename { container: Target::Existing(holder.id.clone()), name: own.clone() };
            let renamed = self.push(resource, op, Cause::NameInTheWay, step.into_iter().collect());
            self.lent.insert(&holder.id, renamed);
            self.names.remove(holder.name.as_str());
            self.names.insert(own.into(), holder);
            step = Some(renamed);
        }
        Ok(step)
    }

    /// The name that a container of another slot should have, if it may be renamed to it.
    fn given_back(
        &self,
        plan: &SlotPlan<'_>,
        holder: &Container,
        taken: &str,
    ) -> Result<Option<String>, String> {
        let Some(slot) = holder.slot().filter(|s| self.is_ours(holder) && *s != plan.slot) else {
            return Ok(None);
        };
        let Some(service) = self.desired.project.services.get(&slot.service) else {
            return Ok(None);
        };
        let held = self.memory.holds.of(&slot).is_some() || !self.in_scope(&slot.service);
        if held || self.memory.busy.contains(&Resource::Slot(slot.clone())) {
            return Err(format!("the name {taken} is taken by service {slot}, which is held"));
        }
        let backoff = self.memory.backoff.get(&slot);
        if backoff.is_some_and(|b| b.not_before > self.now.mono) {
            return Err(format!("the name {taken} is taken by service {slot}, which backs off"));
        }
        let own = container_name(&self.desired.project.name, service, slot.number);
        if own == taken {
            return Err(format!("the name {taken} is taken by service {slot}"));
        }
        Ok(Some(own))
    }

    /// Host ports and static addresses that others hold: steps that make them let go, or why the
    /// start must wait.
    pub(super) fn conflicts(
        &self,
        plan: &SlotPlan<'_>,
        own: Option<&Container>,
    ) -> Result<Vec<StepId>, Standing> {
        let mut after = Vec::new();
        for port in &plan.service.ports {
            let Some(holder) = self.port_holder(plan, port, own) else { continue };
            let what = format!("port {}", port.published.as_deref().unwrap_or_default());
            match holder {
                Holder::LeavesAfter(step) => after.push(step),
                Holder::Leaves(c) if self.exchanges(c, own) => {}
                Holder::Leaves(c) => {
                    return Err(Standing::WaitingOn(format!("{what} released by {}", c.name)));
                }
                Holder::Stays(c) => {
                    return Err(Standing::Blocked(format!(
                        "{what} is bound by container {}",
                        c.name
                    )));
                }
            }
        }
        for key in plan.service.networks.keys() {
            match self.address_holder(plan.service, key, own) {
                Some(Holder::LeavesAfter(step)) => after.push(step),
                Some(Holder::Stays(c)) => return Err(self.address_held(plan.service, key, c)),
                // Two that exchange addresses would wait for one another: the engine refuses the
                // first start, and its next attempt succeeds.
                Some(Holder::Leaves(_)) | None => {}
            }
        }
        Ok(after)
    }

    /// Why a container that stays can't get its static address on one network now.
    pub(super) fn address_blocked(
        &self,
        service: &Service,
        key: &str,
        own: &Container,
    ) -> Option<Standing> {
        match self.address_holder(service, key, Some(own))? {
            Holder::Stays(c) => Some(self.address_held(service, key, c)),
            Holder::LeavesAfter(_) | Holder::Leaves(_) => {
                Some(Standing::WaitingOn(format!("its address on {key}")))
            }
        }
    }

    fn address_held(&self, service: &Service, key: &str, holder: &Container) -> Standing {
        let address = service.networks.get(key).and_then(|n| n.ipv4_address.as_deref());
        let network = self.desired.project.networks.get(key).map_or(key, |n| &n.name);
        Standing::Blocked(format!(
            "address {} on {network} is held by container {}",
            address.unwrap_or_default(),
            holder.name
        ))
    }

    fn port_holder(
        &self,
        plan: &SlotPlan<'_>,
        port: &Port,
        own: Option<&Container>,
    ) -> Option<Holder<'a>> {
        let host = fixed_port(port)?;
        let holders = self.ports.get(&(host, port.protocol.as_str()))?;
        holders
            .iter()
            .filter(|(ip, c)| {
                own.is_none_or(|own| own.id != c.id)
                    && c.slot().as_ref() != Some(&plan.slot)
                    && overlaps(port.host_ip.as_deref(), ip)
            })
            .map(|(_, c)| self.holder(c, |wanted| wants_port(wanted, host, &port.protocol)))
            // The one that stays decides.
            .max_by_key(|holder| matches!(holder, Holder::Stays(_)))
    }

    fn address_holder(
        &self,
        service: &Service,
        key: &str,
        own: Option<&Container>,
    ) -> Option<Holder<'a>> {
        let wanted = service.networks.get(key)?.ipv4_address.as_deref()?;
        let network = &self.desired.project.networks.get(key)?.name;
        let holder = *self.addresses.get(&(network.as_str(), wanted))?;
        let endpoint = holder.networks.get(network)?;
        let same = own.is_some_and(|own| own.id == holder.id)
            || self.is_ours(holder) && holder.service.as_deref() == Some(&service.name);
        if same || self.dissolved.contains(endpoint.network_id.as_str()) {
            return None;
        }
        // A static address that its service no longer wants goes with its container; one that the
        // engine chose stays.
        let dynamic = endpoint.wanted_ipv4.is_none();
        Some(self.holder(holder, |other| {
            let on_network = other.networks.get(key);
            on_network.is_some_and(|n| dynamic || n.ipv4_address.as_deref() == Some(wanted))
        }))
    }

    /// Whether a container lets go of something in this plan. `keeps` says whether its service
    /// still wants it.
    fn holder(&self, container: &'a Container, keeps: impl Fn(&Service) -> bool) -> Holder<'a> {
        if let Some(step) = self.stopped.get(&container.id) {
            return Holder::LeavesAfter(*step);
        }
        let name = container.service.as_deref().filter(|_| self.is_ours(container));
        let Some(name) = name else { return Holder::Stays(container) };
        let leaves = match self.desired.project.services.get(name) {
            Some(service) => self.in_scope(name) && !keeps(service),
            None => self.scope.is_none() && self.desired.policy.orphans == OrphanPolicy::Remove,
        };
        if leaves && !self.is_held(container) {
            Holder::Leaves(container)
        } else {
            Holder::Stays(container)
        }
    }

    /// Whether the service of `holder` waits, over others, for a port that `own` holds: then
    /// somebody has to go first.
    fn exchanges(&self, holder: &Container, own: Option<&Container>) -> bool {
        let Some(own) = own else { return false };
        let mut current = holder;
        for _ in 0..MAX_EXCHANGE {
            let service = current.service.as_deref().unwrap_or_default();
            let Some(service) = self.desired.project.services.get(service) else { return false };
            let next = service.ports.iter().find_map(|port| {
                let holders = self.ports.get(&(fixed_port(port)?, port.protocol.as_str()))?;
                holders.iter().map(|(_, c)| *c).find(|c| c.id != current.id)
            });
            match next {
                Some(next) if next.id == own.id => return true,
                Some(next) => current = next,
                None => return false,
            }
        }
        false
    }
}

/// The one host port that a service asks for; ranges leave the choice to the engine.
fn fixed_port(port: &Port) -> Option<u16> {
    port.published.as_ref()?.parse().ok().filter(|p| *p != 0)
}

fn wants_port(service: &Service, host: u16, protocol: &str) -> bool {
    service.ports.iter().any(|p| p.protocol == protocol && fixed_port(p) == Some(host))
}

/// Whether two host addresses of a port exclude one another.
fn overlaps(wanted: Option<&str>, held: &str) -> bool {
    let any = |ip: &str| matches!(ip, "" | "0.0.0.0" | "::");
    match wanted {
        None => true,
        Some(wanted) => any(wanted) || any(held) || wanted == held,
    }
}
