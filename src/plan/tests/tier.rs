//! The tier `heal` mends what is there, and prepares nothing that it may not finish.

use super::fixture::{World, canonical, service};
use crate::desired::OrphanPolicy;
use crate::engine::Tier;

fn healed(mut w: World) -> World {
    w.memory.tier = Tier::Heal;
    w
}

#[test]
fn what_is_missing_is_said_and_the_rest_is_mended() {
    let mut w = healed(World::new([service("a"), service("b"), service("c").after("b")]).up());
    w.exit("a", 1, 60);
    w.remove("b");
    w.exit("c", 1, 60);
    w.expect(&[
        "[]     -> #1 service a/1: start  (exited 1)",
        "service b/1: blocked(the tier heal doesn't allow `create p-b-1` (missing); start with \
         --tier reconcile)",
        "service c/1: waiting_on(what the tier heal doesn't allow)",
    ]);
}

#[test]
fn nothing_is_stopped_that_may_not_be_removed() {
    let mut w = World::new([service("a"), service("gone")]).up();
    w.project.services.remove("gone");
    w.policy.orphans = OrphanPolicy::Remove;
    let mut w = healed(w);
    let text = w.text();
    assert!(!text.contains(": stop"), "{text}");
    assert!(text.contains("the tier heal doesn't allow `remove gone1`"), "{text}");
}

#[test]
fn a_network_that_may_not_be_made_anew_keeps_its_members() {
    let mut w = World::new([service("a"), service("b")]).up();
    w.project.networks.get_mut("default").expect("there").canonical =
        canonical(serde_json::json!({"driver": "macvlan"}));
    let mut w = healed(w);
    w.exit("b", 1, 60);
    let text = w.text();
    assert!(!text.contains("disconnect from"), "{text}");
    assert!(text.contains("network p_default: blocked(the tier heal doesn't allow"), "{text}");
}

#[test]
fn an_edit_is_said_and_the_old_version_kept_running() {
    let mut w = healed(World::new([service("web")]).up());
    w.edit("web", |s| s.changed("x"));
    w.exit("web", 1, 60);
    w.expect(&[
        "[]     -> #1 service web/1: start  (exited 1)",
        "service web/1: blocked(configuration changed; the tier heal replaces no container: start \
         with --tier reconcile)",
    ]);
}

#[test]
fn the_tier_observe_shows_what_would_have_to_be_done() {
    let mut w = World::new([service("a")]).up();
    w.remove("a");
    let whole = w.text();
    w.memory.tier = Tier::Observe;
    assert_eq!(w.text(), whole);
}
