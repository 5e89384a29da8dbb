//! ComfyUI 0.3.64, as recorded.

mod prompts;
mod python;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use self::prompts::{Item, Prompts};
use self::python::dumps;
use crate::environment;
use crate::faults::locked;
use crate::http::{Flavour, Request, Response};
use crate::server::{Answer, Service};

/// What the real server says before it exits with 1.
const NO_DRIVER: &str = "RuntimeError: Found no NVIDIA driver on your system. Please check that \
    you have an NVIDIA GPU and installed a driver from http://www.nvidia.com/Download/index.aspx";

/// The node classes that prompts may use; those that end a prompt first.
const OUTPUT_NODES: [&str; 2] = ["PreviewImage", "SaveImage"];
const NODES: [&str; 9] = [
    "EmptyImage",
    "ImageBlur",
    "CheckpointLoaderSimple",
    "LoraLoader",
    "CLIPTextEncode",
    "EmptyLatentImage",
    "KSampler",
    "VAEDecode",
    "LoadImage",
];

/// What a test can set.
#[derive(Clone, Debug)]
pub struct Settings {
    pub load: Duration,
    pub run: Duration,
    /// Bytes that a prompt needs on the card.
    pub need: u64,
    /// The card's bytes; 0 is no card.
    pub vram: u64,
    /// Bytes that other processes hold.
    pub vram_foreign: u64,
    /// How many prompts fail for lack of memory.
    pub oom_next: u32,
    /// The worker isn't woken by `/free`.
    pub lose_free: bool,
}

/// The stand-in.
pub struct ComfyUi {
    argv: Vec<String>,
    initial: Settings,
    settings: Mutex<Settings>,
    prompts: Prompts,
    /// Whether it runs on the CPU although there is a card.
    cpu: bool,
}

/// Where it listens, as its own arguments say; the real defaults.
fn address(arguments: &[String]) -> Result<String, String> {
    let (mut host, mut port) = ("127.0.0.1".to_owned(), 8188_u16);
    let mut rest = arguments.iter().peekable();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--listen" => {
                let given = rest.next_if(|next| !next.starts_with("--"));
                host = given.map_or("0.0.0.0".to_owned(), |list| {
                    list.split(',').next().unwrap_or(list).to_owned()
                });
            }
            "--port" => {
                let text = rest.next().ok_or("--port needs a number")?;
                port = text.parse().map_err(|_| format!("--port {text} is no port"))?;
            }
            _ => {}
        }
    }
    Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

impl ComfyUi {
    /// Reads arguments and environment: the stand-in and its address, or why it won't start.
    pub fn start(arguments: &[String]) -> Result<(Arc<Self>, String), String> {
        let settings = Settings {
            load: environment::millis("STAND_IN_LOAD_MS", 0)?,
            run: environment::millis("STAND_IN_RUN_MS", 200)?,
            need: environment::number("STAND_IN_NEED", 4 << 30)?,
            vram: environment::number("STAND_IN_VRAM", 0)?,
            vram_foreign: 0,
            oom_next: 0,
            lose_free: false,
        };
        let service = Arc::new(Self::new(arguments, settings)?);
        let address = address(arguments)?;
        let worker = service.clone();
        tokio::spawn(async move { worker.prompts.work(&worker.settings).await });
        println!("Starting server\n");
        println!("To see the GUI go to: http://{address}");
        Ok((service, address))
    }

    fn new(arguments: &[String], settings: Settings) -> Result<Self, String> {
        let cpu = arguments.iter().any(|argument| argument == "--cpu");
        if !cpu && settings.vram == 0 {
            return Err(NO_DRIVER.to_owned());
        }
        let mut argv = vec!["main.py".to_owned()];
        argv.extend_from_slice(arguments);
        let prompts = Prompts::default();
        Ok(Self { argv, initial: settings.clone(), settings: Mutex::new(settings), prompts, cpu })
    }

    fn route(&self, request: &Request) -> Response {
        if !origin_allowed(request) {
            return Response::empty(403);
        }
        let twin = request.path.strip_prefix("/api").filter(|rest| rest.starts_with('/'));
        let path = twin.unwrap_or(&request.path);
        let method = if request.method == "HEAD" { "GET" } else { request.method.as_str() };
        match (method, path) {
            ("GET", "/") => {
                Response::new(200, "text/html", "<!DOCTYPE html><title>ComfyUI</title>\n")
            }
            ("GET", "/system_stats") => answer(200, &self.system_stats()),
            ("GET", "/prompt") => {
                let remaining = self.prompts.remaining();
                answer(200, &json!({"exec_info": {"queue_remaining": remaining}}))
            }
            ("GET", "/queue") => answer(200, &self.prompts.queue()),
            ("GET", "/history") => {
                let max = request.parameter("max_items").and_then(|text| text.parse().ok());
                answer(200, &self.prompts.history(max, None))
            }
            ("GET", path) if path.starts_with("/history/") => {
                answer(200, &self.prompts.history(None, path.strip_prefix("/history/")))
            }
            ("POST", "/prompt" | "/queue" | "/history" | "/free") => {
                match serde_json::from_slice(&request.body) {
                    Ok(body) => self.post(path, &body),
                    Err(_) => in_trouble(),
                }
            }
            ("POST", "/interrupt") => {
                // Here a body that isn't JSON means no body.
                let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
                self.prompts.interrupt(body["prompt_id"].as_str());
                Response::empty(200)
            }
            (_, "/system_stats") => wrong_method("GET,HEAD"),
            (_, "/prompt" | "/queue" | "/history") => wrong_method("GET,HEAD,POST"),
            (_, "/free" | "/interrupt") => wrong_method("POST"),
            _ => Response::new(404, "text/plain; charset=utf-8", "404: Not Found"),
        }
    }

    fn post(&self, path: &str, body: &Value) -> Response {
        let Some(body) = body.as_object() else { return in_trouble() };
        let ids = || {
            let listed = body.get("delete").and_then(Value::as_array);
            listed.into_iter().flatten().filter_map(Value::as_str)
        };
        let flag = |name: &str| body.get(name).and_then(Value::as_bool).unwrap_or_default();
        match path {
            "/prompt" => return self.prompt(body),
            "/queue" => {
                if flag("clear") {
                    self.prompts.clear();
                }
                ids().for_each(|id| self.prompts.delete(id));
            }
            "/history" => {
                if flag("clear") {
                    self.prompts.forget(None);
                }
                ids().for_each(|id| self.prompts.forget(Some(id)));
            }
            _ => {
                let lost = locked(&self.settings).lose_free;
                self.prompts.free(flag("unload_models"), flag("free_memory"), lost);
            }
        }
        Response::empty(200)
    }

    fn prompt(&self, body: &Map<String, Value>) -> Response {
        let Some(prompt) = body.get("prompt").and_then(Value::as_object) else {
            return refusal("no_prompt", "No prompt provided", "No prompt provided");
        };
        for (node, about) in prompt {
            let Some(class) = about["class_type"].as_str() else {
                return refusal(
                    "invalid_prompt",
                    "Cannot execute because a node is missing the class_type property.",
                    &format!("Node ID '#{node}'"),
                );
            };
            if !NODES.contains(&class) && !OUTPUT_NODES.contains(&class) {
                return refusal(
                    "invalid_prompt",
                    &format!("Cannot execute because node {class} does not exist."),
                    &format!("Node ID '#{node}'"),
                );
            }
        }
        let is_output = |about: &Value| {
            about["class_type"].as_str().is_some_and(|class| OUTPUT_NODES.contains(&class))
        };
        let outputs: Vec<String> = prompt
            .iter()
            .filter(|(_, about)| is_output(about))
            .map(|(node, _)| node.clone())
            .collect();
        if outputs.is_empty() {
            return refusal("prompt_no_outputs", "Prompt has no outputs", "");
        }
        let mut extra = body.get("extra_data").cloned().unwrap_or_else(|| json!({}));
        if let (Some(client), Some(extra)) = (body.get("client_id"), extra.as_object_mut()) {
            extra.insert("client_id".to_owned(), client.clone());
        }
        let given = body.get("prompt_id").and_then(Value::as_str);
        let id = given.map_or_else(random_id, str::to_owned);
        let item = Item { number: 0.0, id: id.clone(), prompt: prompt.clone(), extra, outputs };
        let number = body.get("number").and_then(Value::as_f64);
        let front = body.get("front").and_then(Value::as_bool).unwrap_or_default();
        let mut shown = item.clone();
        shown.number = self.prompts.put(item, number, front);
        let number = shown.shown()[0].clone();
        answer(200, &json!({"prompt_id": id, "number": number, "node_errors": {}}))
    }

    fn system_stats(&self) -> Value {
        let (ram_total, ram_free) = memory();
        let settings = locked(&self.settings);
        let device = if self.cpu {
            json!({
                "name": "cpu", "type": "cpu", "index": null, "vram_total": ram_total,
                "vram_free": ram_free, "torch_vram_total": ram_total, "torch_vram_free": ram_free,
            })
        } else {
            let pool = self.prompts.pool();
            let outside = settings.vram.saturating_sub(settings.vram_foreign + pool.reserved);
            let inside = pool.reserved.saturating_sub(pool.models);
            json!({
                "name": "cuda:0 NVIDIA stand-in : cudaMallocAsync", "type": "cuda", "index": 0,
                "vram_total": settings.vram, "vram_free": outside + inside,
                "torch_vram_total": pool.reserved, "torch_vram_free": inside,
            })
        };
        json!({
            "system": {
                "os": "posix", "ram_total": ram_total, "ram_free": ram_free,
                "comfyui_version": "0.3.64", "required_frontend_version": "1.27.10",
                "installed_templates_version": "0.1.95", "required_templates_version": "0.1.95",
                "python_version": "3.11.7 (main, May  9 2026, 07:35:25) [GCC 12.2.0]",
                "pytorch_version": "2.15.0+cu132", "embedded_python": false, "argv": self.argv,
            },
            "devices": [device],
        })
    }

    fn set(&self, verb: &str, body: &[u8]) -> Result<Value, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Change {
            load_ms: Option<u64>,
            run_ms: Option<u64>,
            need: Option<u64>,
            vram: Option<u64>,
            /// `settings`: whether `/free` between two prompts gets lost.
            lose_free: Option<bool>,
            /// `lose-vram`: bytes that another process takes; the whole card by default.
            bytes: Option<u64>,
            /// `oom-next`: how many prompts.
            count: Option<u32>,
        }
        let body = if body.is_empty() { b"{}" } else { body };
        let change: Change = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let mut settings = locked(&self.settings);
        match verb {
            "settings" => {
                let millis = |value: Option<u64>, old| value.map_or(old, Duration::from_millis);
                settings.load = millis(change.load_ms, settings.load);
                settings.run = millis(change.run_ms, settings.run);
                settings.need = change.need.unwrap_or(settings.need);
                settings.vram = change.vram.unwrap_or(settings.vram);
                settings.lose_free = change.lose_free.unwrap_or(settings.lose_free);
            }
            "lose-vram" => settings.vram_foreign = change.bytes.unwrap_or(settings.vram),
            _ => settings.oom_next = change.count.unwrap_or(1),
        }
        drop(settings);
        Ok(self.state())
    }
}

impl Service for ComfyUi {
    fn flavour(&self) -> Flavour {
        Flavour::Aiohttp
    }

    fn answer<'a>(&'a self, request: &'a Request) -> Answer<'a> {
        Box::pin(async move { self.route(request) })
    }

    fn admin(&self, verb: &str, body: &[u8]) -> Option<Result<Value, String>> {
        ["settings", "lose-vram", "oom-next"].contains(&verb).then(|| self.set(verb, body))
    }

    fn state(&self) -> Value {
        let (settings, pool) = (locked(&self.settings), self.prompts.pool());
        json!({
            "remaining": self.prompts.remaining(),
            "vramTotal": settings.vram,
            "vramUsed": pool.reserved,
        })
    }

    fn reset(&self) {
        *locked(&self.settings) = self.initial.clone();
    }
}

fn answer(status: u16, value: &Value) -> Response {
    Response::json(status, dumps(value))
}

fn refusal(kind: &str, message: &str, details: &str) -> Response {
    let error = json!({"type": kind, "message": message, "details": details, "extra_info": {}});
    answer(400, &json!({"error": error, "node_errors": {}}))
}

/// What aiohttp answers when a handler raises.
fn in_trouble() -> Response {
    let body = "500 Internal Server Error\n\nServer got itself in trouble";
    let mut response = Response::new(500, "text/plain; charset=utf-8", body);
    response.close = true;
    response
}

fn wrong_method(allowed: &str) -> Response {
    let mut response = Response::new(405, "text/plain; charset=utf-8", "405: Method Not Allowed");
    response.headers.push(("Allow", allowed.to_owned()));
    response
}

/// A page from elsewhere may not call a server on this machine.
fn origin_allowed(request: &Request) -> bool {
    let (Some(host), Some(origin)) = (request.header("host"), request.header("origin")) else {
        return true;
    };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let local = ["localhost", "127.0.0.1", "[::1]"].contains(&name);
    let authority = origin.split_once("://").map_or(origin, |(_, authority)| authority);
    !local || authority.eq_ignore_ascii_case(host)
}

/// The machine's memory and how much of it is available, in bytes.
fn memory() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or_default() * 1024
    };
    (bytes("MemTotal"), bytes("MemAvailable"))
}

/// A random UUID (version 4).
fn random_id() -> String {
    use std::io::Read;
    let mut bytes = [0_u8; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if read.is_err() {
        bytes = crate::clock::now().as_nanos().to_be_bytes();
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}
