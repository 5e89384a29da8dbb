//! The server over real connections.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::faults::Faults;
use crate::generic::Generic;
use crate::server::serve;

/// Starts a generic service; its address and its faults.
async fn start() -> (String, Arc<Faults>) {
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let faults = Arc::new(Faults::default());
    let (at, shared) = (address.clone(), faults.clone());
    tokio::spawn(async move { serve(&at, Arc::new(Generic), shared).await });
    for _ in 0..200 {
        if TcpStream::connect(&address).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (address, faults)
}

/// Sends bytes and reads what comes until the server closes, or for 300 ms.
async fn talk(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_millis(300), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn one_connection_serves_several_requests_chunked_ones_too() {
    let (address, _) = start().await;
    let requests = b"POST /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n0\r\n\r\nGET /health HTTP/1.1\r\nConnection: close\r\n\r\n";
    let answers = talk(&address, requests).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert!(answers.contains("Connection: close\r\n\r\nok\n"), "{answers}");
}

#[tokio::test]
async fn what_exceeds_a_limit_is_refused() {
    let (address, _) = start().await;
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(9_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65));
    for (request, status) in [
        (long.as_str(), 431),
        (many.as_str(), 431),
        ("POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\n\r\n", 505),
    ] {
        let answer = talk(&address, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    }
}

#[tokio::test]
async fn refusing_closes_the_port_and_what_was_open() {
    let (address, faults) = start().await;
    let mut open = TcpStream::connect(&address).await.unwrap();
    faults.admin("refuse", b"");
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(1), open.read_to_end(&mut rest)).await;
    assert!(closed.is_ok());
    assert!(TcpStream::connect(&address).await.is_err());
    faults.admin("reset", b"");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(talk(&address, b"GET / HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn an_endless_body_does_not_end() {
    let (address, _) = start().await;
    let answer = talk(&address, b"GET /endless HTTP/1.1\r\n\r\n").await;
    assert!(answer.len() > 1 << 20, "{} bytes", answer.len());
}
