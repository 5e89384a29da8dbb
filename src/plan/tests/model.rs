//! A tiny engine: what each operation does, and what the real engine refuses.

use super::fixture::{World, endpoint, made_network, made_volume, published};
use crate::desired::{Desired, namespace_parents, network_order};
use crate::engine::types::ContainerId;
use crate::observed::{Container, ContainerState, Health};
use crate::plan::{NetworkRef, Op, Plan, Step, Target};
use std::collections::BTreeMap;
use std::time::Duration;

/// What steps have made so far.
#[derive(Default)]
struct Made {
    containers: BTreeMap<usize, ContainerId>,
    networks: BTreeMap<usize, String>,
}

/// Runs a plan; `pick` chooses among the steps that could go next. A step whose predecessor failed
/// is skipped, as the executor does. Returns what the engine refused.
pub fn run(world: &mut World, plan: &Plan, mut pick: impl FnMut(usize) -> usize) -> Vec<String> {
    let desired = world.desired();
    let mut made = Made::default();
    let mut done = vec![None; plan.steps.len()];
    let mut refused = Vec::new();
    loop {
        let open: Vec<&Step> = plan
            .steps
            .iter()
            .filter(|s| done[s.id.0 - 1].is_none())
            .filter(|s| s.after.iter().all(|a| done[a.0 - 1].is_some()))
            .collect();
        let Some(step) = open.get(pick(open.len().max(1))) else { return refused };
        let fine = step.after.iter().all(|a| done[a.0 - 1] == Some(true));
        let outcome = if fine { apply(world, &desired, &mut made, step) } else { Ok(()) };
        done[step.id.0 - 1] = Some(fine && outcome.is_ok());
        if let Err(why) = outcome {
            refused.push(format!("{}: {}: {why}", step.resource, step.op));
        }
    }
}

/// Time passes: what starts becomes healthy, jobs end.
pub fn settle(world: &mut World) {
    let desired = world.desired();
    for container in world.observed.containers.values_mut() {
        let service = container.service.clone().unwrap_or_default();
        if container.state != ContainerState::Running {
            continue;
        }
        if container.health == Health::Starting {
            container.health = Health::Healthy;
        }
        if desired.traits(&service).job {
            container.state = ContainerState::Exited;
            container.exit_code = Some(0);
            container.finished = Some(world.now.wall);
        }
    }
    world.now.wall.0 += 61_000;
    world.now.mono = world.now.mono.after(Duration::from_secs(61));
}

type Outcome = Result<(), String>;

fn apply(world: &mut World, desired: &Desired, made: &mut Made, step: &Step) -> Outcome {
    // Every call takes a moment, so that no two things begin at once.
    world.now.wall.0 += 10;
    match &step.op {
        Op::CreateNetwork { key } => {
            let id = format!("net-{key}-{}", world.now.wall.0);
            let network = made_network(&desired.project.networks[key], &id);
            world.observed.networks.insert(id.clone(), network);
            made.networks.insert(step.id.0, id);
            Ok(())
        }
        Op::RemoveNetwork { id } => {
            let mut live = world.observed.containers.values().filter(|c| c.is_live());
            if live.any(|c| c.networks.values().any(|e| e.network_id == *id)) {
                return Err("network has active endpoints".into());
            }
            world.observed.networks.remove(id).map(|_| ()).ok_or("no such network".into())
        }
        Op::Connect { key, network, container, slot, .. } => {
            let network = match network {
                NetworkRef::Existing(id) => id.clone(),
                NetworkRef::Created(step) => made.networks[&step.0].clone(),
            };
            let name = found(world.observed.networks.get(&network), "network")?.name.clone();
            let ambiguous = world.observed.networks_named(&name).nth(1).is_some();
            let wanted = endpoint(&desired.project.services[&slot.service], key, &network);
            let id = resolve(made, container);
            // A container that doesn't run is only told which address to ask for.
            if world.observed.container(&id).is_some_and(Container::is_live) {
                free_address(world, &id, &name, &wanted.ipv4)?;
            }
            let container = found(world.observed.containers.get_mut(&id), "container")?;
            if container.is_live() && container.networks.contains_key(&name) {
                return Err("endpoint with that name already exists".into());
            }
            let mut wanted = wanted;
            if !container.is_live() && !ambiguous {
                // Seen on 20.10: unless the call has it, the ID is looked up by name at the start.
                wanted.network_id.clear();
            }
            container.networks.insert(name, wanted);
            Ok(())
        }
        Op::Disconnect { network, container } => {
            let known = world.observed.networks.get(network).map(|n| n.name.clone());
            let name = known.unwrap_or_else(|| network.clone());
            let container = found(world.observed.containers.get_mut(container), "container")?;
            container.networks.remove(&name).map(|_| ()).ok_or("not connected".into())
        }
        Op::CreateVolume { key } => {
            let volume = made_volume(&desired.project.volumes[key]);
            world.observed.volumes.insert(volume.name.clone(), volume);
            Ok(())
        }
        Op::Pull { reference, .. } => {
            world.image(reference, &format!("sha256:{reference}"));
            Ok(())
        }
        Op::Create { slot, name, parents, twins, .. } => {
            let service = &desired.project.services[&slot.service];
            if world.observed.containers.values().any(|c| c.name == *name) {
                return Err(format!("the name {name} is in use"));
            }
            if world.observed.image_id(service.image.as_deref().unwrap_or_default()).is_none() {
                return Err("no such image".into());
            }
            for mount in &service.mounts {
                let key = mount.source.as_deref().unwrap_or_default();
                let volume = &desired.project.volumes[key].name;
                found(world.observed.volumes.get(volume), "volume")?;
            }
            let text = format!("{:012x}{:052x}", world.now.wall.0, 0);
            let mut ids = BTreeMap::new();
            let mut container = world.made(desired, slot, &text);
            container.created = world.now.wall;
            for (parent, target) in parents {
                let id = resolve(made, target);
                found(world.observed.containers.get(&id), "parent")?;
                container.network_mode = format!("container:{}", id.0);
                ids.insert(parent.clone(), id.0);
            }
            container.config_hash = Some(desired.bound_hash(service, &ids));
            container.name.clone_from(name);
            for key in network_order(service) {
                let network = &desired.project.networks[key].name;
                found(world.observed.networks.values().find(|n| n.name == *network), "network")?;
            }
            if !world.observed.engine.capabilities.many_endpoints_at_create {
                let first =
                    network_order(service).first().map(|k| &desired.project.networks[*k].name);
                container.networks.retain(|name, _| Some(name) == first);
            }
            for (name, endpoint) in &mut container.networks {
                let meant = twins.iter().find(|(twin, _)| twin == name);
                endpoint.network_id = meant.map(|(_, id)| id.clone()).unwrap_or_default();
            }
            made.containers.insert(step.id.0, container.id.clone());
            world.observed.containers.insert(container.id.clone(), container.into());
            Ok(())
        }
        Op::Recreate { .. } => Err("nobody knows what it was made of".into()),
        Op::Start { container } => start(world, desired, &resolve(made, container)),
        Op::Restart { container } => {
            stop(world, container)?;
            start(world, desired, container)
        }
        Op::Stop { container } => stop(world, container),
        Op::Unpause { container } => {
            let container = found(world.observed.containers.get_mut(container), "container")?;
            if container.state != ContainerState::Paused {
                return Err("not paused".into());
            }
            container.state = ContainerState::Running;
            Ok(())
        }
        Op::Remove { container, force } => {
            let found = found(world.observed.containers.get(container), "container")?;
            let dead = found.state == ContainerState::Dead;
            if !force && (found.is_live() || dead) {
                return Err("can't remove a running or dead container without force".into());
            }
            world.observed.containers.remove(container);
            Ok(())
        }
        Op::Rename { container, name } => {
            if world.observed.containers.values().any(|c| c.name == *name) {
                return Err(format!("the name {name} is in use"));
            }
            let id = resolve(made, container);
            found(world.observed.containers.get_mut(&id), "container")?.name.clone_from(name);
            Ok(())
        }
    }
}

fn start(world: &mut World, desired: &Desired, id: &ContainerId) -> Outcome {
    let container = found(world.observed.containers.get(id), "container")?.clone();
    if container.is_live() {
        return Ok(());
    }
    let service = &desired.project.services[container.service.as_deref().unwrap_or_default()];
    let mut container = container;
    for (name, endpoint) in &mut container.networks {
        if endpoint.network_id.is_empty() {
            let named: Vec<_> =
                world.observed.networks.values().filter(|n| n.name == *name).collect();
            match named[..] {
                [only] => endpoint.network_id.clone_from(&only.id),
                [] => return Err("network not found".into()),
                _ => return Err("network is ambiguous".into()),
            }
        }
        found(world.observed.networks.get(&endpoint.network_id), "network of a stale endpoint")?;
        free_address(world, id, name, &endpoint.ipv4)?;
    }
    if let Some(parent) = container.network_mode.strip_prefix("container:") {
        let parent = world.observed.container(&ContainerId(parent.into()));
        if !parent.is_some_and(Container::is_live) {
            return Err("cannot join the namespace of a container that doesn't run".into());
        }
        assert!(!namespace_parents(service).is_empty(), "only children share");
    }
    let ports = published(service);
    let mut live = world.observed.containers.values().filter(|c| c.is_live());
    if let Some(holder) = live.find(|c| ports.iter().any(|p| c.published.contains(p))) {
        return Err(format!("port is already allocated by {}", holder.name));
    }
    let networks = container.networks.clone();
    let container = found(world.observed.containers.get_mut(id), "container")?;
    container.networks = networks;
    container.state = ContainerState::Running;
    container.started = Some(world.now.wall);
    container.published = ports;
    container.health = if container.has_healthcheck { Health::Starting } else { Health::None };
    Ok(())
}

fn stop(world: &mut World, id: &ContainerId) -> Outcome {
    let container = found(world.observed.containers.get_mut(id), "container")?;
    container.state = ContainerState::Exited;
    container.health = Health::None;
    container.exit_code = Some(143);
    container.finished = Some(world.now.wall);
    container.published.clear();
    Ok(())
}

fn free_address(world: &World, own: &ContainerId, network: &str, address: &str) -> Outcome {
    let mut live = world.observed.all().filter(|c| c.is_live() && c.id != *own);
    let holds = |c: &Container| c.networks.get(network).is_some_and(|e| e.ipv4 == address);
    if !address.is_empty() && live.any(holds) {
        return Err("address already in use".into());
    }
    Ok(())
}

fn resolve(made: &Made, target: &Target) -> ContainerId {
    match target {
        Target::Existing(id) => id.clone(),
        Target::Created(step) => made.containers[&step.0].clone(),
    }
}

fn found<T>(thing: Option<T>, what: &str) -> Result<T, String> {
    thing.ok_or_else(|| format!("no such {what}"))
}
