//! Faults of the engine and of the way to it, made by a proxy before the real engine. Each file is
//! named after its row of the fault matrix.

mod budget;
mod lost_answers;
mod row_10_garbage;
mod row_2_absent;
mod row_3_hang;
mod row_4_statuses;
mod row_5_forbidden;
mod row_6_version;
mod row_7_stream;
mod row_8_gap;
mod row_9_order;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use homeostat::controller::meter::Meter;
use homeostat::controller::worker::Wish;
use homeostat::engine::docker::Deadlines;
use homeostat::plan::Scope;

use crate::engine_proxy::{EngineProxy, Record};
use crate::support::{Setup, Stack, docker};

const CREATE: &str = "POST /containers/create";
const START: &str = "POST /containers/{id}/start";
const STOP: &str = "POST /containers/{id}/stop";
const RENAME: &str = "POST /containers/{id}/rename";
const REMOVE: &str = "DELETE /containers/{id}";
const LIST: &str = "GET /containers/json";
const INSPECT: &str = "GET /containers/{id}/json";
const EVENTS: &str = "GET /events";

/// Two services, one after the other, with a network and a volume of their own.
const TWO: &str = r#"
services:
  store:
    image: homeostat-test/stand-ins:1
    command: ["listen", "8000"]
    networks: [inner]
    volumes: ["kept:/kept"]
    stop_grace_period: 1s
  door:
    image: homeostat-test/stand-ins:1
    command: ["listen", "8000"]
    depends_on: [store]
    networks: [inner]
    stop_grace_period: 1s
networks: {inner: {}}
volumes: {kept: {}}
"#;

/// The same with a configuration that asks for new containers.
fn two_changed() -> String {
    TWO.replace("8000", "8001")
}

fn proxy() -> EngineProxy {
    EngineProxy::before_engine().expect("the proxy starts")
}

/// Short deadlines, so that a test needn't wait for the real ones, and long enough for a busy
/// machine.
fn impatient() -> Deadlines {
    let short = Duration::from_secs(2);
    Deadlines {
        ping: short,
        info: short,
        subscribe: short,
        list: short,
        inspect: short,
        create: short,
        act: short,
        stop: short,
        restart: short,
        remove: short,
        quick: short,
    }
}

/// Settles without the pauses after failures: a person asks again and again.
fn settle_hurried(stack: &mut Stack) {
    struct Over(Arc<AtomicBool>);
    impl Drop for Over {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let over = Over(Arc::default());
    let (ended, wishes) = (Arc::clone(&over.0), stack.tap.wishes.clone());
    let person = std::thread::spawn(move || {
        while !ended.load(Ordering::SeqCst) {
            // A full queue is nudged already.
            let _ = wishes.try_send(Wish::Afresh(Scope::default()));
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    stack.settle(LONG);
    drop(over);
    person.join().expect("it only nudges");
}

/// What a stack behind the proxy is made from. Nothing but faults and events can make it look
/// again: the timer is far away.
fn behind(proxy: &EngineProxy) -> Setup {
    Setup {
        compose: TWO.into(),
        host: proxy.host(),
        resync: Some(Duration::from_secs(600)),
        ..Setup::default()
    }
}

const LONG: Duration = Duration::from_secs(60);

/// Exactly the containers, networks and volumes of [`TWO`], running, nothing beside them.
fn assert_two(stack: &Stack) {
    let label = format!("label=com.docker.compose.project={}", stack.project);
    let names = |args: &[&str]| -> Vec<String> {
        let mut args = args.to_vec();
        args.extend(["--filter", &label]);
        let mut names: Vec<String> = docker(&args).lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(
        names(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]),
        [format!("{}-door-1 running", stack.project), format!("{}-store-1 running", stack.project)]
    );
    assert_eq!(
        names(&["network", "ls", "--format", "{{.Name}}"]),
        [format!("{}_inner", stack.project)]
    );
    assert_eq!(
        names(&["volume", "ls", "--format", "{{.Name}}"]),
        [format!("{}_kept", stack.project)]
    );
}

/// Requests for an endpoint whose target or body has this in it.
fn requests(proxy: &EngineProxy, endpoint: &str, about: &str) -> Vec<Record> {
    let mut records = proxy.records();
    records.retain(|r| {
        r.endpoint() == endpoint
            && (r.target.contains(about)
                || r.request.as_ref().is_some_and(|body| body.to_string().contains(about)))
    });
    records
}

/// Writes so far, by endpoint.
fn writes(proxy: &EngineProxy) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in proxy.writes() {
        *counts.entry(record.endpoint()).or_default() += 1;
    }
    counts
}

/// Counts what the observer sees.
#[derive(Default)]
struct Counter {
    skipped: AtomicUsize,
    gaps: AtomicUsize,
}

impl Counter {
    fn skipped(&self) -> usize {
        self.skipped.load(Ordering::SeqCst)
    }

    fn gaps(&self) -> usize {
        self.gaps.load(Ordering::SeqCst)
    }
}

impl Meter for Counter {
    fn event_gap(&self) {
        self.gaps.fetch_add(1, Ordering::SeqCst);
    }

    fn event_skipped(&self) {
        self.skipped.fetch_add(1, Ordering::SeqCst);
    }
}
