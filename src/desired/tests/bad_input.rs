//! What a person reads when a file is wrong.

use super::{COMPOSE, Folder, stack};

/// The messages for a Stack beside the usual Compose file.
fn said(text: &str) -> String {
    let folder = Folder::new(&[("stack.yaml", text), ("compose.yaml", COMPOSE)]);
    let error = folder.load().expect_err("a mistake");
    assert!(!error.source_gone);
    folder.plain(&error.to_string())
}

#[test]
fn all_mistakes_of_shape_are_told_at_once() {
    let text = stack(
        "spec:\n  source: {compose: {filez: [a]}}\n  recoveryOrdr: [valkey]\n  services:\n    \
         valkey: {driver: valky, probee: {}}\n    chromadb: [chroma]\n  policy:\n    \
         readiness: either\n    orphans: {}\n",
    );
    insta::assert_snapshot!(said(&text));
}

#[test]
fn a_value_that_cannot_be_read_has_its_place() {
    let text = stack("spec:\n  services:\n    valkey:\n      driver: valkey\n      interval: 10\n");
    insta::assert_snapshot!(said(&text));
}

#[test]
fn a_tagged_choice_takes_exactly_one() {
    let text = stack(
        "spec:\n  services:\n    valkey:\n      probe: {http: {port: 80}, tcp: {port: 80}}\n    \
         chromadb:\n      probe: {http: {path: /}}\n",
    );
    insta::assert_snapshot!(said(&text));
}

#[test]
fn names_are_dns_labels() {
    let text = "apiVersion: homeostat.dev/v1alpha1\nkind: Stack\nmetadata: {name: My_Bot}\n";
    insta::assert_snapshot!(said(text));
}

#[test]
fn a_misspelt_version_and_a_missing_name() {
    let text = "apiVersion: homeostat.dev/v1\nkind: Stack\nmetadata: {}\n";
    insta::assert_snapshot!(said(text));
}

#[test]
fn invalid_yaml_and_duplicate_keys() {
    insta::assert_snapshot!("invalid_yaml", said(&stack("spec:\n  services: {valkey: [}\n")));
    let twice = stack("spec:\n  recoveryOrder: []\n  recoveryOrder: []\n");
    insta::assert_snapshot!("duplicate_key", said(&twice));
}

#[test]
fn services_that_do_not_exist() {
    let text = stack(
        "spec:\n  services:\n    chromdb: {driver: chroma}\n    valkey: {driver: valkey, models: \
         [a]}\n  recoveryOrder: [valkey, chroma-db]\n",
    );
    insta::assert_snapshot!(said(&text));
}

#[test]
fn a_second_document_has_its_own_lines() {
    let text = format!(
        "# ours\n---\n{}---\n{}",
        "apiVersion: homeostat.dev/v1alpha1\nkind: Playbok\n",
        stack("specs: {}\n")
    );
    let folder = Folder::new(&[("stack.yaml", &text), ("compose.yaml", COMPOSE)]);
    let found = super::find(&folder.request()).expect("finds the Stack");
    let mut all: Vec<String> = found.findings.iter().map(ToString::to_string).collect();
    all.push(found.sources[0].load(1).expect_err("a mistake").to_string());
    insta::assert_snapshot!(folder.plain(&all.join("\n")));
}

#[test]
fn a_disabled_healthcheck_cannot_be_waited_for() {
    let compose = "\
services:
  web: {image: w, depends_on: {db: {condition: service_healthy}, cache: {condition: service_healthy}}}
  db: {image: d, healthcheck: {disable: true}}
  cache: {image: c}
";
    let folder = Folder::new(&[("compose.yaml", compose)]);
    let error = folder.load().expect_err("a mistake");
    insta::assert_snapshot!(folder.plain(&error.to_string()));

    folder.write("stack.yaml", &stack("spec: {services: {db: {probe: {tcp: {port: 1}}}}}\n"));
    let loaded = folder.load().expect("a probe answers for it");
    // With the engine at hand its image tells, and a plan says where it is so.
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let all = crate::desired::validate(&[folder.path()], &folder.path(), &Default::default());
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("image_healthcheck", folder.plain(&all.join("\n")));
}

#[test]
fn what_is_not_supported_yet_is_told() {
    let chart = stack("spec: {source: {chart: {path: ../chart}}}\n");
    insta::assert_snapshot!("chart", said(&chart));
    let text = format!(
        "{}---\napiVersion: homeostat.dev/v1alpha1\nkind: GpuPolicy\nmetadata: {{name: gpu}}\n",
        stack(
            "spec:\n  policy: {manualStop: Revert, minHealthy: 50%, rollback: Stateless}\n  \
             services: {valkey: {ephemeral: true, gpu: required}, chromadb: {ephemeral: false}}\n"
        )
    );
    let folder = Folder::new(&[("stack.yaml", &text), ("compose.yaml", COMPOSE)]);
    let all = crate::desired::validate(&[folder.path()], &folder.path(), &Default::default());
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("unsupported", folder.plain(&all.join("\n")));
}

#[test]
fn validate_reports_every_path() {
    let folder = Folder::new(&[
        ("good/compose.yaml", COMPOSE),
        ("bad/compose.yaml", "services:\n  web: {image: a, prots: []}\n"),
        ("stack.yaml", &stack("spec: {polcy: {}}\n")),
    ]);
    let paths = ["good", "bad/compose.yaml", "stack.yaml", "nowhere"].map(Into::into);
    let all = crate::desired::validate(&paths, &folder.path(), &Default::default());
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(folder.plain(&all.join("\n")));
}

#[test]
fn values_of_variables_are_not_shown() {
    let said = said(&stack("spec:\n  source: {env: {KEY: hunter2}, inherit: true}\n"));
    assert!(said.contains("5:33: unknown key `inherit`"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_recovery_order_against_the_dependencies_names_both_lines() {
    let compose = "services:\n  a:\n    image: x\n    depends_on:\n      - b\n  b:\n    image: x\n    depends_on:\n      c: {condition: service_started}\n  c: {image: x}\n";
    let text = stack("spec:\n  recoveryOrder:\n    - b\n    - a\n    - c\n");
    let folder = Folder::new(&[("stack.yaml", &text), ("compose.yaml", compose)]);
    let loaded = folder.load().expect("it is only a warning");
    let said: Vec<String> = loaded.warnings.iter().map(|w| folder.plain(&w.to_string())).collect();
    let all = said.join("\n");
    for words in [
        "recoveryOrder puts b before a (/bot/stack.yaml:6), but",
        "recoveryOrder puts b before c (/bot/stack.yaml:6), but b depends on c (/bot/compose.yaml:9)",
        "recoveryOrder puts a before c (/bot/stack.yaml:7), but a depends on b (/bot/compose.yaml:5), and that on c",
    ] {
        assert_eq!(all.contains(words), !words.ends_with("but"), "{words}:\n{all}");
    }
}

#[test]
fn mistakes_that_do_not_hide_one_another_are_told_at_once() {
    let policy = "---\napiVersion: homeostat.dev/v1alpha1\nkind: EscalationPolicy\nmetadata: {name: p}\nspec: {scenario: {}}\n";
    let good = stack("spec: {source: {compose: {files: [a.yaml, b.yaml, c.yaml]}}}\n");
    let folder = Folder::new(&[
        ("stack.yaml", &format!("{good}{policy}")),
        ("a.yaml", "services: {web: {imag: x}}\n"),
        ("b.yaml", "services: {web: [\n"),
        ("c.yaml", "services: {web: {image: x, image: y}}\n"),
    ]);
    let error = folder.load().expect_err("mistakes").to_string();
    for part in ["`scenario`", "a.yaml:1", "b.yaml:", "c.yaml:1"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let folder = Folder::new(&[
        ("stack.yaml", &format!("{}{policy}", stack("spec: {bogus: 1}\n"))),
        ("compose.yaml", "services: {web: {imag: x}}\n"),
    ]);
    let error = folder.load().expect_err("mistakes").to_string();
    for part in ["`bogus`", "`scenario`", "`imag`"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}
