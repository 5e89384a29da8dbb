//! What the daemon says: immutable views that it publishes and that HTTP, the control socket and
//! the command line share. None holds a secret: values of the environment and labels never enter.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::metrics::ServiceStatus;
use crate::observed::Health;
use crate::store::{EventKind, EventRecord};

pub use super::incident::{AttemptView, IncidentView};

/// Everything that is known at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Grows by one with every publication.
    pub resource_version: u64,
    /// End of the last complete observation; `None` before the first.
    pub observed_at: Option<Timestamp>,
    /// The engine.
    pub engine: EngineView,
    /// Stacks by name.
    pub stacks: Vec<StackStatus>,
    /// Services, one row a slot, by project, service and slot.
    pub services: Vec<ServiceStatusView>,
    /// Networks of the projects.
    pub networks: Vec<NetworkView>,
    /// Volumes of the projects.
    pub volumes: Vec<VolumeView>,
    /// The last plan of each stack.
    pub plans: Vec<PlanView>,
    /// The lease that counts of each project on the engine, by project.
    pub leases: Vec<LeaseView>,
    /// Incidents: those that are open and the last ones that ended, by project, oldest first.
    #[serde(default)]
    pub incidents: Vec<IncidentView>,
}

impl Status {
    /// Whether the daemon can do its work; otherwise why not.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn readiness(&self) -> Result<(), String> {
        if !self.engine.reachable {
            let why = match self.engine.message.as_str() {
                "" => "no call has succeeded yet",
                message => message,
            };
            return Err(format!("the engine at {} is not reachable: {why}", self.engine.endpoint));
        }
        if self.observed_at.is_none() {
            return Err("the first observation is not complete yet".into());
        }
        Ok(())
    }

    /// The stack of this name.
    pub fn stack(&self, name: &str) -> Option<&StackStatus> {
        self.stacks.iter().find(|s| s.name == name)
    }
}

/// The engine, as last seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineView {
    /// Where it is.
    pub endpoint: String,
    /// Its ID; empty before the first answer.
    pub id: String,
    /// Its version.
    pub version: String,
    /// API version in use, `1.41`.
    pub api_version: String,
    /// The last call got through.
    pub reachable: bool,
    /// Why not; empty while reachable.
    pub message: String,
}

/// A condition, as in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// CamelCase type: `Ready`, `Synced`, `Degraded`…
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// CamelCase reason.
    pub reason: String,
    /// For people, with the mend.
    pub message: String,
    /// When `status` last changed, RFC 3339.
    pub last_transition_time: String,
    /// The generation that it speaks of.
    pub observed_generation: u64,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It doesn't.
    False,
    /// Nobody can tell.
    #[default]
    Unknown,
}

/// Replaces the condition of the same type, keeping the time of the last transition while its
/// status stays the same; keeps the list sorted by type.
pub fn set_condition(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.binary_search_by(|c| c.kind.cmp(&new.kind)) {
        Ok(at) => {
            let Some(old) = conditions.get_mut(at) else { return };
            if old.status == new.status {
                new.last_transition_time = std::mem::take(&mut old.last_transition_time);
            }
            *old = new;
        }
        Err(at) => conditions.insert(at, new),
    }
}

/// A stack.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StackStatus {
    /// Its name.
    pub name: String,
    /// Its Compose project.
    pub project: String,
    /// Counts the valid edits of its files.
    pub generation: u64,
    /// The generation that the engine was last compared with.
    pub observed_generation: u64,
    /// Hash of the desired state.
    pub hash: String,
    /// Nothing is left to do.
    pub synced: bool,
    /// Slots that are ready or completed.
    pub ready: u32,
    /// Slots that are wanted.
    pub desired: u32,
    /// The worst of its conditions in one CamelCase word; `Ready` where all is well.
    #[serde(default)]
    pub status: String,
    /// For people: what is wrong, or what it waits for.
    pub message: String,
    /// Who holds the whole stack as it is; empty while nobody does.
    #[serde(default)]
    pub held_by: String,
    /// Since when, milliseconds since the epoch.
    #[serde(default)]
    pub held_since: Option<Timestamp>,
    /// Conditions by type.
    pub conditions: Vec<Condition>,
}

/// One slot of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatusView {
    /// Project.
    pub project: String,
    /// Service.
    pub service: String,
    /// Slot number from 1.
    pub slot: u32,
    /// Its condition in one word.
    pub status: ServiceStatus,
    /// Docker's health.
    #[serde(with = "health")]
    pub health: Health,
    /// It is as the files say.
    pub synced: bool,
    /// ID of its container; empty when there is none.
    pub container_id: String,
    /// Name of its container; empty when there is none.
    pub container_name: String,
    /// Image reference.
    pub image: String,
    /// Starts of its present container beyond the first, by anyone.
    pub restarts: u64,
    /// Start of the present run, milliseconds since the epoch.
    pub started_at: Option<Timestamp>,
    /// For people: what it waits for, or what is wrong.
    pub message: String,
    /// Who holds it as it is; empty while nobody does.
    #[serde(default)]
    pub held_by: String,
    /// Since when, milliseconds since the epoch.
    #[serde(default)]
    pub held_since: Option<Timestamp>,
    /// Conditions by type.
    pub conditions: Vec<Condition>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkView {
    /// Project.
    pub project: String,
    /// Key in the files.
    pub key: String,
    /// Name in the engine.
    pub name: String,
    /// ID; empty when it is missing.
    pub id: String,
    /// Driver.
    pub driver: String,
    /// Somebody else's.
    pub external: bool,
    /// It is as the files say.
    pub synced: bool,
    /// Containers attached.
    pub members: u32,
    /// For people.
    pub message: String,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeView {
    /// Project.
    pub project: String,
    /// Key in the files.
    pub key: String,
    /// Name in the engine.
    pub name: String,
    /// Driver.
    pub driver: String,
    /// Somebody else's.
    pub external: bool,
    /// It exists.
    pub exists: bool,
    /// For people.
    pub message: String,
}

/// A project's lease.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseView {
    /// Project.
    pub project: String,
    /// Its epoch: grows when somebody takes over.
    pub epoch: u64,
    /// Whoever answers here holds it.
    pub ours: bool,
    /// For people: who holds it.
    pub holder: String,
    /// Host of the holder; like all that follows, empty or absent where the lease doesn't say.
    pub host: String,
    /// User of the holder.
    pub user: String,
    /// PID of the holder, in its own namespace.
    pub pid: Option<u32>,
    /// Version of the holder.
    pub version: String,
    /// Its control socket.
    pub control: String,
    /// When it took the lease, milliseconds since the epoch.
    pub since: Option<Timestamp>,
}

/// A stack's plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// The stack.
    pub stack: String,
    /// Its generation.
    pub generation: u64,
    /// The steps, by number.
    pub steps: Vec<StepView>,
    /// What isn't done, and why.
    pub report: Vec<ReportView>,
    /// The plan as `homeostat plan` prints it.
    pub text: String,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Its number.
    pub id: u32,
    /// Steps that must be done first.
    pub after: Vec<u32>,
    /// `service valkey/1`, `network x_default`.
    pub object: String,
    /// The operation.
    pub op: String,
    /// Why.
    pub cause: String,
}

/// Something that a plan doesn't do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportView {
    /// What it is about.
    pub object: String,
    /// `waiting_on`, `held`, `blocked`, `exhausted`.
    pub reason: String,
    /// The rest of the sentence.
    pub message: String,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    /// Position: ask for events after it.
    pub seq: i64,
    /// Project; empty for what concerns the whole daemon.
    pub project: String,
    /// Normal or Warning.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// CamelCase reason.
    pub reason: String,
    /// What it is about.
    pub object: String,
    /// For people.
    pub message: String,
    /// How often.
    pub count: u64,
    /// First time, RFC 3339.
    pub first_timestamp: String,
    /// Last time, RFC 3339.
    pub last_timestamp: String,
}

impl From<EventRecord> for EventView {
    fn from(record: EventRecord) -> Self {
        Self {
            seq: record.seq,
            project: record.event.project,
            kind: record.event.kind,
            reason: record.event.reason,
            object: record.event.object,
            message: record.event.message,
            count: record.count,
            first_timestamp: record.first.rfc3339(),
            last_timestamp: record.last.rfc3339(),
        }
    }
}

/// A list, as every collection of `/api/v1` answers it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// Version of the status that it was taken from; pass it as `after` to wait for the next.
    pub resource_version: u64,
    /// The items.
    pub items: Vec<T>,
}

/// The controller's end of the status: replaces it as a whole.
#[derive(Debug)]
pub struct Publisher {
    status: watch::Sender<Arc<Status>>,
}

/// A reader's end of the status.
pub type StatusReader = watch::Receiver<Arc<Status>>;

impl Publisher {
    /// A publisher whose first status knows nothing.
    pub fn new() -> (Self, StatusReader) {
        let (status, reader) = watch::channel(Arc::default());
        (Self { status }, reader)
    }

    /// Publishes, unless nothing but the version would change: waiting readers then sleep on.
    pub fn publish(&self, mut status: Status) {
        self.status.send_if_modified(|present| {
            status.resource_version = present.resource_version;
            if **present == status {
                return false;
            }
            status.resource_version += 1;
            *present = Arc::new(std::mem::take(&mut status));
            true
        });
    }
}

/// [`Health`] as its lowercase word; an unknown word reads as none.
mod health {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::observed::Health;

    pub(super) fn serialize<S: Serializer>(health: &Health, s: S) -> Result<S::Ok, S::Error> {
        health.serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Health, D::Error> {
        Ok(match String::deserialize(d)?.as_str() {
            "starting" => Health::Starting,
            "healthy" => Health::Healthy,
            "unhealthy" => Health::Unhealthy,
            _ => Health::None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: &str, status: ConditionStatus, at: &str) -> Condition {
        Condition {
            kind: kind.into(),
            status,
            reason: "R".into(),
            message: String::new(),
            last_transition_time: at.into(),
            observed_generation: 1,
        }
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let mut all = Vec::new();
        set_condition(&mut all, condition("Synced", ConditionStatus::True, "1"));
        set_condition(&mut all, condition("Ready", ConditionStatus::False, "2"));
        set_condition(&mut all, condition("Synced", ConditionStatus::True, "3"));
        set_condition(&mut all, condition("Ready", ConditionStatus::True, "4"));
        let seen: Vec<_> =
            all.iter().map(|c| (c.kind.as_str(), c.last_transition_time.as_str())).collect();
        assert_eq!(seen, [("Ready", "4"), ("Synced", "1")]);
    }

    #[test]
    fn publishing_the_same_again_wakes_nobody() {
        let (publisher, mut reader) = Publisher::new();
        let status = Status { observed_at: Some(Timestamp(1)), ..Status::default() };
        publisher.publish(status.clone());
        assert_eq!(reader.borrow_and_update().resource_version, 1);
        publisher.publish(status.clone());
        assert!(!reader.has_changed().expect("open"));
        publisher.publish(Status { observed_at: Some(Timestamp(2)), ..status });
        assert_eq!(reader.borrow_and_update().resource_version, 2);
    }

    #[test]
    fn a_status_survives_the_wire() {
        let status = Status {
            services: vec![ServiceStatusView {
                status: ServiceStatus::Held,
                health: Health::Unhealthy,
                conditions: vec![condition("Ready", ConditionStatus::False, "t")],
                ..ServiceStatusView::default()
            }],
            ..Status::default()
        };
        let wire = serde_json::to_string(&status).expect("writes");
        assert!(wire.contains(r#""status":"held","health":"unhealthy""#), "{wire}");
        assert!(wire.contains(r#""lastTransitionTime":"t""#), "{wire}");
        assert_eq!(serde_json::from_str::<Status>(&wire).expect("reads"), status);
    }
}
