//! One observation: the first vantage that leads anywhere, the question, one total deadline.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::clock::{Clock, Mono};
use crate::probe::connect::{ConnectFault, ExchangeFault, connect};
use crate::probe::credentials::Credentials;
use crate::probe::http::{BODY_LIMIT, Get, get};
use crate::probe::spec::{Probe, Question};
use crate::probe::vantage::{Address, Candidate, Reached, Vantage};
use crate::probe::{Outcome, chroma, comfyui, generic, ollama, reason, valkey};

/// What one probe saw, and by which way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The outcome, with its time.
    pub outcome: Outcome,
    /// The vantage that led to the service, if any did.
    pub reached: Option<Vantage>,
}

/// Asks a probe's question within its deadline. Vantages that have worked come first; the others
/// share what time is left, so that a dead one leaves some for the next.
pub async fn ask(
    probe: &Probe,
    candidates: &[Candidate],
    reached: &Reached,
    clock: &dyn Clock,
) -> Observation {
    let begun = clock.now().mono;
    let mut observation = match Credentials::read(&probe.auth) {
        Ok(credentials) => attempt(probe, candidates, reached, &credentials, begun, clock).await,
        Err(outcome) => Observation { outcome, reached: None },
    };
    observation.outcome.took = clock.now().mono.since(begun);
    observation
}

async fn attempt(
    probe: &Probe,
    candidates: &[Candidate],
    reached: &Reached,
    credentials: &Credentials,
    begun: Mono,
    clock: &dyn Clock,
) -> Observation {
    let left = || probe.timeout.saturating_sub(clock.now().mono.since(begun));
    let mut order: Vec<&Candidate> = candidates.iter().collect();
    order.sort_by_key(|c| (!reached.contains(&c.vantage), c.vantage.clone()));
    let mut faults: Vec<(&Candidate, ConnectFault)> = Vec::new();
    for (i, candidate) in order.iter().enumerate() {
        if refusal_is_final(&faults, candidate) {
            continue;
        }
        let others = u32::try_from(order.len() - i).unwrap_or(u32::MAX);
        let share =
            if reached.contains(&candidate.vantage) { left() } else { left() / others.max(1) };
        let stream = match timeout(share, connect(&candidate.address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(fault)) => {
                faults.push((candidate, fault));
                continue;
            }
            Err(_) => {
                faults.push((candidate, ConnectFault::Timeout));
                continue;
            }
        };
        return exchange(probe, candidate, credentials, stream, left()).await;
    }
    Observation { outcome: unconnected(&faults, reached), reached: None }
}

/// After a refusal at one of the container's addresses, only its other addresses may tell more:
/// a published port ends at the same listener.
fn refusal_is_final(faults: &[(&Candidate, ConnectFault)], next: &Candidate) -> bool {
    let refused = faults.iter().any(|(c, fault)| {
        *fault == ConnectFault::Refused && matches!(c.vantage, Vantage::Container { .. })
    });
    refused && !matches!(next.vantage, Vantage::Container { .. })
}

/// Asks over a connection.
async fn exchange(
    probe: &Probe,
    candidate: &Candidate,
    credentials: &Credentials,
    stream: TcpStream,
    left: Duration,
) -> Observation {
    let proxied = candidate.vantage == Vantage::Published;
    let result = timeout(left, question(probe, candidate, credentials, stream, proxied)).await;
    // A proxy accepts for a container that doesn't: only an answer proves the way.
    let answered = matches!(result, Ok(Ok(_)));
    let outcome = match result {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(fault)) => unanswered(fault),
        Err(_) => Outcome::not_ready(
            "Timeout",
            format!("it accepts a connection but doesn't answer within {:?}", probe.timeout),
        ),
    };
    let reached = (answered || !proxied).then(|| candidate.vantage.clone());
    Observation { outcome, reached }
}

async fn question(
    probe: &Probe,
    candidate: &Candidate,
    credentials: &Credentials,
    stream: TcpStream,
    proxied: bool,
) -> Result<Outcome, ExchangeFault> {
    let (path, limit) = match &probe.question {
        Question::Valkey => return valkey::ask(stream, credentials).await,
        Question::Tcp => return generic::tcp(stream, proxied).await,
        Question::Chroma => (chroma::PATH, chroma::BODY_LIMIT),
        Question::Ollama { models, .. } => (ollama::path(models), BODY_LIMIT),
        Question::Comfyui => (comfyui::PATH, BODY_LIMIT),
        Question::Http { path, .. } => (path.as_str(), BODY_LIMIT),
    };
    let host = match &candidate.address {
        Address::Socket(socket) => socket.to_string(),
        Address::Name(host, port) => format!("{host}:{port}"),
    };
    let base = match (&candidate.vantage, &probe.endpoint) {
        (Vantage::Endpoint, Some(endpoint)) => endpoint.base.as_str(),
        _ => "",
    };
    let authorization = credentials.authorization();
    let request = Get {
        host: &host,
        path: &format!("{base}{path}"),
        authorization: authorization.as_ref(),
        limit,
    };
    let reply = get(stream, request).await?;
    match &probe.question {
        Question::Chroma => chroma::judge(&reply),
        Question::Ollama { models, required } => ollama::judge(&reply, models, *required),
        Question::Comfyui => comfyui::judge(&reply),
        Question::Http { status, .. } => Ok(generic::judge(&reply, status)),
        Question::Valkey | Question::Tcp => Err(ExchangeFault::Garbage),
    }
}

fn unanswered(fault: ExchangeFault) -> Outcome {
    match fault {
        ExchangeFault::Closed => {
            Outcome::not_ready("Closed", "it closes the connection without a whole answer")
        }
        ExchangeFault::Garbage => Outcome::not_ready(
            "UnexpectedAnswer",
            "it answers in another protocol or form: check the port and the driver",
        ),
        ExchangeFault::TooLarge(limit) => Outcome::unknown(
            "AnswerTooLarge",
            format!("its answer is longer than {limit} bytes: give the service a `probe`"),
        ),
    }
}

/// What it means that no vantage led to a connection. One that refused, or that has worked and
/// is silent now, speaks of the service; the rest only of the way to it.
fn unconnected(faults: &[(&Candidate, ConnectFault)], reached: &Reached) -> Outcome {
    if let Some((candidate, _)) = faults.iter().find(|(_, f)| *f == ConnectFault::Refused) {
        let at = shown(&candidate.address);
        return Outcome::not_ready("Refused", format!("nothing listens at {at}"));
    }
    let silent =
        faults.iter().find(|(c, f)| *f == ConnectFault::Timeout && reached.contains(&c.vantage));
    if let Some((candidate, _)) = silent {
        let at = shown(&candidate.address);
        return Outcome::not_ready("Timeout", format!("{at} no longer takes connections"));
    }
    const MEND: &str = "publish its port on 127.0.0.1 or set `endpoint`";
    match faults.first() {
        None => Outcome::unknown(reason::PROBE_UNREACHABLE, format!("it has no address: {MEND}")),
        Some((candidate, fault @ ConnectFault::Forbidden(_))) => Outcome::unknown(
            reason::ADDRESS_FORBIDDEN,
            format!("{}: {fault}", shown(&candidate.address)),
        ),
        Some((_, fault @ ConnectFault::Local(_))) => {
            Outcome::unknown("ProbeFailed", format!("{fault}: look at this machine's limits"))
        }
        Some((candidate, fault)) => Outcome::unknown(
            reason::PROBE_UNREACHABLE,
            format!("{}: {fault}: {MEND}", shown(&candidate.address)),
        ),
    }
}

fn shown(address: &Address) -> String {
    match address {
        Address::Socket(socket) => socket.to_string(),
        Address::Name(host, port) => format!("{host}:{port}"),
    }
}
