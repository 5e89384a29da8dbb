//! The last vantage: a driver's own client, run inside the container. Only where no other one ever
//! led to the service and Docker has no healthcheck, and no more often than every [`SPACING`].

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Mono};
use crate::engine::{ContainerId, DynEngine, Exec, Fault, Tier};
use crate::observed::Container;
use crate::probe::ask::Observation;
use crate::probe::credentials::Credentials;
use crate::probe::spec::{Probe, Question};
use crate::probe::vantage::{Reached, Vantage};
use crate::probe::{Answer, Outcome, reason, valkey};
use crate::sensitive::Sensitive;

/// Shortest time between two commands in one container.
pub const SPACING: Duration = Duration::from_secs(30);
/// Shortest deadline: the engine sets up a process for it.
const DEADLINE: Duration = Duration::from_secs(5);
/// The client of Valkey; it reads a password from the environment.
const VALKEY_CLI: &str = "valkey-cli";

/// Whether a container's driver may be asked so.
pub fn allowed(probe: &Probe, container: &Container, tier: Tier) -> bool {
    probe.question == Question::Valkey && !container.has_healthcheck && tier >= Tier::Heal
}

/// Whether it is time for it: nobody got through, now or ever.
pub(super) fn due(seen: &Observation, reached: &Reached) -> bool {
    seen.outcome.answer == Answer::Unknown
        && seen.outcome.reason == reason::PROBE_UNREACHABLE
        && reached.iter().all(|vantage| *vantage == Vantage::Exec)
}

/// Runs clients in containers, each no more often than every [`SPACING`].
pub(super) struct Commands {
    engine: DynEngine,
    /// When a container was last asked, and what came of it.
    asked: Mutex<BTreeMap<ContainerId, (Mono, Observation)>>,
}

impl Commands {
    pub fn new(engine: DynEngine) -> Self {
        Self { engine, asked: Mutex::default() }
    }

    /// Asks inside a container; who asks too soon gets the last answer again.
    pub async fn ask(&self, id: &ContainerId, probe: &Probe, clock: &dyn Clock) -> Observation {
        let now = clock.now().mono;
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.retain(|_, (at, _)| now.since(*at) < SPACING);
            if let Some((_, seen)) = asked.get(id) {
                return seen.clone();
            }
        }
        let seen = ask(&self.engine, id, probe).await;
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(id.clone(), (now, seen.clone()));
        seen
    }
}

/// Asks inside the container.
async fn ask(engine: &DynEngine, id: &ContainerId, probe: &Probe) -> Observation {
    let credentials = match Credentials::read(&probe.auth) {
        Ok(credentials) => credentials,
        Err(outcome) => return Observation { outcome, reached: None },
    };
    match engine.exec(id, &ping(probe, &credentials)).await {
        Ok(printed) => judge(&String::from_utf8_lossy(&printed)),
        Err(fault) => Observation { outcome: unable(&fault), reached: None },
    }
}

fn ping(probe: &Probe, credentials: &Credentials) -> Exec {
    let mut command = vec![VALKEY_CLI.to_owned()];
    command.extend(["-p".to_owned(), probe.port.to_string()]);
    if let Some(user) = &credentials.username {
        command.extend(["--user".to_owned(), user.expose().clone()]);
    }
    command.push("PING".to_owned());
    let password = credentials.password.as_ref();
    let variable = |p: &Sensitive<String>| Sensitive::new(format!("REDISCLI_AUTH={}", p.expose()));
    let environment = password.map(variable).into_iter().collect();
    Exec { command, environment, deadline: probe.timeout.max(DEADLINE) }
}

/// What the client printed: one line, or a warning before it.
fn judge(printed: &str) -> Observation {
    let lines = || printed.lines().map(str::trim).filter(|line| !line.is_empty());
    let by_exec = |outcome| Observation { outcome, reached: Some(Vantage::Exec) };
    if lines().any(|line| line == "PONG") {
        return by_exec(Outcome::ready());
    }
    if lines().any(|line| line.starts_with("Could not connect")) {
        let message = "nothing listens, as its own client says";
        return by_exec(Outcome::not_ready("Refused", message));
    }
    let error = lines().map(|line| line.strip_prefix("AUTH failed: ").unwrap_or(line));
    let error = error.map(|line| line.strip_prefix("(error) ").unwrap_or(line)).find(|line| {
        let code = line.split(' ').next().unwrap_or_default();
        code.len() > 1 && code.bytes().all(|b| b.is_ascii_uppercase())
    });
    match error {
        // `OCI runtime exec failed…`: the image has no client.
        Some(line) if !line.starts_with("OCI ") => {
            let (code, details) = line.split_once(' ').unwrap_or((line, ""));
            by_exec(valkey::classify(code, Some(details)))
        }
        _ => Observation { outcome: without_client(), reached: None },
    }
}

fn without_client() -> Outcome {
    Outcome::unknown(
        reason::PROBE_UNREACHABLE,
        format!(
            "no address of it leads anywhere, and its image has no {VALKEY_CLI}: publish its port \
             on 127.0.0.1 or set `endpoint`"
        ),
    )
}

/// The engine couldn't run it.
fn unable(fault: &Fault) -> Outcome {
    match fault {
        Fault::Rejected { .. } | Fault::Server { .. } | Fault::NotFound { .. } => without_client(),
        Fault::Timeout { .. } => {
            Outcome::not_ready("Timeout", format!("{VALKEY_CLI} inside it gets no answer in time"))
        }
        fault => Outcome::unknown(
            reason::PROBE_UNREACHABLE,
            format!("{fault}; or publish its port on 127.0.0.1, or set `endpoint`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::stack::ServiceSpec;

    fn probe(yaml: &str) -> Probe {
        let spec: ServiceSpec = serde_saphyr::from_str(yaml).expect("a spec");
        Probe::of(&spec).expect("valid").expect("a probe")
    }

    #[test]
    fn what_the_client_prints_is_judged_as_the_servers_own_answer() {
        for (printed, answer, reason, alive) in [
            ("PONG\n", Answer::Ready, "Ready", false),
            (
                "LOADING Valkey is loading the dataset in memory\n",
                Answer::NotReady,
                "Loading",
                true,
            ),
            ("(error) MISCONF Errors writing\n", Answer::NotReady, "Misconf", true),
            ("NOAUTH Authentication required.\n", Answer::Unknown, "CredentialMissing", false),
            (
                "AUTH failed: WRONGPASS invalid username-password pair\nNOAUTH Authentication required.\n",
                Answer::Unknown,
                "CredentialMissing",
                false,
            ),
            (
                "Could not connect to Valkey at 127.0.0.1:6379: Connection refused\n",
                Answer::NotReady,
                "Refused",
                false,
            ),
            (
                "OCI runtime exec failed: exec failed: \"valkey-cli\": executable file not found",
                Answer::Unknown,
                "ProbeUnreachable",
                false,
            ),
            ("", Answer::Unknown, "ProbeUnreachable", false),
        ] {
            let seen = judge(printed);
            let outcome = &seen.outcome;
            assert_eq!(
                (outcome.answer, &*outcome.reason, outcome.alive),
                (answer, reason, alive),
                "{printed}"
            );
            let through = seen.reached == Some(Vantage::Exec);
            assert_eq!(through, reason != "ProbeUnreachable", "{printed}");
        }
    }

    #[test]
    fn the_password_is_no_argument_and_never_printed() {
        let credentials = Credentials {
            username: Some(Sensitive::new("ann".into())),
            password: Some(Sensitive::new("hunter2".into())),
            token: None,
        };
        let exec = ping(&probe("driver: valkey\nport: 7000\n"), &credentials);
        assert_eq!(exec.command, ["valkey-cli", "-p", "7000", "--user", "ann", "PING"]);
        assert_eq!(exec.environment[0].expose(), "REDISCLI_AUTH=hunter2");
        assert!(!format!("{exec:?}").contains("hunter2"));
    }

    #[test]
    fn only_valkey_without_a_healthcheck_and_from_the_tier_heal_on() {
        let (valkey, other) = (probe("driver: valkey\n"), probe("driver: chroma\n"));
        let plain = Container::default();
        let checked = Container { has_healthcheck: true, ..Container::default() };
        assert!(allowed(&valkey, &plain, Tier::Heal) && allowed(&valkey, &plain, Tier::Reconcile));
        assert!(!allowed(&valkey, &plain, Tier::Observe));
        assert!(!allowed(&valkey, &checked, Tier::Reconcile));
        assert!(!allowed(&other, &plain, Tier::Reconcile));
    }

    #[test]
    fn a_way_that_ever_worked_is_not_replaced_by_it() {
        let unreached =
            Observation { outcome: Outcome::unknown(reason::PROBE_UNREACHABLE, ""), reached: None };
        assert!(due(&unreached, &Reached::new()));
        assert!(due(&unreached, &[Vantage::Exec].into()));
        assert!(!due(&unreached, &[Vantage::Exec, Vantage::Published].into()));
        let refused = Observation { outcome: Outcome::not_ready("Refused", ""), reached: None };
        assert!(!due(&refused, &Reached::new()));
    }
}
