//! The part of a create body that the engine calls `HostConfig`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::BindContext;
use super::error::TranslateError;
use super::fields::Fields;
use super::mounts::Mounts;
use super::networking::{object, read_address};
use super::resources::{add_resources, restart_policy};
use super::{container, scalar};
use crate::compose::types::Project;

type Result<T> = std::result::Result<T, TranslateError>;

/// What other modules have worked out already.
pub(super) struct Parts<'a> {
    pub network_mode: String,
    pub links: &'a [String],
    pub mounts: Mounts,
}

/// The whole `HostConfig`.
pub(super) fn host_configuration(
    project: &Project,
    fields: &mut Fields<'_>,
    parts: Parts<'_>,
    context: &BindContext<'_>,
) -> Result<Map<String, Value>> {
    let (security, unconfined) = security_options(project, fields, context)?;
    let mut host = object(json!({
        "Binds": some(parts.mounts.binds),
        "ContainerIDFile": "",
        "LogConfig": logging(fields)?,
        "NetworkMode": parts.network_mode,
        "PortBindings": container::port_bindings(fields)?,
        "RestartPolicy": restart(fields)?,
        "AutoRemove": false,
        "VolumeDriver": "",
        "VolumesFrom": fields.strings("volumes_from")?,
        "ConsoleSize": [0, 0],
        "CapAdd": capabilities(fields.strings("cap_add")?),
        "CapDrop": capabilities(fields.strings("cap_drop")?),
        "CgroupnsMode": fields.string("cgroup")?,
        "Dns": dns(fields)?,
        "DnsOptions": fields.strings("dns_opt")?,
        "DnsSearch": fields.strings("dns_search")?,
        "ExtraHosts": extra_hosts(fields)?,
        "GroupAdd": fields.strings("group_add")?,
        "IpcMode": fields.string("ipc")?,
        "Cgroup": "",
        "Links": if parts.links.is_empty() { Value::Null } else { json!(parts.links) },
        "OomScoreAdj": fields.integer("oom_score_adj")?,
        "PidMode": fields.string("pid")?,
        "Privileged": fields.flag("privileged")?,
        "PublishAllPorts": false,
        "ReadonlyRootfs": fields.flag("read_only")?,
        "SecurityOpt": security,
        "UTSMode": fields.string("uts")?,
        "UsernsMode": fields.string("userns_mode")?,
        "ShmSize": fields.integer("shm_size")?,
        "Isolation": fields.string("isolation")?,
        "MaskedPaths": if unconfined { json!([]) } else { Value::Null },
        "ReadonlyPaths": if unconfined { json!([]) } else { Value::Null },
    }));
    let mut add = |key: &str, value: Option<Value>| {
        host.extend(value.map(|value| (key.to_owned(), value)));
    };
    add("Init", fields.optional_flag("init")?.map(Value::Bool));
    for (key, name) in
        [("annotations", "Annotations"), ("storage_opt", "StorageOpt"), ("sysctls", "Sysctls")]
    {
        let map = fields.string_map(key)?.filter(|map| !map.is_empty());
        add(name, map.map(|map| json!(map)));
    }
    add("Tmpfs", tmpfs(fields)?);
    add(
        "Runtime",
        Some(fields.string("runtime")?).filter(|name| !name.is_empty()).map(Value::from),
    );
    add("Mounts", some(parts.mounts.mounts).map(Value::from));
    add_resources(fields, &mut host)?;
    Ok(host)
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

fn logging(fields: &mut Fields<'_>) -> Result<Value> {
    let Some(mut logging) = fields.object("logging")? else {
        return Ok(json!({"Type": "", "Config": null}));
    };
    let value =
        json!({"Type": logging.string("driver")?, "Config": logging.string_map("options")?});
    logging.finish()?;
    Ok(value)
}

/// `restart`; `deploy.restart_policy` goes over it later.
fn restart(fields: &mut Fields<'_>) -> Result<Value> {
    let written = fields.string("restart")?;
    let (name, attempts) = written.split_once(':').unwrap_or((&written, ""));
    // Compose takes a count that it can't read for 0.
    Ok(restart_policy(name, attempts.parse().unwrap_or(0)))
}

/// Upper case with `CAP_`, without repeats, sorted, as Docker's client sends them.
fn capabilities(list: Option<Vec<String>>) -> Value {
    let Some(list) = list else { return Value::Null };
    let full = |name: String| {
        let name = name.to_uppercase();
        if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
    };
    json!(list.into_iter().map(full).collect::<std::collections::BTreeSet<_>>())
}

fn dns(fields: &mut Fields<'_>) -> Result<Option<Vec<String>>> {
    let Some(servers) = fields.strings("dns")? else { return Ok(None) };
    let at = fields.path("dns");
    let servers: Result<Vec<String>> =
        servers.iter().map(|server| read_address(&at, server, scalar::address)).collect();
    servers.map(some)
}

/// Canonical `host=address`; the engine takes `host:address`.
fn extra_hosts(fields: &mut Fields<'_>) -> Result<Vec<String>> {
    let mut hosts = Vec::new();
    for entry in fields.strings("extra_hosts")?.unwrap_or_default() {
        let Some((host, address)) = entry.split_once('=') else {
            let reason = format!("'{entry}' is not HOST=ADDRESS");
            return Err(TranslateError::invalid(fields.path("extra_hosts"), reason));
        };
        hosts.push(format!("{host}:{address}"));
    }
    hosts.sort();
    Ok(hosts)
}

fn tmpfs(fields: &mut Fields<'_>) -> Result<Option<Value>> {
    let mut map = BTreeMap::new();
    for entry in fields.strings("tmpfs")?.unwrap_or_default() {
        let (path, options) = entry.split_once(':').unwrap_or((&entry, ""));
        map.insert(path.to_owned(), options.to_owned());
    }
    Ok(Some(json!(map)).filter(|_| !map.is_empty()))
}

/// Options for the engine, and whether `systempaths=unconfined` was among them.
fn security_options(
    project: &Project,
    fields: &mut Fields<'_>,
    context: &BindContext<'_>,
) -> Result<(Value, bool)> {
    let at = fields.path("security_opt");
    let (mut options, mut unconfined) = (Vec::new(), false);
    for option in fields.strings("security_opt")?.unwrap_or_default() {
        if option == "systempaths=unconfined" {
            unconfined = true;
            continue;
        }
        let parts = option.split_once('=').or_else(|| option.split_once(':'));
        match parts {
            None if option == "no-new-privileges" => options.push(option),
            None => {
                let reason = format!("'{option}' is not NAME=VALUE");
                return Err(TranslateError::invalid(at, reason));
            }
            Some(("seccomp", value)) if value != "unconfined" && value != "builtin" => {
                let path = project.working_dir.join(value);
                options.push(format!("seccomp={}", profile(&path, at.clone(), context)?));
            }
            Some(_) => options.push(option),
        }
    }
    Ok((some(options).map_or(Value::Null, Value::from), unconfined))
}

fn profile(path: &PathBuf, at: String, context: &BindContext<'_>) -> Result<String> {
    let what = || format!("the seccomp profile {}", path.display());
    let text = context.seccomp_profiles.get(path);
    let text = text.ok_or_else(|| TranslateError::Undefined { at: at.clone(), what: what() })?;
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return Err(TranslateError::invalid(at, format!("{} is not JSON", what())));
    }
    Ok(compacted(text))
}

/// JSON without the white space between its tokens.
fn compacted(text: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    let keep = |c: &char| {
        let keep = quoted || !c.is_ascii_whitespace();
        quoted = if escaped || *c != '"' { quoted } else { !quoted };
        escaped = quoted && !escaped && *c == '\\';
        keep
    };
    text.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compacting_keeps_white_space_in_strings() {
        let text = "{ \"a b\" :\n[1.0, 2e3],\t\"c\\\" d\": \"\\\\\" , \"e\" : 1 }";
        assert_eq!(compacted(text), "{\"a b\":[1.0,2e3],\"c\\\" d\":\"\\\\\",\"e\":1}");
    }
}
