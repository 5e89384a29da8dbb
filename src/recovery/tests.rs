//! What holds whatever happens, in whatever order and at whatever time.

mod property;

use std::time::Duration;

use super::*;
use crate::clock::{Mono, Now, Timestamp};
use crate::observed::{ExitCause, Slot};

const DEADLINE: Duration = Duration::from_secs(60);

fn slot(service: &str) -> Slot {
    Slot { project: "p".into(), service: service.into(), number: 1 }
}

/// One service, or several, and the clocks.
#[derive(Clone)]
struct Table {
    incidents: Incidents,
    sights: Vec<Sight>,
    ready: Vec<bool>,
    now: Now,
    runs: i64,
    told: Vec<Change>,
    total: usize,
}

impl Table {
    /// Services that have been Ready for an hour.
    fn up(services: &[&str]) -> Self {
        let mut table = Self::down(services);
        for at in 0..services.len() {
            table.starts(at);
            table.becomes(at, true);
        }
        table.passes(3600);
        table.told.clear();
        table
    }

    /// Services that have never run.
    fn down(services: &[&str]) -> Self {
        let sight = |service: &&str| Sight {
            slot: slot(service),
            generation: Generation { hash: "one".into(), image: "image".into() },
            run: None,
            death: None,
            engine_restarts: 0,
            engine_owned: false,
            held: false,
            deadline: Some(DEADLINE),
        };
        Self {
            incidents: Incidents::default(),
            sights: services.iter().map(sight).collect(),
            ready: vec![false; services.len()],
            now: Now { wall: Timestamp(1_000_000_000_000), mono: Mono(Duration::from_secs(5000)) },
            runs: 0,
            told: Vec::new(),
            total: services.len().max(10),
        }
    }

    /// A turn of the loop.
    fn turn(&mut self) {
        let needs = |_: &str| Vec::new();
        for sight in &self.sights {
            self.told.extend(self.incidents.see(sight, self.now));
        }
        self.told.extend(self.incidents.tick(&needs, self.total, self.now));
        for (sight, ready) in self.sights.iter().zip(&self.ready) {
            let standing = Standing { ready: *ready, ill: false };
            self.told.extend(self.incidents.stands(&sight.slot, standing, self.now));
        }
        self.told.extend(self.incidents.tick(&needs, self.total, self.now));
    }

    fn passes(&mut self, seconds: u64) {
        let mut left = seconds;
        while left > 0 {
            let step = left.min(30);
            left -= step;
            self.now.mono = self.now.mono.after(Duration::from_secs(step));
            self.now.wall.0 += i64::try_from(step).expect("small") * 1000;
            self.turn();
        }
    }

    fn starts(&mut self, at: usize) {
        self.runs += 1;
        self.sights[at].run = Some(Run { container: format!("c{at}"), started: self.runs });
        self.sights[at].death = None;
        self.ready[at] = false;
        self.turn();
    }

    fn becomes(&mut self, at: usize, ready: bool) {
        self.ready[at] = ready;
        self.turn();
    }

    fn dies(&mut self, at: usize, cause: ExitCause) {
        if self.sights[at].run.is_some() && self.sights[at].death.is_none() {
            self.sights[at].death = Some(Death { cause, code: 1 });
            self.ready[at] = false;
            self.turn();
        }
    }

    /// The loop recovers a service that is down, if that is allowed.
    fn recover(&mut self, at: usize) -> bool {
        let slot = self.sights[at].slot.clone();
        let allowed = match self.incidents.allowance(&slot) {
            Allowance::Uncounted | Allowance::Attempt { .. } => true,
            Allowance::Judging { .. } | Allowance::Exhausted { .. } => false,
        };
        if allowed && self.sights[at].death.is_some() {
            self.told.extend(self.incidents.begin_attempt(&slot, "start", self.now));
            self.told.extend(self.incidents.step_ended(&slot, StepEnd::Started, self.now));
            self.starts(at);
        }
        allowed
    }

    fn incident(&self, at: usize) -> &Incident {
        self.incidents.of(&self.sights[at].slot).expect("an incident is open")
    }

    fn count(&self, is: impl Fn(&What) -> bool) -> usize {
        let whats = self.told.iter().filter(|c| matches!(c, Change::Incident(_, w) if is(w)));
        whats.count()
    }

    fn opened(&self) -> usize {
        self.count(|what| *what == What::Opened)
    }
}

#[test]
fn six_deaths_in_a_row_open_one_incident_and_stop_at_the_budget() {
    let mut t = Table::up(&["web"]);
    for _ in 0..6 {
        t.dies(0, ExitCause::Spontaneous);
        if t.recover(0) {
            t.becomes(0, true);
        }
    }
    assert_eq!(t.opened(), 1);
    assert_eq!(t.count(|w| *w == What::AttemptBegan), 3);
    assert_eq!(t.count(|w| *w == What::Exhausted(Stop::Budget)), 1);
    assert_eq!(t.count(|w| *w == What::Escalated { silenced: false }), 1);
    assert_eq!((t.incident(0).spent, t.incident(0).stopped), (3, Some(Stop::Budget)));
}

#[test]
fn deaths_by_somebody_else_and_ends_of_the_engine_open_nothing_and_set_no_brake() {
    use ExitCause::{ApiKill, ApiStop, Engine, Removed, Unknown};
    for cause in [ApiStop, ApiKill, Removed, Engine, Unknown] {
        let mut t = Table::up(&["a", "b"]);
        t.total = 2;
        for _ in 0..8 {
            for at in 0..2 {
                t.dies(at, cause);
            }
            assert_eq!(t.incidents.brake(), None);
            for at in 0..2 {
                assert!(t.recover(at));
                t.becomes(at, true);
            }
        }
        assert_eq!(t.opened(), 0, "{cause:?}");
    }
}

#[test]
fn a_rollout_opens_nothing_before_its_start_deadline_and_one_after() {
    let mut t = Table::down(&["web"]);
    t.starts(0);
    t.dies(0, ExitCause::Spontaneous);
    assert!(t.recover(0));
    t.passes(30);
    assert_eq!(t.opened(), 0);
    t.passes(30);
    assert_eq!(t.opened(), 1);
    assert!(t.incident(0).cause.contains("never ready"));
}

#[test]
fn an_attempt_that_stays_ready_for_a_minute_does_not_count() {
    let mut t = Table::up(&["web"]);
    t.dies(0, ExitCause::Spontaneous);
    t.recover(0);
    t.becomes(0, true);
    t.passes(59);
    t.dies(0, ExitCause::Spontaneous);
    assert_eq!(t.incident(0).spent, 1, "it died within a minute");
    t.recover(0);
    t.becomes(0, true);
    t.passes(60);
    assert_eq!(t.count(|w| *w == What::AttemptEnded(AttemptResult::Succeeded)), 1);
    t.dies(0, ExitCause::Spontaneous);
    assert_eq!((t.incident(0).spent, t.opened()), (1, 1));
}

#[test]
fn an_attempt_that_is_not_ready_in_time_counts() {
    let mut t = Table::up(&["web"]);
    t.dies(0, ExitCause::Spontaneous);
    t.recover(0);
    t.passes(30);
    assert_eq!(t.incident(0).spent, 0);
    t.passes(30);
    assert_eq!(t.incident(0).spent, 1);
}

#[test]
fn an_attempt_that_somebody_else_ends_does_not_count() {
    let mut t = Table::up(&["web"]);
    t.dies(0, ExitCause::Spontaneous);
    t.recover(0);
    t.dies(0, ExitCause::ApiKill);
    assert_eq!(t.incident(0).spent, 0);
    assert_eq!(t.count(|w| *w == What::AttemptEnded(AttemptResult::Withdrawn)), 1);
}

#[test]
fn the_counter_goes_only_after_ten_minutes_of_ready() {
    let mut t = Table::up(&["web"]);
    t.dies(0, ExitCause::Spontaneous);
    t.recover(0);
    t.becomes(0, true);
    t.dies(0, ExitCause::Spontaneous);
    t.recover(0);
    t.becomes(0, true);
    t.passes(570);
    assert_eq!(t.incident(0).spent, 1);
    t.becomes(0, false);
    t.becomes(0, true);
    t.passes(570);
    assert_eq!(t.incident(0).spent, 1, "it was not Ready all the time");
    t.passes(30);
    assert!(t.incidents.of(&slot("web")).is_none());
}

#[test]
fn a_loop_that_the_engine_keeps_up_is_one_incident_at_once_exhausted() {
    let mut t = Table::up(&["web"]);
    t.sights[0].engine_owned = true;
    for restarts in 1..=4 {
        t.sights[0].engine_restarts = restarts;
        t.starts(0);
        t.passes(30);
        assert_eq!(t.opened(), 0, "the engine mends it");
    }
    t.sights[0].engine_restarts = 5;
    t.starts(0);
    assert_eq!((t.opened(), t.incident(0).stopped), (1, Some(Stop::CrashLoop)));
    assert_eq!(t.count(|w| matches!(w, What::Escalated { .. })), 1);
}

#[test]
fn a_slow_loop_whose_attempts_all_succeed_stops_too() {
    let mut t = Table::up(&["web"]);
    for _ in 0..5 {
        assert!(t.recover(0));
        t.becomes(0, true);
        t.passes(90);
        t.dies(0, ExitCause::Spontaneous);
    }
    assert_eq!((t.incident(0).spent, t.incident(0).stopped), (0, Some(Stop::CrashLoop)));
}

/// A service whose budget is spent.
fn spent() -> Table {
    let mut t = Table::up(&["web"]);
    for _ in 0..4 {
        t.dies(0, ExitCause::Spontaneous);
        t.recover(0);
    }
    assert_eq!(t.incident(0).stopped, Some(Stop::Budget));
    assert!(!t.recover(0));
    t.told.clear();
    t
}

#[test]
fn an_exhausted_incident_ends_by_ready_for_ten_minutes_by_anyones_doing() {
    let mut t = spent();
    t.passes(7200);
    assert!(t.incident(0).is_open(), "time alone ends nothing");
    t.starts(0);
    t.becomes(0, true);
    t.passes(570);
    assert!(t.incident(0).is_open());
    t.passes(30);
    assert!(t.incidents.of(&slot("web")).is_none());
}

#[test]
fn an_exhausted_incident_ends_by_another_hash_or_image() {
    for generation in [("two", "image"), ("one", "other")] {
        let mut t = spent();
        let (hash, image) = generation;
        t.sights[0].generation = Generation { hash: hash.into(), image: image.into() };
        t.turn();
        assert!(t.incidents.of(&slot("web")).is_none());
        assert_eq!(t.count(|w| *w == What::Ended), 1);
        t.starts(0);
        t.becomes(0, true);
        t.dies(0, ExitCause::Spontaneous);
        assert_eq!((t.opened(), t.incident(0).spent), (1, 0), "a new incident, a new budget");
    }
    let mut t = spent();
    t.sights[0].generation.image.clear();
    t.turn();
    assert!(t.incident(0).is_open(), "an image that is gone is no other image");
}

#[test]
fn a_person_gives_one_fresh_budget_or_calls_it_over() {
    let mut t = spent();
    let id = t.incident(0).id.clone();
    let told = t.incidents.obey(&id, &Word::Retry, "bob", t.now).expect("it is open");
    assert!(matches!(&told[0], Change::Incident(_, What::Retried(by)) if by == "bob"));
    for _ in 0..3 {
        assert!(t.recover(0));
        t.dies(0, ExitCause::Spontaneous);
    }
    assert!(!t.recover(0), "one budget, no more");
    assert_eq!(t.opened(), 0);
    t.incidents.obey(&id, &Word::Resolve, "bob", t.now).expect("it is open");
    assert!(t.incidents.obey(&id, &Word::Resolve, "bob", t.now).is_none());
    assert!(t.recover(0));
}

#[test]
fn taking_note_silences_for_its_time_and_changes_no_recovery() {
    let mut t = Table::up(&["web"]);
    t.dies(0, ExitCause::Spontaneous);
    let id = t.incident(0).id.clone();
    let ack = Word::Ack(Some(Duration::from_secs(4 * 3600)));
    t.incidents.obey(&id, &ack, "bob", t.now).expect("it is open");
    for _ in 0..3 {
        assert!(t.recover(0));
        t.dies(0, ExitCause::Spontaneous);
    }
    assert_eq!(t.count(|w| *w == What::Escalated { silenced: true }), 1);
    assert!(t.incident(0).is_silenced(t.now.mono));
    t.passes(4 * 3600);
    assert!(!t.incident(0).is_silenced(t.now.mono));
}

#[test]
fn a_hold_ends_the_attempt_and_what_happens_under_it_says_nothing() {
    let mut t = Table::up(&["web"]);
    t.sights[0].held = true;
    for _ in 0..6 {
        t.dies(0, ExitCause::Spontaneous);
        t.starts(0);
    }
    t.dies(0, ExitCause::Spontaneous);
    t.sights[0].held = false;
    t.passes(600);
    assert_eq!(t.opened(), 0);
}

#[test]
fn two_with_different_roots_are_a_larger_trouble_and_two_with_one_root_are_not() {
    let mut t = Table::up(&["api", "db"]);
    t.dies(0, ExitCause::Spontaneous);
    assert_eq!(t.incident(0).scenario, Scenario::SingleServiceDown);
    let mut one = t.clone();
    t.dies(1, ExitCause::Spontaneous);
    for at in 0..2 {
        let incident = t.incident(at);
        assert_eq!(incident.scenario, Scenario::MultipleServicesDown);
        assert_eq!((incident.budget, incident.root.as_str()), (2, incident.slot.service.as_str()));
    }
    one.sights[1].death = Some(Death { cause: ExitCause::Spontaneous, code: 1 });
    let needs = |name: &str| match name {
        "api" => vec!["db".to_owned()],
        _ => Vec::new(),
    };
    for sight in &one.sights {
        one.incidents.see(sight, one.now);
    }
    one.incidents.stands(&slot("db"), Standing::default(), one.now);
    one.incidents.tick(&needs, 10, one.now);
    for at in 0..2 {
        let incident = one.incident(at);
        assert_eq!(
            (incident.scenario, incident.root.as_str()),
            (Scenario::SingleServiceDown, "db")
        );
    }
}

#[test]
fn a_person_is_told_once_after_the_time_of_the_scenario() {
    let mut t = Table::up(&["web"]);
    t.dies(0, ExitCause::Spontaneous);
    t.passes(270);
    assert_eq!(t.count(|w| matches!(w, What::Escalated { .. })), 0);
    t.passes(60);
    assert_eq!(t.count(|w| matches!(w, What::Escalated { .. })), 1);
    t.passes(7200);
    assert_eq!(t.count(|w| matches!(w, What::Escalated { .. })), 1);
}

#[test]
fn row_36_a_jump_of_the_wall_clock_changes_nothing() {
    for jump in [-3_600_000, 3_600_000] {
        let mut t = Table::up(&["web"]);
        let mut plain = t.clone();
        t.now.wall.0 += jump;
        for t in [&mut t, &mut plain] {
            t.dies(0, ExitCause::Spontaneous);
            t.recover(0);
            t.becomes(0, true);
            t.passes(300);
            t.now.wall.0 -= jump / 2;
            t.passes(600);
        }
        let whats = |t: &Table| -> Vec<What> {
            let whats = t.told.iter().filter_map(|c| match c {
                Change::Incident(_, what) => Some(what.clone()),
                _ => None,
            });
            whats.collect()
        };
        assert_eq!(whats(&t), whats(&plain));
    }
}

#[test]
fn what_the_journal_remembers_counts_nothing_twice() {
    let mut t = Table::up(&["web"]);
    t.dies(0, ExitCause::Spontaneous);
    let id = slot("web");
    let told = t.incidents.begin_attempt(&id, "start", t.now);
    let saved = |told: &[Change]| match told.last() {
        Some(Change::Incident(incident, _)) => (**incident).clone(),
        other => panic!("{other:?}"),
    };
    let run = t.sights[0].run.clone().expect("ran");
    let generation = t.sights[0].generation.clone();
    let recalled = Recalled {
        incidents: vec![saved(&told)],
        proven: [(id.clone(), generation)].into(),
        falls: vec![(id.clone(), run, Duration::ZERO)],
    };
    // Killed before the start was sent: the attempt is void, the death is known.
    let mut heir = Table { incidents: Incidents::recall(recalled.clone(), t.now), ..t.clone() };
    heir.told.clear();
    heir.turn();
    assert!(heir.told.is_empty(), "{:?}", heir.told);
    assert_eq!(heir.incidents.allowance(&id), Allowance::Attempt { number: 1, budget: 3 });
    // Killed after it: the run is the attempt's, and so is its death.
    let mut heir = Table { incidents: Incidents::recall(recalled, t.now), ..t.clone() };
    heir.starts(0);
    heir.dies(0, ExitCause::Spontaneous);
    assert_eq!(heir.incident(0).spent, 1);
    assert_eq!(heir.incidents.allowance(&id), Allowance::Attempt { number: 2, budget: 3 });
}
