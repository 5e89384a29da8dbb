//! Recorded payloads as typed projects.

use std::fs;
use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::super::*;
use crate::compose::types::{FileObject, Network, Volume};

pub const PAYLOADS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compose/payloads");

/// Service attributes in the order of compose-go's structure, without those left out of hashes.
const HASHED: &str = "annotations attach develop blkio_config cap_add cap_drop cgroup_parent cgroup
    cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpus cpuset cpu_shares
    command configs container_name credential_spec deploy device_cgroup_rules devices dns dns_opt
    dns_search domainname entrypoint provider environment env_file expose external_links
    extra_hosts group_add gpus hostname healthcheck image init ipc isolation labels label_file
    links logging mem_limit mem_reservation memswap_limit mem_swappiness mac_address models
    network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform ports privileged
    read_only restart runtime secrets security_opt shm_size stdin_open stop_grace_period
    stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode uts volumes
    volumes_from working_dir pre_start post_start pre_stop";

/// One recorded project.
pub struct Case {
    pub name: String,
    pub project: Project,
    pub settings: Value,
    pub creates: Vec<Value>,
    pub images: BTreeMap<String, String>,
}

pub fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub fn cases() -> Vec<Case> {
    let mut folders: Vec<_> = fs::read_dir(PAYLOADS)
        .expect("payloads are there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.join("canonical.json").exists())
        .collect();
    folders.sort();
    assert!(folders.len() >= 70, "only {} payloads", folders.len());
    folders.iter().map(|folder| case(folder)).collect()
}

/// One payload by its folder's name.
pub fn named(name: &str) -> Case {
    case(&Path::new(PAYLOADS).join(name))
}

fn case(folder: &Path) -> Case {
    let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
    let settings = folder.join("case.json");
    let settings = if settings.exists() { read(&settings) } else { json!({}) };
    let project = project(&name, &read(&folder.join("canonical.json")), &settings);
    let creates = read(&folder.join("create.json")).as_array().expect("a list").clone();
    let zeros = format!("sha256:{}", "0".repeat(64));
    let images = ["translate/empty:1", "translate/volume:1"];
    let images = images.map(|image| (image.to_owned(), zeros.clone())).into();
    Case { name, project, settings, creates, images }
}

/// Stands where the loader will: the typed fields that this module reads.
fn project(name: &str, canonical: &Value, settings: &Value) -> Project {
    let entries = |key: &str| {
        let map = canonical[key].as_object().cloned().unwrap_or_default();
        map.into_iter().map(|(key, value)| {
            let value = value.as_object().cloned().unwrap_or_default();
            (key, value)
        })
    };
    let text = |map: &Map<String, Value>, key: &str| Some(map.get(key)?.as_str()?.to_owned());
    let external = |map: &Map<String, Value>| map.get("external") == Some(&json!(true));
    let working_dir = PathBuf::from("/tmp/payloads").join(name);
    let file_object = |(key, map): (String, Map<String, Value>)| {
        let environment = text(&map, "environment");
        let value = environment.as_ref().map(|name| &settings["environment"][name]);
        let content = value.and_then(|v| v.as_str().map(String::from));
        let object = FileObject {
            key: key.clone(),
            name: text(&map, "name").unwrap_or_default(),
            file: text(&map, "file").map(PathBuf::from),
            environment,
            content: content.or_else(|| text(&map, "content")).map(Sensitive::new),
            external: external(&map),
            canonical: map.into(),
        };
        (key, object)
    };
    Project {
        name: canonical["name"].as_str().expect("a name").into(),
        config_files: vec![working_dir.join("compose.yaml")],
        working_dir,
        services: entries("services")
            .map(|(name, map)| {
                let service = Service {
                    name: name.clone(),
                    image: text(&map, "image"),
                    container_name: text(&map, "container_name"),
                    canonical: map.into(),
                    ..Service::default()
                };
                (name, service)
            })
            .collect(),
        networks: entries("networks")
            .map(|(key, map)| {
                let network = Network {
                    key: key.clone(),
                    name: text(&map, "name").expect("a name"),
                    external: external(&map),
                    canonical: map.into(),
                    ..Network::default()
                };
                (key, network)
            })
            .collect(),
        volumes: entries("volumes")
            .map(|(key, map)| {
                let volume = Volume {
                    key: key.clone(),
                    name: text(&map, "name").expect("a name"),
                    external: external(&map),
                    canonical: map.into(),
                    ..Volume::default()
                };
                (key, volume)
            })
            .collect(),
        secrets: entries("secrets").map(file_object).collect(),
        configs: entries("configs").map(file_object).collect(),
        ..Project::default()
    }
}

/// Compose's service hash of a canonical tree, independent of the one that the loader brings.
fn service_hash(canonical: &Map<String, Value>) -> String {
    let mut tree = Map::new();
    for key in HASHED.split_whitespace() {
        tree.extend(canonical.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    if let Some(deploy) = tree.get_mut("deploy").and_then(Value::as_object_mut) {
        deploy.shift_remove("replicas");
    }
    let mut text = Value::Object(tree).to_string();
    for c in ['<', '>', '&', '\u{2028}', '\u{2029}'] {
        text = text.replace(c, &format!("\\u{:04x}", u32::from(c)));
    }
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Case {
    pub fn label<'a>(create: &'a Value, name: &str) -> &'a str {
        create["body"]["Labels"][format!("com.docker.compose.{name}")].as_str().expect("a label")
    }

    fn parents(&self) -> ParentIds {
        let mut ids = ParentIds::default();
        for create in &self.creates {
            let parent = Parent {
                id: create["id"].as_str().expect("an ID").into(),
                name: create["name"].as_str().expect("a name").into(),
            };
            ids.0.entry(Self::label(create, "service").into()).or_default().push(parent);
        }
        ids
    }

    fn api(&self) -> (u32, u32) {
        let text = self.settings["api"].as_str().unwrap_or("1.41");
        let (major, minor) = text.split_once('.').expect("a version");
        (major.parse().expect("digits"), minor.parse().expect("digits"))
    }

    pub fn bind(
        &self,
        service: &Service,
        number: u32,
        replaces: Option<&Replaced>,
    ) -> Result<Bound, TranslateError> {
        let folder = &self.project.working_dir;
        let args = self.settings["args"].as_array().into_iter().flatten();
        let words: Vec<&str> = args.filter_map(Value::as_str).collect();
        let env_files: Vec<PathBuf> = words
            .windows(2)
            .filter(|pair| pair[0] == "--env-file")
            .map(|pair| folder.join(pair[1]))
            .collect();
        let files = self.settings["files"].as_object().into_iter().flatten();
        let seccomp_profiles = files
            .map(|(name, text)| (folder.join(name), text.as_str().expect("text").into()))
            .collect();
        let context = BindContext {
            api: self.api(),
            replaces,
            env_files: &env_files,
            images: &self.images,
            seccomp_profiles: &seccomp_profiles,
            proxy_environment: &proxy_environment(&self.settings),
            hash: &service_hash,
        };
        let image_id = &self.images["translate/empty:1"];
        bind(service, &self.project, &self.parents(), image_id, number, &context)
    }
}

/// What Docker's client makes of its `proxies`: both spellings of each variable.
fn proxy_environment(settings: &Value) -> BTreeMap<String, Sensitive<String>> {
    let proxies = &settings["docker_config"]["proxies"]["default"];
    let mut out = BTreeMap::new();
    for (key, name) in [("httpProxy", "HTTP_PROXY"), ("noProxy", "NO_PROXY")] {
        if let Some(value) = proxies[key].as_str() {
            out.insert(name.to_owned(), value.to_owned().into());
            out.insert(name.to_lowercase(), value.to_owned().into());
        }
    }
    out
}

pub fn replaced(create: &Value, settings: &Value) -> Option<Replaced> {
    let old = create["replaces"].as_object()?;
    let text = |mount: &Value, key: &str| mount[key].as_str().expect("text").to_owned();
    let mounts = old["mounts"].as_array().expect("a list").iter();
    let mounts = mounts
        .map(|mount| observed::Mount {
            kind: text(mount, "Type"),
            name: text(mount, "Name"),
            source: text(mount, "Source"),
            destination: text(mount, "Destination"),
            rw: mount["RW"] == json!(true),
        })
        .collect();
    let id = old["id"].as_str().expect("an ID").into();
    let declared = settings["image_volumes"].as_array().into_iter().flatten();
    let image_volumes = declared.map(|path| path.as_str().expect("text").to_owned()).collect();
    Some(Replaced { id, mounts, image_volumes })
}
