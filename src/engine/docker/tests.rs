//! The transport and the adapter against a server that answers from a script.

use std::sync::Mutex as StdMutex;

use futures_util::{FutureExt, StreamExt};
use serde_json::{Map, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::time::{sleep, timeout};

use super::fake::{Act, Fake, answer, engine, read_request, say};
use super::*;
use crate::sensitive::Sensitive;

fn start() -> Write {
    Write::StartContainer { id: ContainerId("c".into()) }
}

fn remove() -> Write {
    Write::RemoveContainer { id: ContainerId("c".into()), force: true }
}

#[tokio::test]
async fn calls_carry_the_version_and_reuse_the_connection() {
    let fake = engine(|| answer(200, "[]"));
    let docker = fake.docker();
    docker.containers().await.expect("a list");
    docker.networks().await.expect("a list");
    let wanted = ["GET /_ping", "GET /v1.41/containers/json?all=true", "GET /v1.41/networks"];
    assert_eq!(fake.log(), wanted.map(|line| (0, line.to_owned())));
}

#[tokio::test]
async fn info_negotiates_without_a_call_of_its_own() {
    let fake = Fake::start(|_, line| {
        answer(200, if line.ends_with("/info") { r#"{"ID":"x"}"# } else { "[]" })
    });
    let docker = fake.docker();
    let (info, list) = tokio::join!(docker.info(), docker.containers());
    assert_eq!(info.expect("info").capabilities.api, (1, 41));
    list.expect("a list");
    assert_eq!(fake.count("/_ping"), 0);
}

#[tokio::test]
async fn calls_run_side_by_side() {
    let arrived = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&arrived);
    let fake = Fake::start(move |_, line| {
        if line.ends_with("/_ping") {
            return answer(200, "OK");
        }
        // Nobody is answered for a while, so only calls that don't queue all arrive.
        count.fetch_add(1, Ordering::SeqCst);
        let mut acts = vec![Act::Wait(Duration::from_millis(400))];
        acts.extend(answer(200, r#"{"Id":"c"}"#));
        acts
    });
    let docker = fake.docker();
    let id = ContainerId("c".into());
    let all = futures_util::future::join_all((0..10).map(|_| docker.inspect(&id)));
    let watch = async {
        while arrived.load(Ordering::SeqCst) < 10 {
            sleep(Duration::from_millis(5)).await;
        }
        "all arrived"
    };
    tokio::pin!(all);
    tokio::select! {
        biased;
        _ = watch => {}
        _ = &mut all => panic!("some were answered before all had arrived"),
    }
    assert!(all.await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_read_on_a_stale_connection_is_repeated_and_a_write_is_not() {
    let stale = || {
        Fake::start(|connection, line| match (connection, line.ends_with("/_ping")) {
            (_, true) => answer(200, "OK"),
            (0, false) => vec![Act::Close],
            (_, false) => answer(200, "[]"),
        })
    };
    let fake = stale();
    fake.docker().containers().await.expect("a second try");
    assert_eq!(fake.count("/containers/json"), 2);

    let fake = stale();
    let fault = fake.docker().write(&start()).await.expect_err("broken");
    assert_eq!((fault.reason(), fault.outcome_unknown()), ("Interrupted", true));
    assert_eq!(fake.count("/start"), 1);
}

#[tokio::test]
async fn a_connection_that_the_engine_closed_meanwhile_costs_nothing() {
    let fake = Fake::start(|_, line| {
        let mut acts = answer(if line.contains("start") { 204 } else { 200 }, "");
        acts.push(Act::Close);
        acts
    });
    let docker = fake.docker();
    docker.ping().await.expect("a ping");
    sleep(Duration::from_millis(50)).await;
    docker.write(&start()).await.expect("on a fresh connection");
    assert_eq!(fake.count("/start"), 1);
}

#[tokio::test]
async fn a_cut_answer_is_an_interruption() {
    for head in ["Content-Length: 100\r\n\r\n[{", "Transfer-Encoding: chunked\r\n\r\n5\r\n[{}"] {
        let fake = engine(move || {
            let mut acts = say(format!("HTTP/1.1 200 OK\r\n{head}"));
            acts.push(Act::Close);
            acts
        });
        let fault = fake.docker().containers().await.expect_err("cut");
        assert_eq!(fault.reason(), "Interrupted", "{fault}");
        // The first byte of an answer ends every thought of trying again.
        assert_eq!(fake.count("/containers/json"), 1);
    }
}

#[tokio::test]
async fn garbage_is_told_from_a_broken_connection() {
    for wire in [
        "not http at all\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[]\r\n",
    ] {
        let fake = engine(move || say(wire));
        let fault = fake.docker().containers().await.expect_err("garbage");
        assert_eq!(fault.reason(), "Garbage", "{wire}: {fault}");
    }
}

#[tokio::test]
async fn the_deadline_covers_the_whole_body() {
    let fake = engine(|| {
        let mut acts = say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        for _ in 0..100 {
            acts.push(Act::Wait(Duration::from_millis(20)));
            acts.extend(say("x"));
        }
        acts
    });
    let transport = Transport::new(fake.endpoint()).expect("a transport");
    let deadline = Duration::from_millis(150);
    let call = Call::get("GET /slow", "/slow".into(), deadline, 4096);
    let result = timeout(Duration::from_secs(1), transport.call(&call)).await.expect("in time");
    assert_eq!(result.err(), Some(Fault::Timeout { call: "GET /slow".into(), after: deadline }));
}

#[tokio::test]
async fn a_stream_that_falls_silent_times_out() {
    let fake = engine(|| {
        let mut acts = say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n");
        acts.push(Act::Wait(Duration::from_secs(60)));
        acts
    });
    let transport = Transport::new(fake.endpoint()).expect("a transport");
    let call = Call::get("GET /s", "/s".into(), Duration::from_secs(5), 0);
    let mut body = transport.stream(&call).await.expect("a stream");
    let stall = Some(Duration::from_millis(50));
    assert_eq!(body.next(stall).await, Some(Ok("ab".into())));
    let fault = body.next(stall).await.expect("an item").expect_err("silence");
    assert_eq!(fault.reason(), "Timeout");
}

#[tokio::test]
async fn an_answer_beyond_its_limit_is_refused() {
    let announced = format!("Content-Length: {}\r\n\r\n", INSPECT_LIMIT + 1);
    let chunked = format!(
        "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        INSPECT_LIMIT + 1,
        "x".repeat(INSPECT_LIMIT + 1)
    );
    for body in [announced, chunked] {
        let fake = engine(move || say(format!("HTTP/1.1 200 OK\r\n{body}")));
        let fault = fake.docker().inspect(&ContainerId("c".into())).await.expect_err("too large");
        assert_eq!(fault.reason(), "TooLarge", "{fault}");
    }
}

#[tokio::test]
async fn an_endless_error_is_cut_and_still_classified() {
    let fake = engine(|| {
        let text = "x".repeat(200_000);
        say(format!("HTTP/1.1 500 X\r\nContent-Length: 99999999\r\n\r\n{text}"))
    });
    let fault = fake.docker().containers().await.expect_err("an error");
    assert_eq!(fault.reason(), "EngineError", "{fault}");
}

#[tokio::test]
async fn fulfilled_wishes_are_success() {
    let progress = r#"{"message":"removal of container c is already in progress"}"#;
    let gone = r#"{"message":"No such container: c"}"#;
    for (status, body, write) in
        [(304, "", start()), (404, gone, remove()), (409, progress, remove())]
    {
        let fake = engine(move || answer(status, body));
        let reply = fake.docker().write(&write).await;
        assert_eq!(reply, Ok(WriteReply::default()), "{status}");
    }
    let other = r#"{"message":"You cannot remove a running container"}"#;
    let lost = r#"{"message":"page not found"}"#;
    for (status, body, write, reason) in [
        (404, gone, start(), "NotFound"),
        (404, lost, remove(), "NotFound"),
        (409, other, remove(), "Conflict"),
        (500, gone, remove(), "EngineError"),
    ] {
        let fake = engine(move || answer(status, body));
        let fault = fake.docker().write(&write).await.expect_err("a fault");
        assert_eq!(fault.reason(), reason, "{status}");
    }
}

#[tokio::test]
async fn a_proxys_403_names_the_call() {
    let fake = engine(|| answer(403, "<html>Forbidden</html>"));
    let fault = fake.docker().write(&start()).await.expect_err("forbidden");
    assert_eq!(fault.reason(), "PermissionMissing");
    assert!(fault.to_string().contains("POST /containers/{id}/start"), "{fault}");
}

#[tokio::test]
async fn a_created_container_must_have_an_id() {
    let create = Write::CreateContainer {
        name: "n".into(),
        platform: None,
        body: Sensitive::new(Map::new()),
    };
    let fake = engine(|| answer(201, r#"{"Id":"abc","Warnings":["w"]}"#));
    let reply = fake.docker().write(&create).await.expect("created");
    assert_eq!(reply, WriteReply { id: Some("abc".into()), warnings: vec!["w".into()] });
    assert_eq!(fake.count("POST /v1.41/containers/create?name=n"), 1);
    let fake = engine(|| answer(201, "{}"));
    let fault = fake.docker().write(&create).await.expect_err("no ID");
    assert!(fault.outcome_unknown(), "{fault}");
}

#[tokio::test]
async fn the_tier_stops_a_write_before_it_leaves() {
    let fake = engine(|| answer(204, ""));
    let heal = Docker::new(fake.endpoint(), Tier::Heal).expect("an engine");
    heal.write(&start()).await.expect("allowed");
    let before = fake.log().len();
    let fault = heal.write(&remove()).await.expect_err("forbidden");
    assert_eq!(fault.reason(), "TierForbids", "{fault}");
    let fault = heal.pull("x", None, &|_| {}).await.expect_err("forbidden");
    assert_eq!(fault.reason(), "TierForbids", "{fault}");
    assert_eq!(fake.log().len(), before);
}

#[test]
fn versions_are_negotiated_within_what_we_speak() {
    assert_eq!(negotiate("1.41"), Ok((1, 41)));
    assert_eq!(negotiate("1.99"), Ok(NEWEST));
    assert_eq!(negotiate("1.40").map_err(|f| f.reason()), Err("EngineTooOld"));
    assert_eq!(negotiate("").map_err(|f| f.reason()), Err("Garbage"));
}

#[tokio::test]
async fn an_engine_replaced_by_an_older_one_is_negotiated_with_again() {
    let refusal = r#"{"message":"client version 1.51 is too new. Maximum is 1.41"}"#;
    let newest = std::sync::atomic::AtomicBool::new(true);
    let fake = Fake::start(move |_, line| {
        if line.ends_with("/_ping") {
            let version = if newest.swap(false, Ordering::SeqCst) { "1.60" } else { "1.41" };
            return say(format!(
                "HTTP/1.1 200 OK\r\nApi-Version: {version}\r\nContent-Length: 0\r\n\r\n"
            ));
        }
        if line.contains("/v1.51/") { answer(400, refusal) } else { answer(200, "[]") }
    });
    let docker = fake.docker();
    assert_eq!(docker.networks().await.expect_err("refused").reason(), "Rejected");
    docker.networks().await.expect("the older version");
}

#[tokio::test]
async fn events_survive_garbage_and_huge_lines() {
    let fake = engine(|| {
        let event = json!({"Type": "container", "Action": "die", "Actor": {"ID": "c"}, "time": 1});
        let lines = format!("{}\nnot json\n{{}}\n{event}\n", "x".repeat(lines::LINE_LIMIT + 1));
        let mut acts = say(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{lines}\r\n0\r\n\r\n",
            lines.len()
        ));
        acts.push(Act::Close);
        acts
    });
    let docker = fake.docker();
    let items: Vec<_> = docker.events(None).await.expect("a stream").collect().await;
    let skipped = |bytes| Ok(StreamItem::Skipped { bytes });
    assert_eq!(items[..3], [skipped(lines::LINE_LIMIT + 1), skipped(8), skipped(2)]);
    let Ok(StreamItem::Event(event)) = &items[3] else { panic!("{:?}", items[3]) };
    assert_eq!((event.action.as_str(), event.time_nano), ("die", 1_000_000_000));
    assert_eq!(items.len(), 4);
    // The stream had a connection of its own.
    assert_eq!(fake.log()[1].0, 1);
}

#[tokio::test]
async fn a_dropped_stream_closes_its_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).expect("a socket");
    let address = Address::Unix(path);
    let endpoint = Endpoint { address, source: "test".into(), docker_config: None };
    let transport = Transport::new(endpoint).expect("a transport");
    let call = Call::get("GET /events", "/events".into(), Deadlines::default().ping, 0);
    let (stream, peer) = tokio::join!(transport.stream(&call), async {
        let mut peer = BufReader::new(listener.accept().await.expect("a peer").0);
        read_request(&mut peer).await.expect("a request");
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        peer.write_all(head).await.expect("written");
        peer
    });
    let (stream, mut peer) = (stream.expect("a stream"), peer);
    drop(stream);
    let end = timeout(Duration::from_secs(5), peer.read(&mut [0; 8])).await;
    assert_eq!(end.expect("in time").expect("an end"), 0);
}

#[tokio::test]
async fn a_proxy_that_forbids_the_ping_is_asked_for_the_version() {
    let fake = Fake::start(|_, line| match line {
        "GET /_ping" => say("HTTP/1.1 403 X\r\nContent-Length: 0\r\n\r\n"),
        "GET /version" => {
            let body = r#"{"ApiVersion":"1.43"}"#;
            say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
        }
        _ => answer(200, "[]"),
    });
    fake.docker().networks().await.expect("a list");
    assert_eq!(fake.count("GET /v1.43/networks"), 1);
}

#[tokio::test]
async fn a_broken_event_stream_says_so() {
    let fake = engine(|| {
        let mut acts = say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        acts.push(Act::Close);
        acts
    });
    let docker = fake.docker();
    let items: Vec<_> = docker.events(None).await.expect("a stream").collect().await;
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].as_ref().map_err(Fault::reason), Err("Interrupted"));
}

#[tokio::test]
async fn a_pull_reports_progress_and_its_error_under_200() {
    let fake =
        engine(|| answer(200, "{\"status\":\"Pulling\"}\n{\"error\":\"manifest unknown\"}\n"));
    let seen = StdMutex::new(Vec::new());
    let docker = fake.docker();
    let note = |p: PullProgress| seen.lock().expect("seen").push(p.status);
    let fault = docker.pull("a/b", Some("linux/amd64"), &note).await.expect_err("an error");
    assert_eq!(fault.reason(), "NotFound");
    assert_eq!(seen.lock().expect("seen").as_slice(), ["Pulling"]);
    let path = "POST /v1.41/images/create?fromImage=a%2Fb&tag=latest&platform=linux%2Famd64";
    assert_eq!(fake.count(path), 1);
}

#[tokio::test]
async fn nobody_at_the_endpoint_is_no_uncertain_outcome() {
    let fake = engine(|| answer(204, ""));
    let endpoint = fake.endpoint();
    drop(fake);
    let docker = Docker::new(endpoint, Tier::Reconcile).expect("an engine");
    let fault = docker.write(&start()).await.expect_err("nobody");
    assert_eq!((fault.reason(), fault.outcome_unknown()), ("EngineUnreachable", false));
}

#[tokio::test]
async fn logs_ask_the_container_whether_it_has_a_terminal() {
    for (tty, body, wanted) in [
        (true, "raw", vec![(false, "raw")]),
        (false, "\u{2}\0\0\0\0\0\0\u{3}err", vec![(true, "err")]),
    ] {
        let fake = Fake::start(move |_, line| {
            if line.contains("/logs?") {
                return answer(200, body);
            }
            answer(200, &json!({"Id": "c", "Config": {"Tty": tty}}).to_string())
        });
        let docker = fake.docker();
        let id = ContainerId("c".into());
        let options = LogOptions { tail: Some(5), ..LogOptions::default() };
        let chunks: Vec<_> = docker.logs(&id, &options).await.expect("a log").collect().await;
        let got: Vec<_> = chunks.into_iter().map(|c| c.expect("a chunk")).collect();
        let got: Vec<_> =
            got.iter().map(|c| (c.stderr, std::str::from_utf8(&c.bytes).expect("text"))).collect();
        assert_eq!(got, wanted);
        assert_eq!(fake.count("tail=5"), 1);
    }
}

#[tokio::test]
async fn a_stop_without_a_grace_waits_for_the_containers_own() {
    let fake = engine(|| answer(200, r#"{"Id":"c","Config":{"StopTimeout":90}}"#));
    let docker = fake.docker();
    let stop = Write::StopContainer { id: ContainerId("c".into()), grace: None };
    let grace = docker.own_grace(&stop).now_or_never();
    assert!(grace.is_none(), "it asks the engine");
    let grace = docker.own_grace(&stop).await;
    assert_eq!(
        write::request("", &stop, grace, &Deadlines::default()).deadline,
        Duration::from_secs(105)
    );
}
