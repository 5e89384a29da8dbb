//! What a person asks of a running daemon: limited to the services that were named, and answered
//! from what the loop remembers.

use tokio::sync::mpsc;

use super::*;
use crate::controller::command::{Desk, Kept, serve};
use crate::controller::watch::{Following, SourceStatus};
use crate::server::{Command, Progress as Line, Reporter, Request, StepState, reason};

const TWO: &str = "
services:
  db: {image: 'app:1'}
  web: {image: 'app:1', depends_on: [db]}
  bad: {image: 'app:1'}
";

/// A scene whose daemon takes commands.
struct Office {
    scene: Scene,
    inbox: mpsc::Sender<Request>,
    _status: watch::Sender<SourceStatus>,
    _tap: watch::Sender<Option<Tap>>,
    _stop: DropGuard,
}

impl Office {
    fn new(scene: Scene) -> Self {
        let (status, statuses) = watch::channel(SourceStatus::default());
        let (tap, taps) = watch::channel(Some(scene.tap.clone()));
        let following = Following { goal: scene.goal.subscribe(), status: statuses };
        let stacks = BTreeMap::from([("p".to_owned(), Kept { following, tap: taps })]);
        let desk = Desk {
            stacks: Arc::new(Mutex::new(stacks)),
            observer: scene.observer.clone(),
            clock: scene.sim.clock(),
        };
        let (inbox, requests) = mpsc::channel(4);
        let stop = CancellationToken::new();
        tokio::spawn(serve(requests, desk, stop.clone()));
        Self { scene, inbox, _status: status, _tap: tap, _stop: stop.drop_guard() }
    }

    async fn ask(&self, command: Command) -> mpsc::Receiver<Line> {
        let (progress, lines) = Reporter::new();
        self.inbox.send(Request { command, uid: 0, progress }).await.expect("is served");
        lines
    }

    async fn apply(&self, services: &[&str]) -> mpsc::Receiver<Line> {
        let services = services.iter().map(|s| (*s).to_owned()).collect();
        self.ask(Command::Apply { stack: "p".into(), services }).await
    }
}

/// Lines up to the end, and the end.
async fn all(mut lines: mpsc::Receiver<Line>) -> (Vec<Line>, Line) {
    let mut seen = Vec::new();
    while let Some(line) = lines.recv().await {
        seen.push(line);
    }
    let last = seen.pop().expect("a result");
    (seen, last)
}

/// Objects of the steps that were done.
fn done(lines: &[Line]) -> Vec<&str> {
    let steps = lines.iter().filter_map(|line| match line {
        Line::Step { object, state: StepState::Done, .. } => Some(object.as_str()),
        _ => None,
    });
    steps.collect()
}

#[tokio::test(start_paused = true)]
async fn an_apply_of_some_services_waits_for_them_and_tells_of_nothing_else() {
    let sim = engine(1);
    sim.behave("db", ready_after(secs(2)));
    sim.behave("bad", exits(ms(500), 1));
    let office = Office::new(Scene::on(sim, goal(1, TWO)));
    let begun = office.scene.sim.clock().elapsed();
    let (lines, end) = all(office.apply(&["web"]).await).await;
    assert!(matches!(end, Line::Finished { changed } if changed > 0), "{end:?}");
    assert!(office.scene.sim.clock().elapsed() - begun < secs(20), "it waits for nobody else");
    let objects = done(&lines);
    assert!(objects.contains(&"service web/1") && objects.contains(&"service db/1"), "{objects:?}");
    assert!(!objects.contains(&"service bad/1"), "{objects:?}");
    assert_eq!(office.scene.status("web"), SlotStatus::Ready);
    // The daemon goes on with the rest.
    sleep(secs(60)).await;
    assert!(office.scene.count("/start", "p-bad-1") > 1, "{}", office.scene.show());

    let (lines, end) = all(office.apply(&["web"]).await).await;
    assert_eq!((lines, end), (vec![], Line::Finished { changed: 0 }));
}

#[tokio::test(start_paused = true)]
async fn an_apply_of_what_crashes_again_and_again_is_given_up_with_the_reason() {
    let sim = engine(1);
    sim.behave("bad", Behaviour { ready_after: Some(secs(5)), ..exits(ms(500), 1) });
    let checked = TWO.replace("bad: {", "bad: {healthcheck: {test: [CMD, x], interval: 1s}, ");
    let office = Office::new(Scene::on(sim, goal(1, &checked)));
    let (_, end) = all(office.apply(&["bad"]).await).await;
    let Line::Failed { reason, message } = end else { panic!("{end:?}") };
    assert_eq!(reason, "Blocked");
    assert!(
        message.contains("service bad/1: started") && message.contains("exited 1"),
        "{message}"
    );
    assert!(!message.contains("web"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_persons_word_ends_the_pauses_of_the_named_services_only() {
    let sim = engine(1);
    for service in ["bad", "worse"] {
        sim.behave(service, exits(ms(20), 1));
    }
    let yaml = "services: {bad: {image: 'app:1'}, worse: {image: 'app:1'}}";
    let office = Office::new(Scene::on(sim, goal(1, yaml)));
    sleep(secs(1800)).await;
    let starts = |name: &str| office.scene.count("/start", name);
    // Both wait for minutes; nothing may happen by itself in the next second.
    let waits = |service: &str| {
        let text = office.scene.view().report.to_string();
        let line = text.lines().find(|l| l.contains(service)).unwrap_or_default().to_owned();
        let (_, rest) = line.split_once("next in ")?;
        rest.split(' ').next()?.parse::<f64>().ok()
    };
    while [waits("bad"), waits("worse")].iter().any(|left| left.is_none_or(|left| left < 10.0)) {
        sleep(secs(1)).await;
    }
    let before = (starts("p-bad-1"), starts("p-worse-1"));
    let _lines = office.apply(&["bad"]).await;
    sleep(secs(1)).await;
    assert_eq!((starts("p-bad-1"), starts("p-worse-1")), (before.0 + 1, before.1));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_service_is_told_the_nearest() {
    let office = Office::new(Scene::new(1, TWO));
    let (_, end) = all(office.apply(&["wbe"]).await).await;
    let message = "no service `wbe` in project `p`; did you mean `web`?".into();
    assert_eq!(end, Line::Failed { reason: reason::UNKNOWN_SERVICE.into(), message });
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_is_told_at_once() {
    let office = Office::new(Scene::new(1, TWO));
    office.scene.settle(secs(30)).await;
    office.scene.sim.stop_engine(crate::engine::sim::EngineStop::Kill);
    sleep(secs(1)).await;
    let begun = office.scene.sim.clock().elapsed();
    let (_, end) = all(office.apply(&[]).await).await;
    assert!(matches!(&end, Line::Failed { reason, .. } if reason != "Blocked"), "{end:?}");
    assert!(office.scene.sim.clock().elapsed() - begun < secs(1));
}
