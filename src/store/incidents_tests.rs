use std::sync::Arc;

use super::*;
use crate::clock::Clock;
use crate::engine::sim::SimClock;
use crate::recovery::{Budget, Change, Incidents, Sight, What, Word};

fn slot(service: &str) -> Slot {
    Slot { project: "p".into(), service: service.into(), number: 1 }
}

fn journal() -> (Journal, Arc<SimClock>) {
    let clock = Arc::new(SimClock::new(1));
    (Journal::in_memory(clock.clone()).expect("opens"), clock)
}

fn incident(service: &str, now: Now) -> Incident {
    let budget = Budget { attempts: 3, escalate_after: Duration::from_secs(300) };
    let generation = Generation { hash: "hash".into(), image: "image".into() };
    let id = IncidentId::new(&slot(service), now.wall, 0);
    let scenario = Scenario::SingleServiceDown;
    Incident::open(id, slot(service), scenario, budget, generation, "exited 1".into(), now)
}

#[tokio::test(start_paused = true)]
async fn an_incident_comes_back_as_it_was_written() {
    let (mut journal, clock) = journal();
    let mut written = incident("web", clock.now());
    let run = Some(Run { container: "c".into(), started: 7 });
    assert_eq!(written.begin_attempt("start (exited 1)".into(), run, clock.now()).len(), 1);
    written.acknowledge("bob", Some(Duration::from_secs(3600)), clock.now());
    journal.save_incident("E", &written).expect("writes");
    // Once more, as the loop does at each change.
    journal.save_incident("E", &written).expect("writes");
    let recalled = journal.recoveries("E", "p").expect("reads");
    assert_eq!(recalled.incidents, [written.clone()]);
    assert!(journal.recoveries("E", "q").expect("reads").incidents.is_empty());
    assert!(journal.recoveries("F", "p").expect("reads").incidents.is_empty());
    assert_eq!(journal.incidents(None).expect("reads"), [("E".to_owned(), written.clone())]);
    // A clock that jumps back makes nobody wait longer than was said.
    clock.jump_wall(-3_600_000);
    let ack = journal.recoveries("E", "p").expect("reads").incidents[0].ack.clone();
    let until = ack.and_then(|ack| ack.until).expect("a time");
    assert!(until.since(clock.now().mono) <= Duration::from_secs(3600));
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_has_bounds() {
    let (mut journal, clock) = journal();
    for number in 0..110_u64 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut over = incident("web", clock.now());
        over.end(EndReason::Resolved, &number.to_string(), clock.now());
        journal.save_incident("E", &over).expect("writes");
        let run = Run { container: "c".into(), started: 1 };
        journal.note_death("E", &slot("web"), &run).expect("writes");
    }
    let open = incident("db", clock.now());
    journal.save_incident("E", &open).expect("writes");
    let recalled = journal.recoveries("E", "p").expect("reads");
    assert_eq!(recalled.incidents.len(), 101);
    let kept: Vec<&str> =
        recalled.incidents.iter().filter_map(|i| Some(i.end.as_ref()?.by.as_str())).collect();
    assert_eq!((kept.first(), kept.last()), (Some(&"10"), Some(&"109")), "the oldest go");
    assert_eq!(recalled.falls.len(), 5);
    journal.forget_deaths("E", &slot("web")).expect("writes");
    let generation = Generation { hash: "h".into(), image: "i".into() };
    journal.note_proven("E", &slot("web"), &generation).expect("writes");
    let recalled = journal.recoveries("E", "p").expect("reads");
    assert!(recalled.falls.is_empty());
    assert_eq!(recalled.proven, [(slot("web"), generation)].into());
    journal.forget_project("E", "p").expect("forgets");
    assert_eq!(journal.recoveries("E", "p").expect("reads"), Recalled::default());
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_spent_stays_spent_over_a_restart() {
    let (mut journal, clock) = journal();
    let now = clock.now();
    let mut spent = incident("web", now);
    for _ in 0..3 {
        spent.begin_attempt("start".into(), None, now);
        spent.attempts.back_mut().expect("began").ran = true;
    }
    // The third is still open when the process is killed.
    journal.save_incident("E", &spent).expect("writes");
    let recalled = journal.recoveries("E", "p").expect("reads");
    let mut heir = Incidents::recall(recalled, now);
    let sight = Sight {
        slot: slot("web"),
        generation: Generation { hash: "hash".into(), image: "image".into() },
        run: Some(Run { container: "c".into(), started: 9 }),
        death: Some(crate::recovery::Death {
            cause: crate::observed::ExitCause::Spontaneous,
            code: 1,
        }),
        engine_restarts: 0,
        engine_owned: false,
        held: false,
        deadline: None,
    };
    let told = heir.see(&sight, now);
    let stopped = told.iter().any(|c| matches!(c, Change::Incident(_, What::Exhausted(_))));
    assert!(stopped, "{told:?}");
    let id = heir.open().next().expect("open").id.clone();
    assert!(heir.obey(&id, &Word::Resolve, "bob", now).is_some());
}
