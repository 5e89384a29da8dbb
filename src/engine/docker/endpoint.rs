//! Where the engine is: `-H`, `DOCKER_HOST`, the current Docker context, then the sockets that
//! engines make.
//!
//! Resolution reads only what [`Surroundings`] names, so that it can be tested.
//! Sources: Docker's documentation of contexts and of the command line's environment.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::context;
use crate::engine::Fault;

/// What resolution may look at.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Home folder.
    pub home: Option<PathBuf>,
    /// Folder under which the default sockets are looked for; `/` outside tests.
    pub root: PathBuf,
    /// The user's ID, for Podman's socket.
    pub uid: u32,
}

impl Surroundings {
    /// This process's surroundings. Variables that aren't UTF-8 are left out.
    pub fn of_process() -> Self {
        let env: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            home: env.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from),
            env,
            root: PathBuf::from("/"),
            uid: rustix::process::getuid().as_raw(),
        }
    }

    pub(super) fn var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Docker's configuration folder: `DOCKER_CONFIG`, otherwise `~/.docker`.
    pub fn docker_config(&self) -> Option<PathBuf> {
        match self.var("DOCKER_CONFIG") {
            Some(folder) => Some(PathBuf::from(folder)),
            None => Some(self.home.as_ref()?.join(".docker")),
        }
    }
}

/// TLS material of an endpoint, in PEM.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities to trust.
    pub ca: Option<Vec<u8>>,
    /// Our certificate chain and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Don't verify the server. Only on explicit wish.
    pub skip_verify: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca", &self.ca.is_some())
            .field("identity", &self.identity.is_some())
            .field("skip_verify", &self.skip_verify)
            .finish()
    }
}

/// How to get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket file.
    Unix(PathBuf),
    /// Host and port, with TLS or without.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
        /// TLS material; plain when absent.
        tls: Option<Tls>,
    },
    /// `docker system dial-stdio` on another host.
    Ssh {
        /// User, when given.
        user: Option<String>,
        /// Host.
        host: String,
        /// Port, when given.
        port: Option<u16>,
        /// The engine's socket there, when given.
        socket: Option<String>,
    },
}

/// An engine endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// How to get there.
    pub address: Address,
    /// What named it: `-H`, `DOCKER_HOST`, `context NAME`, `default socket`.
    pub source: String,
    /// Docker's configuration folder, for registry credentials.
    pub docker_config: Option<PathBuf>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp { host, port, .. } if host.contains(':') => {
                write!(f, "tcp://[{host}]:{port}")
            }
            Address::Tcp { host, port, .. } => write!(f, "tcp://{host}:{port}"),
            Address::Ssh { user, host, port, socket } => {
                f.write_str("ssh://")?;
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                f.write_str(host)?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                f.write_str(socket.as_deref().unwrap_or_default())
            }
        }
    }
}

impl Endpoint {
    /// Whether the engine runs in this host's network, as far as the address tells.
    pub fn is_local(&self) -> bool {
        match &self.address {
            Address::Unix(_) => true,
            Address::Tcp { host, .. } => {
                host == "localhost"
                    || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            Address::Ssh { .. } => false,
        }
    }

    /// Finds the endpoint. `flag` is the value of `-H`.
    ///
    /// # Errors
    /// [`Fault::BadEndpoint`] when what names it is unusable; [`Fault::Unreachable`] when nothing
    /// names it and no known socket is there.
    pub fn resolve(flag: Option<&str>, around: &Surroundings) -> Result<Self, Fault> {
        let docker_config = around.docker_config();
        let named = match flag.filter(|host| !host.is_empty()) {
            Some(host) => Some((host, "-H")),
            None => around.var("DOCKER_HOST").map(|host| (host, "DOCKER_HOST")),
        };
        if let Some((host, source)) = named {
            let address = parse(host, || context::tls_from_env(around))?;
            return Ok(Self { address, source: source.into(), docker_config });
        }
        if let Some((name, address)) = context::current(around)? {
            return Ok(Self { address, source: format!("context {name}"), docker_config });
        }
        let candidates = default_sockets(around);
        let found = candidates.iter().find(|path| path.exists());
        match found {
            Some(path) => Ok(Self {
                address: Address::Unix(path.clone()),
                source: "default socket".into(),
                docker_config,
            }),
            None => Err(Fault::Unreachable {
                endpoint: candidates
                    .first()
                    .map_or_else(String::new, |path| format!("unix://{}", path.display())),
                reason: format!(
                    "none of the known sockets exists ({})",
                    candidates
                        .iter()
                        .map(|path| path.display().to_string())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            }),
        }
    }
}

/// The sockets that engines make, in the order in which they are tried.
fn default_sockets(around: &Surroundings) -> Vec<PathBuf> {
    let runtime = around.var("XDG_RUNTIME_DIR").map(Path::new);
    let mut sockets = Vec::new();
    sockets.extend(runtime.map(|folder| folder.join("docker.sock")));
    sockets.push(around.root.join("var/run/docker.sock"));
    sockets.extend(runtime.map(|folder| folder.join("podman/podman.sock")));
    if runtime.is_none() && around.uid != 0 {
        sockets.push(around.root.join(format!("run/user/{}/podman/podman.sock", around.uid)));
    }
    sockets.push(around.root.join("run/podman/podman.sock"));
    sockets
}

/// A host as people may see it: a password in it is never shown.
fn without_password(host: &str) -> String {
    let (scheme, rest) = host.split_once("://").map_or(("", host), |(s, rest)| (s, rest));
    let Some((user, place)) = rest.rsplit_once('@') else { return host.to_owned() };
    let Some((user, _)) = user.split_once(':') else { return host.to_owned() };
    let slashes = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{slashes}{user}:…@{place}")
}

/// Reads a host as Docker's `-H` takes it. `tls` is asked only for tcp.
pub(super) fn parse(
    host: &str,
    tls: impl FnOnce() -> Result<Option<Tls>, Fault>,
) -> Result<Address, Fault> {
    let bad = |reason: &str| Fault::BadEndpoint {
        endpoint: without_password(host),
        reason: reason.into(),
    };
    let (scheme, rest) = match host.split_once("://") {
        Some(parts) => parts,
        None if host.starts_with('/') => ("unix", host),
        None => ("tcp", host),
    };
    match scheme {
        "unix" if rest.starts_with('/') => Ok(Address::Unix(PathBuf::from(rest))),
        "unix" => Err(bad("the socket's path must be absolute: unix:///var/run/docker.sock")),
        "tcp" => {
            let tls = tls()?;
            let authority = rest.trim_end_matches('/');
            if authority.contains(['/', '@']) {
                return Err(bad("write tcp://HOST:PORT, without a user or a path"));
            }
            let default = if tls.is_some() { 2376 } else { 2375 };
            let (host, port) = host_and_port(authority).ok_or_else(|| bad("bad host or port"))?;
            Ok(Address::Tcp { host, port: port.unwrap_or(default), tls })
        }
        "ssh" => {
            let (authority, socket) = match rest.find('/') {
                Some(slash) => (&rest[..slash], &rest[slash..]),
                None => (rest, ""),
            };
            let (user, authority) = match authority.rsplit_once('@') {
                Some((user, authority)) => (Some(user.to_owned()), authority),
                None => (None, authority),
            };
            let (host, port) =
                host_and_port(authority).ok_or_else(|| bad("write ssh://[USER@]HOST[:PORT]"))?;
            let socket = Some(socket.to_owned()).filter(|path| path.len() > 1);
            // A leading dash would be read as an option, and the remote shell reads the path.
            if host.starts_with('-') || user.as_deref().is_some_and(|u| u.starts_with('-')) {
                return Err(bad("a host or user can't start with a dash"));
            }
            if user.as_deref().is_some_and(|user| user.contains(':')) {
                return Err(bad("a password in the address is not supported: use a key"));
            }
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            if socket.as_deref().is_some_and(|path| !path.chars().all(plain)) {
                return Err(bad("the socket's path may hold letters, digits, `/`, `.`, `_`, `-`"));
            }
            Ok(Address::Ssh { user, host, port, socket })
        }
        "npipe" => Err(bad("named pipes exist on Windows only; use unix, tcp or ssh")),
        "fd" => Err(bad("fd:// is for the engine itself; use unix, tcp or ssh")),
        "http" | "https" => Err(bad("write tcp://HOST:PORT; DOCKER_TLS_VERIFY=1 asks for TLS")),
        _ => Err(bad("unknown scheme; use unix://, tcp:// or ssh://")),
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']')? {
            (host, "") => (host, None),
            (host, rest) => (host, Some(rest.strip_prefix(':')?)),
        },
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let sane = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    if host.is_empty() || !host.chars().all(sane) {
        return None;
    }
    match port {
        Some(port) => Some((host.to_owned(), Some(port.parse().ok().filter(|p| *p != 0)?))),
        None => Some((host.to_owned(), None)),
    }
}

#[cfg(test)]
mod tests;
