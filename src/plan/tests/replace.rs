//! Containers that no longer fit, and replacements that somebody left half done.

use super::fixture::{World, ago, at, id, service};
use crate::compose::types::RestartPolicy;
use crate::observed::{Container, ContainerState, PublishedPort};

const OLD: &str = "aaaaaaaaaaaa";
const NEW: &str = "bbbbbbbbbbbb";

/// Service web in its old form, running for an hour as container `OLD`, after an edit.
fn edited() -> World {
    let mut w = World::new([service("web")]).up();
    rename_id(&mut w, "web1", OLD);
    w.edit("web", |s| s.changed("command"));
    w
}

fn rename_id(w: &mut World, from: &str, to: &str) {
    let mut container = w.observed.containers.remove(&id(from)).expect("there");
    container.id = id(to);
    w.observed.containers.insert(id(to), container);
}

/// The replacement as desired, made ten seconds ago.
fn half_made(w: &mut World, change: impl FnOnce(&mut Container)) {
    let mut container = w.made(&w.desired(), &super::fixture::slot("web", 1), NEW);
    container.name = format!("{OLD}_p-web-1");
    container.created = ago(10);
    change(&mut container);
    w.observed.containers.insert(container.id.clone(), container.into());
}

fn old(w: &mut World) -> &mut Container {
    w.observed.containers.get_mut(&id(OLD)).expect("there")
}

#[test]
fn an_edit_makes_the_new_container_before_it_stops_the_old_one() {
    edited().expect(&[
        "[]     -> #1 service web/1: create f24abc34b13f_p-web-1  (configuration changed)",
        "[1]    -> #2 service web/1: stop aaaaaaaaaaaa  (replaced)",
        "[2]    -> #3 service web/1: rename to aaaaaaaaaaaa_p-web-1  (kept until the new one is ready)",
        "[3]    -> #4 service web/1: rename to p-web-1  (replaced)",
        "[1,3,4] -> #5 service web/1: start  (replaced)",
    ]);
}

#[test]
fn a_new_image_id_replaces() {
    let mut w = World::new([service("web")]).up();
    w.image("app", "sha256:newer");
    w.expect(&[
        "[]     -> #1 service web/1: create 659a7fb2af47_p-web-1  (image changed)",
        "[1]    -> #2 service web/1: stop web1  (replaced)",
        "[2]    -> #3 service web/1: rename to web1_p-web-1  (kept until the new one is ready)",
        "[3]    -> #4 service web/1: rename to p-web-1  (replaced)",
        "[1,3,4] -> #5 service web/1: start  (replaced)",
    ]);
}

#[test]
fn another_compose_version_is_left_alone_until_an_edit() {
    let mut w = edited();
    old(&mut w).compose_version = Some("2.40.0".into());
    w.expect(&[]);
    w.memory.applied.insert("web".into(), "before".into());
    assert_eq!(w.planned().0.steps.len(), 5);
}

#[test]
fn a_container_without_a_hash_is_used_as_it_is() {
    let mut w = edited();
    old(&mut w).config_hash = None;
    w.expect(&[]);
}

#[test]
fn a_replacement_by_somebody_else_is_left_to_them_for_a_minute() {
    let mut w = edited();
    half_made(&mut w, |_| {});
    w.expect(&["service web/1: waiting_on(an unfinished replacement by another tool)"]);
    assert_eq!(w.planned().1.wake, Some(w.now.mono.after(std::time::Duration::from_secs(50))));
}

#[test]
fn our_own_half_made_replacement_is_finished_at_once() {
    let mut w = edited();
    half_made(&mut w, |_| {});
    w.memory.owned.insert(id(NEW));
    w.expect(&[
        "[]     -> #1 service web/1: stop aaaaaaaaaaaa  (left over from an unfinished replacement)",
        "[1]    -> #2 service web/1: remove aaaaaaaaaaaa  (left over from an unfinished replacement)",
        "[2]    -> #3 service web/1: rename to p-web-1  (left over from an unfinished replacement)",
        "[2,3]  -> #4 service web/1: start  (never started)",
    ]);
}

#[test]
fn the_old_container_goes_after_the_new_one_is_attached() {
    let mut w = edited();
    half_made(&mut w, |c| c.networks.clear());
    w.memory.owned.insert(id(NEW));
    w.expect(&[
        "[]     -> #1 service web/1: connect to default  (not connected)",
        "[1]    -> #2 service web/1: stop aaaaaaaaaaaa  (left over from an unfinished replacement)",
        "[2]    -> #3 service web/1: remove aaaaaaaaaaaa  (left over from an unfinished replacement)",
        "[1,3]  -> #4 service web/1: rename to p-web-1  (left over from an unfinished replacement)",
        "[1,3,4] -> #5 service web/1: start  (never started)",
    ]);
}

#[test]
fn a_half_made_replacement_with_its_old_container_stopped_is_finished() {
    let mut w = edited();
    half_made(&mut w, |c| c.created = ago(100));
    old(&mut w).state = ContainerState::Exited;
    w.expect(&[
        "[]     -> #1 service web/1: remove aaaaaaaaaaaa  (left over from an unfinished replacement)",
        "[1]    -> #2 service web/1: rename to p-web-1  (left over from an unfinished replacement)",
        "[1,2]  -> #3 service web/1: start  (never started)",
    ]);
}

#[test]
fn a_half_made_replacement_alone_gets_its_name() {
    let mut w = edited();
    half_made(&mut w, |c| c.created = ago(100));
    w.observed.containers.remove(&id(OLD));
    w.expect(&[
        "[]     -> #1 service web/1: rename to p-web-1  (left over from an unfinished replacement)",
        "[1]    -> #2 service web/1: start  (never started)",
    ]);
    w.observed.containers.get_mut(&id(NEW)).expect("there").created = ago(10);
    w.expect(&["service web/1: waiting_on(an unfinished replacement by another tool)"]);
}

#[test]
fn a_replacement_that_only_lacks_its_start_is_started() {
    let mut w = edited();
    half_made(&mut w, |c| c.name = "p-web-1".into());
    w.observed.containers.remove(&id(OLD));
    w.expect(&["[]     -> #1 service web/1: start  (never started)"]);
}

#[test]
fn a_half_made_replacement_that_was_edited_again_goes_with_the_old_container() {
    let mut w = edited();
    half_made(&mut w, |_| {});
    w.memory.owned.insert(id(NEW));
    w.edit("web", |s| s.changed("again"));
    w.expect(&[
        "[]     -> #1 service web/1: create bbbbbbbbbbbb_p-web-1  (configuration changed)",
        "[1]    -> #2 service web/1: stop aaaaaaaaaaaa  (replaced)",
        "[2]    -> #3 service web/1: remove aaaaaaaaaaaa  (replaced)",
        "[1]    -> #4 service web/1: remove bbbbbbbbbbbb  (replaced)",
        "[3,4]  -> #5 service web/1: rename to p-web-1  (replaced)",
        "[1,3,4,5] -> #6 service web/1: start  (replaced)",
    ]);
}

#[test]
fn the_old_container_goes_only_when_the_new_one_can_start() {
    let mut w = World::new([service("db").checked(), service("web").after_healthy("db")]).up();
    w.fault("db", |c| c.health = crate::observed::Health::Starting);
    rename_id(&mut w, "web1", OLD);
    w.edit("web", |s| s.changed("command"));
    w.expect(&["service web/1: waiting_on(db healthy)"]);
    half_made(&mut w, |_| {});
    w.memory.owned.insert(id(NEW));
    w.expect(&["service web/1: waiting_on(db healthy)"]);
}

#[test]
fn of_two_containers_that_fit_the_running_one_stays() {
    let mut w = World::new([service("web")]).up();
    rename_id(&mut w, "web1", OLD);
    half_made(&mut w, |_| {});
    w.memory.owned.insert(id(NEW));
    w.expect(&[
        "[]     -> #1 service web/1: remove bbbbbbbbbbbb  (left over from an unfinished replacement)",
    ]);
}

#[test]
fn an_update_whose_image_cannot_be_had_leaves_the_old_version_working() {
    let mut w = edited();
    w.edit("web", |mut s| {
        s.image = Some("newer".into());
        s.pull_policy = crate::compose::types::PullPolicy::Never;
        s
    });
    w.expect(&[
        "service web/1: blocked(image newer is missing and may not be pulled; `docker pull newer` provides it)",
    ]);
    let container = old(&mut w);
    container.state = ContainerState::Exited;
    container.exit_code = Some(1);
    w.expect(&[
        "[]     -> #1 service web/1: start  (exited 1)",
        "service web/1: blocked(image newer is missing and may not be pulled; `docker pull newer` provides it)",
    ]);
}

#[test]
fn a_name_that_a_stranger_holds_blocks_and_one_of_ours_gives_it_back() {
    let mut w = World::new([service("a"), service("b")]).up();
    w.remove("a");
    w.stranger("x", |c| c.name = "p-a-1".into());
    w.expect(&["service a/1: blocked(the name p-a-1 is taken by container x)"]);
    w.observed.containers.remove(&id("x"));
    w.fault("b", |c| c.name = "p-a-1".into());
    w.expect(&[
        "[]     -> #1 service b/1: rename to p-b-1  (its name is in the way)",
        "[1]    -> #2 service a/1: create p-a-1  (missing)",
        "[2]    -> #3 service a/1: start  (new container)",
        "service b/1: notice(renamed to p-a-1 by hand; known by its labels)",
    ]);
}

#[test]
fn names_that_wandered_in_a_circle_go_back_one_after_the_other() {
    let mut w = World::new([service("a"), service("b"), service("c")]).up();
    w.remove("a");
    w.fault("c", |c| c.name = "p-a-1".into());
    w.fault("b", |c| c.name = "p-c-1".into());
    w.expect(&[
        "[]     -> #1 service b/1: rename to p-b-1  (its name is in the way)",
        "[1]    -> #2 service c/1: rename to p-c-1  (its name is in the way)",
        "[2]    -> #3 service a/1: create p-a-1  (missing)",
        "[3]    -> #4 service a/1: start  (new container)",
        "service b/1: notice(renamed to p-c-1 by hand; known by its labels)",
        "service c/1: notice(renamed to p-a-1 by hand; known by its labels)",
    ]);
}

#[test]
fn a_port_that_another_container_holds_blocks_and_names_it() {
    let mut w = World::new([service("web").port(8000)]).up();
    w.exit("web", 1, 60);
    w.stranger("x", |c| {
        let (host_ip, protocol) = ("127.0.0.1".into(), "tcp".into());
        c.published = vec![PublishedPort { host_ip, host_port: 8000, target: 1, protocol }];
    });
    w.expect(&["service web/1: blocked(port 8000 is bound by container x)"]);
}

#[test]
fn a_port_moves_from_one_service_to_another() {
    let mut w = World::new([service("a").port(80), service("b").port(81)]).up();
    w.edit("a", |mut s| {
        s.ports.clear();
        s.changed("ports")
    });
    w.edit("b", |mut s| {
        s.ports.clear();
        s.port(80).changed("ports")
    });
    w.expect(&[
        "[]     -> #1 service a/1: create f55ff16f66f4_p-a-1  (configuration changed)",
        "[1]    -> #2 service a/1: stop a1  (replaced)",
        "[2]    -> #3 service a/1: rename to a1_p-a-1  (kept until the new one is ready)",
        "[3]    -> #4 service a/1: rename to p-a-1  (replaced)",
        "[1,3,4] -> #5 service a/1: start  (replaced)",
        "[]     -> #6 service b/1: create 7dc96f776c84_p-b-1  (configuration changed)",
        "[2,6]  -> #7 service b/1: stop b1  (replaced)",
        "[7]    -> #8 service b/1: rename to b1_p-b-1  (kept until the new one is ready)",
        "[8]    -> #9 service b/1: rename to p-b-1  (replaced)",
        "[2,6,8,9] -> #10 service b/1: start  (replaced)",
    ]);
}

#[test]
fn services_that_exchange_their_ports_do_not_wait_for_one_another() {
    let mut w = World::new([service("a").port(80), service("b").port(81)]).up();
    for (name, port) in [("a", 81), ("b", 80)] {
        w.edit(name, |mut s| {
            s.ports.clear();
            s.port(port).changed("ports")
        });
    }
    w.expect(&[
        "[]     -> #1 service a/1: create f55ff16f66f4_p-a-1  (configuration changed)",
        "[1]    -> #2 service a/1: stop a1  (replaced)",
        "[2]    -> #3 service a/1: rename to a1_p-a-1  (kept until the new one is ready)",
        "[3]    -> #4 service a/1: rename to p-a-1  (replaced)",
        "[1,3,4] -> #5 service a/1: start  (replaced)",
        "[]     -> #6 service b/1: create 7dc96f776c84_p-b-1  (configuration changed)",
        "[2,6]  -> #7 service b/1: stop b1  (replaced)",
        "[7]    -> #8 service b/1: rename to b1_p-b-1  (kept until the new one is ready)",
        "[8]    -> #9 service b/1: rename to p-b-1  (replaced)",
        "[2,6,8,9] -> #10 service b/1: start  (replaced)",
    ]);
}

#[test]
fn services_that_exchange_their_addresses_do_not_wait_for_one_another() {
    let mut w = World::new([
        service("a").on("lan", at("10.0.0.2")),
        service("b").on("lan", at("10.0.0.3")),
    ])
    .up();
    for (name, address) in [("a", "10.0.0.3"), ("b", "10.0.0.2")] {
        w.edit(name, |s| s.on("lan", at(address)));
    }
    assert_eq!(w.planned().0.steps.len(), 10);
}

#[test]
fn a_job_that_ended_is_not_restarted_by_its_policy() {
    let mut w = World::new([service("web")]).up();
    w.edit("web", |mut s| {
        s.restart = RestartPolicy::OnFailure(Some(1));
        s
    });
    w.exit("web", 0, 60);
    w.expect(&[]);
}
