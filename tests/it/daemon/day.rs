//! A day in the life of a stack, among people, another tool and crashes, on an engine of its own:
//! the daemon is killed in the middle of each act, and the journal tells the story.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::harness::{Daemon, Home, SOON, ran};
use crate::support::IMAGE;
use crate::support::engine::OwnEngine;

/// A stop is a person's for certain once the engine has outlived it by 20 s.
const PROVEN: Duration = Duration::from_secs(22);

/// An image of another ID; with `command: [sleep]` nothing listens in it.
const OTHER_IMAGE: &str = "day/other:1";

/// A store with data, one that waits for it, one beside them.
fn text(project: &str, db: &str, web: &str) -> String {
    let service = |name: &str, made: &str, more: &str| {
        format!(
            "  {name}:\n    {made}\n    environment: {{MODE: \"${{MODE:-plain}}\"}}\n    \
             stop_grace_period: 1s\n    healthcheck: {{test: [CMD, /stand-ins, healthcheck, \
             'http://127.0.0.1:8000/health'], interval: 500ms, timeout: 1s, retries: 2}}\n{more}"
        )
    };
    format!(
        "name: {project}\nservices:\n{}{}volumes: {{data: {{}}}}\n",
        service("db", db, "    volumes: ['data:/data']\n"),
        service("web", web, "    depends_on: {db: {condition: service_healthy}}\n"),
    )
}

fn good() -> String {
    format!("image: {IMAGE}\n    command: [listen, '8000']")
}

fn never_healthy() -> String {
    format!("image: {OTHER_IMAGE}\n    command: [sleep]")
}

/// The engine, the stack's files, and the daemon of the moment.
struct Day {
    // Ends first: it writes into the home's folder, on the engine.
    daemon: Option<Daemon>,
    home: Home,
    project: String,
    engine: OwnEngine,
}

impl Day {
    fn begins() -> Self {
        let engine = OwnEngine::start();
        let mut home = Home::new();
        let project = home.project("day");
        home.write("compose.yaml", &text(&project, &good(), &good()));
        let made = engine.docker(&["create", IMAGE, "sleep"]);
        engine.docker(&["commit", &made, OTHER_IMAGE]);
        engine.docker(&["rm", &made]);
        Self { daemon: None, home, project, engine }
    }

    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("it runs")
    }

    /// The daemon begins, or is killed and begins again.
    fn kill_and_start(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
        self.daemon = Some(self.home.daemon(&["-H", &self.engine.host()]));
    }

    /// Docker Compose, as a person calls it whose shell has a variable of its own.
    fn compose(&self, args: &[&str]) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let binary = root.join(".cache/docker-compose-5.6.1");
        assert!(binary.is_file(), "no Docker Compose here: run tests/support/fetch-compose");
        let mut command = Command::new(binary);
        command.args(args).current_dir(self.home.stacks());
        let ran = ran(command.env("DOCKER_HOST", self.engine.host()).env("MODE", "fancy"));
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    }

    fn homeostat(&self, args: &[&str]) -> super::harness::Ran {
        ran(self.home.command().args(args).env("DOCKER_HOST", self.engine.host()))
    }

    fn name(&self, service: &str) -> String {
        format!("{}-{service}-1", self.project)
    }

    /// ID and start of each container, by name.
    fn runs(&self) -> BTreeMap<String, String> {
        let names = self.engine.docker(&["ps", "-a", "--format", "{{.Names}}"]);
        let of = |name: &str| self.engine.inspect(name, "{{.Id}} {{.State.StartedAt}}");
        names.lines().map(|name| (name.to_owned(), of(name))).collect()
    }

    fn is_running(&self, service: &str) -> bool {
        let name = format!("name=^{}$", self.name(service));
        let found =
            self.engine.docker(&["ps", "-q", "--filter", &name, "--filter", "status=running"]);
        !found.is_empty()
    }

    fn status(&self, service: &str) -> String {
        let services = self.daemon().services();
        services.get(&format!("{}/{service}", self.project)).cloned().unwrap_or_default()
    }

    fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        self.daemon().within(SOON * 2, what, holds);
    }

    fn until_ready(&self, services: &[&str]) {
        self.until(&format!("{services:?} ready"), || {
            services.iter().all(|service| self.status(service) == "ready")
        });
    }

    fn until_held(&self, service: &str) {
        self.until(&format!("{service} is held"), || self.status(service) == "held");
    }

    /// For a while nothing runs of this service.
    fn stays_down(&self, service: &str) {
        for _ in 0..30 {
            assert!(!self.is_running(service), "{service} runs\n{}", self.daemon().log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn events(&self) -> String {
        self.homeostat(&["events"]).stdout
    }
}

#[test]
fn a_day_in_the_life_among_people_other_tools_and_crashes() {
    let mut day = Day::begins();

    // A stack that somebody made with other variables is taken over as it is.
    day.compose(&["up", "-d"]);
    let theirs = day.runs();
    day.kill_and_start();
    day.until_ready(&["db", "web"]);
    day.kill_and_start();
    day.until_ready(&["db", "web"]);
    assert_eq!(day.runs(), theirs, "nothing is recreated");

    // Somebody stops a service: it stays so.
    day.engine.docker(&["stop", &day.name("web")]);
    day.until_held("web");
    day.kill_and_start();
    day.until_held("web");
    day.stays_down("web");
    assert_eq!(day.status("db"), "ready");

    // The engine restarts, long enough after that stop to be told from it: what runs comes back, what
    // is held stays held.
    std::thread::sleep(PROVEN);
    day.engine.end("TERM");
    day.until("the loss of the engine is said", || {
        day.daemon().condition("stacks", "EngineReachable").starts_with("False")
    });
    day.engine.boot();
    day.until_ready(&["db"]);
    day.until_held("web");
    day.stays_down("web");

    // `docker compose up` ends the hold.
    day.compose(&["up", "-d"]);
    day.until_ready(&["db", "web"]);
    day.kill_and_start();
    day.until_ready(&["db", "web"]);

    // `docker compose down` is a person's word too.
    day.compose(&["down"]);
    day.until_held("web");
    day.until_held("db");
    day.kill_and_start();
    day.until_held("web");
    day.stays_down("db");
    day.stays_down("web");
    assert!(day.runs().is_empty(), "{:?}", day.runs());

    // Until somebody says otherwise.
    let resumed = day.homeostat(&["resume"]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    day.kill_and_start();
    day.until_ready(&["db", "web"]);

    // An edit of a service without data that never becomes healthy is rolled back.
    let before = day.engine.inspect(&day.name("web"), "{{.Config.Image}}");
    day.home.write("compose.yaml", &text(&day.project, &good(), &never_healthy()));
    day.until("the new image runs", || {
        let images = day.engine.docker(&["ps", "--format", "{{.Image}}"]);
        images.lines().any(|image| image == OTHER_IMAGE)
    });
    day.kill_and_start();
    day.until("the old image runs again", || {
        day.is_running("web") && day.engine.inspect(&day.name("web"), "{{.Config.Image}}") == before
    });
    day.until_ready(&["db"]);
    day.kill_and_start();
    assert_eq!(day.engine.inspect(&day.name("web"), "{{.Config.Image}}"), before);

    // One with data isn't: a person has to decide.
    let data = day.engine.docker(&[
        "volume",
        "inspect",
        "-f",
        "{{.CreatedAt}}",
        &format!("{}_data", day.project),
    ]);
    day.home.write("compose.yaml", &text(&day.project, &never_healthy(), &good()));
    day.until("a person is asked for", || {
        day.daemon().condition("stacks", "UpdateFailed").starts_with("True NeedsPerson")
    });
    day.kill_and_start();
    // It may have been killed before it stopped the version that failed.
    day.until("it is stopped", || !day.is_running("db"));
    day.stays_down("db");
    let again = day.engine.docker(&[
        "volume",
        "inspect",
        "-f",
        "{{.CreatedAt}}",
        &format!("{}_data", day.project),
    ]);
    assert_eq!(again, data, "its data is as it was");
    let incidents = day.homeostat(&["get", "incidents"]).stdout;
    let open: Vec<&str> = incidents.lines().filter(|line| line.contains("exhausted")).collect();
    assert!(open.len() == 1 && open[0].contains("db"), "a person is told once:\n{incidents}");

    // The files as they were, and all is well again.
    day.home.write("compose.yaml", &text(&day.project, &good(), &good()));
    day.until_ready(&["db", "web"]);

    // The journal tells it in order.
    let events = day.events();
    let mut rest = events.as_str();
    for told in [
        "stopped by hand",
        "HoldEnded",
        "taken down by hand",
        "resumed by",
        "rolled back",
        "not rolled back",
    ] {
        let Some((_, after)) = rest.split_once(told) else { panic!("{told:?} isn't in\n{events}") };
        rest = after;
    }
}
