//! Row 10: garbage and huge lines in the event stream are skipped and counted.

use std::sync::Arc;

use homeostat::controller::observer::Link;

use super::{Counter, EVENTS, LONG, START, assert_two, behind, proxy, requests, writes};
use crate::engine_proxy::{Action, Rule};
use crate::support::{Setup, Stack, docker};

#[test]
fn row_10_lines_that_make_no_sense_are_skipped_and_counted() {
    let proxy = proxy();
    let counter = Arc::new(Counter::default());
    let setup = Setup { meter: Some(counter.clone()), ..behind(&proxy) };
    let mut stack = Stack::start("row10", setup);
    stack.settle(LONG);
    let project = stack.project.clone();
    let before = |action| proxy.inject(Rule::new(action).containing(&project).next(1));
    before(Action::InjectLine(b"\xff\xfe{not json".to_vec()));
    before(Action::InjectLine(b"{\"Type\":7,\"Action\":null}".to_vec()));
    before(Action::InjectLine(b"[[[[]]]]".to_vec()));
    before(Action::HugeLine(16 * 1024 * 1024));
    docker(&["kill", &stack.container("store")]);
    assert!(
        proxy.wait_until(LONG, |_| counter.skipped() == 4),
        "{} lines were counted",
        counter.skipped()
    );
    stack.until(LONG, "it is started again", |_| writes(&proxy)[START] == 3);
    stack.settle(LONG);
    assert_two(&stack);
    assert_eq!(stack.tap.views.borrow().link, Link::Live);
    assert_eq!(counter.gaps(), 0, "the stream goes on");
    assert_eq!(requests(&proxy, EVENTS, "").len(), 1);
}
