//! Ollama. Without declared models, its version is the cheapest answer; with some, the list of
//! those that it has. That a model is listed doesn't prove that it loads (seen: a truncated blob
//! stays listed); that is another, rarer question.

use std::collections::BTreeSet;

use hyper::StatusCode;
use serde::Deserialize;

use crate::probe::connect::ExchangeFault;
use crate::probe::http::Reply;
use crate::probe::{Outcome, reason};

/// Host of names that have none, as Ollama completes them (its `types/model` package).
const DEFAULT_HOST: &str = "registry.ollama.ai";
/// Missing models that a message names.
const NAMED: usize = 5;

#[derive(Deserialize)]
struct Version {
    #[allow(dead_code, reason = "its presence is the answer")]
    version: String,
}

#[derive(Deserialize)]
struct Tags {
    /// `null` where older servers have none.
    models: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
}

/// Path of the question.
pub(super) const fn path(models: &[String]) -> &'static str {
    if models.is_empty() { "/api/version" } else { "/api/tags" }
}

/// What an answer means.
///
/// # Errors
/// [`ExchangeFault`] for bodies of another form, or too long.
pub(super) fn judge(
    reply: &Reply,
    models: &[String],
    required: bool,
) -> Result<Outcome, ExchangeFault> {
    if let Some(outcome) = reply.unauthorized() {
        return Ok(outcome);
    }
    if reply.status != StatusCode::OK {
        let code = reply.status.as_u16();
        return Ok(Outcome::not_ready(
            if reply.status.is_server_error() { "ServerError" } else { "UnexpectedAnswer" },
            format!("{} answers {code}: see its log", path(models)),
        ));
    }
    let body = reply.whole()?;
    if models.is_empty() {
        serde_json::from_slice::<Version>(body).map_err(|_| ExchangeFault::Garbage)?;
        return Ok(Outcome::ready());
    }
    let tags: Tags = serde_json::from_slice(body).map_err(|_| ExchangeFault::Garbage)?;
    let present: BTreeSet<String> =
        tags.models.unwrap_or_default().iter().map(|t| canonical(&t.name)).collect();
    let missing: Vec<&str> =
        models.iter().filter(|m| !present.contains(&canonical(m))).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(Outcome::ready());
    }
    let mut message = format!("missing: {}", missing[..missing.len().min(NAMED)].join(", "));
    if missing.len() > NAMED {
        message.push_str(&format!(" and {} more", missing.len() - NAMED));
    }
    message.push_str("; pull with `ollama pull`");
    Ok(if required {
        Outcome::alive(reason::MODEL_MISSING, message)
    } else {
        Outcome::degraded(reason::MODEL_MISSING, message)
    })
}

/// Two names mean the same model: compared without case, with the default host, `library` and
/// `latest` filled in.
pub fn same_model(a: &str, b: &str) -> bool {
    canonical(a) == canonical(b)
}

/// `host/namespace/model:tag`.
fn canonical(name: &str) -> String {
    let name = name.trim().to_lowercase();
    let name = name.split_once("://").map_or(name.as_str(), |(_, rest)| rest);
    let last = name.rfind('/').map_or(0, |i| i + 1);
    let (path, tag) = match name[last..].split_once(':') {
        Some((model, tag)) => (&name[..last + model.len()], tag),
        None => (name, "latest"),
    };
    match path.split('/').count() {
        1 => format!("{DEFAULT_HOST}/library/{path}:{tag}"),
        2 => format!("{DEFAULT_HOST}/{path}:{tag}"),
        _ => format!("{path}:{tag}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_as_ollama_compares_them() {
        for (a, b) in [
            ("TINY", "tiny:latest"),
            ("library/tiny", "tiny"),
            ("registry.ollama.ai/library/qwen3:14b", "Qwen3:14B"),
            ("https://registry.ollama.ai/ann/x", "ann/x:latest"),
            ("hf.co/Org/Repo:Q4", "HF.co/org/repo:q4"),
        ] {
            assert!(same_model(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("tiny", "tiny:1b"),
            ("ann/tiny", "tiny"),
            ("hf.co/org/repo", "org/repo"),
            ("localhost:5000/org/x", "localhost:5000/org/x:5000"),
        ] {
            assert!(!same_model(a, b), "{a} {b}");
        }
    }
}
