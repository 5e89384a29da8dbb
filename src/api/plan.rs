//! A plan for people and machines, as `homeostat plan` prints it, with or without a daemon.

use serde::{Deserialize, Serialize};

/// The answer to `plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanAnswer {
    /// For people.
    pub text: String,
    /// For machines.
    pub document: PlanDocument,
}

/// The plan for machines. Names are stable; values of the environment and labels never enter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanDocument {
    /// The Compose project.
    pub project: String,
    /// There is something to do, or a daemon is at it.
    pub changes: bool,
    /// What would be done.
    pub steps: Vec<PlannedStep>,
    /// What wouldn't, and why.
    pub report: Vec<PlannedEntry>,
    /// How each service stands.
    pub services: Vec<PlannedService>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStep {
    /// Its number.
    pub id: usize,
    /// Steps that come first.
    pub after: Vec<usize>,
    /// What it acts on.
    #[serde(flatten)]
    pub resource: PlannedResource,
    /// The action's stable word.
    pub action: String,
    /// The operation, in words.
    pub op: String,
    /// The cause's stable word.
    pub kind: String,
    /// Why, in words.
    pub cause: String,
}

/// What a step or an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedResource {
    /// `network`, `volume`, `image`, `service` or `container`.
    pub resource: String,
    /// Its name.
    pub name: String,
}

/// Something that isn't done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedEntry {
    /// What it is about.
    #[serde(flatten)]
    pub resource: PlannedResource,
    /// The reason's stable word.
    pub reason: String,
    /// Why, in words.
    pub message: String,
}

/// How a service stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedService {
    /// Its name.
    pub service: String,
    /// Its slot.
    pub slot: u32,
    /// The status word.
    pub status: String,
    /// Why, in words; may be empty.
    pub message: String,
    /// ID of its container, if it has one.
    pub container: String,
}
