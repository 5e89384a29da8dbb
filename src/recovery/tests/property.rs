//! Random histories of three services.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Dies(usize, ExitCause),
    Recover(usize),
    Ready(usize, bool),
    StartedByHand(usize),
    Passes(u64),
    Jumps(i64),
    Edit(usize, u8),
    Hold(usize, bool),
    Ill(usize),
    Retry(usize),
    Refused(usize),
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    let at = 0..3_usize;
    let cause = prop_oneof![
        6 => Just(ExitCause::Spontaneous),
        1 => Just(ExitCause::ApiKill),
        1 => Just(ExitCause::Engine),
        1 => Just(ExitCause::Unknown),
    ];
    prop_oneof![
        8 => (at.clone(), cause).prop_map(|(at, cause)| Act::Dies(at, cause)),
        8 => at.clone().prop_map(Act::Recover),
        8 => (at.clone(), any::<bool>()).prop_map(|(at, ready)| Act::Ready(at, ready)),
        1 => at.clone().prop_map(Act::StartedByHand),
        4 => (0..700_u64).prop_map(Act::Passes),
        1 => (-3_600_000..3_600_000_i64).prop_map(Act::Jumps),
        1 => (at.clone(), 0..3_u8).prop_map(|(at, hash)| Act::Edit(at, hash)),
        1 => (at.clone(), any::<bool>()).prop_map(|(at, held)| Act::Hold(at, held)),
        2 => at.clone().prop_map(Act::Ill),
        1 => at.clone().prop_map(Act::Retry),
        1 => at.prop_map(Act::Refused),
        1 => Just(Act::Crash),
    ]
}

impl Table {
    fn does(&mut self, act: &Act) {
        match *act {
            Act::Dies(at, cause) => self.dies(at, cause),
            Act::Recover(at) => {
                self.recover(at);
            }
            Act::Ready(at, ready) if self.sights[at].death.is_none() => self.becomes(at, ready),
            Act::StartedByHand(at) => self.starts(at),
            Act::Passes(seconds) => self.passes(seconds),
            Act::Jumps(by) => self.now.wall.0 += by,
            Act::Edit(at, hash) => self.sights[at].generation.hash = hash.to_string(),
            Act::Hold(at, held) => self.sights[at].held = held,
            Act::Ill(at) if self.sights[at].death.is_none() => {
                let slot = self.sights[at].slot.clone();
                self.ready[at] = false;
                let ill = Standing { ready: false, ill: true };
                self.told.extend(self.incidents.stands(&slot, ill, self.now));
                let refused = matches!(
                    self.incidents.allowance(&slot),
                    Allowance::Exhausted { .. } | Allowance::Judging { .. }
                );
                if !refused && !self.sights[at].held {
                    self.told.extend(self.incidents.falls_ill(&slot, "ill", self.now));
                    self.told.extend(self.incidents.begin_attempt(&slot, "restart", self.now));
                    self.starts(at);
                }
            }
            Act::Retry(at) => {
                let slot = self.sights[at].slot.clone();
                self.told.extend(self.incidents.retry(&slot, "bob"));
            }
            Act::Refused(at) => {
                let slot = self.sights[at].slot.clone();
                let end = StepEnd::Refused("no such program");
                self.told.extend(self.incidents.step_ended(&slot, end, self.now));
            }
            Act::Crash => {
                let incidents = self.incidents.all();
                let recalled = Recalled { incidents, ..Recalled::default() };
                self.incidents = Incidents::recall(recalled, self.now);
            }
            Act::Ready(..) | Act::Ill(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Attempts never exceed the budget; nothing is told twice; what is over stays over.
    #[test]
    fn no_history_breaks_a_budget(acts in prop::collection::vec(act(), 1..120)) {
        let mut t = Table::up(&["a", "b", "c"]);
        let mut began: std::collections::BTreeMap<IncidentId, u32> = Default::default();
        let mut escalated: std::collections::BTreeSet<IncidentId> = Default::default();
        let mut ended: std::collections::BTreeSet<IncidentId> = Default::default();
        for act in &acts {
            t.does(act);
            for change in std::mem::take(&mut t.told) {
                let Change::Incident(incident, what) = change else { continue };
                prop_assert!(!ended.contains(&incident.id), "after its end: {what:?}");
                // The smaller budget of a larger trouble may come when more was spent already.
                prop_assert!(incident.spent <= 3);
                match what {
                    What::Opened => {
                        let known = began.insert(incident.id.clone(), 0);
                        prop_assert_eq!(known, None);
                    }
                    What::AttemptBegan => {
                        prop_assert!(incident.stopped.is_none());
                        prop_assert!(incident.spent < incident.budget);
                    }
                    What::AttemptEnded(AttemptResult::Failed) => {
                        let failed = began.entry(incident.id.clone()).or_default();
                        *failed += 1;
                        prop_assert!(*failed <= 3, "{failed} failed attempts of one budget");
                    }
                    What::Retried(_) => {
                        began.insert(incident.id.clone(), 0);
                        escalated.remove(&incident.id);
                    }
                    What::Escalated { .. } => {
                        prop_assert!(escalated.insert(incident.id.clone()), "told twice");
                    }
                    What::Ended => {
                        ended.insert(incident.id.clone());
                    }
                    _ => {}
                }
            }
            for incident in t.incidents.open() {
                let open = incident.attempts.iter().filter(|a| a.result == AttemptResult::Open);
                prop_assert!(open.count() <= 1);
            }
        }
    }

    /// Without a spontaneous death and without a start that takes too long there is no incident.
    #[test]
    fn only_spontaneous_deaths_open_incidents(acts in prop::collection::vec(act(), 1..80)) {
        let mut t = Table::up(&["a", "b", "c"]);
        for sight in &mut t.sights {
            sight.deadline = None;
        }
        for act in &acts {
            match act {
                Act::Dies(_, ExitCause::Spontaneous) | Act::Ill(_) => continue,
                act => t.does(act),
            }
        }
        prop_assert_eq!(t.opened(), 0);
        prop_assert_eq!(t.incidents.brake(), None);
    }
}
