//! Row 7: the event stream ends, or is cut every few seconds.

use std::sync::Arc;
use std::time::Duration;

use super::{Counter, EVENTS, LIST, LONG, assert_two, behind, proxy};
use crate::support::{Setup, Stack, docker_try};

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
    for turn in 0..8 {
        std::thread::sleep(Duration::from_secs(1));
        // The container may be gone already.
        let _ = match turn % 2 {
            0 => docker_try(&["kill", &stack.container("door")]),
            _ => docker_try(&["rm", "-f", &stack.container("store")]),
        };
    }
    let records = proxy.records();
    let ends = records.iter().filter(|r| r.endpoint() == EVENTS);
    let pauses: Vec<Duration> = ends
        .filter_map(|stream| {
            let end = stream.at + stream.took?;
            let next = records.iter().find(|r| r.endpoint() == "GET /info" && r.at >= end)?;
            Some(next.at - end)
        })
        .collect();
    assert!(pauses.len() >= 4, "{pauses:?}");
    assert!(pauses.iter().all(|p| *p < Duration::from_millis(700)), "{pauses:?}");
    stack.settle(LONG);
    assert_two(&stack);
}
