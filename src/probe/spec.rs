//! What a Stack resource says about a service's readiness, and the probe that follows from it.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration as StdDuration;

use hyper::Uri;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::api::quantity::Duration;
use crate::api::stack::ServiceSpec;

/// Interval between probes of a ready service when none is given.
pub const DEFAULT_INTERVAL: StdDuration = StdDuration::from_secs(10);
/// Total deadline of one probe when none is given.
pub const DEFAULT_TIMEOUT: StdDuration = StdDuration::from_secs(2);
const MAX_MODELS: usize = 64;
const MAX_PATH: usize = 2048;

/// A server whose protocol and traps homeostat knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// Valkey or Redis: `PING`.
    Valkey,
    /// ChromaDB: lists collections; its heartbeat proves nothing.
    Chroma,
    /// Ollama.
    Ollama,
    /// ComfyUI.
    Comfyui,
    /// A Discord bot. It has no protocol of its own: give it a `probe`.
    Discord,
}

impl Driver {
    /// Port that the server listens on by default; `None` for those without one.
    pub const fn default_port(self) -> Option<u16> {
        match self {
            Self::Valkey => Some(6379),
            Self::Chroma => Some(8000),
            Self::Ollama => Some(11434),
            Self::Comfyui => Some(8188),
            Self::Discord => None,
        }
    }
}

/// What to ask, where the driver's own question isn't wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Check {
    /// `GET`, without following redirects.
    Http(HttpCheck),
    /// A connection that is accepted.
    Tcp(TcpCheck),
}

/// An HTTP question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpCheck {
    /// Absolute path, with a query if needed. Default `/`.
    #[serde(default = "root")]
    pub path: String,
    /// Port inside the container.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Status codes that mean ready. Default 200 to 299: a redirect isn't followed, and isn't
    /// ready unless it is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusRange>,
}

fn root() -> String {
    "/".into()
}

/// A range of HTTP status codes, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusRange {
    /// Lowest.
    #[schemars(range(min = 100, max = 599))]
    pub from: u16,
    /// Highest.
    #[schemars(range(min = 100, max = 599))]
    pub to: u16,
}

/// A TCP question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpCheck {
    /// Port inside the container.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

/// Files that hold a driver's credentials; each is read at every probe, so that a rotated one is
/// taken up, and may end in a newline.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Auth {
    /// User name (Valkey's ACL user, HTTP Basic).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_file: Option<String>,
    /// Password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// Bearer token of an HTTP server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
}

/// Why a spec makes no probe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// An endpoint that can't be used.
    #[error("endpoint {text:?}: {problem}")]
    Endpoint {
        /// What was written, without credentials.
        text: String,
        /// What is wrong, and the mend.
        problem: &'static str,
    },
    /// A value outside its range.
    #[error("{field}: {problem}")]
    Value {
        /// Field.
        field: &'static str,
        /// What is wrong, and the mend.
        problem: &'static str,
    },
}

/// `scheme://host[:port][/base]` with scheme `http`, `tcp`, `redis` or `valkey`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme.
    pub scheme: Scheme,
    /// Name or address, an IPv6 one without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path before every request's own, without a slash at its end.
    pub base: String,
}

/// An endpoint's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP/1.1 without TLS.
    Http,
    /// Bytes: TCP probes and Valkey (`tcp`, `redis` and `valkey` mean the same).
    Tcp,
}

impl Endpoint {
    /// Reads an endpoint.
    ///
    /// # Errors
    /// [`SpecError::Endpoint`] for other schemes, a missing host or port, credentials, a query.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let fail = |problem| {
            let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
            SpecError::Endpoint { text: shown.chars().take(200).collect(), problem }
        };
        let form = "write http://host:port or tcp://host:port";
        if text.len() > MAX_PATH {
            return Err(fail("it is too long"));
        }
        let uri: Uri = text.parse().map_err(|_| fail(form))?;
        let authority = uri.authority().ok_or_else(|| fail(form))?;
        if authority.as_str().contains('@') {
            return Err(fail("credentials belong in the files that `auth` names"));
        }
        let (scheme, default_port) = match uri.scheme_str() {
            Some("http") => (Scheme::Http, Some(80)),
            Some("redis" | "valkey") => (Scheme::Tcp, Some(6379)),
            Some("tcp") => (Scheme::Tcp, None),
            Some("https") => return Err(fail("probes don't speak TLS yet: use a plain http port")),
            _ => return Err(fail(form)),
        };
        if uri.query().is_some() || (scheme == Scheme::Tcp && !matches!(uri.path(), "" | "/")) {
            return Err(fail("it can't have a query, nor a path unless it is http"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().or(default_port).filter(|p| *p != 0);
        if host.is_empty() || authority.as_str().ends_with(':') {
            return Err(fail(form));
        }
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port: port.ok_or_else(|| fail("it needs a port"))?,
            base: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Tcp => "tcp",
        };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}{}", self.host, self.port, self.base)
        } else {
            write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.base)
        }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Endpoint {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(http|tcp|redis|valkey)://[^@?#/]+(/[^@?#]*)?$",
            "maxLength": MAX_PATH,
        })
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// `PING`.
    Valkey,
    /// One collection's row.
    Chroma,
    /// Version, or the list of models when some are declared.
    Ollama {
        /// Declared models.
        models: Vec<String>,
        /// Unready without them.
        required: bool,
    },
    /// `/system_stats`.
    Comfyui,
    /// `GET`.
    Http {
        /// Path and query.
        path: String,
        /// Codes that mean ready.
        status: RangeInclusive<u16>,
    },
    /// A connection.
    Tcp,
}

/// One service's probe, checked and with its defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub question: Question,
    /// Port inside the container.
    pub port: u16,
    /// Time between probes of a ready service.
    pub interval: StdDuration,
    /// Total deadline of one probe.
    pub timeout: StdDuration,
    /// First address to try.
    pub endpoint: Option<Endpoint>,
    /// Credentials.
    pub auth: Auth,
}

impl Probe {
    /// The probe of a spec; `None` when it asks for none (no driver, or `discord` alone).
    ///
    /// # Errors
    /// [`SpecError`] for values outside their range.
    pub fn of(spec: &ServiceSpec) -> Result<Option<Self>, SpecError> {
        let fail = |field, problem| SpecError::Value { field, problem };
        let Some((question, port)) = question(spec)? else { return Ok(None) };
        let port = port.filter(|p| *p != 0);
        let endpoint = spec.endpoint.clone();
        let port = port
            .or(endpoint.as_ref().map(|e| e.port))
            .ok_or_else(|| fail("port", "it must be 1 to 65535"))?;
        let http = !matches!(question, Question::Valkey | Question::Tcp);
        if endpoint.as_ref().is_some_and(|e| (e.scheme == Scheme::Http) != http) {
            return Err(fail(
                "endpoint",
                "its scheme doesn't fit: http for HTTP servers, tcp for Valkey and TCP probes",
            ));
        }
        let interval = spec.interval.map_or(DEFAULT_INTERVAL, Duration::get);
        if !(StdDuration::from_millis(100)..=StdDuration::from_secs(3600)).contains(&interval) {
            return Err(fail("interval", "it must be 100ms to 1h"));
        }
        let timeout = spec.timeout.map_or(DEFAULT_TIMEOUT, Duration::get);
        if !(StdDuration::from_millis(10)..=StdDuration::from_secs(60)).contains(&timeout) {
            return Err(fail("timeout", "it must be 10ms to 60s"));
        }
        let auth = spec.auth.clone().unwrap_or_default();
        if auth.username_file.is_some() && auth.password_file.is_none() {
            return Err(fail("auth.usernameFile", "it needs a passwordFile beside it"));
        }
        if auth.token_file.is_some() && auth.password_file.is_some() {
            return Err(fail("auth", "give a token or a password, not both"));
        }
        if matches!(question, Question::Valkey) && auth.token_file.is_some() {
            return Err(fail("auth.tokenFile", "Valkey takes a passwordFile"));
        }
        Ok(Some(Self { question, port, interval, timeout, endpoint, auth }))
    }
}

fn question(spec: &ServiceSpec) -> Result<Option<(Question, Option<u16>)>, SpecError> {
    let fail = |field, problem| SpecError::Value { field, problem };
    if !spec.models.is_empty() && spec.driver != Some(Driver::Ollama) {
        return Err(fail("models", "only the driver ollama has models"));
    }
    if spec.models.len() > MAX_MODELS || spec.models.iter().any(|m| m.is_empty() || m.len() > 512) {
        return Err(fail("models", "at most 64 names of 1 to 512 bytes"));
    }
    match &spec.probe {
        Some(Check::Http(check)) => {
            let printable = check.path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
            if !check.path.starts_with('/') || !printable || check.path.len() > MAX_PATH {
                return Err(fail("probe.http.path", "it must be an absolute path, escaped"));
            }
            let status = check.status.unwrap_or(StatusRange { from: 200, to: 299 });
            if !(100..=599).contains(&status.from)
                || !(100..=599).contains(&status.to)
                || status.from > status.to
            {
                return Err(fail("probe.http.status", "it must be a range within 100 to 599"));
            }
            let question =
                Question::Http { path: check.path.clone(), status: status.from..=status.to };
            return Ok(Some((question, Some(check.port))));
        }
        Some(Check::Tcp(check)) => return Ok(Some((Question::Tcp, Some(check.port)))),
        None => {}
    }
    let Some(driver) = spec.driver else { return Ok(None) };
    let question = match driver {
        Driver::Valkey => Question::Valkey,
        Driver::Chroma => Question::Chroma,
        Driver::Ollama => {
            Question::Ollama { models: spec.models.clone(), required: spec.models_required }
        }
        Driver::Comfyui => Question::Comfyui,
        Driver::Discord => return Ok(None),
    };
    let port = match spec.port {
        Some(0) => return Err(fail("port", "it must be 1 to 65535")),
        port => port.or(driver.default_port()),
    };
    Ok(Some((question, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(yaml: &str) -> Result<Option<Probe>, String> {
        let spec: ServiceSpec = serde_saphyr::from_str(yaml).map_err(|e| e.to_string())?;
        Probe::of(&spec).map_err(|e| e.to_string())
    }

    #[test]
    fn a_driver_alone_has_its_defaults() {
        let probe = probe("driver: chroma\n").expect("valid").expect("a probe");
        assert_eq!((probe.question, probe.port), (Question::Chroma, 8000));
        assert_eq!((probe.interval, probe.timeout), (DEFAULT_INTERVAL, DEFAULT_TIMEOUT));
    }

    #[test]
    fn a_probe_replaces_the_drivers_question() {
        let yaml = "driver: discord\nprobe: {http: {path: /health, port: 3000}}\ninterval: 5s\n";
        let found = probe(yaml).expect("valid").expect("a probe");
        let question = Question::Http { path: "/health".into(), status: 200..=299 };
        assert_eq!((found.question, found.port), (question, 3000));
        assert_eq!(found.interval, StdDuration::from_secs(5));
        assert_eq!(probe("driver: discord\n"), Ok(None));
        assert_eq!(probe("{}\n"), Ok(None));
    }

    #[test]
    fn mistakes_are_refused() {
        for yaml in [
            "driver: mysql\n",
            "drivr: valkey\n",
            "driver: valkey\ninterval: 10\n",
            "driver: valkey\ninterval: 1ms\n",
            "driver: valkey\ntimeout: 2h\n",
            "driver: valkey\nmodels: [a]\n",
            "driver: valkey\nport: 0\n",
            "driver: valkey\nport: 70000\n",
            "driver: valkey\nendpoint: http://x:1\n",
            "driver: ollama\nendpoint: tcp://x:1\n",
            "driver: valkey\nauth: {usernameFile: /u}\n",
            "driver: valkey\nauth: {tokenFile: /u}\n",
            "probe: {http: {port: 80, path: health}}\n",
            "probe: {http: {port: 80, path: \"/a b\"}}\n",
            "probe: {http: {port: 80, status: {from: 300, to: 200}}}\n",
            "probe: {http: {port: 80, scheme: ftp}}\n",
            "probe: {udp: {port: 80}}\n",
            "probe: {tcp: {}}\n",
        ] {
            assert!(probe(yaml).is_err(), "{yaml}");
        }
    }

    #[test]
    fn endpoints_read_and_print() {
        for (text, printed) in [
            ("http://gpu-box:11434", "http://gpu-box:11434"),
            ("http://gpu-box/ollama/", "http://gpu-box:80/ollama"),
            ("redis://10.0.0.5", "tcp://10.0.0.5:6379"),
            ("tcp://[fd12::1]:6380", "tcp://[fd12::1]:6380"),
        ] {
            assert_eq!(Endpoint::parse(text).map(|e| e.to_string()).as_deref(), Ok(printed));
        }
        for text in [
            "gpu-box:1",
            "https://x:1",
            "tcp://x",
            "ftp://x:1",
            "http://:80",
            "http://x:0",
            "",
            "/x",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_endpoints_credentials_are_refused_and_not_printed() {
        let error =
            Endpoint::parse("redis://user:hunter2@10.0.0.5:6379").map_err(|e| e.to_string());
        assert!(error.is_err_and(|e| e.contains("auth") && !e.contains("hunter2")));
    }
}
