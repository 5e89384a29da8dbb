//! HTTP/1.1 framing, as far as a proxy needs it: where a head and a body end.
//!
//! Bodies are decoded and encoded again, so that a fault can be placed at an exact byte or line.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// Longest head that is read, in bytes.
const HEAD_LIMIT: usize = 256 * 1024;
/// Longest chunk-size line that is read, in bytes.
const CHUNK_LINE_LIMIT: usize = 1024;

/// A request's or response's first line and headers.
#[derive(Debug, Clone)]
pub struct Head {
    /// Request or status line.
    pub first: String,
    /// Headers in their order, as written.
    pub headers: Vec<(String, String)>,
}

/// How a body's end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    Empty,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Ends with the connection.
    UntilClose,
}

fn bad(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_owned())
}

async fn read_line<R: AsyncBufRead + Unpin>(r: &mut R, limit: usize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    (&mut *r).take(limit as u64).read_until(b'\n', &mut line).await?;
    if line.len() >= limit && !line.ends_with(b"\n") {
        return Err(bad("line too long"));
    }
    Ok(line)
}

impl Head {
    /// Reads a head; `None` when the peer closed before its first byte.
    pub async fn read<R: AsyncBufRead + Unpin>(r: &mut R) -> io::Result<Option<Self>> {
        let mut left = HEAD_LIMIT;
        let mut lines = Vec::new();
        loop {
            let line = read_line(r, left).await?;
            if line.is_empty() {
                return if lines.is_empty() { Ok(None) } else { Err(bad("head cut short")) };
            }
            left = left.saturating_sub(line.len()).max(1);
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            if !text.is_empty() {
                lines.push(text);
            } else if !lines.is_empty() {
                break;
            }
        }
        let first = lines.remove(0);
        let headers = lines
            .iter()
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.to_owned(), v.trim().to_owned()))
            .collect();
        Ok(Some(Self { first, headers }))
    }

    /// The first value of a header, by name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Drops a header.
    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    /// The head's bytes, blank line included.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = format!("{}\r\n", self.first);
        for (name, value) in &self.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        out.push_str("\r\n");
        out.into_bytes()
    }

    /// Status of a response head; 0 when the line has none.
    pub fn status(&self) -> u16 {
        self.first.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    /// Method and target of a request head.
    pub fn request(&self) -> io::Result<(&str, &str)> {
        let mut words = self.first.split(' ');
        match (words.next(), words.next()) {
            (Some(method), Some(target)) => Ok((method, target)),
            _ => Err(bad("no request line")),
        }
    }

    /// Whether the connection changes its protocol or is asked to.
    pub fn upgrades(&self) -> bool {
        self.header("upgrade").is_some()
    }

    /// Framing of a request's body.
    pub fn request_framing(&self) -> io::Result<Framing> {
        self.framing(Framing::Empty)
    }

    /// Framing of a response's body to a request by `method`.
    pub fn response_framing(&self, method: &str) -> io::Result<Framing> {
        match self.status() {
            _ if method == "HEAD" => Ok(Framing::Empty),
            204 | 304 => Ok(Framing::Empty),
            _ => self.framing(Framing::UntilClose),
        }
    }

    fn framing(&self, otherwise: Framing) -> io::Result<Framing> {
        if self.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            return Ok(Framing::Chunked);
        }
        match self.header("content-length") {
            Some("0") => Ok(Framing::Empty),
            Some(n) => n.parse().map(Framing::Length).map_err(|_| bad("bad content-length")),
            None => Ok(otherwise),
        }
    }
}

/// Reads a body piece by piece.
#[derive(Debug)]
pub struct Body {
    framing: Framing,
    /// Bytes left of the body or of the present chunk.
    left: u64,
    done: bool,
}

impl Body {
    /// A body at its first byte.
    pub const fn new(framing: Framing) -> Self {
        let left = match framing {
            Framing::Length(n) => n,
            _ => 0,
        };
        Self { framing, left, done: matches!(framing, Framing::Empty) }
    }

    /// The next bytes as they come; `None` at the body's end.
    pub async fn next<R: AsyncBufRead + Unpin>(
        &mut self,
        r: &mut R,
    ) -> io::Result<Option<Vec<u8>>> {
        if self.done {
            return Ok(None);
        }
        if self.framing == Framing::Chunked && self.left == 0 {
            let line = read_line(r, CHUNK_LINE_LIMIT).await?;
            let text = String::from_utf8_lossy(&line);
            let digits = text.split(';').next().unwrap_or("").trim();
            self.left = u64::from_str_radix(digits, 16).map_err(|_| bad("bad chunk size"))?;
            if self.left == 0 {
                // Trailers end with a blank line.
                while !matches!(read_line(r, HEAD_LIMIT).await?.as_slice(), b"\r\n" | b"\n" | b"") {
                }
                self.done = true;
                return Ok(None);
            }
        }
        let available = r.fill_buf().await?;
        if available.is_empty() {
            return if self.framing == Framing::UntilClose {
                self.done = true;
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        let n = match self.framing {
            Framing::UntilClose => available.len(),
            _ => available.len().min(usize::try_from(self.left).unwrap_or(usize::MAX)),
        };
        let piece = available[..n].to_vec();
        r.consume(n);
        self.left = self.left.saturating_sub(n as u64);
        if self.left == 0 {
            match self.framing {
                Framing::Chunked => {
                    read_line(r, CHUNK_LINE_LIMIT).await?;
                }
                Framing::Length(_) => self.done = true,
                Framing::Empty | Framing::UntilClose => {}
            }
        }
        Ok(Some(piece))
    }

    /// The whole body, refused beyond `limit` bytes.
    pub async fn read_all<R: AsyncBufRead + Unpin>(
        &mut self,
        r: &mut R,
        limit: usize,
    ) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.next(r).await? {
            all.extend_from_slice(&piece);
            if all.len() > limit {
                return Err(bad("body too long"));
            }
        }
        Ok(all)
    }
}

/// Puts a piece of a body into its framing.
pub fn encode(framing: Framing, piece: &[u8]) -> Vec<u8> {
    if framing != Framing::Chunked || piece.is_empty() {
        return piece.to_vec();
    }
    let mut out = format!("{:x}\r\n", piece.len()).into_bytes();
    out.extend_from_slice(piece);
    out.extend_from_slice(b"\r\n");
    out
}

/// What ends a body in this framing.
pub const fn end(framing: Framing) -> &'static [u8] {
    match framing {
        Framing::Chunked => b"0\r\n\r\n",
        _ => b"",
    }
}
