//! Given a project and what the engine shows, the plan's text. Every plan here passes the checker.

mod cold_start;
mod faults;
pub(super) mod fixture;
mod foreign;
mod hold;
mod incidents;
mod model;
mod network;
mod property;
mod replace;
mod restart;
mod supply;
mod tier;
mod update;

/// Deciding has no effect and asks nobody: no runtime, no log, no clock, no engine call.
#[test]
fn the_planner_imports_nothing_that_acts() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut open = vec![source.join("plan"), source.join("lease"), source.join("recovery")];
    let mut read = 0;
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            if path.components().any(|c| c.as_os_str().to_string_lossy().starts_with("tests")) {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("text");
            read += 1;
            for word in
                ["tokio", "tracing", "bollard", "async ", "SystemClock", "Clock>", "std::fs"]
            {
                assert!(!text.contains(word), "{} says {word}", path.display());
            }
            assert!(!text.contains("crate::execute") && !text.contains("dyn Engine"));
        }
    }
    assert!(read > 10, "the files were found");
}
