//! What a restart of the daemon remembers.

use super::*;
use crate::clock::Timestamp;
use crate::controller::recall;
use crate::plan::hold::{Hold, Holds, On};
use crate::plan::update::{Pin, Update};
use crate::store::{Handle as Store, Intent, Journal};

const YAML: &str = "
services:
  db: {image: 'app:1', volumes: ['data:/data']}
volumes: {data: {}}
";

#[tokio::test(start_paused = true)]
async fn what_is_made_is_written_down_with_its_hash() {
    let goal = goal(1, YAML);
    let hash = goal.desired.hashes["db"].clone();
    let scene = Scene::on(engine(1), goal);
    scene.settle(secs(30)).await;
    assert!(scene.announced.applied().contains(&("p/db".to_owned(), hash)));
}

// Not on paused time: the journal has a thread of its own.
#[tokio::test]
async fn the_loss_of_a_volume_is_told_after_a_restart_too() {
    let sim = engine(1);
    let clock = sim.clock();
    let (journal, _keeper) =
        Store::spawn(Journal::in_memory(clock.clone()).expect("opens")).expect("thread");
    let goal = goal(1, YAML);
    let slot = Slot { project: "p".into(), service: "db".into(), number: 1 };
    journal
        .set_applied("E", &slot.project, "db", &goal.desired.hashes["db"])
        .await
        .expect("writes");

    let memory = recall::memory(&journal, "E", &goal, &*clock).await;
    assert_eq!(memory.applied, goal.desired.hashes);
    let told = "volume p_data: notice(was removed, and its data with it; db starts with an empty";
    let (plan, report) = look(&sim, &goal, &memory).await;
    assert!(report.contains(told) && plan.contains("deleted by someone else"), "{plan}{report}");
    let (plan, report) = look(&sim, &goal, &Memory::default()).await;
    assert!(report.is_empty() && !plan.contains("deleted by someone else"), "{plan}{report}");
}

async fn look(sim: &Arc<SimEngine>, goal: &Goal, memory: &Memory) -> (String, String) {
    let engine: DynEngine = Arc::clone(sim) as DynEngine;
    let clock = sim.clock();
    let seen = crate::controller::snapshot::read_once(&engine, &*clock, ["p".to_owned()].into())
        .await
        .expect("the engine answers");
    let now = crate::clock::Clock::now(&*clock);
    let (plan, report) = crate::plan::plan(&goal.desired, &seen.observed, memory, &goal.scope, now);
    (plan.to_string(), report.to_string())
}

// Not on paused time: the journal has a thread of its own.
#[tokio::test]
async fn a_container_that_was_asked_for_unheard_stays_ours_over_any_number_of_restarts() {
    let sim = engine(1);
    let clock = sim.clock();
    let (journal, _keeper) =
        Store::spawn(Journal::in_memory(clock.clone()).expect("opens")).expect("thread");
    let goal = goal(1, YAML);
    let slot = Slot { project: "p".into(), service: "db".into(), number: 1 };
    let asked = |name: &str| Intent {
        engine: "E".into(),
        project: "p".into(),
        service: "db".into(),
        number: 1,
        kind: "container".into(),
        name: slot.to_string(),
        op: format!("create {name}"),
        ..Intent::default()
    };
    for name in ["p-db-1", "0123456789ab_p-db-1"] {
        journal.begin(asked(name)).await.expect("writes");
    }
    let names: BTreeSet<String> = ["p-db-1".into(), "0123456789ab_p-db-1".into()].into();
    for _ in 0..3 {
        let memory = recall::memory(&journal, "E", &goal, &*clock).await;
        assert_eq!(memory.unanswered[&slot], names);
    }
    let found = Some(("0123456789ab_p-db-1".to_owned(), "the-id".to_owned()));
    journal.answer_creates("E", slot.clone(), found).await.expect("writes");
    let memory = recall::memory(&journal, "E", &goal, &*clock).await;
    assert_eq!(memory.unanswered[&slot], ["p-db-1".to_owned()].into());
    assert_eq!(memory.owned, [ContainerId("the-id".into())].into());
    journal.answer_creates("E", slot.clone(), None).await.expect("writes");
    let memory = recall::memory(&journal, "E", &goal, &*clock).await;
    assert!(memory.unanswered.is_empty());
    assert_eq!(memory.owned, [ContainerId("the-id".into())].into());
}

// Not on paused time: the journal has a thread of its own.
#[tokio::test]
async fn what_is_known_is_written_down_in_full_where_the_journal_began_anew() {
    let sim = engine(1);
    let clock = sim.clock();
    let (journal, _keeper) =
        Store::spawn(Journal::in_memory(clock.clone()).expect("opens")).expect("thread");
    let goal = goal(1, YAML);
    let slot = Slot { project: "p".into(), service: "db".into(), number: 1 };
    let id = |id: &str| ContainerId(id.into());
    let mut known = Memory {
        owned: [id("new")].into(),
        applied: [("db".to_owned(), "hash".to_owned())].into(),
        jobs: [("init".to_owned(), ("hash".to_owned(), "image".to_owned()))].into(),
        ..Memory::default()
    };
    let update = Update {
        kept: id("old"),
        image: "image1".into(),
        hash: "hash1".into(),
        new: Some(id("new")),
        ..Update::default()
    };
    known.updates.insert(slot.clone(), update);
    let pin = Pin { edition: "hash2".into(), why: "never ready".into(), ..Pin::default() };
    known.pins.insert("db".into(), pin);
    known.holds = Holds::recalled([(On::Stack, Hold::pause("ann", Timestamp(5)))]);
    let now = crate::clock::Clock::now(&*clock);
    for _ in 0..2 {
        journal.remember("E", "p", recall::rows(&known, "p", now)).await.expect("writes");
        assert_eq!(recall::memory(&journal, "E", &goal, &*clock).await, known);
    }
    known.updates.clear();
    known.pins.clear();
    known.holds = Holds::default();
    journal.remember("E", "p", recall::rows(&known, "p", now)).await.expect("writes");
    assert_eq!(recall::memory(&journal, "E", &goal, &*clock).await, known, "what is over goes");
}
