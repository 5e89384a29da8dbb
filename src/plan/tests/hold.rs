//! Holds: what begins and ends them, and what a plan leaves alone because of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::fixture::{WALL, World, ago, id, service, slot};
use crate::clock::Timestamp;
use crate::compose::types::Service;
use crate::desired::ManualStopPolicy;
use crate::observed::{ContainerState, Said, Word, Yield};
use crate::plan::hold::{Hold, HoldChange, HoldEnd, HoldKind, Holds, On};
use crate::plan::{SlotStatus, Standing};

fn two() -> World {
    World::new([service("db"), service("web").after("db")]).up()
}

const STOPPED: Said = Said::Stop { removed: false, proven: false };
const PROVEN: Said = Said::Stop { removed: false, proven: true };
const REMOVED: Said = Said::Stop { removed: true, proven: false };

impl World {
    /// Somebody did this to slot 1 of a service just now; what they said is the newest word.
    fn says(&mut self, service: &str, said: Said) {
        self.says_at(service, said, 0);
    }

    fn says_at(&mut self, service: &str, said: Said, seconds_ago: i64) {
        let hands = &mut self.observed.hands;
        hands.heard += 1;
        let word = Word {
            said,
            number: hands.heard,
            container: id(&format!("{service}1")),
            nano: ago(seconds_ago).0 * 1_000_000,
        };
        hands.words.insert(slot(service, 1), word);
    }

    /// What the holds become, a line each.
    fn follow(&mut self) -> Vec<String> {
        let desired = self.desired();
        let stopping = self.memory.stopping.clone();
        let now = self.now.mono;
        let changes = self.memory.holds.follow(&desired, &self.observed, &stopping, now);
        changes.iter().map(line).collect()
    }

    fn release(&mut self, services: &[&str], end: &HoldEnd) -> Vec<String> {
        let desired = self.desired();
        let changes = self.memory.holds.release(&names(services), &desired, end);
        changes.iter().map(line).collect()
    }
}

fn names(services: &[&str]) -> BTreeSet<String> {
    services.iter().map(|s| (*s).to_owned()).collect()
}

fn line(change: &HoldChange) -> String {
    match change {
        HoldChange::Began(on, hold) if hold.provisional => format!("{on}: {}?", hold.why()),
        HoldChange::Began(on, hold) => format!("{on}: {}", hold.why()),
        HoldChange::Proven(on, _) => format!("{on}: proven"),
        HoldChange::Ended(on, _, end) => format!("{on}: over, {end}"),
    }
}

#[test]
fn a_stop_holds_provisionally_at_once_and_for_good_once_it_is_proven() {
    let mut w = two();
    w.says("db", STOPPED);
    assert_eq!(w.follow(), ["service db/1: stopped by hand?"]);
    assert!(w.follow().is_empty(), "said once");
    w.says("db", PROVEN);
    assert_eq!(w.follow(), ["service db/1: proven"]);
    // An engine that goes away later changes nothing.
    w.observed.hands.words.clear();
    assert!(w.follow().is_empty());
}

#[test]
fn without_evidence_there_is_no_hold() {
    let mut w = two();
    w.says("db", STOPPED);
    w.follow();
    w.observed.hands.words.clear();
    assert_eq!(w.follow(), ["service db/1: over, it may have been the engine's own end"]);
    assert!(w.memory.holds.is_empty());
}

#[test]
fn a_start_and_a_create_end_it() {
    for (said, how) in [(Said::Start, "started by hand"), (Said::Create, "made anew by hand")] {
        let mut w = two();
        w.exit("db", 0, 0);
        w.says("db", PROVEN);
        assert_eq!(w.follow(), ["service db/1: stopped by hand"]);
        w.says("web", Said::Start);
        assert!(w.follow().is_empty(), "another service's");
        w.says("db", said);
        assert_eq!(w.follow(), [format!("service db/1: over, {how}")]);
    }
}

#[test]
fn it_survives_the_containers_removal_and_a_restart_of_ours() {
    let mut w = two();
    w.says("db", PROVEN);
    w.follow();
    w.remove("db");
    let recalled = |(on, hold): (&On, &Hold)| (on.clone(), Hold { number: 0, ..hold.clone() });
    let kept: Vec<_> = w.memory.holds.iter().map(recalled).collect();
    w.memory.holds = Holds::recalled(kept);
    w.observed.hands = Default::default();
    assert!(w.follow().is_empty());
    w.expect(&["service db/1: held(stopped by hand)"]);
    // A word of the present run is later than all of an earlier one.
    w.says("db", Said::Create);
    assert_eq!(w.follow(), ["service db/1: over, made anew by hand"]);
}

#[test]
fn what_was_started_while_nobody_watched_is_held_no_longer() {
    let mut w = two();
    w.hold("db");
    w.fault("db", |c| c.started = Some(ago(3601)));
    assert!(w.follow().is_empty(), "the picture may be older than the stop");
    w.fault("db", |c| c.started = Some(ago(3599)));
    assert_eq!(w.follow(), ["service db/1: over, found running"]);
}

#[test]
fn stops_of_an_earlier_run_of_ours_are_its_own() {
    let mut w = two();
    let soon = w.now.mono.after(Duration::from_secs(1));
    w.memory.stopping.insert(id("db1"), soon);
    w.says("db", STOPPED);
    assert!(w.follow().is_empty());
    w.now.mono = soon;
    assert!(w.follow().is_empty(), "what was its own stays so");
    w.says("db", STOPPED);
    assert_eq!(w.follow(), ["service db/1: stopped by hand?"]);
}

#[test]
fn what_others_did_while_they_were_in_charge_is_no_persons_word() {
    let mut w = two();
    w.says("db", STOPPED);
    let heard = w.observed.hands.heard;
    w.memory.holds.ignore(heard);
    assert!(w.follow().is_empty());
}

#[test]
fn a_stack_of_which_everything_went_within_a_minute_was_taken_down() {
    for (seconds, down) in [(60, true), (61, false)] {
        let mut w = two();
        w.remove("web");
        w.says_at("web", REMOVED, seconds);
        assert_eq!(w.follow(), ["service web/1: stopped by hand?"]);
        w.says_at("db", REMOVED, 0);
        // Its container is known to be gone before the picture shows it.
        w.observed.hands.gone.insert(id("db1"));
        let mut changes = vec!["service db/1: stopped by hand?"];
        changes.extend(down.then_some("stack: taken down by hand?"));
        assert_eq!(w.follow(), changes);
    }
}

#[test]
fn a_stack_of_which_something_is_left_or_was_only_removed_is_not_down() {
    let mut w = two();
    w.remove("web");
    w.says("web", REMOVED);
    w.says("db", STOPPED);
    assert_eq!(w.follow().len(), 2, "db is still there");
    let mut w = two();
    w.remove("db");
    w.remove("web");
    assert!(w.follow().is_empty(), "nobody stopped anything");
}

fn down() -> World {
    let mut w = two();
    for name in ["web", "db"] {
        w.remove(name);
        w.says(name, Said::Stop { removed: true, proven: true });
    }
    assert_eq!(w.follow().len(), 3);
    w
}

#[test]
fn a_stack_that_was_taken_down_stays_so_with_its_networks() {
    let mut w = down();
    w.observed.networks.clear();
    w.expect(&[
        "service db/1: held(taken down by hand)",
        "service web/1: held(taken down by hand)",
    ]);
    let (_, report) = w.planned();
    assert!(report.slots.values().all(|s| s.status == SlotStatus::Held));
}

#[test]
fn whoever_makes_or_starts_anything_in_it_ends_that_and_the_rest_stays_stopped() {
    let mut w = down();
    w.says("db", Said::Create);
    assert_eq!(
        w.follow(),
        ["stack: over, made anew by hand", "service db/1: over, made anew by hand"]
    );
    w.expect(&[
        "[]     -> #1 service db/1: create p-db-1  (missing)",
        "[1]    -> #2 service db/1: start  (new container)",
        "service web/1: held(stopped by hand)",
    ]);
    // Taken down once more: what was stopped before doesn't count for how long it took.
    w.now.wall = Timestamp(WALL + 600_000);
    w.says_at("db", REMOVED, -600);
    assert_eq!(w.follow(), ["service db/1: stopped by hand?", "stack: taken down by hand?"]);
}

#[test]
fn revert_ends_the_holds_by_hand_and_no_pause() {
    let mut w = two();
    w.says("db", PROVEN);
    w.follow();
    w.held(On::Service("web".into()), Hold::pause("ann", ago(5)));
    w.policy.manual_stop = ManualStopPolicy::Revert;
    w.exit("db", 0, 60);
    w.exit("web", 0, 60);
    assert_eq!(w.follow(), ["service db/1: over, policy.manualStop is Revert"]);
    w.says("db", STOPPED);
    assert!(w.follow().is_empty());
    w.expect(&[
        "[]     -> #1 service db/1: start  (exited 0)",
        "service web/1: held(paused by ann)",
    ]);
}

#[test]
fn resume_ends_what_it_names_and_the_rest_of_a_stack_stays_paused() {
    let mut w = two();
    let pause = Hold::pause("ann", ago(5));
    let changes = w.memory.holds.pause(&BTreeSet::new(), &pause);
    assert_eq!(changes.iter().map(line).collect::<Vec<_>>(), ["stack: paused by ann"]);
    assert!(w.memory.holds.pause(&BTreeSet::new(), &pause).is_empty(), "paused already");
    assert_eq!(
        w.release(&["web"], &HoldEnd::Resumed("bob".into())),
        ["service db: paused by ann", "stack: over, resumed by bob"]
    );
    w.exit("db", 1, 60);
    w.exit("web", 1, 60);
    w.expect(&["service db/1: held(paused by ann)", "service web/1: waiting_on(db held)"]);
    assert_eq!(w.release(&[], &HoldEnd::Applied(String::new())), ["service db: over, applied"]);
    assert!(w.memory.holds.is_empty());
}

#[test]
fn a_pause_outlasts_whatever_happens_to_it() {
    let mut w = two();
    w.memory.holds.pause(&names(&["db"]), &Hold::pause("ann", ago(5)));
    for said in [STOPPED, Said::Start, Said::Create] {
        w.says("db", said);
        w.follow();
        assert_eq!(w.memory.holds.of(&slot("db", 1)).map(|h| h.kind), Some(HoldKind::Paused));
    }
    // As it is: running, gone, changed in the files.
    w.expect(&["service db/1: held(paused by ann)"]);
    assert_eq!(w.planned().1.slots[&slot("db", 1)].status, SlotStatus::Ready);
    w.edit("db", |s| s.changed("now"));
    w.expect(&["service db/1: held(paused by ann)"]);
    w.remove("db");
    w.expect(&["service db/1: held(paused by ann)"]);
}

#[test]
fn dependents_of_a_held_service_wait_visibly_and_are_not_stopped() {
    let mut w = two();
    w.exit("db", 0, 60);
    w.hold("db");
    w.expect(&["service db/1: held(stopped by hand)"]);
    w.exit("web", 1, 5);
    w.expect(&["service db/1: held(stopped by hand)", "service web/1: waiting_on(db held)"]);
    w.remove("web");
    w.expect(&[
        "[]     -> #1 service web/1: create p-web-1  (missing)",
        "service db/1: held(stopped by hand)",
        "service web/1: waiting_on(db held)",
    ]);
}

#[test]
fn a_child_of_a_held_namespace_is_neither_restarted_nor_started() {
    let mut w = World::new([service("vpn"), service("app").in_network_of("vpn")]).up();
    w.exit("vpn", 0, 60);
    w.hold("vpn");
    w.expect(&["service vpn/1: held(stopped by hand)"]);
    w.exit("app", 1, 5);
    w.expect(&["service vpn/1: held(stopped by hand)", "service app/1: waiting_on(vpn held)"]);
}

#[test]
fn a_slot_that_is_held_beside_others_keeps_nobody_waiting() {
    let many = Service { scale: 2, ..service("db") };
    let mut w = World::new([many, service("web").after("db")]).up();
    let second = id("db2");
    let container = w.observed.containers.get_mut(&second).expect("there");
    container.state = ContainerState::Exited;
    w.held(On::Slot("db".into(), 2), Hold { kind: HoldKind::Stopped, ..Hold::pause("", ago(60)) });
    w.exit("web", 1, 5);
    w.exit("db", 1, 5);
    w.expect(&[
        "[]     -> #1 service db/1: start  (exited 1)",
        "[1]    -> #2 service web/1: start  (exited 1)",
        "service db/2: held(stopped by hand)",
    ]);
}

#[test]
fn what_somebody_else_is_at_is_left_to_them() {
    for (why, what) in [
        (Yield::Undecided, "word of who ended it"),
        (Yield::Update, "another tool that replaces it"),
        (Yield::Creation, "its start by another tool"),
    ] {
        let mut w = two();
        w.exit("web", 137, 60);
        w.observed.hands.yields.insert(slot("web", 1), why);
        w.expect(&[&format!("service web/1: waiting_on({what})")]);
        w.observed.hands.yields.clear();
        w.expect(&["[]     -> #1 service web/1: start  (exited 137)"]);
    }
}

#[test]
fn while_another_tool_brings_the_stack_up_no_name_is_taken_from_it() {
    let mut w = two();
    w.remove("web");
    w.observed.hands.yields.insert(slot("db", 1), Yield::Creation);
    let (plan, report) = w.planned();
    assert!(plan.is_empty(), "{plan}");
    let waits = Standing::WaitingOn("another tool that brings the stack up".into());
    assert!(report.entries.iter().any(|e| e.standing == waits), "{report}");
}

#[test]
fn the_words_that_a_provisional_hold_rests_upon_are_handed_on() {
    let mut w = two();
    w.says("db", STOPPED);
    w.says("web", PROVEN);
    w.follow();
    let handed: BTreeMap<_, _> = w.memory.holds.provisional("p").collect();
    let word = w.observed.hands.words[&slot("db", 1)].clone();
    assert_eq!(handed, BTreeMap::from([(slot("db", 1), Word { number: 0, ..word })]));
}
