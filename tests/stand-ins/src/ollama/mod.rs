//! Ollama 0.5.4, as recorded.

mod catalog;
mod generate;
mod name;
mod pull;
mod runners;
#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use self::catalog::{Model, parse_list};
use self::name::Name;
use self::runners::{FOREVER, Runners};
use crate::environment;
use crate::faults::locked;
use crate::http::{Flavour, Request, Response};
use crate::server::{Answer, Service};

const VERSION: &str = "0.5.4-ipexllm-20250407";

/// What a test can set.
#[derive(Clone, Debug)]
pub struct Settings {
    pub load: Duration,
    /// From leaving the list to the VRAM being free.
    pub free: Duration,
    pub tokens: u32,
    pub token: Duration,
    pub keep_alive: Duration,
    pub max_queue: usize,
    /// The card's bytes; 0 is no card.
    pub vram: u64,
    /// Bytes that other processes hold.
    pub vram_foreign: u64,
    /// The share of a model that stays in VRAM, where a test says so.
    pub spill: Option<f64>,
    /// Newer versions show the context in `/api/ps`.
    pub shows_context: bool,
}

impl Settings {
    /// Bytes in VRAM of a model of `size`, `fitting` of which would fit.
    fn spilled(&self, size: u64, fitting: u64) -> u64 {
        self.spill.map_or(fitting, |ratio| (size as f64 * ratio) as u64)
    }
}

/// The stand-in.
pub struct Ollama {
    initial: Settings,
    settings: Mutex<Settings>,
    models: Mutex<Vec<Model>>,
    /// What a pull finds; without any, there is no network.
    registry: Mutex<Vec<Model>>,
    runners: Runners,
}

impl Ollama {
    /// Reads its settings from the environment.
    pub fn from_environment() -> Result<Self, String> {
        let settings = Settings {
            load: environment::millis("STAND_IN_LOAD_MS", 30)?,
            free: environment::millis("STAND_IN_FREE_MS", 300)?,
            tokens: environment::number("STAND_IN_TOKENS", 8)?,
            token: environment::millis("STAND_IN_TOKEN_MS", 10)?,
            keep_alive: match std::env::var("OLLAMA_KEEP_ALIVE") {
                Ok(text) => keep_alive(&Value::String(text))?,
                Err(_) => Duration::from_secs(300),
            },
            max_queue: environment::number("OLLAMA_MAX_QUEUE", 512)?,
            vram: environment::number("STAND_IN_VRAM", 0)?,
            vram_foreign: 0,
            spill: None,
            shows_context: environment::number("STAND_IN_CONTEXT_IN_PS", 0_u8)? > 0,
        };
        let models = std::env::var("STAND_IN_MODELS").unwrap_or_else(|_| "tiny".to_owned());
        let registry = std::env::var("STAND_IN_REGISTRY").unwrap_or_default();
        Ok(Self::new(settings, parse_list(&models)?, parse_list(&registry)?))
    }

    fn new(settings: Settings, models: Vec<Model>, registry: Vec<Model>) -> Self {
        Self {
            initial: settings.clone(),
            settings: Mutex::new(settings),
            models: Mutex::new(models),
            registry: Mutex::new(registry),
            runners: Runners::default(),
        }
    }

    fn model(&self, name: &str) -> Option<Model> {
        let key = Name::parse(name)?.key();
        locked(&self.models).iter().find(|model| model.name.key() == key).cloned()
    }

    async fn route(&self, request: &Request) -> Response {
        if !origin_allowed(request) {
            return Response::empty(403);
        }
        let method = if request.method == "HEAD" { "GET" } else { request.method.as_str() };
        match (method, request.path.as_str()) {
            ("GET", "/") => Response::new(200, "text/plain; charset=utf-8", "Ollama is running"),
            ("GET", "/api/version") => json_answer(200, &json!({"version": VERSION})),
            ("GET", "/api/tags") => {
                let models: Vec<Value> = locked(&self.models).iter().map(Model::tag).collect();
                json_answer(200, &json!({"models": models}))
            }
            ("GET", "/api/ps") => {
                let models = self.runners.list(&locked(&self.settings));
                json_answer(200, &json!({"models": models}))
            }
            ("POST", "/api/generate") => self.generate(request).await,
            ("POST", "/api/chat") => self.chat(request).await,
            ("POST", "/api/embed") => self.embed(request).await,
            ("POST", "/api/show") => self.show(request),
            ("DELETE", "/api/delete") => self.delete(request),
            ("POST", "/api/pull") => self.pull(request),
            _ => Response::new(404, "text/plain", "404 page not found"),
        }
    }

    fn show(&self, request: &Request) -> Response {
        let named: Named = match decode(&request.body) {
            Ok(named) => named,
            Err(refusal) => return refusal,
        };
        match named.name() {
            "" => error(400, "model is required"),
            name => match self.model(name) {
                None => not_found(name),
                Some(model) if model.broken => error(500, "unexpected EOF"),
                Some(model) => Response::json(200, model.show()),
            },
        }
    }

    fn delete(&self, request: &Request) -> Response {
        let named: Named = match decode(&request.body) {
            Ok(named) => named,
            Err(refusal) => return refusal,
        };
        let Some(name) = Name::parse(named.name()) else {
            return error(400, &format!("name {:?} is invalid", named.name()));
        };
        let mut models = locked(&self.models);
        match models.iter().position(|model| model.name.key() == name.key()) {
            None => not_found(named.name()),
            Some(at) => {
                models.remove(at);
                Response::empty(200)
            }
        }
    }

    fn set(&self, verb: &str, body: &[u8]) -> Result<Value, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Change {
            load_ms: Option<u64>,
            free_ms: Option<u64>,
            tokens: Option<u32>,
            token_ms: Option<u64>,
            vram: Option<u64>,
            /// `lose-vram`: bytes that another process takes; all by default.
            bytes: Option<u64>,
            /// `spill`: the share that stays in VRAM.
            ratio: Option<f64>,
            /// `break-model`: which.
            name: Option<String>,
            /// `registry`: what a pull finds from now on.
            models: Option<String>,
        }
        let body = if body.is_empty() { b"{}" } else { body };
        let change: Change = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let mut settings = locked(&self.settings);
        match verb {
            "settings" => {
                let millis = |value: Option<u64>, old| value.map_or(old, Duration::from_millis);
                settings.load = millis(change.load_ms, settings.load);
                settings.free = millis(change.free_ms, settings.free);
                settings.token = millis(change.token_ms, settings.token);
                settings.tokens = change.tokens.unwrap_or(settings.tokens);
                settings.vram = change.vram.unwrap_or(settings.vram);
            }
            "spill" => {
                let ratio = change.ratio.ok_or("spill needs a ratio from 0 to 1")?;
                settings.spill = Some(ratio.clamp(0.0, 1.0));
                self.runners.spill(&settings);
            }
            "lose-vram" => match change.bytes {
                Some(bytes) => settings.vram_foreign = bytes,
                None => {
                    settings.spill = Some(0.0);
                    self.runners.spill(&settings);
                }
            },
            "kill-runners" => self.runners.kill(),
            "break-model" => {
                let name = change.name.ok_or("break-model needs a name")?;
                let key = Name::parse(&name).ok_or("that is no model name")?.key();
                let mut models = locked(&self.models);
                let model = models.iter_mut().find(|model| model.name.key() == key);
                model.ok_or(format!("no model '{name}'"))?.broken = true;
            }
            _ => {
                let list = change.models.ok_or("registry needs models, as name=bytes,…")?;
                *locked(&self.registry) = parse_list(&list)?;
            }
        }
        drop(settings);
        Ok(self.state())
    }
}

impl Service for Ollama {
    fn flavour(&self) -> Flavour {
        Flavour::Go
    }

    fn answer<'a>(&'a self, request: &'a Request) -> Answer<'a> {
        Box::pin(self.route(request))
    }

    fn admin(&self, verb: &str, body: &[u8]) -> Option<Result<Value, String>> {
        let own = ["settings", "spill", "lose-vram", "kill-runners", "break-model", "registry"];
        own.contains(&verb).then(|| self.set(verb, body))
    }

    fn state(&self) -> Value {
        let settings = locked(&self.settings);
        json!({
            "loaded": self.runners.list(&settings),
            "vramTotal": settings.vram,
            "vramUsed": self.runners.vram_used(&settings),
        })
    }

    fn reset(&self) {
        *locked(&self.settings) = self.initial.clone();
        for model in locked(&self.models).iter_mut() {
            model.broken = false;
        }
    }
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    model: String,
    #[serde(default)]
    name: String,
}

impl Named {
    /// Older clients say `name`.
    fn name(&self) -> &str {
        if self.model.is_empty() { &self.name } else { &self.model }
    }
}

/// JSON as Go's encoder writes it: `<`, `>` and `&` escaped.
fn go_json(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn json_answer(status: u16, value: &Value) -> Response {
    Response::json(status, go_json(value))
}

fn error(status: u16, message: &str) -> Response {
    json_answer(status, &json!({"error": message}))
}

fn not_found(model: &str) -> Response {
    error(404, &format!("model '{model}' not found"))
}

/// Decodes a request's JSON, or refuses it in Go's words.
fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Response> {
    serde_json::from_slice(body).map_err(|problem| {
        let message = if body.is_empty() {
            "missing request body".to_owned()
        } else if problem.is_eof() {
            "unexpected EOF".to_owned()
        } else {
            let line = body.split(|b| *b == b'\n').nth(problem.line().saturating_sub(1));
            let found = line.and_then(|l| l.get(problem.column().saturating_sub(1)));
            let found = found.copied().unwrap_or(b'?') as char;
            format!("invalid character '{found}' looking for beginning of value")
        };
        error(400, &message)
    })
}

/// Reads a `keep_alive`: seconds, or a Go duration; below zero is for ever.
fn keep_alive(value: &Value) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {value}");
    let seconds = |s: f64| if s < 0.0 { FOREVER } else { Duration::from_secs_f64(s.min(9e9)) };
    match value {
        Value::Number(number) => number.as_f64().map(seconds).ok_or_else(invalid),
        Value::String(text) if text.parse::<f64>().is_ok_and(f64::is_finite) => {
            text.parse().map(seconds).map_err(|_| invalid())
        }
        Value::String(text) if text.starts_with('-') => Ok(FOREVER),
        Value::String(text) => go_duration(text).map(seconds).ok_or_else(invalid),
        _ => Err(invalid()),
    }
}

/// Seconds of a Go duration such as `1h30m` or `500ms`.
fn go_duration(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale = match unit {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// A browser's page may call only from this machine, or from the address it called itself.
fn origin_allowed(request: &Request) -> bool {
    let Some(origin) = request.header("origin") else { return true };
    let (scheme, authority) = origin.split_once("://").unwrap_or(("", origin));
    if request.header("host") == Some(authority) || ["app", "file", "tauri"].contains(&scheme) {
        return true;
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    ["localhost", "127.0.0.1", "0.0.0.0"].contains(&host)
}
