//! The corpus under `tests/compose`: what v5.6.1 makes of each case, and what we say of mistakes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;

/// Where `tests/compose/regenerate` runs the cases.
const RECORDED_AT: &str = "/tmp/homeostat-parity";

fn cases(kind: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose").join(kind);
    let mut cases: Vec<PathBuf> =
        fs::read_dir(root).expect("lists").map(|entry| entry.expect("lists").path()).collect();
    cases.sort();
    cases
}

fn options(case: &Path) -> LoadOptions {
    let mut options = LoadOptions {
        cwd: case.to_owned(),
        shell: BTreeMap::from([("HOME".into(), "/home/user".into())]),
        allow_unsupported: true,
        ..LoadOptions::default()
    };
    let text = fs::read_to_string(case.join("options")).unwrap_or_default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (word, value) = line.split_once(' ').expect("WORD VALUE");
        match word {
            "-f" => options.files.push(value.into()),
            "-p" => options.project_name = Some(value.into()),
            "--profile" => options.profiles.push(value.into()),
            "--env-file" => options.env_files.push(value.into()),
            "--project-directory" => options.project_directory = Some(value.into()),
            "--refuse" => options.allow_unsupported = false,
            "env" => {
                let (name, value) = value.split_once('=').expect("NAME=VALUE");
                options.shell.insert(name.into(), value.into());
            }
            _ => panic!("{}: unknown option {word}", case.display()),
        }
    }
    options
}

fn name(case: &Path) -> String {
    case.file_name().expect("has a name").to_string_lossy().into_owned()
}

#[test]
fn every_case_prints_and_hashes_as_v5_6_1_does() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in cases("good") {
        count += 1;
        let name = name(&case);
        let here = case.parent().expect("has a parent").display().to_string();
        let there = RECORDED_AT;
        let read = |file: &str| fs::read_to_string(case.join(file)).expect("was recorded");
        let project = match load(&options(&case)) {
            Ok(project) => project,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let printed = config::json(&project).replace(&here, there);
        if printed != read("expected.json").trim_end() {
            let ours: Value = serde_json::from_str(&printed).expect("is JSON");
            let theirs: Value = serde_json::from_str(&read("expected.json")).expect("is JSON");
            let what = if ours == theirs { "key order" } else { "value" };
            wrong.push(format!("{name}: {what} of JSON differs, ours:\n{printed}"));
        }
        let ours = yaml(&config::yaml(&project).replace(&here, there));
        let theirs = yaml(&read("expected.yaml"));
        if ours != theirs {
            wrong.push(format!("{name}: YAML differs, ours:\n{}", config::yaml(&project)));
        }
        let mut hashes = String::new();
        for (service, loaded) in &project.services {
            let text = serde_json::to_string(loaded.canonical.expose()).expect("serialises");
            let moved = serde_json::from_str(&text.replace(&here, there)).expect("is JSON");
            hashes.push_str(&format!("{service} {}\n", service_hash(&moved)));
        }
        if hashes != read("expected.hashes") {
            wrong.push(format!("{name}: hashes differ:\n{hashes}"));
        }
    }
    assert!(count >= 60, "the corpus has only {count} cases");
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// YAML as Docker Compose's own library reads it.
fn yaml(text: &str) -> Value {
    let mut sources = diagnostic::Sources::default();
    let tree = parse::parse(text, 0, &mut sources).expect("is YAML");
    let documents = construct::documents(&tree, &mut 0, &mut sources).expect("is YAML");
    print::any(&documents[0].root)
}

/// The messages with paths relative to the case.
fn told(error: &LoadError, here: &str) -> String {
    error.to_string().replace(&format!("{here}/"), "").replace(here, ".")
}

/// `BLESS=1` rewrites what the messages should be; look at the difference before keeping it.
#[test]
fn every_mistake_is_told_with_place_and_mend() {
    let mut wrong = Vec::new();
    for case in cases("bad") {
        let here = case.display().to_string();
        let message = match load(&options(&case)) {
            Ok(_) => "loads".to_owned(),
            Err(error) => format!("{}\n", told(&error, &here)),
        };
        let file = case.join("expected.txt");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&file, &message).expect("writes");
        }
        if message == "loads" || message != fs::read_to_string(&file).unwrap_or_default() {
            wrong.push(format!("{}:\n{message}", name(&case)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn load_text(text: &str) -> Result<Project, LoadError> {
    let folder = tempfile::tempdir().expect("makes a folder");
    fs::write(folder.path().join("compose.yaml"), text).expect("writes");
    load(&LoadOptions { cwd: folder.path().to_owned(), ..LoadOptions::default() })
}

/// Runs on a stack of 2 MiB, as a worker thread has.
fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run).expect("starts");
    thread.join().expect("neither panics nor overflows");
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    on_a_small_stack(|| {
        for text in [
            format!("x-a: {}{}", "[".repeat(10_000), "]".repeat(10_000)),
            format!("x-a: {}", "{a: ".repeat(10_000)),
            (0..10_000).map(|depth| format!("{}a:\n", " ".repeat(depth.min(2000)))).collect(),
            format!("x-a: {}", "- ".repeat(10_000)),
        ] {
            let error = load_text(&text).expect_err("fails").to_string();
            assert!(error.len() < 20_000);
        }
    });
}

#[test]
fn nesting_within_the_limit_loads() {
    on_a_small_stack(|| {
        let text =
            format!("services: {{a: {{image: x}}}}\nx-a: {}1{}", "[".repeat(240), "]".repeat(240));
        load_text(&text).expect("loads");
    });
}

#[test]
fn an_alias_bomb_is_an_error_and_no_crash() {
    on_a_small_stack(|| {
        let mut text = "x-0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n".to_owned();
        for level in 1..30 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("x-{level}: &a{level} [{aliases}]\n"));
        }
        text.push_str("services: {a: {image: x}}\n");
        let error = load_text(&text).expect_err("fails").to_string();
        assert!(error.contains("expands to more than"), "{error}");
    });
}

#[test]
fn a_thousand_services_with_a_shared_anchor_load() {
    let mut text = "x-env: &env\n".to_owned();
    for key in 0..200 {
        text.push_str(&format!("  KEY_{key}: value {key}\n"));
    }
    text.push_str("services:\n");
    for service in 0..1000 {
        text.push_str(&format!("  s{service}: {{image: x, environment: *env}}\n"));
    }
    let project = load_text(&text).expect("loads");
    assert_eq!(project.services.len(), 1000);
    assert_eq!(project.services["s7"].environment.len(), 200);
}
