//! Networks that are missing, strange, doubled or changed, and endpoints that are wrong.

use std::time::Duration;

use super::fixture::{World, at, id, made_network, network, service, slot};
use crate::compose::types::ServiceNetwork;
use crate::observed::{ContainerState, Endpoint, labels};
use crate::plan::Op;
use crate::plan::memory::Backoff;

fn web() -> World {
    let lan = ServiceNetwork { aliases: vec!["www".into()], ..at("10.0.0.2") };
    World::new([service("web").on("default", ServiceNetwork::default()).on("lan", lan)]).up()
}

#[test]
fn a_disconnected_container_is_connected_again() {
    let mut w = web();
    w.fault("web", |c| {
        c.networks.remove("p_lan");
    });
    w.expect(&["[]     -> #1 service web/1: connect to lan  (not connected)"]);
}

#[test]
fn an_endpoint_waits_for_its_own_failures_and_not_for_those_of_the_process() {
    let mut w = web();
    w.fault("web", |c| {
        c.networks.remove("p_lan");
    });
    let not_before = w.now.mono.after(Duration::from_secs(60));
    let fell = Backoff { failures: 9, not_before, ..Backoff::default() };
    w.memory.backoff.insert(slot("web", 1), fell.clone());
    w.expect(&["[]     -> #1 service web/1: connect to lan  (not connected)"]);
    w.memory.backoff.insert(slot("web", 1), Backoff { last: "no room".into(), ..fell });
    w.expect(&["service web/1: backoff(9 attempts, the last one failed: no room; next in 60.0 s)"]);
}

#[test]
fn a_container_without_its_aliases_or_address_is_connected_anew() {
    let mut w = web();
    w.fault("web", |c| {
        c.networks.get_mut("p_lan").expect("there").aliases = Some(vec!["web".into()]);
        c.networks.get_mut("p_default").expect("there").aliases = Some(vec![]);
    });
    w.expect(&[
        "[]     -> #1 service web/1: disconnect from net-default  (connected without its alias web)",
        "[1]    -> #2 service web/1: connect to default  (connected without its alias web)",
        "[]     -> #3 service web/1: disconnect from net-lan  (connected without its alias www)",
        "[3]    -> #4 service web/1: connect to lan  (connected without its alias www)",
    ]);
    let mut w = web();
    w.fault("web", |c| c.networks.get_mut("p_lan").expect("there").wanted_ipv4 = None);
    w.expect(&[
        "[]     -> #1 service web/1: disconnect from net-lan  (connected without its address 10.0.0.2)",
        "[1]    -> #2 service web/1: connect to lan  (connected without its address 10.0.0.2)",
    ]);
}

#[test]
fn what_only_the_list_has_shown_is_not_judged() {
    let mut w = web();
    w.fault("web", |c| {
        c.inspected = false;
        for endpoint in c.networks.values_mut() {
            endpoint.aliases = None;
            endpoint.wanted_ipv4 = None;
        }
    });
    w.expect(&[]);
}

#[test]
fn an_ipv6_address_in_another_spelling_is_the_same() {
    let lan = ServiceNetwork { ipv6_address: Some("fd00::1".into()), ..Default::default() };
    let mut w = World::new([service("web").on("lan", lan)]).up();
    w.fault("web", |c| {
        c.networks.get_mut("p_lan").expect("there").wanted_ipv6 = Some("fd00:0:0::0001".into());
    });
    w.expect(&[]);
}

#[test]
fn an_address_that_a_stranger_holds_blocks_and_the_container_keeps_running() {
    let mut w = web();
    w.fault("web", |c| {
        c.networks.remove("p_lan");
    });
    let endpoint =
        Endpoint { network_id: "net-lan".into(), ipv4: "10.0.0.2".into(), ..Endpoint::default() };
    w.stranger("x", |c| {
        c.networks.insert("p_lan".into(), endpoint);
    });
    w.expect(&["service web/1: blocked(address 10.0.0.2 on p_lan is held by container x)"]);
    w.exit("web", 1, 60);
    w.expect(&["service web/1: blocked(address 10.0.0.2 on p_lan is held by container x)"]);
    w.remove("web");
    w.expect(&[
        "[]     -> #1 service web/1: create p-web-1  (missing)",
        "service web/1: blocked(address 10.0.0.2 on p_lan is held by container x)",
    ]);
}

#[test]
fn a_removed_network_is_made_and_its_members_attached_again() {
    let mut w = World::new([service("a"), service("b")]).up();
    w.observed.networks.clear();
    w.fault("a", |c| c.networks.clear());
    w.exit("b", 1, 60);
    w.expect(&[
        "[]     -> #1 network p_default: create  (deleted by someone else)",
        "[1]    -> #2 service a/1: connect to default  (not connected)",
        "[1]    -> #3 service b/1: connect to default  (connected to another network of that name)",
        "[3]    -> #4 service b/1: start  (exited 1)",
    ]);
}

#[test]
fn members_move_to_a_network_that_was_recreated_under_its_name() {
    let mut w = World::new([service("a"), service("b")]).up();
    w.observed.networks.clear();
    w.observed.networks.insert("net-2".into(), made_network(&network("default"), "net-2"));
    w.exit("b", 1, 60);
    w.expect(&[
        "[]     -> #1 service a/1: disconnect from p_default  (connected to another network of that name)",
        "[1]    -> #2 service a/1: connect to default  (connected to another network of that name)",
        "[]     -> #3 service b/1: connect to default  (connected to another network of that name)",
        "[3]    -> #4 service b/1: start  (exited 1)",
    ]);
}

#[test]
fn of_several_networks_of_one_name_ours_wins() {
    let mut w = World::new([service("a")]).up();
    let mut other = made_network(&network("default"), "net-0");
    other.labels.clear();
    w.observed.networks.insert("net-0".into(), other);
    w.expect(&[
        "network p_default: notice(2 networks have this name, net-default is used; Docker Compose may fail to start containers until `docker network rm` removes the others)",
    ]);
    w.fault("a", |c| c.networks.get_mut("p_default").expect("there").network_id = "net-0".into());
    w.expect(&[
        "[]     -> #1 service a/1: disconnect from net-0  (connected to another network of that name)",
        "[1]    -> #2 service a/1: connect to default  (connected to another network of that name)",
        "network p_default: notice(2 networks have this name, net-default is used; Docker Compose may fail to start containers until `docker network rm` removes the others)",
    ]);
}

#[test]
fn a_container_that_knows_a_network_of_several_by_its_name_only_is_told_the_id() {
    let mut w = web();
    let mut other = made_network(&network("lan"), "net-0");
    other.labels.clear();
    w.observed.networks.insert("net-0".into(), other);
    let notice = "network p_lan: notice(2 networks have this name, net-lan is used; Docker Compose may fail to start containers until `docker network rm` removes the others)";
    w.fault("web", |c| {
        c.state = ContainerState::Created;
        c.started = None;
        for endpoint in c.networks.values_mut() {
            endpoint.network_id.clear();
        }
    });
    w.expect(&[
        "[]     -> #1 service web/1: connect to lan  (connected to another network of that name)",
        "[1]    -> #2 service web/1: start  (never started)",
        notice,
    ]);
    w.remove("web");
    let plan = w.planned().0;
    let twins = plan.steps.iter().find_map(|step| match &step.op {
        Op::Create { twins, .. } => Some(twins.clone()),
        _ => None,
    });
    assert_eq!(twins, Some(vec![("p_lan".into(), "net-lan".into())]));
}

#[test]
fn a_second_network_of_ours_goes_when_nobody_uses_it_and_no_other() {
    let mut w = World::new([service("a")]).up();
    w.observed.networks.insert("net-0".into(), made_network(&network("default"), "net-0"));
    w.expect(&[
        "[]     -> #1 network p_default: remove  (a second one of that name, and nobody uses it)",
    ]);
    let notice = "network p_default: notice(2 networks have this name, net-default is used; Docker Compose may fail to start containers until `docker network rm` removes the others)";
    let mut used = w.clone();
    let endpoint = Endpoint { network_id: "net-0".into(), ..Endpoint::default() };
    used.stranger("x", |c| {
        c.state = ContainerState::Exited;
        c.networks.insert("p_default".into(), endpoint);
    });
    used.expect(&[notice]);
    for label in [labels::PROJECT, labels::NETWORK] {
        let mut others = w.clone();
        let twin = others.observed.networks.get_mut("net-0").expect("there");
        twin.labels.insert(label.into(), "other".into());
        others.expect(&[notice]);
    }
}

#[test]
fn a_network_that_another_made_is_used_as_it_is() {
    let mut w = World::new([service("a")]).up();
    w.observed.networks.get_mut("net-default").expect("there").labels.clear();
    w.expect(&["network p_default: notice(not made by this project; used as it is)"]);
}

#[test]
fn a_missing_external_network_is_never_invented() {
    let mut w = World::new([service("a"), service("b").on("lan", ServiceNetwork::default())]);
    w.project.networks.get_mut("lan").expect("there").external = true;
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[1]    -> #2 service a/1: create p-a-1  (missing)",
        "[2]    -> #3 service a/1: start  (new container)",
        "network p_lan: blocked(external network p_lan is missing; create it with `docker network create p_lan`)",
        "service b/1: blocked(external network p_lan is missing; create it with `docker network create p_lan`)",
    ]);
    let mut w = w.up();
    w.observed.networks.remove("net-lan");
    w.expect(&[
        "network p_lan: blocked(external network p_lan is missing; create it with `docker network create p_lan`)",
        "service b/1: blocked(external network p_lan is missing; create it with `docker network create p_lan`)",
    ]);
}

fn changed() -> World {
    let mut w = World::new([service("a"), service("b")]).up();
    w.project.networks.get_mut("default").expect("there").canonical =
        super::fixture::canonical(serde_json::json!({"driver": "macvlan"}));
    w
}

#[test]
fn a_changed_network_is_made_anew_around_its_members() {
    let mut w = changed();
    w.exit("b", 1, 60);
    w.expect(&[
        "[]     -> #1 service a/1: disconnect from net-default  (replaced)",
        "[1]    -> #2 network p_default: remove  (configuration changed)",
        "[2]    -> #3 network p_default: create  (configuration changed)",
        "[1,3]  -> #4 service a/1: connect to default  (connected to another network of that name)",
        "[3]    -> #5 service b/1: connect to default  (connected to another network of that name)",
        "[5]    -> #6 service b/1: start  (exited 1)",
    ]);
}

#[test]
fn a_changed_network_stays_while_a_member_could_not_come_back() {
    let stays = |change: fn(&mut World)| {
        let mut w = changed();
        change(&mut w);
        let text = w.text();
        assert!(text.contains("blocked(its configuration changed, but "), "{text}");
        assert!(!text.contains("disconnect"), "{text}");
    };
    stays(|w| {
        w.hold("a");
    });
    stays(|w| {
        w.memory.busy.insert(crate::plan::Resource::Slot(slot("a", 1)));
    });
    stays(|w| {
        w.scope.services.insert("b".into());
    });
    stays(|w| {
        let endpoint = w.observed.containers[&id("a1")].networks["p_default"].clone();
        w.stranger("x", |c| {
            c.networks.insert("p_default".into(), endpoint);
        });
    });
    stays(|w| w.fault("a", |c| c.oneoff = true));
    stays(|w| {
        w.project.services.remove("a");
    });
}

#[test]
fn a_changed_network_comes_back_to_a_container_whose_replacement_waits() {
    let mut w = changed();
    w.edit("a", |mut s| {
        s.image = Some("newer".into());
        s.pull_policy = crate::compose::types::PullPolicy::Never;
        s.changed("image")
    });
    w.expect(&[
        "[]     -> #1 service a/1: disconnect from net-default  (replaced)",
        "[]     -> #2 service b/1: disconnect from net-default  (replaced)",
        "[1,2]  -> #3 network p_default: remove  (configuration changed)",
        "[3]    -> #4 network p_default: create  (configuration changed)",
        "[1,4]  -> #5 service a/1: connect to default  (connected to another network of that name)",
        "[2,4]  -> #6 service b/1: connect to default  (connected to another network of that name)",
        "service a/1: blocked(image newer is missing and may not be pulled; `docker pull newer` provides it)",
    ]);
}

#[test]
fn a_network_of_another_compose_version_is_left_alone() {
    let mut w = changed();
    let found = w.observed.networks.get_mut("net-default").expect("there");
    found.labels.insert(labels::VERSION.into(), "2.40.0".into());
    w.expect(&[
        "network p_default: notice(its configuration hash was written by another Compose version)",
    ]);
}

#[test]
fn before_api_1_44_the_other_networks_are_connected_between_create_and_start() {
    let mut w = web();
    w.remove("web");
    w.observed.engine.capabilities.many_endpoints_at_create = false;
    w.expect(&[
        "[]     -> #1 service web/1: create p-web-1  (missing)",
        "[1]    -> #2 service web/1: connect to lan  (new container)",
        "[1,2]  -> #3 service web/1: start  (new container)",
    ]);
    w.observed.engine.capabilities.many_endpoints_at_create = true;
    w.expect(&[
        "[]     -> #1 service web/1: create p-web-1  (missing)",
        "[1]    -> #2 service web/1: start  (new container)",
    ]);
}

#[test]
fn a_container_that_never_started_knows_its_network_by_name() {
    let mut w = web();
    w.fault("web", |c| {
        c.state = ContainerState::Created;
        c.started = None;
        for endpoint in c.networks.values_mut() {
            endpoint.network_id.clear();
        }
    });
    w.expect(&["[]     -> #1 service web/1: start  (never started)"]);
}

#[test]
fn a_paused_container_is_connected_too() {
    let mut w = web();
    w.fault("web", |c| {
        c.state = ContainerState::Paused;
        c.networks.remove("p_default");
    });
    w.expect(&[
        "[]     -> #1 service web/1: connect to default  (not connected)",
        "service web/1: held(paused by hand; `docker unpause p-web-1` ends it)",
    ]);
}
