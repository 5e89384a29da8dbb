//! The questions `http` and `tcp`, for servers that homeostat doesn't know.

use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::probe::Outcome;
use crate::probe::connect::ExchangeFault;
use crate::probe::http::Reply;

/// The engine's proxy for published ports accepts before it knows whether the container does,
/// and closes when it doesn't: so long a connection must stay open to count.
const PROXY_GRACE: Duration = Duration::from_millis(100);

/// What a status means. A body beyond the limit doesn't matter: the status has been said.
pub(super) fn judge(reply: &Reply, expected: &RangeInclusive<u16>) -> Outcome {
    let code = reply.status.as_u16();
    if expected.contains(&code) {
        return Outcome::ready();
    }
    if let Some(outcome) = reply.unauthorized() {
        return outcome;
    }
    if reply.status.is_redirection() {
        return Outcome::not_ready(
            "Redirected",
            format!("it answers {code}: probe the path that it redirects to"),
        );
    }
    Outcome::not_ready(
        "UnexpectedStatus",
        format!("it answers {code}, expected {} to {}", expected.start(), expected.end()),
    )
}

/// An accepted connection, behind a proxy one that stays open.
///
/// # Errors
/// [`ExchangeFault::Closed`].
pub(super) async fn tcp(mut stream: TcpStream, proxied: bool) -> Result<Outcome, ExchangeFault> {
    if proxied {
        let mut byte = [0];
        let first = tokio::time::timeout(PROXY_GRACE, stream.read(&mut byte)).await;
        if matches!(first, Ok(Ok(0) | Err(_))) {
            return Err(ExchangeFault::Closed);
        }
    }
    Ok(Outcome::ready())
}
