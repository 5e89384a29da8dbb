//! Rows 22b, 24 and 25: networks that people mended half, made anew, or haven't made yet.

use super::*;
use crate::observed::Endpoint;

const LAN: &str = "
services:
  db: {image: 'app:1', networks: {lan: {aliases: [store]}}}
  web: {image: 'app:1', depends_on: [db], networks: {lan: {ipv4_address: 10.8.0.77}}}
networks: {lan: {ipam: {config: [{subnet: 10.8.0.0/24}]}}}
";

async fn endpoint(scene: &Scene, container: &str, network: &str) -> Endpoint {
    let all = scene.containers().await;
    let found = all.into_iter().find(|c| c.name == container).expect("is there");
    found.networks.get(network).cloned().unwrap_or_default()
}

fn has(endpoint: &Endpoint, names: &[&str]) -> bool {
    let aliases = endpoint.aliases.clone().unwrap_or_default();
    names.iter().all(|name| aliases.iter().any(|a| a == name))
}

/// «The usual manual fix», which helps nobody: no service name resolves afterwards.
fn mend_by_hand(scene: &Scene, container: &str) {
    scene.sim.disconnect("p_lan", container).expect("detaches");
    scene.sim.connect("p_lan", container).expect("attaches");
}

#[tokio::test(start_paused = true)]
async fn row_22b_connected_by_hand_without_its_aliases_is_reconnected_with_them() {
    let scene = Scene::new(1, LAN);
    scene.settle(secs(20)).await;
    let (made, starts) = (ids(&scene.containers().await), scene.starts());
    scene.sim.forget_writes();
    mend_by_hand(&scene, "p-web-1");
    mend_by_hand(&scene, "p-db-1");
    assert!(!has(&endpoint(&scene, "p-db-1", "p_lan").await, &["db"]));
    scene.settle(secs(10)).await;
    assert!(has(&endpoint(&scene, "p-db-1", "p_lan").await, &["db", "store"]));
    let web = endpoint(&scene, "p-web-1", "p_lan").await;
    assert!(has(&web, &["web"]));
    assert_eq!((web.ipv4.as_str(), web.wanted_ipv4.as_deref()), ("10.8.0.77", Some("10.8.0.77")));
    let calls: Vec<&str> = scene.sim.writes().iter().map(|w| w.write.call()).collect();
    assert_eq!(calls.len(), 4, "{calls:?}");
    assert!(calls.iter().all(|c| c.ends_with("connect")), "{calls:?}");
    assert_eq!((ids(&scene.containers().await), scene.starts()), (made, starts));
    scene.stays_idle(secs(1200)).await;
}

#[tokio::test(start_paused = true)]
async fn row_22b_what_no_event_told_the_ten_minute_inspect_finds() {
    let scene = Scene::new(1, LAN);
    scene.settle(secs(20)).await;
    let row = |rows: Vec<crate::engine::ContainerSummary>| {
        rows.into_iter().find(|r| r.name == "p-db-1").expect("is there").networks
    };
    let before = row(scene.sim.containers().await.expect("a list"));
    scene.sim.set_stream_faults(StreamFaults { lose: 1.0, ..StreamFaults::default() });
    mend_by_hand(&scene, "p-db-1");
    scene.sim.heal();
    // Nor does the engine still know of it when it is asked.
    scene.sim.forget_events();
    assert_eq!(row(scene.sim.containers().await.expect("a list")), before, "the list is silent");
    assert!(!has(&endpoint(&scene, "p-db-1", "p_lan").await, &["db"]));
    // The lists of every minute show nothing.
    scene.stays_quiet(secs(560)).await;
    sleep(secs(110)).await;
    assert!(has(&endpoint(&scene, "p-db-1", "p_lan").await, &["db", "store"]), "{}", scene.show());
    scene.stays_idle(secs(1200)).await;
}

const PLAIN: &str = "
services:
  db: {image: 'app:1', networks: [lan]}
  web: {image: 'app:1', depends_on: [db], networks: {lan: {aliases: [front]}}}
networks: {lan: {}}
";

fn network(name: &str) -> Write {
    let body = json!({ "Name": name, "CheckDuplicate": true });
    Write::CreateNetwork { body: Sensitive::new(body.as_object().cloned().expect("an object")) }
}

/// ID of the only network of this name.
async fn network_id(scene: &Scene, name: &str) -> String {
    let all = scene.sim.networks().await.expect("a list");
    let named: Vec<_> = all.into_iter().filter(|n| n.name == name).collect();
    let [network] = &named[..] else { panic!("{} networks", named.len()) };
    network.id.clone()
}

async fn take_apart(scene: &Scene) {
    for name in ["p-db-1", "p-web-1"] {
        scene.sim.disconnect("p_lan", name).expect("detaches");
    }
    scene.sim.remove_network("p_lan").expect("goes");
}

/// Both are on the network that has the name now, under their own names.
async fn moved(scene: &Scene, network: &str) {
    for (container, names) in [("p-db-1", &["db"][..]), ("p-web-1", &["web", "front"])] {
        let endpoint = endpoint(scene, container, "p_lan").await;
        assert_eq!(endpoint.network_id, network, "{container}");
        assert!(has(&endpoint, names) && !endpoint.ipv4.is_empty(), "{endpoint:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_24_members_of_a_network_made_anew_under_its_name_are_moved_to_it() {
    for stopped in [false, true] {
        let scene = Scene::new(1, PLAIN);
        scene.settle(secs(20)).await;
        let (made, old) = (ids(&scene.containers().await), network_id(&scene, "p_lan").await);
        let starts = scene.starts();
        scene
            .while_away(async {
                if stopped {
                    scene.sim.crash("p-web-1", 0).expect("runs");
                    scene.sim.crash("p-db-1", 0).expect("runs");
                    sleep(ms(100)).await;
                    // The stopped ones keep their entries, and with them the old ID.
                    scene.sim.remove_network("p_lan").expect("goes");
                } else {
                    take_apart(&scene).await;
                }
                by_hand(&scene.sim, network("p_lan")).await;
                scene.sim.forget_writes();
            })
            .await;
        scene.settle(secs(30)).await;
        let new = network_id(&scene, "p_lan").await;
        assert_ne!(new, old);
        moved(&scene, &new).await;
        assert_eq!(ids(&scene.containers().await), made, "none was made anew");
        if !stopped {
            assert_eq!(scene.starts(), starts, "none was restarted");
        }
        let creates =
            scene.sim.writes().iter().filter(|w| w.write.call().contains("create")).count();
        assert_eq!(creates, 0, "{}", scene.show());
        scene.says("network p_lan", "not made by this project; used as it is");
        scene.stays_idle(secs(1200)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn row_24_a_person_and_we_make_the_network_at_once() {
    for pause in [0, 30, 60, 90, 150] {
        let scene = Scene::new(1, PLAIN);
        scene.settle(secs(20)).await;
        let made = ids(&scene.containers().await);
        take_apart(&scene).await;
        sleep(ms(pause)).await;
        let _ = scene.sim.by_hand(network("p_lan")).await;
        scene.settle(secs(60)).await;
        moved(&scene, &network_id(&scene, "p_lan").await).await;
        assert_eq!(ids(&scene.containers().await), made);
        scene.stays_idle(secs(1200)).await;
    }
}

const THEIRS: &str = "
services:
  web: {image: 'app:1', networks: [theirs]}
  free: {image: 'app:1', networks: [own]}
networks: {own: {}, theirs: {external: true, name: shared}}
";

#[tokio::test(start_paused = true)]
async fn row_25_a_missing_external_network_is_said_and_never_invented() {
    const MISSING: &str = "blocked(external network shared is missing; create it with `docker network create shared`)";
    let scene = Scene::new(1, THEIRS);
    sleep(secs(10)).await;
    let blocked = |scene: &Scene| {
        scene.says("network shared", MISSING);
        scene.says("service web/1", MISSING);
        assert_eq!(scene.status("free"), SlotStatus::Ready, "{}", scene.show());
        let row = scene.told().networks.into_iter().find(|n| n.name == "shared");
        assert!(row.is_some_and(|n| n.id.is_empty() && n.message == MISSING));
    };
    blocked(&scene);
    scene.stays_quiet(secs(3600)).await;
    blocked(&scene);
    by_hand(&scene.sim, network("shared")).await;
    sleep(secs(1)).await;
    assert_eq!(scene.status("web"), SlotStatus::Ready, "{}", scene.show());
    scene.stays_idle(secs(600)).await;
    // It goes again under the running container, which stays.
    let made = ids(&scene.containers().await);
    scene.sim.disconnect("shared", "p-web-1").expect("detaches");
    scene.sim.remove_network("shared").expect("goes");
    sleep(secs(10)).await;
    blocked(&scene);
    scene.stays_quiet(secs(3600)).await;
    by_hand(&scene.sim, network("shared")).await;
    scene.settle(secs(10)).await;
    assert!(has(&endpoint(&scene, "p-web-1", "shared").await, &["web"]));
    assert_eq!((ids(&scene.containers().await), scene.starts().len()), (made, 2));
    scene.stays_idle(secs(600)).await;
}
