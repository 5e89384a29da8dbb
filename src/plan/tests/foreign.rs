//! Containers that others made otherwise, and stacks seen under another path.

use std::collections::BTreeMap;

use super::fixture::{World, id, service};
use crate::compose::translate::{self, BindContext, ParentIds};
use crate::compose::types::{Mount, MountKind, Service};
use crate::observed::{ContainerState, Fields};
use crate::plan::SlotStatus;
use crate::plan::memory::{Insisted, Memory};

/// Service web runs as it was before somebody changed the file; nothing is remembered.
fn otherwise() -> World {
    let mut w = World::new([service("web")]).up();
    w.memory = Memory::default();
    let fields = fields(&w);
    w.fault("web", |c| c.fields = fields);
    w.edit("web", |s| s.changed("by the file"));
    w
}

/// The settings that service web's container has now.
fn fields(w: &World) -> Fields {
    let desired = w.desired();
    let context = BindContext {
        api: w.observed.engine.capabilities.api,
        replaces: None,
        env_files: &[],
        images: &BTreeMap::new(),
        seccomp_profiles: &BTreeMap::new(),
        proxy_environment: &BTreeMap::new(),
        hash: &crate::compose::service_hash,
    };
    let (project, web) = (&desired.project, &desired.project.services["web"]);
    let bound = translate::bind(web, project, &ParentIds::default(), "", 1, &context);
    Fields::of_body(bound.expect("translates").body.expose())
}

fn wanted(w: &World) -> String {
    w.desired().hashes["web"].clone()
}

const ADOPTED: &str = "service web/1: held(differs: labels.edit0; made before homeostat came; edit the file or run `homeostat apply` to have it as the file says)";

#[test]
fn what_ran_before_we_came_is_not_recreated_and_what_differs_is_named() {
    let mut w = otherwise();
    w.expect(&[ADOPTED]);
    let (_, report) = w.planned();
    let web = report.slots.values().next().expect("a slot");
    assert_eq!((web.status, web.differs), (SlotStatus::Ready, true));
    assert!(web.message.contains("labels.edit0"), "{}", web.message);
}

#[test]
fn what_somebody_put_there_after_us_is_left_alone_until_the_file_changes() {
    let mut w = otherwise();
    w.memory.applied.insert("web".into(), wanted(&w));
    w.expect(&[&ADOPTED.replace("before homeostat came", "by somebody else since")]);
    w.edit("web", |s| s.changed("again"));
    assert!(w.text().contains("create 659a7fb2af47_p-web-1  (configuration changed)"));
}

#[test]
fn what_we_made_follows_the_file_even_if_nothing_else_is_remembered() {
    let mut w = otherwise();
    w.memory.owned.insert(id("web1"));
    assert!(w.text().contains("create 659a7fb2af47_p-web-1  (configuration changed)"));
}

/// Service web runs as the file says, and nothing is remembered; its image's name was moved.
fn moved_tag() -> World {
    let mut w = World::new([service("web")]).up();
    w.memory = Memory::default();
    w.image("app", "sha256:newer");
    w
}

#[test]
fn a_name_that_was_moved_before_we_came_replaces_nothing() {
    let held = "service web/1: held(differs: image, which has another ID now; made before homeostat came; edit the file or run `homeostat apply` to have it as the file says)";
    let mut w = moved_tag();
    w.expect(&[held]);
    learn(&mut w);
    w.expect(&[held]);
    // The next run knows it too.
    w.memory = Memory { applied: w.memory.applied, ..Memory::default() };
    w.expect(&[held]);
    w.memory.insisted = Insisted::Everything;
    assert!(w.text().contains("create 659a7fb2af47_p-web-1  (image changed)"), "{}", w.text());
    // One that was moved while we looked is an update.
    let mut w = World::new([service("web")]).up();
    w.memory = Memory::default();
    learn(&mut w);
    w.image("app", "sha256:newer");
    assert!(w.text().contains("create 659a7fb2af47_p-web-1  (image changed)"), "{}", w.text());
}

/// Keeps what a plan's report teaches, as the loop does.
fn learn(w: &mut World) {
    let (_, report) = w.planned();
    let desired = w.desired();
    crate::controller::ledger::observe(&mut w.memory, &desired, &w.observed, &report, w.now);
}

#[test]
fn a_network_that_others_made_otherwise_stays_until_the_file_changes_or_a_person_asks() {
    let mut w = World::new([service("web")]).up();
    w.memory = Memory::default();
    let other = |w: &mut World, word: &str| {
        let network = w.project.networks.get_mut("default").expect("is there");
        network.canonical = super::fixture::canonical(serde_json::json!({"labels": {"a": word}}));
    };
    other(&mut w, "b");
    let left = "network p_default: notice(made otherwise by somebody else; used as it is until the file changes, or `homeostat apply` makes it as the file says)";
    w.expect(&[left]);
    learn(&mut w);
    w.expect(&[left]);
    other(&mut w, "c");
    assert!(w.text().contains("network p_default: remove  (configuration changed)"), "an edit");
    other(&mut w, "b");
    w.memory.insisted = Insisted::Services(["web".to_owned()].into());
    assert!(w.text().contains("network p_default: remove  (configuration changed)"), "a word");
    // One that was as wanted follows the file.
    let mut w = World::new([service("web")]).up();
    w.memory = Memory::default();
    learn(&mut w);
    w.expect(&[]);
    other(&mut w, "b");
    assert!(w.text().contains("network p_default: remove  (configuration changed)"), "an edit");
}

/// Service web binds this folder of the host.
fn bound(w: &mut World, source: &str) {
    let mount = Mount {
        kind: MountKind::Bind,
        source: Some(source.into()),
        target: "/data".into(),
        read_only: false,
        canonical: super::fixture::canonical(serde_json::json!({})),
    };
    w.edit("web", |s| Service { mounts: vec![mount], ..s }.changed(source));
    w.project.volumes.clear();
}

#[test]
fn a_bind_source_that_changes_without_an_edit_replaces_nothing_whoever_asks() {
    let mut w = World::new([service("web")]);
    bound(&mut w, "/home/ada/data");
    let mut w = w.up();
    w.fault("web", |c| {
        c.mounts = vec![crate::observed::Mount {
            kind: "bind".into(),
            source: "/home/ada/data".into(),
            destination: "/data".into(),
            rw: true,
            ..Default::default()
        }];
    });
    w.files = "as written".into();
    w.memory = Memory::default();
    learn(&mut w);
    w.expect(&[]);
    w.memory.owned.insert(id("web1"));
    // The home folder is another one.
    bound(&mut w, "/root/data");
    let blocked = "service web/1: blocked(bind source differs: /root/data, was /home/ada/data, and no file was edited; set the variable or the home folder that it follows from, or run `docker compose up -d` if it is meant)";
    w.expect(&[blocked]);
    w.memory.insisted = Insisted::Everything;
    w.expect(&[blocked]);
    // Nobody knows which files somebody else made it from: not even then.
    let mut theirs = w.clone();
    theirs.memory = Memory::insisting();
    theirs.expect(&[blocked]);
    // An edit is meant.
    w.files = "edited".into();
    assert!(w.text().contains("create 659a7fb2af47_p-web-1  (configuration changed)"));
}

#[test]
fn a_persons_word_replaces_what_others_made() {
    let mut w = otherwise();
    w.memory.insisted = Insisted::Services(["other".to_owned()].into());
    w.expect(&[ADOPTED]);
    w.memory.insisted.add(["web".to_owned()]);
    assert!(w.text().contains("create 659a7fb2af47_p-web-1  (configuration changed)"));
}

#[test]
fn what_others_made_is_kept_running_as_they_made_it() {
    let mut w = otherwise();
    w.exit("web", 1, 60);
    w.expect(&["[]     -> #1 service web/1: start  (exited 1)", ADOPTED]);
}

#[test]
fn a_namespace_whose_owner_is_gone_is_no_matter_of_taste() {
    let mut w = World::new([service("vpn"), service("web").in_network_of("vpn")]).up();
    w.memory = Memory::default();
    w.fault("web", |c| c.network_mode = "container:gone".into());
    w.fault("web", |c| c.config_hash = Some("of another parent".into()));
    let text = w.text();
    assert!(
        text.contains("create web1_p-web-1  (shares a namespace with vpn, which is replaced)"),
        "{text}"
    );
}

/// The container was made with the project folder at /home/ada/bot; now it is seen at /stack.
fn moved(w: &mut World) {
    w.project.working_dir = "/stack".into();
    w.fault("web", |c| c.working_dir = Some("/home/ada/bot".into()));
}

const MOVED: &str = "service web/1: blocked(project path differs: /stack, was /home/ada/bot; mount the folder at the same path, set spec.source.hostPath, or run `docker compose up -d` if the project has moved)";

#[test]
fn a_project_seen_under_another_path_recreates_nothing_whoever_made_it_or_asks() {
    let mut w = otherwise();
    moved(&mut w);
    w.expect(&[MOVED]);
    w.memory = Memory::insisting();
    w.memory.owned.insert(id("web1"));
    w.memory.applied.insert("web".into(), "before the edit".into());
    w.expect(&[MOVED]);
    // What doesn't run can't be told from what is left of a project that has moved.
    w.fault("web", |c| c.state = ContainerState::Exited);
    assert!(w.text().contains("create 659a7fb2af47_p-web-1  (configuration changed)"));
}

#[test]
fn under_another_path_nothing_is_made_that_would_bind_an_empty_folder() {
    let bind = |source: &str| Mount {
        kind: MountKind::Bind,
        source: Some(source.into()),
        target: "/data".into(),
        read_only: false,
        canonical: super::fixture::canonical(serde_json::json!({})),
    };
    let mut inside = service("db");
    inside.mounts.push(bind("/stack/data"));
    let mut outside = service("log");
    outside.mounts.push(bind("/var/log"));
    let mut w = World::new([service("web")]).up();
    moved(&mut w);
    for service in [inside, outside] {
        w.project.services.insert(service.name.clone(), service);
    }
    let text = w.text();
    let blocked = MOVED.replace("web/1", "db/1");
    assert!(text.contains(&blocked) && !text.contains("service db/1: create"), "{text}");
    assert!(text.contains("service log/1: create"), "{text}");
}

#[test]
fn homeostat_touches_its_own_container_in_no_way_and_says_what_to_do() {
    let mut w = World::new([service("web"), service("operator")]).up();
    w.memory.own = Some(id("operator1"));
    w.edit("operator", |s| s.changed("by the file"));
    let blocked = "service operator/1: blocked(configuration changed; homeostat runs in this container and doesn't replace itself: run `docker compose up -d operator`)";
    w.expect(&[blocked]);
    // Neither renamed, nor detached from a network that changed, nor too many, nor an orphan.
    w.fault("operator", |c| c.name = "0123456789ab_p-operator-1".into());
    w.expect(&[blocked]);
    let network = w.project.networks.get_mut("default").expect("is there");
    network.canonical = super::fixture::canonical(serde_json::json!({"labels": {"a": "b"}}));
    let text = w.text();
    assert!(
        !text.contains("disconnect") && text.contains("is homeostat's own container"),
        "{text}"
    );
    w.policy.orphans = crate::desired::OrphanPolicy::Remove;
    w.project.services.remove("operator");
    assert!(!w.text().contains("operator1"), "{}", w.text());
}
