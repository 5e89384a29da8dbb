//! Faults that a test injects through the admin endpoint.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::http::{Request, Response};

/// Locks, also after a panic elsewhere: the stand-in's state is never half written.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which requests a fault meets: those whose path begins so; all by default.
type Prefix = String;

#[derive(Clone, Debug, Default)]
struct Active {
    hang: Option<Prefix>,
    slow: Option<(Prefix, Duration)>,
    refuse: bool,
    fail: Option<FailNext>,
    ignore_sigterm: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Hang {
    #[serde(default = "yes")]
    on: bool,
    #[serde(default)]
    path: Prefix,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Slow {
    ms: u64,
    #[serde(default)]
    path: Prefix,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FailNext {
    #[serde(default = "one")]
    count: u32,
    #[serde(default = "internal_error")]
    status: u16,
    #[serde(default)]
    path: Prefix,
    #[serde(default = "injected")]
    body: String,
    #[serde(default = "plain_text")]
    content_type: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    #[serde(default = "yes")]
    on: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogLine {
    line: String,
    #[serde(default)]
    stderr: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exit {
    code: i32,
}

fn yes() -> bool {
    true
}
fn one() -> u32 {
    1
}
fn internal_error() -> u16 {
    500
}
fn injected() -> String {
    "injected\n".to_owned()
}
fn plain_text() -> String {
    "text/plain; charset=utf-8".to_owned()
}

/// What the admin endpoint decided about the process itself.
pub enum Verdict {
    /// Carried out: the new state is the answer.
    Done,
    /// Answer, then end the process with this code.
    Exit(i32),
    /// The verb isn't one of the common ones.
    NotCommon,
    /// The body was wrong, and how.
    Invalid(String),
}

/// The faults in force, shared by servers and admin endpoint.
pub struct Faults {
    active: watch::Sender<Active>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { active: watch::Sender::new(Active::default()) }
    }
}

impl Faults {
    /// Carries out a verb that every role has.
    pub fn admin(&self, verb: &str, body: &[u8]) -> Verdict {
        match self.try_admin(verb, body) {
            Ok(verdict) => verdict,
            Err(error) => Verdict::Invalid(error.to_string()),
        }
    }

    fn try_admin(&self, verb: &str, body: &[u8]) -> Result<Verdict, serde_json::Error> {
        let body = if body.is_empty() { b"{}" } else { body };
        match verb {
            "hang" => {
                let hang: Hang = serde_json::from_slice(body)?;
                self.active.send_modify(|a| a.hang = hang.on.then_some(hang.path));
            }
            "slow" => {
                let slow: Slow = serde_json::from_slice(body)?;
                let delay = Duration::from_millis(slow.ms);
                self.active
                    .send_modify(|a| a.slow = (!delay.is_zero()).then_some((slow.path, delay)));
            }
            "refuse" => {
                let switch: Switch = serde_json::from_slice(body)?;
                self.active.send_modify(|a| a.refuse = switch.on);
            }
            "fail-next" => {
                let fail: FailNext = serde_json::from_slice(body)?;
                self.active.send_modify(|a| a.fail = (fail.count > 0).then_some(fail));
            }
            "ignore-sigterm" => {
                let switch: Switch = serde_json::from_slice(body)?;
                self.active.send_modify(|a| a.ignore_sigterm = switch.on);
            }
            "log" => {
                let log: LogLine = serde_json::from_slice(body)?;
                if log.stderr { eprintln!("{}", log.line) } else { println!("{}", log.line) }
            }
            "exit" => {
                let exit: Exit = serde_json::from_slice(body)?;
                return Ok(Verdict::Exit(exit.code));
            }
            "reset" => {
                self.active.send_replace(Active::default());
            }
            _ => return Ok(Verdict::NotCommon),
        }
        Ok(Verdict::Done)
    }

    /// The faults in force, as the admin endpoint shows them.
    pub fn state(&self) -> Value {
        let active = self.active.borrow();
        json!({
            "hang": active.hang,
            "slowMs": active.slow.as_ref().map(|(_, delay)| delay.as_millis() as u64),
            "refuse": active.refuse,
            "failNext": active.fail.as_ref().map_or(0, |fail| fail.count),
            "ignoreSigterm": active.ignore_sigterm,
        })
    }

    pub fn ignores_sigterm(&self) -> bool {
        self.active.borrow().ignore_sigterm
    }

    /// Resolves when connections are refused (or are accepted again, with `refused: false`).
    pub async fn until_refusing(&self, refused: bool) {
        // The sender lives in self, so waiting can't fail.
        let _ = self.active.subscribe().wait_for(|active| active.refuse == refused).await;
    }

    /// Lets a request through, late or never, or answers it with the injected failure.
    pub async fn meet(&self, request: &Request) -> Option<Response> {
        let met = |prefix: &Prefix| request.path.starts_with(prefix.as_str());
        let mut seen = self.active.subscribe();
        let _ = seen.wait_for(|active| !active.hang.as_ref().is_some_and(met)).await;
        let slow = self.active.borrow().slow.clone();
        if let Some((prefix, delay)) = slow
            && met(&prefix)
        {
            tokio::time::sleep(delay).await;
        }
        let mut failure = None;
        self.active.send_if_modified(|active| {
            let Some(fail) = active.fail.as_mut().filter(|fail| met(&fail.path)) else {
                return false;
            };
            let response = Response::new(fail.status, &fail.content_type, fail.body.clone());
            failure = Some(response);
            fail.count -= 1;
            if fail.count == 0 {
                active.fail = None;
            }
            true
        });
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Request {
        Request { method: "GET".into(), path: path.into(), ..Request::default() }
    }

    fn inject(faults: &Faults, verb: &str, body: &str) {
        assert!(matches!(faults.admin(verb, body.as_bytes()), Verdict::Done), "{verb} {body}");
    }

    #[tokio::test]
    async fn fail_next_fails_exactly_that_many_under_its_path() {
        let faults = Faults::default();
        inject(&faults, "fail-next", r#"{"count":2,"status":503,"path":"/api"}"#);
        let mut statuses = Vec::new();
        for path in ["/", "/api/ps", "/api/ps", "/api/ps"] {
            statuses.push(faults.meet(&get(path)).await.map(|response| response.status));
        }
        assert_eq!(statuses, [None, Some(503), Some(503), None]);
    }

    #[tokio::test]
    async fn a_hang_lasts_until_reset() {
        let faults = Faults::default();
        inject(&faults, "hang", "");
        let request = get("/");
        let wait = tokio::time::timeout(Duration::from_millis(50), faults.meet(&request));
        assert!(wait.await.is_err());
        inject(&faults, "reset", "");
        assert!(faults.meet(&request).await.is_none());
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        let faults = Faults::default();
        assert!(matches!(faults.admin("slow", br#"{"milliseconds":5}"#), Verdict::Invalid(_)));
        assert!(matches!(faults.admin("unheard-of", b""), Verdict::NotCommon));
    }
}
