//! Bodies that create networks and volumes.

use serde_json::{Map, Value, json};

use super::error::TranslateError;
use super::fields::Fields;
use super::labels::{COMPOSE_VERSION, merged};
use super::networking::{address, object};
use super::resource_hash::{network_hash, volume_hash};
use super::scalar;
use crate::compose::types::{Network, Project, Volume};
use crate::sensitive::Sensitive;

type Result<T> = std::result::Result<T, TranslateError>;

/// The body of `POST /networks/create`.
///
/// # Errors
/// An external network (it is never created), an address that can't be read, or an attribute
/// that has no place in the body.
pub fn network_body(project: &Project, network: &Network) -> Result<Sensitive<Map<String, Value>>> {
    let mut fields = Fields::new(format!("networks.{}", network.key), network.canonical.expose());
    refuse_external(&fields, network.external)?;
    fields.ignore(&["external", "name"]);
    let labels = merged(
        fields.string_map("labels")?,
        [
            ("network", network.key.clone()),
            ("project", project.name.clone()),
            ("version", COMPOSE_VERSION.into()),
            ("config-hash", network_hash(network)),
        ],
    );
    let mut body = object(json!({
        "Name": network.name,
        "Driver": fields.string("driver")?,
        "Scope": "",
        "IPAM": ipam(&mut fields)?,
        "Internal": fields.flag("internal")?,
        "Attachable": fields.flag("attachable")?,
        "Ingress": false,
        "ConfigOnly": false,
        "ConfigFrom": null,
        "Options": fields.string_map("driver_opts")?,
        "Labels": labels,
    }));
    for (key, name) in [("enable_ipv4", "EnableIPv4"), ("enable_ipv6", "EnableIPv6")] {
        if let Some(enable) = fields.optional_flag(key)? {
            body.insert(name.into(), enable.into());
        }
    }
    fields.finish()?;
    Ok(body.into())
}

/// The body of `POST /volumes/create`.
///
/// # Errors
/// An external volume (it is never created) or an attribute that has no place in the body.
pub fn volume_body(project: &Project, volume: &Volume) -> Result<Sensitive<Map<String, Value>>> {
    let mut fields = Fields::new(format!("volumes.{}", volume.key), volume.canonical.expose());
    refuse_external(&fields, volume.external)?;
    fields.ignore(&["external", "name"]);
    let labels = merged(
        fields.string_map("labels")?,
        [
            ("volume", volume.key.clone()),
            ("project", project.name.clone()),
            ("version", COMPOSE_VERSION.into()),
            ("config-hash", volume_hash(volume)),
        ],
    );
    let mut body = Map::new();
    let driver = fields.string("driver")?;
    if !driver.is_empty() {
        body.insert("Driver".into(), driver.into());
    }
    if let Some(options) = fields.string_map("driver_opts")?.filter(|map| !map.is_empty()) {
        body.insert("DriverOpts".into(), json!(options));
    }
    body.insert("Labels".into(), json!(labels));
    body.insert("Name".into(), volume.name.clone().into());
    fields.finish()?;
    Ok(body.into())
}

fn refuse_external(fields: &Fields<'_>, external: bool) -> Result<()> {
    if external {
        let reason = "an external one is never created: create it outside, then try again";
        return Err(TranslateError::invalid(fields.path("external"), reason));
    }
    Ok(())
}

fn ipam(fields: &mut Fields<'_>) -> Result<Value> {
    let Some(mut ipam) = fields.object("ipam")? else { return Ok(Value::Null) };
    let driver = ipam.string("driver")?;
    let options = ipam.string_map("options")?;
    let mut pools = Vec::new();
    for mut pool in ipam.objects("config")? {
        let mut body = Map::new();
        for (key, name, read) in [
            ("subnet", "Subnet", scalar::prefix as fn(&str) -> Option<String>),
            ("ip_range", "IPRange", scalar::prefix),
            ("gateway", "Gateway", scalar::address),
        ] {
            let text = address(&mut pool, key, read)?;
            if !text.is_empty() {
                body.insert(name.into(), text.into());
            }
        }
        if let Some(mut reserved) = pool.object("aux_addresses")? {
            let mut addresses = Map::new();
            let keys = pool.map("aux_addresses")?.into_iter().flat_map(Map::keys);
            for key in keys {
                let text = address(&mut reserved, key, scalar::address)?;
                addresses.insert(key.clone(), text.into());
            }
            body.insert("AuxiliaryAddresses".into(), Value::Object(addresses));
        }
        pool.finish()?;
        pools.push(Value::Object(body));
    }
    ipam.finish()?;
    if driver.is_empty() && options.is_none() && pools.is_empty() {
        return Ok(Value::Null);
    }
    let config = if pools.is_empty() { Value::Null } else { pools.into() };
    Ok(json!({"Driver": driver, "Options": options, "Config": config}))
}
