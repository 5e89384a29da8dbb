//! The bot: ready when its dependencies answer, by name, as a real one would need them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::client;
use crate::faults::locked;
use crate::http::{Flavour, Request, Response};
use crate::server::{Answer, Service};

/// How often the dependencies are looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long one may take to answer.
const LIMIT: Duration = Duration::from_secs(2);

struct Dependency {
    name: &'static str,
    url: String,
    required: bool,
    /// What is wrong with it.
    problem: Option<String>,
}

/// The stand-in.
pub struct Bot {
    dependencies: Mutex<Vec<Dependency>>,
}

impl Bot {
    /// Reads the addresses from the environment; only ComfyUI's may be absent.
    pub fn start() -> Result<Arc<Self>, String> {
        let mut dependencies = Vec::new();
        for (name, variable, path, required) in [
            ("valkey", "VALKEY_URL", "", true),
            // The heartbeat proves nothing: a collection list does.
            (
                "chromadb",
                "CHROMA_URL",
                "/api/v2/tenants/default_tenant/databases/default_database/collections?limit=1",
                true,
            ),
            ("ollama", "OLLAMA_URL", "/api/tags", true),
            ("comfyui", "COMFYUI_URL", "/system_stats", false),
        ] {
            match std::env::var(variable) {
                Ok(url) if !url.is_empty() => {
                    let url = format!("{}{path}", url.trim_end_matches('/'));
                    client::split(&url).map_err(|error| format!("{variable}: {error}"))?;
                    let problem = Some("not yet seen".to_owned());
                    dependencies.push(Dependency { name, url, required, problem });
                }
                _ if required => return Err(format!("{variable} is not set")),
                _ => {}
            }
        }
        let bot = Arc::new(Self { dependencies: Mutex::new(dependencies) });
        let watcher = bot.clone();
        tokio::spawn(async move { watcher.watch().await });
        Ok(bot)
    }

    async fn watch(&self) {
        let mut logged_in = false;
        let count = locked(&self.dependencies).len();
        loop {
            for at in 0..count {
                let url = locked(&self.dependencies)[at].url.clone();
                let problem = client::check(&url, LIMIT).await.err();
                let mut dependencies = locked(&self.dependencies);
                let dependency = &mut dependencies[at];
                match &problem {
                    Some(problem) if dependency.problem.is_none() => {
                        eprintln!("[error] {}: {problem}", dependency.name);
                    }
                    None if dependency.problem.is_some() => {
                        println!("[info] {}: connected", dependency.name);
                    }
                    _ => {}
                }
                dependency.problem = problem;
            }
            if !logged_in && self.missing(true).is_empty() {
                println!("Ready! Logged in as stand-in#0001");
                logged_in = true;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// The dependencies that don't answer.
    fn missing(&self, required: bool) -> Vec<&'static str> {
        let dependencies = locked(&self.dependencies);
        let missing = |d: &&Dependency| d.required == required && d.problem.is_some();
        dependencies.iter().filter(missing).map(|d| d.name).collect()
    }

    fn respond(&self, request: &Request) -> Response {
        if request.path != "/health" {
            return Response::json(404, "{\"error\":\"not found\"}");
        }
        let (missing, degraded) = (self.missing(true), self.missing(false));
        let (status, word) = match (missing.is_empty(), degraded.is_empty()) {
            (false, _) => (503, "unavailable"),
            (true, false) => (200, "degraded"),
            (true, true) => (200, "ok"),
        };
        let body = json!({"status": word, "missing": missing, "degraded": degraded});
        Response::json(status, body.to_string())
    }
}

impl Service for Bot {
    fn flavour(&self) -> Flavour {
        Flavour::Go
    }

    fn answer<'a>(&'a self, request: &'a Request) -> Answer<'a> {
        Box::pin(async move { self.respond(request) })
    }
}
