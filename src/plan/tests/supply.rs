//! Images and volumes.

use super::fixture::{World, canonical, service};
use crate::compose::types::{PullPolicy, Service};
use crate::plan::Resource;
use crate::plan::memory::Backoff;

fn pulling(policy: PullPolicy) -> World {
    World::new([Service { image: Some("hub/web:1".into()), pull_policy: policy, ..service("web") }])
}

#[test]
fn a_missing_image_is_pulled_once_for_all_its_services() {
    let mut w = pulling(PullPolicy::Missing);
    w.set(Service { image: Some("hub/web:1".into()), ..service("other") });
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[]     -> #2 image hub/web:1: pull  (missing)",
        "[1,2]  -> #3 service other/1: create p-other-1  (missing)",
        "[3]    -> #4 service other/1: start  (new container)",
        "[1,2]  -> #5 service web/1: create p-web-1  (missing)",
        "[5]    -> #6 service web/1: start  (new container)",
    ]);
}

#[test]
fn an_image_that_may_not_be_pulled_blocks_with_the_mend() {
    pulling(PullPolicy::Never).expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "service web/1: blocked(image hub/web:1 is missing and may not be pulled; `docker pull hub/web:1` provides it)",
    ]);
    let mut w = pulling(PullPolicy::Build);
    w.edit("web", |mut s| {
        s.has_build = true;
        s
    });
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "service web/1: blocked(image hub/web:1 is missing and may not be pulled; `docker compose build web` provides it)",
    ]);
}

#[test]
fn what_only_a_build_makes_is_never_pulled() {
    for policy in [PullPolicy::Missing, PullPolicy::Always] {
        let mut w = pulling(policy);
        w.edit("web", |s| Service { has_build: true, names_no_image: true, ..s });
        w.expect(&[
            "[]     -> #1 network p_default: create  (missing)",
            "service web/1: blocked(image hub/web:1 is missing; run `docker compose build web`)",
        ]);
        w.image("hub/web:1", "sha256:1");
        w.expect(&[
            "[]     -> #1 network p_default: create  (missing)",
            "[1]    -> #2 service web/1: create p-web-1  (missing)",
            "[2]    -> #3 service web/1: start  (new container)",
        ]);
    }
}

#[test]
fn always_pulls_before_a_create_once_for_each_generation() {
    let mut w = pulling(PullPolicy::Always);
    w.image("hub/web:1", "sha256:1");
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[]     -> #2 image hub/web:1: pull  (pull policy)",
        "[1,2]  -> #3 service web/1: create p-web-1  (missing)",
        "[3]    -> #4 service web/1: start  (new container)",
    ]);
    w.memory.pulled.insert("hub/web:1".into());
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[1]    -> #2 service web/1: create p-web-1  (missing)",
        "[2]    -> #3 service web/1: start  (new container)",
    ]);
    let mut w = pulling(PullPolicy::Always).up();
    w.expect(&[]);
}

#[test]
fn a_pull_that_failed_waits_and_says_why() {
    let mut w = pulling(PullPolicy::Missing);
    let not_before = w.now.mono.after(std::time::Duration::from_secs(4));
    let backoff =
        Backoff { failures: 1, not_before, last: "no route".into(), ..Backoff::default() };
    w.memory.resource_backoff.insert(Resource::Image("hub/web:1".into()), backoff);
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "image hub/web:1: backoff(1 attempt, the last one failed: no route; next in 4.0 s)",
        "service web/1: blocked(image hub/web:1 can't be pulled: backoff(1 attempt, the last one failed: no route; next in 4.0 s))",
    ]);
}

#[test]
fn a_removed_volume_is_made_and_said() {
    let mut w = World::new([service("db").volume("data")]);
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[]     -> #2 volume p_data: create  (missing)",
        "[1,2]  -> #3 service db/1: create p-db-1  (missing)",
        "[3]    -> #4 service db/1: start  (new container)",
    ]);
    let hash = w.desired().hashes["db"].clone();
    w.memory.applied.insert("db".into(), hash);
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[]     -> #2 volume p_data: create  (deleted by someone else)",
        "[1,2]  -> #3 service db/1: create p-db-1  (deleted by someone else)",
        "[3]    -> #4 service db/1: start  (new container)",
        "volume p_data: notice(was removed, and its data with it; db starts with an empty one)",
    ]);
}

#[test]
fn a_volume_that_an_edit_adds_was_not_removed() {
    let mut w = World::new([service("db").volume("data")]);
    w.memory.applied.insert("db".into(), "of an earlier edit".into());
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "[]     -> #2 volume p_data: create  (missing)",
        "[1,2]  -> #3 service db/1: create p-db-1  (deleted by someone else)",
        "[3]    -> #4 service db/1: start  (new container)",
    ]);
}

#[test]
fn a_changed_volume_is_never_replaced() {
    let mut w = World::new([service("db").volume("data")]).up();
    let volume = w.project.volumes.get_mut("data").expect("there");
    volume.canonical = canonical(serde_json::json!({"driver": "nfs"}));
    w.expect(&[
        "volume p_data: notice(its configuration changed; a volume is never replaced, move the data to a new one by hand)",
    ]);
}

#[test]
fn a_missing_external_volume_is_never_invented() {
    let mut w = World::new([service("db").volume("data")]);
    w.project.volumes.get_mut("data").expect("there").external = true;
    w.expect(&[
        "[]     -> #1 network p_default: create  (missing)",
        "volume p_data: blocked(external volume p_data is missing; create it with `docker volume create p_data`)",
        "service db/1: blocked(external volume p_data is missing; create it with `docker volume create p_data`)",
    ]);
}
