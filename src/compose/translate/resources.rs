//! Limits, devices and GPUs: the part of `HostConfig` that the engine calls resources.

use serde_json::{Map, Value, json};

use super::error::TranslateError;
use super::fields::Fields;

type Result<T> = std::result::Result<T, TranslateError>;

/// Adds every resource to a host configuration.
pub(super) fn add_resources(fields: &mut Fields<'_>, host: &mut Map<String, Value>) -> Result<()> {
    let swappiness = fields.integer("mem_swappiness")?;
    let pids = fields.integer("pids_limit")?;
    let mut set = |key: &str, value: Value| host.insert(key.into(), value);
    set("CgroupParent", fields.string("cgroup_parent")?.into());
    set("Memory", fields.integer("mem_limit")?.into());
    set("MemorySwap", fields.integer("memswap_limit")?.into());
    set("MemorySwappiness", non_zero(swappiness));
    set("MemoryReservation", fields.integer("mem_reservation")?.into());
    set("OomKillDisable", fields.flag("oom_kill_disable")?.into());
    set("CpuCount", fields.integer("cpu_count")?.into());
    set("CpuPeriod", fields.integer("cpu_period")?.into());
    set("CpuQuota", fields.integer("cpu_quota")?.into());
    set("CpuRealtimePeriod", fields.integer("cpu_rt_period")?.into());
    set("CpuRealtimeRuntime", fields.integer("cpu_rt_runtime")?.into());
    set("CpuShares", fields.integer("cpu_shares")?.into());
    set("NanoCpus", scaled(fields.float("cpus")?, 1e9).into());
    set("CpuPercent", scaled(fields.float("cpu_percent")?, 100.0).into());
    set("CpusetCpus", fields.string("cpuset")?.into());
    set("CpusetMems", "".into());
    set("DeviceCgroupRules", json!(fields.strings("device_cgroup_rules")?));
    set("PidsLimit", non_zero(pids));
    set("IOMaximumIOps", 0.into());
    set("IOMaximumBandwidth", 0.into());
    add_block_io(fields.object("blkio_config")?, host)?;
    let mut requests = Vec::new();
    if let Some(deploy) = fields.object("deploy")? {
        add_deploy(deploy, host, &mut requests)?;
    }
    add_devices(fields, host, &mut requests)?;
    for gpu in fields.objects("gpus")? {
        requests.push(device_request(gpu, true)?);
    }
    let requests = if requests.is_empty() { Value::Null } else { requests.into() };
    host.insert("DeviceRequests".into(), requests);
    host.insert("Ulimits".into(), ulimits(fields)?);
    Ok(())
}

fn non_zero(value: i64) -> Value {
    if value == 0 { Value::Null } else { value.into() }
}

/// Compose multiplies in single precision and cuts off.
#[expect(clippy::cast_possible_truncation, reason = "Compose cuts off")]
fn scaled(value: f32, factor: f32) -> i64 {
    (value * factor) as i64
}

fn add_block_io(config: Option<Fields<'_>>, host: &mut Map<String, Value>) -> Result<()> {
    let rates = [
        ("device_read_bps", "BlkioDeviceReadBps"),
        ("device_read_iops", "BlkioDeviceReadIOps"),
        ("device_write_bps", "BlkioDeviceWriteBps"),
        ("device_write_iops", "BlkioDeviceWriteIOps"),
    ];
    host.insert("BlkioWeight".into(), 0.into());
    for name in rates.map(|(_, name)| name).into_iter().chain(["BlkioWeightDevice"]) {
        host.insert(name.into(), Value::Null);
    }
    let Some(mut config) = config else { return Ok(()) };
    host.insert("BlkioWeight".into(), config.integer("weight")?.into());
    let weights = by_device(config.objects("weight_device")?, "weight", "Weight")?;
    host.insert("BlkioWeightDevice".into(), weights);
    for (key, name) in rates {
        host.insert(name.into(), by_device(config.objects(key)?, "rate", "Rate")?);
    }
    config.finish()
}

/// Entries are canonical as `Path` and `Rate`: compose-go names no JSON keys there.
fn by_device(entries: Vec<Fields<'_>>, key: &str, name: &str) -> Result<Value> {
    let mut out = Vec::new();
    for mut entry in entries {
        let path = [entry.string("Path")?, entry.string("path")?].concat();
        let amount = entry.integer(name)? + entry.integer(key)?;
        entry.finish()?;
        out.push(json!({"Path": path, name: amount}));
    }
    Ok(if out.is_empty() { Value::Null } else { out.into() })
}

/// `deploy`: limits, reservations and the restart policy count; the rest is for Swarm only.
fn add_deploy(
    mut deploy: Fields<'_>,
    host: &mut Map<String, Value>,
    requests: &mut Vec<Value>,
) -> Result<()> {
    deploy.ignore(&["mode", "replicas", "labels", "update_config", "rollback_config"]);
    deploy.ignore(&["placement", "endpoint_mode"]);
    if let Some(mut policy) = deploy.object("restart_policy")? {
        policy.ignore(&["delay", "window"]);
        let name = policy.string("condition")?;
        let attempts = policy.integer("max_attempts")?;
        host.insert("RestartPolicy".into(), restart_policy(&name, attempts));
        policy.finish()?;
    }
    if let Some(mut resources) = deploy.object("resources")? {
        if let Some(mut limits) = resources.object("limits")? {
            limits.ignore(&["devices", "generic_resources"]);
            let memory = limits.integer("memory")?;
            if memory != 0 {
                host.insert("Memory".into(), memory.into());
            }
            let cpus = limits.float("cpus")?;
            if cpus != 0.0 {
                host.insert("NanoCpus".into(), scaled(cpus, 1e9).into());
            }
            let pids = limits.integer("pids")?;
            if pids > 0 {
                host.insert("PidsLimit".into(), pids.into());
            }
            limits.finish()?;
        }
        if let Some(mut reserved) = resources.object("reservations")? {
            reserved.ignore(&["cpus", "pids", "generic_resources"]);
            let memory = reserved.integer("memory")?;
            if memory != 0 {
                host.insert("MemoryReservation".into(), memory.into());
            }
            for device in reserved.objects("devices")? {
                requests.push(device_request(device, false)?);
            }
            reserved.finish()?;
        }
        resources.finish()?;
    }
    deploy.finish()
}

/// `restart` and `deploy.restart_policy` in the engine's words.
pub(super) fn restart_policy(condition: &str, attempts: i64) -> Value {
    let name = match condition {
        "none" => "no",
        "any" => "always",
        other => other,
    };
    json!({"Name": name, "MaximumRetryCount": attempts})
}

fn device_request(mut device: Fields<'_>, gpu: bool) -> Result<Value> {
    let mut capabilities = device.strings("capabilities")?;
    if gpu {
        capabilities.get_or_insert_default().push("gpu".into());
    }
    let request = json!({
        "Driver": device.string("driver")?,
        "Count": count(&mut device)?,
        "DeviceIDs": device.strings("device_ids")?,
        "Capabilities": [capabilities],
        "Options": device.string_map("options")?,
    });
    device.finish()?;
    Ok(request)
}

/// `all` is −1.
fn count(device: &mut Fields<'_>) -> Result<i64> {
    match device.value("count") {
        Some(Value::String(word)) if word.eq_ignore_ascii_case("all") => Ok(-1),
        _ => device.integer("count"),
    }
}

fn add_devices(
    fields: &mut Fields<'_>,
    host: &mut Map<String, Value>,
    requests: &mut Vec<Value>,
) -> Result<()> {
    let (mut devices, mut qualified) = (Vec::new(), Vec::new());
    for mut device in fields.objects("devices")? {
        let (source, target) = (device.string("source")?, device.string("target")?);
        let permissions = device.string("permissions")?;
        device.finish()?;
        if source == target && is_qualified_device(&source) {
            qualified.push(source);
            continue;
        }
        devices.push(json!({
            "PathOnHost": source,
            "PathInContainer": target,
            "CgroupPermissions": permissions,
        }));
    }
    let devices = if devices.is_empty() { Value::Null } else { devices.into() };
    host.insert("Devices".into(), devices);
    if !qualified.is_empty() {
        requests.push(json!({
            "Driver": "cdi",
            "Count": 0,
            "DeviceIDs": qualified,
            "Capabilities": null,
            "Options": null,
        }));
    }
    Ok(())
}

/// `vendor/class=name` of the Container Device Interface.
fn is_qualified_device(device: &str) -> bool {
    let part = |text: &str, inner: &str, letter_first: bool| {
        let plain = |c: char| c.is_ascii_alphanumeric();
        text.starts_with(|c: char| if letter_first { c.is_ascii_alphabetic() } else { plain(c) })
            && text.ends_with(plain)
            && text.chars().all(|c| plain(c) || inner.contains(c))
    };
    let Some((kind, name)) = device.split_once('=') else { return false };
    let Some((vendor, class)) = kind.split_once('/') else { return false };
    part(vendor, "_-.", true) && part(class, "_-", true) && part(name, "_-.:", false)
}

fn ulimits(fields: &mut Fields<'_>) -> Result<Value> {
    let mut out = Vec::new();
    let at = fields.path("ulimits");
    let limits = fields.map("ulimits")?.into_iter().flatten();
    let sorted: std::collections::BTreeMap<_, _> = limits.collect();
    for (name, limit) in sorted {
        let at = format!("{at}.{name}");
        let (soft, hard) = if let Value::Object(map) = limit {
            let mut limit = Fields::new(at, map);
            let single = limit.integer("single")?;
            let (soft, hard) = (limit.integer("soft")?, limit.integer("hard")?);
            limit.finish()?;
            (if soft == 0 { single } else { soft }, if hard == 0 { single } else { hard })
        } else {
            let number = super::scalar::integer(limit);
            let reason = "expected a whole number or soft and hard";
            let number = number.ok_or_else(|| TranslateError::invalid(at, reason))?;
            (number, number)
        };
        out.push(json!({"Name": name, "Hard": hard, "Soft": soft}));
    }
    Ok(if out.is_empty() { Value::Null } else { out.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_vendor_class_name_is_a_qualified_device() {
        for (device, expected) in [
            ("vendor.example/device=gpu0", true),
            ("vendor.example/device=0", true),
            ("/dev/null", false),
            ("vendor/class", false),
            ("9vendor/class=x", false),
            ("vendor/cl.ass=x", false),
            ("vendor/class=", false),
        ] {
            assert_eq!(is_qualified_device(device), expected, "{device}");
        }
    }
}
