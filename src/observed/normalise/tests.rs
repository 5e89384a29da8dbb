use serde_json::json;

use super::*;

const KILLED: &[u8] = include_bytes!("../../../tests/fixtures/docker/inspect-killed.json");
const RUNNING: &[u8] = include_bytes!("../../../tests/fixtures/docker/inspect-running.json");

fn recorded(bytes: &[u8]) -> Container {
    from_inspect(&serde_json::from_slice(bytes).expect("JSON")).expect("a container")
}

fn row_of(container: &Container, status: &str) -> ContainerSummary {
    ContainerSummary {
        id: container.id.clone(),
        name: container.name.clone(),
        image: container.image.clone(),
        image_id: container.image_id.clone(),
        labels: container.labels.iter().map(|(k, v)| (k.clone(), v.expose().clone())).collect(),
        state: container.state,
        status: status.into(),
        created: container.created,
        network_mode: container.network_mode.clone(),
        networks: container
            .networks
            .iter()
            .map(|(name, e)| (name.clone(), (e.network_id.clone(), e.ipv4.clone())))
            .collect(),
        mounts: container.mounts.clone(),
        published: container.published.clone(),
    }
}

#[test]
fn a_killed_container_keeps_its_code_and_loses_its_stale_health() {
    let killed = recorded(KILLED);
    assert_eq!((killed.state, killed.health), (ContainerState::Exited, Health::None));
    assert_eq!((killed.exit_code, killed.oom_killed), (Some(137), false));
    assert!(killed.has_healthcheck && killed.inspected);
    assert_eq!(killed.slot().map(|s| s.to_string()).as_deref(), Some("ollama/1"));
    assert_eq!(killed.compose_version.as_deref(), Some("5.6.1"));
    assert_eq!(killed.working_dir.as_deref(), Some("/srv/proj"));
    assert!(!killed.oneoff);
    let endpoint = &killed.networks["proj_default"];
    let aliases = ["proj-ollama-1", "ollama", "afe244be0232"].map(String::from);
    assert_eq!(endpoint.aliases.as_deref(), Some(&aliases[..]));
    assert_eq!((endpoint.ipv4.as_str(), &endpoint.wanted_ipv4), ("", &None));
    assert_eq!(
        killed.finished.map(Timestamp::rfc3339).as_deref(),
        Some("2026-11-23T16:59:30.300Z")
    );
}

#[test]
fn a_running_container_is_read_in_full() {
    let running = recorded(RUNNING);
    assert_eq!((running.state, running.health), (ContainerState::Running, Health::Healthy));
    assert_eq!((running.exit_code, running.finished), (None, None));
    assert_eq!(running.name, "engine-c2");
    assert_eq!(running.networks["engine-net"].wanted_ipv4.as_deref(), Some("10.97.3.7"));
    assert_eq!(
        running.published,
        [PublishedPort {
            host_ip: "127.0.0.1".into(),
            host_port: 32768,
            target: 6379,
            protocol: "tcp".into()
        }]
    );
    assert_eq!(running.mounts[0].destination, "/data");
    assert!(running.pid > 0 && running.config_hash.is_none());
}

#[test]
fn null_and_unknown_words_never_fail() {
    let json = json!({
        "Id": "a", "State": {"Status": "levitating", "ExitCode": "7", "Health": null},
        "HostConfig": {"VolumesFrom": null, "RestartPolicy": null},
        "Config": {"Labels": null, "Healthcheck": {"Test": ["NONE"]}},
        "NetworkSettings": {"Networks": {"n": {"Aliases": null, "IPAMConfig": null}}},
        "Mounts": null, "Surprise": [1]
    });
    let container = from_inspect(&json).expect("a container");
    assert_eq!(container.state, ContainerState::Unknown);
    assert_eq!(container.exit_code, Some(7));
    assert_eq!(container.networks["n"].aliases.as_deref(), Some(&[][..]));
    assert!(!container.has_healthcheck);
    assert!(from_inspect(&json!({"Name": "/a"})).is_err());
}

#[test]
fn a_start_that_failed_shows_its_code_though_it_never_ended() {
    let of = |code: i64| {
        let state =
            json!({"Status": "created", "ExitCode": code, "FinishedAt": "0001-01-01T00:00:00Z"});
        from_inspect(&json!({"Id": "a", "State": state})).expect("a container").exit_code
    };
    assert_eq!((of(0), of(127)), (None, Some(127)));
}

#[test]
fn the_status_text_tells_health_and_exit_code() {
    let mut row = row_of(&recorded(RUNNING), "");
    let mut read = |state: ContainerState, status: &str| {
        row.state = state;
        row.status = status.into();
        let container = from_summary(&row);
        (container.health, container.exit_code)
    };
    use ContainerState::{Exited, Paused, Restarting, Running};
    assert_eq!(read(Running, "Up 2 minutes (healthy)"), (Health::Healthy, None));
    assert_eq!(read(Running, "Up 2 minutes (unhealthy)"), (Health::Unhealthy, None));
    assert_eq!(read(Running, "Up 1 second (health: starting)"), (Health::Starting, None));
    assert_eq!(read(Running, "Up 2 minutes"), (Health::None, None));
    assert_eq!(read(Paused, "Up 2 minutes (Paused)"), (Health::None, None));
    assert_eq!(read(Exited, "Exited (137) 3 minutes ago"), (Health::None, Some(137)));
    assert_eq!(read(Restarting, "Restarting (1) 5 seconds ago"), (Health::None, Some(1)));
}

#[test]
fn a_row_alone_knows_no_aliases() {
    let container = from_summary(&row_of(&recorded(RUNNING), "Up 1 second (healthy)"));
    assert_eq!(container.networks["engine-net"].aliases, None);
    assert!(!container.inspected && container.has_healthcheck);
    assert_eq!(container.slot().map(|s| s.number), Some(1));
}

#[test]
fn an_unchanged_row_keeps_what_inspect_knew() {
    let cached = recorded(RUNNING);
    let merged = merge(&cached, &row_of(&cached, "Up 9 seconds (unhealthy)"));
    assert!(merged.inspected);
    assert_eq!(merged.health, Health::Unhealthy);
    assert_eq!(merged.networks, cached.networks);
    assert_eq!(merged.started, cached.started);
}

#[test]
fn a_row_that_shows_a_change_asks_for_another_inspect() {
    let cached = recorded(RUNNING);
    let unchanged = row_of(&cached, "Up 9 seconds");
    type Change = fn(&mut ContainerSummary);
    let changes: [(&str, Change); 5] = [
        ("name", |row| row.name.push('x')),
        ("state", |row| row.state = ContainerState::Exited),
        ("detached", |row| row.networks.clear()),
        ("address", |row| row.networks.values_mut().for_each(|n| n.1 = "10.9.9.9".into())),
        ("network", |row| row.networks.values_mut().for_each(|n| n.0 = "other".into())),
    ];
    for (what, change) in changes {
        let mut row = unchanged.clone();
        change(&mut row);
        let merged = merge(&cached, &row);
        assert!(!merged.inspected, "{what}");
        assert_eq!(merged.networks.len(), row.networks.len(), "{what}");
    }
    let mut row = unchanged;
    row.networks.values_mut().for_each(|n| n.0 = "other".into());
    let endpoint = &merge(&cached, &row).networks["engine-net"];
    assert_eq!((endpoint.network_id.as_str(), &endpoint.aliases), ("other", &None));
}

#[test]
fn another_end_with_the_same_state_asks_for_another_inspect() {
    let cached = recorded(KILLED);
    assert!(merge(&cached, &row_of(&cached, "Exited (137) 2 hours ago")).inspected);
    let merged = merge(&cached, &row_of(&cached, "Exited (1) 1 second ago"));
    assert_eq!((merged.inspected, merged.exit_code), (false, Some(1)));
}

#[test]
fn another_container_under_a_cached_name_shares_nothing() {
    let cached = recorded(RUNNING);
    let mut row = row_of(&cached, "Up 1 second");
    row.id = ContainerId("other".into());
    let merged = merge(&cached, &row);
    assert!(!merged.inspected && merged.started.is_none());
}

#[test]
fn an_unpaused_container_is_not_unhealthy_before_a_check_has_failed() {
    let shown = |streak: u32| {
        let health = json!({"Status": "unhealthy", "FailingStreak": streak});
        let state = json!({"Status": "running", "Health": health});
        from_inspect(&json!({"Id": "a", "State": state})).expect("a container").health
    };
    assert_eq!(shown(0), Health::Starting);
    assert_eq!(shown(3), Health::Unhealthy);
}
