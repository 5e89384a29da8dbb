//! Each thing that no plan may do is found, in a plan that is otherwise fine.

use super::{Violation, check};
use crate::compose::types::{Condition, Namespace};
use crate::engine::Tier;
use crate::observed::{ContainerState, Health};
use crate::plan::memory::Backoff;
use crate::plan::step::{Cause, NetworkRef, Op, Plan, Resource, Step, StepId, Target};
use crate::plan::tests::fixture::{World, id, service, slot, volume};

fn web() -> World {
    World::new([service("web")]).up()
}

/// What the checker says of these operations, each with the steps that it follows.
fn verdict(world: &World, ops: &[(&[usize], Op)]) -> Vec<Violation> {
    let steps = ops.iter().enumerate().map(|(i, (after, op))| Step {
        id: StepId(i + 1),
        after: after.iter().map(|n| StepId(*n)).collect(),
        resource: resource(op),
        op: op.clone(),
        cause: Cause::Missing,
    });
    judge(world, steps.collect())
}

fn judge(world: &World, steps: Vec<Step>) -> Vec<Violation> {
    let plan = Plan { generation: 1, steps };
    let outcome = check(&plan, &world.desired(), &world.observed, &world.memory, world.now);
    outcome.err().unwrap_or_default()
}

/// Something that no rule looks at, so that the operation itself decides.
fn resource(op: &Op) -> Resource {
    Resource::Container(match op {
        Op::CreateNetwork { key } | Op::CreateVolume { key } => key.clone(),
        other => other.action().to_owned(),
    })
}

fn existing(text: &str) -> Target {
    Target::Existing(id(text))
}

fn start(text: &str) -> Op {
    Op::Start { container: existing(text) }
}

fn start_made(step: usize) -> Op {
    Op::Start { container: Target::Created(StepId(step)) }
}

fn stop(text: &str) -> Op {
    Op::Stop { container: id(text) }
}

fn remove(text: &str) -> Op {
    Op::Remove { container: id(text), force: false }
}

fn create(service: &str, name: &str, replaces: Option<&str>) -> Op {
    Op::Create {
        slot: slot(service, 1),
        name: name.into(),
        replaces: replaces.map(id),
        keeps: None,
        parents: vec![],
        twins: vec![],
    }
}

fn connect(network: NetworkRef, container: Target) -> Op {
    Op::Connect { key: "default".into(), network, container, slot: slot("web", 1), twin: false }
}

fn disconnect(text: &str) -> Op {
    Op::Disconnect { network: "net-default".into(), container: id(text) }
}

fn default_network() -> NetworkRef {
    NetworkRef::Existing("net-default".into())
}

#[test]
fn a_sound_replacement_passes() {
    let ops: [(&[usize], Op); 5] = [
        (&[], create("web", "new", Some("web1"))),
        (&[1], stop("web1")),
        (&[2], remove("web1")),
        (&[3], Op::Rename { container: Target::Created(StepId(1)), name: "p-web-1".into() }),
        (&[4], start_made(1)),
    ];
    assert_eq!(verdict(&web(), &ops), []);
}

#[test]
fn edges_lead_to_earlier_steps_and_numbers_follow_the_order() {
    let mut w = web();
    w.exit("web", 1, 60);
    assert_eq!(verdict(&w, &[(&[], start("web1"))]), []);
    let forward = |after: usize| vec![Violation::ForwardEdge(StepId(1), StepId(after))];
    for after in [0, 1, 2] {
        assert_eq!(verdict(&w, &[(&[after], start("web1"))]), forward(after));
    }
    let op = start("web1");
    let step =
        Step { id: StepId(2), after: vec![], resource: resource(&op), op, cause: Cause::Missing };
    assert_eq!(judge(&w, vec![step]), [Violation::Misnumbered(StepId(2))]);
}

#[test]
fn what_a_step_makes_is_used_after_it_and_as_what_it_is() {
    let mut w = web();
    w.remove("web");
    let dangling = |then, made| vec![Violation::DanglingTarget(StepId(then), StepId(made))];
    let made = create("web", "p-web-1", None);
    assert_eq!(verdict(&w, &[(&[], made.clone()), (&[1], start_made(1))]), []);
    let unordered = verdict(&w, &[(&[], made.clone()), (&[], start_made(1))]);
    assert!(unordered.contains(&dangling(2, 1)[0]), "{unordered:?}");
    let wrong = connect(NetworkRef::Created(StepId(1)), Target::Created(StepId(1)));
    assert!(verdict(&w, &[(&[], made), (&[1], wrong)]).contains(&dangling(2, 1)[0]));
}

#[test]
fn only_this_projects_containers_are_touched_and_no_one_offs() {
    let foreign = [Violation::ForeignContainer(StepId(1), id("x"))];
    let mut w = web();
    assert_eq!(verdict(&w, &[(&[], start("x"))]), foreign);
    w.stranger("x", |c| c.project = Some("q".into()));
    assert_eq!(verdict(&w, &[(&[], start("x"))]), foreign);
    w.stranger("x", |c| {
        c.project = Some("p".into());
        c.oneoff = true;
    });
    assert_eq!(verdict(&w, &[(&[], stop("x"))]), foreign);
}

#[test]
fn nothing_is_made_for_a_service_that_nobody_wants() {
    let unwanted = Violation::UnwantedSlot(StepId(1), "gone/1".into());
    assert_eq!(verdict(&web(), &[(&[], create("gone", "p-gone-1", None))]), [unwanted]);
}

#[test]
fn external_and_foreign_networks_and_volumes_are_neither_made_nor_removed() {
    let foreign = |what: &str| [Violation::ForeignSupply(StepId(1), what.into())];
    let make = Op::CreateNetwork { key: "default".into() };
    let drop = Op::RemoveNetwork { id: "net-default".into() };
    let mut w = web();
    w.observed.containers.clear();
    assert_eq!(verdict(&w, &[(&[], drop.clone()), (&[1], make.clone())]), []);
    w.project.networks.get_mut("default").expect("there").external = true;
    assert_eq!(verdict(&w, &[(&[], drop.clone())]), foreign("net-default"));
    assert_eq!(verdict(&w, &[(&[], make)]), foreign("default"));
    let mut w = web();
    w.observed.networks.get_mut("net-default").expect("there").labels.clear();
    assert_eq!(verdict(&w, &[(&[], drop)]), foreign("net-default"));
    let make = Op::CreateVolume { key: "data".into() };
    assert_eq!(verdict(&w, &[(&[], make.clone())]), foreign("data"));
    let external = crate::compose::types::Volume { external: true, ..volume("data") };
    w.project.volumes.insert("data".into(), external);
    assert_eq!(verdict(&w, &[(&[], make)]), foreign("data"));
}

#[test]
fn nothing_is_made_twice() {
    let twice = |what: &str| [Violation::Duplicate(StepId(1), what.into())];
    let mut w = World::new([service("web").volume("data")]).up();
    assert_eq!(
        verdict(&w, &[(&[], Op::CreateNetwork { key: "default".into() })]),
        twice("default")
    );
    assert_eq!(verdict(&w, &[(&[], Op::CreateVolume { key: "data".into() })]), twice("data"));
    assert_eq!(verdict(&w, &[(&[], create("web", "new", None))]), twice("web/1"));
    w.stranger("x", |c| c.name = "p-web-1".into());
    w.remove("web");
    assert_eq!(verdict(&w, &[(&[], create("web", "p-web-1", None))]), twice("p-web-1"));
}

#[test]
fn a_connect_names_the_network_of_its_key() {
    let mut w = web();
    let wrong = [Violation::WrongNetwork(StepId(1), "default".into())];
    assert_eq!(verdict(&w, &[(&[], connect(default_network(), existing("web1")))]), []);
    let gone = NetworkRef::Existing("net-gone".into());
    assert_eq!(verdict(&w, &[(&[], connect(gone, existing("web1")))]), wrong);
    w.observed.networks.get_mut("net-default").expect("there").name = "q_default".into();
    assert_eq!(verdict(&w, &[(&[], connect(default_network(), existing("web1")))]), wrong);
}

#[test]
fn what_is_busy_held_or_backing_off_is_left_alone() {
    let mut w = web();
    let name = "service web/1".to_owned();
    w.memory.busy.insert(Resource::Slot(slot("web", 1)));
    let restart = [(&[][..], Op::Restart { container: id("web1") })];
    assert_eq!(verdict(&w, &restart), [Violation::Busy(StepId(1), name.clone())]);
    w.memory.busy.clear();
    w.hold("web");
    assert_eq!(verdict(&w, &restart), [Violation::Held(StepId(1), name.clone())]);
    w.memory.holds = crate::plan::hold::Holds::default();
    let not_before = w.now.mono.after(std::time::Duration::from_millis(1));
    let backoff = Backoff { not_before, ..Backoff::default() };
    w.memory.backoff.insert(slot("web", 1), backoff.clone());
    assert_eq!(verdict(&w, &restart), [Violation::Backoff(StepId(1), name)]);
    w.now.mono = not_before;
    assert_eq!(verdict(&w, &restart), []);
    w.now.mono = crate::clock::Mono::default();
    w.memory.backoff.clear();
    w.memory.resource_backoff.insert(Resource::Image("app".into()), backoff);
    let pull = Op::Pull { reference: "app".into(), platform: None };
    assert_eq!(verdict(&w, &[(&[], pull)]), [Violation::Backoff(StepId(1), "image app".into())]);
}

#[test]
fn a_running_container_is_stopped_before_it_is_removed() {
    let mut w = web();
    w.project.services.clear();
    let running = Violation::RemovesRunning(StepId(1), id("web1"));
    assert_eq!(verdict(&w, &[(&[], stop("web1")), (&[1], remove("web1"))]), []);
    assert_eq!(verdict(&w, &[(&[], remove("web1"))]), vec![running.clone()]);
    let forced = Op::Remove { container: id("web1"), force: true };
    assert_eq!(verdict(&w, &[(&[], forced)]), [running]);
}

#[test]
fn a_wanted_container_is_not_removed_without_another() {
    let mut w = web();
    w.exit("web", 1, 60);
    let depletes = Violation::Depletes(StepId(1), "web".into());
    assert_eq!(verdict(&w, &[(&[], remove("web1"))]), [depletes]);
}

#[test]
fn the_old_container_runs_until_the_new_one_is_made() {
    let early = Violation::StopsBeforeCreate(StepId(2), id("web1"));
    let ops: [(&[usize], Op); 3] =
        [(&[], create("web", "new", Some("web1"))), (&[], stop("web1")), (&[1, 2], remove("web1"))];
    assert_eq!(verdict(&web(), &ops), [early]);
}

#[test]
fn a_child_is_not_made_over_a_parent_that_goes() {
    let mut child = service("app");
    child.network_mode = Some(Namespace::Service("web".into()));
    let mut w = web();
    w.set(child);
    let make = Op::Create {
        slot: slot("app", 1),
        name: "p-app-1".into(),
        replaces: None,
        keeps: None,
        parents: vec![("web".into(), existing("web1"))],
        twins: vec![],
    };
    let ops: [(&[usize], Op); 4] = [
        (&[], create("web", "new", Some("web1"))),
        (&[1], stop("web1")),
        (&[2], remove("web1")),
        (&[], make),
    ];
    assert_eq!(verdict(&w, &ops), [Violation::ForeignContainer(StepId(4), id("web1"))]);
}

/// A service whose update keeps the container `kept`, which runs no more.
fn updated() -> World {
    let mut w = web();
    let mut kept = (*w.observed.containers[&id("web1")]).clone();
    (kept.id, kept.name) = (id("kept"), "aaaaaaaaaaaa_p-web-1".into());
    kept.state = crate::observed::ContainerState::Exited;
    w.observed.containers.insert(kept.id.clone(), kept.into());
    let update = crate::plan::update::Update { kept: id("kept"), ..Default::default() };
    w.memory.updates.insert(slot("web", 1), update);
    w
}

#[test]
fn what_an_update_keeps_is_not_removed_before_it_is_over() {
    let removal: [(&[usize], Op); 1] = [(&[], remove("kept"))];
    assert_eq!(verdict(&updated(), &removal), [Violation::RemovesKept(StepId(1), id("kept"))]);
    let mut over = updated();
    over.memory.updates.clear();
    assert_eq!(verdict(&over, &removal), []);
}

#[test]
fn only_what_is_gone_is_made_again() {
    let again = |lost: &str| Op::Recreate {
        slot: slot("web", 1),
        name: "p-web-1-again".into(),
        lost: id(lost),
        body: id(lost),
    };
    let steps: [(&[usize], Op); 1] = [(&[], again("kept"))];
    let violation = [Violation::ForeignContainer(StepId(1), id("kept"))];
    assert_eq!(verdict(&updated(), &steps), violation);
    let mut gone = updated();
    gone.observed.containers.remove(&id("kept"));
    assert_eq!(verdict(&gone, &steps), []);
    let steps: [(&[usize], Op); 1] = [(&[], again("other"))];
    assert_eq!(verdict(&gone, &steps).len(), 1);
}

fn pair(condition: Condition) -> World {
    let mut w = World::new([service("db").checked(), service("web").needs("db", condition)]).up();
    w.exit("web", 1, 60);
    w
}

#[test]
fn a_start_follows_those_of_its_dependencies() {
    let mut w = pair(Condition::Started);
    w.exit("db", 1, 60);
    let early = |n| Violation::StartsBeforeDependency(StepId(n), "web".into(), "db".into());
    assert_eq!(verdict(&w, &[(&[], start("db1")), (&[1], start("web1"))]), []);
    assert_eq!(verdict(&w, &[(&[], start("db1")), (&[], start("web1"))]), [early(2)]);
    assert_eq!(verdict(&w, &[(&[], start("web1")), (&[], start("db1"))]), [early(1)]);
}

#[test]
fn a_start_waits_for_the_condition_of_its_dependency() {
    let unmet =
        |n, word| vec![Violation::UnmetDependency(StepId(n), "web".into(), "db".into(), word)];
    let alone = [(&[][..], start("web1"))];
    let mut w = pair(Condition::Started);
    assert_eq!(verdict(&w, &alone), []);
    w.exit("db", 1, 60);
    assert_eq!(verdict(&w, &alone), unmet(1, "started"));
    let mut w = pair(Condition::Healthy);
    assert_eq!(verdict(&w, &alone), []);
    w.fault("db", |c| c.health = Health::Starting);
    assert_eq!(verdict(&w, &alone), unmet(1, "healthy"));
    w.exit("db", 1, 60);
    assert_eq!(verdict(&w, &[(&[], start("db1")), (&[1], start("web1"))]), unmet(2, "healthy"));
    let mut w = pair(Condition::CompletedSuccessfully);
    assert_eq!(verdict(&w, &alone), []);
    w.fault("db", |c| c.exit_code = Some(1));
    assert_eq!(verdict(&w, &alone), unmet(1, "completed"));
    w.fault("db", |c| c.state = ContainerState::Running);
    assert_eq!(verdict(&w, &alone), unmet(1, "completed"));
}

#[test]
fn a_detached_container_is_attached_again() {
    let left = Violation::LeftDetached(StepId(1), id("web1"), "p_default".into());
    let again = connect(default_network(), existing("web1"));
    let w = web();
    assert_eq!(verdict(&w, &[(&[], disconnect("web1")), (&[1], again.clone())]), []);
    assert_eq!(verdict(&w, &[(&[], disconnect("web1"))]), vec![left.clone()]);
    let unordered = verdict(&w, &[(&[], disconnect("web1")), (&[], again)]);
    assert_eq!(unordered, [left, Violation::Unordered(StepId(1), StepId(2))]);
}

#[test]
fn two_changes_of_one_thing_have_an_order() {
    let mut w = web();
    w.exit("web", 1, 60);
    let unordered = [Violation::Unordered(StepId(1), StepId(2))];
    assert_eq!(verdict(&w, &[(&[], start("web1")), (&[], start("web1"))]), unordered);
    let rename = Op::Rename { container: existing("web1"), name: "x".into() };
    assert_eq!(verdict(&w, &[(&[], rename), (&[], start("web1"))]), unordered);
    let pull = Op::Pull { reference: "app".into(), platform: None };
    assert_eq!(verdict(&w, &[(&[], pull.clone()), (&[], pull)]), unordered);
}

#[test]
fn what_the_tier_does_not_allow() {
    let mut w = web();
    w.memory.tier = Tier::Heal;
    w.remove("web");
    let made: [(&[usize], Op); 2] = [(&[], create("web", "p-web-1", None)), (&[1], start_made(1))];
    let above = Violation::AboveTier(StepId(1), "create_container", Tier::Heal);
    assert_eq!(verdict(&w, &made), [above]);
    // A plan of `observe` is only shown.
    w.memory.tier = Tier::Observe;
    assert_eq!(verdict(&w, &made), []);
}
