//! A command inside a container: made, started, and its output read to the end.

use bytes::Bytes;
use hyper::Method;
use serde_json::json;

use super::decode;
use super::encode::encode;
use super::logs::Frames;
use super::transport::{Call, SharedTransport};
use crate::engine::{ContainerId, Exec, Fault};
use crate::observed::lenient::text;

const MAKE: &str = "POST /containers/{id}/exec";
const START: &str = "POST /exec/{id}/start";
/// Bytes of output that are read.
const LIMIT: usize = 4096;

/// Runs it. The caller keeps the time.
pub(super) async fn run(
    transport: &SharedTransport,
    version: &str,
    id: &ContainerId,
    exec: &Exec,
) -> Result<Vec<u8>, Fault> {
    let environment: Vec<&String> = exec.environment.iter().map(|pair| pair.expose()).collect();
    let body = json!({
        "AttachStdout": true,
        "AttachStderr": true,
        "Tty": false,
        "Cmd": exec.command,
        "Env": environment,
    });
    let path = format!("{version}/containers/{}/exec", encode(&id.0));
    let made = transport.call(&post(MAKE, path, body.to_string(), exec)).await?;
    let garbage = |call: &str, reason: String| Fault::Garbage { call: call.into(), reason };
    let made = decode::json(&made.body).map_err(|reason| garbage(MAKE, reason))?;
    let number = text(&made, "Id");
    if number.is_empty() {
        return Err(garbage(MAKE, "it names no ID".into()));
    }
    let path = format!("{version}/exec/{}/start", encode(&number));
    let start = post(START, path, json!({ "Detach": false, "Tty": false }).to_string(), exec);
    let mut output = transport.stream(&start).await?;
    let (mut frames, mut printed) = (Frames::default(), Vec::new());
    while let Some(piece) = output.next(None).await {
        let mut chunks = Vec::new();
        frames.push(piece?, &mut chunks).map_err(|reason| garbage(START, reason))?;
        for chunk in chunks {
            printed.extend_from_slice(&chunk.bytes);
        }
        if printed.len() >= LIMIT {
            printed.truncate(LIMIT);
            break;
        }
    }
    Ok(printed)
}

fn post(name: &'static str, path: String, body: String, exec: &Exec) -> Call {
    let method = Method::POST;
    let body = Some(Bytes::from(body));
    Call { method, path, name, body, headers: Vec::new(), deadline: exec.deadline, limit: 64 << 10 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fake::{Act, Fake, answer, say};
    use super::*;
    use crate::engine::{Engine, Tier};

    fn exec() -> Exec {
        let command = vec!["valkey-cli".to_owned(), "PING".to_owned()];
        Exec { command, environment: Vec::new(), deadline: Duration::from_secs(5) }
    }

    fn frame(stream: u8, text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).expect("short").to_be_bytes();
        [&[stream, 0, 0, 0], &length[..], text.as_bytes()].concat()
    }

    fn printing(output: Vec<u8>) -> Fake {
        Fake::start(move |_, line| {
            if line.ends_with("/containers/abc/exec") {
                return answer(201, "{\"Id\":\"e1\"}");
            }
            if line.ends_with("/exec/e1/start") {
                let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n";
                let mut acts = say([&head[..], &output[..]].concat());
                acts.push(Act::Close);
                return acts;
            }
            answer(200, "OK")
        })
    }

    #[tokio::test]
    async fn both_outputs_are_read_to_the_end() {
        let fake = printing([frame(2, "a warning\n"), frame(1, "PONG\n")].concat());
        let id = ContainerId("abc".into());
        let printed = fake.docker().exec(&id, &exec()).await.expect("runs");
        assert_eq!(String::from_utf8_lossy(&printed), "a warning\nPONG\n");
    }

    #[tokio::test]
    async fn endless_output_is_cut() {
        let fake = printing((0..100).flat_map(|_| frame(1, &"x".repeat(1000))).collect());
        let id = ContainerId("abc".into());
        let printed = fake.docker().exec(&id, &exec()).await.expect("runs");
        assert_eq!(printed.len(), LIMIT);
    }

    #[tokio::test]
    async fn the_tier_observe_runs_nothing() {
        let fake = printing(Vec::new());
        let docker = super::super::Docker::new(fake.endpoint(), Tier::Observe).expect("a client");
        let fault = docker.exec(&ContainerId("abc".into()), &exec()).await.expect_err("refused");
        assert!(matches!(fault, Fault::TierForbids { .. }), "{fault}");
        assert!(fake.log().is_empty(), "nothing left this process");
    }
}
