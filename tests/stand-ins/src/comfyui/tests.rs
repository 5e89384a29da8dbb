use super::*;
use crate::recorded::{answer as ask, assert_same, body, request};

macro_rules! recording {
    ($name:literal) => {
        include_str!(concat!("../../fixtures/comfyui/", $name, ".http"))
    };
}

const PROMPT: &str = r#"{"client_id":"c1","prompt":{
    "1":{"class_type":"EmptyImage","inputs":{"width":4096,"height":4096,"batch_size":8,"color":255}},
    "3":{"class_type":"ImageBlur","inputs":{"image":["1",0],"blur_radius":31,"sigma":10.0}},
    "2":{"class_type":"PreviewImage","inputs":{"images":["3",0]}}}}"#;
const FIRST: &str = "70b9d5ce-02ce-4fbe-a8c3-53ed6f391f8c";
const SECOND: &str = "43be8436-7be4-4884-9cb0-b3ad7c16c31f";
const ARGUMENTS: [&str; 5] = ["--cpu", "--port", "28188", "--listen", "127.0.0.1"];

fn settings() -> Settings {
    Settings {
        load: Duration::ZERO,
        run: Duration::from_secs(30),
        need: 4_000,
        vram: 0,
        vram_foreign: 0,
        oom_next: 0,
        lose_free: false,
    }
}

fn comfyui(arguments: &[&str], settings: Settings) -> Arc<ComfyUi> {
    let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
    let service = Arc::new(ComfyUi::new(&arguments, settings).unwrap());
    let worker = service.clone();
    tokio::spawn(async move { worker.prompts.work(&worker.settings).await });
    service
}

/// The recorded prompt under a chosen id, the second one with another colour.
fn prompt(id: &str) -> String {
    let mut prompt: Value = serde_json::from_str(PROMPT).unwrap();
    prompt["prompt_id"] = id.into();
    if id == SECOND {
        prompt["prompt"]["1"]["inputs"]["color"] = 254.into();
    }
    prompt.to_string()
}

async fn post(service: &ComfyUi, path: &str, text: &str) -> String {
    ask(service, &request("POST", path, text)).await
}

async fn get(service: &ComfyUi, path: &str) -> String {
    ask(service, &request("GET", path, "")).await
}

/// Waits until nothing runs or is queued.
async fn idle(service: &ComfyUi) {
    for _ in 0..400 {
        if service.prompts.remaining() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("still busy after 2 s");
}

#[tokio::test]
async fn answers_are_as_recorded() {
    let service = comfyui(&ARGUMENTS, settings());
    let memory = ["ram_total", "ram_free", "vram_total", "vram_free"];
    let torch = ["torch_vram_total", "torch_vram_free"];
    let stats = get(&service, "/system_stats").await;
    assert_same(recording!("system_stats"), &stats, &[&memory[..], &torch[..]].concat());

    assert_same(recording!("prompt-get"), &get(&service, "/prompt").await, &[]);
    assert_same(recording!("queue-empty"), &get(&service, "/queue").await, &[]);
    let free = r#"{"unload_models":true,"free_memory":true}"#;
    assert_same(recording!("free"), &post(&service, "/free", free).await, &[]);
    assert_same(recording!("free-empty-object"), &post(&service, "/free", "{}").await, &[]);
    assert_same(recording!("free-bad-json"), &post(&service, "/free", "{").await, &[]);
    assert_same(recording!("interrupt"), &post(&service, "/interrupt", "").await, &[]);

    let first = post(&service, "/prompt", &prompt(FIRST)).await;
    assert_same(recording!("prompt-post"), &first, &[]);
    let second = post(&service, "/prompt", &prompt(SECOND)).await;
    assert_same(recording!("prompt-post-2"), &second, &[]);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_same(recording!("queue-running"), &get(&service, "/queue").await, &[]);
    assert_same(recording!("free-while-running"), &post(&service, "/free", free).await, &[]);
    let unknown = r#"{"prompt":{"1":{"class_type":"Nope","inputs":{}}}}"#;
    assert_same(recording!("prompt-invalid"), &post(&service, "/prompt", unknown).await, &[]);
    let clear = post(&service, "/queue", r#"{"clear":true}"#).await;
    assert_same(recording!("queue-clear"), &clear, &[]);
    let interrupt = post(&service, "/interrupt", "").await;
    assert_same(recording!("interrupt-running"), &interrupt, &[]);
    idle(&service).await;
    assert_same(recording!("queue-after"), &get(&service, "/queue").await, &[]);
    assert_same(recording!("history"), &get(&service, "/history").await, &["timestamp"]);
}

#[tokio::test]
async fn every_route_has_its_api_twin() {
    let service = comfyui(&["--cpu"], settings());
    for path in ["/queue", "/prompt", "/history", "/history/x"] {
        let twin = format!("/api{path}");
        assert_eq!(get(&service, path).await, get(&service, &twin).await);
    }
    assert!(get(&service, "/apiqueue").await.starts_with("HTTP/1.1 404 "));
    assert_eq!(post(&service, "/free", "{").await, post(&service, "/api/free", "{").await);
}

#[tokio::test]
async fn free_takes_effect_only_after_the_running_prompt() {
    let run = Duration::from_millis(60);
    let service = comfyui(&[], Settings { vram: 10_000, run, ..settings() });
    post(&service, "/prompt", PROMPT).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    post(&service, "/free", r#"{"unload_models":true,"free_memory":true}"#).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(service.prompts.pool().models, 4_000, "only flags are set while a prompt runs");
    idle(&service).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!((service.prompts.pool().models, service.prompts.pool().reserved), (0, 0));
}

#[tokio::test]
async fn memory_that_runs_out_is_told_apart_from_an_interrupt() {
    let run = Duration::from_millis(1);
    let service = comfyui(&[], Settings { vram: 10_000, run, ..settings() });
    service.set("lose-vram", br#"{"bytes":7000}"#).unwrap();
    post(&service, "/prompt", &prompt(FIRST)).await;
    idle(&service).await;
    let history = body(&*service, "GET", &format!("/history/{FIRST}"), "").await;
    assert!(history.contains(r#""status_str": "error""#), "{history}");
    assert!(history.contains(r#""exception_type": "torch.OutOfMemoryError""#), "{history}");
    assert!(!history.contains("execution_interrupted"), "{history}");

    service.reset();
    post(&service, "/prompt", &prompt(SECOND)).await;
    idle(&service).await;
    let history = body(&*service, "GET", "/history?max_items=1", "").await;
    assert!(history.contains(r#""status_str": "success""#), "{history}");
    assert!(history.contains(SECOND) && !history.contains(FIRST), "{history}");
}

#[tokio::test]
async fn an_interrupt_may_name_its_prompt_and_ids_may_repeat() {
    let service = comfyui(&["--cpu"], settings());
    post(&service, "/prompt", &prompt(FIRST)).await;
    post(&service, "/prompt", &prompt(FIRST)).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(service.prompts.remaining(), 2, "a duplicate id is accepted");
    post(&service, "/interrupt", &format!(r#"{{"prompt_id":"{SECOND}"}}"#)).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(service.prompts.remaining(), 2, "another prompt was meant");
    post(&service, "/queue", &format!(r#"{{"delete":["{FIRST}"]}}"#)).await;
    assert_eq!(service.prompts.remaining(), 1, "the running one stays");
    post(&service, "/interrupt", &format!(r#"{{"prompt_id":"{FIRST}"}}"#)).await;
    idle(&service).await;
}

#[test]
fn without_a_card_and_without_cpu_it_does_not_start() {
    let error = ComfyUi::new(&[], settings()).err().unwrap();
    assert!(error.contains("Found no NVIDIA driver"), "{error}");
}

#[tokio::test]
async fn a_page_from_elsewhere_may_not_call_a_local_server() {
    let service = comfyui(&["--cpu"], settings());
    let mut page = request("GET", "/queue", "");
    page.headers = vec![
        ("Host".to_owned(), "127.0.0.1:8188".to_owned()),
        ("Origin".to_owned(), "http://elsewhere.example".to_owned()),
    ];
    assert!(ask(&*service, &page).await.starts_with("HTTP/1.1 403 "));
    page.headers[0].1 = "comfyui:8188".to_owned();
    assert!(ask(&*service, &page).await.starts_with("HTTP/1.1 200 "));
}

#[test]
fn it_listens_where_its_arguments_say() {
    let at = |arguments: &[&str]| {
        address(&arguments.iter().map(|&a| a.to_owned()).collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(at(&[]), "127.0.0.1:8188");
    assert_eq!(at(&["--listen", "--cpu"]), "0.0.0.0:8188");
    assert_eq!(at(&["--listen", "::", "--port", "9"]), "[::]:9");
}
