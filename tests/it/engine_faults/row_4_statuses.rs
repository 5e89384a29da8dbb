//! Row 4: 500, 409, 304, and 404 on delete.

use homeostat::controller::observer::Link;

use super::{
    CREATE, EVENTS, INSPECT, LIST, LONG, REMOVE, RENAME, START, STOP, assert_two, behind, proxy,
    requests, two_changed, writes,
};
use crate::engine_proxy::{Action, Rule};
use crate::support::Stack;

fn answers(status: u16, message: &str) -> Rule {
    Rule::new(Action::Answer(status, message.into()))
}

#[test]
fn row_4_an_engine_that_fails_is_asked_again() {
    let proxy = proxy();
    for endpoint in [
        "GET /info",
        EVENTS,
        LIST,
        "GET /volumes",
        INSPECT,
        CREATE,
        START,
        "POST /networks/create",
        "POST /volumes/create",
    ] {
        proxy.inject(answers(500, "injected").on(endpoint).next(1));
    }
    let mut stack = Stack::start("row4a", behind(&proxy));
    stack.settle(LONG);
    assert_two(&stack);
    let writes = writes(&proxy);
    assert_eq!(writes[CREATE], 3, "{writes:?}");
    assert_eq!(writes["POST /networks/create"], 2, "{writes:?}");
}

#[test]
fn row_4_a_500_while_containers_are_replaced() {
    let proxy = proxy();
    let mut stack = Stack::start("row4b", behind(&proxy));
    stack.settle(LONG);
    let before = stack.ids();
    for endpoint in [STOP, RENAME, REMOVE, CREATE, START, INSPECT] {
        proxy.inject(answers(500, "injected").on(endpoint).next(1));
    }
    stack.edit(&two_changed());
    stack.settle(LONG);
    assert_two(&stack);
    assert!(stack.ids().iter().all(|id| !before.contains(id)));
}

#[test]
fn row_4_a_conflict_makes_it_look_again() {
    let proxy = proxy();
    let mut stack = Stack::start("row4c", behind(&proxy));
    stack.settle(LONG);
    for endpoint in [CREATE, START, STOP, RENAME, REMOVE] {
        proxy.inject(answers(409, "injected conflict").on(endpoint).next(1));
    }
    stack.edit(&two_changed());
    stack.settle(LONG);
    assert_two(&stack);
}

#[test]
fn row_4_requests_that_arrive_twice_have_one_effect() {
    // The client sees the second answer: 409 on create, 304 on start and stop, 404 on delete.
    let proxy = proxy();
    let twice = |endpoint: &str| proxy.inject(Rule::new(Action::SendTwice).on(endpoint));
    for endpoint in [CREATE, START, STOP, REMOVE, "POST /networks/create", "POST /volumes/create"] {
        twice(endpoint);
    }
    let mut stack = Stack::start("row4d", behind(&proxy));
    stack.settle(LONG);
    assert_two(&stack);
    // Whose a second container of a slot is that was refused as a duplicate, nobody can tell.
    proxy.heal();
    for endpoint in [START, STOP, REMOVE] {
        twice(endpoint);
    }
    stack.edit(&two_changed());
    stack.settle(LONG);
    assert_two(&stack);
    let seen = |endpoint: &str, status: u16| {
        requests(&proxy, endpoint, "").iter().any(|r| r.engine_status == Some(status))
    };
    assert!(seen(CREATE, 409) && seen(START, 304) && seen(STOP, 304));
    assert!(seen(REMOVE, 404));
    let history = stack.history();
    let told_of =
        |line: &&String| [": start", ": stop", ": remove"].iter().any(|w| line.contains(w));
    let failed = history.iter().filter(told_of).filter(|l| l.ends_with(": failed")).count();
    assert_eq!(failed, 0, "{history:#?}");
}

#[test]
fn row_4_a_304_is_no_proof() {
    // «Started already», says somebody between us and the engine; the engine never heard of it.
    let proxy = proxy();
    proxy.inject(answers(304, "").on(START).next(1));
    let mut stack = Stack::start("row4e", behind(&proxy));
    stack.settle(LONG);
    assert_two(&stack);
    assert_eq!(stack.tap.views.borrow().link, Link::Live);
}
