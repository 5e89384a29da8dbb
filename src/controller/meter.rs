//! What the loop counts. The metrics registry implements it; tests count with their own.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::plan::Report;
use crate::probe::Answer;
use crate::recovery::{Change, Scenario};

/// A counter of what the loop does.
pub trait Meter: Send + Sync + 'static {
    /// The event stream is (not) connected.
    fn stream_connected(&self, _connected: bool) {}
    /// Events may have been missed: the stream was opened anew.
    fn event_gap(&self) {}
    /// A line of the stream made no sense.
    fn event_skipped(&self) {}
    /// A full list was read then, in this time.
    fn resynced(&self, _at: Timestamp, _took: Duration) {}
    /// A step ended: action word, result word.
    fn action(&self, _action: &'static str, _result: &'static str) {}
    /// A step was planned for a drift of this kind.
    fn drift(&self, _kind: &'static str) {}
    /// An update ended: `succeeded`, `rolled_back` or `needs_person`.
    fn updated(&self, _result: &'static str) {}
    /// How every slot of a project stands.
    fn services(&self, _project: &str, _report: &Report, _now: Timestamp) {}
    /// These services are gone from the project.
    fn forgotten(&self, _project: &str, _services: &BTreeSet<String>) {}
    /// A container of this service was started again.
    fn restarted(&self, _project: &str, _service: &str) {}
    /// Something of the incidents changed.
    fn recovery(&self, _change: &Change) {}
    /// The open incidents of a project.
    fn incidents(&self, _project: &str, _open: &[Scenario]) {}
    /// A probe gave this answer.
    fn probed(&self, _answer: Answer) {}
    /// Time from an event's arrival to the first write that answers it.
    fn reacted(&self, _took: Duration) {}
    /// A turn of the loop ended, in controller-runtime's words: `success`, `error`, `requeue`
    /// (steps were begun), `requeue_after` (something waits).
    fn reconciled(&self, _result: &'static str, _took: Duration) {}
}

/// Counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Uncounted;

impl Meter for Uncounted {}
