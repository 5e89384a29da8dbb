//! A daemon of the real binary, with folders, projects and a state of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{clean, docker, docker_try};

/// Longest time that anything may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// Folders of a test, and the projects in them. Removes everything of the projects when dropped.
pub struct Home {
    dir: tempfile::TempDir,
    suffix: String,
    projects: Vec<String>,
}

/// What a verb of the binary said.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let name = dir.path().file_name().map(|n| n.to_string_lossy().to_lowercase());
        let letters = |name: String| name.chars().filter(char::is_ascii_alphanumeric).collect();
        let suffix = name.map(letters).unwrap_or_default();
        std::fs::create_dir(dir.path().join("stacks")).expect("a folder");
        Self { dir, suffix, projects: Vec::new() }
    }

    /// A Compose project's name, which this home cleans up after.
    pub fn project(&mut self, name: &str) -> String {
        let project = format!("daemon-{name}-{}", self.suffix);
        self.projects.push(project.clone());
        project
    }

    /// Where the stacks' files are.
    pub fn stacks(&self) -> PathBuf {
        self.dir.path().join("stacks")
    }

    /// The daemon's state folder.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Writes a file beside the stacks, in place.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.stacks().join(name), text).expect("writes");
    }

    /// The binary, with nothing of this process's environment but what it needs.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_homeostat"));
        command.env_clear().current_dir(self.stacks());
        command.env("HOME", self.dir.path()).env("HOMEOSTAT_STATE_DIR", self.state());
        for name in ["PATH", "DOCKER_HOST"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    /// Runs a verb to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        ran(self.command().args(args))
    }

    /// Starts a daemon over the stacks.
    pub fn daemon(&self, args: &[&str]) -> Daemon {
        self.daemon_with(args, |_| {})
    }

    /// The same, with more to set.
    pub fn daemon_with(&self, args: &[&str], set: impl FnOnce(&mut Command)) -> Daemon {
        let log = self.dir.path().join("daemon.log");
        let file = File::options().create(true).append(true).open(&log).expect("a log");
        let begins = file.metadata().expect("a length").len();
        let mut command = self.command();
        command.args(["run", ".", "--listen", "127.0.0.1:0", "--no-color"]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        set(&mut command);
        let child = command.spawn().expect("the daemon starts");
        let mut daemon = Daemon { child, log, begins, address: None };
        daemon.address = daemon.address_after("serving health, metrics and status");
        daemon
    }
}

/// Runs a command to its end.
pub fn ran(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    Ran {
        code: status.code(),
        stdout: String::from_utf8(stdout).expect("text"),
        stderr: String::from_utf8(stderr).expect("text"),
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for project in &self.projects {
            clean(project);
        }
    }
}

/// A daemon that runs. Killed when dropped; [`Daemon::stop`] asks it to end.
pub struct Daemon {
    child: Child,
    log: PathBuf,
    begins: u64,
    address: Option<SocketAddr>,
}

impl Daemon {
    /// What this run of the daemon logged so far.
    pub fn log(&self) -> String {
        let text = std::fs::read(&self.log).expect("a log");
        let from = usize::try_from(self.begins).expect("a length");
        String::from_utf8_lossy(&text[from.min(text.len())..]).into_owned()
    }

    fn address_after(&mut self, line: &str) -> Option<SocketAddr> {
        let deadline = Instant::now() + SOON;
        loop {
            let log = self.log();
            let found = log.lines().find(|l| l.contains(line) && l.contains("address="));
            if let Some(found) = found {
                let (_, address) = found.split_once("address=").expect("just seen");
                let end = address.find(char::is_whitespace).unwrap_or(address.len());
                return Some(address[..end].parse().expect("an address"));
            }
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "the daemon ended: {ended:?}\n{log}");
            assert!(Instant::now() < deadline, "no {line:?} in\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address.expect("found at start")
    }

    /// Where `--metrics-listen` listens.
    pub fn metrics_address(&mut self) -> SocketAddr {
        self.address_after("serving metrics address").expect("found")
    }

    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Sends SIGTERM and waits. Returns how it ended and how long that took.
    pub fn stop(mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        signal(&self.pid(), "TERM");
        while begun.elapsed() < SOON {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return (status, begun.elapsed());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the daemon goes on after SIGTERM\n{}", self.log());
    }

    /// Sends SIGKILL and waits.
    pub fn kill(mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }

    /// `GET PATH`: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let address = self.address();
        get(address, path, &address.to_string())
    }

    /// An answer of the API.
    pub fn api(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// A condition of a stack, as `status reason message`; empty where there is none.
    pub fn condition(&self, stack: &str, kind: &str) -> String {
        let status = self.api("/api/v1/status");
        let stacks = status["stacks"].as_array().expect("stacks");
        let Some(stack) = stacks.iter().find(|s| s["name"] == stack) else { return String::new() };
        let conditions = stack["conditions"].as_array().expect("conditions");
        let Some(found) = conditions.iter().find(|c| c["type"] == kind) else {
            return String::new();
        };
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", text("status"), text("reason"), text("message")).trim().to_owned()
    }

    /// Status word of each service, `PROJECT/SERVICE` to `ready`.
    pub fn services(&self) -> BTreeMap<String, String> {
        let list = self.api("/api/v1/services");
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array().expect("items").iter();
        items
            .map(|s| {
                (format!("{}/{}", text(&s["project"]), text(&s["service"])), text(&s["status"]))
            })
            .collect()
    }

    /// Every series of `/metrics`.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let (status, body) = self.get("/metrics");
        assert_eq!(status, 200, "{body}");
        series(&body)
    }

    /// Waits until `holds`; fails the test with the log and the status when it doesn't.
    pub fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        self.within(SOON, what, holds);
    }

    pub fn within(&self, time: Duration, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + time;
        while !holds() {
            assert!(
                Instant::now() < deadline,
                "not within {time:?}: {what}\n{}\n{:#}",
                self.log(),
                self.api("/api/v1/status")
            );
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Waits until a stack of this generation is in sync and ready.
    pub fn until_ready(&self, stack: &str, generation: u64) {
        self.until(&format!("{stack} is ready"), || self.is_ready(stack, generation));
    }

    /// Whether a stack of this generation is in sync and ready.
    pub fn is_ready(&self, stack: &str, generation: u64) -> bool {
        let stacks = self.api("/api/v1/stacks");
        let stacks = stacks["items"].as_array().expect("items");
        stacks.iter().any(|s| {
            s["name"] == stack
                && s["observedGeneration"] == generation
                && s["synced"] == true
                && s["desired"].as_u64() > Some(0)
                && s["ready"] == s["desired"]
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

/// Sends a signal to one process.
pub fn signal(pid: &str, name: &str) {
    let status = Command::new("kill").args(["-s", name, pid]).status().expect("kill runs");
    assert!(status.success(), "kill -s {name} {pid}");
}

/// `GET PATH` with this Host header: status and body.
pub fn get(address: SocketAddr, path: &str, host: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
        .expect("sends");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    (status, if chunked { dechunked(body) } else { body.to_owned() })
}

fn dechunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            break;
        }
        whole.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    whole
}

/// Series of an exposition, with their labels, to their values.
pub fn series(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
        .collect()
}

/// ID and start of every container of a project, by name: equal before and after where nothing
/// was recreated or restarted.
pub fn runs(project: &str) -> BTreeMap<String, String> {
    facts(project, "{{.Id}} {{.State.StartedAt}}")
}

/// `docker inspect -f FORMAT` of every container of a project, by name without the project's.
pub fn facts(project: &str, format: &str) -> BTreeMap<String, String> {
    let label = format!("label=com.docker.compose.project={project}");
    let format = format!("{{{{.Name}}}} {format}");
    let prefix = format!("/{project}-");
    let deadline = Instant::now() + SOON;
    loop {
        let ids = docker(&["ps", "-aq", "--no-trunc", "--filter", &label]);
        if ids.is_empty() {
            return BTreeMap::new();
        }
        let mut args = vec!["inspect", "-f", &format];
        args.extend(ids.lines());
        // One that is removed between the two calls is asked for in vain: then both are made again.
        if let Ok(found) = docker_try(&args) {
            let lines = found.lines().filter_map(|line| line.split_once(' '));
            let named = lines.map(|(name, fact)| {
                (name.strip_prefix(&prefix).unwrap_or(name).to_owned(), fact.to_owned())
            });
            return named.collect();
        }
        assert!(Instant::now() < deadline, "no complete list of {project}");
    }
}

/// A Stack file over one Compose file.
pub fn stack(name: &str, compose: &str) -> String {
    format!(
        "apiVersion: homeostat.dev/v1alpha1\nkind: Stack\nmetadata:\n  name: {name}\n\
         spec:\n  source:\n    compose:\n      files: [{compose}]\n"
    )
}

/// Replaces a file as careful editors do: written aside, then renamed over it.
pub fn replace(file: &Path, text: &str) {
    let aside = file.with_extension("aside");
    std::fs::write(&aside, text).expect("writes");
    std::fs::rename(&aside, file).expect("renames");
}
