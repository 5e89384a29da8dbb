//! Compares every recorded payload (`tests/compose/payloads`) with ours.

use std::fs;
use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::*;
use crate::compose::types::{FileObject, Network, Volume};

const PAYLOADS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compose/payloads");

/// What we refuse, and where. Compose refuses the first group too.
const REFUSED: &[(&str, &str)] = &[
    ("10-health-start-interval-alone", "services.web.healthcheck.start_interval"),
    ("17-image-mount-old", "services.web.volumes[0].type"),
    ("63-link-local", "services.web.networks.default.interface_name"),
    ("64-interface-name", "services.web.networks.default.interface_name"),
    ("65-external-secret", "secrets.s.external"),
    ("72-mac-mismatch", "services.web.mac_address"),
    // Compose runs hooks, carries its own credentials, ignores a Windows option, and creates a
    // container that it can't start.
    ("58-hooks", "services.web.post_start"),
    ("62-api-socket", "services.web.use_api_socket"),
    ("68-credential-spec", "services.web.credential_spec"),
    ("73-read-only-inline", "services.web.read_only"),
];

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
struct Case {
    name: String,
    project: Project,
    settings: Value,
    creates: Vec<Value>,
    images: BTreeMap<String, String>,
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn cases() -> Vec<Case> {
    let mut folders: Vec<_> = fs::read_dir(PAYLOADS)
        .expect("payloads are there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.join("canonical.json").exists())
        .collect();
    folders.sort();
    assert!(folders.len() >= 70, "only {} payloads", folders.len());
    folders.iter().map(|folder| case(folder)).collect()
}

fn case(folder: &Path) -> Case {
    let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
    let settings = folder.join("case.json");
    let settings = if settings.exists() { read(&settings) } else { json!({}) };
    let project = project(&name, &read(&folder.join("canonical.json")), &settings);
    let creates = read(&folder.join("create.json")).as_array().expect("a list").clone();
    let zeros = format!("sha256:{}", "0".repeat(64));
    let images = BTreeMap::from([("translate/empty:1".to_owned(), zeros)]);
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
    fn label<'a>(create: &'a Value, name: &str) -> &'a str {
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

    fn bind(
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
            hash: &service_hash,
        };
        let image_id = &self.images["translate/empty:1"];
        bind(service, &self.project, &self.parents(), image_id, number, &context)
    }
}

fn replaced(create: &Value) -> Option<Replaced> {
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
    Some(Replaced { id, mounts, ..Replaced::default() })
}

/// The places where two trees differ.
fn differences(at: &str, theirs: &Value, ours: &Value, out: &mut Vec<String>) {
    if let (Value::Object(a), Value::Object(b)) = (theirs, ours) {
        let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
        for key in keys {
            match (a.get(key), b.get(key)) {
                (Some(a), Some(b)) => differences(&format!("{at}.{key}"), a, b, out),
                (a, b) => out.push(format!("{at}.{key}: Compose {a:?}, we {b:?}")),
            }
        }
    } else if theirs != ours {
        out.push(format!("{at}: Compose {theirs}, we {ours}"));
    }
}

#[test]
fn container_bodies_equal_those_of_compose() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for case in cases().iter().filter(|c| REFUSED.iter().all(|(name, _)| c.name != *name)) {
        let scale = |s: &Service| {
            let canonical = s.canonical.expose();
            let replicas = canonical.get("deploy").and_then(|deploy| deploy.get("replicas"));
            canonical.get("scale").or(replicas).and_then(Value::as_u64).unwrap_or(1)
        };
        let expected: u64 = case.project.services.values().map(scale).sum();
        assert_eq!(case.creates.len() as u64, expected, "{}: containers", case.name);
        for create in &case.creates {
            let service = &case.project.services[Case::label(create, "service")];
            let number = Case::label(create, "container-number").parse().expect("a number");
            let at = format!("{} {}", case.name, service.name);
            let bound = match case.bind(service, number, replaced(create).as_ref()) {
                Ok(bound) => bound,
                Err(error) => {
                    wrong.push(format!("{at}: {error}"));
                    continue;
                }
            };
            compared += 1;
            if create["name"] != json!(bound.name) {
                wrong.push(format!("{at}: name {} and {}", create["name"], bound.name));
            }
            if bound.hash != Case::label(create, "config-hash") {
                wrong.push(format!("{at}: the hash isn't that of the label"));
            }
            let ours = Value::Object(bound.body.expose().clone());
            differences(&at, &create["body"], &ours, &mut wrong);
            let later = bound.later_endpoints.into_iter().map(|later| {
                let network = &case.project.networks[&later.network_key].name;
                json!({"network": network, "endpoint": later.endpoint})
            });
            differences(
                &format!("{at} connects"),
                &create["connects"],
                &later.collect(),
                &mut wrong,
            );
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared >= 80, "only {compared} bodies compared");
}

#[test]
fn network_and_volume_bodies_equal_those_of_compose() {
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for case in cases() {
        let project = &case.project;
        for (file, bodies) in [
            (
                "network.json",
                project
                    .networks
                    .values()
                    .filter(|network| !network.external)
                    .map(|network| network_body(project, network))
                    .collect::<Vec<_>>(),
            ),
            (
                "volume.json",
                project
                    .volumes
                    .values()
                    .filter(|volume| !volume.external)
                    .map(|volume| volume_body(project, volume))
                    .collect(),
            ),
        ] {
            let theirs = read(&Path::new(PAYLOADS).join(&case.name).join(file));
            let mut ours: Vec<Value> = bodies
                .into_iter()
                .map(|body| Value::Object(body.expect("translates").into_inner()))
                .collect();
            ours.sort_by_key(|body| body["Name"].to_string());
            let theirs = theirs.as_array().expect("a list");
            assert_eq!(theirs.len(), ours.len(), "{} {file}", case.name);
            for (theirs, ours) in theirs.iter().zip(&ours) {
                compared += 1;
                differences(&format!("{} {file}", case.name), theirs, ours, &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared >= 60, "only {compared} bodies compared");
}

fn place(error: &TranslateError) -> &str {
    match error {
        TranslateError::Unsupported { at }
        | TranslateError::Invalid { at, .. }
        | TranslateError::Undefined { at, .. }
        | TranslateError::ParentMissing { at, .. }
        | TranslateError::NeedsApi { at, .. } => at,
    }
}

#[test]
fn refusals_name_the_attribute() {
    let cases = cases();
    for (name, at) in REFUSED {
        let case = cases.iter().find(|case| case.name == *name).expect("recorded");
        let service = case.project.services.values().next().expect("a service");
        let error = case.bind(service, 1, None).expect_err(name);
        assert_eq!(place(&error), *at, "{name}");
        let theirs = Path::new(PAYLOADS).join(name).join("error.txt");
        assert_eq!(theirs.exists(), case.creates.is_empty(), "{name}");
    }
    for case in cases.iter().filter(|case| case.creates.is_empty()) {
        assert!(REFUSED.iter().any(|(name, _)| case.name == *name), "{}", case.name);
    }
}

#[test]
fn inline_files_are_listed_for_copying() {
    let cases = cases();
    let case = cases.iter().find(|case| case.name == "52-secrets").expect("recorded");
    let service = &case.project.services["web"];
    let bound = case.bind(service, 1, None).expect("translates");
    let copied: Vec<_> = bound
        .files_to_copy
        .iter()
        .map(|f| (f.target.as_str(), f.content.expose(), f.mode))
        .collect();
    let (secret, inline) = ("t0ken".to_owned(), "a=$b\n".to_owned());
    assert_eq!(copied, [("/run/secrets/envsecret", &secret, 0o444), ("/inline", &inline, 0o444)]);
    assert_eq!(bound.warnings.len(), 1, "{:?}", bound.warnings);
}

/// Maps whose keys are the user's, and subtrees that only others read.
const FREE: &[&str] = &[
    "annotations",
    "build",
    "depends_on",
    "develop",
    "driver_opts",
    "environment",
    "labels",
    "networks",
    "options",
    "placement",
    "storage_opt",
    "sysctls",
    "ulimits",
    "update_config",
];

/// Pointers to every map of a tree that has a fixed set of keys.
fn fixed_maps(at: &str, key: &str, value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if !FREE.contains(&key) {
                out.push(at.to_owned());
            }
            if !["build", "develop", "placement", "update_config"].contains(&key) {
                for (key, value) in map {
                    fixed_maps(&format!("{at}/{key}"), key, value, out);
                }
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                fixed_maps(&format!("{at}/{index}"), "", value, out);
            }
        }
        _ => {}
    }
}

#[test]
fn an_attribute_that_nobody_reads_is_an_error_at_every_depth() {
    let mut tried = 0;
    for case in cases().iter().filter(|c| REFUSED.iter().all(|(name, _)| c.name != *name)) {
        for service in case.project.services.values() {
            let tree = Value::Object(service.canonical.expose().clone());
            let mut places = Vec::new();
            fixed_maps("", "", &tree, &mut places);
            for at in places {
                let mut tree = tree.clone();
                let map = tree.pointer_mut(&at).and_then(Value::as_object_mut).expect("a map");
                map.insert("brand_new".into(), json!(1));
                let Value::Object(tree) = tree else { panic!("a service is a map") };
                let changed = Service { canonical: tree.into(), ..service.clone() };
                let error = case.bind(&changed, 1, None).err();
                let place = error.as_ref().map(place).unwrap_or_default();
                assert!(place.ends_with(".brand_new"), "{} {at}: {error:?}", case.name);
                tried += 1;
            }
        }
    }
    assert!(tried > 150, "only {tried} places tried");
}

#[test]
fn a_missing_parent_is_named() {
    let cases = cases();
    let case = cases.iter().find(|case| case.name == "26-shared-namespaces").expect("recorded");
    let bare = Case { creates: Vec::new(), ..self::case(&Path::new(PAYLOADS).join(&case.name)) };
    for (service, at) in [
        ("net", "services.net.network_mode"),
        ("ipc", "services.ipc.ipc"),
        ("pid", "services.pid.pid"),
        ("from", "services.from.volumes_from"),
    ] {
        let error = bare.bind(&bare.project.services[service], 1, None).expect_err("no parent");
        let service = "base".to_owned();
        assert_eq!(error, TranslateError::ParentMissing { at: at.into(), service });
    }
}

#[test]
fn no_output_shows_the_environment() {
    let cases = cases();
    let case = cases.iter().find(|case| case.name == "52-secrets").expect("recorded");
    let bound = case.bind(&case.project.services["web"], 1, None).expect("translates");
    let text = format!("{bound:?}");
    assert!(!text.contains("t0ken"), "{text}");
}

#[test]
fn a_kept_volume_is_mounted_by_name_and_image_volumes_are_kept() {
    let cases = cases();
    let case = cases.iter().find(|case| case.name == "54-recreate").expect("recorded");
    let mount = |destination: &str, name: &str| observed::Mount {
        kind: "volume".into(),
        name: name.into(),
        source: "/somewhere".into(),
        destination: destination.into(),
        rw: true,
    };
    let old = Replaced {
        id: "0123456789abcdef".into(),
        mounts: vec![mount("/anonymous", "one"), mount("/image", "two"), mount("/gone", "three")],
        image_volumes: BTreeSet::from(["/image".to_owned()]),
    };
    let bound = case.bind(&case.project.services["web"], 1, Some(&old)).expect("translates");
    assert_eq!(
        bound.body.expose()["HostConfig"]["Mounts"],
        json!([
            {"Type": "volume", "Source": "one", "Target": "/anonymous"},
            {"Type": "volume", "Source": "two", "Target": "/image"},
        ])
    );
    assert_eq!(bound.name, "0123456789ab_translate-54-recreate-web-1");
    assert_eq!(bound.final_name, "translate-54-recreate-web-1");
}
