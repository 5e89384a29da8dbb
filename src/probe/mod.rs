//! Facts about a service from outside: is it ready to serve?
//!
//! A [`ServiceSpec`](crate::api::stack::ServiceSpec) is what a resource says, [`Probe`] what follows
//! from it. [`vantage::candidates`]
//! derives the addresses to try, [`ask::ask`] makes one observation, [`schedule`] decides when the
//! next one is due and what the observations add up to, and [`prober::Prober`] runs all of it.

use std::time::Duration;

use serde::Serialize;

use crate::clock::Mono;
use crate::engine::ContainerId;

pub mod ask;
mod chroma;
mod comfyui;
pub mod command;
mod connect;
mod credentials;
mod generic;
mod http;
mod ollama;
pub mod prober;
pub mod schedule;
pub mod spec;
#[cfg(test)]
mod tests;
mod valkey;
pub mod vantage;
pub mod vet;

pub use ollama::same_model;
pub use prober::{Prober, Target};
pub use spec::{Probe, Question, SpecError};
pub use vantage::{Candidate, Reach, Vantage};

/// Reasons on which other parts decide; the rest is for people and drivers' own symptoms.
pub mod reason {
    /// No vantage led to the service: the condition of the same name.
    pub const PROBE_UNREACHABLE: &str = "ProbeUnreachable";
    /// An address that security forbids.
    pub const ADDRESS_FORBIDDEN: &str = "AddressForbidden";
    /// Credentials are missing, unreadable or refused.
    pub const CREDENTIAL_MISSING: &str = "CredentialMissing";
    /// A server says that its data is damaged.
    pub const CORRUPTION: &str = "Corruption";
    /// A declared model isn't there.
    pub const MODEL_MISSING: &str = "ModelMissing";
}

/// What a probe answers. Unknown is not unready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Answer {
    /// The service serves.
    Ready,
    /// The service answers wrongly, or not at all where it could be reached.
    NotReady,
    /// Nobody can tell from here.
    #[default]
    Unknown,
}

/// One probe's outcome.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Outcome {
    /// The answer.
    pub answer: Answer,
    /// CamelCase reason: `Refused`, `Timeout`, `Loading`, `CredentialMissing`…
    pub reason: String,
    /// For people, with the mend; holds no body text.
    pub message: String,
    /// Time that it took.
    pub took: Duration,
    /// The server answered in its own protocol and said why it doesn't serve: wait for it, or
    /// tell a person. A restart would not help and may lose data, so such an outcome is no
    /// failing observation.
    pub alive: bool,
    /// Ready, but less than declared: `reason` and `message` say what is missing.
    pub degraded: bool,
}

impl Outcome {
    /// It serves.
    pub fn ready() -> Self {
        Self { answer: Answer::Ready, reason: "Ready".into(), ..Self::default() }
    }

    /// It doesn't serve.
    pub fn not_ready(reason: &str, message: impl Into<String>) -> Self {
        Self {
            answer: Answer::NotReady,
            reason: reason.into(),
            message: message.into(),
            ..Self::default()
        }
    }

    /// It doesn't serve, says so itself, and a restart is no mend.
    pub fn alive(reason: &str, message: impl Into<String>) -> Self {
        Self { alive: true, ..Self::not_ready(reason, message) }
    }

    /// Nobody can tell.
    pub fn unknown(reason: &str, message: impl Into<String>) -> Self {
        Self { answer: Answer::Unknown, ..Self::not_ready(reason, message) }
    }

    /// It serves less than declared.
    pub fn degraded(reason: &str, message: impl Into<String>) -> Self {
        Self { answer: Answer::Ready, degraded: true, ..Self::not_ready(reason, message) }
    }
}

/// What is known of a slot's readiness, over several probes of one container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readiness {
    /// The container that was probed, with the start that it was probed in: an answer about
    /// another run says nothing.
    pub container: ContainerId,
    /// `StartedAt` of that run, milliseconds since the epoch.
    pub started: i64,
    /// Last outcome.
    pub last: Outcome,
    /// When the answer last changed.
    pub since: Mono,
    /// Failing observations in a row, at least [`schedule::FAILURE_SPACING`] apart: what the
    /// quick looks of a start see between them counts once.
    pub failures: u32,
    /// When the last failing observation was counted.
    pub counted: Mono,
    /// When the two before it were counted, the later one first.
    pub counted_before: [Mono; 2],
    /// It has been ready in this run.
    pub was_ready: bool,
    /// Observations of [`reason::CORRUPTION`] in this run, at least
    /// [`schedule::CORRUPTION_SPACING`] apart. A good answer doesn't clear them: a damaged
    /// database answers well from its cache right after (seen).
    pub corruptions: u32,
    /// When the last of them was counted.
    pub corrupt_at: Mono,
}
