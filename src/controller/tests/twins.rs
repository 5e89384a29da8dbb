//! Several networks under one name: the one that is ours is used by its ID.

use super::*;

const ONE: &str = "services: {a: {image: 'app:1', networks: [lan]}}\nnetworks: {lan: {}}\n";

fn network(labels: serde_json::Value) -> Write {
    let body = serde_json::json!({ "Name": "p_lan", "Labels": labels });
    let serde_json::Value::Object(body) = body else { unreachable!() };
    Write::CreateNetwork { body: body.into() }
}

async fn named(sim: &SimEngine) -> usize {
    let networks = sim.networks().await.expect("a list");
    networks.iter().filter(|n| n.name == "p_lan").count()
}

#[tokio::test(start_paused = true)]
async fn a_strangers_network_of_our_name_stops_nothing() {
    for api in ["1.44", "1.41"] {
        let sim = engine(1);
        let scene = Scene::on(sim, goal(1, ONE));
        scene.settle(secs(10)).await;
        let ours = scene.containers().await[0].networks["p_lan"].network_id.clone();
        by_hand(&scene.sim, network(serde_json::json!({}))).await;
        // A newer engine refuses a second network of one name, but keeps what it was given.
        scene.sim.set_api(api);
        scene.sim.crash("p-a-1", 1).expect("it runs");
        scene.settle(secs(10)).await;
        let id = scene.sim.id("p-a-1").expect("it is there");
        by_hand(&scene.sim, Write::RemoveContainer { id, force: true }).await;
        scene.settle(secs(10)).await;
        scene.edit(goal(2, &ONE.replace("app:1'", "app:1', hostname: x")));
        scene.settle(secs(15)).await;
        let networks = scene.containers().await[0].networks.clone();
        assert_eq!(networks["p_lan"].network_id, ours);
        let writes = scene.sim.writes();
        let failed: Vec<_> = writes.iter().filter(|w| matches!(w.outcome, Some(Err(_)))).collect();
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!(named(&scene.sim).await, 2, "a stranger's network is nobody's to remove");
        scene.stays_idle(secs(600)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_network_of_our_own_goes_when_nobody_uses_it() {
    let scene = Scene::on(engine(1), goal(1, ONE));
    scene.settle(secs(10)).await;
    let labels = serde_json::json!({
        "com.docker.compose.project": "p", "com.docker.compose.network": "lan",
    });
    by_hand(&scene.sim, network(labels)).await;
    sleep(secs(50)).await;
    assert_eq!(named(&scene.sim).await, 2, "who made it may be about to use it");
    sleep(secs(15)).await;
    scene.settle(secs(10)).await;
    assert_eq!(named(&scene.sim).await, 1);
    scene.stays_idle(secs(600)).await;
}
