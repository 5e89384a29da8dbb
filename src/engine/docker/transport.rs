//! HTTP/1.1 to the engine: a small pool of connections, deadlines over the whole answer, limits
//! on its size, and faults sorted by what the caller must do next.
//!
//! # Guarantees
//! - A request is sent twice only if the first never left this process, or if it is a read on a
//!   pooled connection that broke before any byte of an answer.
//! - A failure to connect is never an uncertain outcome.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::connect::{Dialler, SshWords};
use super::endpoint::{Address, Endpoint};
use super::faults::{broken, refused, status_fault};
use crate::engine::Fault;

/// Idle connections that are kept.
const IDLE: usize = 8;
/// Reads at the same time; more wait. Writes never wait behind reads.
const READS: usize = 32;
/// Reads at the same time over ssh, where each connection is a process on both sides and
/// `sshd` refuses bursts (`MaxStartups`).
const SSH_READS: usize = 4;
/// Largest buffer of a connection, and so the limit on an answer's headers.
const BUFFER: usize = 64 * 1024;
/// Bytes read of an answer that is an error.
const ERROR_LIMIT: usize = 64 * 1024;

type Sender = SendRequest<Full<Bytes>>;

/// One request.
#[derive(Clone)]
pub(super) struct Call {
    pub method: Method,
    /// Path and query, with the version already in it.
    pub path: String,
    /// Method and path with placeholders, for messages.
    pub name: &'static str,
    pub body: Option<Bytes>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Time for the whole answer; for a stream, until its first bytes.
    pub deadline: Duration,
    /// Largest answer in bytes.
    pub limit: usize,
}

impl Call {
    /// A read.
    pub fn get(name: &'static str, path: String, deadline: Duration, limit: usize) -> Self {
        let method = Method::GET;
        Self { method, path, name, body: None, headers: Vec::new(), deadline, limit }
    }

    fn is_read(&self) -> bool {
        self.method == Method::GET
    }

    fn request(&self, authority: &str) -> Result<Request<Full<Bytes>>, Fault> {
        let mut builder = Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header(HOST, authority)
            .header("user-agent", concat!("homeostat/", env!("CARGO_PKG_VERSION")));
        if self.body.is_some() {
            builder = builder.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        let body = Full::new(self.body.clone().unwrap_or_default());
        builder.body(body).map_err(|e| Fault::Rejected {
            call: self.name.into(),
            status: 400,
            message: format!("the request can't be written: {e}"),
        })
    }
}

/// A whole answer.
pub(super) struct Answer {
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An answer whose body is read piece by piece. Dropping it closes its connection.
pub(super) struct Streaming {
    body: Incoming,
    name: &'static str,
    _sender: Sender,
}

impl Streaming {
    /// The next piece; `None` at the end. `stall` limits the silence before it.
    pub async fn next(&mut self, stall: Option<Duration>) -> Option<Result<Bytes, Fault>> {
        loop {
            let frame = match stall {
                None => self.body.frame().await?,
                Some(after) => match timeout(after, self.body.frame()).await {
                    Ok(frame) => frame?,
                    Err(_) => return Some(Err(Fault::Timeout { call: self.name.into(), after })),
                },
            };
            match frame {
                Err(e) => return Some(Err(broken(self.name, &e))),
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
            }
        }
    }
}

impl Streaming {
    /// What the pieces mean. `take` is given each piece, and `None` at the end; its fault, or the
    /// body's, is the last item.
    pub fn items<T: Send + 'static>(
        self,
        take: impl FnMut(Option<Bytes>) -> Result<Vec<T>, Fault> + Send + 'static,
    ) -> BoxStream<'static, Result<T, Fault>> {
        let state = (self, take, Vec::new().into_iter(), false);
        stream::unfold(state, |(mut body, mut take, mut ready, mut over)| async move {
            loop {
                if let Some(item) = ready.next() {
                    return Some((Ok(item), (body, take, ready, over)));
                }
                if over {
                    return None;
                }
                let taken = match body.next(None).await {
                    Some(piece) => piece.and_then(|piece| take(Some(piece))),
                    None => {
                        over = true;
                        take(None)
                    }
                };
                match taken {
                    Ok(items) => ready = items.into_iter(),
                    Err(fault) => return Some((Err(fault), (body, take, ready, true))),
                }
            }
        })
        .boxed()
    }
}

/// Connections to one engine.
pub(super) struct Transport {
    dialler: Dialler,
    authority: String,
    idle: Mutex<Vec<Sender>>,
    reads: Semaphore,
}

impl Transport {
    pub fn new(endpoint: Endpoint) -> Result<Self, Fault> {
        Ok(Self::with(Dialler::new(endpoint)?))
    }

    pub fn with(dialler: Dialler) -> Self {
        let ssh = matches!(dialler.endpoint().address, Address::Ssh { .. });
        Self {
            authority: dialler.authority(),
            dialler,
            idle: Mutex::new(Vec::new()),
            reads: Semaphore::new(if ssh { SSH_READS } else { READS }),
        }
    }

    pub fn endpoint(&self) -> &Endpoint {
        self.dialler.endpoint()
    }

    /// Sends `call` and reads its whole answer. 2xx and 304 are answers, all else is a fault.
    pub async fn call(&self, call: &Call) -> Result<Answer, Fault> {
        let late = || Fault::Timeout { call: call.name.into(), after: call.deadline };
        let _permit = if call.is_read() {
            Some(timeout(call.deadline, self.reads.acquire()).await.map_err(|_| late())?)
        } else {
            None
        };
        let mut pooled = self.take_idle().await;
        loop {
            let fresh = pooled.is_none();
            let sender = match pooled {
                Some(sender) => sender,
                None => self.open().await?,
            };
            match timeout(call.deadline, self.exchange(sender, call, fresh)).await {
                Err(_) => return Err(late()),
                Ok(Exchange::Done(answer)) => return answer,
                Ok(Exchange::Again) => pooled = self.take_idle().await,
            }
        }
    }

    /// The same on a connection that is opened for it: whoever listens there accepts new ones.
    pub async fn call_anew(&self, call: &Call) -> Result<Answer, Fault> {
        let exchange = async {
            let sender = self.open().await?;
            match self.exchange(sender, call, true).await {
                Exchange::Done(answer) => answer,
                // Only what was in the pool is tried again.
                Exchange::Again => Err(Fault::Interrupted {
                    call: call.name.into(),
                    reason: "the connection closed before an answer".into(),
                }),
            }
        };
        timeout(call.deadline, exchange).await.unwrap_or_else(|_| {
            Err(Fault::Timeout { call: call.name.into(), after: call.deadline })
        })
    }

    /// Sends `call` on a connection of its own and hands its body over as it comes.
    pub async fn stream(&self, call: &Call) -> Result<Streaming, Fault> {
        let mut sender = self.open().await?;
        let request = call.request(&self.authority)?;
        let started = async {
            let response = sender.send_request(request).await.map_err(|e| broken(call.name, &e))?;
            if response.status().is_success() {
                return Ok(response);
            }
            let (head, body) = response.into_parts();
            let (body, _) = read_body(call, body, ERROR_LIMIT, true).await?;
            Err(status_fault(call.name, head.status, &head.headers, &body))
        };
        match timeout(call.deadline, started).await {
            Ok(response) => {
                Ok(Streaming { body: response?.into_body(), name: call.name, _sender: sender })
            }
            Err(_) => Err(Fault::Timeout { call: call.name.into(), after: call.deadline }),
        }
    }

    /// One request and its whole answer on `sender`.
    async fn exchange(&self, mut sender: Sender, call: &Call, fresh: bool) -> Exchange {
        let request = match call.request(&self.authority) {
            Ok(request) => request,
            Err(fault) => return Exchange::Done(Err(fault)),
        };
        let response = match sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut failed) => {
                let unsent = failed.take_message().is_some();
                let silent = failed.error().is_incomplete_message() || is_io(failed.error());
                return if !fresh && (unsent || (call.is_read() && silent)) {
                    Exchange::Again
                } else if unsent {
                    Exchange::Done(Err(self.dialler.unreachable(failed.error().to_string())))
                } else {
                    Exchange::Done(Err(broken(call.name, failed.error())))
                };
            }
        };
        Exchange::Done(self.finish(sender, call, response).await)
    }

    /// Reads the body and puts the connection back.
    async fn finish(
        &self,
        sender: Sender,
        call: &Call,
        response: Response<Incoming>,
    ) -> Result<Answer, Fault> {
        let (head, body) = response.into_parts();
        let good = head.status.is_success() || head.status == StatusCode::NOT_MODIFIED;
        let (limit, cut) = if good { (call.limit, false) } else { (ERROR_LIMIT, true) };
        let (body, complete) = read_body(call, body, limit, cut).await?;
        if complete && !sender.is_closed() {
            self.put_idle(sender);
        }
        if good {
            Ok(Answer { headers: head.headers, body })
        } else {
            Err(status_fault(call.name, head.status, &head.headers, &body))
        }
    }

    /// A pooled connection that still looks alive.
    async fn take_idle(&self) -> Option<Sender> {
        loop {
            let mut sender = self.idle.lock().ok()?.pop()?;
            // Its last body was read to the end, so this waits for one poll of its task at most.
            if !sender.is_closed() && sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    fn put_idle(&self, sender: Sender) {
        if let Ok(mut idle) = self.idle.lock()
            && idle.len() < IDLE
        {
            idle.push(sender);
        }
    }

    /// A fresh connection.
    async fn open(&self) -> Result<Sender, Fault> {
        let dialled = self.dialler.dial().await?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(dialled.stream))
            .await
            .map_err(|e| self.dialler.unreachable(e.to_string()))?;
        // It ends when both its sender and its body are dropped, or when the engine hangs up;
        // its error reaches whoever waits for the answer.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        if let Some(words) = dialled.ssh {
            self.greet(&mut sender, &words).await?;
        }
        Ok(sender)
    }

    /// Proves that ssh reached an engine, so that a write's failure to get there isn't mistaken
    /// for an unknown outcome.
    async fn greet(&self, sender: &mut Sender, words: &SshWords) -> Result<(), Fault> {
        let call = Call::get("GET /_ping", "/_ping".into(), self.dialler.patience(), 1024);
        let request = call.request(&self.authority)?;
        let greeted = timeout(call.deadline, async {
            let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
            response.into_body().collect().await.map_err(|e| e.to_string())?;
            sender.ready().await.map_err(|e| e.to_string())
        });
        let reason = match greeted.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(reason)) => reason,
            Err(_) => format!("ssh gave no answer within {:?}", call.deadline),
        };
        let said = words.lock().map(|w| String::from_utf8_lossy(&w).into_owned());
        let said = refused(said.unwrap_or_default().as_bytes());
        Err(self.dialler.unreachable(if said.is_empty() { reason } else { said }))
    }
}

/// How one exchange went.
enum Exchange {
    Done(Result<Answer, Fault>),
    /// The pooled connection was stale: nothing happened, take another.
    Again,
}

fn is_io(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(|e| e.is::<std::io::Error>())
}

/// Reads a body up to `limit`; beyond it, cuts it or fails. Tells whether it was read to its end.
async fn read_body(
    call: &Call,
    mut body: Incoming,
    limit: usize,
    cut: bool,
) -> Result<(Bytes, bool), Fault> {
    let too_large = || Fault::TooLarge { call: call.name.into(), limit };
    let announced = body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
    if !cut && announced.is_some_and(|size| size > limit) {
        return Err(too_large());
    }
    let mut whole = BytesMut::with_capacity(announced.unwrap_or(0).min(limit));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|e| broken(call.name, &e))?.into_data() else { continue };
        let room = limit - whole.len();
        if data.len() > room {
            if !cut {
                return Err(too_large());
            }
            whole.extend_from_slice(&data[..room]);
            return Ok((whole.freeze(), false));
        }
        whole.extend_from_slice(&data);
    }
    Ok((whole.freeze(), true))
}

/// A shared transport.
pub(super) type SharedTransport = Arc<Transport>;
