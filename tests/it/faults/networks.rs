//! Rows 22 to 25: networks that somebody took apart.

use homeostat::engine::{Engine, Tier, Write};

use crate::support::scene::{SOON, Stranger, free_subnet, up};
use crate::support::{IMAGE, Setup, Stack, client, docker};

/// Two services on one network of their own, `web` with an alias and a static address.
fn pair(prefix: &str) -> String {
    format!(
        r#"
services:
  db:
    image: {IMAGE}
    command: ["listen", "8000"]
    networks: [lan]
  web:
    image: {IMAGE}
    command: ["listen", "8000"]
    depends_on: [db]
    networks:
      lan: {{aliases: [front], ipv4_address: {prefix}.77}}
networks:
  lan: {{ipam: {{config: [{{subnet: {prefix}.0/24}}]}}}}
"#
    )
}

const PLAIN: &str = r#"
services:
  db: {image: "homeostat-test/stand-ins:1", command: ["listen", "8000"], networks: [lan]}
  web:
    image: homeostat-test/stand-ins:1
    command: ["listen", "8000"]
    depends_on: [db]
    networks: {lan: {aliases: [front]}}
networks: {lan: {}}
"#;

fn disconnect(stack: &Stack, service: &str) {
    let network = stack.network("lan");
    docker(&["network", "disconnect", "-f", &network, &stack.container(service)]);
}

/// `web` can be found by its names and has its address.
fn attached(stack: &Stack, address: &str) {
    let endpoint = format!("(index .NetworkSettings.Networks \"{}\")", stack.network("lan"));
    assert_eq!(stack.inspect("web", &format!("{{{{{endpoint}.IPAddress}}}}")), address);
    let id = stack.inspect("web", &format!("{{{{{endpoint}.NetworkID}}}}"));
    assert_eq!(id, stack.network_id("lan"));
    assert!(stack.reaches("db", "web"), "not found by its service name");
    assert!(stack.reaches("db", "front"), "not found by its alias");
    assert!(stack.reaches("web", "db"), "doesn't find the others");
}

#[test]
fn row_22_a_disconnected_container_gets_its_aliases_and_address_back() {
    let prefix = free_subnet(22);
    let mut stack = up("r22", &pair(&prefix));
    let before = stack.runs();
    disconnect(&stack, "web");
    stack.mended(&["service web/1: connect to lan"]);
    attached(&stack, &format!("{prefix}.77"));
    assert_eq!(stack.runs(), before);
}

#[test]
fn row_22b_connected_by_hand_without_its_aliases_is_reconnected_with_them() {
    let prefix = free_subnet(23);
    let mut stack = up("r22b", &pair(&prefix));
    let before = stack.runs();
    stack.while_away(|stack| {
        disconnect(stack, "web");
        docker(&["network", "connect", &stack.network("lan"), &stack.container("web")]);
        assert!(!stack.reaches("db", "web"), "the fault is none on this engine");
    });
    stack.mended(&["service web/1: disconnect from ID", "service web/1: connect to lan"]);
    attached(&stack, &format!("{prefix}.77"));
    assert_eq!(stack.runs(), before);
}

#[test]
fn row_22b_connected_by_hand_with_another_address_is_reconnected_with_its_own() {
    let prefix = free_subnet(24);
    let mut stack = up("r22b-ip", &pair(&prefix));
    let before = stack.runs();
    stack.while_away(|stack| {
        disconnect(stack, "web");
        let (network, web) = (stack.network("lan"), stack.container("web"));
        let other = format!("{prefix}.99");
        let names = ["--alias", "web", "--alias", "front", "--ip", &other];
        docker(&[&["network", "connect"], &names[..], &[&network, &web]].concat());
    });
    stack.mended(&["service web/1: disconnect from ID", "service web/1: connect to lan"]);
    attached(&stack, &format!("{prefix}.77"));
    assert_eq!(stack.runs(), before);
}

#[test]
fn row_22b_a_stopped_container_connected_by_hand_has_its_aliases_when_it_starts() {
    let prefix = free_subnet(28);
    let mut stack = up("r22b-off", &pair(&prefix));
    let before = stack.identities();
    stack.while_away(|stack| {
        docker(&["kill", &stack.container("web")]);
        disconnect(stack, "web");
        docker(&["network", "connect", &stack.network("lan"), &stack.container("web")]);
    });
    stack.mended(&[
        "service web/1: disconnect from P_lan",
        "service web/1: connect to lan",
        "service web/1: start",
    ]);
    attached(&stack, &format!("{prefix}.77"));
    assert_eq!(stack.identities(), before);
}

#[test]
fn row_23_a_removed_network_comes_back_with_all_its_members() {
    let prefix = free_subnet(25);
    let mut stack = up("r23", &pair(&prefix));
    let (before, network) = (stack.runs(), stack.network_id("lan"));
    stack.while_away(|stack| {
        disconnect(stack, "db");
        disconnect(stack, "web");
        docker(&["network", "rm", &stack.network("lan")]);
    });
    stack.mended_in_any_order(
        &["network P_lan: create", "service db/1: connect to lan", "service web/1: connect to lan"],
        &[
            ("network P_lan: create", "service db/1: connect to lan"),
            ("network P_lan: create", "service web/1: connect to lan"),
        ],
    );
    assert_eq!(stack.normal_plans().len(), 1, "it took more than one pass");
    attached(&stack, &format!("{prefix}.77"));
    assert_eq!(stack.runs(), before);
    assert_ne!(stack.network_id("lan"), network);
}

#[test]
fn row_23_a_network_removed_under_stopped_members_comes_back_and_they_are_started() {
    let prefix = free_subnet(26);
    let mut stack = up("r23-off", &pair(&prefix));
    let before = stack.identities();
    stack.while_away(|stack| {
        docker(&["kill", &stack.container("db"), &stack.container("web")]);
        docker(&["network", "rm", &stack.network("lan")]);
        // Until then each might have been stopped by hand, and held.
        std::thread::sleep(homeostat::engine::exits::DECIDED_WITHIN);
    });
    let create = "network P_lan: create";
    let (db, web) = ("service db/1: connect to lan", "service web/1: connect to lan");
    let (start_db, start_web) = ("service db/1: start", "service web/1: start");
    stack.mended_in_any_order(
        &[create, db, web, start_db, start_web],
        &[(create, db), (create, web), (db, start_db), (web, start_web), (start_db, start_web)],
    );
    let plans = stack.normal_plans();
    assert_eq!(plans.len(), 1, "it took more than one pass:\n{}", plans.join("\n"));
    attached(&stack, &format!("{prefix}.77"));
    assert_eq!(stack.identities(), before);
}

#[test]
fn row_24_members_of_a_network_recreated_under_its_name_are_moved_to_it() {
    let mut stack = up("r24", PLAIN);
    let (before, network) = (stack.runs(), stack.network_id("lan"));
    stack.while_away(|stack| {
        disconnect(stack, "db");
        disconnect(stack, "web");
        docker(&["network", "rm", &stack.network("lan")]);
        docker(&["network", "create", &stack.network("lan")]);
    });
    stack.mended_in_any_order(
        &["service db/1: connect to lan", "service web/1: connect to lan"],
        &[],
    );
    assert_ne!(stack.network_id("lan"), network);
    assert!(stack.reaches("db", "front") && stack.reaches("web", "db"));
    assert_eq!(stack.runs(), before);
    docker(&["network", "disconnect", "-f", &stack.network("lan"), &stack.container("web")]);
    stack.mended(&["service web/1: connect to lan"]);
    remove_foreign_network(stack, "lan");
}

#[test]
fn row_24_stopped_members_of_a_network_recreated_under_its_name_are_moved_to_it() {
    let mut stack = up("r24-off", PLAIN);
    let before = stack.identities();
    stack.while_away(|stack| {
        docker(&["kill", &stack.container("db"), &stack.container("web")]);
        docker(&["network", "rm", &stack.network("lan")]);
        docker(&["network", "create", &stack.network("lan")]);
    });
    let (db, web) = ("service db/1: connect to lan", "service web/1: connect to lan");
    let (start_db, start_web) = ("service db/1: start", "service web/1: start");
    stack.mended_in_any_order(
        &[db, web, start_db, start_web],
        &[(db, start_db), (web, start_web), (start_db, start_web)],
    );
    assert!(stack.reaches("db", "front") && stack.reaches("web", "db"));
    assert_eq!(stack.identities(), before);
    remove_foreign_network(stack, "lan");
}

/// The engine's own network of a project's name has no labels that would tell whose it is.
fn remove_foreign_network(stack: Stack, key: &str) {
    let network = stack.network(key);
    drop(stack);
    docker(&["network", "rm", &network]);
}

#[test]
fn row_24b_an_address_taken_by_another_container_blocks_and_names_it() {
    let prefix = free_subnet(27);
    let mut stack = up("r24b", &pair(&prefix));
    let before = stack.runs();
    let address = format!("{prefix}.77");
    let thief = stack.while_away(|stack| {
        disconnect(stack, "web");
        let name = format!("{}-thief", stack.project);
        let network = stack.network("lan");
        Stranger::run(name, &["--network", &network, "--ip", &address, IMAGE, "sleep"])
    });
    let held = format!("blocked(address {address} on P_lan is held by container P-thief)");
    stack.says("service web/1", &held);
    stack.stays_idle();
    assert_eq!(stack.runs(), before, "the container must be left running");
    assert!(thief.runs(), "the holder must be left alone");
    drop(thief);
    stack.mended(&["service web/1: connect to lan"]);
    attached(&stack, &address);
    assert_eq!(stack.runs(), before);
}

#[test]
fn row_25_a_missing_external_network_blocks_and_is_never_invented() {
    let compose = r#"
services:
  db: {image: "homeostat-test/stand-ins:1", command: ["sleep"], networks: [own]}
  web:
    image: homeostat-test/stand-ins:1
    command: ["sleep"]
    networks: [theirs]
networks:
  own: {}
  theirs: {external: true, name: NAME}
"#;
    let name = format!("it-r25-theirs-{}", std::process::id());
    let compose = compose.replace("NAME", &name);
    let mut stack = Stack::start("r25", Setup { compose, ..Setup::default() });
    let missing = format!(
        "blocked(external network {name} is missing; create it with `docker network create {name}`)"
    );
    stack.says(&format!("network {name}"), &missing);
    stack.says("service web/1", &missing);
    stack.did(&["network P_own: create", "service db/1: create P-db-1", "service db/1: start"]);
    stack.stays_idle();
    assert_eq!(stack.ids().len(), 1);
    assert_eq!(docker(&["network", "ls", "-q", "--filter", &format!("name={name}")]), "");
    docker(&["network", "create", &name]);
    stack.mended(&["service web/1: create P-web-1", "service web/1: start"]);
    drop(stack);
    // What isn't ours is still there.
    docker(&["network", "rm", &name]);
}

#[test]
fn a_strangers_network_of_our_name_stops_no_start() {
    let mut stack = up("twins", PLAIN);
    let (name, ours) = (stack.network("lan"), stack.network_id("lan"));
    let twin = Twin::of(&name);
    stack.until(SOON, "the twin is told", |view| {
        view.report.to_string().contains(&format!("{} is used", &ours[..12]))
    });
    docker(&["kill", &stack.container("web")]);
    stack.mended(&["service web/1: start"]);
    docker(&["rm", "-f", &stack.container("web")]);
    stack.mended(&["service web/1: create P-web-1", "service web/1: start"]);
    let id = format!("{{{{(index .NetworkSettings.Networks \"{name}\").NetworkID}}}}");
    assert_eq!(stack.inspect("web", &id), ours);
    assert!(stack.reaches("db", "front"), "not found by its alias");
    stack.stays_idle();
    drop(twin);
}

/// Removed at the end of the test.
struct Twin(String);

impl Twin {
    /// The CLI refuses a second one of that name; the engine doesn't.
    fn of(name: &str) -> Self {
        let engine = client(None, Tier::Reconcile);
        let body = serde_json::Map::from_iter([("Name".into(), name.into())]).into();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let reply = runtime.block_on(engine.write(&Write::CreateNetwork { body }));
        Self(reply.expect("it is made").id.expect("an ID"))
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        docker(&["network", "rm", &self.0]);
    }
}
