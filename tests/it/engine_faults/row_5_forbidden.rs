//! Row 5: a proxy before the engine refuses an endpoint. It is named, and asked for ever more
//! rarely; nothing else suffers.

use std::time::Duration;

use homeostat::controller::observer::Link;
use homeostat::controller::worker::Wish;
use homeostat::engine::Fault;
use homeostat::plan::{Scope, SlotStatus, Standing};

use super::{CREATE, LIST, LONG, assert_two, behind, proxy, requests};
use crate::engine_proxy::{Action, Rule};
use crate::support::Stack;

fn forbidden() -> Rule {
    Rule::new(Action::Answer(403, "not for you".into()))
}

#[test]
fn row_5_a_forbidden_write_is_named_and_not_repeated_at_once() {
    let proxy = proxy();
    proxy.inject(forbidden().on(CREATE).containing("door-1"));
    let mut stack = Stack::start("row5a", behind(&proxy));
    stack.until(LONG, "the others come up", |view| {
        view.report.slots.iter().any(|(s, r)| s.service == "store" && r.status == SlotStatus::Ready)
    });
    let first = requests(&proxy, CREATE, "door-1").len();
    std::thread::sleep(Duration::from_secs(4));
    // Pauses of 0.5, 1, 2, 4 s.
    let attempts = requests(&proxy, CREATE, "door-1").len();
    assert!(first >= 1 && (3..=5).contains(&attempts), "{attempts} attempts");
    stack.until(LONG, "the refused endpoint is named", |view| {
        view.report.entries.iter().any(|entry| {
            matches!(&entry.standing, Standing::Refused { why, .. }
                if why.contains("POST /containers/create (403)") && why.contains("socket proxy"))
        })
    });
    let refused = stack.tap.views.borrow().report.refused.clone();
    assert_eq!(refused, [CREATE.to_owned()].into());
    proxy.heal();
    stack.tap.wishes.blocking_send(Wish::Afresh(Scope::default())).expect("the worker listens");
    stack.settle(LONG);
    assert!(stack.tap.views.borrow().report.refused.is_empty());
    assert_two(&stack);
}

#[test]
fn row_5_a_forbidden_list_stops_everything_and_is_named() {
    let proxy = proxy();
    proxy.inject(forbidden().on(LIST));
    let mut stack = Stack::start("row5b", behind(&proxy));
    stack.until(
        LONG,
        "the refused list is named",
        |view| matches!(&view.link, Link::Stale(Fault::Forbidden { call, .. }) if call == LIST),
    );
    std::thread::sleep(Duration::from_secs(3));
    let asked = requests(&proxy, LIST, "").len();
    assert!((2..=7).contains(&asked), "{asked} lists");
    assert!(proxy.writes().is_empty(), "nothing is done blindly");
    proxy.heal();
    stack.settle(LONG);
    assert_two(&stack);
}
