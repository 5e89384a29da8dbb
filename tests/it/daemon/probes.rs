//! Row 45: probe answers that take too long or never end.

use std::time::Duration;

use super::harness::{Home, runs};
use crate::support::{IMAGE, docker};

#[test]
fn row_45_slow_and_endless_bodies() {
    let mut home = Home::new();
    let project = home.project("bodies");
    let service = |name: &str| {
        format!(
            "  {name}:\n    image: {IMAGE}\n    command: [listen, '8000']\n    stop_grace_period: 1s\n"
        )
    };
    let all: String = ["slow", "endless", "drip", "web"].map(service).concat();
    home.write("compose.yaml", &format!("name: {project}\nservices:\n{all}"));
    let probe = |name: &str, path: &str, status: &str| {
        format!(
            "    {name}:\n      interval: 200ms\n      timeout: 500ms\n      readyWithin: 1h\n      probe: {{http: {{port: 8000, path: '{path}'{status}}}}}\n"
        )
    };
    home.write(
        "stack.yaml",
        &format!(
            "apiVersion: homeostat.dev/v1alpha1\nkind: Stack\nmetadata: {{name: bodies}}\nspec:\n  source:\n    compose: {{files: [compose.yaml]}}\n  services:\n{}{}{}{}",
            probe("slow", "/slow?ms=600000", ""),
            // The status has been said: the rest of the body doesn't matter, and isn't read.
            probe("endless", "/endless", ""),
            probe("drip", "/endless", ", status: {from: 500, to: 599}"),
            probe("web", "/health", ""),
        ),
    );
    let daemon = home.daemon(&[]);
    let status = |name: &str| daemon.services().remove(&format!("{project}/{name}"));
    daemon.until("the good one is ready", || status("web").as_deref() == Some("ready"));
    daemon.until("the endless one is ready", || status("endless").as_deref() == Some("ready"));
    let before = runs(&project);
    std::thread::sleep(Duration::from_secs(3));
    // Never ready, never restarted within its start deadline, and said.
    assert_eq!(status("slow").as_deref(), Some("starting"));
    assert_eq!(status("drip").as_deref(), Some("starting"));
    assert_eq!(runs(&project), before);
    let list = daemon.api("/api/v1/services");
    let message = |name: &str| {
        let items = list["items"].as_array().expect("items");
        let found = items.iter().find(|s| s["service"] == name).expect("the service");
        found["message"].as_str().unwrap_or_default().to_owned()
    };
    assert!(message("slow").contains("500ms"), "{}", message("slow"));
    assert!(message("drip").contains("it answers 200, expected 500 to 599"), "{}", message("drip"));
    let metrics = daemon.metrics();
    assert!(metrics["homeostat_probes_total{answer=\"not_ready\"}"] >= 8.0, "{metrics:?}");
    // What is read of an endless body is bounded, and so is what is kept.
    let memory = metrics["process_resident_memory_bytes"];
    assert!(memory < 60.0 * 1024.0 * 1024.0, "{memory} bytes");
    // The loop goes on.
    docker(&["kill", &format!("{project}-web-1")]);
    daemon.until("web runs again", || {
        runs(&project)["web-1"] != before["web-1"] && status("web").as_deref() == Some("ready")
    });
}
