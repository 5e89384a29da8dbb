//! Operators side by side: whatever the order of their looks and writes, the highest lease has one
//! holder, and who has looked since the last change knows whether it is the one.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::{Act, Found, Holder, LeaseState, Life, Tenure, of_project};
use crate::clock::Mono;
use crate::engine::VolumeSummary;

#[derive(Debug, Clone)]
enum Event {
    /// This operator asks for the volume list, which it looks at later.
    List(usize),
    /// It looks at the list that it asked for, and decides.
    Look(usize),
    /// It does what it decided; one volume at a time.
    Write(usize),
    /// It ends well: its leases go.
    Leave(usize),
    /// It is killed; another process begins in its place, perhaps with `--take-over`.
    Kill(usize, bool),
    /// `docker volume prune`.
    Prune,
    /// Time passes.
    Wait(u64),
}

fn events(operators: usize, harmless: bool) -> impl Strategy<Value = Vec<Event>> {
    let who = 0..operators;
    let mild = prop_oneof![
        6 => who.clone().prop_map(Event::List),
        8 => who.clone().prop_map(Event::Look),
        8 => who.clone().prop_map(Event::Write),
        2 => (who.clone(), any::<bool>()).prop_map(|(n, over)| Event::Kill(n, over)),
        2 => (0_u64..4).prop_map(Event::Wait),
    ];
    let rough = prop_oneof![
        8 => mild.clone(),
        1 => who.prop_map(Event::Leave),
        1 => Just(Event::Prune),
    ];
    let one = if harmless { mild.boxed() } else { rough.boxed() };
    proptest::collection::vec(one, 1..120)
}

struct Operator {
    tenure: Tenure,
    listed: Option<(u64, Vec<Found>)>,
    todo: Vec<Act>,
    /// The change of the engine's leases that its last look had seen.
    looked: u64,
}

struct World {
    volumes: BTreeMap<String, VolumeSummary>,
    /// Counts the changes of lease volumes.
    change: u64,
    born: u64,
    dead: Vec<String>,
    now: Mono,
    operators: Vec<Operator>,
}

impl World {
    fn new(operators: usize) -> Self {
        let mut world = Self {
            volumes: BTreeMap::new(),
            change: 0,
            born: 0,
            dead: Vec::new(),
            now: Mono::default(),
            operators: Vec::new(),
        };
        for _ in 0..operators {
            let operator = world.born(false);
            world.operators.push(operator);
        }
        world
    }

    fn born(&mut self, take_over: bool) -> Operator {
        self.born += 1;
        let me = Holder { id: format!("{:x}", self.born), ..Holder::default() };
        let tenure = Tenure::new("p", me, take_over);
        Operator { tenure, listed: None, todo: Vec::new(), looked: 0 }
    }

    fn step(&mut self, event: &Event) {
        match *event {
            Event::List(n) => {
                let list = of_project("p", self.volumes.values());
                self.operators[n].listed = Some((self.change, list));
            }
            Event::Look(n) => {
                let dead = self.dead.clone();
                let life = move |holder: &Holder| match dead.contains(&holder.id) {
                    true => Life::Dead("killed".into()),
                    false => Life::Alive,
                };
                let operator = &mut self.operators[n];
                // As the loop does: what was decided is done before the next look.
                if !operator.todo.is_empty() {
                    return;
                }
                let Some((change, list)) = operator.listed.take() else { return };
                operator.looked = change;
                operator.todo = match operator.tenure.look(&list, &life, self.now) {
                    Act::Nothing => Vec::new(),
                    Act::Remove(old) => old.into_iter().map(|o| Act::Remove(vec![o])).collect(),
                    create => vec![create],
                };
            }
            Event::Write(n) => match self.operators[n].todo.pop() {
                Some(Act::Create(lease)) => self.create(lease.name(), lease.labels()),
                Some(Act::Remove(old)) => old.iter().for_each(|old| self.remove(old.name())),
                Some(Act::Nothing) | None => {}
            },
            Event::Leave(n) => {
                let list = of_project("p", self.volumes.values());
                let next = self.born(false);
                let mut old = std::mem::replace(&mut self.operators[n], next);
                old.tenure.leave(&list).iter().for_each(|lease| self.remove(lease.name()));
                self.dead.push(old.tenure.me().id.clone());
            }
            Event::Kill(n, take_over) => {
                let next = self.born(take_over);
                let old = std::mem::replace(&mut self.operators[n], next);
                self.dead.push(old.tenure.me().id.clone());
            }
            Event::Prune => {
                self.change += 1;
                self.volumes.clear();
            }
            Event::Wait(seconds) => self.now = self.now.after(Duration::from_secs(seconds)),
        }
    }

    fn create(&mut self, name: &str, labels: &BTreeMap<String, String>) {
        if !self.volumes.contains_key(name) {
            self.change += 1;
            let labels = labels.clone();
            let volume = VolumeSummary { name: name.into(), driver: "local".into(), labels };
            self.volumes.insert(name.into(), volume);
        }
    }

    fn remove(&mut self, name: &str) {
        if self.volumes.remove(name).is_some() {
            self.change += 1;
        }
    }

    /// Who believes to hold a lease, with its epoch.
    fn believers(&self, looked: bool) -> Vec<(usize, u64)> {
        let all = self.operators.iter().enumerate();
        all.filter(|(_, o)| !looked || o.looked == self.change)
            .filter_map(|(n, o)| match o.tenure.state() {
                LeaseState::Held { epoch } => Some((n, *epoch)),
                _ => None,
            })
            .collect()
    }

    /// After some rounds in which nobody is disturbed exactly one holds, and nothing more is done.
    fn calm_down(&mut self) {
        for round in 0..12 {
            for n in 0..self.operators.len() {
                self.step(&Event::Wait(1));
                while !self.operators[n].todo.is_empty() {
                    self.step(&Event::Write(n));
                }
                self.step(&Event::List(n));
                self.step(&Event::Look(n));
                assert!(round < 11 || self.operators[n].todo.is_empty(), "never at rest");
            }
        }
    }
}

fn check(operators: usize, events: &[Event], harmless: bool) {
    let mut world = World::new(operators);
    for event in events {
        world.step(event);
        let knowing = world.believers(true);
        assert!(knowing.len() <= 1, "two who have looked: {knowing:?} after {event:?}");
        if let [(n, epoch)] = knowing[..] {
            let top = of_project("p", world.volumes.values()).pop().expect("a lease");
            let id = &world.operators[n].tenure.me().id;
            assert_eq!((top.epoch, top.holder.map(|h| h.id).as_ref()), (epoch, Some(id)));
        }
        if harmless {
            let mut epochs: Vec<u64> =
                world.believers(false).into_iter().map(|(_, epoch)| epoch).collect();
            epochs.sort_unstable();
            let before = epochs.len();
            epochs.dedup();
            assert_eq!(epochs.len(), before, "two believe in one epoch after {event:?}");
        }
    }
    world.calm_down();
    let holders = world.believers(false);
    assert_eq!(holders.len(), 1, "one acts: {holders:?}");
    assert_eq!(world.volumes.len(), 1, "and one lease is left: {:?}", world.volumes.keys());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn two_never_hold_one_epoch(events in events(2, true)) {
        check(2, &events, true);
    }

    #[test]
    fn three_never_hold_one_epoch(events in events(3, true)) {
        check(3, &events, true);
    }

    #[test]
    fn whoever_looks_knows_even_while_leases_are_pruned_and_given_back(events in events(3, false)) {
        check(3, &events, false);
    }
}

#[test]
fn every_order_of_two_first_starts_has_one_winner() {
    // Each lists, looks, writes, lists and looks again: every interleaving of the two.
    let part =
        |n| [Event::List(n), Event::Look(n), Event::Write(n), Event::List(n), Event::Look(n)];
    let (left, right) = (part(0), part(1));
    for order in 0_u32..1 << 10 {
        if order.count_ones() != 5 {
            continue;
        }
        let (mut a, mut b) = (left.iter(), right.iter());
        let events: Vec<Event> = (0..10)
            .filter_map(|bit| if order >> bit & 1 == 0 { a.next() } else { b.next() })
            .cloned()
            .collect();
        check(2, &events, true);
    }
}
