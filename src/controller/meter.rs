//! What the loop counts. The metrics registry implements it; tests count with their own.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::plan::Report;

/// A counter of what the loop does.
pub trait Meter: Send + Sync + 'static {
    /// The event stream is (not) connected.
    fn stream_connected(&self, _connected: bool) {}
    /// Events may have been missed: the stream was opened anew.
    fn event_gap(&self) {}
    /// A line of the stream made no sense.
    fn event_skipped(&self) {}
    /// A full list was read then.
    fn resynced(&self, _at: Timestamp) {}
    /// A step ended: action word, result word.
    fn action(&self, _action: &'static str, _result: &'static str) {}
    /// A step was planned for a drift of this kind.
    fn drift(&self, _kind: &'static str) {}
    /// How every slot of a project stands.
    fn services(&self, _project: &str, _report: &Report) {}
    /// A turn of the loop ended.
    fn reconciled(&self, _controller: &'static str, _result: &'static str, _took: Duration) {}
}

/// Counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Uncounted;

impl Meter for Uncounted {}
