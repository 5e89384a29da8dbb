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
    w.expect(&["?"]);
}

#[test]
fn an_image_that_may_not_be_pulled_blocks_with_the_mend() {
    pulling(PullPolicy::Never).expect(&["?"]);
    let mut w = pulling(PullPolicy::Build);
    w.edit("web", |mut s| {
        s.has_build = true;
        s
    });
    w.expect(&["?"]);
}

#[test]
fn always_pulls_before_a_create_once_for_each_generation() {
    let mut w = pulling(PullPolicy::Always);
    w.image("hub/web:1", "sha256:1");
    w.expect(&["?"]);
    w.memory.pulled.insert("hub/web:1".into());
    w.expect(&["?"]);
    let mut w = pulling(PullPolicy::Always).up();
    w.expect(&["?"]);
}

#[test]
fn a_pull_that_failed_waits_and_says_why() {
    let mut w = pulling(PullPolicy::Missing);
    let not_before = w.now.mono.after(std::time::Duration::from_secs(4));
    let backoff = Backoff { failures: 1, not_before, last: "no route".into(), ready_since: None };
    w.memory.resource_backoff.insert(Resource::Image("hub/web:1".into()), backoff);
    w.expect(&["?"]);
}

#[test]
fn a_removed_volume_is_made_and_said() {
    let mut w = World::new([service("db").volume("data")]);
    w.expect(&["?"]);
    w.memory.applied.insert("db".into(), "any".into());
    w.expect(&["?"]);
}

#[test]
fn a_changed_volume_is_never_replaced() {
    let mut w = World::new([service("db").volume("data")]).up();
    let volume = w.project.volumes.get_mut("data").expect("there");
    volume.canonical = canonical(serde_json::json!({"driver": "nfs"}));
    w.expect(&["?"]);
}

#[test]
fn a_missing_external_volume_is_never_invented() {
    let mut w = World::new([service("db").volume("data")]);
    w.project.volumes.get_mut("data").expect("there").external = true;
    w.expect(&["?"]);
}
