//! Row 26: containers that live in another one's namespaces.

use crate::support::docker;
use crate::support::scene::up;

const FAMILY: &str = r#"
services:
  parent:
    image: homeostat-test/stand-ins:1
    command: ["listen", "8000"]
    ipc: shareable
  net:
    image: homeostat-test/stand-ins:1
    command: ["listen", "8001"]
    environment: {STAND_IN_ADMIN: "off"}
    network_mode: service:parent
  ipc:
    image: homeostat-test/stand-ins:1
    command: ["sleep"]
    ipc: service:parent
    network_mode: none
  pid:
    image: homeostat-test/stand-ins:1
    command: ["sleep"]
    pid: service:parent
    network_mode: none
"#;

const MODES: [(&str, &str); 3] = [
    ("net", "{{.HostConfig.NetworkMode}}"),
    ("ipc", "{{.HostConfig.IpcMode}}"),
    ("pid", "{{.HostConfig.PidMode}}"),
];

/// Every child's steps of a replacement follow the parent's start.
fn replaced() -> (Vec<String>, Vec<(String, String)>) {
    let mut steps = vec![
        "service parent/1: create P-parent-1".to_owned(),
        "service parent/1: start".to_owned(),
    ];
    let mut pairs = Vec::new();
    for (child, _) in MODES {
        let of = |op: &str| format!("service {child}/1: {op}");
        let ops = [
            of(&format!("create ID_P-{child}-1")),
            of("stop ID"),
            of("remove ID"),
            of(&format!("rename to P-{child}-1")),
            of("start"),
        ];
        pairs.push((steps[0].clone(), ops[0].clone()));
        pairs.push((steps[1].clone(), ops[4].clone()));
        pairs.extend(ops.windows(2).map(|w| (w[0].clone(), w[1].clone())));
        steps.extend(ops);
    }
    (steps, pairs)
}

#[test]
fn row_26_children_of_a_recreated_parent_are_recreated() {
    let mut stack = up("r26", FAMILY);
    let before = stack.identities();
    // With its PID namespace a parent takes that child's process along; the plan sees it at once.
    stack.while_away(|stack| docker(&["rm", "-f", &stack.container("parent")]));
    let (steps, pairs) = replaced();
    let steps: Vec<&str> =
        steps.iter().map(String::as_str).filter(|s| *s != "service pid/1: stop ID").collect();
    let pairs: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .filter(|(a, b)| !a.contains("pid/1: stop") && !b.contains("pid/1: stop"))
        .collect();
    stack.mended_in_any_order(&steps, &pairs);
    let after = stack.identities();
    assert_eq!(after.len(), 4);
    assert!(after.iter().all(|(name, id)| before[name] != *id), "{after:#?}");
    for (child, mode) in MODES {
        assert_eq!(stack.inspect(child, mode), format!("container:{}", after["parent-1"]));
        assert_eq!(stack.inspect(child, "{{.State.Status}}"), "running");
    }
    assert!(stack.reaches("net", "127.0.0.1"), "it isn't in its parent's network namespace");
}

#[test]
fn row_26_children_of_a_restarted_parent_are_restarted_into_its_new_namespaces() {
    let mut stack = up("r26-kill", FAMILY);
    let before = stack.identities();
    stack.while_away(|stack| docker(&["kill", &stack.container("parent")]));
    let parent = "service parent/1: start";
    let (net, ipc) = ("service net/1: restart", "service ipc/1: restart");
    let pid = "service pid/1: start";
    stack.mended_in_any_order(
        &[parent, net, ipc, pid],
        &[(parent, net), (parent, ipc), (parent, pid)],
    );
    assert_eq!(stack.identities(), before);
    assert!(stack.reaches("net", "127.0.0.1"), "it isn't in its parent's network namespace");
}
