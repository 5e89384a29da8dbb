//! Names, addresses, ports, namespaces: what a start needs and how it is refused.

use super::*;
use crate::observed::PublishedPort;

fn on(network: &str, endpoint: Value) -> Value {
    json!({
        "HostConfig": { "NetworkMode": network },
        "NetworkingConfig": { "EndpointsConfig": { network: endpoint } },
    })
}

fn at(address: &str) -> Value {
    json!({ "IPAMConfig": { "IPv4Address": address }, "Aliases": ["al"] })
}

/// Seen: 409 on create, 409 and 400 on rename, in these words.
#[tokio::test(start_paused = true)]
async fn names_are_unique() {
    let sim = engine();
    let id = create(&sim, "a", json!({})).await.expect("it is made");
    create(&sim, "b", json!({})).await.expect("it is made");
    let twin = create(&sim, "a", json!({})).await.expect_err("the name is taken");
    let words = format!("The container name \"/a\" is already in use by container \"{}\"", id.0);
    assert!(matches!(&twin, Fault::Conflict { message, .. } if message.contains(&words)), "{twin}");
    assert!(matches!(sim.rename("b", "a"), Err(Fault::Conflict { .. })));
    assert!(matches!(sim.rename("b", "b"), Err(Fault::Rejected { status: 400, .. })));
    sim.rename("a", "c").expect("the name is free");
    create(&sim, "a", json!({})).await.expect("the name is free now");
    let renamed = sim.all_events().into_iter().find(|e| e.action == "rename").expect("an event");
    assert_eq!((&*renamed.attributes["oldName"], &*renamed.attributes["name"]), ("/a", "c"));
}

/// Seen: 500; the container stays `created` with exit code 128 and the words in `State.Error`.
#[tokio::test(start_paused = true)]
async fn a_taken_port_refuses_the_start_until_its_holder_is_gone() {
    let sim = engine();
    let ports = json!({ "HostConfig": { "PortBindings": { "80/tcp": [{ "HostPort": "8080" }] } } });
    run(&sim, "a", ports.clone()).await;
    let b = create(&sim, "b", ports).await.expect("it is made");
    let refused = start(&sim, &b).await.expect_err("the port is taken");
    let words = "Bind for 0.0.0.0:8080 failed: port is already allocated";
    assert!(
        matches!(&refused, Fault::Server { status: 500, message, .. }
        if message.contains(words) && message.contains("endpoint b (")),
        "{refused}"
    );
    let container = inspect(&sim, &b).await;
    assert_eq!((container.state, container.exit_code), (ContainerState::Created, Some(128)));
    assert!(container.error.contains(words));
    sim.stop("a").await.expect("it stops");
    start(&sim, &b).await.expect("the port is free");
    let container = inspect(&sim, &b).await;
    let (host_ip, protocol) = ("0.0.0.0".into(), "tcp".into());
    let port = PublishedPort { host_ip, host_port: 8080, target: 80, protocol };
    assert_eq!(container.published, [port]);
    assert_eq!(container.error, "");
}

/// Seen: 403 `Address already in use`; the short ID is among the aliases from the first start.
#[tokio::test(start_paused = true)]
async fn a_static_address_has_one_holder() {
    let sim = engine();
    network(&sim, "n", "10.77.1.0/24").await;
    let a = run(&sim, "a", on("n", at("10.77.1.50"))).await;
    let b = create(&sim, "b", on("n", at("10.77.1.50"))).await.expect("it is made");
    let refused = start(&sim, &b).await.expect_err("the address is taken");
    let words = "Address already in use";
    assert!(matches!(&refused, Fault::Conflict { message, .. } if message == words), "{refused}");
    let endpoint = &inspect(&sim, &a).await.networks["n"];
    assert_eq!(endpoint.ipv4, "10.77.1.50");
    assert_eq!(endpoint.aliases, Some(vec!["al".into(), a.short().into()]));
    let c = run(&sim, "c", on("n", json!({}))).await;
    assert_eq!(inspect(&sim, &c).await.networks["n"].ipv4, "10.77.1.2", "after the gateway");
}

/// Seen: 404 with the old ID, also when the name exists again; `connect` over the stale entry
/// (its network ID is empty then) lets it start.
#[tokio::test(start_paused = true)]
async fn a_network_recreated_under_its_name_is_another_one() {
    let sim = engine();
    let old = network(&sim, "n", "10.77.1.0/24").await;
    let a = run(&sim, "a", on("n", at("10.77.1.50"))).await;
    sim.stop("a").await.expect("it stops");
    sim.remove_network("n").expect("no active endpoint");
    let words = format!("network {old} not found");
    let refused = start(&sim, &a).await.expect_err("it is gone");
    assert!(matches!(&refused, Fault::NotFound { message, .. } if *message == words), "{refused}");
    let new = network(&sim, "n", "10.77.1.0/24").await;
    start(&sim, &a).await.expect_err("the entry is stale");
    let container = inspect(&sim, &a).await;
    assert_eq!((container.state, &container.error), (ContainerState::Exited, &words));
    assert_eq!(container.networks["n"].network_id, old);

    let endpoint = map(at("10.77.1.50"));
    let connect = Write::ConnectNetwork { network: new.clone(), container: a.clone(), endpoint };
    sim.write(&connect).await.expect("over the stale entry");
    assert_eq!(inspect(&sim, &a).await.networks["n"].network_id, "");
    start(&sim, &a).await.expect("mended");
    let endpoint = &inspect(&sim, &a).await.networks["n"];
    assert_eq!((&endpoint.network_id, &*endpoint.ipv4), (&new, "10.77.1.50"));
}

/// Seen: 403 `… has active endpoints`; after `disconnect -f` of all it goes.
#[tokio::test(start_paused = true)]
async fn a_network_with_members_stays() {
    let sim = engine();
    let id = network(&sim, "n", "10.77.1.0/24").await;
    let a = run(&sim, "a", on("n", json!({}))).await;
    let refused = sim.write(&Write::RemoveNetwork { id: id.clone() }).await.expect_err("in use");
    assert!(
        matches!(&refused, Fault::Conflict { message, .. }
        if message.ends_with("has active endpoints")),
        "{refused}"
    );
    assert_eq!(sim.inspect_network("n").await.expect("it is there").members.len(), 1);
    sim.disconnect("n", "a").expect("it is connected");
    sim.write(&Write::RemoveNetwork { id: id.clone() }).await.expect("nobody is left");
    sim.write(&Write::RemoveNetwork { id }).await.expect("404 is done");
    let container = inspect(&sim, &a).await;
    assert_eq!(container.state, ContainerState::Running, "silent in the list");
    assert!(container.networks.is_empty());
}

/// Seen: `CheckDuplicate` refuses with 409; without it there are two, and the name is ambiguous.
#[tokio::test(start_paused = true)]
async fn several_networks_may_share_a_name() {
    let sim = engine();
    network(&sim, "n", "10.77.1.0/24").await;
    let twin = |check: bool| Write::CreateNetwork {
        body: body(json!({ "Name": "n", "CheckDuplicate": check })),
    };
    assert!(matches!(sim.write(&twin(true)).await, Err(Fault::Conflict { .. })));
    let reply = sim.write(&twin(false)).await.expect("a second one");
    assert!(reply.warnings[0].starts_with("Network with name n (id : "), "{:?}", reply.warnings);
    let ambiguous = sim.remove_network("n").expect_err("two of them");
    assert!(message(&ambiguous).contains("is ambiguous (2 matches found based on name)"));
    sim.remove_network(&reply.id.expect("an ID")).expect("by ID");
    sim.remove_network("n").expect("only one is left");
}

/// Seen: 400 `Container cannot be connected to network endpoints: …`.
#[tokio::test(start_paused = true)]
async fn create_takes_one_endpoint_before_api_1_44() {
    let sim = engine();
    network(&sim, "n", "10.1.0.0/24").await;
    network(&sim, "m", "10.2.0.0/24").await;
    let two = json!({
        "HostConfig": { "NetworkMode": "n" },
        "NetworkingConfig": { "EndpointsConfig": { "n": {}, "m": {} } },
    });
    let refused = create(&sim, "a", two.clone()).await.expect_err("API 1.41");
    assert!(matches!(&refused, Fault::Rejected { status: 400, message, .. }
        if message.starts_with("Container cannot be connected to network endpoints: ")));
    sim.set_api("1.44");
    let a = create(&sim, "a", two).await.expect("API 1.44");
    start(&sim, &a).await.expect("it starts");
    assert_eq!(inspect(&sim, &a).await.networks.len(), 2);
}

/// Seen: `connect` without a configuration gives no alias but the short ID; a second one is 403.
#[tokio::test(start_paused = true)]
async fn a_plain_connect_has_no_service_alias() {
    let sim = engine();
    network(&sim, "n", "10.1.0.0/24").await;
    let a = run(&sim, "a", json!({})).await;
    sim.connect("n", "a").expect("it runs");
    let endpoint = &inspect(&sim, &a).await.networks["n"];
    assert_eq!(endpoint.aliases, Some(vec![a.short().to_owned()]));
    let twice = sim.connect("n", "a").expect_err("it is connected");
    assert!(message(&twice).contains("endpoint with name a already exists in network n"));
    sim.disconnect("n", "a").expect("it is connected");
    let twice = sim.disconnect("n", "a").expect_err("it isn't connected");
    assert!(matches!(twice, Fault::Server { status: 500, .. }));
}

/// Seen: 404 `No such container: ID` when it is gone, 409 when it doesn't run.
#[tokio::test(start_paused = true)]
async fn a_namespace_needs_its_parent_running() {
    let sim = engine();
    let parent = run(&sim, "parent", json!({})).await;
    let mode = format!("container:{}", parent.0);
    let child = run(&sim, "child", json!({ "HostConfig": { "NetworkMode": mode } })).await;
    assert!(inspect(&sim, &child).await.networks.is_empty());
    sim.stop("child").await.expect("it stops");
    sim.stop("parent").await.expect("it stops");
    let refused = start(&sim, &child).await.expect_err("the parent is stopped");
    assert!(matches!(&refused, Fault::Conflict { message, .. }
        if *message == format!("cannot join network of a non running container: {}", parent.0)));
    sim.remove("parent", false).await.expect("it goes");
    run(&sim, "parent", json!({})).await;
    let refused = start(&sim, &child).await.expect_err("the parent is another one");
    assert!(matches!(&refused, Fault::NotFound { message, .. }
        if *message == format!("No such container: {}", parent.0)));
}

/// Seen: other words and statuses for each namespace; a start doesn't look at `VolumesFrom`, a
/// create does (400).
#[tokio::test(start_paused = true)]
async fn other_namespaces_are_refused_in_other_words() {
    let sim = engine();
    let parent = run(&sim, "parent", json!({})).await;
    let mode = format!("container:{}", parent.0);
    let ipc =
        create(&sim, "ipc", json!({ "HostConfig": { "IpcMode": mode } })).await.expect("made");
    let pid =
        create(&sim, "pid", json!({ "HostConfig": { "PidMode": mode } })).await.expect("made");
    let from = json!({ "HostConfig": { "VolumesFrom": [parent.0] } });
    let volumes = create(&sim, "volumes", from.clone()).await.expect("made");
    let id = &parent.0;
    let check = async |which: &ContainerId, words: String| {
        let refused = start(&sim, which).await.expect_err("the parent doesn't run");
        assert!(
            matches!(&refused, Fault::Server { status: 500, message, .. } if *message == words),
            "{refused}"
        );
    };
    sim.stop("parent").await.expect("it stops");
    let why = format!("container {id} is not running");
    check(&ipc, format!("can't join IPC of container {id}: {why}")).await;
    check(&pid, why).await;
    sim.remove("parent", false).await.expect("it goes");
    let why = format!("No such container: {id}");
    check(&ipc, format!("can't join IPC of container {id}: {why}")).await;
    check(&pid, format!("cannot join PID of a non running container: {id}: {why}")).await;
    start(&sim, &volumes).await.expect("the volumes are its own by now");
    assert!(matches!(create(&sim, "v2", from).await, Err(Fault::Rejected { status: 400, .. })));
}

/// Seen: without force, of a container that doesn't run, from a network that is gone: 200; the
/// container then starts without it.
#[tokio::test(start_paused = true)]
async fn a_stale_entry_is_dropped_by_name() {
    let sim = engine();
    network(&sim, "n", "10.1.0.0/24").await;
    let a = run(&sim, "a", on("n", json!({}))).await;
    sim.stop("a").await.expect("it stops");
    sim.remove_network("n").expect("nobody is active");
    let network = "n".to_owned();
    let drop = Write::DisconnectNetwork { network, container: a.clone(), force: false };
    sim.write(&drop).await.expect("it goes");
    let twice = sim.write(&drop).await.expect_err("it has gone");
    assert!(message(&twice).contains("is not connected to the network n"), "{twice}");
    start(&sim, &a).await.expect("without a network");
    assert!(inspect(&sim, &a).await.networks.is_empty());
}

/// Seen: 403 for overlapping pools and predefined networks, 400 for a static address in a
/// network whose subnet nobody chose.
#[tokio::test(start_paused = true)]
async fn pools_and_predefined_networks_are_guarded() {
    let sim = engine();
    network(&sim, "n", "10.77.1.0/24").await;
    let config = json!({ "Name": "o", "IPAM": { "Config": [{ "Subnet": "10.77.1.0/25" }] } });
    let overlap = sim.write(&Write::CreateNetwork { body: body(config) }).await;
    assert!(message(&overlap.expect_err("it overlaps")).contains("Pool overlaps"));
    assert!(sim.remove_network("bridge").is_err());
    let auto = body(json!({ "Name": "auto" }));
    sim.write(&Write::CreateNetwork { body: auto }).await.expect("it is made");
    let a = create(&sim, "a", on("auto", at("172.18.0.50"))).await.expect("it is made");
    let refused = start(&sim, &a).await.expect_err("nobody chose the subnet");
    assert!(
        matches!(&refused, Fault::Rejected { status: 400, message, .. }
        if message.contains("user configured subnets")),
        "{refused}"
    );
}

/// Seen: a second create answers 201 with the first one's labels.
#[tokio::test(start_paused = true)]
async fn a_volume_keeps_the_labels_of_its_making() {
    let sim = engine();
    for value in ["1", "2"] {
        let body = body(json!({ "Name": "v", "Labels": { "a": value } }));
        let reply = sim.write(&Write::CreateVolume { body }).await.expect("it is there");
        assert_eq!(reply.id.as_deref(), Some("v"));
    }
    assert_eq!(sim.volumes().await.expect("a list")[0].labels["a"], "1");
    let binds = json!({ "HostConfig": { "Binds": ["v:/data:ro", "w:/w", "/host:/b"] } });
    let a = create(&sim, "a", binds).await.expect("it is made");
    let mounts: Vec<_> =
        inspect(&sim, &a).await.mounts.into_iter().map(|m| (m.kind, m.name, m.rw)).collect();
    let expected = [("bind", "", true), ("volume", "v", false), ("volume", "w", true)];
    assert_eq!(mounts, expected.map(|(k, n, rw)| (k.to_owned(), n.to_owned(), rw)));
    assert_eq!(sim.volumes().await.expect("a list").len(), 2, "create made what was missing");
    assert!(matches!(sim.remove_volume("v"), Err(Fault::Conflict { .. })));
}
