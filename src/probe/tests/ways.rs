//! Which way leads to a service, and what it means when none does.

use tokio::net::TcpSocket;

use super::*;

const TCP: &str = "probe: {tcp: {port: 80}}\ntimeout: 400ms\n";

/// A port where nothing listens.
async fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    listener.local_addr().expect("an address")
}

/// A listener whose queue is full: the kernel drops what comes, as a black hole does.
struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    async fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("binds");
        let listener = socket.listen(1).expect("listens");
        let address = listener.local_addr().expect("an address");
        let mut queued = Vec::new();
        let short = Duration::from_millis(100);
        while let Ok(stream) = tokio::time::timeout(short, TcpStream::connect(address)).await {
            queued.push(stream.expect("connects"));
            assert!(queued.len() < 16, "the queue never fills");
        }
        Self { address, _listener: listener, _queued: queued }
    }
}

async fn web() -> Server {
    Server::start(vec![Act::Hang]).await
}

#[tokio::test]
async fn refused_is_down() {
    let candidates = [at(container(), refusing().await)];
    let observation = observe(&probe(TCP), &candidates, &Reached::new()).await;
    assert_eq!(short(&observation.outcome), (Answer::NotReady, "Refused"));
    assert_eq!(observation.reached, None);
    assert!(observation.outcome.took < Duration::from_millis(200));
}

#[tokio::test]
async fn silence_is_unknown_from_where_nobody_ever_came_through() {
    let hole = BlackHole::new().await;
    let candidates = [at(container(), hole.address)];
    let never = observe(&probe(TCP), &candidates, &Reached::new()).await;
    assert_eq!(short(&never.outcome), (Answer::Unknown, "ProbeUnreachable"));
    assert!(never.outcome.message.contains("endpoint"), "the mend: {}", never.outcome.message);
    let before = observe(&probe(TCP), &candidates, &Reached::from([container()])).await;
    assert_eq!(short(&before.outcome), (Answer::NotReady, "Timeout"));
}

#[tokio::test]
async fn no_address_is_unknown() {
    let observation = observe(&probe(TCP), &[], &Reached::new()).await;
    assert_eq!(short(&observation.outcome), (Answer::Unknown, "ProbeUnreachable"));
}

#[tokio::test]
async fn a_dead_way_leaves_time_for_the_next() {
    let (hole, server) = (BlackHole::new().await, web().await);
    let candidates = [at(container(), hole.address), at(Vantage::Published, server.address)];
    let observation = observe(&probe(TCP), &candidates, &Reached::new()).await;
    assert_eq!(short(&observation.outcome), (Answer::Ready, "Ready"));
    assert_eq!(observation.reached, Some(Vantage::Published));
    assert!(observation.outcome.took >= Duration::from_millis(200));
    // Remembered, it comes first.
    let again = observe(&probe(TCP), &candidates, &Reached::from([Vantage::Published])).await;
    assert!(again.outcome.took < Duration::from_millis(200), "{:?}", again.outcome.took);
}

#[tokio::test]
async fn a_refusal_at_the_containers_address_is_final_for_its_published_port() {
    let server = web().await;
    let candidates = [at(container(), refusing().await), at(Vantage::Published, server.address)];
    let observation = observe(&probe(TCP), &candidates, &Reached::new()).await;
    assert_eq!(short(&observation.outcome), (Answer::NotReady, "Refused"));
    // But it may listen on another of its networks.
    let other = Vantage::Container { network: "other".into() };
    let candidates = [at(container(), refusing().await), at(other.clone(), server.address)];
    let observation = observe(&probe(TCP), &candidates, &Reached::new()).await;
    assert_eq!(observation.reached, Some(other));
}

#[tokio::test]
async fn a_proxy_that_accepts_and_closes_proves_nothing() {
    let server = Server::start(vec![Act::Wait(Duration::from_millis(10))]).await;
    let published = [at(Vantage::Published, server.address)];
    let observation = observe(&probe(TCP), &published, &Reached::new()).await;
    assert_eq!(short(&observation.outcome), (Answer::NotReady, "Closed"));
    assert_eq!(observation.reached, None);
    // At its own address, accepting is all that was asked.
    let direct = [at(container(), server.address)];
    let observation = observe(&probe(TCP), &direct, &Reached::new()).await;
    assert_eq!(short(&observation.outcome), (Answer::Ready, "Ready"));
}

#[tokio::test]
async fn a_forbidden_endpoint_is_unknown_and_named() {
    let probe = probe("driver: ollama\nendpoint: http://169.254.169.254\n");
    let candidates = [at(Vantage::Endpoint, "169.254.169.254:80".parse().expect("an address"))];
    let observation = observe(&probe, &candidates, &Reached::new()).await;
    assert_eq!(short(&observation.outcome), (Answer::Unknown, "AddressForbidden"));
    assert!(observation.outcome.message.contains("link-local"));
}

#[tokio::test]
async fn an_endpoint_may_be_a_name_and_have_a_base_path() {
    let body = "{\"version\":\"1\"}";
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let server = Server::recorded(answer.as_bytes()).await;
    let port = server.address.port();
    let probe = probe(&format!("driver: ollama\nendpoint: http://localhost:{port}/base/\n"));
    let address = Address::Name("localhost".into(), port);
    let candidates = [Candidate { vantage: Vantage::Endpoint, address }];
    let observation = observe(&probe, &candidates, &Reached::new()).await;
    assert_eq!(short(&observation.outcome), (Answer::Ready, "Ready"));
    assert!(server.read().starts_with("GET /base/api/version HTTP/1.1\r\n"));
}
