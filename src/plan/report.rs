//! What was not done, why, and until when; and how each service stands.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::step::Resource;
use super::update::Stage;
use crate::clock::Mono;
use crate::engine::ContainerId;
use crate::observed::Slot;
use crate::recovery::Stop;

/// What a plan leaves undone, and how everything stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// What waits, is blocked or is left alone, and why.
    pub entries: Vec<Entry>,
    /// How each slot stands.
    pub slots: BTreeMap<Slot, SlotReport>,
    /// Calls (method and path without IDs) that are needed and that the engine refuses (403).
    pub refused: BTreeSet<String>,
    /// Volumes that are empty because somebody removed the ones with the data: what is to be said.
    pub lost: Vec<String>,
    /// How far the updates are, by slot.
    pub updates: BTreeMap<Slot, Stage>,
    /// Plan again no later than this, even if nothing happens.
    pub wake: Option<Mono>,
}

impl Report {
    /// Plan again at `at` at the latest.
    pub fn wake_at(&mut self, at: Mono) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }

    /// Every slot is ready, completed or needs nothing.
    pub fn settled(&self) -> bool {
        self.slots.values().all(|s| s.status.is_settled())
            && !self.entries.iter().any(|e| e.standing.is_pending())
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is about.
    pub resource: Resource,
    /// How it stands.
    pub standing: Standing,
}

/// Why something isn't done, or is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Something else must come first.
    WaitingOn(String),
    /// A person wants it so.
    Held(String),
    /// Somebody must clear the way.
    Blocked(String),
    /// The next attempt comes later.
    Backoff {
        /// Attempts so far, whatever each came of.
        failures: u32,
        /// Time until the next one.
        remaining: Duration,
        /// Why the last one failed; empty if it went through and didn't last.
        last: String,
    },
    /// The engine refuses a call that it needs; somebody must allow it.
    Refused {
        /// Which, and the mend.
        why: String,
        /// Time until the next attempt.
        remaining: Duration,
    },
    /// Its recovery failed for good: nothing more is tried.
    Exhausted {
        /// Attempts that failed.
        spent: u32,
        /// Attempts that may fail.
        budget: u32,
        /// Why.
        why: Stop,
    },
    /// The engine's disk is full; somebody must make room.
    Full {
        /// What was found full, and the mend.
        why: String,
        /// Time until the next attempt.
        remaining: Duration,
    },
    /// A step on it is running.
    InProgress,
    /// Worth knowing, nothing to do.
    Notice(String),
}

impl Standing {
    /// It may clear by itself or by a step under way.
    pub const fn is_pending(&self) -> bool {
        matches!(
            self,
            Self::WaitingOn(_)
                | Self::Backoff { .. }
                | Self::Refused { .. }
                | Self::Full { .. }
                | Self::InProgress
        )
    }
}

/// How a slot stands, in one word. A slot has exactly one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum SlotStatus {
    /// Serves.
    Ready,
    /// Runs, not ready yet.
    Starting,
    /// Serves, but Docker's healthcheck and the driver disagree, or a model is missing.
    Degraded,
    /// Runs and doesn't serve.
    Unhealthy,
    /// Made, not running, to be started.
    Stopped,
    /// Not there.
    Missing,
    /// Waits for a dependency, for room or for a backoff.
    Waiting,
    /// A person stopped it.
    Held,
    /// Frozen.
    Paused,
    /// A job that ended well.
    Completed,
    /// Nobody can tell.
    #[default]
    Unknown,
}

impl SlotStatus {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::Ready,
        Self::Starting,
        Self::Degraded,
        Self::Unhealthy,
        Self::Stopped,
        Self::Missing,
        Self::Waiting,
        Self::Held,
        Self::Paused,
        Self::Completed,
        Self::Unknown,
    ];

    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Stopped => "stopped",
            Self::Missing => "missing",
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Unknown => "unknown",
        }
    }

    /// It does what it is for, or did.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded | Self::Completed)
    }

    /// Nothing more is expected to happen.
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded | Self::Completed | Self::Held | Self::Paused)
    }
}

impl fmt::Display for SlotStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// How a slot stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotReport {
    /// In one word.
    pub status: SlotStatus,
    /// Why, for people; empty when the word says it all.
    pub message: String,
    /// Its container, if it has one.
    pub container: Option<ContainerId>,
    /// The container isn't as the files say, and stays so.
    pub differs: bool,
    /// It runs, and its health asks for a restart.
    pub ill: bool,
    /// Nobody can tell whether it serves, only that it runs, and that not for long.
    pub young: bool,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WaitingOn(what) => write!(f, "waiting_on({what})"),
            Self::Held(why) => write!(f, "held({why})"),
            Self::Blocked(why) => write!(f, "blocked({why})"),
            Self::Backoff { failures, remaining, last } => {
                let plural = if *failures == 1 { "" } else { "s" };
                write!(f, "backoff({failures} attempt{plural}")?;
                if !last.is_empty() {
                    write!(f, ", the last one failed: {last}")?;
                }
                write!(f, "; next in {})", Tenths(*remaining))
            }
            Self::Refused { why, remaining } | Self::Full { why, remaining } => {
                write!(f, "blocked({why}; next try in {})", Tenths(*remaining))
            }
            Self::Exhausted { spent, budget, why: Stop::Budget } => {
                write!(f, "exhausted({spent} of {budget} attempts)")
            }
            Self::Exhausted { spent, budget, why: Stop::CrashLoop } => {
                write!(f, "exhausted(crash loop; {spent} of {budget} attempts)")
            }
            Self::Exhausted { why: Stop::Update, .. } => {
                f.write_str("exhausted(its update failed)")
            }
            Self::InProgress => f.write_str("in_progress"),
            Self::Notice(what) => write!(f, "notice({what})"),
        }
    }
}

/// Seconds with one digit, rounded up.
struct Tenths(Duration);

impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.as_millis().div_ceil(100);
        write!(f, "{}.{} s", tenths / 10, tenths % 10)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            writeln!(f, "{}: {}", entry.resource, entry.standing)?;
        }
        Ok(())
    }
}
