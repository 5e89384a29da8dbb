//! The create call that would make a container again as it is, from its `inspect`. Pure.
//!
//! `Config` and `HostConfig` of an `inspect` are what the create call takes (Engine API,
//! `ContainerCreateBody`); the rest is in what the engine derived from them.

use serde_json::{Map, Value, json};

use crate::observed::lenient::{as_text, at};

/// What of an endpoint was asked for, not given by the engine.
const ASKED_FOR: [&str; 4] = ["IPAMConfig", "Links", "DriverOpts", "GwPriority"];

/// The body of that call. `many` says whether the engine takes several endpoints at once; of an
/// older one the planner attaches the rest.
///
/// # Errors
/// What the answer lacks.
pub fn body(inspect: &Value, many: bool) -> Result<Map<String, Value>, String> {
    let part = |name: &str| at(inspect, &[name]).as_object().cloned();
    let mut body = part("Config").ok_or("no Config in the answer")?;
    let mut host = part("HostConfig").ok_or("no HostConfig in the answer")?;
    let (id, image) = (as_text(at(inspect, &["Id"])), as_text(at(inspect, &["Image"])));
    if id.is_empty() || image.is_empty() {
        return Err("no Id or Image in the answer".into());
    }
    let short = id.get(..12).unwrap_or(&id).to_owned();
    // The reference may name another image by now.
    body.insert("Image".into(), image.into());
    if body.get("Hostname").is_some_and(|name| as_text(name) == short) {
        body.remove("Hostname");
    }
    volumes(inspect, &mut host);
    let mode = host.get("NetworkMode").map(as_text).unwrap_or_default();
    body.insert("HostConfig".into(), Value::Object(host));
    let shares = mode.starts_with("container:") || matches!(mode.as_str(), "host" | "none");
    if !shares {
        let endpoints = endpoints(inspect, &short, (!many).then_some(mode.as_str()));
        body.insert("NetworkingConfig".into(), json!({"EndpointsConfig": endpoints}));
    }
    Ok(body)
}

/// Volumes that nobody named are mounted again by the names that the engine gave them.
fn volumes(inspect: &Value, host: &mut Map<String, Value>) {
    let mut binds: Vec<String> = entries(host.get("Binds")).map(as_text).collect();
    let mut named: Vec<String> =
        binds.iter().filter_map(|bind| bind.split(':').nth(1).map(str::to_owned)).collect();
    named.extend(entries(host.get("Mounts")).map(|mount| as_text(at(mount, &["Target"]))));
    let from_others = entries(host.get("VolumesFrom")).next().is_some();
    for mount in entries(inspect.get("Mounts")) {
        let text = |name: &str| as_text(at(mount, &[name]));
        let target = text("Destination");
        if text("Type") != "volume" || named.contains(&target) || from_others {
            continue;
        }
        let mode = if at(mount, &["RW"]) == &Value::Bool(false) { ":ro" } else { "" };
        binds.push(format!("{}:{target}{mode}", text("Name")));
    }
    if !binds.is_empty() {
        host.insert("Binds".into(), binds.into());
    }
}

fn entries(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

fn endpoints(inspect: &Value, short: &str, only: Option<&str>) -> Map<String, Value> {
    let networks = at(inspect, &["NetworkSettings", "Networks"]).as_object();
    let wanted = networks.into_iter().flatten().filter(|(name, endpoint)| {
        let id = as_text(at(endpoint, &["NetworkID"]));
        only.is_none_or(|only| only == name.as_str() || only == id)
    });
    wanted
        .map(|(name, endpoint)| {
            let mut made = Map::new();
            for key in ASKED_FOR {
                let value = at(endpoint, &[key]);
                if !value.is_null() {
                    made.insert(key.into(), value.clone());
                }
            }
            // The engine adds the container's own ID.
            let aliases = entries(endpoint.get("Aliases")).map(as_text).filter(|a| a != short);
            made.insert("Aliases".into(), aliases.collect::<Vec<_>>().into());
            (name.clone(), Value::Object(made))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspected() -> Value {
        let id = "0123456789abcdef".repeat(4);
        json!({
            "Id": id,
            "Image": "sha256:aaaa",
            "Config": {
                "Hostname": "0123456789ab", "Image": "app:1", "Env": ["MODE=old"],
                "Labels": {"com.docker.compose.service": "web"},
            },
            "HostConfig": {
                "NetworkMode": "p_back", "Binds": ["p_data:/data:rw"],
                "Mounts": [{"Type": "bind", "Source": "/etc/x", "Target": "/x"}],
            },
            "Mounts": [
                {"Type": "volume", "Name": "p_data", "Destination": "/data", "RW": true},
                {"Type": "volume", "Name": "f00d", "Destination": "/cache", "RW": true},
                {"Type": "bind", "Source": "/etc/x", "Destination": "/x", "RW": true},
            ],
            "NetworkSettings": {"Networks": {
                "p_back": {
                    "NetworkID": "n1", "Aliases": ["web", "0123456789ab"], "IPAddress": "10.0.0.9",
                    "IPAMConfig": {"IPv4Address": "10.0.0.9"}, "Links": null,
                },
                "p_front": {"NetworkID": "n2", "Aliases": ["web"], "IPAMConfig": null},
            }},
        })
    }

    #[test]
    fn a_container_is_asked_for_again_with_all_that_was_asked_for() {
        let body = Value::Object(body(&inspected(), true).expect("a body"));
        assert_eq!(
            body,
            json!({
                "Image": "sha256:aaaa", "Env": ["MODE=old"],
                "Labels": {"com.docker.compose.service": "web"},
                "HostConfig": {
                    "NetworkMode": "p_back", "Binds": ["p_data:/data:rw", "f00d:/cache"],
                    "Mounts": [{"Type": "bind", "Source": "/etc/x", "Target": "/x"}],
                },
                "NetworkingConfig": {"EndpointsConfig": {
                    "p_back": {"Aliases": ["web"], "IPAMConfig": {"IPv4Address": "10.0.0.9"}},
                    "p_front": {"Aliases": ["web"]},
                }},
            })
        );
    }

    #[test]
    fn an_older_engine_gets_the_first_network_only() {
        let body = body(&inspected(), false).expect("a body");
        let endpoints = at(&body["NetworkingConfig"], &["EndpointsConfig"]);
        let names: Vec<&String> = endpoints.as_object().expect("a map").keys().collect();
        assert_eq!(names, ["p_back"]);
    }

    #[test]
    fn a_shared_namespace_has_no_endpoints_and_half_an_answer_is_refused() {
        let mut shared = inspected();
        shared["HostConfig"]["NetworkMode"] = "container:77".into();
        assert!(!body(&shared, true).expect("a body").contains_key("NetworkingConfig"));
        assert!(body(&json!({"Id": "a", "Config": {}}), true).is_err());
    }
}
