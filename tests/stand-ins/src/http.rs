//! HTTP/1.1 messages: requests read within limits, responses written as the real servers write
//! them, header order and case included.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;

const MAX_LINE: u64 = 8 * 1024;
const MAX_HEADERS: usize = 64;
/// The largest request body that is read.
pub const MAX_BODY: usize = 32 * 1024 * 1024;

/// Whose habits a response follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavour {
    /// Go's net/http: `Date` before the length, long bodies chunked.
    Go,
    /// Python's aiohttp: length, `Date`, `Server`.
    Aiohttp,
}

/// A request, completely read.
#[derive(Debug, Default, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the client keeps the connection for another request.
    pub keep_alive: bool,
}

impl Request {
    /// The first header of that name, case ignored.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The value of a query parameter, undecoded.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Why a request could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// The client closed the connection between requests, or the socket failed.
    Gone,
    /// The request is refused with this status, and the connection closed.
    Refused(u16),
}

impl From<io::Error> for ReadError {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

async fn line<R: AsyncRead + Unpin>(reader: &mut BufReader<R>) -> Result<String, ReadError> {
    let mut bytes = Vec::new();
    reader.take(MAX_LINE).read_until(b'\n', &mut bytes).await?;
    if bytes.pop() != Some(b'\n') {
        let full = bytes.len() + 1 >= MAX_LINE as usize;
        return Err(if full { ReadError::Refused(431) } else { ReadError::Gone });
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| ReadError::Refused(400))
}

/// Reads one request. `writer` gets `100 Continue` where the client waits for it.
pub async fn read_request<R, W>(
    reader: &mut BufReader<R>,
    writer: &mut W,
) -> Result<Request, ReadError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let first = line(reader).await?;
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(ReadError::Refused(400));
    };
    if !version.starts_with("HTTP/1.") {
        return Err(ReadError::Refused(505));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        ..Request::default()
    };
    loop {
        let text = line(reader).await?;
        if text.is_empty() {
            break;
        }
        if request.headers.len() == MAX_HEADERS {
            return Err(ReadError::Refused(431));
        }
        let (name, value) = text.split_once(':').ok_or(ReadError::Refused(400))?;
        request.headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let connection = request.header("connection").unwrap_or_default().to_ascii_lowercase();
    request.keep_alive =
        if version == "HTTP/1.0" { connection == "keep-alive" } else { connection != "close" };
    if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    request.body = read_body(reader, &request).await?;
    Ok(request)
}

async fn read_body<R: AsyncRead + Unpin>(
    reader: &mut BufReader<R>,
    request: &Request,
) -> Result<Vec<u8>, ReadError> {
    let chunked =
        request.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
    let length = match request.header("content-length") {
        // Both together is how requests are smuggled.
        Some(_) if chunked => return Err(ReadError::Refused(400)),
        Some(text) => text.parse().map_err(|_| ReadError::Refused(400))?,
        None => 0,
    };
    let mut body = Vec::new();
    if !chunked {
        read_exactly(reader, length, &mut body).await?;
        return Ok(body);
    }
    loop {
        let size = line(reader).await?;
        let digits = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).map_err(|_| ReadError::Refused(400))?;
        if size == 0 {
            while !line(reader).await?.is_empty() {}
            return Ok(body);
        }
        read_exactly(reader, size, &mut body).await?;
        line(reader).await?;
    }
}

async fn read_exactly<R: AsyncRead + Unpin>(
    reader: &mut BufReader<R>,
    length: usize,
    body: &mut Vec<u8>,
) -> Result<(), ReadError> {
    if length > MAX_BODY - body.len() {
        return Err(ReadError::Refused(413));
    }
    let start = body.len();
    body.resize(start + length, 0);
    reader.read_exact(&mut body[start..]).await?;
    Ok(())
}

/// What follows a response's head.
pub enum Body {
    Full(Vec<u8>),
    /// Sent chunk by chunk as it comes.
    Stream(mpsc::Receiver<Vec<u8>>),
}

/// A response, before its `Date`, length and connection headers.
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Body,
    /// Whether the server ends the connection after it.
    pub close: bool,
}

impl Response {
    /// A response with a content type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", content_type.to_owned())],
            body: Body::Full(body.into()),
            close: false,
        }
    }

    /// JSON text.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, "application/json; charset=utf-8", body)
    }

    /// No body and no content type.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Full(Vec::new()), close: false }
    }

    /// Status 200 with a body that comes in chunks.
    pub fn stream(content_type: &str, chunks: mpsc::Receiver<Vec<u8>>) -> Self {
        Self { body: Body::Stream(chunks), ..Self::new(200, content_type, "") }
    }

    /// Whether the body goes out in chunks: Go does so past its buffer of 2,048 bytes.
    pub fn chunked(&self, flavour: Flavour) -> bool {
        match &self.body {
            Body::Full(bytes) => flavour == Flavour::Go && bytes.len() > 2_048,
            Body::Stream(_) => true,
        }
    }

    /// The status line and the headers, in the order of `flavour`, with the blank line.
    pub fn head(&self, flavour: Flavour, date: &str, keep_alive: bool) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let mut push = |name: &str, value: &str| {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        };
        for (name, value) in &self.headers {
            push(name, value);
        }
        let close = self.close || !keep_alive;
        let length = match &self.body {
            Body::Full(bytes) if !self.chunked(flavour) => Some(bytes.len().to_string()),
            _ => None,
        };
        let (name, value) = match &length {
            Some(length) => ("Content-Length", length.as_str()),
            None => ("Transfer-Encoding", "chunked"),
        };
        if flavour == Flavour::Go {
            push("Date", date);
            // Go writes `Connection` between a length and an encoding.
            if length.is_none() && close {
                push("Connection", "close");
            }
            push(name, value);
            if length.is_some() && close {
                push("Connection", "close");
            }
        } else {
            push(name, value);
            push("Date", date);
            push("Server", "Python/3.11 aiohttp/3.14.5");
            if close {
                push("Connection", "close");
            }
        }
        head.push_str("\r\n");
        head
    }
}

/// The standard phrase of a status.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Request Entity Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}
