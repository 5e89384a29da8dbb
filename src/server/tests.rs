use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::api::status::{EngineView, List, Publisher, ServiceStatusView, StackStatus, Status};
use crate::clock::{SystemClock, Timestamp};
use crate::metrics::ServiceStatus;
use crate::store::{EventKind, Journal, NewEvent, StateDir};

const PATIENCE: Duration = Duration::from_secs(5);

/// A daemon's doors without its controller.
struct House {
    publisher: Publisher,
    shared: Shared,
    inbox: mpsc::Receiver<Request>,
    stop: CancellationToken,
}

impl House {
    fn new() -> Self {
        let (publisher, status) = Publisher::new();
        let journal = Journal::in_memory(Arc::new(SystemClock::new())).expect("journal");
        let (store, _keeper) = store::Handle::spawn(journal).expect("thread");
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let (commands, inbox) = mpsc::channel(1);
        let shared = Shared { status, metrics, store, commands, holder: "0a".into() };
        Self { publisher, shared, inbox, stop: CancellationToken::new() }
    }

    async fn http(&self) -> SocketAddr {
        let any = "127.0.0.1:0".parse().expect("address");
        serve_http(any, self.shared.clone(), self.stop.clone()).await.expect("listens").0
    }

    fn control(&self, dir: &StateDir) {
        let socket = ControlSocket::bind(dir).expect("binds");
        socket.serve(self.shared.clone(), self.stop.clone());
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn working() -> Status {
    let engine =
        EngineView { endpoint: "unix:///e".into(), reachable: true, ..EngineView::default() };
    Status {
        observed_at: Some(Timestamp(1)),
        engine,
        stacks: vec![StackStatus { name: "bot".into(), ..StackStatus::default() }],
        services: ["a", "b"]
            .map(|project| ServiceStatusView {
                project: project.into(),
                service: "valkey".into(),
                slot: 1,
                status: ServiceStatus::Ready,
                ..ServiceStatusView::default()
            })
            .to_vec(),
        ..Status::default()
    }
}

/// Sends raw bytes and reads until the other side closes.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    // A reset after the answer is how a server ends a request that it didn't read to the end.
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("answers in time");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = raw(address, &request).await;
    let status = answer.get(9..12).and_then(|s| s.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").expect("a body").1.to_owned())
}

#[tokio::test]
async fn ready_only_after_an_observation_and_while_the_engine_answers() {
    let house = House::new();
    let http = house.http().await;
    assert_eq!(get(http, "/healthz").await, (200, "ok\n".into()));
    assert_eq!(get(http, "/readyz").await.0, 503);
    let engine = working().engine;
    house.publisher.publish(Status { engine: engine.clone(), ..Status::default() });
    let (status, why) = get(http, "/readyz").await;
    assert!(status == 503 && why.contains("first observation"), "{status} {why}");
    house.publisher.publish(working());
    assert_eq!(get(http, "/readyz").await, (200, "ok\n".into()));
    let lost = EngineView { reachable: false, message: "connection refused".into(), ..engine };
    house.publisher.publish(Status { engine: lost, ..working() });
    let (status, why) = get(http, "/readyz").await;
    assert_eq!(status, 503);
    assert!(why.contains("unix:///e") && why.contains("connection refused"), "{why}");
    assert_eq!(get(http, "/healthz").await.0, 200, "alive all the same");
}

#[tokio::test]
async fn another_host_is_misdirected() {
    let house = House::new();
    let http = house.http().await;
    for path in ["/metrics", "/healthz", "/api/v1/services", "/nowhere"] {
        for host in ["Host: evil.example\r\n", "", "Host: localhost\r\nHost: evil.example\r\n"] {
            let request = format!("GET {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
            let answer = raw(http, &request).await;
            assert!(answer.starts_with("HTTP/1.1 421 "), "{path} {host}: {answer}");
            assert!(answer.contains("application/problem+json"), "{answer}");
        }
    }
    let text = get(http, "/metrics").await.1;
    assert!(text.contains("homeostat_http_requests_rejected_total 12"), "{text}");
}

#[tokio::test]
async fn the_api_stays_on_loopback() {
    let house = House::new();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let address = address.parse().expect("address");
        let error = serve_http(address, house.shared.clone(), house.stop.clone()).await;
        assert!(matches!(error, Err(ServerError::NotLoopback { .. })), "{address}");
    }
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let house = House::new();
    let taken = house.http().await;
    let error = serve_http(taken, house.shared.clone(), house.stop.clone()).await.expect_err("no");
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}

#[tokio::test]
async fn tcp_reads_and_never_writes() {
    let house = House::new();
    house.publisher.publish(working());
    let http = house.http().await;
    let (status, body) = get(http, "/api/v1/services?project=b").await;
    let list: List<ServiceStatusView> = serde_json::from_str(&body).expect("a list");
    assert_eq!((status, list.resource_version, list.items.len()), (200, 1, 1));
    assert_eq!(list.items[0].project, "b");
    for (path, expected) in [
        ("/api/v1/stacks/bot", 200),
        ("/api/v1/stacks/none", 404),
        ("/api/v1/services?projekt=b", 400),
        ("/api/v1/events?limit=x", 400),
        ("/nowhere", 404),
    ] {
        let (status, body) = get(http, path).await;
        assert_eq!(status, expected, "{path} {body}");
        if expected >= 400 {
            let problem: Problem = serde_json::from_str(&body).expect("a problem");
            assert_eq!(problem.status, expected);
        }
    }
    let verbs = ["apply", "plan", "reconcile", "pause", "resume"];
    let stacks = verbs.map(|verb| format!("/api/v1/stacks/bot/{verb}"));
    for path in stacks.into_iter().chain(["/api/v1/incidents/abcde".to_owned()]) {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let answer = raw(http, &request).await;
        let refused = ["HTTP/1.1 404 ", "HTTP/1.1 405 "].iter().any(|r| answer.starts_with(r));
        assert!(refused, "{path}: {answer}");
    }
    let (status, _) = get(http, "/api/v1/config").await;
    assert_eq!(status, 404, "the files as they are, with their values, are nobody's over HTTP");
    let answer =
        raw(http, "DELETE /api/v1/stacks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("problem+json"), "{answer}");
}

#[tokio::test]
async fn requests_have_limits() {
    let house = House::new();
    let http = house.http().await;
    let many = "X-A: b\r\n".repeat(100);
    let long = format!("X-A: {}\r\n", "b".repeat(20_000));
    for headers in [many, long] {
        let answer =
            raw(http, &format!("GET / HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let answer = raw(
        http,
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn silent_and_slow_clients_are_dropped() {
    let limits = connection::Limits {
        connections: 2,
        head: Duration::from_millis(200),
        age: Some(Duration::from_millis(600)),
    };
    let house = House::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("address");
    let router = routes::metrics_only(Arc::clone(&house.shared.metrics));
    let stop = house.stop.clone();
    tokio::spawn(connection::serve(listener, limits, stop, move |_| Some(router.clone())));
    // Two that never finish their head take every place; the third is served once they are gone.
    let mut half = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHo").await.expect("writes");
        half.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(get(address, "/healthz").await.0, 200);
    for mut stream in half {
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        let _ = tokio::time::timeout(PATIENCE, read).await.expect("closed");
    }
    // One that keeps asking is ended by its age.
    let mut busy = TcpStream::connect(address).await.expect("connects");
    let asking = async {
        loop {
            let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
            if busy.write_all(request).await.is_err() {
                break;
            }
            let mut answer = [0; 1024];
            if matches!(busy.read(&mut answer).await, Ok(0) | Err(_)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("ended by age");
}

#[tokio::test]
async fn the_metrics_listener_serves_every_host_and_nothing_else() {
    let house = House::new();
    let any = "127.0.0.1:0".parse().expect("address");
    let metrics = Arc::clone(&house.shared.metrics);
    let (address, _) = serve_metrics(any, metrics, house.stop.clone()).await.expect("listens");
    let ask = |path: &'static str| async move {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: prometheus.lan\r\nConnection: close\r\n\r\n");
        raw(address, &request).await
    };
    let answer = ask("/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\nhomeostat_build_info{"));
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(ask("/healthz").await.starts_with("HTTP/1.1 200 "));
    for path in ["/readyz", "/api/v1/services", "/api/v1/version"] {
        assert!(ask(path).await.starts_with("HTTP/1.1 404 "), "{path}");
    }
}

#[tokio::test]
async fn stopping_closes_the_doors() {
    let house = House::new();
    let any = "127.0.0.1:0".parse().expect("address");
    let serving = serve_http(any, house.shared.clone(), house.stop.clone()).await.expect("listens");
    let (address, task) = serving;
    let idle = TcpStream::connect(address).await.expect("connects");
    tokio::time::sleep(Duration::from_millis(20)).await;
    house.stop.cancel();
    tokio::time::timeout(PATIENCE, task).await.expect("ends in time").expect("ends well");
    assert!(TcpStream::connect(address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn a_long_poll_answers_when_the_status_changes() {
    let house = House::new();
    house.publisher.publish(working());
    let http = house.http().await;
    let asked = tokio::spawn(get(http, "/api/v1/services?after=1"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!asked.is_finished(), "nothing is newer yet");
    house.publisher.publish(Status { services: Vec::new(), ..working() });
    let (_, body) = tokio::time::timeout(PATIENCE, asked).await.expect("in time").expect("answers");
    let list: List<ServiceStatusView> = serde_json::from_str(&body).expect("a list");
    assert_eq!((list.resource_version, list.items.len()), (2, 0));
    // A version of an earlier daemon doesn't wait.
    assert_eq!(get(http, "/api/v1/services?after=99").await.0, 200);
}

#[tokio::test]
async fn the_control_socket_is_private_and_has_one_daemon() {
    let base = tempfile::tempdir().expect("temp");
    let dir = StateDir::open(base.path()).expect("opens");
    // A socket that a dead daemon left behind.
    drop(std::os::unix::net::UnixListener::bind(dir.socket()).expect("binds"));
    let house = House::new();
    let socket = ControlSocket::bind(&dir).expect("replaces the stale one");
    let mode = dir.socket().symlink_metadata().expect("exists").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = ControlSocket::bind(&dir);
    assert!(matches!(second, Err(ServerError::AlreadyRunning { .. })), "{second:?}");
    // Also when somebody removed the lock under it.
    std::fs::remove_file(dir.path().join("daemon.lock")).expect("removes");
    let second = ControlSocket::bind(&dir);
    assert!(matches!(second, Err(ServerError::AlreadyRunning { .. })), "{second:?}");
    let task = socket.serve(house.shared.clone(), house.stop.clone());
    Client::connect(&dir.socket(), PATIENCE).await.expect("still served");
    house.stop.cancel();
    tokio::time::timeout(PATIENCE, task).await.expect("ends").expect("well");
    assert!(!dir.socket().exists(), "the file goes with the daemon");
    let error = Client::connect(&dir.socket(), PATIENCE).await.expect_err("nobody there");
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let base = tempfile::tempdir().expect("temp");
    let dir = StateDir::open(base.path()).expect("opens");
    std::fs::write(dir.socket(), "precious").expect("writes");
    let error = ControlSocket::bind(&dir).expect_err("refused");
    assert!(matches!(error, ServerError::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read(dir.socket()).expect("reads"), b"precious");
}

#[tokio::test]
async fn a_command_reaches_the_controller_and_its_progress_comes_back() {
    let base = tempfile::tempdir().expect("temp");
    let dir = StateDir::open(base.path()).expect("opens");
    let mut house = House::new();
    house.publisher.publish(working());
    house.control(&dir);
    let client = Client::connect(&dir.socket(), PATIENCE).await.expect("connects");
    let wanted = Wanted { services: vec!["valkey".into()], ..Wanted::default() };
    let mut stream = client.apply("bot", &wanted).await.expect("accepted");
    let request = house.inbox.recv().await.expect("arrives");
    assert_eq!(request.uid, rustix::process::geteuid().as_raw());
    assert_eq!(request.command, Command::Apply { stack: "bot".into(), wanted });
    let waiting = |n: usize| Progress::LeftAlone {
        object: "service/valkey/1".into(),
        message: n.to_string(),
    };
    // More than the stream holds: lines in between may go, the result never.
    for n in 0..5_000 {
        assert!(request.progress.report(waiting(n)));
    }
    request.progress.finish(Progress::Finished { changed: 2 });
    assert_eq!(stream.next().await.expect("reads"), Some(waiting(0)));
    let mut last = None;
    while let Some(progress) = stream.next().await.expect("reads") {
        last = Some(progress);
    }
    assert_eq!(last, Some(Progress::Finished { changed: 2 }));

    // A controller that dies says nothing: that is no success.
    let mut stream = client.reconcile("bot").await.expect("accepted");
    drop(house.inbox.recv().await.expect("arrives"));
    let error = stream.next().await.expect_err("no result");
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn a_command_that_can_not_be_taken_is_a_problem() {
    let base = tempfile::tempdir().expect("temp");
    let dir = StateDir::open(base.path()).expect("opens");
    let mut house = House::new();
    house.publisher.publish(working());
    house.control(&dir);
    let client = Client::connect(&dir.socket(), PATIENCE).await.expect("connects");
    let refusal = |error| match error {
        ClientError::Refused(problem) => (problem.status, problem.detail),
        other => panic!("{other}"),
    };
    let (status, detail) = refusal(client.reconcile("b/o t").await.expect_err("unknown"));
    assert!(status == 404 && detail.contains("there are: bot"), "{detail}");
    let _first = client.reconcile("bot").await.expect("fills the inbox");
    let (status, detail) = refusal(client.reconcile("bot").await.expect_err("full"));
    assert!(status == 503 && detail.contains("busy"), "{detail}");
    house.inbox.close();
    while house.inbox.recv().await.is_some() {}
    let (status, _) = refusal(client.reconcile("bot").await.expect_err("closed"));
    assert_eq!(status, 503);

    let mut stream = UnixStream::connect(dir.socket()).await.expect("connects");
    let body = r#"{"servces":[]}"#;
    let request = format!(
        "POST /api/v1/stacks/bot/apply HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("servces"), "{answer}");
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_is_given_up() {
    let base = tempfile::tempdir().expect("temp");
    let path = base.path().join("control.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("binds");
    let deadline = Duration::from_millis(100);
    let error = Client::connect(&path, deadline).await.expect_err("silent");
    assert!(matches!(error, ClientError::Timeout(_)), "{error}");
    // One that floods is cut off.
    tokio::spawn(async move {
        let _silent = listener.accept().await.expect("accepts");
        let (mut stream, _) = listener.accept().await.expect("accepts");
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
    });
    let error = Client::connect(&path, PATIENCE).await.expect_err("floods");
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn events_come_from_the_journal_in_order() {
    let house = House::new();
    let http = house.http().await;
    for n in 0..3 {
        let event = NewEvent {
            engine: "E".into(),
            project: "p".into(),
            kind: EventKind::Normal,
            reason: "Started".into(),
            object: "service/valkey/1".into(),
            message: n.to_string(),
        };
        house.shared.store.record_event(event).await.expect("records");
    }
    let (_, body) = get(http, "/api/v1/events?project=p&since=1").await;
    let list: List<crate::api::status::EventView> = serde_json::from_str(&body).expect("a list");
    let seen: Vec<_> = list.items.iter().map(|e| e.message.as_str()).collect();
    assert_eq!((seen, list.resource_version), (vec!["1", "2"], 3));
    let (_, body) = get(http, "/api/v1/events?since=3").await;
    let list: List<crate::api::status::EventView> = serde_json::from_str(&body).expect("a list");
    assert_eq!((list.items.len(), list.resource_version), (0, 3));
}

#[tokio::test]
async fn a_daemon_of_another_protocol_is_named_and_not_asked_further() {
    let base = tempfile::tempdir().expect("temp");
    let path = base.path().join("control.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("binds");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        let _ = stream.read(&mut [0; 1024]).await;
        let body = r#"{"name":"homeostat","version":"9.9.9","protocol":99,"pid":1}"#;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + body).as_bytes()).await.expect("answers");
    });
    let error = Client::connect(&path, PATIENCE).await.expect_err("another protocol");
    let wanted = format!(
        "the daemon is homeostat 9.9.9 and speaks protocol 99, this one speaks {PROTOCOL}; restart the daemon with this version"
    );
    assert_eq!(error.to_string(), wanted);
}

#[tokio::test]
async fn the_handshake_names_the_holder_of_leases() {
    let base = tempfile::tempdir().expect("temp");
    let dir = StateDir::open(base.path()).expect("opens");
    let house = House::new();
    house.control(&dir);
    let client = Client::connect(&dir.socket(), PATIENCE).await.expect("connects");
    assert_eq!(client.holder(), "0a");
}
