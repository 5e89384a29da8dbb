//! One incident: what is wrong with a slot, what was tried, and how it stands.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::budget::{Budget, Scenario};
use super::escalation::EscalationClock;
use crate::clock::{Mono, Now, Timestamp};
use crate::observed::Slot;

/// Attempts of an incident that are kept; older ones are forgotten, not uncounted.
pub const KEPT_ATTEMPTS: usize = 20;
/// Characters of an ID.
const ID_LENGTH: usize = 5;
/// Letters and digits that nobody mistakes for one another.
const ALPHABET: &[u8; 31] = b"23456789abcdefghjkmnpqrstuvwxyz";

/// A short name that a person can type.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncidentId(pub String);

impl IncidentId {
    /// The ID of an incident that opens now; `again` tells apart those that would be equal.
    pub fn new(slot: &Slot, opened: Timestamp, again: u32) -> Self {
        let text = format!("{}\0{slot}\0{}\0{again}", slot.project, opened.0);
        let digest = Sha256::digest(text.as_bytes());
        let letter = |byte: &u8| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]);
        Self(digest.iter().take(ID_LENGTH).map(letter).collect())
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a slot is to run: another one is another generation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generation {
    /// Configuration hash, namespaces unbound.
    pub hash: String,
    /// Image ID; empty while the engine lacks the image.
    pub image: String,
}

impl Generation {
    /// Whether both are the same, as far as is known.
    pub fn is(&self, other: &Self) -> bool {
        let known = !self.image.is_empty() && !other.image.is_empty();
        self.hash == other.hash && !(known && self.image != other.image)
    }
}

/// Why an incident allows no more attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Every attempt that it allows has failed.
    Budget,
    /// The service falls again and again, whatever is tried.
    CrashLoop,
    /// Its update failed, and the version before may not come back by itself.
    Update,
}

/// How an incident ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The service was Ready for long enough, by anyone's doing.
    Recovered,
    /// Its configuration or image is another one.
    Changed,
    /// A person said so.
    Resolved,
    /// The service is no longer in the project.
    Gone,
}

impl EndReason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Recovered, Self::Changed, Self::Resolved, Self::Gone];

    /// The word that the journal and people read.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Changed => "changed",
            Self::Resolved => "resolved",
            Self::Gone => "gone",
        }
    }
}

/// The end of an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// How.
    pub reason: EndReason,
    /// By whom; empty where nobody did it.
    pub by: String,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttemptResult {
    /// Nothing yet.
    Open,
    /// The service became Ready and stayed up.
    Succeeded,
    /// It didn't, or fell again too soon: it counts.
    Failed,
    /// It never ran, or somebody ended it: it doesn't count.
    Withdrawn,
}

impl AttemptResult {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Open, Self::Succeeded, Self::Failed, Self::Withdrawn];

    /// The word that metrics, the journal and people read.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// One run of a container: which one, and its start.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// Container ID.
    pub container: String,
    /// Start as the engine stamped it, in milliseconds since the epoch: only compared for equality.
    pub started: i64,
}

/// One run of a recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// From 1 over the whole life of the incident.
    pub number: u32,
    /// When it began.
    pub begun: Timestamp,
    /// What it does, as the plan prints it.
    pub what: String,
    /// The slot's last run before it: another run is the attempt's.
    pub before: Option<Run>,
    /// A process was started.
    pub ran: bool,
    /// The service became Ready.
    pub verified: bool,
    /// What came of it.
    pub result: AttemptResult,
    /// Why, for people; empty while it is open.
    pub reason: String,
}

/// A person has taken note: nobody is notified until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Who.
    pub by: String,
    /// For how long from now on; `None` is until the end.
    pub until: Option<Mono>,
    /// The same for the journal and for people.
    pub until_wall: Option<Timestamp>,
}

/// One incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Its name.
    pub id: IncidentId,
    /// Whose.
    pub slot: Slot,
    /// What kind of trouble.
    pub scenario: Scenario,
    /// The service whose recovery is at stake: its own, or the one below it that is down too.
    pub root: String,
    /// When it opened.
    pub opened: Timestamp,
    /// Why, for people.
    pub cause: String,
    /// What was to run when it opened.
    pub generation: Generation,
    /// Attempts that may fail, of this budget.
    pub budget: u32,
    /// Attempts that failed, of this budget.
    pub spent: u32,
    /// The last attempts, oldest first.
    pub attempts: VecDeque<Attempt>,
    /// Why nothing more is tried; `None` while something is.
    pub stopped: Option<Stop>,
    /// Time down.
    pub clock: EscalationClock,
    /// When a person was told.
    pub escalated: Option<Timestamp>,
    /// A person has taken note.
    pub ack: Option<Ack>,
    /// Its end.
    pub end: Option<End>,
}

/// What happened to an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It opened.
    Opened,
    /// An attempt began.
    AttemptBegan,
    /// An attempt ended so.
    AttemptEnded(AttemptResult),
    /// Nothing more is tried.
    Exhausted(Stop),
    /// A person is told, unless one has taken note.
    Escalated {
        /// Somebody has: nobody is notified.
        silenced: bool,
    },
    /// It counts as part of a larger trouble now.
    Raised,
    /// A person took note.
    Acked,
    /// A person gave it a fresh budget.
    Retried(String),
    /// It ended.
    Ended,
    /// Only its clock moved.
    Ticked,
}

impl Incident {
    /// One that opens now.
    pub fn open(
        id: IncidentId,
        slot: Slot,
        scenario: Scenario,
        budget: Budget,
        generation: Generation,
        cause: String,
        now: Now,
    ) -> Self {
        Self {
            id,
            root: slot.service.clone(),
            slot,
            scenario,
            opened: now.wall,
            cause,
            generation,
            budget: budget.attempts,
            spent: 0,
            attempts: VecDeque::new(),
            stopped: (budget.attempts == 0).then_some(Stop::Budget),
            clock: EscalationClock::default(),
            escalated: None,
            ack: None,
            end: None,
        }
    }

    /// It hasn't ended.
    pub const fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// The attempt that hasn't ended.
    pub fn attempt(&self) -> Option<&Attempt> {
        self.attempts.back().filter(|attempt| attempt.result == AttemptResult::Open)
    }

    pub(super) fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        self.attempts.back_mut().filter(|attempt| attempt.result == AttemptResult::Open)
    }

    /// Attempts that failed or, where one more were needed now, would have failed.
    pub fn used(&self) -> u32 {
        self.spent + u32::from(self.attempt().is_some_and(|attempt| attempt.ran))
    }

    /// Begins an attempt; one that is still open ends by that. `None` when none is left.
    pub fn begin_attempt(&mut self, what: String, before: Option<Run>, now: Now) -> Vec<What> {
        let mut told = Vec::new();
        if let Some(ran) = self.attempt().map(|attempt| attempt.ran) {
            told.extend(match ran {
                true => self.fail("it was needed again"),
                false => self.withdraw("it never ran"),
            });
        }
        if self.stopped.is_some() || !self.is_open() || self.spent >= self.budget {
            return told;
        }
        let number = self.attempts.back().map_or(0, |last| last.number) + 1;
        self.attempts.push_back(Attempt {
            number,
            begun: now.wall,
            what,
            before,
            ran: false,
            verified: false,
            result: AttemptResult::Open,
            reason: String::new(),
        });
        if self.attempts.len() > KEPT_ATTEMPTS {
            self.attempts.pop_front();
        }
        told.push(What::AttemptBegan);
        told
    }

    fn close(&mut self, result: AttemptResult, reason: &str) -> bool {
        let Some(attempt) = self.attempt_mut() else { return false };
        attempt.result = result;
        attempt.reason = reason.to_owned();
        true
    }

    /// The open attempt failed: it counts.
    pub(super) fn fail(&mut self, reason: &str) -> Vec<What> {
        if !self.close(AttemptResult::Failed, reason) {
            return Vec::new();
        }
        self.spent += 1;
        let mut told = vec![What::AttemptEnded(AttemptResult::Failed)];
        if self.spent >= self.budget {
            told.extend(self.stop(Stop::Budget));
        }
        told
    }

    /// The open attempt is no measure of anything: it doesn't count.
    pub(super) fn withdraw(&mut self, reason: &str) -> Vec<What> {
        let closed = self.close(AttemptResult::Withdrawn, reason);
        closed.then_some(What::AttemptEnded(AttemptResult::Withdrawn)).into_iter().collect()
    }

    /// The open attempt did it.
    pub(super) fn succeed(&mut self, reason: &str) -> Vec<What> {
        let closed = self.close(AttemptResult::Succeeded, reason);
        closed.then_some(What::AttemptEnded(AttemptResult::Succeeded)).into_iter().collect()
    }

    /// Nothing more is tried.
    pub(super) fn stop(&mut self, why: Stop) -> Option<What> {
        if self.stopped.is_some() {
            return None;
        }
        self.stopped = Some(why);
        Some(What::Exhausted(why))
    }

    /// It is part of a larger trouble from now on.
    pub(super) fn raise(&mut self, scenario: Scenario, budget: Budget) -> Option<What> {
        if self.scenario != Scenario::SingleServiceDown {
            return None;
        }
        self.scenario = scenario;
        self.budget = budget.attempts;
        Some(What::Raised)
    }

    /// A person is told, once.
    pub(super) fn escalate(&mut self, now: Now) -> Option<What> {
        if self.escalated.is_some() {
            return None;
        }
        self.escalated = Some(now.wall);
        Some(What::Escalated { silenced: self.is_silenced(now.mono) })
    }

    /// Whether a person has taken note, and wants to hear nothing more for now.
    pub fn is_silenced(&self, now: Mono) -> bool {
        self.ack.as_ref().is_some_and(|ack| ack.until.is_none_or(|until| now < until))
    }

    /// A person takes note, for a time or until the end. Recovery goes on as before.
    pub fn acknowledge(&mut self, by: &str, time: Option<Duration>, now: Now) -> What {
        let wall = |time: Duration| {
            let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
            Timestamp(now.wall.0.saturating_add(millis))
        };
        self.ack = Some(Ack {
            by: by.to_owned(),
            until: time.map(|time| now.mono.after(time)),
            until_wall: time.map(wall),
        });
        What::Acked
    }

    /// A person gives it one fresh budget.
    pub fn retry(&mut self, by: &str, budget: Budget) -> Vec<What> {
        let mut told = self.withdraw("a fresh budget was given");
        self.budget = budget.attempts.max(1);
        self.spent = 0;
        self.stopped = None;
        self.escalated = None;
        self.clock = EscalationClock::default();
        told.push(What::Retried(by.to_owned()));
        told
    }

    /// It ends.
    pub fn end(&mut self, reason: EndReason, by: &str, now: Now) -> Vec<What> {
        let mut told = match reason {
            EndReason::Recovered => self.succeed("it stayed ready"),
            _ => self.withdraw(reason.word()),
        };
        self.end = Some(End { at: now.wall, reason, by: by.to_owned() });
        told.push(What::Ended);
        told
    }
}
