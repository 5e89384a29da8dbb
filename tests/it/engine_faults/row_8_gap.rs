//! Row 8: more events in a gap than the engine keeps (256).

use super::{LONG, assert_two, behind, proxy};
use crate::engine_proxy::{Action, Rule};
use crate::support::{Stack, docker};

#[test]
fn row_8_the_list_finds_what_300_lost_events_would_have_told() {
    let proxy = proxy();
    let mut stack = Stack::start("row8", behind(&proxy));
    stack.settle(LONG);
    let writes = proxy.writes().len();
    proxy.inject(Rule::new(Action::DropLine));
    // A look that an event of another test's container asked for just before is over by then.
    std::thread::sleep(std::time::Duration::from_secs(1));
    docker(&["rm", "-f", &stack.container("door")]);
    docker(&[
        "network",
        "disconnect",
        "-f",
        &format!("{}_inner", stack.project),
        &stack.container("store"),
    ]);
    // Each signal is an event; this one does nothing to the process.
    let store = stack.container("store");
    let mut signals = vec!["kill", "--signal", "WINCH"];
    signals.extend(std::iter::repeat_n(store.as_str(), 300));
    docker(&signals);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(proxy.writes().len(), writes, "nobody told it");
    proxy.heal();
    proxy.cut_streams();
    stack.until(LONG, "it sees the gap", |view| view.turn > 0 && proxy.writes().len() > writes);
    stack.settle(LONG);
    assert_two(&stack);
    let aliases = stack.inspect("store", "{{range .NetworkSettings.Networks}}{{.Aliases}}{{end}}");
    assert!(aliases.contains("store"), "connected again under its name: {aliases}");
}
