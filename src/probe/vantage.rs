//! From where a container can be reached: an explicit endpoint, its own addresses, its published
//! ports, in this order. The last one, the driver's command by `exec`, is a matter of the engine:
//! [`crate::probe::command`].

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Serialize;

use crate::observed::{Container, Observed};
use crate::probe::spec::Probe;

/// A way to a service. The order is the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Vantage {
    /// The spec's endpoint.
    Endpoint,
    /// The container's address on a network; for `network_mode: host` the host's loopback.
    Container {
        /// Network name, `host` for the host's.
        network: String,
    },
    /// A port that the engine publishes.
    Published,
    /// The driver's own client, inside the container.
    Exec,
}

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An address.
    Socket(SocketAddr),
    /// A name, resolved and vetted at each probe.
    Name(String, u16),
}

/// One address with the way that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The way.
    pub vantage: Vantage,
    /// Where to connect.
    pub address: Address,
}

/// What can be reached of the engine's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Container addresses can be reached (not with rootless Docker, Docker Desktop, ssh).
    pub addresses: bool,
    /// Address of the engine's machine: loopback when it is this one, `None` when unknown.
    pub host: Option<IpAddr>,
}

impl Reach {
    /// An engine on this machine.
    pub const LOCAL: Self = Self { addresses: true, host: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)) };
}

/// Ways that have worked for a slot, over all its containers: the way's kind depends on the host
/// and the network, not on the container.
pub type Reached = BTreeSet<Vantage>;

/// Addresses at which a probe may reach a container, best first, without duplicates.
///
/// A container with `network_mode: container:ID` (Compose's `service:`) has no addresses of its
/// own, nor published ports: those of the other one are taken from `observed`.
pub fn candidates(
    probe: &Probe,
    container: &Container,
    observed: &Observed,
    reach: Reach,
) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    let mut push = |vantage, address| {
        if !found.iter().any(|c| c.address == address) {
            found.push(Candidate { vantage, address });
        }
    };
    if let Some(endpoint) = &probe.endpoint {
        let address = endpoint.host.parse::<IpAddr>().map_or_else(
            |_| Address::Name(endpoint.host.clone(), endpoint.port),
            |ip| Address::Socket(SocketAddr::new(ip, endpoint.port)),
        );
        push(Vantage::Endpoint, address);
    }
    if container.network_mode == "host" {
        if let Some(host) = reach.host {
            let address = Address::Socket(SocketAddr::new(host, probe.port));
            push(Vantage::Container { network: "host".into() }, address);
        }
        return found;
    }
    let owner = namespace_of(container, observed);
    if reach.addresses {
        for (network, endpoint) in &owner.networks {
            if let Ok(ip) = endpoint.ipv4.parse::<IpAddr>() {
                let address = Address::Socket(SocketAddr::new(ip, probe.port));
                push(Vantage::Container { network: network.clone() }, address);
            }
        }
    }
    for port in owner.published.iter().filter(|p| p.target == probe.port && p.protocol == "tcp") {
        if let Some(ip) = published_address(&port.host_ip, reach.host) {
            push(Vantage::Published, Address::Socket(SocketAddr::new(ip, port.host_port)));
        }
    }
    found
}

/// The container that owns the network namespace. The engine refuses chains, so one step does.
fn namespace_of<'a>(container: &'a Container, observed: &'a Observed) -> &'a Container {
    let Some(parent) = container.network_mode.strip_prefix("container:") else { return container };
    observed.all().find(|c| c.id.0 == parent || c.name == parent).unwrap_or(container)
}

fn published_address(host_ip: &str, host: Option<IpAddr>) -> Option<IpAddr> {
    let host = host?;
    match host_ip.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => Some(host),
        // Another machine's loopback isn't ours.
        Ok(ip) if ip.is_loopback() && !host.is_loopback() => None,
        Ok(ip) => Some(ip),
        Err(_) if host_ip.is_empty() => Some(host),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::stack::ServiceSpec;
    use crate::engine::ContainerId;
    use crate::observed::{Endpoint, PublishedPort};

    fn probe(yaml: &str) -> Probe {
        let spec: ServiceSpec = serde_saphyr::from_str(yaml).expect("a spec");
        Probe::of(&spec).expect("valid").expect("a probe")
    }

    fn container(id: &str, networks: &[(&str, &str)], published: &[PublishedPort]) -> Container {
        let networks = networks
            .iter()
            .map(|(name, ip)| {
                ((*name).into(), Endpoint { ipv4: (*ip).into(), ..Endpoint::default() })
            })
            .collect();
        let (id, published) = (ContainerId(id.into()), published.to_vec());
        Container { id, networks, published, ..Container::default() }
    }

    fn port(host_ip: &str, host_port: u16, target: u16, protocol: &str) -> PublishedPort {
        PublishedPort { host_ip: host_ip.into(), host_port, target, protocol: protocol.into() }
    }

    fn shown(candidates: &[Candidate]) -> Vec<String> {
        candidates
            .iter()
            .map(|c| match (&c.vantage, &c.address) {
                (Vantage::Container { network }, Address::Socket(a)) => format!("{network} {a}"),
                (v, Address::Socket(a)) => format!("{v:?} {a}"),
                (v, Address::Name(host, port)) => format!("{v:?} {host}:{port}"),
            })
            .collect()
    }

    #[test]
    fn endpoint_then_addresses_then_published_ports() {
        let published = [
            port("0.0.0.0", 6000, 6379, "tcp"),
            port("::", 6000, 6379, "tcp"),
            port("10.1.1.1", 6001, 6379, "tcp"),
            port("0.0.0.0", 6002, 6379, "udp"),
            port("0.0.0.0", 6003, 80, "tcp"),
        ];
        let found = candidates(
            &probe("driver: valkey\nendpoint: tcp://cache:7000\n"),
            &container(
                "a",
                &[("back", "172.18.0.2"), ("front", "172.19.0.2"), ("gone", "")],
                &published,
            ),
            &Observed::default(),
            Reach::LOCAL,
        );
        assert_eq!(
            shown(&found),
            [
                "Endpoint cache:7000",
                "back 172.18.0.2:6379",
                "front 172.19.0.2:6379",
                "Published 127.0.0.1:6000",
                "Published 10.1.1.1:6001",
            ]
        );
    }

    #[test]
    fn unreachable_addresses_are_left_out() {
        let probe = probe("driver: valkey\n");
        let published = [port("127.0.0.1", 6000, 6379, "tcp"), port("", 6001, 6379, "tcp")];
        let container = container("a", &[("back", "172.18.0.2")], &published);
        let at = |reach| shown(&candidates(&probe, &container, &Observed::default(), reach));
        assert_eq!(at(Reach { addresses: false, host: None }), Vec::<String>::new());
        let far = Reach { addresses: false, host: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9))) };
        assert_eq!(at(far), ["Published 10.0.0.9:6001"]);
    }

    #[test]
    fn a_child_of_another_network_namespace_has_its_parents_addresses_and_ports() {
        let published = [port("127.0.0.1", 32768, 6379, "tcp")];
        let parent = container("p", &[("back", "172.18.0.2")], &published);
        let mut child = container("c", &[], &[]);
        child.network_mode = "container:p".into();
        let mut observed = Observed::default();
        observed.containers.insert(parent.id.clone(), parent.into());
        let found = candidates(&probe("driver: valkey\n"), &child, &observed, Reach::LOCAL);
        assert_eq!(shown(&found), ["back 172.18.0.2:6379", "Published 127.0.0.1:32768"]);
    }

    #[test]
    fn the_hosts_network_is_its_loopback() {
        let mut container = container("a", &[("host", "")], &[]);
        container.network_mode = "host".into();
        let found =
            candidates(&probe("driver: ollama\n"), &container, &Observed::default(), Reach::LOCAL);
        assert_eq!(shown(&found), ["host 127.0.0.1:11434"]);
    }
}
