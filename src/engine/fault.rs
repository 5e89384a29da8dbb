//! How a call to the engine fails, sorted by what the caller must do next.

use std::time::Duration;

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nobody answers at the endpoint. Wait with backoff.
    #[error(
        "can't reach the engine at {endpoint}: {reason}; is it running? (`docker info`, or name another with -H)"
    )]
    Unreachable {
        /// Where we tried.
        endpoint: String,
        /// What the system said.
        reason: String,
    },
    /// The socket is there but not ours to open.
    #[error("permission denied on {endpoint}; add the user to the socket's group or run as root")]
    SocketPermission {
        /// Where we tried.
        endpoint: String,
    },
    /// 401 or 403: a socket proxy or an authorisation plugin refuses this endpoint.
    #[error("{}{}", refused([call.as_str()]), said(message))]
    Forbidden {
        /// Method and path without IDs.
        call: String,
        /// The engine's words.
        message: String,
    },
    /// 404. Observe again.
    #[error("{call}: not found: {message}")]
    NotFound {
        /// Method and path without IDs.
        call: String,
        /// The engine's words.
        message: String,
    },
    /// 409: something is in the way or in progress. Observe again.
    #[error("{call}: conflict: {message}")]
    Conflict {
        /// Method and path without IDs.
        call: String,
        /// The engine's words.
        message: String,
    },
    /// 400 and other 4xx: the request itself is wrong; repeating it won't help.
    #[error("{call}: the engine rejects the request ({status}): {message}")]
    Rejected {
        /// Method and path without IDs.
        call: String,
        /// HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// 5xx: retry with backoff.
    #[error("{call}: the engine failed ({status}): {message}")]
    Server {
        /// Method and path without IDs.
        call: String,
        /// HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// No answer in time. For a write, nobody knows whether it happened: observe first.
    #[error("{call}: no answer within {after:?}")]
    Timeout {
        /// Method and path without IDs.
        call: String,
        /// The deadline that passed.
        after: Duration,
    },
    /// The connection broke after the request went out: as uncertain as a timeout.
    #[error("{call}: the connection broke: {reason}")]
    Interrupted {
        /// Method and path without IDs.
        call: String,
        /// What the system said.
        reason: String,
    },
    /// The answer isn't what the API promises.
    #[error("{call}: the answer makes no sense: {reason}")]
    Garbage {
        /// Method and path without IDs.
        call: String,
        /// Where decoding stopped.
        reason: String,
    },
    /// The answer is larger than we read.
    #[error("{call}: the answer exceeds {limit} bytes")]
    TooLarge {
        /// Method and path without IDs.
        call: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// The engine is too old for something that the project needs.
    #[error(
        "{what} needs engine API {needs}, this engine has {has}; upgrade the engine or remove it"
    )]
    TooOld {
        /// The attribute.
        what: String,
        /// First API version that has it.
        needs: String,
        /// Negotiated version.
        has: String,
    },
    /// The tier chosen at start doesn't allow this write.
    #[error("the tier `{tier}` doesn't allow {call}; start with a higher --tier")]
    TierForbids {
        /// The write.
        call: String,
        /// The tier in force.
        tier: String,
    },
    /// The endpoint's address or its TLS material is unusable.
    #[error("bad engine endpoint {endpoint}: {reason}")]
    BadEndpoint {
        /// As given.
        endpoint: String,
        /// What is wrong and the mend.
        reason: String,
    },
}

/// Says which calls are refused, and the mend.
pub fn refused<'c>(calls: impl IntoIterator<Item = &'c str>) -> String {
    let calls: Vec<&str> = calls.into_iter().collect();
    let read_only = calls.iter().all(|call| call.starts_with("GET "));
    let tier = if read_only { "" } else { ", or start with a lower --tier" };
    format!("the engine refuses {} (403); allow that in the socket proxy{tier}", calls.join(", "))
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!("; it says: {message}") }
}

impl Fault {
    /// Whether a write that failed so may have happened all the same.
    pub const fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Interrupted { .. } | Self::Garbage { .. })
    }

    /// Whether the engine can't start a container because its runtime still has a task of that
    /// container from before: seen on 20.10 after a start during the engine's own shutdown. It says
    /// so at every start, for ever.
    pub fn is_leftover_task(&self) -> bool {
        match self {
            Self::Server { message, .. } => {
                message.starts_with("task ") && message.trim_end().ends_with(": already exists")
            }
            _ => false,
        }
    }

    /// Whether the engine's disk has no room.
    pub fn is_disk_full(&self) -> bool {
        let words = ["no space left on device", "disk quota exceeded"];
        match self {
            Self::Server { message, .. }
            | Self::Rejected { message, .. }
            | Self::Conflict { message, .. } => {
                let message = message.to_lowercase();
                words.iter().any(|w| message.contains(w))
            }
            _ => false,
        }
    }

    /// Whether waiting and trying again may help.
    pub const fn transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Conflict { .. }
                | Self::NotFound { .. }
                | Self::Server { .. }
                | Self::Timeout { .. }
                | Self::Interrupted { .. }
                | Self::Garbage { .. }
        )
    }

    /// A short CamelCase reason for conditions and metrics; never holds error text.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "EngineUnreachable",
            Self::SocketPermission { .. } => "SocketPermission",
            Self::Forbidden { .. } => "PermissionMissing",
            Self::NotFound { .. } => "NotFound",
            Self::Conflict { .. } => "Conflict",
            Self::Rejected { .. } => "Rejected",
            Self::Server { .. } => "EngineError",
            Self::Timeout { .. } => "Timeout",
            Self::Interrupted { .. } => "Interrupted",
            Self::Garbage { .. } => "Garbage",
            Self::TooLarge { .. } => "TooLarge",
            Self::TooOld { .. } => "EngineTooOld",
            Self::TierForbids { .. } => "TierForbids",
            Self::BadEndpoint { .. } => "BadEndpoint",
        }
    }
}
