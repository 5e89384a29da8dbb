//! An engine that answers from a script, for tests of what happens on the wire.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;

use super::{Address, Docker, Endpoint};
use crate::engine::Tier;

/// What the server does next on a connection.
pub(super) enum Act {
    Say(Vec<u8>),
    Wait(Duration),
    Close,
}

pub(super) fn say(text: impl AsRef<[u8]>) -> Vec<Act> {
    vec![Act::Say(text.as_ref().to_vec())]
}

pub(super) fn answer(status: u16, body: &str) -> Vec<Act> {
    let length =
        if status == 304 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    say(format!("HTTP/1.1 {status} X\r\nApi-Version: 1.41\r\n{length}\r\n{body}"))
}

/// A server; `log` has each request's first line with the number of its connection.
pub(super) struct Fake {
    folder: tempfile::TempDir,
    log: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Fake {
    /// `script` gets the connection's number, and the request's first line.
    pub(super) fn start(script: impl Fn(usize, &str) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("s")).expect("a socket");
        let log: Arc<Mutex<Vec<(usize, String)>>> = Arc::default();
        let (script, seen) = (Arc::new(script), Arc::clone(&log));
        tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(line) = read_request(&mut stream).await {
                        seen.lock().expect("log").push((number, line.clone()));
                        for act in script(number, &line) {
                            match act {
                                Act::Say(bytes) => {
                                    if stream.write_all(&bytes).await.is_err() {
                                        return;
                                    }
                                }
                                Act::Wait(time) => sleep(time).await,
                                Act::Close => return,
                            }
                        }
                    }
                });
            }
        });
        Self { folder, log }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: Address::Unix(self.folder.path().join("s")),
            source: "test".into(),
            docker_config: None,
        }
    }

    pub(super) fn docker(&self) -> Docker {
        Docker::new(self.endpoint(), Tier::Reconcile).expect("an engine")
    }

    pub(super) fn log(&self) -> Vec<(usize, String)> {
        self.log.lock().expect("log").clone()
    }

    pub(super) fn count(&self, what: &str) -> usize {
        self.log().iter().filter(|(_, line)| line.contains(what)).count()
    }
}

pub(super) async fn read_request(stream: &mut BufReader<UnixStream>) -> Option<String> {
    let mut first = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
        if first.is_empty() {
            line.trim_end_matches(" HTTP/1.1").clone_into(&mut first);
        }
    }
    stream.read_exact(&mut vec![0; length]).await.ok()?;
    Some(first)
}

/// A server that negotiates 1.41 and answers everything else with `acts`.
pub(super) fn engine(acts: impl Fn() -> Vec<Act> + Send + Sync + 'static) -> Fake {
    Fake::start(move |_, line| if line.ends_with("/_ping") { answer(200, "OK") } else { acts() })
}
