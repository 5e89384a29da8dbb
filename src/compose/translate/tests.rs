//! Compares every recorded payload (`tests/compose/payloads`) with ours.

mod fixture;

use std::path::Path;

use serde_json::json;

use super::*;
use fixture::{Case, PAYLOADS, cases, named, read, replaced};

/// What we refuse, and where. Compose refuses the first group too.
const REFUSED: &[(&str, &str)] = &[
    ("10-health-start-interval-alone", "services.web.healthcheck.start_interval"),
    ("17-image-mount-old", "services.web.volumes[0].type"),
    ("63-link-local", "services.web.networks.default.interface_name"),
    ("64-interface-name", "services.web.networks.default.interface_name"),
    ("65-external-secret", "secrets.s.external"),
    ("72-mac-mismatch", "services.web.mac_address"),
    ("91-image-mount-api-147", "services.web.volumes[0].type"),
    ("93-interface-name-api-148", "services.web.networks.default.interface_name"),
    // Compose runs hooks, carries its own credentials, ignores a Windows option, and creates a
    // container that it can't start.
    ("58-hooks", "services.web.post_start"),
    ("62-api-socket", "services.web.use_api_socket"),
    ("68-credential-spec", "services.web.credential_spec"),
    ("73-read-only-inline", "services.web.read_only"),
];

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
            let bound = match case.bind(service, number, replaced(create, &case.settings).as_ref())
            {
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
    let case = named("52-secrets");
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
    let mut bare = named("26-shared-namespaces");
    bare.creates.clear();
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
    let case = named("52-secrets");
    let bound = case.bind(&case.project.services["web"], 1, None).expect("translates");
    let text = format!("{bound:?}");
    assert!(!text.contains("t0ken"), "{text}");
}

#[test]
fn a_kept_volume_is_mounted_by_name_and_image_volumes_are_kept() {
    let case = named("54-recreate");
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

#[test]
fn the_parent_is_the_container_whose_name_sorts_first() {
    let mut case = named("26-shared-namespaces");
    case.creates = ["p-base-2", "p-base-10", "p-base-3"]
        .map(|name| {
            let labels = json!({"com.docker.compose.service": "base"});
            json!({"id": format!("id of {name}"), "name": name, "body": {"Labels": labels}})
        })
        .to_vec();
    let bound = case.bind(&case.project.services["net"], 1, None).expect("translates");
    let mode = &bound.body.expose()["HostConfig"]["NetworkMode"];
    assert_eq!(mode, "container:id of p-base-10");
}

/// The case's service `web` with some attributes replaced.
fn changed(case: &Case, attributes: Value) -> Service {
    let mut service = case.project.services["web"].clone();
    let Value::Object(attributes) = attributes else { panic!("attributes are a map") };
    service.canonical.expose_mut().extend(attributes);
    service
}

#[test]
fn an_image_mount_may_name_a_service_that_builds_the_image() {
    let mut case = named("16-image-mount");
    case.images.insert("translate-16-image-mount-base".into(), "sha256:built".into());
    case.images.insert("both".into(), "sha256:pulled".into());
    case.images.insert("translate-16-image-mount-both".into(), "sha256:built".into());
    let volumes = json!([
        {"type": "image", "source": "base", "target": "/a"},
        {"type": "image", "source": "both", "target": "/b"},
    ]);
    let service = changed(&case, json!({ "volumes": volumes }));
    let bound = case.bind(&service, 1, None).expect("translates");
    let body = bound.body.expose();
    let mounts = &body["HostConfig"]["Mounts"];
    assert_eq!(mounts[0]["Source"], "translate-16-image-mount-base");
    assert_eq!(mounts[1]["Source"], "both");
    assert_eq!(
        body["Labels"]["com.docker.compose.image-volume-digest"],
        "/a=sha256:built,/b=sha256:pulled"
    );
}

#[test]
fn a_copied_file_keeps_mode_and_owner() {
    let case = named("52-secrets");
    let reference = json!({"source": "inline", "target": "etc/x", "uid": "5", "mode": "0600"});
    let service = changed(&case, json!({"secrets": [], "configs": [reference]}));
    let files = case.bind(&service, 1, None).expect("translates").files_to_copy;
    let content = "a=$b\n".to_owned().into();
    let target = "/etc/x".into();
    let expected = FileToCopy { target, content, mode: 0o600, uid: 5, gid: 0, copy_ids: true };
    assert_eq!(files, [expected]);
}

#[test]
fn extensions_have_no_effect_on_the_body() {
    let case = named("01-minimal");
    let service = changed(&case, json!({"x-note": {"any": "thing"}}));
    let (plain, extended) =
        (case.bind(&case.project.services["web"], 1, None), case.bind(&service, 1, None));
    assert_eq!(plain.expect("translates").body, extended.expect("translates").body);
}

#[test]
fn aliases_are_those_of_the_network() {
    let case = named("19-networks");
    let aliases = |service: &str, network: &str| {
        let service = &case.project.services[service];
        wanted_aliases(&case.project, service, network, 1).into_iter().collect::<Vec<_>>()
    };
    assert_eq!(aliases("web", "front"), ["site", "translate-19-networks-web-1", "web", "www"]);
    assert_eq!(aliases("web", "aaa"), ["translate-19-networks-web-1", "web"]);
    assert_eq!(aliases("named", "back"), ["named", "translate-own-container"]);
}

#[test]
fn external_resources_are_never_created() {
    let case = named("21-network-create");
    let network = &case.project.networks["outside"];
    let error = network_body(&case.project, network).expect_err("external");
    assert_eq!(place(&error), "networks.outside.external");
    let case = named("14-volumes");
    let volume = &case.project.volumes["outside"];
    let error = volume_body(&case.project, volume).expect_err("external");
    assert_eq!(place(&error), "volumes.outside.external");
}

#[test]
fn a_value_of_the_wrong_type_is_named() {
    let case = named("01-minimal");
    for (attributes, at) in [
        (json!({"tty": "yes"}), "services.web.tty"),
        (json!({"mem_limit": "64 elephants"}), "services.web.mem_limit"),
        (json!({"dns": ["9.9.9"]}), "services.web.dns"),
        (json!({"expose": ["9-1"]}), "services.web.expose"),
        (json!({"extra_hosts": ["host"]}), "services.web.extra_hosts"),
        (json!({"ports": [{"target": 70_000}]}), "services.web.ports[0].target"),
        (json!({"stop_grace_period": "soon"}), "services.web.stop_grace_period"),
        (json!({"security_opt": ["odd"]}), "services.web.security_opt"),
        (json!({"security_opt": ["seccomp=none.json"]}), "services.web.security_opt"),
        (json!({"ulimits": {"nofile": "many"}}), "services.web.ulimits.nofile"),
        (json!({"networks": {"gone": null}}), "services.web.networks.gone"),
        (json!({"secrets": [{"source": "gone"}]}), "services.web.secrets[0].source"),
        (json!({"volumes": [{"type": "odd"}]}), "services.web.volumes[0].type"),
    ] {
        let error = case.bind(&changed(&case, attributes), 1, None).expect_err(at);
        assert_eq!(place(&error), at);
    }
}
