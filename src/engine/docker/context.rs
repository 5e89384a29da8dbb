//! Docker's configuration folder: contexts and TLS material.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::endpoint::{Address, Surroundings, Tls, parse};
use crate::engine::Fault;
use crate::observed::lenient::{at, flag, non_empty};

/// Bytes that we read of one file of the folder.
const FILE_LIMIT: u64 = 1024 * 1024;

/// A file's bytes; `None` when it isn't there.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("can't read {}: {e}", path.display())),
    };
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("can't read {}: {e}", path.display()))?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(format!("{} is larger than {FILE_LIMIT} bytes", path.display()));
    }
    Ok(Some(bytes))
}

fn read_json(path: &Path) -> Result<Option<Value>, String> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| format!("{} isn't valid JSON: {e}", path.display()))
}

/// The name and address of the current context; `None` when it is Docker's `default`.
pub(super) fn current(around: &Surroundings) -> Result<Option<(String, Address)>, Fault> {
    let Some(folder) = around.docker_config() else { return Ok(None) };
    let name = match around.var("DOCKER_CONTEXT") {
        Some(name) => Some(name.to_owned()),
        None => read_json(&folder.join("config.json"))
            .map_err(|reason| Fault::BadEndpoint { endpoint: "current context".into(), reason })?
            .and_then(|config| non_empty(&config, "currentContext")),
    };
    let Some(name) = name.filter(|name| name != "default") else { return Ok(None) };
    let bad = |reason: String| Fault::BadEndpoint { endpoint: format!("context {name}"), reason };
    let digest: String = Sha256::digest(&name).iter().map(|byte| format!("{byte:02x}")).collect();
    let file = folder.join("contexts/meta").join(&digest).join("meta.json");
    let meta = read_json(&file).map_err(bad)?.ok_or_else(|| {
        bad(format!("no such context in {}; list them with `docker context ls`", folder.display()))
    })?;
    let docker = at(&meta, &["Endpoints", "docker"]);
    let host = non_empty(docker, "Host").ok_or_else(|| bad("it names no host".into()))?;
    let material = folder.join("contexts/tls").join(&digest).join("docker");
    let address = parse(&host, || {
        let tls = tls_from_files(
            &material.join("ca.pem"),
            &material.join("cert.pem"),
            &material.join("key.pem"),
            flag(docker, "SkipTLSVerify"),
        )
        .map_err(bad)?;
        let wanted = tls.ca.is_some() || tls.identity.is_some() || tls.skip_verify;
        Ok(wanted.then_some(tls))
    })?;
    Ok(Some((name.clone(), address)))
}

/// TLS as `DOCKER_TLS_VERIFY`, `DOCKER_TLS` and `DOCKER_CERT_PATH` ask for it.
pub(super) fn tls_from_env(around: &Surroundings) -> Result<Option<Tls>, Fault> {
    let verify = around.var("DOCKER_TLS_VERIFY").is_some();
    if !verify && around.var("DOCKER_TLS").is_none() {
        return Ok(None);
    }
    let bad = |reason: String| Fault::BadEndpoint { endpoint: "DOCKER_CERT_PATH".into(), reason };
    let folder = around
        .var("DOCKER_CERT_PATH")
        .map(PathBuf::from)
        .or_else(|| around.docker_config())
        .ok_or_else(|| bad("TLS is asked for, but neither it nor HOME is set".into()))?;
    let tls = tls_from_files(
        &folder.join("ca.pem"),
        &folder.join("cert.pem"),
        &folder.join("key.pem"),
        !verify,
    )
    .map_err(bad)?;
    if tls.ca.is_none() && verify {
        return Err(bad(format!("{} is missing", folder.join("ca.pem").display())));
    }
    Ok(Some(tls))
}

fn tls_from_files(ca: &Path, cert: &Path, key: &Path, skip_verify: bool) -> Result<Tls, String> {
    let identity = match (read(cert)?, read(key)?) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => return Err(format!("{} is missing", key.display())),
        (None, Some(_)) => return Err(format!("{} is missing", cert.display())),
    };
    Ok(Tls { ca: read(ca)?, identity, skip_verify })
}
