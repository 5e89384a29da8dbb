//! What a plan makes of budgets and of the brake.

use super::fixture::{World, service, slot};
use crate::clock::Mono;
use crate::observed::ExitCause;
use crate::plan::check::{Violation, check};
use crate::plan::hold::{Hold, Holds, On};
use crate::plan::{Cause, Op, Plan, Resource, Step, StepId, Target};
use crate::recovery::{Death, Generation, Run, Sight, Standing};

/// Services that had been ready fall together and fail `attempts` times.
fn fallen(services: &[&str], attempts: u32) -> World {
    let all = ["a", "b", "c", "d", "e"].map(service);
    let mut w = World::new(all).up();
    w.now.mono = Mono(std::time::Duration::from_secs(5000));
    let mut sights: Vec<Sight> = services
        .iter()
        .map(|name| Sight {
            slot: slot(name, 1),
            generation: Generation::default(),
            run: Some(Run { container: format!("{name}1"), started: 0 }),
            death: None,
            engine_restarts: 0,
            engine_owned: false,
            held: false,
            deadline: None,
        })
        .collect();
    let now = w.now;
    let incidents = &mut w.memory.incidents;
    for sight in &sights {
        incidents.see(sight, now);
        incidents.stands(&sight.slot, Standing { ready: true, ill: false }, now);
    }
    for number in 0..=attempts {
        for sight in &mut sights {
            if number > 0 {
                incidents.begin_attempt(&sight.slot, "start", now);
                sight.run = Some(Run { container: "c".into(), started: number.into() });
                sight.death = None;
                incidents.see(sight, now);
            }
            sight.death = Some(Death { cause: ExitCause::Spontaneous, code: 1 });
            incidents.see(sight, now);
        }
        incidents.tick(&|_| Vec::new(), 5, now);
    }
    for name in services {
        w.exit(name, 1, 0);
    }
    w
}

#[test]
fn a_start_says_which_attempt_it_is() {
    fallen(&["a"], 0).expect(&["[]     -> #1 service a/1: start  (exited 1, attempt 1 of 3)"]);
    fallen(&["a"], 1).expect(&["[]     -> #1 service a/1: start  (exited 1, attempt 2 of 3)"]);
}

#[test]
fn after_its_budget_nothing_is_tried_whatever_became_of_the_container() {
    let mut w = fallen(&["a"], 3);
    w.expect(&["service a/1: exhausted(3 of 3 attempts)"]);
    w.fault("a", |c| {
        c.state = crate::observed::ContainerState::Created;
        c.started = None;
    });
    w.expect(&["service a/1: exhausted(3 of 3 attempts)"]);
    w.remove("a");
    w.expect(&["service a/1: exhausted(3 of 3 attempts)"]);
}

#[test]
fn while_the_project_brakes_one_recovers_and_the_others_wait_for_it() {
    fallen(&["a", "b", "c", "d"], 0).expect(&[
        "[]     -> #1 service a/1: start  (exited 1, attempt 1 of 2)",
        "service b/1: waiting_on(a/1 recovered; brake: 1 of 5 healthy, below 40%: one recovery at a time)",
        "service c/1: waiting_on(a/1 recovered; brake: 1 of 5 healthy, below 40%: one recovery at a time)",
        "service d/1: waiting_on(a/1 recovered; brake: 1 of 5 healthy, below 40%: one recovery at a time)",
    ]);
    // Who can't be tried now keeps nobody waiting.
    let mut w = fallen(&["a", "b", "c", "d"], 0);
    let pause = Hold::pause("ann", crate::clock::Timestamp(0));
    w.memory.holds = Holds::recalled([(On::Service("a".into()), pause)]);
    let text = w.text();
    assert!(text.contains("-> #1 service b/1: start"), "{text}");
}

fn starts(services: &[&str]) -> Plan {
    let step = |(at, name): (usize, &&str)| Step {
        id: StepId(at + 1),
        after: vec![],
        resource: Resource::Slot(slot(name, 1)),
        op: Op::Start { container: Target::Existing(super::fixture::id(&format!("{name}1"))) },
        cause: Cause::Exited { code: 1, failures: 0, of: 0 },
    };
    Plan { generation: 1, steps: services.iter().enumerate().map(step).collect() }
}

#[test]
fn the_checker_refuses_what_a_budget_or_the_brake_forbids() {
    let verdict = |w: &World, plan: &Plan| {
        check(plan, &w.desired(), &w.observed, &w.memory, w.now).err().unwrap_or_default()
    };
    let spent = fallen(&["a"], 3);
    assert_eq!(verdict(&spent, &starts(&["a"])), [Violation::Exhausted(StepId(1), "a/1".into())]);
    let braked = fallen(&["a", "b", "c", "d"], 0);
    assert_eq!(verdict(&braked, &starts(&["a"])), []);
    let two = verdict(&braked, &starts(&["a", "b"]));
    assert_eq!(two, [Violation::Braked(StepId(2), "b/1".into())]);
    let free = fallen(&["a", "b"], 0);
    assert_eq!(verdict(&free, &starts(&["a", "b"])), []);
}
