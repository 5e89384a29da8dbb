//! ChromaDB. `/heartbeat` and `/healthcheck` stay 200 over a corrupt database (seen), so the
//! question is one row of the list of collections, which reads it. Never `query`: on an
//! overwritten index it kills the server (seen).

use hyper::StatusCode;
use serde::de::IgnoredAny;

use crate::probe::connect::ExchangeFault;
use crate::probe::http::Reply;
use crate::probe::{Outcome, reason};

/// The row that is asked for. A tenant or database that doesn't exist answers an empty list
/// (seen), so the default ones do for everybody.
pub(super) const PATH: &str =
    "/api/v2/tenants/default_tenant/databases/default_database/collections?limit=1";
/// A collection's row holds its whole configuration and metadata.
pub(super) const BODY_LIMIT: usize = 4 << 20;

/// Words of a 500 that speak of damaged data, in lower case.
const CORRUPTION: [&str; 6] = [
    "malformed",
    "not a database",
    "disk i/o",
    "error getting embedding",
    "error finding id",
    "backfill request",
];

/// What an answer means.
///
/// # Errors
/// [`ExchangeFault`] for bodies that aren't a list, or too long.
pub(super) fn judge(reply: &Reply) -> Result<Outcome, ExchangeFault> {
    if let Some(outcome) = reply.unauthorized() {
        return Ok(outcome);
    }
    match reply.status {
        StatusCode::OK => {
            serde_json::from_slice::<Vec<IgnoredAny>>(reply.whole()?)
                .map_err(|_| ExchangeFault::Garbage)?;
            Ok(Outcome::ready())
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(Outcome::unknown(
            "UnsupportedVersion",
            "it has no API v2: use Chroma 0.6 or later, or give the service a `probe`",
        )),
        StatusCode::TOO_MANY_REQUESTS => {
            Ok(Outcome::alive("Overloaded", "it turns requests away: wait"))
        }
        status if status.is_server_error() => Ok(server_error(status, &reply.body)),
        status => Ok(Outcome::not_ready(
            "UnexpectedAnswer",
            format!("listing collections answers {}", status.as_u16()),
        )),
    }
}

fn server_error(status: StatusCode, body: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(body).to_lowercase();
    if text.contains("locked") {
        return Outcome::alive("Locked", "its database is locked: wait");
    }
    if text.contains("disk is full") {
        return Outcome::alive("DiskFull", "its disk is full: make room on its volume");
    }
    if CORRUPTION.iter().any(|words| text.contains(words)) {
        return Outcome::alive(
            reason::CORRUPTION,
            "its database seems damaged: don't restart it (that can finish it off), copy its \
             volume, then look at it",
        );
    }
    Outcome::not_ready(
        "ServerError",
        format!("listing collections answers {}: see its log", status.as_u16()),
    )
}
