//! The part of a create body that the engine calls the container's configuration.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::BindContext;
use super::error::TranslateError;
use super::fields::Fields;
use super::scalar;
use crate::compose::types::{Project, Service};

type Result<T> = std::result::Result<T, TranslateError>;

/// Everything but `HostConfig` and `NetworkingConfig`.
pub(super) fn configuration(
    project: &Project,
    service: &Service,
    fields: &mut Fields<'_>,
    labels: &BTreeMap<String, String>,
    context: &BindContext<'_>,
) -> Result<Map<String, Value>> {
    let mut body = super::networking::object(json!({
        "Hostname": fields.string("hostname")?,
        "Domainname": fields.string("domainname")?,
        "User": fields.string("user")?,
        "AttachStdin": false,
        "AttachStdout": true,
        "AttachStderr": true,
        "Tty": fields.flag("tty")?,
        "OpenStdin": fields.flag("stdin_open")?,
        "StdinOnce": false,
        "Env": environment(fields, context)?,
        "Cmd": fields.strings("command")?,
        "Image": image_name(project, service),
        "Volumes": null,
        "WorkingDir": fields.string("working_dir")?,
        "Entrypoint": fields.strings("entrypoint")?,
        "Labels": labels,
    }));
    fields.ignore(&["image"]);
    let ports = exposed_ports(fields)?;
    if !ports.is_empty() {
        body.insert("ExposedPorts".into(), Value::Object(ports));
    }
    if let Some(check) = fields.object("healthcheck")? {
        body.insert("Healthcheck".into(), Value::Object(healthcheck(check)?));
    }
    if fields.string("network_mode")? == "disabled" {
        body.insert("NetworkDisabled".into(), true.into());
    }
    let signal = fields.string("stop_signal")?;
    if !signal.is_empty() {
        body.insert("StopSignal".into(), signal.into());
    }
    if let Some(grace) = fields.duration("stop_grace_period")? {
        body.insert("StopTimeout".into(), (grace / 1_000_000_000).into());
    }
    Ok(body)
}

/// The image reference; a service that only builds one gets `project-service`.
pub(super) fn image_name(project: &Project, service: &Service) -> String {
    let built = || format!("{}-{}", project.name, service.name);
    service.image.clone().filter(|image| !image.is_empty()).unwrap_or_else(built)
}

/// `NAME=value`, and `NAME` alone for a variable without a value. Sorted.
fn environment(fields: &mut Fields<'_>, context: &BindContext<'_>) -> Result<Option<Vec<String>>> {
    let own = fields.map("environment")?;
    let added = context.proxy_environment.iter();
    let mut entries: Vec<String> = added
        .filter(|(name, _)| own.is_none_or(|own| !own.contains_key(*name)))
        .map(|(name, value)| format!("{name}={}", value.expose()))
        .collect();
    for (name, value) in own.into_iter().flatten() {
        if value.is_null() {
            entries.push(name.clone());
            continue;
        }
        let Some(text) = scalar::text(value) else {
            let at = format!("{}.{name}", fields.path("environment"));
            return Err(TranslateError::invalid(at, "expected a string"));
        };
        entries.push(format!("{name}={text}"));
    }
    entries.sort();
    Ok(Some(entries).filter(|entries| !entries.is_empty()))
}

fn healthcheck(mut check: Fields<'_>) -> Result<Map<String, Value>> {
    let mut body = Map::new();
    let mut test = check.strings("test")?;
    if check.flag("disable")? {
        test = Some(vec!["NONE".into()]);
    }
    if let Some(test) = test.filter(|test| !test.is_empty()) {
        body.insert("Test".into(), json!(test));
    }
    let start_period = check.duration("start_period")?;
    if start_period.is_none() && check.duration("start_interval")?.is_some() {
        let reason = "healthcheck.start_period must be set too";
        return Err(TranslateError::invalid(check.path("start_interval"), reason));
    }
    for (key, name) in [
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start_period", "StartPeriod"),
        ("start_interval", "StartInterval"),
    ] {
        if let Some(time) = check.duration(key)?.filter(|&time| time != 0) {
            body.insert(name.into(), time.into());
        }
    }
    let retries = check.integer("retries")?;
    if retries != 0 {
        body.insert("Retries".into(), retries.into());
    }
    check.finish()?;
    Ok(body)
}

fn exposed_ports(fields: &mut Fields<'_>) -> Result<Map<String, Value>> {
    let mut ports = BTreeMap::new();
    for mut port in fields.objects("ports")? {
        ports.insert(port_name(&mut port)?, json!({}));
    }
    for entry in fields.strings("expose")?.unwrap_or_default() {
        let at = fields.path("expose");
        let (range, protocol) = entry.split_once('/').unwrap_or((&entry, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else {
            let reason = format!("'{entry}' is not PORT[-PORT][/PROTOCOL]");
            return Err(TranslateError::invalid(at, reason));
        };
        if first > last {
            return Err(TranslateError::invalid(at, format!("'{entry}' ends before it starts")));
        }
        for port in first..=last {
            ports.insert(format!("{port}/{}", protocol.to_ascii_lowercase()), json!({}));
        }
    }
    Ok(ports.into_iter().collect())
}

/// `80/tcp`.
fn port_name(port: &mut Fields<'_>) -> Result<String> {
    let target = port.integer("target")?;
    let target = u16::try_from(target)
        .map_err(|_| TranslateError::invalid(port.path("target"), "expected 0 to 65535"))?;
    let protocol = port.string("protocol")?.to_ascii_lowercase();
    Ok(format!("{target}/{}", if protocol.is_empty() { "tcp" } else { &protocol }))
}

/// `PortBindings` of the host configuration.
pub(super) fn port_bindings(fields: &mut Fields<'_>) -> Result<Value> {
    let mut bindings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for mut port in fields.objects("ports")? {
        // These describe the port; only Swarm acts on them.
        port.ignore(&["mode", "name", "app_protocol"]);
        let name = port_name(&mut port)?;
        let address = super::networking::address(&mut port, "host_ip", scalar::address)?;
        let published = port.string("published")?;
        port.finish()?;
        let binding = json!({"HostIp": address, "HostPort": published});
        bindings.entry(name).or_default().push(binding);
    }
    Ok(json!(bindings))
}
