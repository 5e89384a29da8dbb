//! When the next observation is due, and what observations add up to. Pure.

use std::time::Duration;

use crate::clock::Mono;
use crate::probe::{Answer, Outcome, Readiness, reason};

/// Failing observations closer together than this count once, so that the quick looks of a start
/// don't use up a threshold in a few milliseconds.
pub const FAILURE_SPACING: Duration = Duration::from_secs(1);
/// Failing observations in a row from which on a change is announced again: what `semantics`
/// demands before a restart.
pub const FAILURE_THRESHOLD: u32 = 3;

/// Observations of corruption closer together than this count once, and no look follows sooner:
/// damaged data is best left alone.
pub const CORRUPTION_SPACING: Duration = Duration::from_secs(5);

/// Delays between looks at a service that isn't ready. A step is taken once it is no more than
/// [`LATENESS`] of the time already waited: readiness is seen at most that much late, or 10 ms,
/// while a long start costs few looks.
const LADDER: [Duration; 7] = [
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
/// Share of the time waited: one twentieth.
const LATENESS: u32 = 20;
/// Shortest delay after a service that was ready fails: nobody waits for its first answer.
const FLAP: Duration = Duration::from_millis(250);
/// Shortest delay after an unknown answer.
const UNKNOWN: Duration = Duration::from_secs(1);
/// The same where nothing was reached: a container that takes over the address of one that is
/// gone can't be reached until the host's neighbour table forgets (seen), and asking disturbs
/// nobody.
const UNREACHED: Duration = Duration::from_millis(50);

/// Time from the end of an observation to the next one. `begun` is when the run was first looked
/// at, `interval` what the spec says for a ready service; no delay is longer,
/// except after corruption.
pub fn next_delay(readiness: &Readiness, begun: Mono, interval: Duration, now: Mono) -> Duration {
    let delay = match readiness.last.answer {
        Answer::Ready => interval,
        // Not bounded by the interval: the second look is to be an independent one.
        Answer::NotReady if corrupt(&readiness.last) => return CORRUPTION_SPACING,
        Answer::NotReady if readiness.was_ready => ladder(now.since(readiness.since)).max(FLAP),
        Answer::NotReady => ladder(now.since(begun)),
        Answer::Unknown => {
            let unreached = readiness.last.reason == reason::PROBE_UNREACHABLE;
            (now.since(begun) / LATENESS).max(if unreached { UNREACHED } else { UNKNOWN })
        }
    };
    delay.min(interval)
}

fn corrupt(outcome: &Outcome) -> bool {
    outcome.reason == reason::CORRUPTION
}

fn ladder(waited: Duration) -> Duration {
    let most = waited / LATENESS;
    LADDER.into_iter().rev().find(|step| *step <= most).unwrap_or(LADDER[0])
}

/// Adds an outcome to what is known of the run. The flag says whether it is worth telling: the
/// first outcome, another answer or reason, another corruption, or a count of failures that
/// reaches [`FAILURE_THRESHOLD`].
///
/// A failing observation is one that isn't ready and isn't alive. An unknown one neither counts
/// nor clears the count.
pub fn fold(previous: &Readiness, outcome: Outcome, now: Mono) -> (Readiness, bool) {
    let mut next = previous.clone();
    if outcome.answer != previous.last.answer || previous.last.reason.is_empty() {
        next.since = now;
    }
    match outcome.answer {
        Answer::Ready => {
            next.failures = 0;
            next.was_ready = true;
        }
        Answer::NotReady if outcome.alive => next.failures = 0,
        Answer::NotReady => {
            if previous.failures == 0 || now.since(previous.counted) >= FAILURE_SPACING {
                next.failures = previous.failures.saturating_add(1);
                next.counted = now;
                next.counted_before = [previous.counted, previous.counted_before[0]];
            }
        }
        Answer::Unknown => {}
    }
    if corrupt(&outcome)
        && (previous.corruptions == 0 || now.since(previous.corrupt_at) >= CORRUPTION_SPACING)
    {
        next.corruptions = previous.corruptions.saturating_add(1);
        next.corrupt_at = now;
    }
    let said = |o: &Outcome| (o.answer, o.reason.clone(), o.message.clone(), o.alive, o.degraded);
    let tell = said(&outcome) != said(&previous.last)
        || next.corruptions != previous.corruptions
        || (next.failures >= FAILURE_THRESHOLD && previous.failures < FAILURE_THRESHOLD);
    next.last = outcome;
    (next, tell)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn at(millis: u64) -> Mono {
        Mono(Duration::from_millis(millis))
    }

    fn refused() -> Outcome {
        Outcome::not_ready("Refused", "nothing listens")
    }

    fn known(outcome: Outcome, was_ready: bool, since: u64) -> Readiness {
        Readiness { last: outcome, was_ready, since: at(since), ..Readiness::default() }
    }

    fn delay(readiness: &Readiness, millis: u64) -> u128 {
        next_delay(readiness, at(0), INTERVAL, at(millis)).as_millis()
    }

    #[test]
    fn a_start_is_watched_closely_and_then_ever_less() {
        let starting = known(refused(), false, 0);
        for (waited, expected) in [
            (0, 10),
            (399, 10),
            (400, 20),
            (1000, 50),
            (2000, 100),
            (5000, 250),
            (10_000, 500),
            (20_000, 1000),
            (3_600_000, 1000),
        ] {
            assert_eq!(delay(&starting, waited), expected, "{waited}");
        }
    }

    #[test]
    fn readiness_is_never_seen_later_than_a_twentieth_of_the_wait() {
        let starting = known(refused(), false, 0);
        for waited in (200..60_000).step_by(37) {
            assert!(delay(&starting, waited) <= u128::from(waited / 20).max(10), "{waited}");
        }
    }

    #[test]
    fn a_minute_of_starting_costs_few_looks() {
        let starting = known(refused(), false, 0);
        let (mut now, mut looks) = (0, 0);
        while now < 60_000 {
            now += u64::try_from(delay(&starting, now)).expect("fits");
            looks += 1;
        }
        assert!(looks < 230, "{looks}");
    }

    #[test]
    fn a_ready_service_is_asked_at_its_interval() {
        assert_eq!(delay(&known(Outcome::ready(), true, 0), 5000), 10_000);
        let short = Duration::from_millis(100);
        let failing = known(refused(), true, 0);
        assert_eq!(next_delay(&failing, at(0), short, at(60_000)), short);
    }

    #[test]
    fn a_service_that_was_ready_is_not_hammered() {
        let failing = known(refused(), true, 50_000);
        assert_eq!(delay(&failing, 50_000), 250);
        assert_eq!(delay(&failing, 70_000), 1000);
    }

    #[test]
    fn an_unknown_answer_is_asked_again_at_leisure() {
        let unknown = known(Outcome::unknown("CredentialMissing", ""), false, 0);
        assert_eq!(delay(&unknown, 0), 1000);
        assert_eq!(delay(&unknown, 100_000), 5000);
        assert_eq!(delay(&unknown, 1_000_000), 10_000);
    }

    #[test]
    fn a_young_run_that_cannot_be_reached_is_soon_tried_again() {
        let unreached = known(Outcome::unknown(reason::PROBE_UNREACHABLE, ""), false, 0);
        assert_eq!(delay(&unreached, 700), 50);
        assert_eq!(delay(&unreached, 10_000), 500);
        assert_eq!(delay(&unreached, 1_000_000), 10_000);
    }

    /// Folds outcomes at these times; gives the failures and what was told.
    fn run(outcomes: &[(u64, Outcome)]) -> (Readiness, Vec<bool>) {
        let mut readiness = Readiness::default();
        let mut told = Vec::new();
        for (millis, outcome) in outcomes {
            let (next, tell) = fold(&readiness, outcome.clone(), at(*millis));
            readiness = next;
            told.push(tell);
        }
        (readiness, told)
    }

    #[test]
    fn quick_looks_count_once_a_second() {
        let quick: Vec<_> = (0..100).map(|i| (i * 10, refused())).collect();
        assert_eq!(run(&quick).0.failures, 1);
        let slow: Vec<_> = (0..4).map(|i| (i * 1000, refused())).collect();
        let (readiness, told) = run(&slow);
        assert_eq!(readiness.failures, 4);
        assert_eq!(told, [true, false, true, false]);
        assert_eq!(readiness.since, at(0));
    }

    #[test]
    fn ready_clears_the_count_and_alive_does_too() {
        let (readiness, _) = run(&[(0, refused()), (1000, refused()), (2000, Outcome::ready())]);
        assert_eq!((readiness.failures, readiness.was_ready), (0, true));
        assert_eq!(readiness.since, at(2000));
        let loading = Outcome::alive("Loading", "wait");
        let many: Vec<_> = (0..10).map(|i| (i * 1000, loading.clone())).collect();
        assert_eq!(run(&many).0.failures, 0);
    }

    #[test]
    fn unknown_neither_counts_nor_clears() {
        let unknown = Outcome::unknown("ProbeUnreachable", "");
        let (readiness, told) =
            run(&[(0, refused()), (1000, unknown.clone()), (2000, unknown), (3000, refused())]);
        assert_eq!(readiness.failures, 2);
        assert_eq!(told, [true, true, false, true]);
    }

    #[test]
    fn another_reason_is_told_but_keeps_its_time() {
        let timeout = Outcome::not_ready("Timeout", "");
        let (readiness, told) = run(&[(0, refused()), (500, timeout)]);
        assert_eq!(told, [true, true]);
        assert_eq!(readiness.since, at(0));
    }

    #[test]
    fn another_duration_is_not_told() {
        let slow = Outcome { took: Duration::from_secs(1), ..Outcome::ready() };
        assert_eq!(run(&[(0, Outcome::ready()), (10, slow)]).1, [true, false]);
    }

    #[test]
    fn corruption_is_looked_at_again_after_five_seconds_and_never_forgotten() {
        let corrupt = || Outcome::alive(reason::CORRUPTION, "");
        assert_eq!(delay(&known(corrupt(), false, 0), 100), 5000);
        let (readiness, told) =
            run(&[(0, corrupt()), (10, corrupt()), (5000, Outcome::ready()), (6000, corrupt())]);
        assert_eq!((readiness.corruptions, readiness.failures), (2, 0));
        assert_eq!(told, [true, false, true, true]);
    }
}
