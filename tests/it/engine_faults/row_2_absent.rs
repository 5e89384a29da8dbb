//! Row 2: no engine at boot. Wait with backoff, say why, converge when it comes.

use std::time::Duration;

use homeostat::controller::observer::Link;
use homeostat::engine::Fault;

use super::{LONG, assert_two, behind, proxy};
use crate::engine_proxy::{Action, Rule};
use crate::support::Stack;

#[test]
fn row_2_it_waits_for_an_engine_that_is_absent_at_boot() {
    let proxy = proxy();
    proxy.down();
    let mut stack = Stack::start("row2", behind(&proxy));
    stack.until(LONG, "it says that nobody answers", |view| {
        matches!(&view.link, Link::Stale(Fault::Unreachable { endpoint, .. })
            if endpoint.contains("engine.sock"))
    });
    std::thread::sleep(Duration::from_secs(1));
    assert!(stack.ids().is_empty());
    proxy.up().expect("the engine comes");
    stack.settle(LONG);
    assert_two(&stack);
}

#[test]
fn row_2_attempts_to_reach_the_engine_become_rare() {
    let proxy = proxy();
    proxy.inject(Rule::new(Action::CutBefore));
    let mut stack = Stack::start("row2b", behind(&proxy));
    std::thread::sleep(Duration::from_secs(4));
    // Pauses of 0.1, 0.2, 0.4, 0.8, 1.6 s, each up to a fifth longer.
    let asked = proxy.records().len();
    assert!((4..=7).contains(&asked), "{asked} requests in 4 s");
    assert!(proxy.writes().is_empty());
    proxy.heal();
    stack.settle(LONG);
    assert_two(&stack);
}

#[test]
fn row_2_an_engine_that_goes_and_comes_is_followed() {
    let proxy = proxy();
    let mut stack = Stack::start("row2c", behind(&proxy));
    stack.settle(LONG);
    proxy.down();
    stack.until(LONG, "the facts are stale", |view| matches!(view.link, Link::Stale(_)));
    let writes = proxy.writes().len();
    crate::support::docker(&["rm", "-f", &stack.container("door")]);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(proxy.writes().len(), writes, "it acts on no stale fact");
    proxy.up().expect("the engine comes back");
    stack.until(LONG, "the link is live", |view| view.link == Link::Live);
    stack.settle(LONG);
    assert_two(&stack);
}
