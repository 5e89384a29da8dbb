//! Each act as Engine 20.10 tells of it, then the same with events that are shuffled, doubled and
//! missing.

use proptest::prelude::*;

use super::*;
use crate::observed::{Container, ContainerState};

const C: &str = "0123456789abcdef";
const NEW: &str = "fedcba9876543210";

/// The first event's time, in milliseconds by the engine's clock.
const BEGIN: i64 = 1_700_000_000_000;

fn slot() -> Slot {
    Slot { project: "p".into(), service: "web".into(), number: 1 }
}

/// One event: milliseconds after the first, container, action with its signal or name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line(i64, &'static str, &'static str);

fn event(Line(ms, actor, words): Line) -> EngineEvent {
    let (action, rest) = words.split_once(' ').unwrap_or((words, ""));
    let key = match action {
        "kill" => "signal",
        "die" => "exitCode",
        _ => "name",
    };
    EngineEvent {
        kind: "container".into(),
        action: action.into(),
        actor: actor.into(),
        attributes: [(key.to_owned(), rest.to_owned())].into(),
        time_nano: (BEGIN + ms) * 1_000_000,
    }
}

/// Reads events at the times at which the engine made them.
struct Reader {
    exits: Exits,
    now: Mono,
    ours: bool,
}

impl Reader {
    fn new() -> Self {
        Self { exits: Exits::default(), now: Mono(Duration::from_secs(100)), ours: false }
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.exits.pass(self.now);
    }

    fn hear(&mut self, line: Line) {
        self.hear_with(line, "");
    }

    fn hear_with(&mut self, line: Line, stop_signal: &str) {
        let event = event(line);
        if self.exits.see(&event) {
            let (slot, ours) = (Some(slot()), self.ours);
            self.exits.hear(&Heard { event: &event, slot, stop_signal, ours }, self.now);
        }
    }

    fn all(mut self, lines: &[Line]) -> Self {
        let mut at = lines.first().map_or(0, |l| l.0);
        for line in lines {
            self.wait(Duration::from_millis(u64::try_from(line.0 - at).expect("in order")));
            at = line.0;
            self.hear(*line);
        }
        self
    }

    fn shown(&self) -> Observed {
        let mut observed = Observed::default();
        self.exits.show(&mut observed);
        observed
    }

    fn cause(&self) -> Option<Cause> {
        self.shown().deaths.get(&slot()).map(|d| d.cause)
    }

    fn said(&self) -> Option<Said> {
        self.shown().hands.words.get(&slot()).map(|w| w.said)
    }

    fn yields(&self) -> Option<Yield> {
        self.shown().hands.yields.get(&slot()).copied()
    }
}

const STOP: Said = Said::Stop { removed: false, proven: false };
const REMOVED: Said = Said::Stop { removed: true, proven: false };

const CRASH: &[Line] = &[Line(0, C, "die 1")];
const OOM: &[Line] = &[Line(0, C, "oom"), Line(29, C, "die 137")];
const KILL: &[Line] = &[Line(0, C, "kill 9"), Line(24, C, "die 137")];
const DOCKER_STOP: &[Line] = &[Line(0, C, "kill 15"), Line(40, C, "die 0"), Line(98, C, "stop")];
const RESTART: &[Line] = &[
    Line(0, C, "kill 15"),
    Line(40, C, "die 0"),
    Line(102, C, "stop"),
    Line(340, C, "start"),
    Line(341, C, "restart"),
];
const REMOVE: &[Line] = &[Line(0, C, "kill 9"), Line(24, C, "die 137"), Line(90, C, "destroy")];
const RECREATE: &[Line] = &[
    Line(0, NEW, "create 0123456789ab_p-web-1"),
    Line(10, C, "kill 15"),
    Line(50, C, "die 0"),
    Line(108, C, "stop"),
    Line(114, C, "destroy"),
    Line(120, NEW, "rename p-web-1"),
    Line(380, NEW, "start"),
];
const DOWN: &[Line] =
    &[Line(0, C, "kill 15"), Line(40, C, "die 0"), Line(98, C, "stop"), Line(104, C, "destroy")];

#[test]
fn what_ended_by_itself_is_known_at_once() {
    for (lines, code) in [(CRASH, 1), (OOM, 137)] {
        let mut reader = Reader::new().all(lines);
        assert_eq!((reader.cause(), reader.yields()), (Some(Cause::Spontaneous), None));
        assert_eq!(reader.said(), None);
        let told = reader.exits.take_told();
        assert_eq!(told[&ContainerId(C.into())].1, code, "its event tells it all");
    }
}

#[test]
fn a_kill_is_a_fault_once_no_stop_follows() {
    let mut reader = Reader::new().all(KILL);
    assert_eq!((reader.cause(), reader.yields()), (Some(Cause::Unknown), Some(Yield::Undecided)));
    assert!(reader.exits.take_told().is_empty(), "nobody acts on it yet");
    assert_eq!(reader.exits.due(), Some(reader.now.after(DECIDED_WITHIN)));
    reader.wait(DECIDED_WITHIN);
    assert_eq!((reader.cause(), reader.yields()), (Some(Cause::ApiKill), None));
    assert_eq!((reader.said(), reader.exits.due()), (None, None));
}

#[test]
fn a_stop_is_somebodys_word_and_ends_the_wait() {
    let reader = Reader::new().all(DOCKER_STOP);
    assert_eq!((reader.cause(), reader.yields()), (Some(Cause::ApiStop), None));
    assert_eq!(reader.said(), Some(STOP));
    let word = reader.shown().hands.words[&slot()].clone();
    assert_eq!((word.number, word.at()), (1, Timestamp(BEGIN + 98)));
}

#[test]
fn a_restart_ends_with_a_start() {
    let reader = Reader::new().all(RESTART);
    assert_eq!((reader.said(), reader.yields()), (Some(Said::Start), None));
    assert_eq!(reader.exits.look_at(), None, "nothing is left to prove");
}

#[test]
fn a_removal_by_force_is_a_fault() {
    let reader = Reader::new().all(REMOVE);
    assert_eq!((reader.cause(), reader.said()), (Some(Cause::Removed), None));
    assert_eq!(reader.yields(), None);
    assert!(reader.shown().hands.gone.contains(&ContainerId(C.into())));
}

#[test]
fn an_update_by_another_tool_is_left_alone_until_its_start() {
    for (n, line) in RECREATE.iter().enumerate() {
        let reader = Reader::new().all(&RECREATE[..=n]);
        let over = line.2 == "start";
        assert_eq!(reader.yields(), (!over).then_some(Yield::Update), "after {line:?}");
        assert_ne!(reader.said(), Some(STOP), "after {line:?}");
        assert_ne!(reader.said(), Some(REMOVED), "after {line:?}");
    }
}

#[test]
fn an_update_that_never_starts_is_waited_for_30_s() {
    let mut reader = Reader::new().all(&RECREATE[..6]);
    reader.wait(Duration::from_millis(29_800));
    assert_eq!(reader.yields(), Some(Yield::Update));
    reader.wait(Duration::from_millis(200));
    assert_eq!(reader.yields(), None);
}

#[test]
fn a_container_that_somebody_makes_is_left_to_them_until_its_start() {
    let mut reader = Reader::new().all(&[Line(0, NEW, "create p-web-1")]);
    assert_eq!((reader.yields(), reader.said()), (Some(Yield::Creation), Some(Said::Create)));
    reader.wait(Duration::from_millis(200));
    reader.hear(Line(200, NEW, "start"));
    assert_eq!((reader.yields(), reader.said()), (None, Some(Said::Start)));
}

#[test]
fn what_was_stopped_and_removed_is_told_apart() {
    assert_eq!(Reader::new().all(DOWN).said(), Some(REMOVED));
    let reader = Reader::new().all(DOCKER_STOP);
    assert_eq!(reader.all(&[Line(900, C, "destroy")]).said(), Some(REMOVED), "removed later");
}

#[test]
fn a_signal_that_ends_nothing_is_nothing() {
    for signal in ["1", "10", "SIGHUP", "USR2", "28"] {
        let kill = Line(0, C, Box::leak(format!("kill {signal}").into_boxed_str()));
        let reader = Reader::new().all(&[kill]);
        assert_eq!((reader.yields(), reader.cause()), (None, None));
        // What dies much later dies by itself.
        assert_eq!(reader.all(&[Line(60_000, C, "die 1")]).cause(), Some(Cause::Spontaneous));
    }
}

#[test]
fn the_containers_own_stop_signal_counts() {
    for (own, sent) in [("SIGUSR1", "10"), ("37", "37"), ("SIGRTMIN+3", "37"), ("", "SIGTERM")] {
        let mut reader = Reader::new();
        let kill = Line(0, C, Box::leak(format!("kill {sent}").into_boxed_str()));
        reader.hear_with(kill, own);
        reader.hear_with(Line(20, C, "die 0"), own);
        assert_eq!(reader.yields(), Some(Yield::Undecided), "{own}");
    }
    let mut reader = Reader::new();
    reader.hear_with(Line(0, C, "kill 10"), "SIGTERM");
    reader.hear_with(Line(20, C, "die 138"), "SIGTERM");
    assert_eq!(reader.cause(), Some(Cause::Spontaneous));
}

#[test]
fn our_own_acts_are_nobodys_word() {
    for lines in [KILL, DOCKER_STOP, RESTART, REMOVE, RECREATE, DOWN] {
        let reader = Reader { ours: true, ..Reader::new() }.all(lines);
        assert_eq!((reader.said(), reader.yields()), (None, None), "{lines:?}");
        assert!(reader.shown().deaths[&slot()].ours, "{lines:?}");
    }
}

#[test]
fn what_falls_as_soon_as_we_have_restarted_it_fell_by_itself() {
    let mut reader = Reader { ours: true, ..Reader::new() }.all(RESTART);
    reader.hear(Line(361, C, "die 1"));
    let death = &reader.shown().deaths[&slot()];
    assert_eq!((death.cause, death.ours), (Cause::Spontaneous, false));
}

#[test]
fn a_stop_is_proven_when_the_engine_outlives_it() {
    let mut reader = Reader::new().all(DOCKER_STOP);
    let heard = reader.now;
    let mut looks = Vec::new();
    while let Some(at) = reader.exits.look_at() {
        assert!(at > reader.now, "never twice at once");
        reader.now = at;
        looks.push(at.since(heard).as_secs());
        assert_eq!(reader.said(), Some(STOP));
        reader.exits.lived(at);
    }
    assert_eq!(looks, [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]);
    assert_eq!(reader.said(), Some(Said::Stop { removed: false, proven: true }));
}

#[test]
fn an_engine_that_ends_looks_like_a_person_and_is_not_taken_for_one() {
    let mut reader = Reader::new().all(DOCKER_STOP);
    assert_eq!(reader.exits.reconnect(), Some((BEGIN + 98) * 1_000_000));
    // The next engine tells of what it found and stopped.
    reader.hear(Line(5_000, C, "kill 15"));
    reader.hear(Line(5_001, C, "die 0"));
    reader.hear(Line(5_002, C, "stop"));
    assert_eq!(reader.said(), Some(STOP));
    reader.exits.caught_up(reader.now);
    assert_eq!((reader.said(), reader.cause()), (None, Some(Cause::Engine)));
    assert_eq!(reader.exits.look_at(), None);
}

#[test]
fn an_engine_that_knows_the_last_event_is_the_same_one() {
    let mut reader = Reader::new().all(DOCKER_STOP);
    reader.exits.reconnect();
    reader.hear(DOCKER_STOP[2]);
    reader.exits.caught_up(reader.now);
    assert_eq!(reader.said(), Some(STOP), "kept");
    // A stop that only the replay tells of counts as well.
    let mut reader = Reader::new().all(&[Line(0, C, "start")]);
    reader.exits.reconnect();
    for line in [Line(0, C, "start"), Line(10, C, "kill 15"), Line(50, C, "die 0")] {
        reader.hear(line);
    }
    reader.hear(Line(99, C, "stop"));
    reader.exits.caught_up(reader.now);
    assert_eq!(reader.said(), Some(STOP));
}

#[test]
fn what_was_proven_outlives_the_engine() {
    let mut reader = Reader::new().all(DOCKER_STOP);
    reader.exits.lived(reader.now.after(PROVISIONAL));
    reader.exits.reconnect();
    reader.exits.caught_up(reader.now);
    assert_eq!(reader.said(), Some(Said::Stop { removed: false, proven: true }));
    assert_eq!(reader.cause(), Some(Cause::ApiStop));
}

#[test]
fn a_stop_from_before_a_restart_of_ours_is_proven_only_by_the_same_engine() {
    let word = Word {
        said: STOP,
        number: 0,
        container: ContainerId(C.into()),
        nano: (BEGIN + 98) * 1_000_000,
    };
    for same in [true, false] {
        let mut reader = Reader::new();
        reader.exits.recall([(slot(), word.clone())]);
        assert_eq!(reader.exits.reconnect(), Some(word.nano));
        // Nobody keeps its project yet, so the event itself says nothing.
        assert!(!same || reader.exits.see(&event(DOCKER_STOP[2])));
        reader.exits.caught_up(reader.now);
        assert_eq!(reader.said(), same.then_some(STOP));
        reader.exits.forget(&Observed::default(), |_| false, |_| false);
        reader.exits.lived(reader.now.after(Duration::from_secs(19)));
        assert_eq!(reader.said(), same.then_some(STOP), "20 s from when it is heard again");
    }
}

#[test]
fn old_news_say_nothing_and_a_clock_that_jumped_is_no_old_news() {
    let mut reader = Reader::new().all(RESTART);
    reader.hear(Line(101, C, "stop"));
    assert_eq!(reader.said(), Some(Said::Start));
    reader.hear(Line(-3_600_000, C, "stop"));
    assert_eq!(reader.said(), Some(STOP));
}

#[test]
fn nothing_is_kept_of_what_is_gone_or_of_projects_that_nobody_keeps() {
    let mut reader = Reader::new().all(DOWN);
    reader.hear(Line(200, NEW, "kill 15"));
    let known = Observed::default();
    reader.exits.forget(&known, |_| true, |_| true);
    assert!(!reader.exits.lives.is_empty() && !reader.exits.gone.is_empty());
    reader.exits.forget(&known, |_| false, |_| true);
    assert!(reader.exits.lives.is_empty() && reader.exits.gone.is_empty());
    assert_eq!(reader.said(), Some(REMOVED), "a word outlives the container");
    reader.exits.forget(&known, |_| false, |_| false);
    assert_eq!((reader.said(), reader.exits.look_at()), (None, None));
    for n in 0..MOST_SLOTS + 10 {
        let event = event(Line(i64::try_from(n).expect("small"), C, "stop"));
        let slot = Slot { number: u32::try_from(n).expect("small"), ..slot() };
        let heard = Heard { event: &event, slot: Some(slot), stop_signal: "", ours: false };
        reader.exits.hear(&heard, reader.now);
    }
    assert_eq!(reader.exits.words.len(), MOST_SLOTS);
}

fn acts() -> impl Strategy<Value = Vec<Line>> {
    let act = prop::sample::select(vec![
        CRASH,
        OOM,
        KILL,
        DOCKER_STOP,
        RESTART,
        REMOVE,
        RECREATE,
        DOWN,
        &[Line(0, C, "kill 1")],
    ]);
    let several = prop::collection::vec(act, 1..4).prop_map(|acts| {
        let mut all = Vec::new();
        for (n, act) in acts.into_iter().enumerate() {
            let begin = i64::try_from(n).unwrap_or(0) * 1_000;
            all.extend(act.iter().map(|l| Line(l.0 + begin, l.1, l.2)));
        }
        all
    });
    // Some are lost, some come twice, some in another order.
    several
        .prop_flat_map(|lines| {
            let fates = prop::collection::vec(0..8u8, lines.len());
            (Just(lines), fates, any::<bool>())
        })
        .prop_flat_map(|(lines, fates, shuffle)| {
            let mut kept = Vec::new();
            for (line, fate) in lines.into_iter().zip(fates) {
                let copies = match fate {
                    0 => 0,
                    1 => 2,
                    _ => 1,
                };
                kept.extend(std::iter::repeat_n(line, copies));
            }
            if shuffle { Just(kept).prop_shuffle().boxed() } else { Just(kept).boxed() }
        })
}

proptest! {
    #[test]
    fn whatever_is_heard_there_is_no_hold_without_a_stop_and_no_endless_wait(lines in acts()) {
        let mut reader = Reader::new();
        for line in &lines {
            reader.wait(Duration::from_millis(20));
            reader.hear(*line);
        }
        let stops = lines.iter().any(|l| l.2 == "stop");
        let is_stop = matches!(reader.said(), Some(Said::Stop { .. }));
        prop_assert!(!is_stop || stops, "nobody said stop");
        // Signals are what makes a death doubtful: where there was none, it is acted upon at once.
        let only_died = lines.iter().all(|l| l.2.starts_with("die") || l.2 == "oom");
        if only_died && !lines.is_empty() {
            prop_assert_eq!(reader.yields(), None);
            prop_assert!(lines.iter().all(|l| l.2 == "oom") || reader.cause() == Some(Cause::Spontaneous));
        }
        reader.wait(STARTED_WITHIN);
        prop_assert_eq!((reader.yields(), reader.exits.due()), (None, None));
        let undecided = reader.exits.lives.values().any(|l| l.undecided.is_some());
        prop_assert!(!undecided);
    }
}

#[test]
fn the_picture_is_told_why_a_container_ended() {
    let reader = Reader::new().all(DOCKER_STOP);
    let mut observed = reader.shown();
    let container = Container {
        id: ContainerId(C.into()),
        project: Some("p".into()),
        service: Some("web".into()),
        number: 1,
        state: ContainerState::Exited,
        started: Some(Timestamp(BEGIN - 1)),
        finished: Some(Timestamp(BEGIN + 30)),
        ..Container::default()
    };
    assert_eq!(observed.cause(&container), Some(Cause::ApiStop));
    observed.deaths.clear();
    assert_eq!(observed.cause(&container), Some(Cause::Unknown));
}
