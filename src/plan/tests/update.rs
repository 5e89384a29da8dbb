//! Updates: the old container stays until the new one has proved itself, and comes back if that
//! fails, unless data could be lost by it.

use std::time::Duration;

use super::fixture::{World, ago, id, service, slot};
use crate::controller::updates;
use crate::desired::RollbackPolicy;
use crate::observed::{Container, ContainerState, Health, Mount};
use crate::plan::memory::Backoff;
use crate::plan::update::{Facts, Pin, Stage, Update, needs_person};

const OLD: &str = "aaaaaaaaaaaa";
const NEW: &str = "bbbbbbbbbbbb";
const WAITS: &str =
    "service web/1: waiting_on(the new container ready; the old one is kept until then)";

/// Service web in the midst of an update: the new container runs for `seconds`, the old one is
/// kept.
fn under_way(checked: bool, seconds: i64) -> World {
    let base = service("web");
    let mut w = World::new([if checked { base.checked() } else { base }]).up();
    let mut old = (*w.observed.containers.remove(&id("web1")).expect("there")).clone();
    old.id = id(OLD);
    old.name = format!("{OLD}_p-web-1");
    old.state = ContainerState::Exited;
    old.exit_code = Some(143);
    old.health = Health::None;
    w.edit("web", |s| s.changed("command"));
    w.memory.updates.insert(
        slot("web", 1),
        Update {
            kept: old.id.clone(),
            image: old.image_id.clone(),
            hash: old.config_hash.clone().unwrap_or_default(),
            ..Update::default()
        },
    );
    w.observed.containers.insert(old.id.clone(), old.into());
    let mut new = w.made(&w.desired(), &slot("web", 1), NEW);
    new.name = "p-web-1".into();
    new.created = ago(seconds + 1);
    new.started = Some(ago(seconds));
    new.state = ContainerState::Running;
    new.health = if checked { Health::Starting } else { Health::None };
    w.memory.owned.insert(new.id.clone());
    w.observed.containers.insert(new.id.clone(), new.into());
    w
}

fn new(w: &mut World) -> &mut Container {
    w.observed.containers.get_mut(&id(NEW)).expect("there")
}

fn dies(w: &mut World, seconds_ago: i64) {
    let new = new(w);
    new.state = ContainerState::Exited;
    new.exit_code = Some(1);
    new.finished = Some(ago(seconds_ago));
}

/// Keeps what a plan's report teaches, as the loop does.
fn learn(w: &mut World) -> Option<Stage> {
    let (_, report) = w.planned();
    let desired = w.desired();
    updates::observe(&mut w.memory, &desired, &w.observed, &report);
    report.updates.get(&slot("web", 1)).cloned()
}

fn stage(w: &mut World) -> Option<Stage> {
    w.planned().1.updates.get(&slot("web", 1)).cloned()
}

fn pinned(w: &World) -> Pin {
    w.memory.pins["web"].clone()
}

#[test]
fn the_old_container_is_kept_until_the_new_one_is_healthy() {
    let mut w = under_way(true, 5);
    w.expect(&[WAITS]);
    new(&mut w).health = Health::Healthy;
    assert_eq!(learn(&mut w), Some(Stage::Proven));
    w.expect(&["[]     -> #1 service web/1: remove aaaaaaaaaaaa  (the new one is ready)"]);
}

#[test]
fn without_a_check_ten_seconds_of_running_are_the_proof() {
    let mut w = under_way(false, 9);
    w.expect(&[
        "service web/1: waiting_on(the new container up for 10 s; the old one is kept until then)",
    ]);
    assert_eq!(w.planned().1.wake, Some(w.now.mono.after(Duration::from_secs(1))));
    assert_eq!(stage(&mut under_way(false, 10)), Some(Stage::Proven));
}

#[test]
fn a_new_container_that_is_not_ready_in_time_is_rolled_back() {
    // Three checks of half a minute, each of which may take as long.
    let mut w = under_way(true, 179);
    w.expect(&[WAITS]);
    let mut w = under_way(true, 180);
    w.expect(&["service web/1: waiting_on(the failed update being undone)"]);
    learn(&mut w);
    let hash = pinned(&w).before.split_off("image app, configuration ".len());
    assert_eq!(pinned(&w).why, "not ready within 180 s");
    w.expect(&[
        "[]     -> #1 service web/1: stop bbbbbbbbbbbb  (rolled back: not ready within 180 s)",
        "[1]    -> #2 service web/1: remove bbbbbbbbbbbb  (rolled back: not ready within 180 s)",
        "[2]    -> #3 service web/1: rename to p-web-1  (rolled back: not ready within 180 s)",
        "[3]    -> #4 service web/1: start  (rolled back: not ready within 180 s)",
        &format!(
            "service web/1: held(update failed: not ready within 180 s; rolled back to image app, \
             configuration {hash}; edit the file, or run `homeostat apply` to try again)"
        ),
    ]);
}

#[test]
fn the_stack_says_how_long_a_service_may_take() {
    let mut w = under_way(true, 20);
    w.traits.entry("web".into()).or_default().ready_within = Some(Duration::from_secs(20));
    assert!(matches!(stage(&mut w), Some(Stage::Failed(pin)) if pin.why.contains("within 20 s")));
}

#[test]
fn what_docker_calls_unhealthy_has_failed() {
    let mut w = under_way(true, 20);
    new(&mut w).health = Health::Unhealthy;
    let Some(Stage::Failed(pin)) = stage(&mut w) else { panic!("{}", w.text()) };
    assert_eq!(pin.why, "unhealthy: Docker healthcheck");
}

#[test]
fn the_third_death_is_the_last() {
    let mut w = under_way(false, 9);
    for seconds_ago in [3, 2] {
        dies(&mut w, seconds_ago);
        assert_eq!(learn(&mut w), None, "{}", w.text());
        assert!(w.text().contains("start  (exited 1)"), "{}", w.text());
        // The same death seen twice is one.
        learn(&mut w);
    }
    dies(&mut w, 1);
    learn(&mut w);
    assert_eq!(pinned(&w).why, "exited 1, 3 times before it was ready");
    // The engine's own restarts count.
    let mut w = under_way(false, 3);
    new(&mut w).state = ContainerState::Restarting;
    new(&mut w).restart_count = 3;
    assert!(matches!(stage(&mut w), Some(Stage::Failed(_))));
}

#[test]
fn what_the_engine_cannot_start_has_failed_after_three_attempts() {
    let mut w = under_way(false, 9);
    new(&mut w).state = ContainerState::Created;
    new(&mut w).started = None;
    new(&mut w).error = "exec: \"srv\": not found".into();
    let backoff = |failures| Backoff { failures, ..Backoff::default() };
    w.memory.backoff.insert(slot("web", 1), backoff(2));
    assert_eq!(stage(&mut w), None);
    w.memory.backoff.insert(slot("web", 1), backoff(3));
    let Some(Stage::Failed(pin)) = stage(&mut w) else { panic!("{}", w.text()) };
    assert_eq!(pin.why, "it can't be started: exec: \"srv\": not found");
    // A call that was refused for another reason says nothing of the version.
    new(&mut w).error.clear();
    assert_eq!(stage(&mut w), None);
}

fn data() -> Mount {
    Mount {
        kind: "volume".into(),
        name: "p_data".into(),
        destination: "/data".into(),
        rw: true,
        ..Mount::default()
    }
}

/// An update to another image that failed, of a service that writes data.
fn stateful() -> World {
    let mut w = under_way(true, 180);
    w.memory.updates.get_mut(&slot("web", 1)).expect("there").image = "sha256:older".into();
    w.observed.containers.get_mut(&id(OLD)).expect("there").image_id = "sha256:older".into();
    new(&mut w).mounts = vec![data()];
    w
}

#[test]
fn a_service_with_data_is_stopped_and_a_person_is_told() {
    let mut w = stateful();
    learn(&mut w);
    let why = pinned(&w).person.expect("a person decides");
    assert_eq!(
        why,
        "the new version may have rewritten its data; save that first: docker run --rm \
         --volumes-from p-web-1:ro -v \"$PWD:/backup\" busybox tar czf /backup/p-web-1.tar.gz /data"
    );
    let text = w.text();
    assert!(text.starts_with(
        "[]     -> #1 service web/1: stop bbbbbbbbbbbb  (the update failed)\nservice web/1: held("
    ));
    assert!(text.contains("stopped and not rolled back to image older, "), "{text}");
    assert!(text.contains("the new one is image app; "), "{text}");
    dies(&mut w, 1);
    let (plan, report) = w.planned();
    assert!(plan.is_empty(), "neither runs: {plan}");
    assert_eq!(report.updates[&slot("web", 1)], Stage::Pinned(Some(why)));
}

#[test]
fn what_decides_about_going_back() {
    let stateful = Facts {
        ran: true,
        same_image: false,
        writable: ["/data".to_owned()].into(),
        way_back: true,
        container: "p-web-1".into(),
    };
    let goes_back = |policy, facts: Facts| needs_person(policy, &facts).is_none();
    let all = [RollbackPolicy::Always, RollbackPolicy::Stateless, RollbackPolicy::Never];
    let under = |facts: &Facts| all.map(|policy| goes_back(policy, facts.clone()));
    assert_eq!(under(&stateful), [true, false, false]);
    assert_eq!(under(&Facts { ran: false, ..stateful.clone() }), [true, true, false]);
    assert_eq!(under(&Facts { same_image: true, ..stateful.clone() }), [true, true, false]);
    assert_eq!(under(&Facts { writable: [].into(), ..stateful.clone() }), [true, true, false]);
    assert_eq!(under(&Facts { way_back: false, ..stateful }), [false, false, false]);
}

#[test]
fn only_what_can_be_written_holds_data() {
    let mut w = stateful();
    new(&mut w).mounts[0].rw = false;
    learn(&mut w);
    assert_eq!(pinned(&w).person, None);
    let mut w = stateful();
    new(&mut w).mounts.clear();
    w.observed.containers.get_mut(&id(OLD)).expect("there").mounts = vec![data()];
    learn(&mut w);
    assert!(pinned(&w).person.is_some(), "the old one's count, too");
    for rw in [true, false] {
        let mut w = stateful();
        new(&mut w).mounts[0] = Mount { kind: "bind".into(), rw, ..data() };
        learn(&mut w);
        assert_eq!(pinned(&w).person.is_some(), rw, "a folder of the host holds data, too");
    }
}

/// The old container runs again under its own name; the version that failed is remembered.
fn rolled_back() -> World {
    let mut w = under_way(true, 180);
    learn(&mut w);
    w.observed.containers.remove(&id(NEW));
    let old = w.observed.containers.get_mut(&id(OLD)).expect("there");
    (old.name, old.state, old.health) =
        ("p-web-1".into(), ContainerState::Running, Health::Healthy);
    w
}

#[test]
fn what_was_rolled_back_stays_until_the_file_changes() {
    let mut w = rolled_back();
    assert!(w.planned().0.is_empty(), "{}", w.text());
    assert_eq!(stage(&mut w), Some(Stage::Pinned(None)));
    let old = w.observed.containers.get_mut(&id(OLD)).expect("there");
    (old.state, old.exit_code, old.finished) = (ContainerState::Exited, Some(1), Some(ago(9)));
    assert!(w.text().starts_with("[]     -> #1 service web/1: start  (exited 1)"), "{}", w.text());
    let mut w = rolled_back();
    w.edit("web", |s| s.changed("better"));
    learn(&mut w);
    assert!(w.memory.pins.is_empty());
    assert!(w.text().contains("create f24abc34b13f_p-web-1  (configuration changed)"));
}

#[test]
fn another_image_under_the_name_is_tried() {
    let mut w = rolled_back();
    w.image("app", "sha256:mended");
    assert!(w.text().contains("create f24abc34b13f_p-web-1  ("), "{}", w.text());
}

#[test]
fn a_person_may_ask_for_the_update_again() {
    let mut w = rolled_back();
    updates::ask_again(&mut w.memory, &["web".to_owned()]);
    assert!(w.text().contains("create f24abc34b13f_p-web-1  (configuration changed)"));
}

#[test]
fn what_was_kept_and_is_gone_is_made_again_as_it_was() {
    let mut w = under_way(true, 180);
    w.memory.updates.get_mut(&slot("web", 1)).expect("there").body = Some(id(OLD));
    w.observed.containers.remove(&id(OLD));
    learn(&mut w);
    let text = w.text();
    let plan: Vec<&str> = text.lines().take(4).collect();
    assert_eq!(
        plan,
        [
            "[]     -> #1 service web/1: stop bbbbbbbbbbbb  (rolled back: not ready within 180 s)",
            "[1]    -> #2 service web/1: remove bbbbbbbbbbbb  (rolled back: not ready within 180 s)",
            "[2]    -> #3 service web/1: create p-web-1  (rolled back: not ready within 180 s)",
            "[3]    -> #4 service web/1: start  (rolled back: not ready within 180 s)",
        ]
    );
}

#[test]
fn without_a_way_back_a_person_is_told() {
    let mut w = under_way(true, 180);
    w.observed.containers.remove(&id(OLD));
    learn(&mut w);
    let why = pinned(&w).person.expect("a person decides");
    assert_eq!(why, "the old container is gone and can't be made again");
}

#[test]
fn an_edit_during_an_update_keeps_the_version_that_worked() {
    let mut w = under_way(true, 5);
    w.edit("web", |s| s.changed("again"));
    w.expect(&[
        "[]     -> #1 service web/1: create bbbbbbbbbbbb_p-web-1  (configuration changed)",
        "[1]    -> #2 service web/1: stop bbbbbbbbbbbb  (replaced)",
        "[2]    -> #3 service web/1: remove bbbbbbbbbbbb  (replaced)",
        "[3]    -> #4 service web/1: rename to p-web-1  (replaced)",
        "[1,3,4] -> #5 service web/1: start  (replaced)",
    ]);
}

#[test]
fn an_edit_back_during_an_update_starts_the_old_container() {
    let mut w = under_way(true, 5);
    let before = World::new([service("web").checked()]);
    w.project = before.project;
    w.expect(&[
        "[]     -> #1 service web/1: stop bbbbbbbbbbbb  (left over from an unfinished replacement)",
        "[1]    -> #2 service web/1: remove bbbbbbbbbbbb  (left over from an unfinished replacement)",
        "[2]    -> #3 service web/1: rename to p-web-1  (left over from an unfinished replacement)",
        "[2,3]  -> #4 service web/1: start  (exited 143)",
    ]);
}

#[test]
fn a_version_that_did_not_work_is_not_kept() {
    let mut w = World::new([service("web").checked()]).up();
    w.edit("web", |s| s.changed("mended"));
    w.fault("web", |c| c.health = Health::Unhealthy);
    assert!(w.text().contains("remove web1  (replaced)"), "{}", w.text());
    w.exit("web", 1, 60);
    assert!(w.text().contains("remove web1  (replaced)"), "{}", w.text());
    w.exit("web", 143, 60);
    assert!(w.text().contains("(kept until the new one is ready)"), "stopped: {}", w.text());
}

#[test]
fn a_job_has_no_way_back() {
    let mut w = World::new([service("web")]);
    w.traits.entry("web".into()).or_default().job = true;
    let mut w = w.up();
    w.edit("web", |s| s.changed("command"));
    assert!(w.text().contains("remove web1  (replaced)"), "{}", w.text());
}

#[test]
fn slots_are_updated_one_after_the_other() {
    let mut w = World::new([{
        let mut web = service("web");
        web.scale = 2;
        web
    }])
    .up();
    w.edit("web", |s| s.changed("command"));
    let text = w.text();
    assert!(text.contains("service web/1: create"), "{text}");
    assert!(!text.contains("service web/2: create"), "{text}");
    assert!(text.contains("service web/2: waiting_on(the update of web/1)"), "{text}");
}

#[test]
fn the_other_slots_keep_the_version_that_works() {
    let mut w = under_way(true, 180);
    w.edit("web", |mut s| {
        s.scale = 2;
        s
    });
    let old = w.observed.containers[&id(OLD)].clone();
    let mut second = (*old).clone();
    (second.id, second.name, second.number) = (id("second"), "p-web-2".into(), 2);
    (second.state, second.health) = (ContainerState::Running, Health::Healthy);
    w.observed.containers.insert(second.id.clone(), second.into());
    learn(&mut w);
    let (plan, report) = w.planned();
    assert!(plan.steps.iter().all(|s| s.resource.to_string() == "service web/1"), "{plan}");
    assert!(report.slots[&slot("web", 2)].message.starts_with("update failed: "));
}
