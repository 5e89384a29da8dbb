//! ComfyUI. `/system_stats` asks the device too: without a driver it answers 500.

use hyper::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::probe::Outcome;
use crate::probe::connect::ExchangeFault;
use crate::probe::http::Reply;

/// Path of the question.
pub(super) const PATH: &str = "/system_stats";

#[derive(Deserialize)]
struct Stats {
    #[allow(dead_code, reason = "its presence is the answer")]
    system: IgnoredAny,
    devices: Vec<IgnoredAny>,
}

/// What an answer means.
///
/// # Errors
/// [`ExchangeFault`] for bodies of another form, or too long.
pub(super) fn judge(reply: &Reply) -> Result<Outcome, ExchangeFault> {
    if let Some(outcome) = reply.unauthorized() {
        return Ok(outcome);
    }
    if reply.status != StatusCode::OK {
        let code = reply.status.as_u16();
        return Ok(Outcome::not_ready(
            if reply.status.is_server_error() { "ServerError" } else { "UnexpectedAnswer" },
            format!("{PATH} answers {code}: see its log, and whether its GPU is there"),
        ));
    }
    let stats: Stats =
        serde_json::from_slice(reply.whole()?).map_err(|_| ExchangeFault::Garbage)?;
    if stats.devices.is_empty() {
        return Ok(Outcome::not_ready("NoDevice", "it has no device to compute on"));
    }
    Ok(Outcome::ready())
}
