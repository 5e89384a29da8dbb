//! Compares answers with the recorded ones, byte for byte where nothing varies.

use crate::http::{Body, Request, Response};
use crate::server::Service;

/// The request, as a client without peculiarities sends it.
pub fn request(method: &str, target: &str, body: &str) -> Request {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: vec![("Host".to_owned(), "service:1".to_owned())],
        body: body.as_bytes().to_vec(),
        keep_alive: true,
    }
}

/// Head and body of the answer, chunks joined, as recordings hold them.
pub async fn answer(service: &dyn Service, request: &Request) -> String {
    let response: Response = service.answer(request).await;
    let mut text = response.head(service.flavour(), "DATE", request.keep_alive);
    match response.body {
        Body::Full(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
        Body::Stream(mut chunks) => {
            while let Some(chunk) = chunks.recv().await {
                text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        }
    }
    text
}

/// Only the body of the answer.
pub async fn body(service: &dyn Service, method: &str, target: &str, body: &str) -> String {
    let text = answer(service, &request(method, target, body)).await;
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Sends a request and compares; `varying` names the JSON fields whose values are not compared.
#[track_caller]
pub fn assert_same(recording: &str, answer: &str, varying: &[&str]) {
    assert_eq!(masked(answer, varying), masked(recording, varying));
}

/// The text with `Date` and the values of the named fields blanked. A length that depends on them
/// is checked against the body, then blanked too.
fn masked(text: &str, varying: &[&str]) -> String {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut blanked = body.to_owned();
    for field in varying {
        blanked = blank(&blanked, field);
    }
    let lines = head.split("\r\n").map(|line| match line.split_once(": ") {
        Some(("Date", _)) => "Date: DATE".to_owned(),
        Some(("Content-Length", length)) if blanked != body => {
            assert_eq!(length, body.len().to_string());
            "Content-Length: LENGTH".to_owned()
        }
        _ => line.to_owned(),
    });
    let head: Vec<String> = lines.collect();
    format!("{}\n\n{blanked}", head.join("\n"))
}

fn blank(text: &str, field: &str) -> String {
    let mut parts = Vec::new();
    let key = format!("\"{field}\":");
    let mut rest = text;
    while let Some(at) = rest.find(&key) {
        let start = at + key.len();
        parts.push(&rest[..start]);
        parts.push("VARIES");
        let value = rest[start..].trim_start();
        let end = match value.chars().next() {
            Some('"') => value[1..].find('"').unwrap() + 2,
            Some('[') => value.find(']').unwrap() + 1,
            _ => value.find([',', '}']).unwrap(),
        };
        rest = &value[end..];
    }
    parts.push(rest);
    parts.concat()
}

#[test]
fn the_comparison_can_fail() {
    let one = "HTTP/1.1 200 OK\r\nDate: a\r\nContent-Length: 13\r\n\r\n{\"a\":1,\"b\":2}";
    let other = one.replace("\"b\":2", "\"b\":3");
    assert_same(one, &other.replace("Date: a", "Date: b"), &["b"]);
    assert_ne!(masked(one, &["a"]), masked(&other, &["a"]));
    assert_ne!(masked(one, &[]), masked(&one.replace("Date", "date"), &[]));
}
