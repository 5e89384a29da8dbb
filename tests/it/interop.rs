//! homeostat and the real Docker Compose on the same stacks: either takes over from the other
//! without touching anything.
//!
//! Needs Docker Compose 5.6.1 in `.cache`; `tests/support/fetch-compose` puts it there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use homeostat::clock::{Clock, SystemClock};
use homeostat::controller::snapshot::read_once;
use homeostat::desired::{Desired, Policy};
use homeostat::engine::{DynEngine, Tier};
use homeostat::plan::{Memory, Scope, plan};
use serde_json::Value;

use crate::support::{Setup, Stack, client, docker, load};

const LONG: Duration = Duration::from_secs(60);

/// One service with nearly everything that a service can have. `FILES` becomes a folder, `NET` a
/// number.
const RICH: &str = r#"
services:
  rich:
    image: homeostat-test/stand-ins:1
    command: ["listen", "8000"]
    hostname: rich-host
    domainname: example.test
    working_dir: /
    user: "0:0"
    init: true
    tty: true
    stdin_open: true
    env_file: [FILES/one.env, {path: FILES/absent.env, required: false}]
    environment: {A: "1", EMPTY: "", DOLLAR: "a$$b"}
    labels: {"example.test/a": "x", plain: ""}
    annotations: {"example.test/note": "y"}
    ports: ["127.0.0.1::8000", "127.0.0.1::8001/udp"]
    expose: ["9000"]
    extra_hosts: ["other.test:192.0.2.1", "six.test=2001:db8::1"]
    dns: [192.0.2.53]
    dns_search: [example.test]
    dns_opt: [timeout:1]
    ulimits: {nofile: {soft: 1024, hard: 2048}, nproc: 512}
    cap_add: [NET_ADMIN]
    cap_drop: [MKNOD]
    security_opt: ["no-new-privileges:true"]
    group_add: ["27"]
    sysctls: {net.core.somaxconn: "256"}
    tmpfs: ["/scratch:size=1m"]
    shm_size: 32m
    mem_limit: 64m
    mem_reservation: 32m
    cpus: 0.5
    cpu_shares: 512
    pids_limit: 64
    oom_score_adj: 100
    stop_signal: SIGINT
    stop_grace_period: 2s
    restart: on-failure:3
    logging: {driver: json-file, options: {max-size: 1m, max-file: "2"}}
    healthcheck:
      test: ["CMD", "/stand-ins", "healthcheck", "http://127.0.0.1:8000/health"]
      interval: 1s
      timeout: 2s
      retries: 3
      start_period: 1s
    secrets: [{source: token, target: app-token}]
    configs: [{source: settings, target: /etc/settings.conf}]
    volumes:
      - kept:/kept
      - FILES:/files:ro
      - /anonymous
      - {type: tmpfs, target: /scratch2, tmpfs: {size: 1048576}}
    networks:
      front: {aliases: [shop, store.test], ipv4_address: 10.NET.1.7}
      default: {}
secrets: {token: {file: FILES/token}}
configs: {settings: {file: FILES/settings}}
volumes: {kept: {labels: {use: test}}}
networks:
  front:
    labels: [use=test]
    ipam: {config: [{subnet: 10.NET.1.0/24, gateway: 10.NET.1.1}]}
"#;

/// Services that depend on one another in every way, and that share namespaces and volumes.
const FAMILY: &str = r#"
x-any: &any {image: "homeostat-test/stand-ins:1", stop_grace_period: 1s}
services:
  base:
    <<: *any
    command: ["listen", "8000"]
    volumes: [data:/data]
    ipc: shareable
    healthcheck:
      {test: ["CMD", "/stand-ins", "healthcheck", "http://127.0.0.1:8000/health"], interval: 1s}
  prepare:
    <<: *any
    command: ["job", "20"]
    depends_on: {base: {condition: service_healthy}}
  web:
    <<: *any
    command: ["listen", "8000"]
    scale: 2
    depends_on:
      prepare: {condition: service_completed_successfully}
      base: {condition: service_healthy, restart: true}
      extra: {condition: service_started, required: false}
  side:
    <<: *any
    command: ["sleep"]
    environment: {STAND_IN_ADMIN: "off"}
    network_mode: service:base
    ipc: service:base
    volumes_from: [base:ro]
  pal:
    <<: *any
    command: ["sleep"]
    links: ["base:db"]
    container_name: PROJECT-pal
  alone:
    <<: *any
    command: ["sleep"]
    network_mode: none
  extra:
    <<: *any
    command: ["sleep"]
    profiles: [more]
volumes: {data: {}}
"#;

/// The smallest file, with the engine's and Compose's defaults everywhere.
const BARE: &str = r#"
services:
  one:
    image: homeostat-test/stand-ins:1
    command: sleep
"#;

/// The real Docker Compose on one project.
pub(crate) struct Compose {
    binary: PathBuf,
    folder: PathBuf,
    project: String,
}

impl Compose {
    pub(crate) fn of(stack: &Stack) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let binary = root.join(".cache/docker-compose-5.6.1");
        assert!(
            binary.is_file(),
            "Docker Compose 5.6.1 is missing: run tests/support/fetch-compose"
        );
        let folder = stack.dir.path().to_owned();
        Self { binary, folder, project: stack.project.clone() }
    }

    /// What it prints on both streams; fails the test when it fails.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let output = Command::new(&self.binary)
            .args(["-p", &self.project, "-f", "compose.yaml"])
            .args(args)
            .current_dir(&self.folder)
            .output()
            .expect("Docker Compose runs");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "compose {args:?}: {text}");
        text
    }
}

/// `docker inspect` of all containers of a project, by name.
fn inspect(stack: &Stack) -> BTreeMap<String, Value> {
    let ids = stack.ids();
    let mut args = vec!["inspect"];
    args.extend(ids.iter().map(String::as_str));
    let all: Vec<Value> = serde_json::from_str(&docker(&args)).expect("JSON");
    all.into_iter()
        .map(|c| (c["Name"].as_str().unwrap_or_default().trim_start_matches('/').to_owned(), c))
        .collect()
}

/// Pointers into an inspection, `*` for any key, that differ from run to run.
const FLEETING: [&str; 26] = [
    "Id",
    "Created",
    "State",
    "RestartCount",
    "ResolvConfPath",
    "HostnamePath",
    "HostsPath",
    "LogPath",
    "GraphDriver",
    "NetworkSettings.SandboxID",
    "NetworkSettings.SandboxKey",
    "NetworkSettings.EndpointID",
    "NetworkSettings.Gateway",
    "NetworkSettings.IPAddress",
    "NetworkSettings.IPPrefixLen",
    "NetworkSettings.MacAddress",
    "NetworkSettings.Ports.*.*.HostPort",
    "NetworkSettings.Networks.*.NetworkID",
    "NetworkSettings.Networks.*.EndpointID",
    "NetworkSettings.Networks.*.Gateway",
    "NetworkSettings.Networks.*.IPAddress",
    "NetworkSettings.Networks.*.MacAddress",
    "NetworkSettings.Networks.*.IPPrefixLen",
    "Config.Hostname",
    "HostConfig.ContainerIDFile",
    "ExecIDs",
];

/// An inspection as `path = value` lines: IDs as the names that they stand for, without what
/// differs from run to run, without what is empty, lists sorted.
fn lines(container: &Value, names: &BTreeMap<String, String>) -> BTreeSet<String> {
    fn is_fleeting(path: &str) -> bool {
        FLEETING.iter().any(|pattern| {
            let (path, pattern): (Vec<_>, Vec<_>) =
                (path.split('\u{1}').collect(), pattern.split('.').collect());
            path.len() >= pattern.len()
                && path.iter().zip(&pattern).all(|(word, wanted)| *wanted == "*" || word == wanted)
        })
    }
    fn walk(
        path: &str,
        value: &Value,
        names: &BTreeMap<String, String>,
        lines: &mut BTreeSet<String>,
    ) {
        let below = |key: &str| {
            if path.is_empty() { key.to_owned() } else { format!("{path}\u{1}{key}") }
        };
        if is_fleeting(path) && !path.ends_with("Config\u{1}Hostname") {
            return;
        }
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, v)| walk(&below(key), v, names, lines));
            }
            Value::Array(list) => list.iter().for_each(|v| walk(&below("[]"), v, names, lines)),
            Value::Null => {}
            Value::String(text) => {
                let mut text = text.clone();
                for (id, name) in names {
                    text = text.replace(id, name).replace(&id[..12], name);
                }
                if path.ends_with("com.docker.compose.depends_on") {
                    // Docker Compose writes them in random order.
                    let mut words: Vec<&str> = text.split(',').collect();
                    words.sort_unstable();
                    text = words.join(",");
                }
                if !text.is_empty() {
                    lines.insert(format!("{} = {text}", path.replace('\u{1}', ".")));
                }
            }
            other => {
                lines.insert(format!("{} = {other}", path.replace('\u{1}', ".")));
            }
        }
    }
    let mut all = BTreeSet::new();
    walk("", container, names, &mut all);
    all
}

/// All containers as lines. The hash of a service that shares a container's namespaces or volumes
/// has that container's ID in it. Anonymous volumes go by where they are mounted.
fn comparable(containers: &BTreeMap<String, Value>) -> BTreeMap<String, BTreeSet<String>> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (name, container) in containers {
        let id = container["Id"].as_str().unwrap_or_default();
        names.insert(id.to_owned(), format!("<{name}>"));
        for mount in container["Mounts"].as_array().into_iter().flatten() {
            let volume = mount["Name"].as_str().unwrap_or_default();
            if volume.len() == 64 {
                let at = mount["Destination"].as_str().unwrap_or_default();
                names.insert(volume.to_owned(), format!("<anonymous {at}>"));
            }
        }
    }
    let all = containers.iter().map(|(name, container)| {
        let mut lines = lines(container, &names);
        if lines.iter().any(|line| line.starts_with("HostConfig.NetworkMode = container:")) {
            lines.retain(|line| !line.contains("compose.config-hash"));
        }
        (name.clone(), lines)
    });
    all.collect()
}

/// What homeostat plans for the project as it stands, as a process that never saw it before.
fn assert_nothing_to_do(stack: &Stack) {
    let engine: DynEngine = Arc::new(client(None, Tier::Observe));
    let clock = SystemClock::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let projects = BTreeSet::from([stack.project.clone()]);
    let picture =
        runtime.block_on(read_once(&engine, &clock, projects)).expect("the engine is read");
    let project = Arc::new(load(&stack.file(), &stack.project));
    let desired = Desired::new(1, project, &[], BTreeMap::new(), Policy::default());
    let desired = desired.expect("an order");
    let (plan, report) =
        plan(&desired, &picture.observed, &Memory::default(), &Scope::default(), clock.now());
    assert!(plan.is_empty(), "after Docker Compose there is nothing to do, but:\n{plan}{report}");
}

/// Nothing of the project is left.
fn assert_gone(project: &str) {
    let label = format!("label=com.docker.compose.project={project}");
    for list in [vec!["ps", "-aq"], vec!["network", "ls", "-q"], vec!["volume", "ls", "-q"]] {
        let mut args = list.clone();
        args.extend(["--filter", &label]);
        assert_eq!(docker(&args), "", "{list:?}");
    }
}

/// homeostat makes it, Docker Compose takes over, takes it down and makes it anew; homeostat takes
/// over. Services by name, with the number of their containers.
fn exchange(name: &str, net: u8, text: &str, services: &[(&str, usize)]) {
    let files = tempfile::tempdir().expect("a folder");
    for (file, content) in [("one.env", "FROM_FILE=yes\n"), ("token", "t0k"), ("settings", "a=1\n")]
    {
        std::fs::write(files.path().join(file), content).expect("written");
    }
    let text = text
        .replace("FILES", &files.path().to_string_lossy())
        .replace("10.NET.", &format!("10.{net}."))
        .replace("PROJECT", &format!("it-{name}"));
    let builds = text.contains("build:");
    let mut stack = Stack::start(name, Setup { compose: text, ..Setup::default() });
    let compose = Compose::of(&stack);
    let built = format!("{}-one", stack.project);
    if builds {
        // It waits for its image, and sees it come.
        docker(&["tag", "homeostat-test/stand-ins:1", &built]);
    }
    stack.settle(LONG);
    let ours = inspect(&stack);
    let count: usize = services.iter().map(|(_, n)| n).sum();
    assert_eq!(ours.len(), count);

    let listed = compose.run(&["ps", "-a", "--format", "{{.Service}}"]);
    for (service, n) in services {
        let rows = listed.lines().filter(|line| line == service).count();
        assert_eq!(rows, *n, "{service} in `docker compose ps`:\n{listed}");
    }

    let before: BTreeSet<String> = stack.ids().into_iter().collect();
    let said = compose.run(&["up", "-d"]);
    assert!(!said.contains("Recreate") && !said.contains("Creat"), "{said}");
    assert_eq!(stack.ids().into_iter().collect::<BTreeSet<_>>(), before, "{said}");
    std::thread::sleep(Duration::from_millis(500));
    stack.settle(LONG);
    assert_eq!(stack.ids().into_iter().collect::<BTreeSet<_>>(), before);

    stack.halt();
    compose.run(&["down", "--volumes"]);
    assert_gone(&stack.project);

    compose.run(&["up", "-d"]);
    assert_nothing_to_do(&stack);
    let theirs = comparable(&inspect(&stack));
    for (name, ours) in comparable(&ours) {
        let theirs = &theirs[&name];
        let only_ours: Vec<_> = ours.difference(theirs).collect();
        let only_theirs: Vec<_> = theirs.difference(&ours).collect();
        assert!(
            only_ours.is_empty() && only_theirs.is_empty(),
            "{name}: only ours {only_ours:#?}, only Docker Compose's {only_theirs:#?}"
        );
    }
    compose.run(&["down", "--volumes"]);
    assert_gone(&stack.project);
    if builds {
        docker(&["rmi", &built]);
    }
}

#[test]
fn a_service_with_nearly_everything() {
    exchange("rich", 215, RICH, &[("rich", 1)]);
}

#[test]
fn services_that_need_and_share() {
    let services = [("base", 1), ("prepare", 1), ("web", 2), ("side", 1), ("pal", 1), ("alone", 1)];
    exchange("family", 216, FAMILY, &services);
}

#[test]
fn a_bare_file() {
    exchange("bare", 217, BARE, &[("one", 1)]);
}

#[test]
fn an_image_that_was_built() {
    exchange("built", 218, "services: {one: {build: ., command: sleep}}", &[("one", 1)]);
}
