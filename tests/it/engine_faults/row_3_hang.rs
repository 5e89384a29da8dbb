//! Row 3: a call hangs. It ends at its deadline, and the engine is looked at before anything is
//! tried again.

use super::{
    CREATE, EVENTS, INSPECT, LIST, LONG, REMOVE, RENAME, START, STOP, TWO, assert_two, behind,
    impatient, proxy, requests, two_changed, writes,
};
use crate::engine_proxy::{Action, EngineProxy, Rule};
use crate::support::{Setup, Stack};

fn hurried(proxy: &EngineProxy) -> Setup {
    Setup { deadlines: impatient(), ..behind(proxy) }
}

/// Whether the engine's containers were listed between two requests.
fn listed_between(proxy: &EngineProxy, first: usize, second: usize) -> bool {
    proxy.records().iter().any(|r| (first..second).contains(&r.number) && r.endpoint() == LIST)
}

#[test]
fn row_3_a_create_that_hangs_after_it_happened_is_found_and_not_repeated() {
    let proxy = proxy();
    proxy.inject(Rule::new(Action::HangAfter).on(CREATE).next(2));
    let mut stack = Stack::start("row3a", hurried(&proxy));
    stack.settle(LONG);
    assert_two(&stack);
    assert_eq!(requests(&proxy, CREATE, "store-1").len(), 1);
    assert_eq!(requests(&proxy, CREATE, "door-1").len(), 1);
    let create = requests(&proxy, CREATE, "store-1")[0].number;
    let start = requests(&proxy, START, "")[0].number;
    assert!(listed_between(&proxy, create, start), "it looks before it goes on");
    let history = stack.history();
    assert!(history.iter().any(|line| line.ends_with("unknown")), "{history:#?}");
}

#[test]
fn row_3_a_create_that_the_engine_never_heard_of_is_repeated_after_a_look() {
    let proxy = proxy();
    proxy.inject(Rule::new(Action::Hang).on(CREATE).containing("store-1").next(1));
    let mut stack = Stack::start("row3b", hurried(&proxy));
    stack.settle(LONG);
    assert_two(&stack);
    let creates = requests(&proxy, CREATE, "store-1");
    assert_eq!(creates.len(), 2);
    assert!(listed_between(&proxy, creates[0].number, creates[1].number));
}

#[test]
fn row_3_a_start_that_hangs() {
    let proxy = proxy();
    proxy.inject(Rule::new(Action::HangAfter).on(START).next(1));
    proxy.inject(Rule::new(Action::Hang).on(START).next(1));
    let mut stack = Stack::start("row3c", hurried(&proxy));
    stack.settle(LONG);
    assert_two(&stack);
    // Both rules strike the first: whether it happened is seen, not guessed.
    assert!(writes(&proxy)[START] <= 3, "{:?}", writes(&proxy));
}

#[test]
fn row_3_calls_that_hang_while_containers_are_replaced() {
    let proxy = proxy();
    let mut stack = Stack::start("row3d", hurried(&proxy));
    stack.settle(LONG);
    for (action, compose) in [(Action::Hang, two_changed()), (Action::HangAfter, TWO.into())] {
        let before = stack.ids();
        let asked = proxy.records().len();
        for endpoint in [STOP, RENAME, REMOVE, CREATE, START] {
            proxy.inject(Rule::new(action.clone()).on(endpoint).next(1));
        }
        stack.edit(&compose);
        stack.settle(LONG);
        assert_two(&stack);
        assert!(stack.ids().iter().all(|id| !before.contains(id)));
        let struck = proxy.records().iter().skip(asked).filter(|r| !r.faults.is_empty()).count();
        assert_eq!(struck, 5, "each kind of call hung once");
    }
}

#[test]
fn row_3_reads_that_hang() {
    let proxy = proxy();
    let reads = ["GET /info", EVENTS, LIST, "GET /networks", "GET /images/json", INSPECT];
    for endpoint in reads {
        proxy.inject(Rule::new(Action::Hang).on(endpoint).next(1));
    }
    let mut stack = Stack::start("row3e", hurried(&proxy));
    stack.settle(LONG);
    assert_two(&stack);
    assert_eq!(writes(&proxy)[CREATE], 2);
    let struck = proxy.records().iter().filter(|r| !r.faults.is_empty()).count();
    assert_eq!(struck, reads.len());
}
