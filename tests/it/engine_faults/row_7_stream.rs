//! Row 7: the event stream ends, or is cut every few seconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use homeostat::controller::observer::Link;

use super::{Counter, EVENTS, LIST, LONG, assert_two, behind, proxy};
use crate::support::{Setup, Stack, docker};

#[test]
fn row_7_each_stream_that_ends_is_followed_by_a_full_list() {
    let proxy = proxy();
    let counter = Arc::new(Counter::default());
    let setup = Setup { meter: Some(counter.clone()), ..behind(&proxy) };
    let mut stack = Stack::start("row7a", setup);
    stack.settle(LONG);
    for n in 1..=3 {
        proxy.cut_streams();
        assert!(proxy.wait_until(LONG, |_| counter.gaps() == n), "gap {n} is counted");
    }
    stack.settle(LONG);
    let records = proxy.records();
    let streams: Vec<usize> =
        records.iter().filter(|r| r.endpoint() == EVENTS).map(|r| r.number).collect();
    assert_eq!(streams.len(), 4);
    for (at, stream) in streams.iter().enumerate() {
        let end = streams.get(at + 1).copied().unwrap_or(records.len());
        for list in [LIST, "GET /networks", "GET /volumes", "GET /images/json"] {
            let listed = records[*stream..end].iter().any(|r| r.endpoint() == list);
            assert!(listed, "{list} after stream {at}: subscribe first, then list");
        }
    }
    assert_two(&stack);
}

#[test]
fn row_7_a_stream_that_is_cut_every_second_leaves_no_blind_time() {
    let proxy = proxy();
    proxy.cut_streams_every(Some(Duration::from_secs(1)));
    let mut stack = Stack::start("row7b", behind(&proxy));
    stack.settle(LONG);
    let (mut live, mut samples) = (0, 0);
    let end = Instant::now() + Duration::from_secs(8);
    let mut turn = 0;
    while Instant::now() < end {
        samples += 1;
        live += usize::from(stack.tap.views.borrow().link == Link::Live);
        if samples % 100 == 0 {
            turn += 1;
            let (verb, service) = if turn % 2 == 0 { ("kill", "door") } else { ("rm", "store") };
            let name = stack.container(service);
            let _ = match verb {
                "rm" => crate::support::docker_try(&["rm", "-f", &name]),
                _ => crate::support::docker_try(&["kill", &name]),
            };
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(live * 10 >= samples * 7, "live in {live} of {samples} samples");
    stack.settle(LONG);
    assert_two(&stack);
    assert!(!docker(&["ps", "-q"]).is_empty());
}
