//! `POST /api/generate`, `/api/chat` and `/api/embed`: load, unload, answer.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::runners::Hold;
use super::{Model, Ollama, decode, error, go_json, json_answer, keep_alive, not_found};
use crate::clock;
use crate::faults::locked;
use crate::http::{Request, Response};

/// The context that a request without options gets.
const DEFAULT_CONTEXT: u64 = 2_048;
const LOST: &str = "an error was encountered while running the model: unexpected EOF";

#[derive(Deserialize)]
struct Generate {
    #[serde(default)]
    model: String,
    #[serde(default)]
    prompt: String,
    #[serde(default)]
    messages: Vec<Value>,
    keep_alive: Option<Value>,
    stream: Option<bool>,
    #[serde(default)]
    options: Options,
}

#[derive(Deserialize, Default)]
struct Options {
    num_ctx: Option<u64>,
}

/// Which of the two forms of answer is wanted.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Generate,
    Chat,
}

impl Form {
    /// One line of an answer; fields in the order in which Ollama has them.
    fn line(self, model: &str, text: &str, done: Option<&str>) -> Value {
        let created_at = clock::rfc3339(clock::now());
        let message = json!({"role": "assistant", "content": text});
        match (self, done) {
            (Self::Generate, None) => json!({
                "model": model, "created_at": created_at, "response": text, "done": false,
            }),
            (Self::Generate, Some(reason)) => json!({
                "model": model, "created_at": created_at, "response": text, "done": true,
                "done_reason": reason,
            }),
            (Self::Chat, None) => json!({
                "model": model, "created_at": created_at, "message": message, "done": false,
            }),
            (Self::Chat, Some(reason)) => json!({
                "model": model, "created_at": created_at, "message": message,
                "done_reason": reason, "done": true,
            }),
        }
    }
}

impl Ollama {
    pub(super) async fn generate(&self, request: &Request) -> Response {
        self.run(request, Form::Generate).await
    }

    pub(super) async fn chat(&self, request: &Request) -> Response {
        self.run(request, Form::Chat).await
    }

    async fn run(&self, request: &Request, form: Form) -> Response {
        let wanted: Generate = match decode(&request.body) {
            Ok(wanted) => wanted,
            Err(refusal) => return refusal,
        };
        let own = match wanted.keep_alive.as_ref().map(keep_alive).transpose() {
            Ok(own) => own,
            Err(message) => return error(400, &message),
        };
        let Some(model) = self.model(&wanted.model) else { return not_found(&wanted.model) };
        let empty = match form {
            Form::Generate => wanted.prompt.is_empty(),
            Form::Chat => wanted.messages.is_empty(),
        };
        if empty && own == Some(Duration::ZERO) {
            let free = locked(&self.settings).free;
            self.runners.expire(&model.name.key(), free).await;
            return json_answer(200, &form.line(&wanted.model, "", Some("unload")));
        }
        let hold = match self.load(&model, &wanted.options, own).await {
            Ok(hold) => hold,
            Err(refusal) => return refusal,
        };
        if empty {
            return json_answer(200, &form.line(&wanted.model, "", Some("load")));
        }
        let lines = self.write(form, wanted.model, hold);
        if wanted.stream == Some(false) {
            return collect(form, lines).await;
        }
        Response::stream("application/x-ndjson", lines)
    }

    async fn load(
        &self,
        model: &Model,
        options: &Options,
        own: Option<Duration>,
    ) -> Result<Hold, Response> {
        if model.broken {
            return Err(error(500, "unexpected EOF"));
        }
        let context = options.num_ctx.unwrap_or(DEFAULT_CONTEXT);
        self.runners.hold(model, context, own, &self.settings).await.map_err(|_| {
            error(503, "server busy, please try again.  maximum pending requests exceeded")
        })
    }

    /// Writes an answer word by word, until it is done, the client has gone, or the runner died.
    fn write(&self, form: Form, model: String, hold: Hold) -> mpsc::Receiver<Vec<u8>> {
        let (sender, receiver) = mpsc::channel(1);
        let (tokens, pace) = {
            let settings = locked(&self.settings);
            (settings.tokens, settings.token)
        };
        tokio::spawn(async move {
            let began = clock::now();
            for number in 0..tokens {
                tokio::select! {
                    () = tokio::time::sleep(pace) => {}
                    () = sender.closed() => return,
                }
                let lost = hold.is_lost();
                let text = if number == 0 { "word".to_owned() } else { format!(" word{number}") };
                let line =
                    if lost { json!({"error": LOST}) } else { form.line(&model, &text, None) };
                if sender.send(encode(&line)).await.is_err() || lost {
                    return;
                }
            }
            let took = clock::now().saturating_sub(began).as_nanos() as u64;
            let mut last = form.line(&model, "", Some("stop"));
            if form == Form::Generate {
                last["context"] = json!([1, 2, 3]);
            }
            for (name, value) in [
                ("total_duration", took),
                ("load_duration", 1_000),
                ("prompt_eval_count", 3),
                ("prompt_eval_duration", 1_000),
                ("eval_count", tokens.into()),
                ("eval_duration", took),
            ] {
                last[name] = value.into();
            }
            // The runner is free before the client has read the end.
            drop(hold);
            let _ = sender.send(encode(&last)).await;
        });
        receiver
    }

    pub(super) async fn embed(&self, request: &Request) -> Response {
        #[derive(Deserialize)]
        struct Embed {
            #[serde(default)]
            model: String,
            #[serde(default)]
            input: Value,
            keep_alive: Option<Value>,
            #[serde(default)]
            options: Options,
        }
        let wanted: Embed = match decode(&request.body) {
            Ok(wanted) => wanted,
            Err(refusal) => return refusal,
        };
        let own = match wanted.keep_alive.as_ref().map(keep_alive).transpose() {
            Ok(own) => own,
            Err(message) => return error(400, &message),
        };
        let Some(model) = self.model(&wanted.model) else { return not_found(&wanted.model) };
        let _hold = match self.load(&model, &wanted.options, own).await {
            Ok(hold) => hold,
            Err(refusal) => return refusal,
        };
        let inputs = wanted.input.as_array().map_or(1, Vec::len);
        let answer = json!({
            "model": wanted.model, "embeddings": vec![[0.5, 0.5, 0.5, 0.5]; inputs],
            "total_duration": 1_000, "load_duration": 1_000, "prompt_eval_count": inputs,
        });
        json_answer(200, &answer)
    }
}

fn encode(line: &Value) -> Vec<u8> {
    format!("{}\n", go_json(line)).into_bytes()
}

/// The whole answer as one object: the last line, with the text of all.
async fn collect(form: Form, mut lines: mpsc::Receiver<Vec<u8>>) -> Response {
    let mut text = String::new();
    let mut last = Value::Null;
    while let Some(line) = lines.recv().await {
        last = serde_json::from_slice(&line).unwrap_or_default();
        if let Some(message) = last.get("error") {
            return error(500, message.as_str().unwrap_or_default());
        }
        let said = match form {
            Form::Generate => &last["response"],
            Form::Chat => &last["message"]["content"],
        };
        text.push_str(said.as_str().unwrap_or_default());
    }
    match form {
        Form::Generate => last["response"] = text.into(),
        Form::Chat => last["message"]["content"] = text.into(),
    }
    json_answer(200, &last)
}
