//! `POST /api/pull`: progress as NDJSON, errors under status 200.

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::name::Name;
use super::{Model, Ollama, decode, error, go_json, json_answer};
use crate::faults::locked;
use crate::http::{Request, Response};

#[derive(Deserialize)]
struct Pull {
    #[serde(default)]
    model: String,
    #[serde(default)]
    name: String,
    stream: Option<bool>,
}

impl Ollama {
    pub(super) fn pull(&self, request: &Request) -> Response {
        let pull: Pull = match decode(&request.body) {
            Ok(pull) => pull,
            Err(refusal) => return refusal,
        };
        let wanted = if pull.model.is_empty() { &pull.name } else { &pull.model };
        let Some(name) = Name::parse(wanted) else { return error(400, "invalid model name") };
        let found =
            locked(&self.registry).iter().find(|model| model.name.key() == name.key()).cloned();
        let mut lines = vec![json!({"status": "pulling manifest"})];
        match found {
            Some(model) => {
                lines.extend(progress(&model));
                let mut models = locked(&self.models);
                // A blob that exists counts as done: pulling does not mend a broken one.
                if !models.iter().any(|known| known.name.key() == name.key()) {
                    models.push(model);
                }
            }
            None => {
                let offline = locked(&self.registry).is_empty();
                lines.push(json!({"error": unreachable(&name, offline)}));
            }
        }
        if pull.stream == Some(false) {
            let last = lines.pop().unwrap_or_default();
            return json_answer(if last.get("error").is_some() { 500 } else { 200 }, &last);
        }
        let (sender, receiver) = mpsc::channel(1);
        let pace = locked(&self.settings).token;
        tokio::spawn(async move {
            for line in lines {
                if sender.send(format!("{}\n", go_json(&line)).into_bytes()).await.is_err() {
                    return;
                }
                tokio::time::sleep(pace).await;
            }
        });
        Response::stream("application/x-ndjson", receiver)
    }
}

fn unreachable(name: &Name, offline: bool) -> String {
    if !offline {
        return "pull model manifest: file does not exist".to_owned();
    }
    let (host, address) = name.manifest();
    format!(
        "pull model manifest: Get \"{address}\": \
         dial tcp: lookup {host} on 127.0.0.11:53: no such host"
    )
}

fn progress(model: &Model) -> Vec<Value> {
    let status = format!("pulling {}", &model.digest[..12]);
    let digest = format!("sha256:{}", model.digest);
    let mut lines = vec![json!({"status": status, "digest": digest, "total": model.size})];
    lines.extend((1..=4_u64).map(|quarter| {
        let completed = model.size / 4 * quarter + if quarter == 4 { model.size % 4 } else { 0 };
        json!({"status": status, "digest": digest, "total": model.size, "completed": completed})
    }));
    lines.extend(
        ["verifying sha256 digest", "writing manifest", "success"]
            .map(|status| json!({"status": status})),
    );
    lines
}
