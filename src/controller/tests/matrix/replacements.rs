//! Row 18: a replacement that was begun and not finished.

use super::*;

const WEB: &str = "services: {web: {image: 'app:1'}, free: {image: 'app:1'}}";

/// How far a replacement came before its tool was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Done {
    Created,
    Stopped,
    Removed,
    Renamed,
}

/// The body that `p-web-1` was made of.
fn body(scene: &Scene) -> Sensitive<serde_json::Map<String, serde_json::Value>> {
    let last = scene.sim.writes().into_iter().rev().find_map(|w| match w.write {
        Write::CreateContainer { name, body, .. } if name == "p-web-1" => Some(body),
        _ => None,
    });
    last.expect("was made")
}

/// Replaces `p-web-1` as Docker Compose does, so far. Returns the old and the new container.
async fn half_replace(
    scene: &Scene,
    body: Sensitive<serde_json::Map<String, serde_json::Value>>,
    done: Done,
) -> (ContainerId, ContainerId) {
    let sim = &scene.sim;
    let old = sim.id("p-web-1").expect("is there");
    let name = format!("{}_p-web-1", old.short());
    let made = sim.by_hand(Write::CreateContainer { name, platform: None, body }).await;
    let new = ContainerId(made.expect("made").id.expect("an ID"));
    if done >= Done::Stopped {
        sim.stop(&old.0).await.expect("stops");
    }
    if done >= Done::Removed {
        sim.remove(&old.0, false).await.expect("goes");
    }
    if done >= Done::Renamed {
        sim.rename(&new.0, "p-web-1").expect("renames");
    }
    (old, new)
}

/// One container of the slot under its own name, running.
async fn is_whole(scene: &Scene) -> ContainerId {
    let containers = scene.containers().await;
    let names: Vec<&str> = containers.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(containers.len(), 2, "{names:?}");
    let web = containers.iter().find(|c| c.name == "p-web-1").expect("its name");
    assert_eq!(web.state, ContainerState::Running);
    web.id.clone()
}

#[tokio::test(start_paused = true)]
async fn row_18_what_another_tool_left_is_finished_once_it_is_quiet() {
    for done in [Done::Created, Done::Stopped, Done::Removed] {
        let scene = Scene::new(1, WEB);
        scene.settle(secs(10)).await;
        let body = body(&scene);
        half_replace(&scene, body, done).await;
        sleep(secs(1)).await;
        scene.says("service web/1", "another tool that replaces it");
        scene.stays_quiet(secs(30)).await;
        scene.says("service web/1", "an unfinished replacement by another tool");
        scene.stays_quiet(secs(25)).await;
        scene.settle(secs(30)).await;
        is_whole(&scene).await;
        let touched = scene.sim.writes().iter().any(|w| w.name == "p-free-1");
        assert!(!touched, "{done:?}: {}", scene.show());
        scene.stays_idle(secs(3600)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn row_18_a_container_that_was_only_not_started_is_started() {
    let scene = Scene::new(1, WEB);
    scene.settle(secs(10)).await;
    let body = body(&scene);
    let (_, new) = half_replace(&scene, body, Done::Renamed).await;
    // Whoever made it has 30 s to start it.
    scene.stays_quiet(secs(29)).await;
    scene.settle(secs(5)).await;
    assert_eq!(is_whole(&scene).await, new);
    scene.stays_idle(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn row_18_what_we_began_ourselves_is_finished_at_once() {
    for done in [Done::Created, Done::Stopped, Done::Removed, Done::Renamed] {
        let scene = Scene::new(1, WEB);
        scene.settle(secs(10)).await;
        let body = body(&scene);
        let sim = Arc::clone(&scene.sim);
        // Killed in the midst of it; the journal knows what it had made.
        scene.goal.send_replace(None);
        sleep(ms(20)).await;
        let (_, new) = half_replace(&scene, body, done).await;
        drop(scene);
        let memory = Memory { owned: [new.clone()].into(), ..Memory::default() };
        let scene = Scene::with_memory(sim, goal(1, WEB), memory);
        scene.settle(secs(15)).await;
        is_whole(&scene).await;
        scene.stays_idle(secs(600)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn row_18_what_is_not_wanted_any_more_is_undone() {
    let scene = Scene::new(1, WEB);
    scene.settle(secs(10)).await;
    let mut other = body(&scene).into_inner();
    let labels = other.get_mut("Labels").and_then(|l| l.as_object_mut()).expect("labels");
    labels.insert(crate::observed::labels::CONFIG_HASH.into(), json!("0123"));
    let starts = scene.starts();
    let (old, _) = half_replace(&scene, Sensitive::new(other), Done::Created).await;
    scene.stays_quiet(secs(55)).await;
    scene.settle(secs(30)).await;
    assert_eq!(is_whole(&scene).await, old);
    assert_eq!(scene.starts(), starts, "what ran was left running");
    scene.stays_idle(secs(3600)).await;
}
