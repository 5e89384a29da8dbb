//! Which settings a container was made with, as digests: two configurations can be compared
//! setting by setting, and named, without keeping either of them. Values may be secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::lenient::{as_text, at};

/// Labels of Docker Compose tell how a container came about, not what it is.
const NOT_SETTINGS: &str = "com.docker.compose.";
/// Settings kept of one container; of more, the rest isn't told apart.
const MOST: usize = 512;

/// What an engine leaves empty unless somebody asked for it. Everything else it fills in itself,
/// from the image or from its own defaults.
const EMPTY_BY_DEFAULT: [&str; 17] = [
    "Binds",
    "CapAdd",
    "CapDrop",
    "CpuShares",
    "DeviceRequests",
    "Devices",
    "Dns",
    "ExtraHosts",
    "GroupAdd",
    "Init",
    "Memory",
    "Mounts",
    "NanoCpus",
    "PortBindings",
    "Privileged",
    "ReadonlyRootfs",
    "RestartPolicy",
];

/// Keys of the engine's API, and the words of a Compose file for them.
const WORDS: [(&str, &str); 24] = [
    ("Binds", "volumes"),
    ("CapAdd", "cap_add"),
    ("CapDrop", "cap_drop"),
    ("Cmd", "command"),
    ("CpuShares", "cpu_shares"),
    ("DeviceRequests", "gpus"),
    ("ExposedPorts", "ports"),
    ("ExtraHosts", "extra_hosts"),
    ("GroupAdd", "group_add"),
    ("IpcMode", "ipc"),
    ("LogConfig", "logging"),
    ("Memory", "mem_limit"),
    ("Mounts", "volumes"),
    ("NanoCpus", "cpus"),
    ("NetworkMode", "networks"),
    ("OpenStdin", "stdin_open"),
    ("PidMode", "pid"),
    ("PidsLimit", "pids_limit"),
    ("PortBindings", "ports"),
    ("ReadonlyRootfs", "read_only"),
    ("RestartPolicy", "restart"),
    ("SecurityOpt", "security_opt"),
    ("ShmSize", "shm_size"),
    ("StopTimeout", "stop_grace_period"),
];

/// The settings of one container, by name. Its `Debug` shows the names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<String, [u8; 8]>);

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Fields {
    /// As `inspect` shows them.
    pub fn of_inspect(inspect: &Value) -> Self {
        let mut fields = Self::default();
        fields.take(at(inspect, &["Config"]));
        fields.take(at(inspect, &["HostConfig"]));
        fields
    }

    /// As a create call asks for them.
    pub fn of_body(body: &Map<String, Value>) -> Self {
        let mut fields = Self::default();
        for (key, value) in body {
            match key.as_str() {
                "HostConfig" => fields.take(value),
                "NetworkingConfig" => {}
                _ => fields.one(key, value),
            }
        }
        fields
    }

    /// Nothing was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, settings: &Value) {
        for (key, value) in settings.as_object().into_iter().flatten() {
            self.one(key, value);
        }
    }

    fn one(&mut self, key: &str, value: &Value) {
        match (key, value) {
            ("Env", Value::Array(entries)) => {
                for entry in entries {
                    let entry = as_text(entry);
                    let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
                    self.put(format!("environment.{name}"), value.as_bytes());
                }
            }
            ("Labels", Value::Object(labels)) => {
                for (name, value) in labels.iter().filter(|(n, _)| !n.starts_with(NOT_SETTINGS)) {
                    self.put(format!("labels.{name}"), as_text(value).as_bytes());
                }
            }
            ("RestartPolicy", policy) => {
                let name = as_text(at(policy, &["Name"]));
                if !matches!(name.as_str(), "" | "no") {
                    let most = as_text(at(policy, &["MaximumRetryCount"]));
                    let most = if most == "0" { String::new() } else { most };
                    self.put(key.to_owned(), format!("{name}:{most}").as_bytes());
                }
            }
            _ => {
                if !is_empty(value) {
                    self.put(key.to_owned(), sorted(value).to_string().as_bytes());
                }
            }
        }
    }

    fn put(&mut self, name: String, value: &[u8]) {
        if self.0.len() < MOST {
            let mut short = [0; 8];
            short.copy_from_slice(&Sha256::digest(value)[..8]);
            self.0.insert(name, short);
        }
    }

    /// The settings, in a Compose file's words, that `self` asks for and `found` has otherwise, or
    /// that `found` has and `self` doesn't ask for. A variable that only `found` has may come from
    /// its image and isn't named.
    pub fn differing(&self, found: &Self) -> Vec<String> {
        let asked = self.0.iter().filter(|(name, value)| found.0.get(*name) != Some(*value));
        let more = found.0.keys().filter(|name| {
            EMPTY_BY_DEFAULT.contains(&name.as_str()) && !self.0.contains_key(*name)
        });
        let names: BTreeSet<String> =
            asked.map(|(name, _)| name).chain(more).map(|name| word(name)).collect();
        names.into_iter().collect()
    }
}

fn word(name: &str) -> String {
    if let Some((_, word)) = WORDS.iter().find(|(key, _)| *key == name) {
        return (*word).to_owned();
    }
    if name.contains('.') {
        return name.to_owned();
    }
    let mut word = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

/// What an engine shows for a setting that nobody made.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.values().all(is_empty),
    }
}

/// The same value whatever the order of its keys; empty parts left out.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let by_name: BTreeMap<&String, &Value> = entries.iter().collect();
            let kept = by_name.into_iter().filter(|(_, value)| !is_empty(value));
            Value::Object(kept.map(|(name, value)| (name.clone(), sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(value: Value) -> Fields {
        let Value::Object(map) = value else { panic!("an object") };
        Fields::of_body(&map)
    }

    #[test]
    fn what_the_engine_and_the_image_fill_in_is_no_difference() {
        let wanted = body(json!({
            "Image": "bot:1", "Env": ["MODE=a"], "Hostname": "", "Cmd": null,
            "Labels": {"com.docker.compose.project": "p"},
            "HostConfig": {"NetworkMode": "p_default", "PortBindings": {}}
        }));
        let found = Fields::of_inspect(&json!({
            "Config": {
                "Image": "bot:1", "Env": ["PATH=/bin", "MODE=a"], "Hostname": "0123456789ab",
                "Cmd": ["serve"], "Labels": {"com.docker.compose.oneoff": "False", "from": "image"}
            },
            "HostConfig": {
                "NetworkMode": "p_default", "PortBindings": {}, "ShmSize": 67108864,
                "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "Privileged": false,
                "LogConfig": {"Type": "json-file", "Config": {}}, "Binds": null
            }
        }));
        assert_eq!(wanted.differing(&found), Vec::<String>::new());
    }

    #[test]
    fn differences_are_named_in_the_words_of_a_compose_file() {
        let wanted = body(json!({
            "Image": "bot:2", "Env": ["MODE=b", "NEW=1"], "Labels": {"tier": "web"},
            "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}}
        }));
        let found = Fields::of_inspect(&json!({
            "Config": {"Image": "bot:1", "Env": ["MODE=a", "OLD=1"], "Labels": {}},
            "HostConfig": {
                "Privileged": true, "Binds": ["/srv:/data:rw"],
                "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}
            }
        }));
        let names = [
            "environment.MODE",
            "environment.NEW",
            "image",
            "labels.tier",
            "ports",
            "privileged",
            "restart",
            "volumes",
        ];
        assert_eq!(wanted.differing(&found), names);
    }

    #[test]
    fn the_order_of_keys_and_empty_parts_are_no_difference() {
        let check = |first| body(json!({"Healthcheck": first}));
        let one = check(json!({"Test": ["CMD", "a"], "Retries": 3, "StartPeriod": 0}));
        let other = check(json!({"Retries": 3, "Test": ["CMD", "a"]}));
        assert_eq!(one, other);
        let changed = check(json!({"Retries": 4, "Test": ["CMD", "a"]}));
        assert_eq!(one.differing(&changed), ["healthcheck"]);
    }

    #[test]
    fn values_are_never_shown() {
        let fields = body(json!({"Env": ["TOKEN=hunter2"]}));
        assert_eq!(format!("{fields:?}"), r#"{"environment.TOKEN"}"#);
    }
}
