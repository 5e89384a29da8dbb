//! Row 9: duplicate and reordered events have no effect.

use std::time::Duration;

use super::{CREATE, LONG, START, assert_two, behind, proxy, writes};
use crate::engine_proxy::{Action, Rule};
use crate::support::{Stack, docker};

#[test]
fn row_9_duplicate_and_reordered_events_cause_no_write() {
    for action in [Action::DuplicateLine, Action::SwapLine] {
        let proxy = proxy();
        proxy.inject(Rule::new(action));
        // A swapped line waits for the one that follows it.
        let mut setup = behind(&proxy);
        setup.resync = Some(Duration::from_secs(2));
        let mut stack = Stack::start("row9", setup);
        stack.settle(LONG);
        let first = writes(&proxy);
        assert_eq!((first[CREATE], first[START]), (2, 2), "{first:?}");
        docker(&["kill", &stack.container("store")]);
        stack.until(LONG, "it is started again", |_| writes(&proxy)[START] > 2);
        stack.settle(LONG);
        docker(&["kill", &stack.container("door")]);
        stack.until(LONG, "it is started again", |_| writes(&proxy)[START] > 3);
        stack.settle(LONG);
        std::thread::sleep(Duration::from_secs(1));
        stack.settle(LONG);
        let last = writes(&proxy);
        assert_eq!((last[CREATE], last[START]), (2, 4), "{last:?}");
        assert_two(&stack);
    }
}
