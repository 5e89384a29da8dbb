//! A stack under homeostat's own loop, in this process, on a real engine.
//!
//! Each stack has a project name of its own and removes everything of it when dropped.

pub mod engine;
pub mod plans;
pub mod registry;
pub mod scene;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use homeostat::api::stack::ServiceSpec;
use homeostat::clock::{Clock, SystemClock};
use homeostat::compose::{self, LoadOptions};
use homeostat::controller::meter::{Meter, Uncounted};
use homeostat::controller::observer::{Handle, Observer};
use homeostat::controller::own::Own;
use homeostat::controller::worker::{Goal, Parts, Phase, Progress, Tap, View, Worker};
use homeostat::desired::{Desired, Policy, ServiceTraits};
use homeostat::engine::docker::{Deadlines, Docker, Endpoint, Surroundings};
use homeostat::engine::{DynEngine, Tier};
use homeostat::execute::lease::Permit;
use homeostat::plan::{Memory, Scope, SlotStatus};
use homeostat::probe::spec::Probe;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use plans::Plans;

/// The image that plays every service; `make images` builds it.
pub const IMAGE: &str = "homeostat-test/stand-ins:1";

/// Runs `docker ARGS…` and returns what it prints; fails the test when it fails.
pub fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("the docker CLI runs");
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The same, where failing is fine.
pub fn docker_try(args: &[&str]) -> Result<String, String> {
    let output = Command::new("docker").args(args).output().expect("the docker CLI runs");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// The engine at this address, or the one that this process would take.
pub fn client(host: Option<&str>, tier: Tier) -> Docker {
    let endpoint = Endpoint::resolve(host, &Surroundings::of_process()).expect("an endpoint");
    Docker::new(endpoint, tier).expect("an engine client")
}

/// What a stack is made from.
#[derive(Default)]
pub struct Setup {
    /// Compose file.
    pub compose: String,
    /// What a Stack says of a service, as far as its probe goes.
    pub probes: BTreeMap<String, ServiceSpec>,
    /// Time that a probed service may take to become ready.
    pub ready_within: BTreeMap<String, Duration>,
    /// Recovery order.
    pub recovery_order: Vec<String>,
    /// Policies.
    pub policy: Policy,
    /// Engine endpoint; the default socket when empty.
    pub host: String,
    /// Time between full lists.
    pub resync: Option<Duration>,
    /// Deadlines of engine calls.
    pub deadlines: Deadlines,
    /// Who counts what the observer sees.
    pub meter: Option<Arc<dyn Meter>>,
}

/// A stack under the loop.
pub struct Stack {
    pub project: String,
    pub dir: tempfile::TempDir,
    pub tap: Tap,
    goal: watch::Sender<Option<Goal>>,
    setup: Setup,
    generation: u64,
    stop: CancellationToken,
    runtime: Option<tokio::runtime::Runtime>,
    progress: broadcast::Receiver<Progress>,
    plans: Arc<Plans>,
    observer: Handle,
}

impl Stack {
    /// Begins to keep the stack. `name` is the project's name; a random suffix keeps runs apart.
    pub fn start(name: &str, setup: Setup) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let suffix: String = dir
            .path()
            .file_name()
            .map(|n| n.to_string_lossy().to_lowercase())
            .unwrap_or_default()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let project = format!("it-{name}-{suffix}");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let host = (!setup.host.is_empty()).then_some(setup.host.as_str());
        let engine = client(host, Tier::Reconcile).with_deadlines(setup.deadlines);
        let engine: DynEngine = Arc::new(engine);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (goal, goal_rx) = watch::channel(None);
        let stop = CancellationToken::new();
        let plans = Arc::new(Plans::default());
        let recorder = Arc::clone(&plans);
        let (tap, progress, observer) = runtime.block_on(async {
            let resync = setup.resync.unwrap_or(Duration::from_secs(60));
            let meter = setup.meter.clone().unwrap_or_else(|| Arc::new(Uncounted));
            let (observer, handle) = Observer::new(engine.clone(), clock.clone(), meter, resync);
            tokio::spawn(observer.run(stop.clone()));
            handle.projects.send_modify(|p| {
                p.insert(project.clone());
            });
            let (worker, tap) = Worker::new(Parts {
                engine,
                observer: handle.clone(),
                clock,
                metrics: Arc::new(Uncounted),
                own: Own::default(),
                recorder,
                memory: Memory::default(),
                permit: Permit::unleased(),
                goal: goal_rx,
            });
            let progress = tap.progress.subscribe();
            tokio::spawn(worker.run(stop.clone()));
            (tap, progress, handle)
        });
        let mut stack = Self {
            project,
            dir,
            tap,
            goal,
            setup,
            generation: 0,
            stop,
            runtime: Some(runtime),
            progress,
            plans,
            observer,
        };
        stack.load();
        stack
    }

    /// Edits the Compose file; the loop follows.
    pub fn edit(&mut self, compose: &str) {
        self.setup.compose = compose.to_owned();
        self.load();
    }

    /// The Compose file's path.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("compose.yaml")
    }

    fn load(&mut self) {
        std::fs::write(self.file(), &self.setup.compose).expect("the file is written");
        self.generation += 1;
        let project = load(&self.file(), &self.project);
        let mut traits = BTreeMap::new();
        let mut probes = BTreeMap::new();
        for (service, spec) in &self.setup.probes {
            if let Some(probe) = Probe::of(spec).expect("a sound probe") {
                probes.insert(service.clone(), Arc::new(probe));
                let ready_within = self.setup.ready_within.get(service).copied();
                let of = ServiceTraits { probed: true, ready_within, ..Default::default() };
                traits.insert(service.clone(), of);
            }
        }
        let desired = Desired::new(
            self.generation,
            Arc::new(project),
            &self.setup.recovery_order,
            traits,
            self.setup.policy,
        )
        .expect("an order");
        self.goal.send_replace(Some(Goal {
            desired: Arc::new(desired),
            probes,
            scope: Scope::default(),
        }));
    }

    /// Waits until everything is as desired; fails the test after `within`, saying what isn't.
    pub fn settle(&mut self, within: Duration) {
        let generation = self.generation;
        self.until(within, "the stack is settled", |view| {
            view.generation == generation
                && view.plan.is_empty()
                && view.busy == 0
                && view.report.settled()
                && view.link == homeostat::controller::observer::Link::Live
        });
    }

    /// Waits for a view.
    pub fn until(&mut self, within: Duration, what: &str, holds: impl Fn(&View) -> bool) -> View {
        let deadline = Instant::now() + within;
        loop {
            let view = self.tap.views.borrow_and_update().clone();
            if holds(&view) {
                return view;
            }
            assert!(
                Instant::now() < deadline,
                "not within {within:?}: {what}\nplan:\n{}report:\n{}slots: {:#?}\nbusy: {}\nlink: {:?}\n{}",
                view.plan,
                view.report,
                view.report.slots,
                view.busy,
                view.link,
                docker(&["ps", "-a", "--filter", &format!("name={}", self.project)]),
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The steps that ended since the last call, as `service web/1: start: done`.
    pub fn history(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Ok(step) = self.progress.try_recv() {
            if let Phase::Ended(result, _) = &step.phase {
                lines.push(format!("{}: {}: {}", step.resource, step.op, result.word()));
            }
        }
        lines
    }

    /// Status of a service's first slot.
    pub fn status(&self, service: &str) -> Option<SlotStatus> {
        let view = self.tap.views.borrow();
        view.report.slots.iter().find(|(s, _)| s.service == service).map(|(_, r)| r.status)
    }

    /// The name that a slot's container has.
    pub fn container(&self, service: &str) -> String {
        format!("{}-{service}-1", self.project)
    }

    /// `docker inspect -f FORMAT` of a service's first container.
    pub fn inspect(&self, service: &str, format: &str) -> String {
        docker(&["inspect", "-f", format, &self.container(service)])
    }

    /// Ends the loop and leaves the stack as it is.
    pub fn halt(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(20));
        }
    }

    /// IDs of all containers of the project.
    pub fn ids(&self) -> Vec<String> {
        let label = format!("label=com.docker.compose.project={}", self.project);
        let out = docker(&["ps", "-aq", "--no-trunc", "--filter", &label]);
        out.lines().map(str::to_owned).collect()
    }
}

/// Loads one Compose file under a project name.
pub fn load(file: &Path, project: &str) -> homeostat::compose::Project {
    compose::load(&LoadOptions {
        files: vec![file.to_owned()],
        project_name: Some(project.to_owned()),
        cwd: file.parent().map(Path::to_owned).unwrap_or_default(),
        ..LoadOptions::default()
    })
    .unwrap_or_else(|error| panic!("{error}"))
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.halt();
        clean(&self.project);
    }
}

/// Removes everything of a project, volumes included: it is a test's own.
pub fn clean(project: &str) {
    let label = format!("label=com.docker.compose.project={project}");
    let list = |args: &[&str]| docker_try(args).unwrap_or_default();
    // One call for all: the CLI works on them concurrently, and one that fails stops no other.
    let remove = |what: &[&str], ids: String| {
        if !ids.is_empty() {
            let args: Vec<&str> = what.iter().copied().chain(ids.lines()).collect();
            let _ = docker_try(&args);
        }
    };
    let paused = list(&["ps", "-q", "--filter", &label, "--filter", "status=paused"]);
    remove(&["unpause"], paused);
    let containers = list(&["ps", "-aq", "--filter", &label]);
    let anonymous = anonymous_volumes(&containers);
    remove(&["rm", "-f", "-v"], containers);
    remove(&["network", "rm"], list(&["network", "ls", "-q", "--filter", &label]));
    remove(&["volume", "rm", "-f"], list(&["volume", "ls", "-q", "--filter", &label]));
    remove(&["volume", "rm", "-f"], anonymous);
    // A daemon that was killed leaves its lease.
    let lease = format!("label=dev.homeostat.lease.project={project}");
    remove(&["volume", "rm", "-f"], list(&["volume", "ls", "-q", "--filter", &lease]));
}

/// Volumes without a name of their own that these containers mount, a line each. One that a
/// container has from its predecessor has a name for the engine, and `rm -v` leaves it.
fn anonymous_volumes(containers: &str) -> String {
    const NAMES: &str =
        "{{range .Mounts}}{{if eq .Type \"volume\"}}{{println .Name}}{{end}}{{end}}";
    if containers.is_empty() {
        return String::new();
    }
    let args: Vec<&str> = ["inspect", "-f", NAMES].into_iter().chain(containers.lines()).collect();
    let hex = |name: &&str| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let found = docker_try(&args).unwrap_or_default();
    found.lines().filter(hex).collect::<Vec<_>>().join("\n")
}
