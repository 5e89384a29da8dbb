//! The event stream and what can go wrong with it.

use std::sync::Mutex;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;

use crate::engine::Fault;
use crate::engine::types::StreamItem;

/// What happens to events on their way, each with its chance in `0.0..=1.0`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StreamFaults {
    /// The event comes twice.
    pub duplicate: f64,
    /// The event comes after the next one.
    pub reorder: f64,
    /// The event doesn't come.
    pub lose: f64,
    /// A line that makes no sense comes before it.
    pub garbage: f64,
}

/// Events that the engine keeps for those who come later.
const KEPT: usize = 256;

type Sender = mpsc::UnboundedSender<Result<StreamItem, Fault>>;

/// Who listens.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    senders: Mutex<Vec<Sender>>,
    pub faults: StreamFaults,
    held: Option<StreamItem>,
    pub seen: Vec<StreamItem>,
    /// Where the present engine's own events begin.
    begun: usize,
}

impl Subscribers {
    /// From now on; with `since`, first what the engine still keeps from then on.
    pub fn subscribe(
        &mut self,
        since: Option<i64>,
    ) -> BoxStream<'static, Result<StreamItem, Fault>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let from = self.begun.max(self.seen.len().saturating_sub(KEPT));
        let kept = self.seen.get(from..).unwrap_or_default();
        for item in kept.iter().filter(|item| since.is_some_and(|since| is_since(item, since))) {
            let _ = sender.send(Ok(item.clone()));
        }
        if let Ok(senders) = self.senders.get_mut() {
            senders.push(sender);
        }
        stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|item| (item, receiver))
        })
        .boxed()
    }

    /// What was told so far isn't kept: a new engine knows nothing of its predecessor's events.
    pub const fn begin(&mut self) {
        self.begun = self.seen.len();
    }

    /// Ends all streams, as a closed connection does.
    pub fn end(&mut self) {
        self.held = None;
        if let Ok(senders) = self.senders.get_mut() {
            senders.clear();
        }
    }

    pub fn send(&mut self, item: StreamItem, mut chance: impl FnMut() -> f64) {
        self.seen.push(item.clone());
        let faults = self.faults;
        let mut struck = |likely: f64| likely > 0.0 && chance() < likely;
        let mut out = Vec::new();
        if struck(faults.garbage) {
            out.push(StreamItem::Skipped { bytes: 1 << 20 });
        }
        let copies = if struck(faults.lose) {
            0
        } else if struck(faults.duplicate) {
            2
        } else {
            1
        };
        let late = self.held.take();
        if copies > 0 && late.is_none() && struck(faults.reorder) {
            self.held = Some(item);
        } else {
            out.extend(std::iter::repeat_n(item, copies));
        }
        out.extend(late);
        let Ok(senders) = self.senders.get_mut() else { return };
        senders.retain(|s| out.iter().all(|item| s.send(Ok(item.clone())).is_ok()));
    }
}

const fn is_since(item: &StreamItem, nano: i64) -> bool {
    match item {
        StreamItem::Event(event) => event.time_nano >= nano,
        StreamItem::Skipped { .. } => false,
    }
}
