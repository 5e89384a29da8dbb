//! One `GET` over one connection: no proxy, no redirects, no reuse, bounded head and body.

use std::convert::Infallible;
use std::future::{Future, pending};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::probe::connect::ExchangeFault;
use crate::probe::{Outcome, reason};
use crate::sensitive::Sensitive;

/// Most bytes of a body, where a driver doesn't say otherwise.
pub(super) const BODY_LIMIT: usize = 256 << 10;
/// Most bytes of a response's head.
const HEAD_LIMIT: usize = 32 << 10;

/// What to ask for.
pub(super) struct Get<'a> {
    /// `host:port`.
    pub host: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// `Authorization`.
    pub authorization: Option<&'a Sensitive<String>>,
    /// Most bytes of the body.
    pub limit: usize,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// Status code.
    pub status: StatusCode,
    /// Body, up to the limit.
    pub body: Vec<u8>,
    /// The body goes on beyond the limit.
    pub truncated: bool,
}

impl Reply {
    /// The whole body.
    pub fn whole(&self) -> Result<&[u8], ExchangeFault> {
        if self.truncated {
            return Err(ExchangeFault::TooLarge(self.body.len()));
        }
        Ok(&self.body)
    }

    /// What a status means that no driver needs to look at: refused credentials.
    pub fn unauthorized(&self) -> Option<Outcome> {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN).then(|| {
            Outcome::unknown(
                reason::CREDENTIAL_MISSING,
                format!(
                    "it answers {}: give its credentials in `auth.tokenFile`, or in \
                     `auth.usernameFile` and `auth.passwordFile`",
                    self.status.as_u16()
                ),
            )
        })
    }
}

/// Sends the request and reads the answer. The caller keeps the time.
///
/// # Errors
/// [`ExchangeFault::Closed`] or [`ExchangeFault::Garbage`]; a long body is cut, not an error.
pub(super) async fn get(stream: TcpStream, get: Get<'_>) -> Result<Reply, ExchangeFault> {
    let mut request = Request::get(get.path)
        .header(HOST, get.host)
        .header(USER_AGENT, concat!("homeostat/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| ExchangeFault::Garbage)?;
    if let Some(value) = get.authorization {
        let mut value =
            HeaderValue::from_str(value.expose()).map_err(|_| ExchangeFault::Garbage)?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_LIMIT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| fault(&e))?;
    let exchange = async move {
        let mut response = sender.send_request(request).await.map_err(|e| fault(&e))?;
        let mut reply = Reply { status: response.status(), body: Vec::new(), truncated: false };
        while let Some(frame) = response.body_mut().frame().await {
            let Ok(data) = frame.map_err(|e| fault(&e))?.into_data() else { continue };
            let room = get.limit - reply.body.len();
            reply.body.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                reply.truncated = true;
                break;
            }
        }
        Ok(reply)
    };
    with_connection(exchange, connection).await
}

/// Drives the connection beside the exchange, in this task; what it buffered outlives it.
async fn with_connection<T>(
    exchange: impl Future<Output = T>,
    connection: impl Future<Output = hyper::Result<()>>,
) -> T {
    let drive = async {
        // Its error comes out of the exchange too.
        let _ = connection.await;
        pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        done = exchange => done,
        never = drive => match never {},
    }
}

fn fault(error: &hyper::Error) -> ExchangeFault {
    if error.is_parse() { ExchangeFault::Garbage } else { ExchangeFault::Closed }
}
