//! Turns a step into the one call that it stands for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Context, resolve};
use crate::compose::translate::{self, BindContext, Parent, ParentIds, Replaced};
use crate::compose::types::{Project, Service};
use crate::engine::{ContainerId, Fault, Write};
use crate::observed::{Container, Observed, Slot};
use crate::plan::{NetworkRef, Op, Step, StepId, Target};
use crate::sensitive::Sensitive;

/// Where an endpoint says which network it is.
const NETWORK_ID: &str = "NetworkID";

/// What earlier steps of a plan made.
#[derive(Debug, Clone, Default)]
pub struct Made {
    /// IDs of networks and containers, by the step that made them.
    pub ids: BTreeMap<StepId, String>,
    /// References that were pulled: they may name another image than in the snapshot.
    pub pulled: BTreeSet<String>,
}

/// A call to the engine.
pub enum Command {
    /// A change.
    Write(Write),
    /// A pull.
    Pull {
        /// Reference.
        reference: String,
        /// Platform, when given.
        platform: Option<String>,
    },
}

/// Why a call couldn't be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CommandError {
    /// The plan names something that the desired state lacks: a defect of the planner.
    #[error("the plan names {0}, which the desired state doesn't have")]
    Inconsistent(String),
    /// The image vanished after the plan was made.
    #[error("image {0} isn't there any more")]
    ImageGone(String),
    /// Nobody knows any more what a container was made of.
    #[error("what container {0} was made of isn't known any more")]
    BodyGone(ContainerId),
    /// The service can't be expressed for this engine.
    #[error("{0}")]
    Translate(String),
    /// Asking the engine failed.
    #[error(transparent)]
    Engine(#[from] Fault),
}

impl CommandError {
    /// CamelCase reason without error text.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Inconsistent(_) => "PlanInconsistent",
            Self::ImageGone(_) => "ImageGone",
            Self::BodyGone(_) => "RollbackBodyGone",
            Self::Translate(_) => "NotTranslatable",
            Self::Engine(fault) => fault.reason(),
        }
    }
}

fn inconsistent(what: impl std::fmt::Display) -> CommandError {
    CommandError::Inconsistent(what.to_string())
}

/// Builds the call of one step.
pub async fn build(context: &Context, step: &Step, made: &Made) -> Result<Command, CommandError> {
    let project = &context.desired.project;
    let write = match &step.op {
        Op::Pull { reference, platform } => {
            return Ok(Command::Pull { reference: reference.clone(), platform: platform.clone() });
        }
        Op::CreateNetwork { key } => {
            let network = project.networks.get(key).ok_or_else(|| inconsistent(key))?;
            let body = translate::network_body(project, network).map_err(translate_error)?;
            let mut body = body.into_inner();
            // Engines before API 1.44 make a second network of the same name without it.
            body.insert("CheckDuplicate".into(), true.into());
            let body = body.into();
            Write::CreateNetwork { body }
        }
        Op::RemoveNetwork { id } => Write::RemoveNetwork { id: id.clone() },
        Op::CreateVolume { key } => {
            let volume = project.volumes.get(key).ok_or_else(|| inconsistent(key))?;
            let body = translate::volume_body(project, volume).map_err(translate_error)?;
            Write::CreateVolume { body }
        }
        Op::Connect { key, network, container, slot, twin } => {
            connect(context, key, network, container, slot, *twin, made)?
        }
        Op::Disconnect { network, container } => Write::DisconnectNetwork {
            network: network.clone(),
            container: container.clone(),
            force: true,
        },
        Op::Create { slot, name, replaces, parents, twins, keeps: _ } => {
            create(context, slot, name, replaces.as_ref(), parents, twins, made).await?
        }
        Op::Recreate { slot: _, name, lost, body } => {
            let body = context.recorder.kept_body(body).await;
            let body = body.ok_or_else(|| CommandError::BodyGone(lost.clone()))?;
            Write::CreateContainer { name: name.clone(), platform: None, body }
        }
        Op::Start { container } => Write::StartContainer { id: target(container, made)? },
        Op::Stop { container } => {
            Write::StopContainer { id: container.clone(), grace: grace(context, container) }
        }
        Op::Restart { container } => {
            Write::RestartContainer { id: container.clone(), grace: grace(context, container) }
        }
        Op::Unpause { container } => Write::UnpauseContainer { id: container.clone() },
        Op::Remove { container, force } => {
            Write::RemoveContainer { id: container.clone(), force: *force }
        }
        Op::Rename { container, name } => {
            Write::RenameContainer { id: target(container, made)?, name: name.clone() }
        }
    };
    Ok(Command::Write(write))
}

fn target(target: &Target, made: &Made) -> Result<ContainerId, CommandError> {
    resolve(target, made).ok_or_else(|| inconsistent("a container that no step made"))
}

fn grace(context: &Context, id: &ContainerId) -> Option<std::time::Duration> {
    let service = context.observed.containers.get(id)?.service.as_ref()?;
    context.desired.project.services.get(service)?.stop_grace_period
}

fn connect(
    context: &Context,
    key: &str,
    network: &NetworkRef,
    container: &Target,
    slot: &Slot,
    twin: bool,
    made: &Made,
) -> Result<Write, CommandError> {
    let project = &context.desired.project;
    let service = project.services.get(&slot.service).ok_or_else(|| inconsistent(slot))?;
    let network = match network {
        NetworkRef::Existing(id) => id.clone(),
        NetworkRef::Created(step) => made
            .ids
            .get(step)
            .cloned()
            .ok_or_else(|| inconsistent("a network that no step made"))?,
    };
    let links = translate::links(project, service, slot.number, &linked(project, service))
        .map_err(translate_error)?;
    let mut endpoint = translate::endpoint_config(project, service, key, slot.number, &links)
        .map_err(translate_error)?;
    if twin {
        endpoint.insert(NETWORK_ID.into(), network.clone().into());
    }
    Ok(Write::ConnectNetwork { network, container: target(container, made)?, endpoint })
}

async fn create(
    context: &Context,
    slot: &Slot,
    name: &str,
    replaces: Option<&ContainerId>,
    parents: &[(String, Target)],
    twins: &[(String, String)],
    made: &Made,
) -> Result<Write, CommandError> {
    let project = &context.desired.project;
    let service = project.services.get(&slot.service).ok_or_else(|| inconsistent(slot))?;
    let mut ids = linked(project, service);
    for (parent, at) in parents {
        let id = target(at, made)?.0;
        ids.0.insert(parent.clone(), vec![Parent { id, name: parent.clone() }]);
    }
    let reference = service.image.as_deref().unwrap_or_default();
    let image_id = image_id(context, reference, made).await?;
    let replaced = replaces.and_then(|id| context.observed.container(id)).map(replaced);
    let bound = translate::bind(
        service,
        project,
        &ids,
        &image_id,
        slot.number,
        &BindContext {
            api: context.observed.engine.capabilities.api,
            replaces: replaced.as_ref(),
            env_files: &[],
            images: &BTreeMap::new(),
            seccomp_profiles: &BTreeMap::new(),
            proxy_environment: &BTreeMap::new(),
            hash: &crate::compose::service_hash,
        },
    )
    .map_err(translate_error)?;
    if let Some(file) = bound.files_to_copy.first() {
        return Err(CommandError::Translate(format!(
            "{}: a secret or config that isn't a file is not supported yet",
            file.target
        )));
    }
    Ok(Write::CreateContainer {
        name: name.to_owned(),
        platform: service.platform.clone(),
        body: with_ids(bound.body, twins),
    })
}

/// Says which network of several with one name is meant. By its name alone the engine starts
/// nothing; with its ID as key, or as network mode, it forgets it before the start (seen on 20.10).
fn with_ids(
    body: Sensitive<Map<String, Value>>,
    twins: &[(String, String)],
) -> Sensitive<Map<String, Value>> {
    let mut body = body.into_inner();
    let config = body.get_mut("NetworkingConfig");
    let Some(endpoints) = config.and_then(|config| config.get_mut("EndpointsConfig")) else {
        return body.into();
    };
    for (name, id) in twins {
        if let Some(Value::Object(endpoint)) = endpoints.get_mut(name) {
            endpoint.insert(NETWORK_ID.into(), id.clone().into());
        }
    }
    body.into()
}

/// The names of the containers that `links` may refer to; links use no IDs.
fn linked(project: &Project, service: &Service) -> ParentIds {
    let mut ids = ParentIds::default();
    for name in service.depends_on.keys() {
        let Some(other) = project.services.get(name) else { continue };
        let parents = (1..=other.scale).map(|number| Parent {
            id: String::new(),
            name: translate::container_name(project, other, number),
        });
        ids.0.insert(name.clone(), parents.collect());
    }
    ids
}

/// The old container as its successor sees it. Every anonymous volume goes on, whether or not
/// the new image still declares it: data is never left behind.
fn replaced(container: &Container) -> Replaced {
    let anonymous = |name: &str| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    Replaced {
        id: container.id.0.clone(),
        image_volumes: container
            .mounts
            .iter()
            .filter(|m| m.kind == "volume" && anonymous(&m.name))
            .map(|m| m.destination.clone())
            .collect(),
        mounts: container.mounts.clone(),
    }
}

/// The ID that the reference names now: the snapshot's, or the engine's after a pull.
async fn image_id(context: &Context, reference: &str, made: &Made) -> Result<String, CommandError> {
    if !made.pulled.contains(reference)
        && let Some(id) = context.observed.image_id(reference)
    {
        return Ok(id.to_owned());
    }
    let images = context.engine.images().await?;
    let fresh = Observed { images: images.into(), ..Observed::default() };
    let id = fresh.image_id(reference).map(str::to_owned);
    id.ok_or_else(|| CommandError::ImageGone(reference.to_owned()))
}

fn translate_error(error: impl std::fmt::Display) -> CommandError {
    CommandError::Translate(error.to_string())
}
