//! Row 29 on the real engine: its disk has no room for an image that is to be pulled.

use std::time::Duration;

use super::harness::Home;
use crate::support::IMAGE;
use crate::support::engine::OwnEngine;
use crate::support::registry::Registry;

fn text(project: &str, web: &str, more: &str) -> String {
    let mut text = format!("name: {project}\nservices:\n");
    for (name, image) in [("web", web), ("more", more), ("db", IMAGE)] {
        text += &format!(
            "  {name}:\n    image: {image}\n    command: [sleep]\n    stop_grace_period: 1s\n"
        );
    }
    text
}

#[test]
fn row_29_a_full_disk_stops_pulls_and_nothing_else_until_somebody_makes_room() {
    let engine = OwnEngine::with_room("40m");
    let registry = Registry::start(&engine, 48 << 20);
    let mut home = Home::new();
    let project = home.project("disk");
    home.write("compose.yaml", &text(&project, IMAGE, IMAGE));
    let daemon = home.daemon(&["-H", &engine.host()]);
    daemon.until_ready("stacks", 1);
    let runs = || {
        let names = ["web", "more", "db"].map(|name| format!("{project}-{name}-1"));
        names.map(|name| engine.inspect(&name, "{{.Id}} {{.State.StartedAt}}"))
    };
    let before = runs();
    home.write("compose.yaml", &text(&project, "127.0.0.1:5000/web:1", IMAGE));
    daemon.until("the alarm is given", || {
        daemon.condition("stacks", "DiskFull").starts_with("True NoRoomForImages")
    });
    let condition = daemon.condition("stacks", "DiskFull");
    assert!(condition.contains("make room"), "{condition}");
    assert!(registry.pulls("web") > 0, "it was tried");
    // Another image isn't even tried, and nobody is touched.
    let tried = registry.pulls("web");
    home.write("compose.yaml", &text(&project, "127.0.0.1:5000/web:1", "127.0.0.1:5000/more:1"));
    daemon.until("the edit is seen", || {
        daemon.api("/api/v1/stacks")["items"][0]["observedGeneration"] == 3
    });
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!((registry.pulls("web"), registry.pulls("more")), (tried, 0));
    assert_eq!(runs(), before, "what runs goes on");
    // What falls is mended.
    engine.docker(&["kill", &format!("{project}-db-1")]);
    daemon.until("db runs again", || {
        let now = runs();
        now[2] != before[2] && daemon.services()[&format!("{project}/db")] == "ready"
    });
    let now = runs();
    assert_eq!((&now[0], &now[1]), (&before[0], &before[1]));
    // Somebody makes room and says so.
    engine.make_room("400m");
    let ran = home.run(&["-H", &engine.host(), "apply"]);
    assert_eq!(ran.code, Some(0), "{ran:?}\n{}", daemon.log());
    for name in ["web", "more"] {
        let image = engine.inspect(&format!("{project}-{name}-1"), "{{.Config.Image}}");
        assert_eq!(image, format!("127.0.0.1:5000/{name}:1"));
    }
    assert!(daemon.condition("stacks", "DiskFull").starts_with("False"));
}
