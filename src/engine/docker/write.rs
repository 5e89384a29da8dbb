//! Every [`Write`] as a request, and what its answer means.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::deadlines::Deadlines;
use super::decode;
use super::encode::{encode, query};
use super::transport::{Answer, Call};
use crate::engine::{ContainerId, Fault, Write, WriteReply};
use crate::observed::lenient::{non_empty, texts};

/// Largest answer of a write, in bytes.
const LIMIT: usize = 1024 * 1024;

/// The engine's grace when neither the call nor the container names one.
pub(super) const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// Method, path below the version, body and deadline.
struct Parts {
    method: Method,
    path: String,
    body: Option<Value>,
    deadline: Duration,
}

fn post(path: String, body: Option<Value>, deadline: Duration) -> Parts {
    Parts { method: Method::POST, path, body, deadline }
}

fn container(id: &ContainerId, verb: &str) -> String {
    format!("/containers/{}/{verb}", encode(&id.0))
}

/// `?t=` in whole seconds, rounded up.
fn with_grace(path: String, grace: Option<Duration>) -> String {
    match grace {
        Some(grace) => {
            let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
            format!("{path}?t={seconds}")
        }
        None => path,
    }
}

fn object(body: &Map<String, Value>) -> Option<Value> {
    Some(Value::Object(body.clone()))
}

/// The request. `own_grace` is the container's own stop timeout, for calls that name none.
pub(super) fn request(
    version: &str,
    write: &Write,
    own_grace: Duration,
    within: &Deadlines,
) -> Call {
    let parts = match write {
        Write::CreateContainer { name, platform, body } => {
            let mut pairs = vec![("name", name.as_str())];
            pairs.extend(platform.as_deref().map(|platform| ("platform", platform)));
            let path = format!("/containers/create?{}", query(&pairs));
            post(path, object(body.expose()), within.create)
        }
        Write::StartContainer { id } => post(container(id, "start"), None, within.act),
        Write::StopContainer { id, grace } => {
            let deadline = grace.unwrap_or(own_grace) + within.stop;
            post(with_grace(container(id, "stop"), *grace), None, deadline)
        }
        Write::RestartContainer { id, grace } => {
            let deadline = grace.unwrap_or(own_grace) + within.restart;
            post(with_grace(container(id, "restart"), *grace), None, deadline)
        }
        Write::UnpauseContainer { id } => post(container(id, "unpause"), None, within.quick),
        Write::RenameContainer { id, name } => {
            let path = format!("{}?{}", container(id, "rename"), query(&[("name", name)]));
            post(path, None, within.quick)
        }
        Write::RemoveContainer { id, force } => Parts {
            method: Method::DELETE,
            path: format!("/containers/{}?force={force}&v=false", encode(&id.0)),
            body: None,
            deadline: within.remove,
        },
        Write::CreateNetwork { body } => {
            post("/networks/create".into(), object(body.expose()), within.act)
        }
        Write::RemoveNetwork { id } => Parts {
            method: Method::DELETE,
            path: format!("/networks/{}", encode(id)),
            body: None,
            deadline: within.act,
        },
        Write::ConnectNetwork { network, container, endpoint } => post(
            format!("/networks/{}/connect", encode(network)),
            Some(json!({"Container": container.0, "EndpointConfig": endpoint})),
            within.act,
        ),
        Write::DisconnectNetwork { network, container, force } => post(
            format!("/networks/{}/disconnect", encode(network)),
            Some(json!({"Container": container.0, "Force": force})),
            within.act,
        ),
        Write::CreateVolume { body } => {
            post("/volumes/create".into(), object(body.expose()), within.act)
        }
        Write::CreateLease { lease } => {
            let body = json!({"Name": lease.name(), "Driver": "local", "Labels": lease.labels()});
            post("/volumes/create".into(), Some(body), within.act)
        }
        Write::RemoveLease { lease } => Parts {
            method: Method::DELETE,
            path: format!("/volumes/{}", encode(lease.name())),
            body: None,
            deadline: within.act,
        },
    };
    Call {
        method: parts.method,
        path: format!("{version}{}", parts.path),
        name: write.call(),
        body: parts.body.map(|body| Bytes::from(body.to_string())),
        headers: Vec::new(),
        deadline: parts.deadline,
        limit: LIMIT,
    }
}

/// What the answer means: a wish that is fulfilled already is success.
pub(super) fn outcome(write: &Write, answer: Result<Answer, Fault>) -> Result<WriteReply, Fault> {
    match answer {
        Ok(answer) => reply(write, &answer),
        Err(fault) if is_done(write, &fault) => Ok(WriteReply::default()),
        Err(fault) => Err(fault),
    }
}

fn is_done(write: &Write, fault: &Fault) -> bool {
    match (write, fault) {
        (
            Write::RemoveContainer { .. } | Write::RemoveNetwork { .. } | Write::RemoveLease { .. },
            Fault::NotFound { message, .. },
        ) => {
            // A path that the engine (or a proxy) doesn't know is no proof of anything.
            !message.contains("page not found")
        }
        (Write::RemoveContainer { .. }, Fault::Conflict { message, .. }) => {
            message.contains("removal of container") && message.contains("already in progress")
        }
        (Write::DisconnectNetwork { .. }, Fault::Server { message, .. })
        | (Write::DisconnectNetwork { .. }, Fault::Rejected { message, .. }) => {
            message.contains("is not connected to")
        }
        (Write::UnpauseContainer { .. }, Fault::Server { message, .. })
        | (Write::UnpauseContainer { .. }, Fault::Conflict { message, .. }) => {
            message.contains("is not paused")
        }
        _ => false,
    }
}

fn reply(write: &Write, answer: &Answer) -> Result<WriteReply, Fault> {
    let key = match write {
        Write::CreateContainer { .. } | Write::CreateNetwork { .. } => "Id",
        Write::CreateVolume { .. } | Write::CreateLease { .. } => "Name",
        _ => return Ok(WriteReply::default()),
    };
    let garbage = |reason: String| Fault::Garbage { call: write.call().into(), reason };
    let json = decode::json(&answer.body).map_err(garbage)?;
    let id = non_empty(&json, key).ok_or_else(|| garbage(format!("no {key} in the answer")))?;
    let mut warnings = texts(&json, "Warnings");
    warnings.extend(non_empty(&json, "Warning"));
    Ok(WriteReply { id: Some(id), warnings })
}

#[cfg(test)]
mod tests;
