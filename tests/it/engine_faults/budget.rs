//! How many calls looking at the engine may cost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use homeostat::clock::SystemClock;
use homeostat::controller::meter::Uncounted;
use homeostat::controller::observer::{Link, Observer};
use homeostat::controller::snapshot::read_once;
use homeostat::engine::{DynEngine, Tier};
use tokio_util::sync::CancellationToken;

use super::{LONG, behind, proxy};
use crate::engine_proxy::{Action, EngineProxy, Rule};
use crate::support::{Stack, client};

const LISTS: [&str; 4] =
    ["GET /containers/json", "GET /images/json", "GET /networks", "GET /volumes"];

/// What was asked since the record with this number.
fn asked_since(proxy: &EngineProxy, since: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in proxy.records().iter().skip(since) {
        *counts.entry(record.endpoint()).or_default() += 1;
    }
    counts
}

fn expect(calls: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let lists = LISTS.iter().map(|list| ((*list).to_owned(), 1));
    calls.iter().map(|(call, n)| ((*call).to_owned(), *n)).chain(lists).collect()
}

fn engine(proxy: &EngineProxy) -> DynEngine {
    Arc::new(client(Some(&proxy.host()), Tier::Observe))
}

#[test]
fn a_resync_with_nothing_to_do_is_four_lists() {
    let proxy = proxy();
    let mut setup = behind(&proxy);
    setup.resync = Some(Duration::from_secs(1));
    let mut stack = Stack::start("budget", setup);
    stack.settle(LONG);
    // What other tests do on the engine would be looked at, too.
    proxy.inject(Rule::new(Action::DropLine));
    std::thread::sleep(Duration::from_secs(2));
    let before = proxy.records().len();
    std::thread::sleep(Duration::from_secs(5));
    let asked = asked_since(&proxy, before);
    assert_eq!(asked.keys().map(String::as_str).collect::<Vec<_>>(), LISTS, "{asked:?}");
    assert!(asked.values().all(|n| (4..=6).contains(n)), "{asked:?}");
}

#[test]
fn looking_once_is_one_info_four_lists_and_an_inspect_for_each_container() {
    let proxy = proxy();
    let mut stack = Stack::start("once", behind(&proxy));
    stack.settle(LONG);
    let second = super::proxy();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let projects = BTreeSet::from([stack.project.clone()]);
    let picture = runtime
        .block_on(read_once(&engine(&second), &SystemClock::new(), projects))
        .expect("a picture");
    assert_eq!(picture.observed.of_project(&stack.project).count(), 2);
    let wanted = expect(&[("GET /info", 1), ("GET /containers/{id}/json", 2)]);
    assert_eq!(asked_since(&second, 0), wanted);
}

#[test]
fn a_silent_stream_is_replaced_without_inspecting_anything() {
    let proxy = proxy();
    let mut stack = Stack::start("idle", behind(&proxy));
    stack.settle(LONG);
    let second = super::proxy();
    second.inject(Rule::new(Action::DropLine));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let stop = CancellationToken::new();
    runtime.block_on(async {
        let clock = Arc::new(SystemClock::new());
        let (observer, handle) =
            Observer::new(engine(&second), clock, Arc::new(Uncounted), Duration::from_secs(600));
        let observer = observer.with_idle_limit(Duration::from_secs(1));
        handle.projects.send_replace(BTreeSet::from([stack.project.clone()]));
        tokio::spawn(observer.run(stop.clone()));
        tokio::time::sleep(Duration::from_millis(4500)).await;
        assert_eq!(handle.snapshots.borrow().link, Link::Live);
    });
    stop.cancel();
    let asked = asked_since(&second, 0);
    assert!((3..=5).contains(&asked["GET /events"]), "{asked:?}");
    assert_eq!((asked["GET /info"], asked["GET /containers/{id}/json"]), (1, 2), "{asked:?}");
}

#[test]
fn a_daemon_that_starts_over_a_running_stack_asks_no_more_and_subscribes() {
    let proxy = proxy();
    let mut stack = Stack::start("boot", behind(&proxy));
    stack.settle(LONG);
    let second = super::proxy();
    second.inject(Rule::new(Action::DropLine));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let stop = CancellationToken::new();
    runtime.block_on(async {
        let clock = Arc::new(SystemClock::new());
        let (observer, mut handle) =
            Observer::new(engine(&second), clock, Arc::new(Uncounted), Duration::from_secs(600));
        handle.projects.send_replace(BTreeSet::from([stack.project.clone()]));
        tokio::spawn(observer.run(stop.clone()));
        let live = handle.snapshots.wait_for(|s| s.link == Link::Live);
        tokio::time::timeout(LONG, live).await.expect("in time").expect("it runs");
        tokio::time::sleep(Duration::from_secs(1)).await;
    });
    stop.cancel();
    let wanted = expect(&[("GET /info", 1), ("GET /events", 1), ("GET /containers/{id}/json", 2)]);
    assert_eq!(asked_since(&second, 0), wanted);
}
