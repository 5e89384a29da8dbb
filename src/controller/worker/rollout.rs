//! What the loop writes down and tells of updates.

use super::Worker;
use crate::controller::updates::{End, UpdateLessons};
use crate::desired::Desired;
use crate::observed::Slot;
use crate::plan::Resource;

impl Worker {
    /// Writes lessons down before anything is done because of them, and tells them.
    pub(super) fn write_down(&mut self, desired: &Desired, lessons: &UpdateLessons) {
        let now = self.parts.clock.now();
        let recorder = &self.parts.recorder;
        for news in &lessons.news {
            let object = Resource::Slot(news.slot.clone());
            match &news.end {
                End::Succeeded => {
                    let message = "the new container is ready; the old one goes";
                    recorder.tell(false, "Updated", &object, message);
                    self.parts.metrics.updated("succeeded");
                }
                End::Failed(pin) => {
                    let (reason, result) = match pin.person {
                        Some(_) => ("UpdateNeedsPerson", "needs_person"),
                        None => ("UpdateRolledBack", "rolled_back"),
                    };
                    self.parts.metrics.updated(result);
                    let sentence = pin.sentence();
                    tracing::warn!("{object}: {sentence}");
                    recorder.tell(true, reason, &object, &sentence);
                    // Before the pin: whoever is killed in between finds the failure again.
                    if pin.person.is_some() {
                        let incidents = &mut self.memory.incidents;
                        let changes = incidents.update_failed(&news.slot, &sentence, now);
                        self.tell(&changes, now);
                    }
                    // What comes back is another version: its past is not the new one's.
                    if self.memory.backoff.remove(&news.slot).is_some() {
                        recorder.backoff(&news.slot, None, now);
                    }
                }
            }
        }
        for service in &lessons.pins {
            recorder.pin(&desired.project.name, service, self.memory.pins.get(service));
        }
        for slot in &lessons.updates {
            recorder.update(slot, self.memory.updates.get(slot));
        }
        for id in &lessons.released {
            recorder.release_body(id);
        }
    }

    /// What the container that a slot's update keeps is made of is written down.
    pub(super) fn can_be_made_again(&mut self, slot: &Slot) {
        if let Some(update) = self.memory.updates.get_mut(slot) {
            let other = update.body.replace(update.kept.clone());
            if let Some(other) = other.filter(|other| *other != update.kept) {
                self.parts.recorder.release_body(&other);
            }
            self.parts.recorder.update(slot, Some(update));
        }
    }
}
