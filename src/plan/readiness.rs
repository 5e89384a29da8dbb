//! Is a running container ready? Docker's health and the driver's answer, under the policy.

use std::time::Duration;

use crate::clock::Mono;
use crate::compose::types::Service;
use crate::desired::{ReadinessPolicy, ServiceTraits};
use crate::observed::{Container, ContainerState, Health};
use crate::probe::{Answer, Readiness};

use super::report::SlotStatus;

/// Failing observations in a row before a restart is worth it.
pub const FAILURES_BEFORE_RESTART: u32 = 3;
/// Time to become ready when neither healthcheck nor Stack says.
pub const START_DEADLINE: Duration = Duration::from_secs(60);

/// How a live container stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// In one word.
    pub status: SlotStatus,
    /// Why.
    pub message: String,
    /// It is ready.
    pub ready: bool,
    /// A restart is due.
    pub restart: Option<String>,
}

/// Judges a container that has run for `up`. `probe` must be about this run, or absent.
pub fn judge(
    policy: ReadinessPolicy,
    service: &Service,
    traits: &ServiceTraits,
    container: &Container,
    probe: Option<&Readiness>,
    (up, now): (Duration, Mono),
) -> Verdict {
    let docker = match container.health {
        Health::Healthy => Some(true),
        Health::Starting | Health::Unhealthy => Some(false),
        Health::None if container.has_healthcheck => Some(false),
        Health::None => None,
    };
    let probe = probe.filter(|p| {
        p.container == container.id && Some(p.started) == container.started.map(|t| t.0)
    });
    let driver = match probe.map(|p| p.last.answer) {
        Some(Answer::Ready) => Some(true),
        Some(Answer::NotReady) => Some(false),
        Some(Answer::Unknown) => None,
        // Nobody has asked yet in this run: not ready until somebody has, unless Docker says so.
        None if traits.probed => Some(false),
        None => None,
    };
    let ready = match (policy, docker, driver) {
        (_, None, None) => true,
        (ReadinessPolicy::Docker, Some(d), _) => d,
        (ReadinessPolicy::Docker, None, Some(p)) => p,
        (ReadinessPolicy::Either, d, p) => d == Some(true) || p == Some(true),
        (ReadinessPolicy::Both, d, p) => d.unwrap_or(true) && p.unwrap_or(true),
    };
    let driver_message = || probe.map(|p| p.last.message.clone()).unwrap_or_default();
    if ready {
        let (status, message) = if container.health == Health::Unhealthy {
            (SlotStatus::Degraded, "Docker's healthcheck fails, the driver is ready".to_owned())
        } else if probe.is_some_and(|p| p.last.degraded) {
            (SlotStatus::Degraded, driver_message())
        } else {
            // A driver that can't tell says why, so that a person can mend it.
            let unsure = probe.is_some_and(|p| p.last.answer == Answer::Unknown);
            (SlotStatus::Ready, if unsure { driver_message() } else { String::new() })
        };
        return Verdict { status, message, ready, restart: None };
    }
    let restart = restart_due(service, traits, container, probe, docker, (up, now));
    let was_ready = probe.is_some_and(|p| p.was_ready);
    let unhealthy = restart.is_some() || container.health == Health::Unhealthy || was_ready;
    let status = if unhealthy { SlotStatus::Unhealthy } else { SlotStatus::Starting };
    Verdict { status, message: driver_message(), ready, restart }
}

fn restart_due(
    service: &Service,
    traits: &ServiceTraits,
    container: &Container,
    probe: Option<&Readiness>,
    docker: Option<bool>,
    (up, now): (Duration, Mono),
) -> Option<String> {
    if container.state != ContainerState::Running {
        return None;
    }
    if let Some(probe) = probe {
        match probe.last.answer {
            // Alive by its own protocol: Docker's word alone restarts nothing that answers.
            Answer::NotReady if probe.last.alive => return None,
            Answer::NotReady => {
                let due = probe.failures >= FAILURES_BEFORE_RESTART
                    && (probe.was_ready
                        || up >= start_deadline(service, traits)
                            && failed_after_start(service, probe, up, now));
                return due.then(|| format!("{} ({} times)", probe.last.reason, probe.failures));
            }
            Answer::Ready => return None,
            Answer::Unknown => {}
        }
    }
    // Docker counts its own retries after `start_period` before it says unhealthy.
    let unhealthy = docker == Some(false) && container.health == Health::Unhealthy;
    unhealthy.then(|| "Docker healthcheck".to_owned())
}

/// Whether the last failing observations that a restart takes were all made after `start_period`.
fn failed_after_start(service: &Service, probe: &Readiness, up: Duration, now: Mono) -> bool {
    let Some(period) = service.healthcheck.as_ref().and_then(|h| h.start_period) else {
        return true;
    };
    let [_, first] = probe.counted_before;
    // By what time of its run the first of them was made.
    up.saturating_sub(now.since(first)) >= period
}

/// Time that a service may take to become ready after its start.
pub fn start_deadline(service: &Service, traits: &ServiceTraits) -> Duration {
    let start_period = service.healthcheck.as_ref().and_then(|h| h.start_period);
    traits.ready_within.unwrap_or_else(|| start_period.unwrap_or_default().max(START_DEADLINE))
}
