//! The drivers against servers on loopback that speak recorded answers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::api::stack::ServiceSpec;
use crate::clock::SystemClock;
use crate::probe::ask::{Observation, ask};
use crate::probe::spec::Probe;
use crate::probe::vantage::{Address, Candidate, Reached, Vantage};
use crate::probe::{Answer, Outcome};

mod http;
mod valkey;
mod ways;

/// What the server does on a connection.
#[derive(Debug, Clone)]
enum Act {
    /// Reads the request up to these bytes.
    Read(&'static [u8]),
    /// Reads one HTTP request's head.
    ReadHead,
    /// Writes.
    Write(Vec<u8>),
    /// Writes again and again.
    WriteForEver(Vec<u8>),
    /// Waits.
    Wait(Duration),
    /// Neither writes nor closes.
    Hang,
}

/// A server that does the same on every connection, then closes it.
struct Server {
    address: SocketAddr,
    /// Everything that it has read.
    read: Arc<Mutex<Vec<u8>>>,
}

impl Server {
    async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let read = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&read);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, acts.clone(), Arc::clone(&seen)));
            }
        });
        Self { address, read }
    }

    /// Answers every HTTP request with a recorded answer.
    async fn recorded(answer: &[u8]) -> Self {
        Self::start(vec![Act::ReadHead, Act::Write(answer.to_vec())]).await
    }

    fn read(&self) -> String {
        String::from_utf8_lossy(&self.read.lock().expect("unpoisoned")).into_owned()
    }
}

async fn serve(mut stream: TcpStream, acts: Vec<Act>, seen: Arc<Mutex<Vec<u8>>>) {
    for act in acts {
        match act {
            Act::Read(until) => read_until(&mut stream, until, &seen).await,
            Act::ReadHead => read_until(&mut stream, b"\r\n\r\n", &seen).await,
            Act::Write(bytes) => drop(stream.write_all(&bytes).await),
            Act::WriteForEver(bytes) => while stream.write_all(&bytes).await.is_ok() {},
            Act::Wait(time) => tokio::time::sleep(time).await,
            Act::Hang => std::future::pending().await,
        }
    }
}

async fn read_until(stream: &mut TcpStream, until: &[u8], seen: &Mutex<Vec<u8>>) {
    let mut buffer = Vec::new();
    while !buffer.ends_with(until) {
        match stream.read_u8().await {
            Ok(byte) => buffer.push(byte),
            Err(_) => break,
        }
    }
    seen.lock().expect("unpoisoned").extend(buffer);
}

fn probe(yaml: &str) -> Probe {
    let spec: ServiceSpec = serde_saphyr::from_str(yaml).expect("a spec");
    Probe::of(&spec).expect("valid").expect("a probe")
}

fn container() -> Vantage {
    Vantage::Container { network: "default".into() }
}

fn at(vantage: Vantage, address: SocketAddr) -> Candidate {
    Candidate { vantage, address: Address::Socket(address) }
}

async fn observe(probe: &Probe, candidates: &[Candidate], reached: &Reached) -> Observation {
    ask(probe, candidates, reached, &SystemClock::new()).await
}

/// Asks a server at a container's address.
async fn outcome(yaml: &str, server: &Server) -> Outcome {
    let candidates = [at(container(), server.address)];
    observe(&probe(yaml), &candidates, &Reached::new()).await.outcome
}

/// Answer and reason.
fn short(outcome: &Outcome) -> (Answer, &str) {
    (outcome.answer, &outcome.reason)
}
