//! Everything that people and engines do to containers, in random order, to a stack of which the
//! loop knows nothing beforehand. It always ends as desired.
//!
//! The seed is printed; `HOMEOSTAT_CHAOS_SEED` repeats a run, `HOMEOSTAT_CHAOS_SECONDS` makes it
//! longer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use homeostat::clock::{Clock, Mono, SystemClock};
use homeostat::plan::SlotStatus;
use serde_json::Value;

use crate::engine_proxy::{Action, EngineProxy, Rule};
use crate::support::{Setup, Stack, docker, docker_try};

/// Two networks with static addresses, a job, a child in another's network namespace, a scaled
/// service, and all three conditions. `NET` becomes a number.
const COMPOSE: &str = r#"
x-any: &any
  image: homeostat-test/stand-ins:1
  stop_grace_period: 1s
services:
  ledger:
    <<: *any
    command: ["listen", "7000"]
    volumes: ["pages:/pages"]
    networks:
      vault: {ipv4_address: "10.NET.1.10", aliases: [books]}
    healthcheck:
      {test: ["CMD", "/stand-ins", "healthcheck", "http://127.0.0.1:7000/health"], interval: 1s}
  migrate:
    <<: *any
    command: ["job", "50"]
    networks: [vault]
    depends_on: {ledger: {condition: service_healthy}}
  router:
    <<: *any
    command: ["listen", "7001"]
    networks:
      vault: {ipv4_address: "10.NET.1.11"}
      street: {ipv4_address: "10.NET.2.11", aliases: [way]}
    depends_on: {migrate: {condition: service_completed_successfully}}
  sniffer:
    <<: *any
    command: ["sleep"]
    network_mode: "service:router"
    environment: {STAND_IN_ADMIN: "off"}
  clerk:
    <<: *any
    command: ["listen", "7002"]
    scale: 2
    networks: [street, vault]
    restart: always
    depends_on: {ledger: {condition: service_healthy, restart: true}}
  kiosk:
    <<: *any
    command: ["listen", "7003"]
    networks:
      street: {ipv4_address: "10.NET.2.12"}
    depends_on: [router, clerk]
networks:
  vault: {ipam: {config: [{subnet: "10.NET.1.0/24"}]}}
  street: {ipam: {config: [{subnet: "10.NET.2.0/24"}]}}
volumes: {pages: {}}
"#;

const CONTAINERS: [(&str, u32); 7] = [
    ("ledger", 1),
    ("migrate", 1),
    ("router", 1),
    ("sniffer", 1),
    ("clerk", 1),
    ("clerk", 2),
    ("kiosk", 1),
];

/// A pseudorandom sequence (SplitMix64): all that a repeatable test needs.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// A run: the stack, and what is rolled.
struct Run {
    stack: Stack,
    dice: Dice,
    done: Vec<String>,
    clock: SystemClock,
}

impl Run {
    fn start(name: &str, net: u8, setup: Setup) -> Self {
        let clock = SystemClock::new();
        let drawn = u64::try_from(clock.now().wall.0).unwrap_or_default();
        let seed = number("HOMEOSTAT_CHAOS_SEED").unwrap_or(drawn);
        eprintln!("{name}: HOMEOSTAT_CHAOS_SEED={seed}");
        let compose = COMPOSE.replace("NET", &net.to_string());
        let stack = Stack::start(name, Setup { compose, ..setup });
        Self { stack, dice: Dice(seed), done: Vec::new(), clock }
    }

    fn now(&self) -> Mono {
        self.clock.now().mono
    }

    /// The ID of a slot's container, by its labels, if it has one.
    fn id(&self, (service, number): (&str, u32)) -> Option<String> {
        let label = |key: &str, value: &str| format!("label=com.docker.compose.{key}={value}");
        let ids = docker(&[
            "ps",
            "-aq",
            "--no-trunc",
            "--filter",
            &label("project", &self.stack.project),
            "--filter",
            &label("service", service),
            "--filter",
            &label("container-number", &number.to_string()),
        ]);
        ids.lines().next().map(str::to_owned)
    }

    /// Does one thing to one container. What can't be done now is no matter.
    fn strike(&mut self) {
        let slot = CONTAINERS[self.dice.roll(CONTAINERS.len())];
        let what = self.dice.roll(6);
        let network = ["vault", "street"][self.dice.roll(2)];
        let Some(id) = self.id(slot) else { return };
        let network = format!("{}_{network}", self.stack.project);
        let odd = format!("{}-odd-{}", self.stack.project, self.done.len());
        let args: Vec<&str> = match what {
            0 | 1 => vec!["kill", &id],
            2 | 3 => vec!["rm", "-f", &id],
            4 => vec!["network", "disconnect", "-f", &network, &id],
            _ => vec!["rename", &id, &odd],
        };
        let outcome = docker_try(&args).map_or("refused", |_| "done");
        self.done.push(format!("{}/{}: {}: {outcome}", slot.0, slot.1, args[..2].join(" ")));
    }

    fn settle(&mut self) {
        // What was struck last must have been seen.
        std::thread::sleep(Duration::from_millis(800));
        let done = self.done.join("\n");
        eprintln!("struck:\n{done}");
        self.stack.settle(Duration::from_secs(60));
    }

    /// The stack is exactly as the file says.
    fn assert_whole(&mut self) {
        let ids = self.stack.ids();
        let mut args = vec!["inspect"];
        args.extend(ids.iter().map(String::as_str));
        let all: Vec<Value> = serde_json::from_str(&docker(&args)).expect("JSON");
        let label = |c: &Value, key: &str| -> String {
            let key = format!("com.docker.compose.{key}");
            c["Config"]["Labels"][&key].as_str().unwrap_or_default().to_owned()
        };
        let by_slot: BTreeMap<(String, String), &Value> =
            all.iter().map(|c| ((label(c, "service"), label(c, "container-number")), c)).collect();
        assert_eq!(by_slot.len(), ids.len(), "no slot twice: {:#?}", self.done);
        for (service, number) in CONTAINERS {
            // A job that ended well isn't run again because its container was removed.
            let there = by_slot.contains_key(&(service.to_owned(), number.to_string()));
            assert!(there || service == "migrate", "{service}/{number}: {:#?}", self.done);
        }
        for ((service, number), container) in &by_slot {
            let state = container["State"]["Status"].as_str();
            let wanted = if service == "migrate" { "exited" } else { "running" };
            assert_eq!(state, Some(wanted), "{service}/{number}");
            if service == "migrate" {
                assert_eq!(container["State"]["ExitCode"], 0);
            }
            self.assert_networks(service, container);
        }
        let router = by_slot[&("router".into(), "1".into())]["Id"].as_str().unwrap_or_default();
        let mode = &by_slot[&("sniffer".into(), "1".into())]["HostConfig"]["NetworkMode"];
        assert_eq!(mode.as_str(), Some(format!("container:{router}").as_str()));
        let view = self.stack.tap.views.borrow().clone();
        assert_eq!(view.report.slots.len(), CONTAINERS.len());
        for (slot, report) in &view.report.slots {
            let wanted =
                if slot.service == "migrate" { SlotStatus::Completed } else { SlotStatus::Ready };
            assert_eq!(report.status, wanted, "{slot}: {}", report.message);
        }
        self.assert_sides();
    }

    fn assert_networks(&self, service: &str, container: &Value) {
        let wanted: BTreeMap<&str, Option<&str>> = match service {
            "ledger" => BTreeMap::from([("vault", Some("1.10"))]),
            "migrate" => BTreeMap::from([("vault", None)]),
            "router" => BTreeMap::from([("vault", Some("1.11")), ("street", Some("2.11"))]),
            "sniffer" => BTreeMap::new(),
            "clerk" => BTreeMap::from([("vault", None), ("street", None)]),
            _ => BTreeMap::from([("street", Some("2.12"))]),
        };
        let networks = container["NetworkSettings"]["Networks"].as_object().expect("networks");
        let has: BTreeSet<String> = networks.keys().cloned().collect();
        let expected: BTreeSet<String> =
            wanted.keys().map(|n| format!("{}_{n}", self.stack.project)).collect();
        if service != "migrate" {
            assert_eq!(has, expected, "{service}");
        }
        for (network, address) in wanted {
            let Some(endpoint) = networks.get(&format!("{}_{network}", self.stack.project)) else {
                continue;
            };
            if let Some(address) = address {
                let has = endpoint["IPAddress"].as_str().unwrap_or_default();
                assert!(has.ends_with(address), "{service} in {network}: {has}");
            }
            let aliases: Vec<&str> = endpoint["Aliases"]
                .as_array()
                .map(|a| a.iter().filter_map(Value::as_str).collect())
                .unwrap_or_default();
            assert!(aliases.contains(&service), "{service} in {network}: {aliases:?}");
        }
    }

    /// Networks and volumes: one of each.
    fn assert_sides(&self) {
        let label = format!("label=com.docker.compose.project={}", self.stack.project);
        for (kind, names) in [("network", vec!["street", "vault"]), ("volume", vec!["pages"])] {
            let mut has: Vec<String> =
                docker(&[kind, "ls", "--format", "{{.Name}}", "--filter", &label])
                    .lines()
                    .map(str::to_owned)
                    .collect();
            has.sort();
            let wanted: Vec<String> =
                names.iter().map(|n| format!("{}_{n}", self.stack.project)).collect();
            assert_eq!(has, wanted);
        }
    }
}

/// Started after what it needs was ready.
fn assert_order(run: &Run, with_job: bool) {
    let time = |slot, format: &str| -> String {
        docker(&["inspect", "-f", format, &run.id(slot).expect("a container")])
    };
    let started = |name| time((name, 1), "{{.State.StartedAt}}");
    // RFC 3339 in UTC sorts as text, if the fractions are of one length.
    let later = |a: &str, b: &str| {
        assert!(stamp(a) > stamp(b), "{a} is later than {b}");
    };
    if with_job {
        later(&started("migrate"), &started("ledger"));
        later(&started("router"), &time(("migrate", 1), "{{.State.FinishedAt}}"));
    }
    later(&started("sniffer"), &started("router"));
    later(&started("clerk"), &started("ledger"));
    later(&started("kiosk"), &started("router"));
    later(&started("kiosk"), &started("clerk"));
}

/// A time as the engine writes it, comparable.
fn stamp(text: &str) -> String {
    let (seconds, fraction) = text.trim_end_matches('Z').split_once('.').unwrap_or((text, ""));
    format!("{seconds}.{fraction:0<9}")
}

fn seconds(otherwise: u64) -> Duration {
    Duration::from_secs(number("HOMEOSTAT_CHAOS_SECONDS").unwrap_or(otherwise))
}

#[test]
fn a_stack_survives_everything_that_is_done_to_its_containers() {
    let mut run = Run::start("chaos", 213, Setup::default());
    run.stack.settle(Duration::from_secs(60));
    run.assert_whole();
    assert_order(&run, true);
    let end = run.now().after(seconds(25));
    while run.now() < end {
        run.done.clear();
        for _ in 0..=run.dice.roll(8) {
            run.strike();
            let pause = run.dice.roll(400) as u64;
            std::thread::sleep(Duration::from_millis(pause));
        }
        run.settle();
        run.assert_whole();
    }
    run.done.clear();
    // All at once, so that nothing is there that the first to come up could rest on.
    run.stack.while_away(|stack| {
        for id in stack.ids() {
            docker(&["rm", "-f", &id]);
        }
    });
    run.settle();
    run.assert_whole();
    assert_order(&run, false);
}

#[test]
fn a_stack_survives_it_while_the_engine_fails_and_the_stream_is_cut() {
    let proxy = EngineProxy::before_engine().expect("the proxy starts");
    let setup = Setup { host: proxy.host(), ..Setup::default() };
    let mut run = Run::start("chaosnet", 214, setup);
    run.stack.settle(Duration::from_secs(60));
    let end = run.now().after(seconds(15));
    while run.now() < end {
        run.done.clear();
        let age = 500 + run.dice.roll(3000) as u64;
        proxy.cut_streams_every(Some(Duration::from_millis(age)));
        for _ in 0..=run.dice.roll(6) {
            let fault = match run.dice.roll(4) {
                0 => Action::Answer(500, "injected".into()),
                1 => Action::CutAfter,
                2 => Action::CutBefore,
                _ => Action::Delay(Duration::from_millis(300)),
            };
            let rule = Rule::new(fault).next(1);
            proxy.inject(match run.dice.roll(3) {
                0 => rule.method("GET"),
                1 => rule.method("POST"),
                _ => rule.method("DELETE"),
            });
            run.strike();
            if run.dice.roll(4) == 0 {
                proxy.cut_all();
            }
            let pause = run.dice.roll(500) as u64;
            std::thread::sleep(Duration::from_millis(pause));
        }
        proxy.heal();
        proxy.cut_streams();
        run.settle();
        run.assert_whole();
    }
}
