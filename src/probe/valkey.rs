//! Valkey and Redis. Any error reply proves that the server lives: only a connection that is
//! refused, closed or silent says that it is down. `PING` itself can answer `-LOADING`, `-BUSY`,
//! `-MISCONF`, `-NOAUTH`, `-ERR max number of clients reached` and more (seen on Valkey 8.1).

use redis::{Cmd, Value};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::probe::connect::ExchangeFault;
use crate::probe::credentials::Credentials;
use crate::probe::{Outcome, reason};

/// Most bytes of one reply: each is one line.
const LIMIT: u64 = 4096;

/// Asks `PING`, after `AUTH` where there is a password.
///
/// # Errors
/// [`ExchangeFault`]; the caller keeps the time.
pub(super) async fn ask(
    mut stream: TcpStream,
    credentials: &Credentials,
) -> Result<Outcome, ExchangeFault> {
    let mut request = Vec::new();
    if let Some(password) = &credentials.password {
        let mut auth = Cmd::new();
        auth.arg("AUTH");
        if let Some(username) = &credentials.username {
            auth.arg(username.expose());
        }
        auth.arg(password.expose());
        request.extend(auth.get_packed_command());
    }
    request.extend(redis::cmd("PING").get_packed_command());
    let (read, mut write) = stream.split();
    // A server with too many clients answers and closes before it reads: its answer counts, so
    // a failed write alone is none.
    let _ = write.write_all(&request).await;
    let mut read = BufReader::with_capacity(512, read);
    if credentials.password.is_some() {
        match reply(&mut read).await? {
            Value::ServerError(error) => return Ok(classify(error.code(), error.details())),
            Value::Okay => {}
            _ => return Err(ExchangeFault::Garbage),
        }
    }
    match reply(&mut read).await? {
        Value::SimpleString(pong) if pong == "PONG" => Ok(Outcome::ready()),
        Value::ServerError(error) => Ok(classify(error.code(), error.details())),
        _ => Err(ExchangeFault::Garbage),
    }
}

/// Reads one reply of one line.
async fn reply<R: tokio::io::AsyncRead + Unpin>(
    read: &mut BufReader<R>,
) -> Result<Value, ExchangeFault> {
    let mut line = Vec::new();
    read.take(LIMIT).read_until(b'\n', &mut line).await.map_err(|_| ExchangeFault::Closed)?;
    match line.first() {
        None => return Err(ExchangeFault::Closed),
        Some(b'+' | b'-') => {}
        Some(_) => return Err(ExchangeFault::Garbage),
    }
    if !line.ends_with(b"\r\n") {
        let fault = if line.len() as u64 == LIMIT {
            ExchangeFault::TooLarge(line.len())
        } else if line.ends_with(b"\n") {
            ExchangeFault::Garbage
        } else {
            ExchangeFault::Closed
        };
        return Err(fault);
    }
    redis::parse_redis_value(&line).map_err(|_| ExchangeFault::Garbage)
}

/// What an error reply means. All of them are alive.
pub(super) fn classify(code: &str, details: Option<&str>) -> Outcome {
    let details = details.unwrap_or_default();
    match code {
        "LOADING" => Outcome::alive("Loading", "it loads its data: wait"),
        "BUSY" => Outcome::alive(
            "Busy",
            "a script or function runs: wait, or look at it and send SCRIPT KILL",
        ),
        "MISCONF" => Outcome::alive(
            "Misconf",
            "it can't save its data and refuses writes: mend its disk; a restart would lose what \
             isn't saved",
        ),
        "NOAUTH" => credential("it wants a password: give it in `auth.passwordFile`"),
        "WRONGPASS" => credential("the password is wrong: mend the file in `auth.passwordFile`"),
        "NOPERM" => credential("the user may not PING: add `+ping` to its ACL"),
        "ERR" if details.starts_with("invalid password") => {
            credential("the password is wrong: mend the file in `auth.passwordFile`")
        }
        // `AUTH` without a password being set: older servers put it under ERR.
        "ERR" if details.contains("without any password configured") => credential(
            "it has no password: drop `auth.passwordFile`, or set one in its configuration",
        ),
        "ERR" if details.starts_with("max number of clients") => Outcome::alive(
            "MaxClients",
            "it takes no more clients: close some, or raise its maxclients",
        ),
        "READONLY" => Outcome::alive("ReadOnly", "it is a read-only replica"),
        "MASTERDOWN" => Outcome::alive("MasterDown", "it is a replica that lost its primary"),
        "DENIED" => Outcome::alive(
            "Denied",
            "its protected mode refuses other hosts: set a password or `bind`",
        ),
        _ => Outcome::alive("ErrorReply", "it answers PING with an error that isn't known here"),
    }
}

fn credential(message: &str) -> Outcome {
    Outcome::unknown(reason::CREDENTIAL_MISSING, message)
}
