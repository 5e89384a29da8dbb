//! An answer is lost: it happened, and nobody was told. What is there is found, never made twice.

use super::{
    CREATE, LONG, REMOVE, RENAME, START, STOP, assert_two, behind, proxy, requests, settle_hurried,
    two_changed,
};
use crate::engine_proxy::{Action, Rule};
use crate::support::{Stack, docker};

const CONNECT: &str = "POST /networks/{id}/connect";

#[test]
fn lost_answers_while_a_stack_is_made() {
    for action in [Action::CutAfter, Action::Truncate(1)] {
        let proxy = proxy();
        let makes = [CREATE, START, "POST /networks/create", "POST /volumes/create"];
        for endpoint in makes {
            proxy.inject(Rule::new(action.clone()).on(endpoint).next(1));
        }
        let mut stack = Stack::start("lost", behind(&proxy));
        stack.settle(LONG);
        assert_two(&stack);
        // A volume is create-if-absent: asking twice is harmless.
        for endpoint in [CREATE, "POST /networks/create"] {
            let about = if endpoint == CREATE { "store-1" } else { "" };
            assert_eq!(requests(&proxy, endpoint, about).len(), 1, "{endpoint}");
        }
    }
}

#[test]
fn lost_requests_while_a_stack_is_made() {
    let proxy = proxy();
    for endpoint in [CREATE, START, "POST /networks/create", "POST /volumes/create"] {
        proxy.inject(Rule::new(Action::CutBefore).on(endpoint).next(1));
        proxy.inject(Rule::new(Action::Garbage).on(endpoint).next(1));
    }
    let mut stack = Stack::start("lostreq", behind(&proxy));
    stack.settle(LONG);
    assert_two(&stack);
}

#[test]
fn lost_answers_while_containers_are_replaced() {
    let proxy = proxy();
    let mut stack = Stack::start("lostrep", behind(&proxy));
    stack.settle(LONG);
    let before = stack.ids();
    for endpoint in [CREATE, START, STOP, RENAME, REMOVE] {
        proxy.inject(Rule::new(Action::CutAfter).on(endpoint).next(1));
    }
    stack.edit(&two_changed());
    settle_hurried(&mut stack);
    assert_two(&stack);
    assert!(stack.ids().iter().all(|id| !before.contains(id)));
    for name in ["store-1", "door-1"] {
        // Once when the stack was made, once when it was replaced.
        assert_eq!(requests(&proxy, CREATE, name).len(), 2, "{name}");
    }
}

#[test]
fn a_lost_answer_while_a_network_is_connected() {
    let proxy = proxy();
    let mut stack = Stack::start("lostcon", behind(&proxy));
    stack.settle(LONG);
    let ids = stack.ids();
    proxy.inject(Rule::new(Action::CutAfter).on(CONNECT).next(1));
    let network = format!("{}_inner", stack.project);
    docker(&["network", "disconnect", "-f", &network, &stack.container("store")]);
    stack.until(LONG, "it is asked for", |_| !requests(&proxy, CONNECT, "").is_empty());
    stack.settle(LONG);
    assert_two(&stack);
    assert_eq!(stack.ids(), ids, "no container is replaced for it");
    let aliases = stack.inspect("store", "{{range .NetworkSettings.Networks}}{{.Aliases}}{{end}}");
    assert!(aliases.contains("store"), "{aliases}");
}
