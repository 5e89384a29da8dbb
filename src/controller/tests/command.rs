//! What a person asks of a running daemon: limited to the services that were named, and answered
//! from what the loop remembers.

use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::api::diagnostic::Diagnostic;
use crate::api::plan::PlanAnswer;
use crate::controller::command::{Desk, Kept, serve};
use crate::controller::watch::{Following, SourceStatus};
use crate::desired::digest::digests;
use crate::engine::sim::EngineStop;
use crate::server::{Command, Progress as Line, Reporter, Request, StepState, Wanted, reason};

const TWO: &str = "
services:
  db: {image: 'app:1'}
  web: {image: 'app:1', depends_on: [db]}
  bad: {image: 'app:1'}
";

const CHECKED: &str = "
services:
  db: {image: 'app:1', healthcheck: {test: [CMD, ok], interval: 1s, retries: 100}}
";

/// A scene whose daemon takes commands.
struct Office {
    scene: Scene,
    inbox: mpsc::Sender<Request>,
    /// What the files say; it becomes the goal once somebody asks for a load.
    edited: Arc<Mutex<Option<Goal>>>,
    status: watch::Sender<SourceStatus>,
    _tap: watch::Sender<Option<Tap>>,
    _stop: DropGuard,
}

impl Office {
    fn new(scene: Scene) -> Self {
        let (status, statuses) = watch::channel(SourceStatus::default());
        let (tap, taps) = watch::channel(Some(scene.tap.clone()));
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<()>>(4);
        let edited: Arc<Mutex<Option<Goal>>> = Arc::default();
        let (files, goals) = (Arc::clone(&edited), scene.goal.clone());
        tokio::spawn(async move {
            while let Some(done) = asked.recv().await {
                if let Some(goal) = files.lock().expect("no panic").take() {
                    goals.send_replace(Some(goal));
                }
                let _ = done.send(());
            }
        });
        let following = Following { goal: scene.goal.subscribe(), status: statuses, requests: ask };
        let stacks = BTreeMap::from([("p".to_owned(), Kept { following, tap: taps })]);
        let desk = Desk {
            stacks: Arc::new(Mutex::new(stacks)),
            observer: scene.observer.clone(),
            clock: scene.sim.clock(),
            endpoint: "sim".into(),
        };
        let (inbox, requests) = mpsc::channel(4);
        let stop = CancellationToken::new();
        tokio::spawn(serve(requests, desk, stop.clone()));
        Self { scene, inbox, edited, status, _tap: tap, _stop: stop.drop_guard() }
    }

    async fn ask(&self, command: Command) -> mpsc::Receiver<Line> {
        let (progress, lines) = Reporter::new();
        self.inbox.send(Request { command, uid: 0, progress }).await.expect("is served");
        lines
    }

    async fn apply(&self, services: &[&str]) -> mpsc::Receiver<Line> {
        self.ask(Command::Apply { stack: "p".into(), wanted: wanted(services) }).await
    }

    async fn plan(&self, services: &[&str]) -> PlanAnswer {
        let command = Command::Plan { stack: "p".into(), wanted: wanted(services) };
        match all(self.ask(command).await).await.1 {
            Line::Planned(answer) => *answer,
            other => panic!("{other:?}"),
        }
    }
}

fn wanted(services: &[&str]) -> Wanted {
    Wanted { services: services.iter().map(|s| (*s).to_owned()).collect(), project: None }
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
    for service in ["bad", "worse"] {
        office.scene.says(&format!("service {service}/1"), "exhausted(2 of 2 attempts)");
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
    office.scene.sim.stop_engine(EngineStop::Kill);
    sleep(secs(1)).await;
    let begun = office.scene.sim.clock().elapsed();
    let (_, end) = all(office.apply(&[]).await).await;
    assert!(matches!(&end, Line::Failed { reason, .. } if reason != "Blocked"), "{end:?}");
    assert!(office.scene.sim.clock().elapsed() - begun < secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_apply_bears_an_engine_that_restarts_and_not_one_that_stays_away() {
    for (away, borne) in [(secs(5), true), (secs(300), false)] {
        let sim = engine(1);
        sim.behave("db", ready_after(secs(3)));
        let office = Office::new(Scene::on(sim, goal(1, CHECKED)));
        let lines = office.apply(&["db"]).await;
        sleep(secs(1)).await;
        let begun = office.scene.sim.clock().elapsed();
        let sim = Arc::clone(&office.scene.sim);
        tokio::spawn(async move { sim.restart_engine(EngineStop::Kill, away).await });
        let (_, end) = all(lines).await;
        assert_eq!(matches!(end, Line::Finished { .. }), borne, "{end:?}");
        assert!(office.scene.sim.clock().elapsed() - begun < secs(90));
        sleep(away).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_caller_left_ends() {
    let sim = engine(1);
    sim.behave("db", ready_after(secs(86_400)));
    let office = Office::new(Scene::on(sim, goal(1, CHECKED)));
    sleep(secs(10)).await;
    let listeners = office.scene.tap.progress.receiver_count();
    let lines = office.apply(&["db"]).await;
    sleep(secs(10)).await;
    assert_eq!(office.scene.tap.progress.receiver_count(), listeners + 1, "it is being served");
    drop(lines);
    sleep(ms(10)).await;
    assert_eq!(office.scene.tap.progress.receiver_count(), listeners);
}

#[tokio::test(start_paused = true)]
async fn an_apply_does_not_call_ready_what_kept_crashing_just_now() {
    let sim = engine(1);
    sim.behave("bad", exits(secs(4), 1));
    let office = Office::new(Scene::on(sim, goal(1, "services: {bad: {image: 'app:1'}}")));
    sleep(secs(120)).await;
    let (_, end) = all(office.apply(&[]).await).await;
    assert!(matches!(&end, Line::Failed { reason, .. } if reason == "Blocked"), "{end:?}");
    // Once it stays up, the wait is short.
    office.scene.sim.behave("bad", ready_after(ms(100)));
    let begun = office.scene.sim.clock().elapsed();
    let (_, end) = all(office.apply(&[]).await).await;
    assert!(matches!(end, Line::Finished { .. }), "{end:?}");
    assert!(office.scene.sim.clock().elapsed() - begun < secs(20));
}

#[tokio::test(start_paused = true)]
async fn an_edit_counts_for_the_command_that_follows_it() {
    let office = Office::new(Scene::new(1, TWO));
    office.scene.settle(secs(30)).await;
    let next = goal(2, &TWO.replace("web: {", "web: {labels: {edited: '1'}, "));
    let project = Some(digests(&next.desired.project));
    *office.edited.lock().expect("no panic") = Some(next);
    let old = office.scene.sim.id("p-web-1");
    let wanted = Wanted { project, ..wanted(&["web"]) };
    let lines = office.ask(Command::Apply { stack: "p".into(), wanted }).await;
    let (lines, end) = all(lines).await;
    assert!(matches!(end, Line::Finished { changed } if changed > 0), "{end:?}");
    assert!(done(&lines).contains(&"service web/1"), "{lines:?}");
    assert_ne!(office.scene.sim.id("p-web-1"), old);
    assert_eq!(office.scene.view().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn another_project_than_the_daemons_is_refused_and_touches_nothing() {
    let office = Office::new(Scene::new(1, TWO));
    office.scene.settle(secs(30)).await;
    office.scene.sim.forget_writes();
    let other = goal(1, &TWO.replace("web: {", "web: {environment: {TOKEN: hunter2}, "));
    let project = Some(digests(&other.desired.project));
    let wanted = || Wanted { project: project.clone(), ..Wanted::default() };
    for command in [
        Command::Apply { stack: "p".into(), wanted: wanted() },
        Command::Plan { stack: "p".into(), wanted: wanted() },
    ] {
        let (lines, end) = all(office.ask(command).await).await;
        let Line::Failed { reason, message } = end else { panic!("{end:?}") };
        assert_eq!(reason, reason::PROJECT_DIFFERS);
        assert!(message.ends_with(": service web") && lines.is_empty(), "{message} {lines:?}");
    }
    assert!(office.scene.sim.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_used_are_told() {
    let office = Office::new(Scene::new(1, TWO));
    let finding = Diagnostic::file(std::path::Path::new("/srv/compose.yaml"), "is no YAML");
    office.status.send_modify(|status| status.error = Some(finding.into()));
    for command in [
        Command::Apply { stack: "p".into(), wanted: Wanted::default() },
        Command::Plan { stack: "p".into(), wanted: Wanted::default() },
    ] {
        let (_, end) = all(office.ask(command).await).await;
        let Line::Failed { reason, message } = end else { panic!("{end:?}") };
        assert_eq!(reason, reason::SOURCE_INVALID);
        assert!(message.contains("/srv/compose.yaml: is no YAML"), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_rests_on_what_the_daemon_remembers_and_does_nothing() {
    let sim = engine(1);
    sim.behave("task", exits(secs(1), 0));
    sim.behave("bad", exits(ms(20), 1));
    let yaml = "
services:
  task: {image: 'app:1'}
  web: {image: 'app:1', depends_on: {task: {condition: service_completed_successfully}}}
  bad: {image: 'app:1'}
";
    let office = Office::new(Scene::on(sim, goal(1, yaml)));
    sleep(secs(600)).await;
    // The job's container is gone; that it ran is known.
    let id = office.scene.sim.id("p-task-1").expect("it is there");
    by_hand(&office.scene.sim, Write::RemoveContainer { id, force: true }).await;
    sleep(secs(2)).await;
    office.scene.sim.forget_writes();
    let answer = office.plan(&[]).await;
    assert!(office.scene.sim.writes().is_empty());
    assert!(answer.text.contains("service bad/1: exhausted(3 of 3 attempts)"), "{}", answer.text);
    assert!(answer.text.contains("p: nothing to do, 1 exhausted; 2 of 3 ready"), "{}", answer.text);
    // Nothing more is done before a person says so.
    assert!(!answer.document.changes && answer.document.steps.is_empty());
    let of_web = office.plan(&["web"]).await;
    assert_eq!(of_web.text, "p: nothing to do; 2 of 2 ready\n");
    let names: Vec<&str> = of_web.document.services.iter().map(|s| s.service.as_str()).collect();
    assert_eq!(names, ["task", "web"]);
}
