//! Volumes that were removed with their data: known until somebody has taken note. Pure.

use std::time::Duration;

use crate::clock::{Mono, Timestamp};
use crate::compose::types::Project;
use crate::desired::Desired;
use crate::plan::memory::Lost;
use crate::plan::volume::{loser, volume_users};
use crate::plan::{Memory, Report};

/// Ready on the empty volume for so long, and whoever looks after the service knows or doesn't mind.
pub const OLD_NEWS: Duration = Duration::from_secs(600);

/// An empty volume was made under this key in the place of one that somebody removed.
pub fn happened(memory: &mut Memory, desired: &Desired, key: &str, at: Timestamp) {
    let Some(volume) = desired.project.volumes.get(key) else { return };
    let Some(service) = loser(desired, &memory.applied, key) else { return };
    let lost = Lost { service: service.to_owned(), at, ready_since: None };
    memory.lost.insert(volume.name.clone(), lost);
}

/// Forgets the losses that are old news; returns them.
pub fn overcome(memory: &mut Memory, desired: &Desired, report: &Report, now: Mono) -> Vec<String> {
    let mut gone = Vec::new();
    memory.lost.retain(|volume, lost| {
        let ready = all_ready(&desired.project, volume, report);
        lost.ready_since = match ready {
            Some(true) => lost.ready_since.or(Some(now)),
            Some(false) => None,
            // The files no longer name it.
            None => return forget(&mut gone, volume),
        };
        match lost.ready_since {
            Some(since) if now.since(since) >= OLD_NEWS => forget(&mut gone, volume),
            _ => true,
        }
    });
    gone
}

fn forget(gone: &mut Vec<String>, volume: &str) -> bool {
    gone.push(volume.to_owned());
    false
}

/// Whether all slots of all services that mount a volume are ready; `None` if it isn't in the files.
fn all_ready(project: &Project, volume: &str, report: &Report) -> Option<bool> {
    let found = project.volumes.values().find(|v| v.name == volume)?;
    Some(volume_users(project, &found.key).all(|service| {
        let mut slots = report.slots.iter().filter(|(slot, _)| slot.service == service.name);
        slots.all(|(_, slot)| slot.status.is_good())
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::compose::types::{Mount, MountKind, Service, Volume};
    use crate::desired::Policy;
    use crate::observed::Slot;
    use crate::plan::{SlotReport, SlotStatus};

    fn desired() -> Desired {
        let mut project = Project { name: "p".into(), ..Project::default() };
        let volume = Volume { key: "data".into(), name: "p_data".into(), ..Volume::default() };
        project.volumes.insert("data".into(), volume);
        let mounts = vec![Mount {
            kind: MountKind::Volume,
            source: Some("data".into()),
            target: "/data".into(),
            read_only: false,
            canonical: Default::default(),
        }];
        let db = Service { name: "db".into(), scale: 1, mounts, ..Service::default() };
        project.services.insert("db".into(), db);
        Desired::new(1, Arc::new(project), &[], [].into(), Policy::default()).expect("orders")
    }

    fn report(status: SlotStatus) -> Report {
        let slot = Slot { project: "p".into(), service: "db".into(), number: 1 };
        let slots = [(slot, SlotReport { status, ..SlotReport::default() })].into();
        Report { slots, ..Report::default() }
    }

    fn at(secs: u64) -> Mono {
        Mono(Duration::from_secs(secs))
    }

    #[test]
    fn a_loss_is_old_news_once_its_service_has_been_ready_for_ten_minutes_without_a_break() {
        let desired = desired();
        let mut memory = Memory { applied: desired.hashes.clone(), ..Memory::default() };
        happened(&mut memory, &desired, "data", Timestamp(5));
        assert_eq!(memory.lost["p_data"].service, "db");
        let mut look = |status, secs| overcome(&mut memory, &desired, &report(status), at(secs));
        assert!(look(SlotStatus::Ready, 0).is_empty());
        assert!(look(SlotStatus::Unhealthy, 599).is_empty());
        assert!(look(SlotStatus::Ready, 600).is_empty());
        assert!(look(SlotStatus::Ready, 1199).is_empty());
        assert_eq!(look(SlotStatus::Ready, 1200), ["p_data"]);
        assert!(memory.lost.is_empty());
    }

    #[test]
    fn what_the_files_no_longer_name_is_nobodys_loss() {
        let desired = desired();
        let mut memory = Memory::default();
        let lost = Lost { service: "x".into(), at: Timestamp(5), ready_since: None };
        memory.lost.insert("p_old".into(), lost);
        assert_eq!(overcome(&mut memory, &desired, &Report::default(), at(0)), ["p_old"]);
    }
}
