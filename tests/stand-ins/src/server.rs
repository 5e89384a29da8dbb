//! The server loop: accepts, lets faults happen, answers; and the admin endpoint beside it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::clock;
use crate::faults::{Faults, Verdict};
use crate::http::{Body, Flavour, ReadError, Request, Response, read_request};

/// An idle connection is closed after this time.
const IDLE: Duration = Duration::from_secs(120);

/// A boxed answer to come.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Response> + Send + 'a>>;

/// One of the services that are stood in for.
pub trait Service: Send + Sync + 'static {
    /// Whose HTTP habits it has.
    fn flavour(&self) -> Flavour;

    /// Answers a request. Dropped when the client goes away.
    fn answer<'a>(&'a self, request: &'a Request) -> Answer<'a>;

    /// Carries out an admin verb of its own: `None` if it hasn't that verb.
    fn admin(&self, _verb: &str, _body: &[u8]) -> Option<Result<Value, String>> {
        None
    }

    /// What the admin endpoint shows of it.
    fn state(&self) -> Value {
        Value::Null
    }

    /// Undoes what admin verbs did.
    fn reset(&self) {}
}

/// Serves until the process ends. While connections are refused the port is closed, and so are the
/// connections that were open.
pub async fn serve(address: &str, service: Arc<dyn Service>, faults: Arc<Faults>) -> io::Error {
    loop {
        faults.until_refusing(false).await;
        let listener = match TcpListener::bind(address).await {
            Ok(listener) => listener,
            Err(error) => return error,
        };
        tokio::select! {
            () = faults.until_refusing(true) => {}
            error = accept(&listener, &service, &faults) => return error,
        }
    }
}

async fn accept(
    listener: &TcpListener,
    service: &Arc<dyn Service>,
    faults: &Arc<Faults>,
) -> io::Error {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (service, faults) = (service.clone(), faults.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = faults.until_refusing(true) => {}
                        () = connection(stream, &*service, &faults) => {}
                    }
                });
            }
            // Out of descriptors: wait for some to come back.
            Err(error) if error.raw_os_error() == Some(24) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return error,
        }
    }
}

async fn connection(stream: TcpStream, service: &dyn Service, faults: &Faults) {
    let _ = stream.set_nodelay(true);
    let (read, mut write) = stream.into_split();
    let mut reader = BufReader::new(read);
    loop {
        let request = match tokio::time::timeout(IDLE, read_request(&mut reader, &mut write)).await
        {
            Ok(Ok(request)) => request,
            Ok(Err(ReadError::Refused(status))) => {
                let mut response = Response::new(status, "text/plain; charset=utf-8", "");
                response.close = true;
                let _ = send(&mut write, response, service.flavour(), &Request::default()).await;
                return;
            }
            Ok(Err(ReadError::Gone)) | Err(_) => return,
        };
        let answered = async {
            let response = match faults.meet(&request).await {
                Some(failure) => failure,
                None => service.answer(&request).await,
            };
            send(&mut write, response, service.flavour(), &request).await
        };
        // Work for a client that has gone is dropped; a client that sends ahead is still there.
        let alive = tokio::select! {
            sent = answered => sent.unwrap_or(false),
            () = gone(&mut reader) => false,
        };
        if !alive {
            return;
        }
    }
}

/// Resolves when the client has closed its side.
async fn gone<R: tokio::io::AsyncRead + Unpin>(reader: &mut BufReader<R>) {
    use tokio::io::AsyncBufReadExt;
    match reader.fill_buf().await {
        Ok(bytes) if !bytes.is_empty() => std::future::pending().await,
        _ => {}
    }
}

/// Writes a response; true if the connection can be used again.
async fn send<W: tokio::io::AsyncWrite + Unpin>(
    write: &mut W,
    response: Response,
    flavour: Flavour,
    request: &Request,
) -> io::Result<bool> {
    let head = response.head(flavour, &clock::http_date(clock::now()), request.keep_alive);
    let (chunked, close) = (response.chunked(flavour), response.close);
    let mut message = head.into_bytes();
    match response.body {
        _ if request.method == "HEAD" => {}
        Body::Full(body) if chunked => {
            message.extend_from_slice(&chunk(&body));
            message.extend_from_slice(b"0\r\n\r\n");
        }
        Body::Full(body) => message.extend_from_slice(&body),
        Body::Stream(mut chunks) => {
            write.write_all(&message).await?;
            message.clear();
            while let Some(piece) = chunks.recv().await {
                if !piece.is_empty() {
                    write.write_all(&chunk(&piece)).await?;
                }
            }
            message.extend_from_slice(b"0\r\n\r\n");
        }
    }
    write.write_all(&message).await?;
    write.flush().await?;
    Ok(request.keep_alive && !close)
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// The admin endpoint of a service: `GET /` shows state, `POST /VERB` injects.
pub struct Admin {
    pub service: Arc<dyn Service>,
    pub faults: Arc<Faults>,
}

impl Service for Admin {
    fn flavour(&self) -> Flavour {
        Flavour::Go
    }

    fn answer<'a>(&'a self, request: &'a Request) -> Answer<'a> {
        Box::pin(async move { self.respond(request) })
    }
}

impl Admin {
    fn respond(&self, request: &Request) -> Response {
        let verb = request.path.trim_matches('/');
        if request.method == "GET" && verb.is_empty() {
            return pretty(200, &self.shown());
        }
        if request.method != "POST" {
            return pretty(405, &json!({"error": "use GET / or POST /VERB"}));
        }
        match self.faults.admin(verb, &request.body) {
            Verdict::Done => {
                if verb == "reset" {
                    self.service.reset();
                }
                pretty(200, &self.shown())
            }
            Verdict::Exit(code) => {
                // The answer goes out first.
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    std::process::exit(code);
                });
                pretty(200, &json!({"exit": code}))
            }
            Verdict::Invalid(error) => pretty(400, &json!({"error": error})),
            Verdict::NotCommon => match self.service.admin(verb, &request.body) {
                Some(Ok(value)) => pretty(200, &value),
                Some(Err(error)) => pretty(400, &json!({"error": error})),
                None => pretty(404, &json!({"error": format!("no verb '{verb}' here")})),
            },
        }
    }

    fn shown(&self) -> Value {
        json!({"faults": self.faults.state(), "service": self.service.state()})
    }
}

fn pretty(status: u16, value: &Value) -> Response {
    Response::json(status, format!("{value:#}\n"))
}
