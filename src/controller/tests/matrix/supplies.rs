//! Rows 27, 28 and 30: volumes, ports and images that are gone or taken.

use super::*;
use crate::api::status::ConditionStatus;
use crate::controller::worker::Wish;
use crate::engine::sim::Remote;

const DB: &str = "
services:
  db: {image: 'app:1', volumes: ['data:/data', '/scratch']}
  web: {image: 'app:1', depends_on: [db]}
volumes: {data: {}}
";

/// Everything that the loop said while it was listened to.
struct Heard(Arc<Mutex<BTreeSet<String>>>);

impl Heard {
    fn of(scene: &Scene) -> Self {
        let all = Arc::new(Mutex::new(BTreeSet::new()));
        let (mut views, kept) = (scene.tap.views.clone(), Arc::clone(&all));
        tokio::spawn(async move {
            while views.changed().await.is_ok() {
                let report = views.borrow_and_update().report.to_string();
                kept.lock().expect("no panic").extend(report.lines().map(str::to_owned));
            }
        });
        Self(all)
    }

    fn has(&self, line: &str) -> bool {
        self.0.lock().expect("no panic").contains(line)
    }
}

/// `docker rm -f p-db-1; docker volume rm p_data`.
async fn lose_the_data(scene: &Scene) {
    scene.sim.remove("p-db-1", true).await.expect("goes");
    scene.upright.lose("p_data");
}

const LOST: &str =
    "volume p_data: notice(was removed, and its data with it; db starts with an empty one)";

#[tokio::test(start_paused = true)]
async fn row_27_a_removed_volume_is_no_silent_empty_database() {
    let scene = Scene::new(1, DB);
    scene.settle(secs(20)).await;
    let heard = Heard::of(&scene);
    scene.while_away(lose_the_data(&scene)).await;
    scene.settle(secs(20)).await;
    assert!(heard.has(LOST), "{:#?}", heard.0);
    // It stays in the journal, beside the making of the container.
    let all = scene.announced.all();
    let at = |what: &str| all.iter().rposition(|i| i == what).expect(what);
    let made = at("volume p_data: create (deleted by someone else)");
    assert!(made < at("service db/1: create p-db-1 (deleted by someone else)"), "{all:#?}");
    scene.stays_idle(secs(3600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_27_the_loss_stays_told_until_it_is_old_news() {
    let scene = Scene::new(1, DB);
    scene.settle(secs(20)).await;
    scene.while_away(lose_the_data(&scene)).await;
    scene.settle(secs(20)).await;
    let told = || {
        let stack = scene.told().stacks.remove(0);
        let found = stack.conditions.into_iter().find(|c| c.kind == "DataLost");
        found.expect("always said")
    };
    for _ in 0..9 {
        let lost = told();
        assert_eq!((lost.status, lost.reason.as_str()), (ConditionStatus::True, "VolumeRemoved"));
        assert!(lost.message.starts_with("volume p_data was removed, and its data with it; db"));
        scene.says("volume p_data", "run `homeostat apply` to go on with it");
        assert!(!scene.told().stacks[0].message.is_empty(), "in the list of stacks, too");
        sleep(secs(60)).await;
    }
    // Its service fails for a moment: it isn't well yet.
    scene.sim.kill("p-db-1", 9).expect("dies");
    sleep(secs(540)).await;
    assert_eq!(told().status, ConditionStatus::True);
    sleep(secs(120)).await;
    assert_eq!(told().status, ConditionStatus::False);
    assert_eq!(scene.announced.losses(), [("p_data".to_owned(), true), ("p_data".into(), false)]);
}

#[tokio::test(start_paused = true)]
async fn row_27_a_person_who_applies_has_taken_note_of_the_loss() {
    let scene = Scene::new(1, DB);
    scene.settle(secs(20)).await;
    scene.while_away(lose_the_data(&scene)).await;
    scene.settle(secs(20)).await;
    let lost = || scene.view().report.lost.len();
    let apply = |service: &str| {
        let scope = Scope { services: [service.to_owned()].into() };
        scene.tap.wishes.try_send(Wish::Afresh(scope)).expect("there is room");
    };
    apply("web");
    sleep(secs(1)).await;
    assert_eq!(lost(), 1, "another service's apply says nothing of it");
    apply("db");
    sleep(secs(1)).await;
    assert_eq!(lost(), 0);
}

#[tokio::test(start_paused = true)]
async fn row_27_the_volume_of_an_adopted_stack_is_missed_too() {
    let first = Scene::new(1, DB);
    first.settle(secs(20)).await;
    let sim = Arc::clone(&first.sim);
    drop(first);
    // Somebody else made all of it.
    let scene = Scene::on(sim, goal(1, DB));
    scene.settle(secs(20)).await;
    let heard = Heard::of(&scene);
    scene.while_away(lose_the_data(&scene)).await;
    scene.settle(secs(20)).await;
    assert!(heard.has(LOST), "{:#?}", heard.0);
    scene.stays_idle(secs(3600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_27_a_volume_is_no_victim_of_its_containers() {
    let scene = Scene::new(1, DB);
    scene.settle(secs(20)).await;
    let volumes = || async { scene.sim.volumes().await.expect("a list") };
    let before = volumes().await;
    assert_eq!(before.len(), 2, "a named one and an anonymous one");
    scene.edit(goal(2, &DB.replace("db: {", "db: {labels: {n: '2'}, ")));
    scene.settle(secs(60)).await;
    assert_eq!(volumes().await, before, "both went on in the new container");
    scene.sim.remove("p-db-1", true).await.expect("goes");
    scene.settle(secs(20)).await;
    let after = volumes().await;
    assert!(before.iter().all(|v| after.contains(v)), "{after:?}");
    let containers = scene.containers().await;
    let db = containers.iter().find(|c| c.name == "p-db-1").expect("is there");
    assert!(db.mounts.iter().any(|m| m.name == "p_data" && m.destination == "/data"));
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_27_a_missing_external_volume_is_said_and_never_invented() {
    let yaml = "
services:
  db: {image: 'app:1', volumes: ['data:/data']}
  free: {image: 'app:1'}
volumes: {data: {external: true, name: precious}}
";
    const MISSING: &str = "blocked(external volume precious is missing; create it with `docker volume create precious`)";
    let scene = Scene::new(1, yaml);
    sleep(secs(10)).await;
    scene.says("volume precious", MISSING);
    scene.says("service db/1", MISSING);
    assert_eq!(scene.status("free"), SlotStatus::Ready);
    scene.stays_quiet(secs(3600)).await;
    assert!(scene.sim.volumes().await.expect("a list").is_empty());
    let body = json!({ "Name": "precious" });
    let body = Sensitive::new(body.as_object().cloned().expect("an object"));
    by_hand(&scene.sim, Write::CreateVolume { body }).await;
    sleep(secs(1)).await;
    assert_eq!(scene.status("db"), SlotStatus::Ready, "{}", scene.show());
    scene.stays_idle(secs(600)).await;
}

const PORT: &str = "services: {web: {image: 'app:1', ports: ['8080:80']}, free: {image: 'app:1'}}";

/// Somebody else's container that wants our port.
async fn holder(sim: &SimEngine) {
    let body = json!({
        "Image": IMAGE,
        "HostConfig": { "PortBindings": { "80/tcp": [{ "HostPort": "8080" }] } },
    });
    let body = Sensitive::new(body.as_object().cloned().expect("an object"));
    by_hand(sim, Write::CreateContainer { name: "thief".into(), platform: None, body }).await;
}

const HELD: &str = "blocked(port 8080 is bound by container thief)";

/// It is blocked for an hour, and the holder is left alone; then the port is free.
async fn until_it_is_free(scene: &Scene) {
    sleep(secs(10)).await;
    scene.says("service web/1", HELD);
    assert_eq!(scene.status("free"), SlotStatus::Ready);
    scene.stays_quiet(secs(3600)).await;
    scene.says("service web/1", HELD);
    let thief = scene.containers().await.into_iter().find(|c| c.name == "thief");
    let thief = thief.expect("is left alone");
    assert_eq!((thief.state, thief.restart_count), (ContainerState::Running, 0));
    scene.sim.stop("thief").await.expect("stops");
    sleep(secs(2)).await;
    assert_eq!(scene.status("web"), SlotStatus::Ready, "{}", scene.show());
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_28_a_port_that_another_container_holds_names_it_and_leaves_it_alone() {
    let sim = engine(1);
    holder(&sim).await;
    sim.start("thief").await.expect("starts");
    let scene = Scene::on(sim, goal(1, PORT));
    until_it_is_free(&scene).await;
}

#[tokio::test(start_paused = true)]
async fn row_28_a_port_that_was_taken_meanwhile_is_waited_for_without_a_recreate() {
    let scene = Scene::new(1, PORT);
    scene.settle(secs(10)).await;
    let web = scene.sim.id("p-web-1");
    scene
        .while_away(async {
            holder(&scene.sim).await;
            scene.sim.crash("p-web-1", 1).expect("runs");
            sleep(ms(200)).await;
            scene.sim.start("thief").await.expect("starts");
        })
        .await;
    until_it_is_free(&scene).await;
    assert_eq!(scene.sim.id("p-web-1"), web, "it was made anew for it");
}

#[tokio::test(start_paused = true)]
async fn row_28_a_port_that_a_process_holds_is_named_and_tried_again() {
    let sim = engine(1);
    let words = "driver failed programming external connectivity on endpoint p-web-1: Error starting \
                 userland proxy: listen tcp4 0.0.0.0:8080: bind: address already in use";
    sim.behave("web", Behaviour { start_error: Some(words.into()), ..Behaviour::default() });
    let scene = Scene::on(sim, goal(1, PORT));
    sleep(secs(600)).await;
    scene.says("service web/1", "0.0.0.0:8080: bind: address already in use");
    let web = scene.sim.id("p-web-1");
    scene.sim.forget_writes();
    sleep(secs(3600)).await;
    let tries = scene.sim.writes().len();
    assert!((40..90).contains(&tries) && tries == scene.count("/start", "p-web-1"), "{tries}");
    scene.sim.behave("web", Behaviour::default());
    scene.settle(secs(90)).await;
    assert_eq!(scene.sim.id("p-web-1"), web, "it was made anew for it");
    scene.stays_idle(secs(600)).await;
}

const TWO: &str = "services: {web: {image: 'hub/web:1'}, db: {image: 'app:1'}}";

fn with_image() -> Arc<SimEngine> {
    let sim = engine(1);
    sim.add_image("hub/web:1", "sha256:cccc");
    sim
}

#[tokio::test(start_paused = true)]
async fn row_29_a_full_disk_stops_all_pulls_says_so_and_touches_nothing() {
    const THREE: &str = "
services:
  web: {image: 'hub/web:1'}
  db: {image: 'app:1'}
  more: {image: 'app:1'}
";
    let scene = Scene::on(with_image(), goal(1, THREE));
    scene.settle(secs(10)).await;
    let (made, starts) = (ids(&scene.containers().await), scene.starts());
    let full = "write /var/lib/docker/tmp/GetImageBlob1: no space left on device";
    let remote = |id: &str| Remote { image_id: id.into(), takes: secs(20), fails: None };
    let no_room = |id: &str| Remote { fails: Some(full.into()), ..remote(id) };
    scene.sim.publish("hub/web:2", Some(no_room("sha256:w2")));
    scene.sim.publish("hub/more:1", Some(no_room("sha256:m1")));
    let edited = THREE.replace("hub/web:1", "hub/web:2");
    scene.edit(goal(2, &edited));
    sleep(secs(30)).await;
    // The second one comes while the first has found no room: it isn't even tried.
    let edited = edited.replace("more: {image: 'app:1'}", "more: {image: 'hub/more:1'}");
    let pulls = || scene.sim.calls()["POST /images/create"];
    let before = pulls();
    scene.edit(goal(3, &edited));
    sleep(secs(300)).await;
    assert_eq!(pulls(), before, "{}", scene.show());
    scene.says("image hub/web:2", "the engine's disk has no room for image hub/web:2");
    scene.says("service more/1", "the engine's disk has no room");
    let told = || {
        let stack = scene.told().stacks.remove(0);
        stack.conditions.into_iter().find(|c| c.kind == "DiskFull").expect("always said")
    };
    assert_eq!((told().status, &*told().reason), (ConditionStatus::True, "NoRoomForImages"));
    sleep(secs(3600)).await;
    assert!((4..=14).contains(&(pulls() - before)), "{} pulls in an hour", pulls() - before);
    assert_eq!((ids(&scene.containers().await), scene.starts()), (made, starts));
    // The old version is kept running meanwhile.
    scene.sim.crash("p-web-1", 1).expect("runs");
    sleep(secs(2)).await;
    assert_eq!(scene.status("web"), SlotStatus::Ready, "{}", scene.show());
    // Somebody makes room and says so.
    scene.sim.publish("hub/web:2", Some(remote("sha256:w2")));
    scene.sim.publish("hub/more:1", Some(remote("sha256:m1")));
    scene.tap.wishes.try_send(Wish::Afresh(Scope::default())).expect("there is room");
    scene.settle(secs(120)).await;
    assert_eq!(told().status, ConditionStatus::False);
}

#[tokio::test(start_paused = true)]
async fn row_30_an_update_whose_image_cannot_be_had_keeps_the_old_container_running() {
    let scene = Scene::on(with_image(), goal(1, TWO));
    scene.settle(secs(10)).await;
    let (made, starts) = (ids(&scene.containers().await), scene.starts());
    let remote = Remote { image_id: "sha256:dddd".into(), takes: secs(20), fails: None };
    let down = "Get \"https://hub/v2/\": dial tcp 10.0.0.1:443: connect: connection refused";
    let unreachable = Remote { takes: ms(0), fails: Some(down.into()), ..remote.clone() };
    scene.sim.publish("hub/web:2", Some(unreachable));
    scene.edit(goal(2, &TWO.replace("hub/web:1", "hub/web:2")));
    sleep(secs(600)).await;
    scene.says("service web/1", "image hub/web:2 can't be pulled");
    scene.says("service web/1", "connection refused");
    scene.says("image hub/web:2", "backoff(");
    let pulls = || scene.sim.calls()["POST /images/create"];
    let before = pulls();
    scene.sim.forget_writes();
    sleep(secs(3600)).await;
    let tries = pulls() - before;
    assert!((40..90).contains(&tries), "{tries} pulls in an hour");
    assert!(scene.sim.writes().is_empty(), "{}", scene.show());
    assert_eq!((ids(&scene.containers().await), scene.starts()), (made.clone(), starts));
    assert_eq!(scene.status("web"), SlotStatus::Ready);
    // The old one is even started again.
    scene.sim.crash("p-web-1", 1).expect("runs");
    sleep(secs(2)).await;
    assert_eq!(scene.status("web"), SlotStatus::Ready, "{}", scene.show());
    assert_eq!(ids(&scene.containers().await), made);
    // The registry is back.
    scene.sim.publish("hub/web:2", Some(remote));
    scene.settle(secs(150)).await;
    let containers = scene.containers().await;
    let web = containers.iter().find(|c| c.name == "p-web-1").expect("is there");
    assert_eq!((web.image_id.as_str(), containers.len()), ("sha256:dddd", 2));
    scene.stays_idle(secs(3600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_30_an_image_that_vanished_is_missed_only_by_what_must_be_made_anew() {
    let scene = Scene::on(with_image(), goal(1, TWO));
    scene.settle(secs(10)).await;
    let made = ids(&scene.containers().await);
    scene.sim.remove_image("hub/web:1");
    scene.stays_idle(secs(3600)).await;
    scene.sim.crash("p-web-1", 1).expect("runs");
    sleep(secs(1)).await;
    scene.settle(secs(10)).await;
    assert_eq!(ids(&scene.containers().await), made);
    scene.sim.remove("p-web-1", true).await.expect("goes");
    sleep(secs(600)).await;
    scene.says("service web/1", "image hub/web:1 can't be pulled");
    scene.says("service web/1", "manifest unknown");
    assert_eq!(scene.status("db"), SlotStatus::Ready);
    scene.sim.add_image("hub/web:1", "sha256:cccc");
    scene.settle(secs(90)).await;
    scene.stays_idle(secs(600)).await;
}
