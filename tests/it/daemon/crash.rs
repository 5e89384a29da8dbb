//! Row 38 on the real engine: the daemon is killed with SIGKILL at each of its writes, just before
//! the engine hears of it and just after it was done unheard, and started again.

use std::collections::BTreeMap;

use super::harness::{Daemon, Home, facts};
use crate::engine_proxy::{Action, EngineProxy, Record, Rule};
use crate::support::{IMAGE, docker};

/// What two projects of the same files have in common when both are as they should be.
const SHAPE: &str = "{{.State.Status}} {{.Image}} {{.Config.Cmd}} {{range $n, $e := .NetworkSettings.Networks}}{{range $e.Aliases}}{{.}} {{end}}{{end}}{{range .Mounts}}{{.Destination}}{{end}}";

/// How each container of a project is, without what differs from project to project.
fn shape(project: &str) -> BTreeMap<String, String> {
    let is_id = |word: &str| word.len() == 12 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let plain = |text: String| {
        let words = text.split_whitespace().filter(|word| !is_id(word));
        words.map(|word| word.replace(project, "PROJECT")).collect::<Vec<_>>().join(" ")
    };
    facts(project, SHAPE).into_iter().map(|(name, text)| (name, plain(text))).collect()
}

/// A store with a volume, one that waits for it, one in that one's namespace.
fn files(project: &str, edit: u32) -> String {
    let port = 8000 + edit;
    format!(
        "\
name: {project}
services:
  store:
    image: {IMAGE}
    command: [listen, '8000']
    volumes: ['kept:/kept']
    networks: {{back: {{aliases: [shelf]}}}}
    stop_grace_period: 1s
  door:
    image: {IMAGE}
    command: [listen, '{port}']
    networks: [front, back]
    depends_on: [store]
    stop_grace_period: 1s
  side:
    image: {IMAGE}
    command: [sleep]
    network_mode: 'service:door'
    depends_on: [door]
    stop_grace_period: 1s
networks: {{front: {{}}, back: {{}}}}
volumes: {{kept: {{}}}}
"
    )
}

fn daemon(home: &Home, proxy: &EngineProxy) -> Daemon {
    home.daemon_with(&[], |command| {
        command.env("DOCKER_HOST", proxy.host());
    })
}

/// In the target or the body of every write about a lease.
const LEASE: &str = "homeostat-lease-";
/// So many lives end while they take the lease; the others take it unharmed, since each life has to.
const ENDED_BY_LEASE: usize = 4;

fn is_about_lease(write: &Record) -> bool {
    let named = write.request.as_ref().and_then(|body| body["Name"].as_str());
    write.target.contains(LEASE) || named.is_some_and(|name| name.starts_with(LEASE))
}

/// Lives that each end at their first write: before it, after it, before the next… until nothing
/// is left to do. Returns how many it took.
fn lives(home: &Home, proxy: &EngineProxy, generation: u64) -> usize {
    for number in 0..120 {
        let heard = number % 2 == 1;
        let spared = number >= ENDED_BY_LEASE;
        proxy.heal();
        for method in ["POST", "DELETE"] {
            let rule = Rule::new(if heard { Action::HangAfter } else { Action::Hang });
            let rule = rule.method(method);
            proxy.inject(if spared { rule.sparing(LEASE) } else { rule });
        }
        let writes = || -> Vec<Record> {
            proxy.writes().into_iter().filter(|w| !spared || !is_about_lease(w)).collect()
        };
        let before = writes().len();
        let daemon = daemon(home, proxy);
        let mut done = false;
        daemon.until("a write, or nothing left to do", || {
            done = daemon.is_ready("stacks", generation);
            let writes = writes();
            let new = writes.get(before..).unwrap_or_default();
            done || !new.is_empty() && (!heard || new.iter().all(|w| w.engine_status.is_some()))
        });
        daemon.kill();
        proxy.cut_all();
        if done {
            return number;
        }
    }
    panic!("no end of it");
}

fn counts(project: &str) -> BTreeMap<&'static str, usize> {
    let label = format!("label=com.docker.compose.project={project}");
    let list = |kind: &str| docker(&[kind, "ls", "-q", "--filter", &label]).lines().count();
    [("networks", list("network")), ("volumes", list("volume"))].into()
}

#[test]
fn row_38_killed_at_each_of_its_writes_it_ends_where_an_undisturbed_run_ends() {
    let (mut home, mut calm) = (Home::new(), Home::new());
    let (project, twin) = (home.project("mortal"), calm.project("calm"));
    let proxy = EngineProxy::before_engine().expect("the proxy starts");

    calm.write("compose.yaml", &files(&twin, 0));
    let undisturbed = calm.daemon(&[]);
    undisturbed.until_ready("stacks", 1);

    home.write("compose.yaml", &files(&project, 0));
    let took = lives(&home, &proxy, 1);
    // Two networks, a volume, three containers made and started, in few batches.
    assert!(took >= ENDED_BY_LEASE + 10, "{took} lives");
    assert_eq!(shape(&project), shape(&twin));
    assert_eq!(counts(&project), counts(&twin));
    let volume =
        || docker(&["volume", "inspect", "-f", "{{.CreatedAt}}", &format!("{project}_kept")]);
    let (kept, store) = (volume(), facts(&project, "{{.Id}}")["store-1"].clone());

    // The parent of a namespace is replaced, and its child after it.
    home.write("compose.yaml", &files(&project, 1));
    calm.write("compose.yaml", &files(&twin, 1));
    undisturbed.until_ready("stacks", 2);
    let took = lives(&home, &proxy, 2);
    assert!(took >= ENDED_BY_LEASE + 10, "{took} lives");
    assert_eq!(shape(&project), shape(&twin));
    assert_eq!(counts(&project), counts(&twin));
    assert_eq!((volume(), facts(&project, "{{.Id}}")["store-1"].clone()), (kept, store));

    // Its journal doesn't wait for anything, and nothing counts as failed.
    proxy.heal();
    let heir = daemon(&home, &proxy);
    heir.until_ready("stacks", 2);
    let writes = || proxy.writes().iter().filter(|w| !is_about_lease(w)).count();
    let before = writes();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(writes(), before, "{}", heir.log());
    assert!(!heir.log().contains("backoff"), "{}", heir.log());
}
