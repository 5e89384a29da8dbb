//! Rows 19 and 20, and the table of causes: what each act of a person is taken for.

use std::process::Command;
use std::time::Duration;

use homeostat::controller::worker::View;
use homeostat::desired::{ManualStopPolicy, Policy};
use homeostat::observed::{Cause, Yield};
use homeostat::plan::SlotStatus;

use crate::interop::Compose;
use crate::support::scene::{SOON, up, up_with};
use crate::support::{Setup, Stack, docker};

/// A stop is for good after 20 s.
const PROVEN: Duration = Duration::from_secs(40);

const ONE: &str = r#"
services:
  web: {image: "homeostat-test/stand-ins:1", command: ["listen", "8000"], stop_grace_period: 1s}
"#;

const TWO: &str = r#"
services:
  db: {image: "homeostat-test/stand-ins:1", command: ["listen", "8000"], stop_grace_period: 1s}
  web:
    image: homeostat-test/stand-ins:1
    command: ["sleep"]
    stop_grace_period: 1s
    environment: {MODE: "one"}
    depends_on: [db]
"#;

fn cause(view: &View, service: &str) -> Option<Cause> {
    let death = view.observed.deaths.iter().find(|(slot, _)| slot.service == service);
    death.map(|(_, death)| death.cause)
}

fn is(view: &View, service: &str, status: SlotStatus) -> bool {
    view.report.slots.iter().any(|(slot, r)| slot.service == service && r.status == status)
}

/// A person does something to a service, and homeostat mends it.
fn repaired(stack: &mut Stack, expected: Cause, act: impl FnOnce(&str)) {
    let name = stack.container("web");
    let before = stack.runs().remove("web-1");
    act(&name);
    stack.until(SOON, "it runs again", |view| {
        is(view, "web", SlotStatus::Ready) && cause(view, "web") == Some(expected)
    });
    stack.settle(SOON);
    assert_ne!(stack.runs().remove("web-1"), before, "{expected:?}");
    assert!(stack.tap.views.borrow().holds.is_empty(), "{expected:?}");
    assert!(!stack.history().is_empty(), "{expected:?}: homeostat mended it");
    stack.stays_idle();
}

#[test]
fn every_way_to_end_a_container_is_told_apart() {
    let mut stack = up("causes", ONE);
    repaired(&mut stack, Cause::Spontaneous, |name| {
        let pid = docker(&["inspect", "-f", "{{.State.Pid}}", name]);
        let killed = Command::new("kill").args(["-9", &pid]).status().expect("kill runs");
        assert!(killed.success());
    });
    repaired(&mut stack, Cause::ApiKill, |name| drop(docker(&["kill", name])));
    repaired(&mut stack, Cause::Removed, |name| drop(docker(&["rm", "-f", name])));
    // Whoever restarts it needs no help, and a signal that ends nothing is nothing.
    docker(&["restart", "-t", "1", &stack.container("web")]);
    stack.settle(SOON);
    docker(&["kill", "-s", "HUP", &stack.container("web")]);
    stack.stays_idle();
    assert_eq!(stack.history(), [""; 0], "nobody else did anything");
    assert!(stack.tap.views.borrow().holds.is_empty());
}

#[test]
fn row_19_what_a_person_stops_is_held_until_they_start_it() {
    for policy in ["no", "always"] {
        let compose = ONE.replace("{image", &format!("{{restart: '{policy}', image"));
        let mut stack = up("r19", &compose);
        docker(&["stop", &stack.container("web")]);
        stack.until(SOON, "held", |view| is(view, "web", SlotStatus::Held));
        stack.says("service web/1", "held(stopped by hand)");
        stack.until(PROVEN, "for good", |view| view.holds.iter().any(|(_, h)| !h.provisional));
        assert_eq!(cause(&stack.tap.views.borrow(), "web"), Some(Cause::ApiStop));
        // It survives the removal of the container.
        docker(&["rm", &stack.container("web")]);
        stack.stays_idle();
        assert!(stack.ids().is_empty(), "{policy}: nothing is made anew");
        Compose::of(&stack).run(&["up", "-d"]);
        stack.until(SOON, "it runs", |view| {
            is(view, "web", SlotStatus::Ready) && view.holds.is_empty()
        });
        stack.stays_idle();
        docker(&["stop", &stack.container("web")]);
        stack.until(SOON, "held", |view| is(view, "web", SlotStatus::Held));
        docker(&["start", &stack.container("web")]);
        stack.until(SOON, "it runs", |view| {
            is(view, "web", SlotStatus::Ready) && view.holds.is_empty()
        });
        assert_eq!(stack.history(), [""; 0], "{policy}: homeostat did nothing");
    }
}

#[test]
fn row_20_what_docker_compose_takes_down_stays_down_until_it_brings_it_up() {
    let mut stack = up("r20", TWO);
    let compose = Compose::of(&stack);
    compose.run(&["down"]);
    stack.until(SOON, "down", |view| {
        view.holds.of_stack().is_some()
            && view.report.slots.values().all(|s| s.status == SlotStatus::Held)
    });
    stack.says("service db/1", "held(taken down by hand)");
    stack.until(PROVEN, "for good", |view| view.holds.iter().all(|(_, h)| !h.provisional));
    stack.stays_idle();
    assert!(stack.ids().is_empty());
    let filter = format!("label=com.docker.compose.project={}", stack.project);
    assert_eq!(docker(&["network", "ls", "-q", "--filter", &filter]), "", "its network too");
    compose.run(&["up", "-d"]);
    stack.until(SOON, "up", |view| view.holds.is_empty());
    stack.settle(SOON);
    assert_eq!(stack.ids().len(), 2);
    assert_eq!(stack.history(), [""; 0], "homeostat did nothing");
}

#[test]
fn row_20_an_update_by_docker_compose_is_left_alone() {
    let mut stack = up("r20-update", TWO);
    let compose = Compose::of(&stack);
    let before = stack.identities();
    let edited = TWO.replace("MODE: \"one\"", "MODE: \"two\"");
    std::fs::write(stack.file(), edited).expect("writes");
    let seen = std::thread::scope(|scope| {
        let update = scope.spawn(|| compose.run(&["up", "-d"]));
        let mut yields = Vec::new();
        while !update.is_finished() {
            yields.extend(stack.tap.views.borrow().observed.hands.yields.values().copied());
            std::thread::sleep(Duration::from_millis(1));
        }
        update.join().expect("no panic");
        yields
    });
    assert!(seen.contains(&Yield::Update), "{seen:?}");
    stack.settle(SOON);
    assert_ne!(stack.identities(), before);
    stack.stays_idle();
    assert_eq!(stack.history(), [""; 0], "homeostat did nothing");
    assert!(stack.tap.views.borrow().holds.is_empty());
}

#[test]
fn what_docker_compose_stops_removes_and_scales_away_is_held() {
    let mut stack = up("r20-rm", &TWO.replace("  web:\n", "  web:\n    scale: 2\n"));
    let compose = Compose::of(&stack);
    compose.run(&["stop", "db"]);
    stack.until(SOON, "held", |view| is(view, "db", SlotStatus::Held));
    compose.run(&["start", "db"]);
    stack.until(SOON, "it runs", |view| view.holds.is_empty());
    compose.run(&["rm", "-sf", "db"]);
    stack.until(SOON, "held", |view| is(view, "db", SlotStatus::Held));
    compose.run(&["up", "-d", "--no-recreate", "--scale", "web=1"]);
    stack.until(SOON, "the second is held", |view| {
        view.report.slots.iter().any(|(slot, r)| {
            slot.service == "web" && slot.number == 2 && r.status == SlotStatus::Held
        })
    });
    stack.stays_idle();
    assert_eq!(stack.ids().len(), 2, "`up` brought db back and took web/2 away");
    assert!(is(&stack.tap.views.borrow(), "db", SlotStatus::Ready));
}

#[test]
fn revert_starts_again_what_a_person_stops() {
    let policy = Policy { manual_stop: ManualStopPolicy::Revert, ..Policy::default() };
    let mut stack = up_with("revert", Setup { compose: ONE.into(), policy, ..Setup::default() });
    repaired(&mut stack, Cause::ApiStop, |name| drop(docker(&["stop", name])));
}
