//! Row 45: probe answers that take too long or never end. Real connections, real time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::desired::source::{Environment, Flags, Request, find};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// What a server does once it has read a request.
#[derive(Debug, Clone, Copy)]
enum Answers {
    /// A whole answer at once.
    Well,
    /// Nothing.
    Never,
    /// A head, then a byte now and then, for ever.
    Drips,
    /// A head, then as many bytes as are taken, for ever.
    Floods,
    /// A head that has no end.
    EndlessHead,
}

/// A server on loopback that changes from good answers to others when it is told to.
struct Server {
    port: u16,
    spoilt: Arc<AtomicBool>,
    /// Requests so far.
    asked: Arc<AtomicUsize>,
    /// Most bytes that one connection took.
    most: Arc<AtomicUsize>,
    /// Connections that are open.
    open: Arc<AtomicUsize>,
}

impl Server {
    async fn start(spoilt: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let server = Self {
            port: listener.local_addr().expect("an address").port(),
            spoilt: Arc::default(),
            asked: Arc::default(),
            most: Arc::default(),
            open: Arc::default(),
        };
        let (now, asked) = (Arc::clone(&server.spoilt), Arc::clone(&server.asked));
        let (most, open) = (Arc::clone(&server.most), Arc::clone(&server.open));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                asked.fetch_add(1, Relaxed);
                open.fetch_add(1, Relaxed);
                let answers = if now.load(Relaxed) { spoilt } else { Answers::Well };
                let (most, open) = (Arc::clone(&most), Arc::clone(&open));
                tokio::spawn(async move {
                    let sent = serve(stream, answers).await;
                    most.fetch_max(sent, Relaxed);
                    open.fetch_sub(1, Relaxed);
                });
            }
        });
        server
    }
}

/// Answers until the other side has enough; returns how many bytes it took.
async fn serve(mut stream: TcpStream, answers: Answers) -> usize {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await;
    let (head, chunk, pause) = match answers {
        Answers::Well => (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{\"version\":\"0.5.4\"}"[..],
            &b""[..],
            0,
        ),
        Answers::Never => (&b""[..], &b""[..], 0),
        Answers::Drips => (HEAD, &b" "[..], 20),
        Answers::Floods => (HEAD, &[b' '; 16 << 10][..], 0),
        Answers::EndlessHead => {
            (&b"HTTP/1.1 200 OK\r\n"[..], &b"X-More: and more of it\r\n"[..], 0)
        }
    };
    let mut sent = head.len();
    if stream.write_all(head).await.is_err() {
        return sent;
    }
    if chunk.is_empty() {
        let _ = stream.read(&mut request).await;
        return sent;
    }
    while stream.write_all(chunk).await.is_ok() {
        sent += chunk.len();
        sleep(ms(pause)).await;
    }
    sent
}

/// A goal whose services are probed at these servers, as its files say.
fn probed(services: &[(&str, &str, &Server)]) -> Goal {
    let folder = tempfile::tempdir().expect("a folder");
    let mut compose = "name: p\nservices:\n".to_owned();
    let mut stack =
        "apiVersion: homeostat.dev/v1alpha1\nkind: Stack\nmetadata: {name: p}\nspec:\n  \
                     services:\n"
            .to_owned();
    for (name, asks, server) in services {
        compose += &format!("  {name}: {{image: 'app:1'}}\n");
        stack += &format!(
            "    {name}: {{{asks}, endpoint: 'http://127.0.0.1:{}', interval: 100ms, timeout: \
             600ms, readyWithin: 1h}}\n",
            server.port
        );
    }
    std::fs::write(folder.path().join("compose.yaml"), compose).expect("writes");
    std::fs::write(folder.path().join("stack.yaml"), stack).expect("writes");
    let request = Request {
        path: Some(folder.path().to_owned()),
        cwd: folder.path().to_owned(),
        flags: Flags::default(),
        environment: Environment::default(),
        scope: Scope::default(),
    };
    let source = find(&request).expect("finds").sources.remove(0);
    source.load(1).expect("loads").goal
}

async fn until(scene: &Scene, what: &str, is: impl Fn() -> bool) {
    for _ in 0..400 {
        if is() {
            return;
        }
        sleep(ms(25)).await;
    }
    panic!("waited in vain: {what}\n{}", scene.show());
}

const HTTP: &str = "probe: {http: {path: /, port: 80}}";
/// It reads the whole answer.
const OLLAMA: &str = "driver: ollama";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_45_answers_without_an_end_cost_a_deadline_and_hold_up_nobody() {
    let never = Server::start(Answers::Never).await;
    let drips = Server::start(Answers::Drips).await;
    let head = Server::start(Answers::EndlessHead).await;
    let floods = Server::start(Answers::Floods).await;
    let said = Server::start(Answers::Floods).await;
    let web = Server::start(Answers::Well).await;
    for server in [&never, &drips, &head, &floods, &said] {
        server.spoilt.store(true, Relaxed);
    }
    let goal = probed(&[
        ("never", HTTP, &never),
        ("drips", OLLAMA, &drips),
        ("head", HTTP, &head),
        ("floods", OLLAMA, &floods),
        ("said", HTTP, &said),
        ("web", HTTP, &web),
    ]);
    let scene = Scene::on(engine(1), goal);
    for ready in ["web", "said", "floods"] {
        until(&scene, ready, || scene.status(ready) == SlotStatus::Ready).await;
    }
    let (asked, starts) = (web.asked.load(Relaxed), scene.starts().len());
    scene.stays_quiet(secs(3)).await;
    // Some 30; on a busy machine fewer.
    let asked = web.asked.load(Relaxed) - asked;
    assert!(asked >= 10, "the good one was asked {asked} times in 3 s");
    // Not ready: it takes a connection and the deadline passes.
    for service in ["never", "drips"] {
        assert_eq!(scene.status(service), SlotStatus::Starting, "{}", scene.show());
        let row = scene.told().services.into_iter().find(|s| s.service == service);
        let message = row.expect("a row").message;
        assert!(message.contains("doesn't answer within 600ms"), "{service}: {message}");
    }
    assert_eq!(scene.status("head"), SlotStatus::Starting, "{}", scene.show());
    // Unknown: it answers, and the answer is too long to be read; it counts as running.
    let row = scene.told().services.into_iter().find(|s| s.service == "floods").expect("a row");
    assert!(row.message.contains("its answer is longer than"), "{}", row.message);
    // The status was said before the body: what follows doesn't matter.
    assert_eq!(scene.status("said"), SlotStatus::Ready);
    // What is read is bounded; the rest is what the system's buffers hold.
    for (name, server) in [("drips", &drips), ("head", &head), ("floods", &floods), ("said", &said)]
    {
        let most = server.most.load(Relaxed);
        assert!(most > 0 && most < 24 << 20, "{name}: {most} bytes");
    }
    for (name, server) in
        [("never", &never), ("drips", &drips), ("head", &head), ("floods", &floods)]
    {
        let open = server.open.load(Relaxed);
        assert!(open <= 2, "{name}: {open} connections are open");
    }
    assert_eq!(scene.starts().len(), starts, "none was restarted");
    // The loop goes on.
    scene.sim.crash("p-web-1", 1).expect("runs");
    until(&scene, "it is started again", || scene.starts().len() == starts + 1).await;
    until(&scene, "it is ready again", || scene.status("web") == SlotStatus::Ready).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_45_a_service_that_was_ready_is_not_restarted_by_an_unknown() {
    let floods = Server::start(Answers::Floods).await;
    let scene = Scene::on(engine(1), probed(&[("floods", OLLAMA, &floods)]));
    let ready = || scene.status("floods") == SlotStatus::Ready;
    let message =
        || scene.told().services.into_iter().next().map(|s| s.message).unwrap_or_default();
    until(&scene, "ready", ready).await;
    assert_eq!(message(), "");
    floods.spoilt.store(true, Relaxed);
    until(&scene, "said", || message().contains("its answer is longer than")).await;
    // More than three failing observations would need.
    scene.stays_quiet(secs(5)).await;
    assert!(ready(), "{}", scene.show());
    assert_eq!(scene.starts(), ["floods"]);
    floods.spoilt.store(false, Relaxed);
    until(&scene, "well again", || ready() && message().is_empty()).await;
}
