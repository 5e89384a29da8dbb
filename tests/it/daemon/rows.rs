//! Rows 27, 39 and 53 on the real engine: a volume that somebody removed, a journal that is damaged
//! or has no room, a probe that can't be routed.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::harness::{Daemon, Home, facts, runs};
use crate::support::{IMAGE, docker};

fn with_data(project: &str) -> String {
    format!(
        "name: {project}\nservices:\n  db:\n    image: {IMAGE}\n    command: [sleep]\n    stop_grace_period: 1s\n    volumes: ['data:/data']\nvolumes: {{data: {{}}}}\n"
    )
}

#[test]
fn row_27_the_loss_of_a_volume_stays_told_over_a_restart_until_somebody_applies() {
    let mut home = Home::new();
    let project = home.project("volume");
    home.write("compose.yaml", &with_data(&project));
    let daemon = home.daemon(&[]);
    daemon.until_ready("stacks", 1);
    assert!(daemon.condition("stacks", "DataLost").starts_with("False"));
    daemon.kill();
    docker(&["rm", "-f", &format!("{project}-db-1")]);
    docker(&["volume", "rm", &format!("{project}_data")]);
    let told = format!(
        "True VolumeRemoved volume {project}_data was removed, and its data with it; db began with an empty one"
    );
    let lost = |daemon: &Daemon| daemon.condition("stacks", "DataLost").starts_with(&told);
    let daemon = home.daemon(&[]);
    daemon.until("db runs again, on an empty volume", || daemon.is_ready("stacks", 1));
    daemon.until("and that is said", || lost(&daemon));
    std::thread::sleep(Duration::from_secs(2));
    assert!(lost(&daemon), "not for a moment only");
    let events = home.run(&["events"]).stdout;
    assert!(events.lines().any(|l| l.contains("Warning") && l.contains("DataLost")), "{events}");
    let listed = home.run(&["get", "volumes", "-o", "json"]).stdout;
    assert!(listed.contains("was removed"), "{listed}");
    daemon.kill();
    let daemon = home.daemon(&[]);
    daemon.until("a restart forgets nothing", || lost(&daemon));
    let applied = home.run(&["apply"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    daemon.until("a person knows", || {
        daemon.condition("stacks", "DataLost").starts_with("False NothingLost")
    });
}

#[test]
fn row_39_a_damaged_journal_is_set_aside_and_nothing_is_touched() {
    let mut home = Home::new();
    let project = home.project("damaged");
    let text = format!(
        "name: {project}\nservices:\n  a:\n    image: {IMAGE}\n    command: [sleep]\n    stop_grace_period: 1s\n  init: {{image: '{IMAGE}', command: [job, '20']}}\n  b:\n    image: {IMAGE}\n    command: [sleep]\n    stop_grace_period: 1s\n    environment: {{MODE: 'one'}}\n    depends_on: {{init: {{condition: service_completed_successfully}}}}\n"
    );
    home.write("compose.yaml", &text);
    let daemon = home.daemon(&[]);
    daemon.until_ready("stacks", 1);
    assert!(daemon.condition("stacks", "JournalUsable").starts_with("True Writable"));
    let before = runs(&project);
    daemon.stop();
    let journal = home.state().join("journal.db");
    let length = std::fs::metadata(&journal).expect("a journal").len();
    std::fs::write(&journal, vec![0x5a; usize::try_from(length).expect("fits")]).expect("writes");
    // An edit that nobody can tell from a difference that was there before.
    home.write("compose.yaml", &text.replace("'one'", "'two'"));
    let daemon = home.daemon(&[]);
    daemon.until("the stack is known again", || {
        daemon.services().values().filter(|s| *s == "ready").count() == 2
    });
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(runs(&project), before, "{}", daemon.log());
    let condition = daemon.condition("stacks", "JournalUsable");
    assert!(condition.starts_with("True Rebuilt damaged: "), "{condition}");
    let events = home.run(&["events"]).stdout;
    assert!(events.contains("JournalRebuilt") && events.contains("corrupt-"), "{events}");
    let described = home.run(&["describe", "stack/stacks"]).stdout;
    assert!(described.contains("differs: environment.MODE"), "{described}");
    let kept = std::fs::read_dir(home.state()).expect("lists").flatten();
    let kept = kept.filter(|e| e.file_name().to_string_lossy().contains("journal.db.corrupt-"));
    assert_eq!(kept.count(), 1);
    // What was lost is known again: a service that ends by itself is started, once.
    docker(&["kill", &format!("{project}-a-1")]);
    daemon.until("a runs again", || runs(&project)["a-1"] != before["a-1"]);
}

/// A file system of 2 MiB over a folder. Unmounted when dropped.
struct Small(std::path::PathBuf);

impl Small {
    fn over(path: std::path::PathBuf) -> Self {
        std::fs::create_dir_all(&path).expect("a folder");
        let mount = ["-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs"];
        let status = Command::new("mount").args(mount).arg(&path).status().expect("mount runs");
        assert!(status.success(), "a tmpfs takes root");
        Self(path)
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let ballast = std::fs::File::create(self.0.join("ballast")).expect("a file");
        let page = [0_u8; 4096];
        while std::io::Write::write_all(&mut &ballast, &page).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("ballast")).expect("removes");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn row_39_a_full_disk_under_the_journal_stops_nobody_and_is_said() {
    let mut home = Home::new();
    let project = home.project("full");
    home.write("compose.yaml", &with_data(&project));
    let disk = Small::over(home.state());
    let daemon = home.daemon(&[]);
    daemon.until_ready("stacks", 1);
    let errors = |daemon: &Daemon| daemon.metrics()["homeostat_journal_errors_total"];
    assert!(errors(&daemon) < 1.0);
    disk.fill();
    // The service is kept all the same, again and again, until the journal has no page left.
    let name = format!("{project}-db-1");
    let usable = |daemon: &Daemon| daemon.condition("stacks", "JournalUsable");
    let mut kills = 0;
    while usable(&daemon).starts_with("True") {
        let before = runs(&project)["db-1"].clone();
        docker(&["kill", &name]);
        daemon.until("db runs again", || runs(&project)["db-1"] != before);
        kills += 1;
        assert!(kills < 60, "the disk is full, and nobody says so");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(usable(&daemon).starts_with("False DiskFull"), "{}", usable(&daemon));
    assert!(errors(&daemon) >= 1.0);
    daemon.until("db is ready all the same", || daemon.is_ready("stacks", 1));
    let before = runs(&project);
    disk.make_room();
    daemon.within(Duration::from_secs(60), "it is written again", || {
        usable(&daemon).starts_with("True Writable")
    });
    let events = home.run(&["events"]).stdout;
    assert!(events.contains("JournalRecovered"), "{events}");
    // A start on a full disk keeps the stack as well, and takes the journal up when there is room.
    daemon.stop();
    disk.fill();
    let daemon = home.daemon(&[]);
    daemon.until("the stack is kept", || daemon.is_ready("stacks", 1));
    assert_eq!(runs(&project), before, "{}", daemon.log());
    disk.make_room();
    daemon.within(Duration::from_secs(60), "the journal is there", || {
        usable(&daemon).starts_with("True")
    });
    daemon.stop();
}

fn service(daemon: &Daemon, name: &str) -> Value {
    let list = daemon.api("/api/v1/services");
    let items = list["items"].as_array().expect("items");
    items.iter().find(|s| s["service"] == name).cloned().unwrap_or_default()
}

fn condition(service: &Value, kind: &str) -> String {
    let conditions = service["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|c| c["type"] == kind).unwrap_or_default();
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    format!("{} {} {}", text("status"), text("reason"), text("message"))
}

#[test]
fn row_53_a_probe_that_cannot_be_routed_is_unknown_and_never_a_recovery() {
    let mut home = Home::new();
    let project = home.project("unrouted");
    let check = |url: &str| {
        format!(
            "healthcheck: {{test: [CMD, /stand-ins, healthcheck, '{url}'], interval: 500ms, retries: 2}}"
        )
    };
    let (well, ill) = (check("http://127.0.0.1:8000/health"), check("http://127.0.0.1:9/health"));
    home.write(
        "compose.yaml",
        &format!(
            "\
name: {project}
services:
  nowhere:
    image: {IMAGE}
    command: [sleep]
    network_mode: none
    stop_grace_period: 1s
  checked:
    image: {IMAGE}
    command: [listen, '8000']
    network_mode: none
    stop_grace_period: 1s
    {well}
  ill:
    image: {IMAGE}
    command: [listen, '8000']
    network_mode: none
    stop_grace_period: 1s
    restart: 'no'
    {ill}
  after:
    image: {IMAGE}
    command: [sleep]
    stop_grace_period: 1s
    depends_on: {{nowhere: {{condition: service_healthy}}}}
"
        ),
    );
    // A name that never has an address, and containers without one.
    home.write(
        "stack.yaml",
        "apiVersion: homeostat.dev/v1alpha1\nkind: Stack\nmetadata: {name: unrouted}\nspec:\n  source:\n    compose: {files: [compose.yaml]}\n  services:\n    nowhere: {driver: valkey, endpoint: 'tcp://nowhere.invalid:6379', interval: 500ms, timeout: 500ms}\n    checked: {driver: ollama, interval: 500ms}\n    ill: {driver: ollama, interval: 500ms}\n",
    );
    let daemon = home.daemon(&[]);
    let status = |name: &str| service(&daemon, name)["status"].as_str().map(str::to_owned);
    let ready = |name: &str| status(name).as_deref() == Some("ready");
    daemon.until("what runs is ready where nobody can tell", || {
        ready("nowhere") && ready("checked") && ready("after")
    });
    for name in ["nowhere", "checked"] {
        daemon.until("and that is said, with the mend", || {
            let told = condition(&service(&daemon, name), "ProbeUnreachable");
            told.starts_with("True ProbeUnreachable") && told.contains("set `endpoint`")
        });
    }
    // Docker's word counts where the driver has none.
    daemon.until("docker calls it unhealthy, and it is restarted for that", || {
        !ready("ill")
            && facts(&project, "{{with .State.Health}}{{.Status}}{{end}}")["ill-1"] == "unhealthy"
    });
    let before = runs(&project);
    std::thread::sleep(Duration::from_secs(5));
    let after = runs(&project);
    for name in ["nowhere-1", "checked-1", "after-1"] {
        assert_eq!(after[name], before[name], "{}", daemon.log());
    }
}

#[test]
fn row_53_valkey_that_no_address_reaches_is_asked_by_its_own_client() {
    let mut home = Home::new();
    let project = home.project("exec");
    home.write(
        "compose.yaml",
        &format!(
            "name: {project}\nservices:\n  valkey:\n    image: homeostat-test/valkey:8\n    command: [valkey-server, --save, '', --requirepass, canary-exec-3b1f]\n    network_mode: none\n    stop_grace_period: 1s\n"
        ),
    );
    let stack = |auth: &str| {
        format!(
            "apiVersion: homeostat.dev/v1alpha1\nkind: Stack\nmetadata: {{name: exec}}\nspec:\n  source:\n    compose: {{files: [compose.yaml]}}\n  services:\n    valkey: {{driver: valkey, interval: 500ms{auth}}}\n"
        )
    };
    let told = |daemon: &Daemon, kind: &str| condition(&service(daemon, "valkey"), kind);
    home.write("stack.yaml", &stack(""));
    let daemon = home.daemon(&["--log-level", "trace"]);
    // Its first client may come before it listens, and the next one half a minute later.
    daemon.within(Duration::from_secs(60), "it wants a password", || {
        told(&daemon, "CredentialMissing").starts_with("True CredentialMissing it wants a password")
    });
    let before = runs(&project);
    // The secret goes by a file, and into the client's environment.
    let secret = home.stacks().join("secret");
    std::fs::write(&secret, "canary-exec-3b1f\n").expect("writes");
    let auth = format!(", auth: {{passwordFile: '{}'}}", secret.display());
    home.write("stack.yaml", &stack(&auth));
    // Not sooner than every half minute.
    daemon.within(Duration::from_secs(60), "its client finds it ready", || {
        told(&daemon, "CredentialMissing").starts_with("False")
            && told(&daemon, "ProbeUnreachable").starts_with("False")
            && service(&daemon, "valkey")["status"] == "ready"
    });
    assert_eq!(runs(&project), before, "never a recovery: {}", daemon.log());
    assert!(!daemon.log().contains("canary-exec-3b1f"));
    daemon.stop();
    // The tier observe runs nothing in anybody's container.
    let since = docker(&["info", "-f", "{{.SystemTime}}"]);
    let daemon = home.daemon(&["--tier", "observe"]);
    daemon.until("nobody can tell", || {
        told(&daemon, "ProbeUnreachable").starts_with("True ProbeUnreachable")
    });
    daemon.stop();
    let until = docker(&["info", "-f", "{{.SystemTime}}"]);
    let events = docker(&[
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--filter",
        &format!("container={project}-valkey-1"),
        "--format",
        "{{.Action}}",
    ]);
    assert!(!events.contains("exec"), "{events}");
}
