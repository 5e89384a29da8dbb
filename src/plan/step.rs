//! A plan: steps with one operation each, a cause that a person can read, and what they wait for.

use std::fmt;

use crate::clock::Timestamp;
use crate::engine::ContainerId;
use crate::observed::Slot;

/// Number of a step within its plan, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub usize);

/// A directed acyclic graph of steps: each names only earlier ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Generation of the desired state that it leads to.
    pub generation: u64,
    /// The steps, in an order that respects `after`.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// A step by its number.
    pub fn step(&self, id: StepId) -> Option<&Step> {
        self.steps.get(id.0.checked_sub(1)?)
    }
}

/// One operation with its reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its number.
    pub id: StepId,
    /// Steps that must have succeeded first.
    pub after: Vec<StepId>,
    /// What it is about.
    pub resource: Resource,
    /// What to do.
    pub op: Op,
    /// Why.
    pub cause: Cause,
}

/// What a step or a report line is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// A network, by its name in the engine.
    Network(String),
    /// A volume, by its name in the engine.
    Volume(String),
    /// An image, by reference.
    Image(String),
    /// A service slot.
    Slot(Slot),
    /// A container that belongs to no slot, by name.
    Container(String),
}

/// A container that exists, or that an earlier step makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// It exists.
    Existing(ContainerId),
    /// That step creates it.
    Created(StepId),
}

/// A network that exists, or that an earlier step makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkRef {
    /// It exists under this ID.
    Existing(String),
    /// That step creates it.
    Created(StepId),
}

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Creates a network of the project.
    CreateNetwork {
        /// Its key.
        key: String,
    },
    /// Removes a network whose configuration changed.
    RemoveNetwork {
        /// Its ID.
        id: String,
    },
    /// Attaches a container with the aliases and addresses that its service wants.
    Connect {
        /// Network key.
        key: String,
        /// Network.
        network: NetworkRef,
        /// Container.
        container: Target,
        /// Whose service it is.
        slot: Slot,
        /// Other networks have its name: a container that doesn't run must be told the ID too.
        twin: bool,
    },
    /// Detaches a container.
    Disconnect {
        /// Network ID, or its name where only a stale entry is left.
        network: String,
        /// Container.
        container: ContainerId,
    },
    /// Creates a volume of the project if it is absent.
    CreateVolume {
        /// Its key.
        key: String,
    },
    /// Pulls an image.
    Pull {
        /// Reference.
        reference: String,
        /// Platform, when given.
        platform: Option<String>,
    },
    /// Creates a slot's container.
    Create {
        /// The slot.
        slot: Slot,
        /// Name to create it under.
        name: String,
        /// The container that it replaces.
        replaces: Option<ContainerId>,
        /// The container that is kept until this one has proved itself.
        keeps: Option<ContainerId>,
        /// Containers whose namespaces or volumes it shares, by service.
        parents: Vec<(String, Target)>,
        /// Networks that share their name with others: name and the ID that is meant.
        twins: Vec<(String, String)>,
    },
    /// Creates a container that was kept and is gone, as it was.
    Recreate {
        /// The slot.
        slot: Slot,
        /// Name to create it under.
        name: String,
        /// The container that is gone.
        lost: ContainerId,
        /// The container under whose ID is written down what it was made of.
        body: ContainerId,
    },
    /// Starts a container.
    Start {
        /// Which.
        container: Target,
    },
    /// Stops a container with its own grace.
    Stop {
        /// Which.
        container: ContainerId,
    },
    /// Lets a frozen container go on.
    Unpause {
        /// Which.
        container: ContainerId,
    },
    /// Stops and starts a container.
    Restart {
        /// Which.
        container: ContainerId,
    },
    /// Removes a container; never its volumes.
    Remove {
        /// Which.
        container: ContainerId,
        /// Even if it runs (only for what can't be stopped).
        force: bool,
    },
    /// Renames a container.
    Rename {
        /// Which.
        container: Target,
        /// New name.
        name: String,
    },
}

impl Op {
    /// A word for metrics: `create_network`, `start`…
    pub const fn action(&self) -> &'static str {
        match self {
            Self::CreateNetwork { .. } => "create_network",
            Self::RemoveNetwork { .. } => "remove_network",
            Self::Connect { .. } => "connect_network",
            Self::Disconnect { .. } => "disconnect_network",
            Self::CreateVolume { .. } => "create_volume",
            Self::Pull { .. } => "pull_image",
            Self::Create { .. } | Self::Recreate { .. } => "create_container",
            Self::Start { .. } => "start_container",
            Self::Stop { .. } => "stop_container",
            Self::Unpause { .. } => "unpause_container",
            Self::Restart { .. } => "restart_container",
            Self::Remove { .. } => "remove_container",
            Self::Rename { .. } => "rename_container",
        }
    }

    /// Every action word, for metrics that start at zero.
    pub const ACTIONS: [&'static str; 13] = [
        "create_network",
        "remove_network",
        "connect_network",
        "disconnect_network",
        "create_volume",
        "pull_image",
        "create_container",
        "start_container",
        "stop_container",
        "unpause_container",
        "restart_container",
        "remove_container",
        "rename_container",
    ];

    /// The existing container that it touches, if any.
    pub const fn container(&self) -> Option<&ContainerId> {
        match self {
            Self::Connect { container: Target::Existing(id), .. }
            | Self::Start { container: Target::Existing(id) }
            | Self::Rename { container: Target::Existing(id), .. }
            | Self::Disconnect { container: id, .. }
            | Self::Stop { container: id }
            | Self::Restart { container: id }
            | Self::Unpause { container: id }
            | Self::Remove { container: id, .. } => Some(id),
            _ => None,
        }
    }
}

/// The other service's container that asks for a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The other service.
    pub service: String,
    /// When its container was started or made; `None` where an earlier step of the plan does so.
    pub since: Option<Timestamp>,
}

/// Why a step is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It isn't there.
    Missing,
    /// It was there before (or its members still point at it): somebody removed it.
    DeletedElsewhere,
    /// Made, but never started.
    NeverStarted,
    /// Its process ended.
    Exited {
        /// Exit code.
        code: i64,
        /// Starts that failed before, in a row.
        failures: u32,
        /// Attempts that may fail; 0 where nobody counts.
        of: u32,
    },
    /// The engine calls it dead.
    Dead,
    /// The engine can't start it any more: its runtime kept something of it.
    Unstartable,
    /// Somebody froze it, and the policy lets it go on.
    Paused,
    /// The configuration differs from the one that the container was made from.
    ConfigChanged,
    /// The image reference names another image now.
    ImageChanged,
    /// The container whose namespace or volumes it shares was replaced.
    ParentReplaced(String),
    /// The container whose namespace it shares was restarted: the shared namespace is gone.
    ParentRestarted(Followed),
    /// A dependency with `restart: true` was replaced.
    DependencyReplaced(Followed),
    /// Not attached.
    NotConnected,
    /// Attached to a network of that name that is gone.
    StaleNetwork,
    /// Attached without the aliases or the address that the service wants.
    WrongEndpoint(String),
    /// Docker's healthcheck or the driver says so, for long enough.
    Unhealthy(String),
    /// An unfinished replacement left it.
    Leftover,
    /// A second network of the project under one name, with nobody attached.
    Twin,
    /// More containers than wanted.
    ScaledDown,
    /// Its service is no longer in the project.
    Orphan,
    /// Its name is in the way of another container of the project.
    NameInTheWay,
    /// A person takes the whole project down.
    TakenDown,
    /// It follows from another step of this plan.
    Replacement,
    /// It is kept until the new container has proved itself.
    Kept,
    /// It was kept until the new container had proved itself.
    Superseded,
    /// The update that it belongs to failed for this reason, and is undone.
    RolledBack(String),
    /// The update that it belongs to failed, and a person decides.
    UpdateFailed,
    /// `pull_policy` asks for it.
    PullPolicy,
    /// Part of a new container.
    NewContainer,
}

impl Cause {
    /// A word for `homeostat_drift_detected_total{kind}`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Missing | Self::DeletedElsewhere => "missing",
            Self::NeverStarted
            | Self::Exited { .. }
            | Self::Dead
            | Self::Unstartable
            | Self::Paused => "down",
            Self::ConfigChanged => "config",
            Self::ImageChanged | Self::PullPolicy => "image",
            Self::ParentReplaced(_) | Self::ParentRestarted(_) | Self::DependencyReplaced(_) => {
                "dependency"
            }
            Self::NotConnected | Self::StaleNetwork | Self::WrongEndpoint(_) => "network",
            Self::Unhealthy(_) => "unhealthy",
            Self::Leftover
            | Self::Twin
            | Self::ScaledDown
            | Self::Orphan
            | Self::NameInTheWay
            | Self::TakenDown => "surplus",
            Self::Replacement
            | Self::Kept
            | Self::Superseded
            | Self::RolledBack(_)
            | Self::UpdateFailed
            | Self::NewContainer => "follow_up",
        }
    }

    /// Every kind word, for metrics that start at zero.
    pub const KINDS: [&'static str; 9] = [
        "missing",
        "down",
        "config",
        "image",
        "dependency",
        "network",
        "unhealthy",
        "surplus",
        "follow_up",
    ];
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::DeletedElsewhere => f.write_str("deleted by someone else"),
            Self::NeverStarted => f.write_str("never started"),
            Self::Exited { code, failures: 0, of: 0 } => write!(f, "exited {code}"),
            Self::Exited { code, failures, of: 0 } => {
                write!(f, "exited {code}, attempt {}", failures + 1)
            }
            Self::Exited { code, failures, of } => {
                write!(f, "exited {code}, attempt {} of {of}", failures + 1)
            }
            Self::Dead => f.write_str("dead"),
            Self::Unstartable => f.write_str("the engine can't start it any more"),
            Self::Paused => f.write_str("paused"),
            Self::ConfigChanged => f.write_str("configuration changed"),
            Self::ImageChanged => f.write_str("image changed"),
            Self::ParentReplaced(name) => {
                write!(f, "shares a namespace with {name}, which is replaced")
            }
            Self::ParentRestarted(parent) => {
                write!(f, "shares a namespace with {}, which was restarted", parent.service)
            }
            Self::DependencyReplaced(dependency) => {
                write!(f, "{} was replaced and asks for a restart", dependency.service)
            }
            Self::NotConnected => f.write_str("not connected"),
            Self::StaleNetwork => f.write_str("connected to another network of that name"),
            Self::WrongEndpoint(what) => f.write_str(what),
            Self::Unhealthy(reason) => write!(f, "unhealthy: {reason}"),
            Self::Leftover => f.write_str("left over from an unfinished replacement"),
            Self::Twin => f.write_str("a second one of that name, and nobody uses it"),
            Self::ScaledDown => f.write_str("more containers than wanted"),
            Self::Orphan => f.write_str("its service is no longer in the project"),
            Self::NameInTheWay => f.write_str("its name is in the way"),
            Self::TakenDown => f.write_str("taken down"),
            Self::Replacement => f.write_str("replaced"),
            Self::Kept => f.write_str("kept until the new one is ready"),
            Self::Superseded => f.write_str("the new one is ready"),
            Self::RolledBack(why) => write!(f, "rolled back: {why}"),
            Self::UpdateFailed => f.write_str("the update failed"),
            Self::PullPolicy => f.write_str("pull policy"),
            Self::NewContainer => f.write_str("new container"),
        }
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(name) => write!(f, "network {name}"),
            Self::Volume(name) => write!(f, "volume {name}"),
            Self::Image(reference) => write!(f, "image {reference}"),
            Self::Slot(slot) => write!(f, "service {slot}"),
            Self::Container(name) => write!(f, "container {name}"),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateNetwork { .. } | Self::CreateVolume { .. } => f.write_str("create"),
            Self::RemoveNetwork { .. } => f.write_str("remove"),
            Self::Connect { key, .. } => write!(f, "connect to {key}"),
            Self::Disconnect { network, .. } => write!(f, "disconnect from {}", short(network)),
            Self::Pull { .. } => f.write_str("pull"),
            Self::Create { name, .. } | Self::Recreate { name, .. } => {
                write!(f, "create {name}")
            }
            Self::Start { .. } => f.write_str("start"),
            Self::Stop { container } => write!(f, "stop {container}"),
            Self::Unpause { .. } => f.write_str("unpause"),
            Self::Restart { .. } => f.write_str("restart"),
            Self::Remove { container, .. } => write!(f, "remove {container}"),
            Self::Rename { name, .. } => write!(f, "rename to {name}"),
        }
    }
}

/// A network's ID as people see it; a name stays whole.
fn short(network: &str) -> &str {
    let is_id = network.len() == 64 && network.bytes().all(|b| b.is_ascii_hexdigit());
    network.get(..12).filter(|_| is_id).unwrap_or(network)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            let after: Vec<String> = step.after.iter().map(|id| id.0.to_string()).collect();
            let after = format!("[{}]", after.join(","));
            writeln!(
                f,
                "{after:<6} -> {} {}: {}  ({})",
                step.id, step.resource, step.op, step.cause
            )?;
        }
        Ok(())
    }
}
