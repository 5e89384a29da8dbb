//! Endpoints: how a container is attached to each of its networks.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::error::TranslateError;
use super::fields::Fields;
use super::scalar;
use super::{LaterEndpoint, container_name};
use crate::compose::types::{Project, Service};

/// Several endpoints at create came with API 1.44.
const MANY_ENDPOINTS: (u32, u32) = (1, 44);
/// `interface_name` came with API 1.49; Compose refuses it before.
const INTERFACE_NAMES: (u32, u32) = (1, 49);

/// `NetworkMode` and `NetworkingConfig` of a container, and the endpoints that an engine before
/// API 1.44 wants connected between create and start.
pub(super) struct Networking {
    pub mode: String,
    /// `None` with `network_mode`: the body has no such key then.
    pub endpoints: Option<Map<String, Value>>,
    pub later: Vec<LaterEndpoint>,
}

/// Keys of the service's networks in the order of attachment: highest priority first, then by
/// key. The first one is the container's `NetworkMode`.
pub fn networks_by_priority(service: &Service) -> Vec<String> {
    let networks = service.canonical.expose().get("networks").and_then(Value::as_object);
    let priority = |value: &Value| value.get("priority").and_then(scalar::integer).unwrap_or(0);
    let mut keys: Vec<(i64, String)> = networks
        .into_iter()
        .flatten()
        .map(|(key, value)| (-priority(value), key.clone()))
        .collect();
    keys.sort();
    keys.into_iter().map(|(_, key)| key).collect()
}

/// The aliases that Compose asks for on one network: container name, service name, then the
/// network's own.
pub fn wanted_aliases(
    project: &Project,
    service: &Service,
    network_key: &str,
    number: u32,
) -> BTreeSet<String> {
    aliases(project, service, network_key, number).into_iter().collect()
}

fn aliases(project: &Project, service: &Service, key: &str, number: u32) -> Vec<String> {
    let mut aliases = vec![container_name(project, service, number), service.name.clone()];
    let own = endpoint_settings(service, key).and_then(|settings| settings.get("aliases"));
    aliases.extend(own.and_then(Value::as_array).into_iter().flatten().filter_map(scalar::text));
    aliases
}

fn endpoint_settings<'a>(service: &'a Service, key: &str) -> Option<&'a Map<String, Value>> {
    service.canonical.expose().get("networks")?.get(key)?.as_object()
}

/// The `EndpointConfig` of one network, for the create body or for a connect.
///
/// `links` are the container's links ([`super::links`]); Compose repeats them on each endpoint.
///
/// # Errors
/// An address that can't be read, or an attribute that has no place in an endpoint.
pub fn endpoint_config(
    project: &Project,
    service: &Service,
    network_key: &str,
    number: u32,
    links: &[String],
) -> Result<Map<String, Value>, TranslateError> {
    let (mut ipv4, mut ipv6, mut mac) = (String::new(), String::new(), String::new());
    let (mut ipam, mut driver_opts, mut gateway_priority) = (Value::Null, Value::Null, 0);
    if let Some(settings) = endpoint_settings(service, network_key) {
        let at = format!("services.{}.networks.{network_key}", service.name);
        let mut fields = Fields::new(at, settings);
        fields.ignore(&["aliases", "priority"]);
        ipv4 = address(&mut fields, "ipv4_address", scalar::address)?;
        ipv6 = address(&mut fields, "ipv6_address", scalar::address)?;
        mac = address(&mut fields, "mac_address", scalar::mac)?;
        ipam = ipam_config(&mut fields, &ipv6)?;
        gateway_priority = fields.integer("gw_priority")?;
        driver_opts = endpoint_options(&mut fields)?;
        fields.finish()?;
    }
    let first = networks_by_priority(service).first().map(String::as_str) == Some(network_key);
    if first {
        mac = service_mac(service, network_key, mac)?;
    }
    let body = json!({
        "IPAMConfig": ipam,
        "Links": if links.is_empty() { Value::Null } else { json!(links) },
        "Aliases": aliases(project, service, network_key, number),
        "DriverOpts": driver_opts,
        "GwPriority": gateway_priority,
        "NetworkID": "",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": ipv4,
        "MacAddress": mac,
        "IPPrefixLen": 0,
        // Compose puts the static address here; engines ignore it and read IPAMConfig.
        "IPv6Gateway": ipv6,
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": null,
    });
    Ok(object(body))
}

/// The service's `mac_address` belongs to its first network, which must not say otherwise.
fn service_mac(service: &Service, key: &str, own: String) -> Result<String, TranslateError> {
    let at = format!("services.{}", service.name);
    let mut fields = Fields::new(at, service.canonical.expose());
    let written = fields.string("mac_address")?;
    let own_written = endpoint_settings(service, key)
        .and_then(|settings| settings.get("mac_address"))
        .and_then(scalar::text)
        .unwrap_or_default();
    if written.is_empty() {
        return Ok(own);
    }
    if !own_written.is_empty() && own_written != written {
        let reason = format!("network {key} has another one: write the same, or only one of them");
        return Err(TranslateError::invalid(fields.path("mac_address"), reason));
    }
    address(&mut fields, "mac_address", scalar::mac)
}

fn ipam_config(fields: &mut Fields<'_>, ipv6: &str) -> Result<Value, TranslateError> {
    let mut ipam = Map::new();
    let ipv4 = address(fields, "ipv4_address", scalar::unmapped_address)?;
    if !ipv4.is_empty() {
        ipam.insert("IPv4Address".into(), ipv4.into());
    }
    if !ipv6.is_empty() {
        ipam.insert("IPv6Address".into(), ipv6.into());
    }
    let mut local = Vec::new();
    for text in fields.strings("link_local_ips")?.unwrap_or_default() {
        if !text.is_empty() {
            local.push(read_address(&fields.path("link_local_ips"), &text, scalar::address)?);
        }
    }
    if !local.is_empty() {
        ipam.insert("LinkLocalIPs".into(), json!(local));
    }
    Ok(Value::Object(ipam))
}

fn endpoint_options(fields: &mut Fields<'_>) -> Result<Value, TranslateError> {
    let mut options = fields.string_map("driver_opts")?;
    let interface = fields.string("interface_name")?;
    if !interface.is_empty() {
        options
            .get_or_insert_default()
            .insert("com.docker.network.endpoint.ifname".into(), interface);
    }
    Ok(options.map_or(Value::Null, |options| json!(options)))
}

/// An optional address in its normal form; empty when absent.
pub(super) fn address(
    fields: &mut Fields<'_>,
    key: &str,
    read: fn(&str) -> Option<String>,
) -> Result<String, TranslateError> {
    let text = fields.string(key)?;
    if text.is_empty() {
        return Ok(text);
    }
    read_address(&fields.path(key), &text, read)
}

pub(super) fn read_address(
    at: &str,
    text: &str,
    read: fn(&str) -> Option<String>,
) -> Result<String, TranslateError> {
    read(text).ok_or_else(|| TranslateError::invalid(at, format!("'{text}' is not an address")))
}

/// Everything about networks in a create body.
pub(super) fn networking(
    project: &Project,
    service: &Service,
    mode: &str,
    number: u32,
    links: &[String],
    api: (u32, u32),
) -> Result<Networking, TranslateError> {
    if !mode.is_empty() {
        return Ok(Networking { mode: mode.into(), endpoints: None, later: Vec::new() });
    }
    if project.networks.is_empty() {
        return Ok(Networking { mode: "none".into(), endpoints: None, later: Vec::new() });
    }
    let mut keys = networks_by_priority(service);
    if keys.is_empty() {
        keys.push("default".into());
    }
    let mut mode = None;
    let mut endpoints = Map::new();
    let mut later = Vec::new();
    for key in keys {
        let at = format!("services.{}.networks.{key}", service.name);
        let named = endpoint_settings(service, &key).and_then(|s| s.get("interface_name"));
        if api < INTERFACE_NAMES && named.is_some_and(|name| !name.is_null()) {
            let at = format!("{at}.interface_name");
            return Err(TranslateError::NeedsApi { at, needed: INTERFACE_NAMES });
        }
        let Some(network) = project.networks.get(&key) else {
            return Err(TranslateError::Undefined { at, what: format!("network {key}") });
        };
        let endpoint = endpoint_config(project, service, &key, number, links)?;
        if mode.is_none() || api >= MANY_ENDPOINTS {
            endpoints.insert(network.name.clone(), Value::Object(endpoint));
        } else {
            later.push(LaterEndpoint { network_key: key, endpoint });
        }
        mode.get_or_insert_with(|| network.name.clone());
    }
    Ok(Networking { mode: mode.unwrap_or_default(), endpoints: Some(endpoints), later })
}

/// The map of a `json!` object.
pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
