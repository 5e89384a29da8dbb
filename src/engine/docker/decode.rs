//! Engine JSON to seam types, leniently: unknown fields and words never fail, null is empty, and
//! a bad row of a list is skipped and counted instead of spoiling the list.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::engine::types::{
    Capabilities, ContainerId, ContainerSummary, EngineEvent, EngineInfo, ImageSummary,
    NetworkSummary, VolumeSummary,
};
use crate::observed::lenient::{
    address, as_text, at, entries, flag, int, list, non_empty, text, text_map, texts,
};
use crate::observed::normalise;

/// A decoded list.
#[derive(Debug, PartialEq)]
pub(super) struct Rows<T> {
    /// Rows that make sense.
    pub rows: Vec<T>,
    /// How many didn't.
    pub skipped: usize,
}

/// Decodes a list row by row. `key` names the field that holds the list, when the answer is an
/// object.
pub(super) fn rows<T>(
    body: &[u8],
    key: Option<&str>,
    decode: impl Fn(&Value) -> Option<T>,
) -> Result<Rows<T>, String> {
    let raw: Option<Vec<&RawValue>> = match key {
        None => serde_json::from_slice(body).map_err(|e| e.to_string())?,
        Some(key) => {
            let mut object: std::collections::BTreeMap<String, &RawValue> =
                serde_json::from_slice(body).map_err(|e| e.to_string())?;
            match object.remove(key) {
                Some(list) => serde_json::from_str(list.get()).map_err(|e| e.to_string())?,
                None => None,
            }
        }
    };
    let raw = raw.unwrap_or_default();
    let count = raw.len();
    let rows: Vec<T> = raw
        .into_iter()
        .filter_map(|row| decode(&serde_json::from_str::<Value>(row.get()).ok()?))
        .collect();
    Ok(Rows { skipped: count - rows.len(), rows })
}

/// A whole answer as JSON.
pub(super) fn json(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|e| e.to_string())
}

/// One row of `/containers/json`.
pub(super) fn container(row: &Value) -> Option<ContainerSummary> {
    // A container linked by others has a name for each link, `/other/alias`; its own has one
    // slash.
    let names = texts(row, "Names");
    let own = names.iter().find(|name| name.trim_start_matches('/').split('/').count() == 1);
    let created = match at(row, &["Created"]) {
        Value::String(time) => Timestamp::parse(time),
        _ => int(row, "Created").map(|seconds| Timestamp(seconds.saturating_mul(1000))),
    };
    Some(ContainerSummary {
        id: ContainerId(non_empty(row, "Id")?),
        name: own
            .or(names.first())
            .map_or_else(String::new, |n| n.trim_start_matches('/').to_owned()),
        image: text(row, "Image"),
        image_id: text(row, "ImageID"),
        labels: text_map(row, "Labels"),
        state: normalise::state(&text(row, "State")),
        status: text(row, "Status"),
        created: created.unwrap_or_default(),
        network_mode: as_text(at(row, &["HostConfig", "NetworkMode"])),
        networks: entries(at(row, &["NetworkSettings"]), "Networks")
            .map(|(name, endpoint)| {
                (name.clone(), (text(endpoint, "NetworkID"), address(&text(endpoint, "IPAddress"))))
            })
            .collect(),
        mounts: normalise::mounts_from(row),
        published: normalise::ports_from_list(row),
    })
}

/// One row of `/networks`, or `/networks/{id}`.
pub(super) fn network(row: &Value) -> Option<NetworkSummary> {
    let ipam = at(row, &["IPAM"]);
    let of = |key: &str| -> Vec<String> {
        list(ipam, "Config").iter().filter_map(|pool| non_empty(pool, key)).collect()
    };
    Some(NetworkSummary {
        id: non_empty(row, "Id")?,
        name: text(row, "Name"),
        driver: text(row, "Driver"),
        scope: text(row, "Scope"),
        labels: text_map(row, "Labels"),
        subnets: of("Subnet"),
        gateways: of("Gateway"),
        members: entries(row, "Containers")
            .map(|(id, member)| (id.clone(), address(&text(member, "IPv4Address"))))
            .collect(),
        created: Timestamp::parse(&text(row, "Created")).unwrap_or_default(),
    })
}

/// One row of `/volumes`.
pub(super) fn volume(row: &Value) -> Option<VolumeSummary> {
    Some(VolumeSummary {
        name: non_empty(row, "Name")?,
        driver: text(row, "Driver"),
        labels: text_map(row, "Labels"),
    })
}

/// One row of `/images/json`. `<none>:<none>` stands for no reference in old engines.
pub(super) fn image(row: &Value) -> Option<ImageSummary> {
    let of = |key: &str| -> Vec<String> {
        texts(row, key).into_iter().filter(|reference| !reference.contains("<none>")).collect()
    };
    Some(ImageSummary {
        id: non_empty(row, "Id")?,
        tags: of("RepoTags"),
        digests: of("RepoDigests"),
    })
}

/// One line of `/events`; `None` when it isn't an event.
pub(super) fn event(line: &[u8]) -> Option<EngineEvent> {
    let json: Value = serde_json::from_slice(line).ok()?;
    let actor = at(&json, &["Actor"]);
    let time_nano = int(&json, "timeNano")
        .or_else(|| Some(int(&json, "time")?.saturating_mul(1_000_000_000)))
        .unwrap_or(0);
    Some(EngineEvent {
        kind: non_empty(&json, "Type")?,
        action: non_empty(&json, "Action").or_else(|| non_empty(&json, "status"))?,
        actor: non_empty(actor, "ID").or_else(|| non_empty(&json, "id")).unwrap_or_default(),
        attributes: text_map(actor, "Attributes"),
        time_nano,
    })
}

/// `/info`. `local` says that the endpoint is on this host.
pub(super) fn info(json: &Value, api: (u32, u32), local: bool) -> EngineInfo {
    let security_options = texts(json, "SecurityOptions");
    let rootless =
        security_options.iter().any(|o| o.contains("rootless")) || flag(json, "Rootless");
    // Docker Desktop runs its engine in a virtual machine behind a local socket.
    let desktop = text(json, "OperatingSystem").starts_with("Docker Desktop");
    let mut runtimes: Vec<String> =
        entries(json, "Runtimes").map(|(name, _)| name.clone()).collect();
    runtimes.sort();
    EngineInfo {
        id: text(json, "ID"),
        name: text(json, "Name"),
        version: text(json, "ServerVersion"),
        os_type: text(json, "OSType"),
        security_options,
        runtimes,
        capabilities: Capabilities {
            api,
            many_endpoints_at_create: api >= (1, 44),
            addresses_reachable: local && !rootless && !desktop && cfg!(target_os = "linux"),
            swarm: as_text(at(json, &["Swarm", "LocalNodeState"])) == "active",
        },
    }
}

#[cfg(test)]
mod tests;
