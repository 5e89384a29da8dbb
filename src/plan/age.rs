//! How long a container has run, or has been down, by the clock that doesn't jump.
//!
//! The engine stamps both by its wall clock, which may jump and need not be ours. That clock is
//! asked once, for what was there before we first looked. Of everything later we know ourselves
//! when we first saw it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{Mono, Now, Timestamp};
use crate::engine::ContainerId;
use crate::observed::{Container, Observed};

/// The ages of what the last look showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ages {
    looked: bool,
    started: BTreeMap<ContainerId, Age>,
    finished: BTreeMap<ContainerId, Age>,
}

/// How old one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Age {
    /// As the engine stamped it: another stamp is another thing.
    stamp: Timestamp,
    /// When it was first seen.
    seen: Mono,
    /// Its age then.
    then: Duration,
}

impl Ages {
    /// Takes in what is seen now.
    pub fn look(&mut self, observed: &Observed, now: Now) {
        let first = !std::mem::replace(&mut self.looked, true);
        let then = |stamp: Timestamp| {
            if first { now.wall.since(stamp) } else { Duration::ZERO }
        };
        for (ages, stamp) in [
            (&mut self.started, (|c| c.started) as fn(&Container) -> Option<Timestamp>),
            (&mut self.finished, |c| c.finished),
        ] {
            ages.retain(|id, _| observed.containers.contains_key(id));
            for (id, container) in &observed.containers {
                let Some(stamp) = stamp(container) else { continue };
                if ages.get(id).is_none_or(|age| age.stamp != stamp) {
                    ages.insert(id.clone(), Age { stamp, seen: now.mono, then: then(stamp) });
                }
            }
        }
    }

    /// Time since the last start; `None` if that was never seen and lies in the future.
    pub fn since_start(&self, container: &Container, now: Now) -> Option<Duration> {
        of(&self.started, container, container.started?, now)
    }

    /// Time since the last end; `None` as above.
    pub fn since_end(&self, container: &Container, now: Now) -> Option<Duration> {
        of(&self.finished, container, container.finished?, now)
    }
}

fn of(
    ages: &BTreeMap<ContainerId, Age>,
    container: &Container,
    stamp: Timestamp,
    now: Now,
) -> Option<Duration> {
    match ages.get(&container.id).filter(|age| age.stamp == stamp) {
        Some(age) => Some(age.then.saturating_add(now.mono.since(age.seen))),
        None => (stamp <= now.wall).then(|| now.wall.since(stamp)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn at(seconds: u64, wall: i64) -> Now {
        Now { mono: Mono(Duration::from_secs(seconds)), wall: Timestamp(wall) }
    }

    fn seen(started: i64) -> Observed {
        let id = ContainerId("c".into());
        let started = Some(Timestamp(started));
        let container = Container { id: id.clone(), started, ..Container::default() };
        Observed { containers: [(id, container.into())].into(), ..Observed::default() }
    }

    fn age(ages: &Ages, observed: &Observed, now: Now) -> Option<u64> {
        let container = observed.containers.values().next().expect("one");
        ages.since_start(container, now).map(|age| age.as_secs())
    }

    #[test]
    fn what_was_there_before_us_has_the_age_of_its_stamp() {
        let (mut ages, observed) = (Ages::default(), seen(10 * HOUR));
        ages.look(&observed, at(5, 10 * HOUR + 7_000));
        assert_eq!(age(&ages, &observed, at(5, 10 * HOUR + 7_000)), Some(7));
        assert_eq!(age(&ages, &observed, at(8, 10 * HOUR + 10_000)), Some(10));
    }

    #[test]
    fn a_jump_of_the_wall_clock_makes_nothing_older_or_younger() {
        let (mut ages, observed) = (Ages::default(), seen(10 * HOUR));
        ages.look(&observed, at(5, 10 * HOUR));
        for wall in [9 * HOUR, 10 * HOUR, 11 * HOUR] {
            ages.look(&observed, at(25, wall));
            assert_eq!(age(&ages, &observed, at(25, wall)), Some(20));
        }
    }

    #[test]
    fn what_begins_while_we_look_is_new_whatever_the_engines_clock_says() {
        let mut ages = Ages::default();
        ages.look(&Observed::default(), at(0, 10 * HOUR));
        for stamp in [9 * HOUR, 11 * HOUR] {
            let observed = seen(stamp);
            ages.look(&observed, at(60, 10 * HOUR));
            assert_eq!(age(&ages, &observed, at(63, 10 * HOUR)), Some(3));
        }
    }

    #[test]
    fn without_a_look_the_stamp_counts_unless_it_lies_in_the_future() {
        let (ages, observed) = (Ages::default(), seen(10 * HOUR));
        assert_eq!(age(&ages, &observed, at(0, 10 * HOUR + 2_000)), Some(2));
        assert_eq!(age(&ages, &observed, at(0, 9 * HOUR)), None);
    }
}
