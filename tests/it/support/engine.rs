//! An engine of a test's own: `dockerd` with a network namespace, a data root and a socket to
//! itself, so that it can be stopped and killed while nobody else is harmed.
//!
//! It takes root, `dockerd` and `ip`; where one of them is missing the test fails and says so.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::IMAGE;

/// Longest time that the engine may take to begin or to end.
const WITHIN: Duration = Duration::from_secs(60);

/// An engine of the test's own. Ends when dropped, with everything in it.
pub struct OwnEngine {
    dir: tempfile::TempDir,
    /// The network namespace: it outlives a restart of the engine.
    namespace: String,
    engine: Option<Child>,
}

impl OwnEngine {
    /// Starts one that knows the image of the stand-ins.
    pub fn start() -> Self {
        Self::on(None)
    }

    /// The same, with no more room on its disk than this, such as `40m`.
    pub fn with_room(room: &str) -> Self {
        Self::on(Some(room))
    }

    /// Gives its disk this much room.
    pub fn make_room(&self, room: &str) {
        let (size, data) = (format!("remount,size={room}"), self.path("data"));
        run("mount", &["-o", &size, &data.display().to_string()], "it has a disk of its own");
    }

    /// Runs something in its network namespace.
    pub fn within<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.namespace)).expect("is there");
        // The thread ends there: no other one is moved.
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), kind).expect("root may enter");
                run()
            });
            thread.join().expect("it ran")
        })
    }

    fn on(room: Option<&str>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let name = dir.path().file_name().expect("a name").to_string_lossy().to_lowercase();
        let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let namespace = format!("homeostat-{letters}");
        run("ip", &["netns", "add", &namespace], "root and iproute2 are needed for an own engine");
        std::fs::write(dir.path().join("daemon.json"), "{}").expect("writes");
        let mut own = Self { dir, namespace, engine: None };
        if let Some(room) = room {
            std::fs::create_dir(own.path("data")).expect("a folder");
            let (size, data) = (format!("size={room}"), own.path("data").display().to_string());
            let needs = "root is needed for a disk of its own";
            run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &data], needs);
        }
        own.nsenter(&["ip", "link", "set", "lo", "up"]);
        own.boot();
        own.load_image();
        own
    }

    /// Where it is.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    /// Runs `docker ARGS…` on it and returns what it prints.
    pub fn docker(&self, args: &[&str]) -> String {
        let output = self.cli(args).output().expect("the docker CLI runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {args:?}: {error}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// `docker inspect -f FORMAT CONTAINER`.
    pub fn inspect(&self, container: &str, format: &str) -> String {
        self.docker(&["inspect", "-f", format, container])
    }

    /// Ends it by this signal and waits until it is gone.
    pub fn end(&mut self, signal: &str) {
        let Some(mut engine) = self.engine.take() else { return };
        let pid = engine.id().to_string();
        run("kill", &["-s", signal, &pid], "the engine runs");
        let deadline = Instant::now() + WITHIN;
        while engine.try_wait().expect("a child").is_none() {
            assert!(Instant::now() < deadline, "goes on after SIG{signal}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        // Killed, it leaves it behind; a new process may have that number.
        let _ = std::fs::remove_file(self.path("pid"));
    }

    /// Starts it again, over what it kept.
    pub fn boot(&mut self) {
        assert!(self.engine.is_none(), "it runs");
        let log = File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let flag = |name: &str, file: &str| format!("--{name}={}", self.path(file).display());
        let engine = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.namespace))
            .arg("dockerd")
            .args([flag("data-root", "data"), flag("exec-root", "exec"), flag("pidfile", "pid")])
            .args([flag("config-file", "daemon.json"), format!("--host={}", self.host())])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("nsenter and dockerd are needed for an own engine");
        let engine = self.engine.insert(engine);
        let deadline = Instant::now() + WITHIN;
        loop {
            let ended = engine.try_wait().expect("a child");
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "dockerd ended: {ended:?}\n{log}");
            assert!(Instant::now() < deadline, "dockerd doesn't answer\n{log}");
            let socket = self.dir.path().join("docker.sock");
            let host = format!("unix://{}", socket.display());
            let asked = Command::new("docker").args(["-H", &host, "version"]).output();
            if asked.expect("the docker CLI runs").status.success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn load_image(&self) {
        let mut save = Command::new("docker")
            .args(["save", IMAGE])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the docker CLI runs");
        let image = save.stdout.take().expect("piped");
        let loaded = self.cli(&["load", "-q"]).stdin(image).output().expect("the CLI runs");
        assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
        assert!(save.wait().expect("ends").success(), "docker save {IMAGE}: run `make images`");
    }

    fn cli(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.env_remove("DOCKER_HOST").args(["-H", &self.host()]).args(args);
        command
    }

    fn nsenter(&self, command: &[&str]) {
        let net = format!("--net=/run/netns/{}", self.namespace);
        let args: Vec<&str> = std::iter::once(&*net).chain(command.iter().copied()).collect();
        run("nsenter", &args, "util-linux is needed for an own engine");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        if self.engine.is_some() {
            let ids = self.cli(&["ps", "-aq"]).output().map(|o| o.stdout).unwrap_or_default();
            let ids = String::from_utf8_lossy(&ids).into_owned();
            if !ids.trim().is_empty() {
                let args: Vec<&str> = ["rm", "-f"].into_iter().chain(ids.lines()).collect();
                let _ = self.cli(&args).output();
            }
        }
        if let Some(mut engine) = self.engine.take() {
            let _ = Command::new("kill").arg(engine.id().to_string()).status();
            let _ = engine.wait();
        }
        // The engine mounts its data root over itself, over a disk of its own perhaps.
        for _ in 0..2 {
            let _ = Command::new("umount").arg(self.path("data")).stderr(Stdio::null()).status();
        }
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

fn run(program: &str, args: &[&str], needs: &str) {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: {needs}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {error}: {needs}");
}
