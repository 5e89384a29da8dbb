//! The demo stack, ready by its drivers: the real Valkey and Chroma, stand-ins for the rest.

use std::time::Duration;

use super::harness::{Daemon, Home, SOON, runs};
use crate::support::{IMAGE, docker};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

const DAMAGE: &str = "
import os, struct
path = '/data/chroma.sqlite3'
size = os.path.getsize(path)
with open(path, 'r+b') as file:
    file.seek(24)
    counter = struct.unpack('>I', file.read(4))[0] + 7
    file.seek(4096)
    file.write(os.urandom(size - 4096))
    for place in (24, 92):
        file.seek(place)
        file.write(struct.pack('>I', counter))
";

fn message(daemon: &Daemon, service: &str) -> String {
    let list = daemon.api("/api/v1/services");
    let items = list["items"].as_array().expect("items");
    let found = items.iter().find(|s| s["service"] == service);
    found.and_then(|s| s["message"].as_str()).unwrap_or_default().to_owned()
}

#[test]
fn the_demo_stack_is_ready_by_its_drivers() {
    let mut home = Home::new();
    let project = home.project("demo");
    let read = |name: &str| {
        std::fs::read_to_string(format!("{ROOT}/compose/demo/{name}")).expect("the demo")
    };
    home.write(
        "compose.yaml",
        &read("compose.yaml").replace("name: homeostat-demo", &format!("name: {project}")),
    );
    // The demo's intervals suit people who watch; a test asks more often.
    let stack = read("stack.yaml");
    let mut often = String::new();
    for line in stack.lines() {
        often.push_str(line);
        often.push('\n');
        if line.starts_with("    ")
            && line.ends_with(':')
            && !line.starts_with("     ")
            && !line.contains("compose")
        {
            often.push_str("      interval: 1s\n      timeout: 1s\n");
        }
    }
    home.write("stack.yaml", &often);
    let daemon = home.daemon(&[]);
    let status =
        |name: &str| daemon.services().remove(&format!("{project}/{name}")).unwrap_or_default();
    daemon.within(Duration::from_secs(60), "all five are ready", || {
        let services = daemon.services();
        services.len() == 5 && services.values().all(|s| s == "ready")
    });
    let probes = daemon.metrics()["homeostat_probes_total{answer=\"ready\"}"];
    assert!(probes >= 5.0, "{probes} ready answers");
    let first = runs(&project);

    // A database that is damaged: told as what it is, and never restarted. Every page but the first
    // is overwritten, and the change counters say so, as another writer of SQLite's would have it:
    // the running server then reads again.
    docker(&["exec", &format!("{project}-chromadb-1"), "python3", "-c", DAMAGE]);
    daemon
        .until("the corruption is told", || message(&daemon, "chromadb").contains("seems damaged"));
    let told = runs(&project);
    std::thread::sleep(Duration::from_secs(6));
    assert_ne!(status("chromadb"), "ready", "{}", message(&daemon, "chromadb"));
    assert_eq!(runs(&project)["chromadb-1"], told["chromadb-1"]);
    assert_eq!(told["chromadb-1"], first["chromadb-1"], "restarted: {}", daemon.log());
}

#[test]
fn valkey_loading_and_credentials() {
    let mut home = Home::new();
    let project = home.project("valkey");
    let text = |options: &str| {
        format!(
            "name: {project}\nservices:\n  valkey:\n    image: homeostat-test/valkey:8\n    command: [valkey-server, --save, '']\n    volumes: ['data:/data']\n    stop_grace_period: 1s\nvolumes: {{data: {{}}}}\n"
        )
        .replace("--save, ''", &format!("--save, ''{options}"))
    };
    home.write("compose.yaml", &text(""));
    home.write(
        "stack.yaml",
        "apiVersion: homeostat.dev/v1alpha1\nkind: Stack\nmetadata: {name: valkey}\nspec:\n  source:\n    compose: {files: [compose.yaml]}\n  services:\n    valkey: {driver: valkey, interval: 500ms, timeout: 1s}\n",
    );
    let daemon = home.daemon(&[]);
    daemon.until_ready("valkey", 1);
    let name = format!("{project}-valkey-1");
    let cli = |args: &[&str]| {
        let mut all = vec!["exec", &name, "valkey-cli"];
        all.extend(args);
        docker(&all)
    };
    cli(&["eval", "for i=1,3000 do redis.call('set','k'..i,string.rep('x',200)) end", "0"]);
    cli(&["save"]);

    // It loads its data for a while: alive, not ready, left alone.
    home.write(
        "compose.yaml",
        &text(", --key-load-delay, '2000', --loading-process-events-interval-bytes, '1024'"),
    );
    daemon.until("it loads", || message(&daemon, "valkey").contains("loads its data"));
    let run = || runs(&project)["valkey-1"].clone();
    let loading = run();
    daemon.until_ready("valkey", 2);
    assert_eq!(run(), loading, "restarted while it loaded");

    // It wants a password that nobody gave: said with the mend, and left alone.
    home.write("compose.yaml", &text(", --requirepass, hunter2"));
    daemon.until("the password is missing", || {
        message(&daemon, "valkey").contains("auth.passwordFile")
    });
    let locked = run();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(run(), locked);
    home.write("password", "hunter2\n");
    let stack = std::fs::read_to_string(home.stacks().join("stack.yaml")).expect("reads");
    let password = home.stacks().join("password");
    let auth = format!("timeout: 1s, auth: {{passwordFile: '{}'}}}}", password.display());
    home.write("stack.yaml", &stack.replace("timeout: 1s}", &auth));
    daemon.until("it is ready with the password", || {
        daemon.services()[&format!("{project}/valkey")] == "ready"
            && message(&daemon, "valkey").is_empty()
    });
    assert_eq!(run(), locked);
}

#[test]
fn a_hanging_ollama_is_restarted_after_three_failures_only() {
    let mut home = Home::new();
    let project = home.project("hang");
    home.write(
        "compose.yaml",
        &format!("name: {project}\nservices:\n  ollama:\n    image: {IMAGE}\n    command: [ollama]\n    stop_grace_period: 1s\n"),
    );
    home.write(
        "stack.yaml",
        "apiVersion: homeostat.dev/v1alpha1\nkind: Stack\nmetadata: {name: hang}\nspec:\n  source:\n    compose: {files: [compose.yaml]}\n  services:\n    ollama: {driver: ollama, interval: 1s, timeout: 500ms}\n",
    );
    let daemon = home.daemon(&[]);
    daemon.until_ready("hang", 1);
    let name = format!("{project}-ollama-1");
    let admin = |verb: &str, body: &str| {
        docker(&["exec", &name, "/stand-ins", "admin", verb, body]);
    };
    let failures = || daemon.metrics()["homeostat_probes_total{answer=\"not_ready\"}"];
    let first = runs(&project);
    // One failure, then it answers again: no restart.
    admin("hang", "{\"on\": true}");
    daemon.until("one failure", || failures() >= 1.0);
    admin("reset", "{}");
    daemon.until("ready again", || daemon.services()[&format!("{project}/ollama")] == "ready");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(runs(&project), first);

    // An answer that is an error is alive: no restart, however often.
    admin("fail-next", "{\"count\": 6, \"status\": 500}");
    let before = failures();
    daemon.until("errors", || failures() >= before + 4.0);
    assert_eq!(runs(&project), first);
    admin("reset", "{}");
    daemon.until("ready again", || daemon.services()[&format!("{project}/ollama")] == "ready");

    let before = failures();
    admin("hang", "{\"on\": true}");
    daemon.within(SOON, "it is restarted", || runs(&project) != first);
    let counted = failures() - before;
    assert!(counted >= 3.0, "restarted after {counted} failures\n{}", daemon.log());
    assert!(daemon.log().contains("(unhealthy: Timeout (3 times))"), "{}", daemon.log());
    daemon.until("ready after the restart", || {
        daemon.services()[&format!("{project}/ollama")] == "ready"
    });
    let after = runs(&project);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(runs(&project), after, "restarted once only");
    let id = |runs: &std::collections::BTreeMap<String, String>| {
        runs["ollama-1"].split(' ').next().map(str::to_owned)
    };
    assert_eq!(id(&after), id(&first), "restarted, not recreated");
}
