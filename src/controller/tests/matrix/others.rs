//! Rows 51, 52 and 54: stacks that others made, change or look at from elsewhere.

use super::*;
use crate::controller::worker::Wish;

fn mode(generation: u64, mode: &str) -> Goal {
    let yaml = format!(
        "services: {{db: {{image: 'app:1'}}, web: {{image: 'app:1', environment: [MODE={mode}]}}}}"
    );
    goal(generation, &yaml)
}

/// Somebody brings the stack up, and leaves.
async fn made_by_somebody(sim: &Arc<SimEngine>, goal: Goal) {
    let memory = Memory::insisting();
    let scene = Scene::with_memory(Arc::clone(sim), goal, memory);
    scene.settle(secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn row_51_the_first_run_over_a_running_stack_recreates_nothing_and_an_edit_counts() {
    let sim = engine(1);
    made_by_somebody(&sim, mode(1, "theirs")).await;
    let (db, web) = (sim.id("p-db-1"), sim.id("p-web-1"));
    let ours = mode(1, "ours");
    let scene = Scene::on(sim, ours.clone());
    scene.settle(secs(10)).await;
    scene.says("service web/1", "differs: environment.MODE; made before homeostat came");
    scene.stays_idle(secs(3600)).await;
    scene.says("service web/1", "made before homeostat came");
    assert_eq!((scene.sim.id("p-db-1"), scene.sim.id("p-web-1")), (db.clone(), web.clone()));
    assert_eq!(scene.status("web"), SlotStatus::Ready);
    // Written down, so that the next run knows an edit from what it found.
    let noted = ("p/web".to_owned(), ours.desired.hashes["web"].clone());
    assert!(scene.announced.applied().contains(&noted));
    // What stops is started as it is.
    scene.sim.crash("p-web-1", 1).expect("runs");
    sleep(ms(100)).await;
    scene.settle(secs(10)).await;
    assert_eq!(scene.sim.id("p-web-1"), web);
    scene.edit(mode(2, "edited"));
    scene.settle(secs(30)).await;
    assert_ne!(scene.sim.id("p-web-1"), web);
    assert_eq!(scene.sim.id("p-db-1"), db);
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_54_what_others_put_there_stays_until_a_person_asks_for_the_files_once() {
    let sim = engine(1);
    made_by_somebody(&sim, mode(1, "theirs")).await;
    let web = sim.id("p-web-1");
    let ours = mode(1, "ours");
    let applied = ours.desired.hashes.clone();
    let scene = Scene::with_memory(sim, ours, Memory { applied, ..Memory::default() });
    scene.settle(secs(10)).await;
    scene.says("service web/1", "differs: environment.MODE; made by somebody else since");
    scene.stays_idle(secs(3600)).await;
    assert_eq!(scene.sim.id("p-web-1"), web);
    scene.tap.wishes.send(Wish::Afresh(Scope::default())).await.expect("it listens");
    scene.settle(secs(30)).await;
    assert_ne!(scene.sim.id("p-web-1"), web);
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_52_under_another_path_nothing_is_recreated_and_the_mend_is_said() {
    let scene = Scene::on(engine(1), mode(1, "first"));
    scene.settle(secs(30)).await;
    let web = scene.sim.id("p-web-1");
    let next = mode(2, "second");
    let mut project = (*next.desired.project).clone();
    project.working_dir = "/elsewhere".into();
    let desired = Desired::new(2, Arc::new(project), &[], BTreeMap::new(), Policy::default())
        .expect("orders");
    scene.edit(Goal { desired: Arc::new(desired), ..next });
    sleep(secs(5)).await;
    scene.says("service web/1", "project path differs: /elsewhere, was /stack; mount the folder");
    scene.stays_quiet(secs(3600)).await;
    assert_eq!(scene.sim.id("p-web-1"), web);
    assert_eq!(scene.status("web"), SlotStatus::Ready);
    // Seen from its own place again, the edit counts.
    scene.edit(mode(3, "second"));
    scene.settle(secs(30)).await;
    assert_ne!(scene.sim.id("p-web-1"), web);
}
