use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::observed::{ContainerState, PublishedPort};

const CONTAINERS: &[u8] = include_bytes!("../../../../tests/fixtures/docker/containers.json");
const NETWORK: &[u8] = include_bytes!("../../../../tests/fixtures/docker/network.json");
const EVENTS: &str = include_str!("../../../../tests/fixtures/docker/events.jsonl");

#[test]
fn a_real_row_of_the_list_is_read() {
    let list = rows(CONTAINERS, None, container).expect("a list");
    assert_eq!((list.rows.len(), list.skipped), (1, 0));
    let row = &list.rows[0];
    assert_eq!((row.name.as_str(), row.state), ("engine-c2", ContainerState::Running));
    assert_eq!(row.id.0.len(), 64);
    assert_eq!(row.networks["engine-net"].1, "10.97.3.7");
    assert_eq!(row.labels["com.docker.compose.service"], "s");
    assert_eq!((row.mounts[0].name.as_str(), row.mounts[0].rw), ("engine-vol", true));
    assert_eq!(
        row.published,
        [PublishedPort {
            host_ip: "127.0.0.1".into(),
            host_port: 32768,
            target: 6379,
            protocol: "tcp".into()
        }]
    );
    assert!(row.created.0 > 1_600_000_000_000, "milliseconds");
}

#[test]
fn a_bad_row_is_skipped_and_counted() {
    let body = br#"[{"Id":"a"}, 7, {"Names":["/b"]}, null, {"Id":"c","Names":null,"Labels":null,
        "State":"levitating","NetworkSettings":null,"Mounts":null,"Ports":null,"Created":"12"}]"#;
    let list = rows(body, None, container).expect("a list");
    assert_eq!(list.skipped, 3);
    let ids: Vec<_> = list.rows.iter().map(|row| row.id.0.as_str()).collect();
    assert_eq!(ids, ["a", "c"]);
    assert_eq!(list.rows[1].state, ContainerState::Unknown);
}

#[test]
fn a_list_may_be_null_or_inside_an_object() {
    assert_eq!(rows(b"null", None, image).map(|r| r.rows.len()), Ok(0));
    assert_eq!(rows(br#"{"Volumes":null}"#, Some("Volumes"), volume).map(|r| r.rows.len()), Ok(0));
    assert_eq!(rows(br#"{"Warnings":[]}"#, Some("Volumes"), volume).map(|r| r.rows.len()), Ok(0));
    let one = rows(br#"{"Volumes":[{"Name":"v","Labels":null}]}"#, Some("Volumes"), volume);
    assert_eq!(one.expect("a list").rows[0].name, "v");
    assert!(rows(b"{}", None, image).is_err());
    assert!(rows(b"[{\"Id\":\"a\"}", None, image).is_err());
}

#[test]
fn a_containers_own_name_is_told_from_its_links() {
    let row = json!({"Id": "a", "Names": ["/other/db", "/db-1"]});
    assert_eq!(container(&row).expect("a row").name, "db-1");
}

#[test]
fn a_real_network_is_read() {
    let network = network(&json(NETWORK).expect("JSON")).expect("a network");
    assert_eq!((network.name.as_str(), network.driver.as_str()), ("engine-net", "bridge"));
    assert_eq!(network.subnets, ["10.97.3.0/24"]);
    assert_eq!(network.gateways, ["10.97.3.1"]);
    let members: Vec<_> = network.members.values().collect();
    assert_eq!(members, ["10.97.3.7"]);
    let bare = self::network(&json!({"Id": "n", "IPAM": {"Config": null}, "Containers": null}));
    assert_eq!(bare.expect("a network").subnets, Vec::<String>::new());
}

#[test]
fn images_without_a_name_have_no_references() {
    let row = json!({"Id": "sha256:1", "RepoTags": ["<none>:<none>"], "RepoDigests": null});
    assert_eq!(image(&row).expect("an image").tags, Vec::<String>::new());
}

#[test]
fn real_events_are_read() {
    let got: Vec<_> = EVENTS.lines().map(|line| event(line.as_bytes()).expect(line)).collect();
    let actions: Vec<_> =
        got.iter().map(|e| e.action.split(':').next().unwrap_or_default()).collect();
    assert_eq!(actions, ["connect", "exec_create", "health_status", "kill", "die"]);
    assert_eq!(got[0].kind, "network");
    assert_eq!(got[0].attributes["container"].len(), 64);
    assert_eq!(got[3].attributes["signal"], "9");
    assert!(got.iter().all(|e| e.actor.len() == 64 && e.time_nano > 0));
}

#[test]
fn lines_that_are_no_events_are_none() {
    for line in ["", "[]", "{}", "\"x\"", r#"{"Type":"container"}"#, r#"{"Action":"die"}"#] {
        assert_eq!(event(line.as_bytes()), None, "{line}");
    }
    let bare = event(br#"{"Type":"image","Action":"pull","Actor":null,"time":"5"}"#);
    let bare = bare.expect("an event");
    assert_eq!((bare.attributes, bare.time_nano), (BTreeMap::new(), 5_000_000_000));
}

#[test]
fn addresses_are_reachable_only_in_a_local_engine_of_the_system() {
    let reachable =
        |json: Value, local| info(&json, (1, 41), local).capabilities.addresses_reachable;
    let linux = cfg!(target_os = "linux");
    assert_eq!(
        reachable(json!({"SecurityOptions": ["name=seccomp,profile=default"]}), true),
        linux
    );
    assert!(!reachable(json!({"SecurityOptions": ["name=rootless"]}), true));
    assert!(!reachable(json!({"OperatingSystem": "Docker Desktop"}), true));
    assert!(!reachable(json!({}), false));
}

#[test]
fn capabilities_follow_from_version_and_swarm() {
    let json = json!({"Swarm": {"LocalNodeState": "active"}, "Runtimes": {"runc": {}, "b": {}}});
    let info = info(&json, (1, 44), true);
    assert!(info.capabilities.many_endpoints_at_create && info.capabilities.swarm);
    assert_eq!(info.runtimes, ["b", "runc"]);
    assert!(!self::info(&json, (1, 43), true).capabilities.many_endpoints_at_create);
}
