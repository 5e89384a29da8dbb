//! A Stack that gets another name, in a whole daemon over the simulated engine, in real time.

use std::fs;
use std::path::Path;

use super::*;
use crate::controller::daemon::{self, DaemonOptions};
use crate::desired::source::{Environment, Flags, Request, find};
use crate::server::Client;

async fn until(state: &Path, what: &str, is: impl Fn(&Status) -> bool) -> Status {
    let mut last = Status::default();
    for _ in 0..300 {
        sleep(ms(100)).await;
        let Ok(client) = Client::connect(&state.join("control.sock"), secs(5)).await else {
            continue;
        };
        let Ok(status) = client.get::<Status>("/api/v1/status").await else { continue };
        if is(&status) {
            return status;
        }
        last = status;
    }
    panic!("waited in vain until {what}: {:#?}", last.stacks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_with_a_new_name_goes_on_with_its_project() {
    let root = tempfile::tempdir().expect("a folder");
    let (folder, state) = (root.path().join("files"), root.path().join("state"));
    fs::create_dir(&folder).expect("a folder");
    let stack = |name: &str| {
        let head = "apiVersion: homeostat.dev/v1alpha1\nkind: Stack\nmetadata: ";
        fs::write(folder.join("stack.yaml"), format!("{head}{{name: {name}}}\n")).expect("writes");
    };
    stack("a");
    fs::write(folder.join("compose.yaml"), "name: p\nservices: {web: {image: 'app:1'}}\n")
        .expect("writes");
    let request = Request {
        path: Some(folder.clone()),
        cwd: folder.clone(),
        flags: Flags::default(),
        environment: Environment::default(),
        scope: Scope::default(),
    };
    let sim = engine(1);
    let options = DaemonOptions {
        state_dir: state.clone(),
        listen: ([127, 0, 0, 1], 0).into(),
        metrics_listen: None,
        resync: secs(60),
        observe: false,
        take_over: false,
    };
    let stop = CancellationToken::new();
    let sources = find(&request).expect("finds").sources;
    let engine: DynEngine = Arc::clone(&sim) as _;
    let running = tokio::spawn(daemon::run(options, engine, sources, request, stop.clone()));
    let only = |name: &'static str| move |status: &Status| matches!(&status.stacks[..], [one] if one.name == name && one.synced && one.ready == 1);
    until(&state, "it runs", only("a")).await;
    let made = sim.id("p-web-1").expect("it is there");
    sim.forget_writes();
    // The first name is free again, so it can be had back.
    for name in ["b", "a"] {
        stack(name);
        until(&state, "the new name is the only one", only(name)).await;
    }
    assert!(sim.writes().is_empty(), "{:?}", sim.writes());
    // Gone, and nobody else wants the project: it is kept as it was.
    fs::remove_file(folder.join("stack.yaml")).expect("removes");
    sleep(secs(7)).await;
    sim.crash("p-web-1", 1).expect("runs");
    let gone =
        until(&state, "it runs again", |status| only("a")(status) && sim.writes().len() == 1);
    let reasons = gone.await.stacks.remove(0).conditions;
    assert!(reasons.iter().any(|c| c.reason == "SourceGone"), "{reasons:?}");
    assert_eq!(sim.id("p-web-1"), Some(made));
    stop.cancel();
    running.await.expect("ends").expect("well");
}
