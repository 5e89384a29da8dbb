//! Row 6: an engine whose API is too old is refused with the reason; a newer one works.

use std::time::Duration;

use homeostat::controller::observer::Link;
use homeostat::engine::Fault;

use super::{LONG, assert_two, behind, proxy};
use crate::engine_proxy::{Action, Rule};
use crate::support::Stack;

#[test]
fn row_6_an_engine_that_is_too_old_is_refused_with_the_reason() {
    let proxy = proxy();
    proxy.inject(Rule::new(Action::Speak("1.40".into())));
    let mut stack = Stack::start("row6a", behind(&proxy));
    let view = stack.until(LONG, "the reason is there", |view| {
        matches!(view.link, Link::Stale(Fault::TooOld { .. }))
    });
    let Link::Stale(fault) = view.link else { unreachable!("just seen") };
    let words = fault.to_string();
    assert!(words.contains("1.41") && words.contains("1.40"), "{words}");
    std::thread::sleep(Duration::from_millis(500));
    assert!(proxy.writes().is_empty());
    assert!(stack.ids().is_empty());
    // The engine is upgraded: the next attempt finds it.
    proxy.heal();
    stack.settle(LONG);
    assert_two(&stack);
}

#[test]
fn row_6_a_newer_engine_works_in_the_newest_version_that_both_speak() {
    for (has, spoken) in [("1.47", "1.47"), ("1.99", "1.51")] {
        let proxy = proxy();
        proxy.inject(Rule::new(Action::Speak(has.into())));
        let mut stack = Stack::start("row6b", behind(&proxy));
        stack.settle(LONG);
        assert_two(&stack);
        let writes = proxy.writes();
        assert!(!writes.is_empty());
        assert!(writes.iter().all(|r| r.version.as_deref() == Some(spoken)), "{has}");
    }
}
