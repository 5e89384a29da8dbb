//! Which files are meant, and what becomes of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{COMPOSE, Folder, find, image, names, only, stack};
use crate::desired::source::{Environment, Flags};
use crate::probe::spec::Question;

#[test]
fn a_stack_and_its_compose_file_become_one_goal() {
    let text = stack(
        "spec:\n  recoveryOrder: [valkey, chromadb]\n  services:\n    valkey: {driver: valkey, \
         readyWithin: 90s}\n    chromadb: {optional: true, job: true}\n  policy: {paused: \
         Unpause, orphans: Remove, readiness: Both}\n",
    );
    let folder = Folder::new(&[("stack.yaml", &text), ("compose.yaml", COMPOSE)]);
    let loaded = folder.load().expect("loads");
    let desired = &loaded.goal.desired;
    assert_eq!((desired.generation, desired.project.name.as_str()), (1, "bot"));
    assert_eq!(desired.order, ["valkey", "chromadb"]);
    assert_eq!(loaded.goal.probes["valkey"].question, Question::Valkey);
    assert!(desired.traits("valkey").probed && !desired.traits("chromadb").probed);
    assert_eq!(desired.traits("valkey").ready_within, Some(Duration::from_secs(90)));
    assert!(desired.traits("chromadb").optional && desired.traits("chromadb").job);
    assert!(desired.policy.unpause);
    assert_eq!(names(&loaded.files_read, &folder.path()), ["compose.yaml", "stack.yaml"]);
    assert_eq!(loaded.warnings, []);
}

#[test]
fn a_bare_compose_folder_works_with_defaults() {
    let folder = Folder::new(&[
        ("compose.yaml", "services: {web: {image: \"web:${TAG}\"}}\n"),
        ("compose.override.yaml", "services: {web: {restart: always}}\n"),
        (".env", "TAG=2\n"),
    ]);
    let loaded = folder.load().expect("loads");
    assert_eq!(image(&loaded, "web"), "web:2");
    assert_eq!(
        names(&loaded.files_read, &folder.path()),
        [".env", "compose.override.yaml", "compose.yaml"]
    );
}

#[test]
fn a_bad_stack_does_not_stop_the_others() {
    let other = stack("spec: {source: {compose: {files: [b/compose.yaml]}}}\n");
    let folder = Folder::new(&[
        ("a.yaml", &stack("spec: [\n")),
        ("b.yaml", &other.replace("name: bot", "name: b")),
        ("b/compose.yaml", COMPOSE),
        ("notes.yaml", "just: notes\n"),
    ]);
    let found = find(&folder.request()).expect("finds both");
    let loads: Vec<_> =
        found.sources.iter().map(|s| (s.name.as_str(), s.load(1).is_ok())).collect();
    assert_eq!(loads, [("a", false), ("b", true)]);
    // Once it is mended, the same source loads it.
    folder.write("a.yaml", &stack("spec: {source: {compose: {files: [b/compose.yaml]}}}\n"));
    assert!(found.sources[0].load(1).is_ok());
}

#[test]
fn one_name_for_two_stacks_is_refused() {
    let text = stack("");
    let folder = Folder::new(&[("a.yaml", &text), ("b.yaml", &text), ("compose.yaml", COMPOSE)]);
    let error = find(&folder.request()).err().expect("refused").to_string();
    assert!(folder.plain(&error).starts_with("/bot/b.yaml:3:12: another Stack"), "{error}");
}

#[test]
fn the_daemons_environment_stays_out_unless_it_is_asked_in() {
    let compose = "services: {web: {image: \"web:${TAG:-none}\"}}\n";
    let folder = Folder::new(&[("compose.yaml", compose)]);
    let tag = |spec: &str, inherit: bool, dot_env: &str| {
        folder.write(".env", dot_env);
        folder.write("stack.yaml", &stack(spec));
        let mut request = folder.request();
        let variables = BTreeMap::from([("TAG".to_owned(), "shell".to_owned())]);
        request.environment = Environment { variables, inherit, stdin: None };
        image(&only(&request).load(1).expect("loads"), "web")
    };
    let with_env = "spec: {source: {env: {TAG: stack}}}\n";
    let inheriting = "spec: {source: {env: {TAG: stack}, inheritEnv: true}}\n";
    assert_eq!(tag("", false, ""), "web:none");
    assert_eq!(tag("", false, "TAG=file\n"), "web:file");
    assert_eq!(tag(with_env, false, "TAG=file\n"), "web:stack");
    assert_eq!(tag(inheriting, false, "TAG=file\n"), "web:shell");
    assert_eq!(tag(with_env, true, "TAG=file\n"), "web:shell");
}

#[test]
fn env_values_keep_their_text_and_never_print() {
    let text = stack("spec: {source: {env: {TAG: 0440}}}\n");
    let compose = "services: {web: {image: \"web:${TAG}\"}}\n";
    let folder = Folder::new(&[("stack.yaml", &text), ("compose.yaml", compose)]);
    assert_eq!(image(&folder.load().expect("loads"), "web"), "web:0440");
    let decoded: crate::api::Stack = serde_saphyr::from_str(&text).expect("decodes");
    let printed = format!("{decoded:?} {}", serde_json::to_string(&decoded).expect("serialises"));
    assert!(!printed.contains("0440"), "{printed}");
}

#[test]
fn flags_choose_files_profiles_and_names() {
    let folder = Folder::new(&[
        ("compose.yaml", COMPOSE),
        ("other.yaml", "services: {a: {image: a}, b: {image: b, profiles: [x]}}\n"),
        ("mine.yaml", &stack("")),
    ]);
    let mut request = folder.request();
    request.path = None;
    request.flags = Flags {
        files: vec!["other.yaml".into()],
        profiles: vec!["x".into()],
        project_name: Some("named".into()),
        ..Flags::default()
    };
    let loaded = only(&request).load(1).expect("loads");
    assert_eq!(loaded.goal.desired.project.name, "named");
    assert_eq!(loaded.goal.desired.order, ["a", "b"]);
    assert_eq!(names(&loaded.files_read, &folder.path()), ["other.yaml"]);

    request.flags = Flags { files: vec!["mine.yaml".into()], ..Flags::default() };
    let loaded = only(&request).load(1).expect("loads the Stack's own files");
    assert_eq!(names(&loaded.files_read, &folder.path()), ["compose.yaml", "mine.yaml"]);
}

#[test]
fn verbs_use_the_stack_beside_the_nearest_compose_file() {
    let folder =
        Folder::new(&[("compose.yaml", COMPOSE), ("s.yml", &stack("")), ("sub/x.txt", "")]);
    let mut request = folder.request();
    request.path = None;
    request.cwd = folder.path().join("sub");
    let loaded = only(&request).load(1).expect("loads");
    assert_eq!(names(&loaded.files_read, &folder.path()), ["compose.yaml", "s.yml"]);
}

#[test]
fn what_is_gone_says_so() {
    let folder = Folder::new(&[("stack.yaml", &stack("")), ("compose.yaml", COMPOSE)]);
    let source = folder.source();
    std::fs::remove_file(folder.path().join("stack.yaml")).expect("removes");
    let error = source.load(2).expect_err("gone");
    assert!(error.source_gone, "{error}");
    std::fs::remove_dir_all(folder.path()).expect("removes");
    assert!(source.load(2).expect_err("gone").source_gone);
}

#[test]
fn a_bare_folder_never_falls_back_to_the_project_above() {
    let folder = Folder::new(&[("compose.yaml", COMPOSE), ("in/compose.yaml", COMPOSE)]);
    let mut request = folder.request();
    request.path = Some(folder.path().join("in"));
    let source = only(&request);
    assert!(source.load(1).is_ok());
    std::fs::remove_file(folder.path().join("in/compose.yaml")).expect("removes");
    assert!(source.load(2).expect_err("gone").source_gone);
}

#[test]
fn a_stack_that_moves_to_another_file_is_found() {
    let folder = Folder::new(&[("a.yaml", &stack("")), ("compose.yaml", COMPOSE)]);
    let source = folder.source();
    std::fs::rename(folder.path().join("a.yaml"), folder.path().join("b.yaml")).expect("renames");
    assert!(source.load(2).is_ok());
}

#[test]
fn the_fingerprint_follows_meaning_not_text() {
    let folder = Folder::new(&[("stack.yaml", &stack("")), ("compose.yaml", COMPOSE)]);
    let print = || folder.load().expect("loads").fingerprint;
    let first = print();
    folder.write("compose.yaml", &format!("# a comment\n{COMPOSE}\n"));
    assert_eq!(print(), first);
    folder.write("compose.yaml", &COMPOSE.replace("image: chroma", "image: chroma:2"));
    assert_ne!(print(), first);
    folder.write("compose.yaml", COMPOSE);
    for spec in [
        "spec: {recoveryOrder: [chromadb]}\n",
        "spec: {services: {valkey: {driver: valkey}}}\n",
        "spec: {policy: {orphans: Remove}}\n",
        "spec: {policy: {imagePull: Always}}\n",
        "spec: {source: {hostPath: /srv/bot}}\n",
    ] {
        folder.write("stack.yaml", &stack(spec));
        assert_ne!(print(), first, "{spec}");
    }
}

#[test]
fn a_name_that_differs_from_the_projects_is_a_warning() {
    let folder = Folder::new(&[
        ("stack.yaml", &stack("")),
        ("compose.yaml", &format!("name: shop\n{COMPOSE}")),
    ]);
    let loaded = folder.load().expect("loads");
    assert_eq!(loaded.goal.desired.project.name, "shop");
    assert_eq!(loaded.warnings.len(), 1);
}

#[test]
fn of_several_stacks_the_project_name_chooses_one() {
    let named = |name: &str| stack("").replace("name: bot", &format!("name: {name}"));
    let folder = Folder::new(&[
        ("a.yaml", &named("blue")),
        ("b.yaml", &named("green")),
        ("compose.yaml", COMPOSE),
    ]);
    let mut request = folder.request();
    let found = find(&request).expect("finds both");
    let error = found.one(&folder.path()).err().expect("ambiguous").to_string();
    assert!(error.contains("several Stacks: blue, green"), "{error}");
    request.flags.project_name = Some("green".into());
    assert_eq!(only(&request).name, "green");
    request.flags.project_name = Some("gren".into());
    let error = find(&request).err().expect("unknown").to_string();
    assert!(error.contains("did you mean `green`?"), "{error}");
}

#[test]
fn a_home_folder_is_always_known() {
    let compose = "services: {web: {image: web, volumes: [\"~/data:/data\"]}}\n";
    let folder = Folder::new(&[("compose.yaml", compose)]);
    let mut request = folder.request();
    request.environment.variables = BTreeMap::from([("HOME".to_owned(), "/home/u".to_owned())]);
    let loaded = only(&request).load(1).expect("loads");
    let mounts = &loaded.goal.desired.project.services["web"].mounts;
    assert_eq!(mounts[0].source.as_deref(), Some("/home/u/data"));
}

#[test]
fn dot_env_may_name_the_compose_files_and_a_pipe_holds_nobody_up() {
    let folder = Folder::new(&[("web.txt", COMPOSE), (".env", "COMPOSE_FILE=web.txt\n")]);
    let pipe = folder.path().join("pipe.yaml");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a pipe");
    let loaded = folder.load().expect("loads");
    assert_eq!(names(&loaded.files_read, &folder.path()), [".env", "web.txt"]);
}

#[test]
fn a_misspelt_stack_is_refused_and_never_makes_the_compose_file_stand_alone() {
    for (wrong, right) in [("kind: Stac\n", "did you mean `Stack`?"), ("", "known kinds: ")] {
        let text = stack("spec: {}\n").replace("kind: Stack\n", wrong);
        let folder = Folder::new(&[("stack.yaml", &text), ("compose.yaml", COMPOSE)]);
        let Err(refused) = find(&folder.request()) else { panic!("{wrong:?} is refused") };
        assert!(refused.to_string().contains(right), "{refused}");
    }
    let text = stack("spec: {}\n").replace("apiVersion:", "apiVerson:");
    let folder = Folder::new(&[("stack.yaml", &text), ("compose.yaml", COMPOSE)]);
    let Err(refused) = folder.load() else { panic!("it is refused") };
    assert!(refused.to_string().contains("did you mean `apiVersion`?"), "{refused}");
    // A source that stood alone keeps what it had.
    let folder = Folder::new(&[("compose.yaml", COMPOSE)]);
    let source = folder.source();
    source.load(1).expect("stands alone");
    folder.write("stack.yaml", &stack("spec: {}\n").replace("kind: Stack\n", "kind: Stac\n"));
    assert!(source.load(2).is_err());
}
