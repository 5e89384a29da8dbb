//! The command line's end of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{Method, Request, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

use super::PROTOCOL;
use super::command::{IncidentWord, Progress, Version, Wanted};
use super::problem::Problem;

const BODY_LIMIT: usize = 16 * 1024 * 1024;
const LINE_LIMIT: usize = 4 * 1024 * 1024;
/// The daemon sends an empty line every five seconds.
const SILENCE: Duration = Duration::from_secs(30);

/// Why the daemon did not answer as asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No socket, or nobody listens on it.
    #[error("no daemon runs on {}; start one with `homeostat run`", .path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon is another user's.
    #[error("permission denied on {}; run the command as the daemon's user or as root", .path.display())]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// No answer in time.
    #[error("the daemon did not answer within {0:?}; its log may say why")]
    Timeout(Duration),
    /// The answer is larger than we read.
    #[error("the daemon's answer exceeds {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Another version's daemon.
    #[error(
        "the daemon is homeostat {version} and speaks protocol {theirs}, this one speaks {ours}; restart the daemon with this version"
    )]
    Protocol {
        /// The daemon's version.
        version: String,
        /// The daemon's protocol.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// The daemon says no.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// The connection broke or the answer makes no sense.
    #[error("the daemon's answer broke off: {reason}; its log may say why")]
    Broken {
        /// What happened.
        reason: String,
    },
}

/// A client of one daemon. Each call is a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    deadline: Duration,
    holder: String,
}

impl Client {
    /// Reaches the daemon and agrees on the protocol. `deadline` holds for each later call too,
    /// for a stream until its head.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] when there is no daemon.
    pub async fn connect(socket: &Path, deadline: Duration) -> Result<Self, ClientError> {
        let mut client = Self { socket: socket.to_owned(), deadline, holder: String::new() };
        let v: Version = client.get("/api/v1/version").await?;
        if v.protocol != PROTOCOL {
            return Err(ClientError::Protocol {
                version: v.version,
                theirs: v.protocol,
                ours: PROTOCOL,
            });
        }
        client.holder = v.holder;
        Ok(client)
    }

    /// The daemon as the holder of leases.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Reads a JSON answer of at most 16 MiB.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let call = async {
            let mut answer = self.send(Method::GET, path, Bytes::new()).await?;
            let body = answer.whole(BODY_LIMIT).await?;
            serde_json::from_slice(&body).map_err(broken)
        };
        tokio::time::timeout(self.deadline, call)
            .await
            .unwrap_or(Err(ClientError::Timeout(self.deadline)))
    }

    /// Asks the daemon to converge a stack.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn apply(
        &self,
        stack: &str,
        request: &Wanted,
    ) -> Result<ProgressStream, ClientError> {
        self.command(&format!("/api/v1/stacks/{}/apply", segment(stack)), request).await
    }

    /// Asks the daemon what it would do to a stack.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn plan(&self, stack: &str, request: &Wanted) -> Result<ProgressStream, ClientError> {
        self.command(&format!("/api/v1/stacks/{}/plan", segment(stack)), request).await
    }

    /// Asks the daemon to leave services of a stack, or all of it, alone.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn pause(
        &self,
        stack: &str,
        request: &Wanted,
    ) -> Result<ProgressStream, ClientError> {
        self.command(&format!("/api/v1/stacks/{}/pause", segment(stack)), request).await
    }

    /// Asks the daemon to end holds of a stack.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn resume(
        &self,
        stack: &str,
        request: &Wanted,
    ) -> Result<ProgressStream, ClientError> {
        self.command(&format!("/api/v1/stacks/{}/resume", segment(stack)), request).await
    }

    /// Asks the daemon to look at a stack again.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn reconcile(&self, stack: &str) -> Result<ProgressStream, ClientError> {
        self.command(&format!("/api/v1/stacks/{}/reconcile", segment(stack)), &()).await
    }

    /// Says a person's word about an incident.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Refused`] where none of this ID is open.
    pub async fn incident(
        &self,
        id: &str,
        word: &IncidentWord,
    ) -> Result<ProgressStream, ClientError> {
        self.command(&format!("/api/v1/incidents/{}", segment(id)), word).await
    }

    async fn command(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<ProgressStream, ClientError> {
        let body = Bytes::from(serde_json::to_vec(body).map_err(broken)?);
        let answer = tokio::time::timeout(self.deadline, self.send(Method::POST, path, body))
            .await
            .unwrap_or(Err(ClientError::Timeout(self.deadline)))?;
        Ok(ProgressStream { answer, read: BytesMut::new(), ended: false })
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| self.unreachable(&e))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(broken)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let mut answer = Answer { body: response.into_body(), _connection: connection };
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.whole(LINE_LIMIT).await?;
        Err(ClientError::Refused(serde_json::from_slice(&body).unwrap_or_else(|_| {
            let status = StatusCode::from_u16(status.as_u16()).unwrap_or_default();
            Problem::new(status, format!("the daemon answered {status}"))
        })))
    }

    fn unreachable(&self, error: &io::Error) -> ClientError {
        let path = self.socket.clone();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { path }
            }
            io::ErrorKind::PermissionDenied => ClientError::Permission { path },
            _ => broken(error),
        }
    }
}

/// A command's progress, line by line.
#[derive(Debug)]
pub struct ProgressStream {
    answer: Answer,
    read: BytesMut,
    ended: bool,
}

impl ProgressStream {
    /// The next line; `None` after the last.
    ///
    /// # Errors
    /// Silence for 30 s, a line above 4 MiB, or an end without a result.
    pub async fn next(&mut self) -> Result<Option<Progress>, ClientError> {
        while !self.ended {
            while let Some(end) = self.read.iter().position(|b| *b == b'\n') {
                let line = self.read.split_to(end + 1);
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let progress: Progress = serde_json::from_slice(&line).map_err(broken)?;
                self.ended = Progress::is_last(&progress);
                return Ok(Some(progress));
            }
            if self.read.len() > LINE_LIMIT {
                return Err(ClientError::TooLarge { limit: LINE_LIMIT });
            }
            match tokio::time::timeout(SILENCE, self.answer.chunk()).await {
                Err(_) => return Err(ClientError::Timeout(SILENCE)),
                Ok(Err(error)) => return Err(error),
                Ok(Ok(Some(chunk))) => self.read.extend_from_slice(&chunk),
                Ok(Ok(None)) => {
                    return Err(ClientError::Broken { reason: "it ended without a result".into() });
                }
            }
        }
        Ok(None)
    }
}

#[derive(Debug)]
struct Answer {
    body: Incoming,
    _connection: AbortOnDropHandle<()>,
}

impl Answer {
    async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    async fn whole(&mut self, limit: usize) -> Result<BytesMut, ClientError> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > limit {
                return Err(ClientError::TooLarge { limit });
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }
}

fn broken(error: impl std::fmt::Display) -> ClientError {
    ClientError::Broken { reason: error.to_string() }
}

/// A stack's name as one path segment: everything but unreserved characters is escaped.
fn segment(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
