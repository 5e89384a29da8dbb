use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/fixtures/", $name))
    };
}

const CHROMA: &str = "driver: chroma\ntimeout: 300ms\n";
const OLLAMA: &str = "driver: ollama\n";
const HTTP: &str = "probe: {http: {path: /health, port: 80}}\ntimeout: 300ms\n";

fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn answers(yaml: &str, bytes: &[u8]) -> Outcome {
    outcome(yaml, &Server::recorded(bytes).await).await
}

#[tokio::test]
async fn chroma_is_ready_when_its_collections_can_be_read() {
    for fixture in
        [&fixture!("chroma/collections-one.http")[..], fixture!("chroma/collections-empty.http")]
    {
        let server = Server::recorded(fixture).await;
        assert_eq!(short(&outcome(CHROMA, &server).await), (Answer::Ready, "Ready"));
        let line = server.read().lines().next().map(str::to_owned);
        let path = "/api/v2/tenants/default_tenant/databases/default_database/collections?limit=1";
        assert_eq!(line, Some(format!("GET {path} HTTP/1.1")));
    }
}

#[tokio::test]
async fn a_corrupt_chroma_is_told_apart_and_not_to_be_restarted() {
    let corrupt = answers(CHROMA, fixture!("chroma/corrupt-collections.http")).await;
    assert_eq!(short(&corrupt), (Answer::NotReady, "Corruption"));
    assert!(corrupt.alive);
    assert!(!corrupt.message.contains("code: 11"), "no body text: {}", corrupt.message);
    // The heartbeat of the same server stays 200; its body is no list.
    let heartbeat = answers(CHROMA, fixture!("chroma/corrupt-heartbeat.http")).await;
    assert_eq!(short(&heartbeat), (Answer::NotReady, "UnexpectedAnswer"));
}

#[tokio::test]
async fn chromas_other_errors_are_no_corruption() {
    for (bytes, expected) in [
        (answer("500 X", "database is locked"), (Answer::NotReady, "Locked")),
        (answer("500 X", "database or disk is full"), (Answer::NotReady, "DiskFull")),
        (answer("500 X", "Internal"), (Answer::NotReady, "ServerError")),
        (answer("404 X", "{}"), (Answer::Unknown, "UnsupportedVersion")),
        (fixture!("chroma/v1-heartbeat.http").to_vec(), (Answer::Unknown, "UnsupportedVersion")),
        (answer("401 X", "{}"), (Answer::Unknown, "CredentialMissing")),
        (answer("429 X", "{}"), (Answer::NotReady, "Overloaded")),
        (answer("307 X", "[]"), (Answer::NotReady, "UnexpectedAnswer")),
        (answer("200 OK", "[} malformed"), (Answer::NotReady, "UnexpectedAnswer")),
    ] {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(short(&answers(CHROMA, &bytes).await), expected, "{shown}");
    }
}

#[tokio::test]
async fn ollama_without_models_answers_its_version() {
    let server = Server::recorded(fixture!("ollama/version.http")).await;
    assert_eq!(short(&outcome(OLLAMA, &server).await), (Answer::Ready, "Ready"));
    assert!(server.read().starts_with("GET /api/version HTTP/1.1\r\n"));
    let root = answers(OLLAMA, fixture!("ollama/root.http")).await;
    assert_eq!(short(&root), (Answer::NotReady, "UnexpectedAnswer"));
    let broken = answers(OLLAMA, &answer("500 X", "{}")).await;
    assert_eq!(short(&broken), (Answer::NotReady, "ServerError"));
}

#[tokio::test]
async fn a_missing_model_degrades_ollama_unless_it_is_required() {
    let tags = fixture!("ollama/tags.http");
    let present = answers("driver: ollama\nmodels: [TINY]\n", tags).await;
    assert_eq!((short(&present), present.degraded), ((Answer::Ready, "Ready"), false));
    let missing = answers("driver: ollama\nmodels: [tiny, \"qwen3:14b\"]\n", tags).await;
    assert_eq!(short(&missing), (Answer::Ready, "ModelMissing"));
    assert!(missing.degraded && missing.message.starts_with("missing: qwen3:14b;"));
    let yaml = "driver: ollama\nmodels: [\"tiny:7b\"]\nmodelsRequired: true\n";
    let required = answers(yaml, tags).await;
    assert_eq!(short(&required), (Answer::NotReady, "ModelMissing"));
    assert!(required.alive, "a restart brings no model");
    let none =
        answers("driver: ollama\nmodels: [a]\n", &answer("200 OK", "{\"models\":null}")).await;
    assert_eq!(short(&none), (Answer::Ready, "ModelMissing"));
}

#[tokio::test]
async fn comfyui_is_ready_with_a_device() {
    let yaml = "driver: comfyui\n";
    let server = Server::recorded(fixture!("comfyui/system_stats.http")).await;
    assert_eq!(short(&outcome(yaml, &server).await), (Answer::Ready, "Ready"));
    assert!(server.read().starts_with("GET /system_stats HTTP/1.1\r\n"));
    for (bytes, reason) in [
        (answer("500 X", "no driver"), "ServerError"),
        (answer("404 X", ""), "UnexpectedAnswer"),
        (answer("200 OK", "<html>"), "UnexpectedAnswer"),
        (answer("200 OK", "{\"system\":{},\"devices\":[]}"), "NoDevice"),
    ] {
        assert_eq!(short(&answers(yaml, &bytes).await), (Answer::NotReady, reason));
    }
}

#[tokio::test]
async fn a_plain_http_probe_judges_the_status() {
    for (bytes, expected) in [
        (answer("200 OK", "ok"), (Answer::Ready, "Ready")),
        (b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), (Answer::Ready, "Ready")),
        (answer("302 X\r\nLocation: /login", ""), (Answer::NotReady, "Redirected")),
        (answer("503 X", ""), (Answer::NotReady, "UnexpectedStatus")),
        (answer("401 X", ""), (Answer::Unknown, "CredentialMissing")),
        (b"-ERR wrong protocol\r\n".to_vec(), (Answer::NotReady, "UnexpectedAnswer")),
    ] {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(short(&answers(HTTP, &bytes).await), expected, "{shown}");
    }
    let yaml = "probe: {http: {port: 80, status: {from: 401, to: 401}}}\n";
    assert_eq!(answers(yaml, &answer("401 X", "")).await.answer, Answer::Ready);
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let other = Server::recorded(&answer("200 OK", "")).await;
    let location = format!("302 X\r\nLocation: http://{}/", other.address);
    let outcome = answers(HTTP, &answer(&location, "")).await;
    assert_eq!(short(&outcome), (Answer::NotReady, "Redirected"));
    assert_eq!(other.read(), "");
}

#[tokio::test]
async fn the_request_has_a_host_and_credentials() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("t"), "tok\n").expect("writes");
    let yaml = format!("driver: chroma\nauth: {{tokenFile: {}/t}}\n", folder.path().display());
    let server = Server::recorded(fixture!("chroma/collections-empty.http")).await;
    assert_eq!(outcome(&yaml, &server).await.answer, Answer::Ready);
    let request = server.read().to_lowercase();
    assert!(request.contains(&format!("host: {}\r\n", server.address)), "{request}");
    assert!(request.contains("authorization: bearer tok\r\n"), "{request}");
}

#[tokio::test]
async fn a_hang_anywhere_ends_at_the_deadline() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n".to_vec();
    for acts in [
        vec![Act::Hang],
        vec![Act::ReadHead, Act::Hang],
        vec![Act::ReadHead, Act::Write(head[..20].to_vec()), Act::Hang],
        vec![Act::ReadHead, Act::Write(head.clone()), Act::Hang],
        vec![Act::ReadHead, Act::Write(head), Act::Write(b"[".to_vec()), Act::Hang],
    ] {
        for yaml in [CHROMA, HTTP] {
            let outcome = outcome(yaml, &Server::start(acts.clone()).await).await;
            assert_eq!(short(&outcome), (Answer::NotReady, "Timeout"), "{acts:?}");
            let took = outcome.took.as_millis();
            assert!((300..600).contains(&took), "{took} ms");
        }
    }
}

#[tokio::test]
async fn a_slow_body_counts_against_the_one_deadline() {
    let mut acts =
        vec![Act::ReadHead, Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n".to_vec())];
    for _ in 0..20 {
        acts.extend([Act::Write(b" ".to_vec()), Act::Wait(Duration::from_millis(50))]);
    }
    let outcome = outcome(CHROMA, &Server::start(acts).await).await;
    assert_eq!(short(&outcome), (Answer::NotReady, "Timeout"));
}

#[tokio::test]
async fn an_endless_body_is_cut() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096)).into_bytes();
    let acts = vec![Act::ReadHead, Act::Write(head), Act::WriteForEver(chunk)];
    let endless = Server::start(acts).await;
    let outcome_of = async |yaml: &str| outcome(yaml, &endless).await;
    let yaml = "driver: chroma\ntimeout: 20s\n";
    let found = outcome_of(yaml).await;
    assert_eq!(short(&found), (Answer::Unknown, "AnswerTooLarge"));
    assert!(found.message.contains("4194304"));
    let found = outcome_of("driver: ollama\ntimeout: 20s\n").await;
    assert!(found.message.contains("262144"));
    // The status of a plain probe has been said.
    let yaml = "probe: {http: {port: 80}}\ntimeout: 20s\n";
    assert_eq!(outcome_of(yaml).await.answer, Answer::Ready);
}

#[tokio::test]
async fn an_endless_head_is_refused() {
    let start = b"HTTP/1.1 200 OK\r\n".to_vec();
    let line = format!("X: {}\r\n", "x".repeat(4096)).into_bytes();
    let acts = vec![Act::ReadHead, Act::Write(start), Act::WriteForEver(line)];
    let outcome = outcome("driver: ollama\n", &Server::start(acts).await).await;
    assert_eq!(short(&outcome), (Answer::NotReady, "UnexpectedAnswer"));
}

#[tokio::test]
async fn a_body_cut_short_is_no_answer() {
    let short_body = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]".to_vec();
    let outcome = answers(CHROMA, &short_body).await;
    assert_eq!(short(&outcome), (Answer::NotReady, "Closed"));
}
