//! The engine proxy itself, before the real engine.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::engine_proxy::{Action, EngineProxy, Record, Rule};

const SHORT: Duration = Duration::from_secs(10);
/// Made by `make images`.
const IMAGE: &str = "homeostat-test/valkey:8";

fn proxy() -> EngineProxy {
    EngineProxy::before_engine().expect("the proxy starts")
}

/// A plain HTTP/1.1 client, so that no library hides what the proxy did.
struct Client(UnixStream);

impl Client {
    fn new(proxy: &EngineProxy) -> Self {
        let stream = UnixStream::connect(proxy.socket()).expect("the proxy accepts");
        stream.set_read_timeout(Some(SHORT)).expect("a timeout");
        Self(stream)
    }

    fn send(&mut self, method: &str, target: &str, body: &str) {
        let request = format!(
            "{method} /v1.41{target} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.write_all(request.as_bytes()).expect("the request goes out");
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.0.read(&mut byte) {
            Ok(1) => Some(byte[0]),
            Ok(_) => None,
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(e) => panic!("no answer and no end: {e}"),
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        while let Some(byte) = self.byte() {
            line.push(byte);
            if byte == b'\n' {
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        }
        None
    }

    /// Status and length of the body; `None` when the connection ended instead.
    fn head(&mut self) -> Option<(u16, Option<usize>)> {
        let status = self.line()?.split(' ').nth(1)?.parse().ok()?;
        let mut length = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                return Some((status, length));
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().ok();
            }
        }
    }

    /// Status and body of an answer with a length; what there is of the body when it was cut.
    fn answer(&mut self) -> Option<(u16, Vec<u8>)> {
        let (status, length) = self.head()?;
        let mut body = Vec::new();
        while body.len() < length.unwrap_or(0) {
            let Some(byte) = self.byte() else { break };
            body.push(byte);
        }
        Some((status, body))
    }

    fn ask(&mut self, method: &str, target: &str, body: &str) -> Option<(u16, Vec<u8>)> {
        self.send(method, target, body);
        self.answer()
    }

    /// Subscribes to the events of these volumes.
    fn events(proxy: &EngineProxy, volumes: &[&Volume]) -> Self {
        let names: Vec<_> = volumes.iter().map(|v| v.0.as_str()).collect();
        let filters = serde_json::json!({ "type": ["volume"], "volume": names });
        let filters: String = filters.to_string().bytes().map(|b| format!("%{b:02X}")).collect();
        let mut client = Self::new(proxy);
        client.send("GET", &format!("/events?filters={filters}"), "");
        assert_eq!(client.head().map(|h| h.0), Some(200));
        client
    }

    /// The next line of a chunked stream that isn't a chunk's border.
    fn data_line(&mut self) -> Option<String> {
        loop {
            let line = self.line()?;
            let border = line.is_empty() || usize::from_str_radix(&line, 16).is_ok();
            if !border {
                return Some(line);
            }
        }
    }

    /// The next event as `action name`; another line as it is.
    fn event(&mut self) -> Option<String> {
        let line = self.data_line()?;
        let Ok(event) = serde_json::from_str::<Value>(&line) else { return Some(line) };
        let word = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        Some(format!("{} {}", word(&event["Action"]), word(&event["Actor"]["ID"])))
    }
}

/// A volume on the real engine with a name of its own, removed at the end.
struct Volume(String);

impl Volume {
    fn unmade() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("proxy-test-{}-{n}", std::process::id()))
    }

    fn body(&self) -> String {
        format!(r#"{{"Name":"{}"}}"#, self.0)
    }

    fn exists(&self) -> bool {
        docker(&["volume", "inspect", &self.0]).0
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        docker(&["volume", "rm", "-f", &self.0]);
    }
}

/// Runs the Docker CLI past the proxy.
fn docker(arguments: &[&str]) -> (bool, String) {
    let out = Command::new("docker").args(arguments).output().expect("docker is installed");
    let text = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn requests_pass_over_one_connection_and_are_recorded() {
    let (proxy, volume) = (proxy(), Volume::unmade());
    let mut client = Client::new(&proxy);
    assert_eq!(client.ask("GET", "/_ping", "").map(|a| a.0), Some(200));
    client.send("HEAD", "/_ping", "");
    assert_eq!(client.head().map(|h| h.0), Some(200));
    assert_eq!(client.ask("POST", "/volumes/create", &volume.body()).map(|a| a.0), Some(201));
    let (status, body) = client.ask("GET", &format!("/volumes/{}", volume.0), "").expect("answer");
    assert_eq!(status, 200);
    assert!(serde_json::from_slice::<Value>(&body).is_ok());
    assert_eq!(
        client.ask("DELETE", &format!("/volumes/{}?force=1", volume.0), "").map(|a| a.0),
        Some(204)
    );
    assert!(proxy.wait_until(SHORT, |p| p.records().iter().all(|r| r.took.is_some())));
    let records = proxy.records();
    let endpoints: Vec<_> = records.iter().map(Record::endpoint).collect();
    assert_eq!(
        endpoints,
        [
            "GET /_ping",
            "HEAD /_ping",
            "POST /volumes/create",
            "GET /volumes/{name}",
            "DELETE /volumes/{name}"
        ]
    );
    assert_eq!(records[2].request, Some(serde_json::json!({ "Name": volume.0 })));
    assert_eq!(records[2].version.as_deref(), Some("1.41"));
    assert_eq!((records[2].status, records[2].engine_status), (Some(201), Some(201)));
    assert_eq!(records[4].query["force"], "1");
    assert_eq!(proxy.writes().len(), 2);
    assert_eq!(proxy.endpoints()["GET /volumes/{name}"], 1);
}

#[test]
fn the_docker_cli_works_through_it_attached_and_concurrently() {
    let proxy = proxy();
    let host = proxy.host();
    let runs: Vec<_> = (0..3)
        .map(|n| {
            let mut child = Command::new("docker")
                .args(["-H", &host, "run", "--rm", "-i", "--entrypoint", "cat", IMAGE])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("docker runs");
            let mut stdin = child.stdin.take().expect("stdin");
            writeln!(stdin, "line {n}").expect("written");
            child
        })
        .collect();
    for (n, child) in runs.into_iter().enumerate() {
        let out = child.wait_with_output().expect("docker ends");
        assert!(
            out.status.success(),
            "{} (`make images` makes {IMAGE})",
            String::from_utf8_lossy(&out.stderr)
        );
        assert_eq!(String::from_utf8_lossy(&out.stdout), format!("line {n}\n"));
    }
    assert_eq!(proxy.endpoints()["POST /containers/{id}/attach"], 3);
    assert_eq!(proxy.endpoints()["POST /containers/create"], 3);
}

#[test]
fn a_request_that_is_cut_before_never_reaches_the_engine() {
    let (proxy, volume) = (proxy(), Volume::unmade());
    proxy.inject(Rule::new(Action::CutBefore).on("POST /volumes/create").next(1));
    assert_eq!(Client::new(&proxy).ask("POST", "/volumes/create", &volume.body()), None);
    assert!(!volume.exists());
    let (status, _) = Client::new(&proxy)
        .ask("POST", "/volumes/create", &volume.body())
        .expect("the rule is used up");
    assert_eq!(status, 201);
    assert!(volume.exists());
}

#[test]
fn a_request_that_is_cut_after_has_happened() {
    let (proxy, volume) = (proxy(), Volume::unmade());
    proxy.inject(Rule::new(Action::CutAfter).containing(&volume.0));
    assert_eq!(Client::new(&proxy).ask("POST", "/volumes/create", &volume.body()), None);
    assert!(volume.exists());
    let record = &proxy.records()[0];
    assert_eq!((record.status, record.engine_status), (None, Some(201)));
    assert_eq!(record.faults, ["CutAfter"]);
}

#[test]
fn a_request_sent_twice_answers_with_the_second_outcome() {
    let (proxy, volume) = (proxy(), Volume::unmade());
    Client::new(&proxy).ask("POST", "/volumes/create", &volume.body());
    proxy.inject(Rule::new(Action::SendTwice).method("DELETE"));
    let target = format!("/volumes/{}", volume.0);
    assert_eq!(Client::new(&proxy).ask("DELETE", &target, "").map(|a| a.0), Some(404));
    assert!(!volume.exists());
}

#[test]
fn an_answer_is_truncated_at_the_byte() {
    let proxy = proxy();
    proxy.inject(Rule::new(Action::Truncate(7)).on("GET /version").next(1));
    let (status, body) = Client::new(&proxy).ask("GET", "/version", "").expect("a head");
    assert_eq!((status, body.len()), (200, 7));
    let (_, body) = Client::new(&proxy).ask("GET", "/version", "").expect("an answer");
    assert!(body.len() > 7);
}

#[test]
fn the_proxy_answers_in_the_engines_place() {
    let (proxy, volume) = (proxy(), Volume::unmade());
    for status in [403, 404, 409, 500] {
        proxy.heal();
        proxy.inject(Rule::new(Action::Answer(status, "no".into())).prefix("/volumes"));
        let answer = Client::new(&proxy).ask("POST", "/volumes/create", &volume.body());
        assert_eq!(answer, Some((status, br#"{"message":"no"}"#.to_vec())));
    }
    assert!(!volume.exists());
    proxy.heal();
    proxy.inject(Rule::new(Action::Garbage).suffix("/version").next(1));
    proxy.inject(Rule::new(Action::Body(b"[1".to_vec())).suffix("/version").after(1));
    let mut client = Client::new(&proxy);
    client.send("GET", "/version", "");
    assert!(!client.line().expect("bytes").starts_with("HTTP"));
    assert_eq!(
        Client::new(&proxy).ask("GET", "/version", "").map(|a| a.1),
        Some(b"[1".to_vec()),
        "the first rule is used up, the second begins"
    );
}

#[test]
fn delays_and_hangs_hold_the_answer_back() {
    let proxy = proxy();
    proxy.inject(Rule::new(Action::Delay(Duration::from_millis(150))).next(1));
    proxy.inject(Rule::new(Action::DelayReply(Duration::from_millis(150))).next(1));
    let before = proxy.elapsed();
    assert!(Client::new(&proxy).ask("GET", "/_ping", "").is_some());
    assert!(proxy.elapsed() - before >= Duration::from_millis(300));

    let volume = Volume::unmade();
    proxy.inject(Rule::new(Action::HangAfter).on("POST /volumes/create"));
    let mut client = Client::new(&proxy);
    client.0.set_read_timeout(Some(Duration::from_millis(400))).expect("a timeout");
    client.send("POST", "/volumes/create", &volume.body());
    let kind = client.0.read(&mut [0]).map_err(|e| e.kind());
    assert_eq!(kind, Err(std::io::ErrorKind::WouldBlock), "neither answer nor end");
    assert!(volume.exists());
    proxy.cut_all();
    assert_eq!(client.byte(), None, "cut_all ends what hangs");
}

#[test]
fn event_lines_are_duplicated_swapped_dropped_and_preceded() {
    let (proxy, a, b) = (proxy(), Volume::unmade(), Volume::unmade());
    let mut events = Client::events(&proxy, &[&a, &b]);
    let create = |v: &Volume| Client::new(&proxy).ask("POST", "/volumes/create", &v.body());
    let remove = |v: &Volume| Client::new(&proxy).ask("DELETE", &format!("/volumes/{}", v.0), "");
    let created = |v: &Volume| Some(format!("create {}", v.0));
    let removed = |v: &Volume| Some(format!("destroy {}", v.0));

    proxy.inject(Rule::new(Action::DuplicateLine).containing(&a.0).next(1));
    create(&a);
    assert_eq!([events.event(), events.event()], [created(&a), created(&a)]);

    proxy.inject(Rule::new(Action::SwapLine).containing(&a.0).next(1));
    remove(&a);
    create(&b);
    assert_eq!([events.event(), events.event()], [created(&b), removed(&a)]);

    proxy.inject(Rule::new(Action::DropLine).containing(&b.0).next(1));
    proxy.inject(Rule::new(Action::InjectLine(b"{not json".to_vec())).containing(&a.0).next(1));
    proxy.inject(Rule::new(Action::HugeLine(300_000)).containing(&a.0).next(1));
    remove(&b);
    create(&a);
    assert_eq!(events.event().as_deref(), Some("{not json"));
    assert_eq!(events.event(), Some("x".repeat(300_000)));
    assert_eq!(events.event(), created(&a), "the removal of b was dropped");
    let stream = &proxy.records()[0];
    assert_eq!(stream.faults, ["DuplicateLine", "SwapLine", "DropLine", "InjectLine", "HugeLine"]);
}

#[test]
fn event_streams_are_cut_now_and_by_age() {
    let proxy = proxy();
    let mut first = Client::events(&proxy, &[&Volume::unmade()]);
    let mut second = Client::events(&proxy, &[&Volume::unmade()]);
    assert!(proxy.wait_until(SHORT, |p| p.open_streams() == 2));
    let mut other = Client::new(&proxy);
    assert!(other.ask("GET", "/_ping", "").is_some());
    proxy.cut_streams();
    assert_eq!(first.event(), None);
    assert_eq!(second.event(), None);
    assert!(other.ask("GET", "/_ping", "").is_some(), "other connections live on");
    assert!(proxy.wait_until(SHORT, |p| p.open_streams() == 0));

    proxy.cut_streams_every(Some(Duration::from_millis(100)));
    assert_eq!(Client::events(&proxy, &[&Volume::unmade()]).event(), None);
    proxy.heal();
    let lasting = Client::events(&proxy, &[&Volume::unmade()]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(proxy.open_streams(), 1, "the age holds no more");
    drop(lasting);
}

#[test]
fn an_engine_that_is_down_refuses_and_comes_back() {
    let proxy = proxy();
    let mut events = Client::events(&proxy, &[&Volume::unmade()]);
    proxy.down();
    assert_eq!(events.event(), None);
    let refused = UnixStream::connect(proxy.socket()).map_err(|e| e.kind());
    assert!(matches!(refused, Err(std::io::ErrorKind::ConnectionRefused)), "{refused:?}");
    proxy.up().expect("it comes back");
    assert_eq!(Client::new(&proxy).ask("GET", "/_ping", "").map(|a| a.0), Some(200));
}

#[test]
fn a_client_that_leaves_closes_its_stream() {
    let proxy = proxy();
    let events = Client::events(&proxy, &[&Volume::unmade()]);
    assert!(proxy.wait_until(SHORT, |p| p.open_streams() == 1));
    drop(events);
    assert!(proxy.wait_until(SHORT, |p| p.open_streams() == 0));
}
