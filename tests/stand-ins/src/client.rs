//! The little that a healthcheck or the bot needs of HTTP and RESP clients.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MAX_ANSWER: u64 = 64 * 1024;

/// The parts of `scheme://host[:port][/path]`.
#[derive(Debug, PartialEq, Eq)]
pub struct Url<'a> {
    pub scheme: &'a str,
    /// Host with port.
    pub authority: String,
    /// Path with query, `/` at least.
    pub path: &'a str,
}

/// Splits a URL, filling in the scheme's port.
pub fn split(url: &str) -> Result<Url<'_>, String> {
    let (scheme, rest) = url.split_once("://").ok_or(format!("'{url}' has no scheme://"))?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    let port = match scheme {
        "http" => 80,
        "redis" | "valkey" => 6379,
        "tcp" => 0,
        _ => return Err(format!("scheme '{scheme}' is not known: use http, redis or tcp")),
    };
    let has_port = authority.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok());
    if !has_port && port == 0 {
        return Err(format!("'{url}' needs a port"));
    }
    let authority = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
    Ok(Url { scheme, authority, path })
}

async fn exchange(
    authority: &str,
    request: &[u8],
    until: fn(&[u8]) -> bool,
) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(authority).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    let mut limited = stream.take(MAX_ANSWER);
    while !until(&answer) && limited.read_buf(&mut answer).await? > 0 {}
    Ok(answer)
}

fn has_line(answer: &[u8]) -> bool {
    answer.contains(&b'\n')
}

/// Sends one request and reads the whole answer: status and what follows the headers.
pub async fn request(method: &str, url: &Url<'_>, body: &str) -> Result<(u16, String), String> {
    let text = format!(
        "{method} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        url.path,
        url.authority,
        body.len()
    );
    let answer = exchange(&url.authority, text.as_bytes(), |_| false)
        .await
        .map_err(|error| format!("{}: {error}", url.authority))?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status.ok_or(format!("{}: not an HTTP answer", url.authority))?, body.to_owned()))
}

/// Checks an address: `http` wants a status below 400, `redis` a PONG, `tcp` a connection.
pub async fn check(address: &str, limit: Duration) -> Result<(), String> {
    let url = split(address)?;
    let checked = async {
        match url.scheme {
            "http" => match request("GET", &url, "").await? {
                (status, _) if status < 400 => Ok(()),
                (status, _) => Err(format!("{address}: HTTP {status}")),
            },
            "tcp" => match TcpStream::connect(&url.authority).await {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("{address}: {error}")),
            },
            _ => match exchange(&url.authority, b"PING\r\n", has_line).await {
                Ok(answer) if answer.starts_with(b"+PONG") => Ok(()),
                Ok(answer) => {
                    Err(format!("{address}: {}", String::from_utf8_lossy(&answer).trim()))
                }
                Err(error) => Err(format!("{address}: {error}")),
            },
        }
    };
    let outcome = tokio::time::timeout(limit, checked).await;
    outcome.unwrap_or_else(|_| Err(format!("{address}: no answer in {} s", limit.as_secs_f32())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_get_their_default_port_and_path() {
        let url = split("http://chromadb:8000/api?limit=1").unwrap();
        assert_eq!((url.authority.as_str(), url.path), ("chromadb:8000", "/api?limit=1"));
        let url = split("redis://:secret@valkey").unwrap();
        assert_eq!((url.authority.as_str(), url.path), ("valkey:6379", "/"));
        assert!(split("valkey:6379").is_err());
        assert!(split("tcp://valkey").is_err());
    }
}
