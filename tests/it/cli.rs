//! The binary as a black box: what it prints, with which exit code, and what it leaves alone.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::engine_proxy::{Action, EngineProxy, Rule};
use crate::support::{IMAGE, clean, docker};

struct Folder(tempfile::TempDir);

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Folder {
    fn new(compose: &str) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        folder.write("compose.yaml", compose);
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("writes");
    }

    /// Runs the binary here, with nothing of this process's environment but what it needs.
    fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, b"")
    }

    /// The same with something on standard input.
    fn run_with(&self, args: &[&str], stdin: &[u8]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_homeostat"));
        command.env_clear().current_dir(self.path()).args(args);
        command.env("HOME", self.path()).env("XDG_STATE_HOME", self.path().join("xdg"));
        command.env("HOMEOSTAT_STATE_DIR", self.path().join("state"));
        for name in ["PATH", "DOCKER_HOST"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        // Whoever doesn't read it may close it first.
        let _ = child.stdin.take().expect("piped").write_all(stdin);
        let output = child.wait_with_output().expect("the binary ends");
        let Output { status, stdout, stderr } = output;
        Ran {
            code: status.code().expect("an exit code"),
            stdout: String::from_utf8(stdout).expect("text"),
            stderr: String::from_utf8(stderr).expect("text"),
        }
    }
}

/// Removes what a test made, whatever came of it.
struct Project(&'static str);

impl Drop for Project {
    fn drop(&mut self) {
        clean(self.0);
    }
}

fn stack(project: &str) -> String {
    format!(
        "\
name: {project}
services:
  models:
    image: {IMAGE}
    command: [ollama]
    stop_grace_period: 1s
    healthcheck:
      test: [CMD, /stand-ins, healthcheck, 'http://127.0.0.1:11434/api/tags']
      interval: 1s
  web:
    image: {IMAGE}
    command: [ollama]
    stop_grace_period: 1s
    depends_on:
      models: {{condition: service_healthy}}
    volumes: ['data:/data']
  aside:
    image: {IMAGE}
    command: [ollama]
    stop_grace_period: 1s
volumes:
  data: {{}}
"
    )
}

#[test]
fn bad_files_are_told_with_place_and_mend_and_touch_nothing() {
    let service = |rest: &str| format!("name: cli-bad\nservices:\n  a:\n    image: x\n{rest}");
    let cases = [
        (
            service("    imgae: y\n"),
            "error: compose.yaml:5:5: unknown attribute `imgae` in `services.a`
   |
 5 |     imgae: y
   |     ^
  help: did you mean `image`?
",
        ),
        (
            service("    image: y\n"),
            "error: compose.yaml:5:5: duplicate key `image`
   |
 5 |     image: y
   |     ^
  help: it is already there at line 4: keep one of the two
",
        ),
        (
            service("    networks: [front]\n"),
            "error: compose.yaml:5:16: service `a` refers to undefined network `front`
   |
 5 |     networks: [front]
   |                ^
  help: declare it under the top-level `networks`
",
        ),
        (
            service("    user: ${NEEDED:?say who}\n"),
            "error: compose.yaml:5:11: required variable `NEEDED` is not set: say who
   |
 5 |     user: ${NEEDED:?say who}
   |           ^
  help: set `NEEDED` in .env, in an --env-file or in the shell
",
        ),
        (
            service("    depends_on: [b]\n  b:\n    image: x\n    depends_on: [a]\n"),
            "error: compose.yaml:8:18: dependency cycle: a -> b -> a
   |
 8 |     depends_on: [a]
   |                  ^
  help: remove one of these dependencies
",
        ),
        (
            service("    ports: 3\n"),
            "error: compose.yaml:5:12: `services.a.ports` must be a list, not an integer
   |
 5 |     ports: 3
   |            ^
",
        ),
    ];
    for (compose, wanted) in cases {
        let folder = Folder::new(&compose);
        for verb in ["plan", "apply", "config"] {
            // No engine is there: bad input is found before one is asked.
            let ran = folder.run(&["-H", "unix:///nonexistent", verb]);
            assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{verb} {compose}");
            assert_eq!(ran.stderr, wanted, "{verb}");
        }
        assert_eq!(folder.run(&["plan", "--detailed-exitcode"]).code, 1);
        assert!(!folder.path().join("state").exists(), "nothing was written");
    }
}

#[test]
fn a_missing_file_and_a_syntax_error_are_bad_input() {
    let folder = Folder::new("services:\n  a: [\n");
    let ran = folder.run(&["plan"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.starts_with("error: compose.yaml:3:1: invalid YAML"), "{}", ran.stderr);
    let ran = folder.run(&["-f", "none.yaml", "plan"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (2, "error: none.yaml: no such file\n"));
}

#[test]
fn usage_errors_are_two_and_help_is_well() {
    let folder = Folder::new("name: cli-usage\nservices:\n  web:\n    image: x\n");
    for args in [
        &["bogus"][..],
        &["plan", "--bogus"],
        &["apply", "--timeout", "10"],
        &["describe", "web"],
        &["describe", "pod/web"],
        &["delete", "service/web"],
        &["--log-level", "loud", "plan"],
        &["plan", "wbe"],
        &["logs", "wbe"],
        &["config", "--hash", "wbe"],
    ] {
        let ran = folder.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?}");
        assert!(!ran.stderr.is_empty() && !ran.stderr.contains('\x1b'), "{args:?} {}", ran.stderr);
    }
    let ran = folder.run(&["plan", "wbe"]);
    assert_eq!(ran.stderr, "error: no service `wbe` in project `cli-usage`; did you mean `web`?\n");
    assert_eq!(folder.run(&["plan", "--bogus", "--detailed-exitcode"]).code, 1);
    let help = folder.run(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    assert!(help.stdout.contains("Converge once"), "{}", help.stdout);
    assert!(folder.run(&["completions", "bash"]).stdout.contains("_homeostat"));
}

#[test]
fn an_engine_that_is_not_there_is_one() {
    let folder = Folder::new("name: cli-away\nservices:\n  web:\n    image: x\n");
    for verb in ["plan", "apply"] {
        let ran = folder.run(&["-H", "unix:///nonexistent", verb]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
        let message = "error: can't reach the engine at unix:///nonexistent: ";
        assert!(ran.stderr.starts_with(message) && ran.stderr.contains("-H"), "{}", ran.stderr);
    }
}

#[test]
fn control_characters_of_a_file_never_reach_the_terminal() {
    let folder = Folder::new("services:\n  a:\n    image: x\n    \"im\\x1b[2J\": y\n");
    let ran = folder.run(&["plan"]);
    assert_eq!(ran.code, 2);
    assert!(!ran.stderr.contains('\x1b') && ran.stderr.contains("im\\u{1b}[2J"), "{}", ran.stderr);
}

#[test]
fn config_prints_the_project_without_an_engine() {
    let folder = Folder::new(&stack("cli-config"));
    let run = |args: &[&str]| {
        let ran = folder.run(&[&["-H", "unix:///nonexistent", "config"], args].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    assert_eq!(run(&["--services"]), "aside\nmodels\nweb\n");
    assert_eq!(run(&["--volumes"]), "data\n");
    assert_eq!(run(&["-q"]), "");
    let json: serde_json::Value = serde_json::from_str(&run(&["--format", "json"])).expect("json");
    assert_eq!(json["name"], "cli-config");
    assert_eq!(run(&["-o", "out.yaml"]), "");
    let written = std::fs::read_to_string(folder.path().join("out.yaml")).expect("written");
    assert_eq!(written, run(&[]));
    let validated = folder.run(&["validate", "compose.yaml"]);
    assert_eq!((validated.code, validated.stdout.as_str()), (0, "1 path: no mistakes\n"));
}

#[test]
fn apply_converges_once_and_then_has_nothing_to_do() {
    let _project = Project("cli-apply");
    let folder = Folder::new(&stack("cli-apply"));
    let planned = folder.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(planned.code, 2, "{}", planned.stderr);
    assert!(
        planned.stdout.contains("service models/1: create cli-apply-models-1  (missing)")
            && planned.stdout.contains("service web/1: waiting_on(models healthy)"),
        "{}",
        planned.stdout
    );
    assert!(!folder.path().join("state").exists(), "plan writes nothing");

    let first = folder.run(&["apply", "--timeout", "2m"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(first.stdout.starts_with("cli-apply: ready; "), "{}", first.stdout);
    assert!(!first.stderr.contains('\x1b'), "{}", first.stderr);
    let at =
        |line: &str| first.stderr.find(line).unwrap_or_else(|| panic!("{line}: {}", first.stderr));
    assert!(
        at("Network cli-apply_default  Created") < at("Container cli-apply-models-1  Starting")
    );
    assert!(at("Container cli-apply-models-1  Ready") < at("Container cli-apply-web-1  Starting"));

    let ids = || docker(&["ps", "-aq", "--no-trunc", "--filter", "name=cli-apply-"]);
    let before = ids();
    let second = folder.run(&["apply"]);
    assert_eq!((second.code, second.stderr.as_str()), (0, ""));
    assert_eq!(second.stdout, "cli-apply: nothing to do; 3 of 3 ready\n");
    assert_eq!(folder.run(&["plan", "--detailed-exitcode"]).code, 0);
    assert_eq!(ids(), before);

    let json = folder.run(&["plan", "-o", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("json");
    assert_eq!((&json["changes"], &json["steps"]), (&false.into(), &serde_json::json!([])));
    assert_eq!(json["services"][1]["status"], "ready");
    let services = folder.run(&["get", "services"]).stdout;
    let rows: Vec<Vec<&str>> = services.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["NAME", "STATUS", "HEALTH", "SYNCED"]);
    assert_eq!(rows[2][..4], ["models/1", "ready", "healthy", "yes"]);
    let described = folder.run(&["describe", "service/models"]).stdout;
    assert!(described.contains("Container Name: cli-apply-models-1"), "{described}");
    assert!(described.contains("Started"), "its events: {described}");
    let logs = folder.run(&["logs", "models", "web", "-n", "5"]);
    assert!(logs.stdout.contains("cli-apply-models-1 | Listening"), "{}", logs.stdout);

    let deleted = folder.run(&["delete", "stack/cli-apply", "--yes"]);
    assert_eq!(deleted.code, 0, "{}", deleted.stderr);
    assert_eq!(ids(), "");
    assert_eq!(docker(&["volume", "ls", "-q", "--filter", "name=cli-apply_"]), "cli-apply_data");
    assert_eq!(folder.run(&["delete", "stack/cli-apply"]).code, 2, "nothing is left to delete");
}

#[test]
fn apply_of_a_service_brings_what_it_needs_and_nothing_else() {
    let _project = Project("cli-scope");
    let folder = Folder::new(&stack("cli-scope"));
    let ran = folder.run(&["apply", "web", "--timeout", "2m"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let names = docker(&["ps", "--format", "{{.Names}}", "--filter", "name=cli-scope-"]);
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["cli-scope-models-1", "cli-scope-web-1"]);
}

#[test]
fn apply_ends_with_the_reasons_when_it_cannot_go_on_or_runs_out_of_time() {
    let _project = Project("cli-stuck");
    let folder = Folder::new(&format!(
        "\
name: cli-stuck
services:
  web:
    image: {IMAGE}
    command: [ollama]
    networks: [outside]
networks:
  outside: {{external: true, name: cli-stuck-nowhere}}
"
    ));
    let ran = folder.run(&["apply", "--timeout", "1m"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("docker network create cli-stuck-nowhere"), "{}", ran.stderr);

    folder.write(
        "compose.yaml",
        &format!(
            "\
name: cli-stuck
services:
  web:
    image: {IMAGE}
    command: [ollama]
    stop_grace_period: 1s
    healthcheck: {{test: [CMD, /stand-ins, healthcheck, 'http://127.0.0.1:9/'], interval: 1s}}
"
        ),
    );
    let ran = folder.run(&["apply", "--timeout", "3s"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("cli-stuck: not ready after 3s\n  service web/1: "),
        "{}",
        ran.stderr
    );
}

#[test]
fn apply_ends_at_once_where_a_proxy_refuses_and_names_the_endpoint_and_the_mend() {
    let _project = Project("cli-refused");
    let folder = Folder::new(&format!(
        "name: cli-refused\nservices:\n  web: {{image: '{IMAGE}', command: [ollama]}}\n"
    ));
    for endpoint in
        ["POST /volumes/create", "POST /containers/{id}/start", "GET /events", "GET /networks"]
    {
        let proxy = EngineProxy::before_engine().expect("the proxy starts");
        proxy.inject(Rule::new(Action::Answer(403, "not for you".into())).on(endpoint));
        let begun = std::time::Instant::now();
        let ran = folder.run(&["-H", &proxy.host(), "apply", "--timeout", "2m"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
        let said = format!("the engine refuses {endpoint} (403); allow that in the socket proxy");
        assert!(ran.stderr.contains(&said), "{}", ran.stderr);
        let told = ran.stderr.rsplit("error: ").next().unwrap_or_default();
        assert_eq!(told.matches("the engine refuses").count(), 1, "{}", ran.stderr);
        assert!(begun.elapsed().as_secs() < 10, "{}", ran.stderr);
    }
}

#[test]
fn a_compose_file_comes_from_standard_input_in_the_current_folder() {
    let folder = Folder(tempfile::tempdir().expect("a folder"));
    folder.write(".env", "COMMAND=ollama\n");
    let compose = format!(
        "services:\n  web:\n    image: '{IMAGE}'\n    command: ['${{COMMAND}}']\n    volumes: [./data:/d]\n"
    );
    let piped = |args: &[&str]| folder.run_with(args, compose.as_bytes());
    let printed = piped(&["-f", "-", "-p", "cli-piped", "config"]);
    assert_eq!((printed.code, printed.stderr.as_str()), (0, ""));
    folder.write("compose.yaml", &compose);
    let named = folder.run(&["-f", "compose.yaml", "-p", "cli-piped", "config"]);
    assert_eq!(printed.stdout, named.stdout);
    let checked = piped(&["validate", "-"]);
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""));
    let wrong = folder.run_with(&["validate", "-"], b"services:\n  web: {imag: x}\n");
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("-:2:"), "{}", wrong.stderr);
    let followed = piped(&["-f", "-", "run"]);
    assert_eq!(followed.code, 2);
    assert!(followed.stderr.contains("name a file with -f"), "{}", followed.stderr);
    let _project = Project("cli-piped");
    let planned = piped(&["-f", "-", "-p", "cli-piped", "plan"]);
    assert!(planned.stdout.contains("service web/1: create"), "{}", planned.stderr);
    let applied = piped(&["-f", "-", "-p", "cli-piped", "apply"]);
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    let again = piped(&["-f", "-", "-p", "cli-piped", "apply"]);
    assert!(again.stdout.contains("nothing to do"), "{}{}", again.stdout, again.stderr);
}
