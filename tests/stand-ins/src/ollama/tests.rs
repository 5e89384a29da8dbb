use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::recorded::{answer, assert_same, body, request};

macro_rules! recording {
    ($name:literal) => {
        include_str!(concat!("../../fixtures/ollama/", $name, ".http"))
    };
}

fn settings() -> Settings {
    Settings {
        load: Duration::from_millis(1),
        free: Duration::from_millis(100),
        tokens: 5,
        token: Duration::from_millis(10),
        keep_alive: Duration::from_secs(300),
        max_queue: 8,
        vram: 0,
        vram_foreign: 0,
        spill: None,
        shows_context: false,
    }
}

fn ollama(settings: Settings, models: &str) -> Arc<Ollama> {
    Arc::new(Ollama::new(settings, parse_list(models).unwrap(), Vec::new()))
}

async fn ps(service: &Ollama) -> Vec<Value> {
    let text = body(service, "GET", "/api/ps", "").await;
    let mut list: Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(list["models"].take()).unwrap()
}

async fn generate(service: &Ollama, wanted: &str) -> String {
    body(service, "POST", "/api/generate", wanted).await
}

#[tokio::test]
async fn answers_are_as_recorded() {
    let service = ollama(settings(), "tiny");
    let unload = r#"{"model":"tiny","keep_alive":0}"#;
    for (recording, method, path, body) in [
        (recording!("root"), "GET", "/", ""),
        (recording!("version"), "GET", "/api/version", ""),
        (recording!("tags"), "GET", "/api/tags", ""),
        (recording!("ps-empty"), "GET", "/api/ps", ""),
        (recording!("show"), "POST", "/api/show", r#"{"model":"tiny"}"#),
        (recording!("generate-load"), "POST", "/api/generate", r#"{"model":"tiny"}"#),
        (recording!("ps-loaded"), "GET", "/api/ps", ""),
        (recording!("generate-unload"), "POST", "/api/generate", unload),
        (recording!("ps-after-unload"), "GET", "/api/ps", ""),
        (recording!("generate-unload-again"), "POST", "/api/generate", unload),
        (
            recording!("generate-unload-without-model"),
            "POST",
            "/api/generate",
            r#"{"keep_alive":0}"#,
        ),
        (recording!("generate-unknown-model"), "POST", "/api/generate", r#"{"model":"nope"}"#),
        (recording!("generate-bad-json"), "POST", "/api/generate", r#"{"model":"#),
        (recording!("delete-unknown"), "DELETE", "/api/delete", r#"{"model":"nope"}"#),
    ] {
        let answer = answer(&*service, &request(method, path, body)).await;
        assert_same(recording, &answer, &["created_at", "expires_at"]);
    }
}

#[tokio::test]
async fn a_pull_without_network_errs_under_status_200() {
    let service = ollama(settings(), "tiny");
    let pull = request("POST", "/api/pull", r#"{"model":"qwen3:14b"}"#);
    assert_same(recording!("pull-no-network"), &answer(&*service, &pull).await, &[]);
}

#[tokio::test]
async fn a_pulled_model_is_listed_after_its_success_line() {
    let service = ollama(settings(), "tiny");
    service.set("registry", br#"{"models":"qwen3:14b=1000"}"#).unwrap();
    let lines = body(&*service, "POST", "/api/pull", r#"{"model":"qwen3:14b"}"#).await;
    assert!(lines.ends_with("{\"status\":\"success\"}\n"), "{lines}");
    assert!(lines.contains(r#""total":1000,"completed":1000}"#), "{lines}");
    assert!(body(&*service, "GET", "/api/tags", "").await.contains("\"qwen3:14b\""));
    let missing = body(&*service, "POST", "/api/pull", r#"{"model":"other"}"#).await;
    assert!(missing.contains("file does not exist"), "{missing}");
}

#[tokio::test]
async fn an_unload_answers_before_the_runner_ends_and_frees_later() {
    let service = ollama(Settings { vram: 1 << 30, ..settings() }, "tiny");
    let asking = service.clone();
    let stream =
        tokio::spawn(
            async move { generate(&asking, r#"{"model":"tiny","prompt":"hello"}"#).await },
        );
    tokio::time::sleep(Duration::from_millis(25)).await;
    let answer = generate(&service, r#"{"model":"TINY","keep_alive":0}"#).await;
    assert!(answer.contains(r#""done_reason":"unload""#), "{answer}");
    let draining = ps(&service).await;
    assert_eq!(draining.len(), 1);
    assert!(draining[0]["expires_at"].as_str().unwrap() <= &*clock_now(), "{draining:?}");
    assert!(stream.await.unwrap().contains(r#""done_reason":"stop""#));
    assert!(ps(&service).await.is_empty());
    assert_eq!(service.state()["vramUsed"], 23_580_416, "gone from the list is not freed");
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert_eq!(service.state()["vramUsed"], 0);
}

fn clock_now() -> String {
    crate::clock::rfc3339(crate::clock::now())
}

#[tokio::test]
async fn only_a_keep_alive_of_its_own_revives_a_draining_runner() {
    for (prompt, stays) in [
        (r#"{"model":"tiny","prompt":"x","keep_alive":"5m"}"#, 1),
        (r#"{"model":"tiny","prompt":"x"}"#, 0),
    ] {
        let service = ollama(settings(), "tiny");
        let asking = service.clone();
        let first =
            tokio::spawn(
                async move { generate(&asking, r#"{"model":"tiny","prompt":"x"}"#).await },
            );
        tokio::time::sleep(Duration::from_millis(20)).await;
        generate(&service, r#"{"model":"tiny","keep_alive":0}"#).await;
        generate(&service, prompt).await;
        first.await.unwrap();
        assert_eq!(ps(&service).await.len(), stays, "{prompt}");
    }
}

#[tokio::test]
async fn what_does_not_fit_spills_and_other_models_make_room() {
    let service = ollama(Settings { vram: 1_000, ..settings() }, "a=800,b=400,c=1600");
    let loaded = |list: &[Value]| -> Vec<(String, u64, u64)> {
        let bytes = |entry: &Value, name: &str| entry[name].as_u64().unwrap();
        let name = |entry: &Value| entry["name"].as_str().unwrap().to_owned();
        list.iter().map(|e| (name(e), bytes(e, "size"), bytes(e, "size_vram"))).collect()
    };
    generate(&service, r#"{"model":"a"}"#).await;
    assert_eq!(loaded(&ps(&service).await), [("a:latest".to_owned(), 900, 900)]);
    generate(&service, r#"{"model":"b"}"#).await;
    assert_eq!(loaded(&ps(&service).await), [("b:latest".to_owned(), 450, 450)]);
    generate(&service, r#"{"model":"c"}"#).await;
    assert_eq!(loaded(&ps(&service).await), [("c:latest".to_owned(), 1_800, 1_000)]);
    service.set("lose-vram", b"").unwrap();
    assert_eq!(loaded(&ps(&service).await), [("c:latest".to_owned(), 1_800, 0)]);
}

#[tokio::test]
async fn an_unload_blocks_while_the_model_loads_and_ps_lists_it_in_full() {
    let service = ollama(Settings { load: Duration::from_millis(80), ..settings() }, "tiny");
    let loading = service.clone();
    let load = tokio::spawn(async move { generate(&loading, r#"{"model":"tiny"}"#).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(ps(&service).await[0]["size"], 23_580_416);
    let unload = generate(&service, r#"{"model":"tiny","keep_alive":0}"#);
    assert!(tokio::time::timeout(Duration::from_millis(20), unload).await.is_err());
    assert!(load.await.unwrap().contains(r#""done_reason":"load""#));
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_runner() {
    let service = ollama(Settings { tokens: 1_000, ..settings() }, "tiny");
    let ask = generate(&service, r#"{"model":"tiny","prompt":"x","keep_alive":0}"#);
    assert!(tokio::time::timeout(Duration::from_millis(40), ask).await.is_err());
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(ps(&service).await.is_empty());
}

#[tokio::test]
async fn a_dead_runner_ends_its_stream_with_an_error_line() {
    let service = ollama(settings(), "tiny");
    let asking = service.clone();
    let stream =
        tokio::spawn(async move { generate(&asking, r#"{"model":"tiny","prompt":"x"}"#).await });
    tokio::time::sleep(Duration::from_millis(25)).await;
    service.set("kill-runners", b"").unwrap();
    let lines = stream.await.unwrap();
    assert!(lines.lines().last().unwrap().contains("unexpected EOF"), "{lines}");
}

#[tokio::test]
async fn a_broken_model_is_listed_but_cannot_be_shown_or_loaded() {
    let service = ollama(settings(), "tiny");
    service.set("break-model", br#"{"name":"Tiny"}"#).unwrap();
    assert_same(
        recording!("tags"),
        &answer(&*service, &request("GET", "/api/tags", "")).await,
        &[],
    );
    for path in ["/api/show", "/api/generate"] {
        let answer = answer(&*service, &request("POST", path, r#"{"model":"tiny"}"#)).await;
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    }
}

#[tokio::test]
async fn a_page_from_elsewhere_is_refused() {
    let service = ollama(settings(), "tiny");
    let mut page = request("GET", "/api/tags", "");
    page.headers.push(("Origin".to_owned(), "http://elsewhere.example".to_owned()));
    assert!(answer(&*service, &page).await.starts_with("HTTP/1.1 403 "));
    page.headers[1].1 = "http://service:1".to_owned();
    assert!(answer(&*service, &page).await.starts_with("HTTP/1.1 200 "));
}

#[test]
fn keep_alives_are_seconds_or_durations() {
    let read = |text: &str| keep_alive(&serde_json::from_str(text).unwrap());
    assert_eq!(read("0"), Ok(Duration::ZERO));
    assert_eq!(read("\"0\""), Ok(Duration::ZERO));
    assert_eq!(read("\"1h30m\""), Ok(Duration::from_secs(5_400)));
    assert_eq!(read("-1"), Ok(FOREVER));
    assert_eq!(read("\"-1m\""), Ok(FOREVER));
    assert!(read("\"soon\"").is_err());
}
