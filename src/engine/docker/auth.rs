//! Registry credentials from Docker's `config.json`: the entries of `auths`. Credential helpers
//! are programs and are not run.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};

use super::context::read;
use crate::observed::canonical_reference;
use crate::observed::lenient::{at, non_empty};
use crate::sensitive::Sensitive;

/// The key under which Docker stores Docker Hub's credentials.
const HUB: &str = "https://index.docker.io/v1/";

/// The value of `X-Registry-Auth` for an image, when credentials are stored.
///
/// # Errors
/// When the file can't be read or isn't JSON; never quotes it.
pub(super) fn header(config: &Path, reference: &str) -> Result<Option<Sensitive<String>>, String> {
    let file = config.join("config.json");
    let Some(bytes) = read(&file)? else { return Ok(None) };
    let config: Value = serde_json::from_slice(&bytes)
        .map_err(|e| format!("{} isn't valid JSON (line {})", file.display(), e.line()))?;
    Ok(from_config(&config, reference))
}

fn from_config(config: &Value, reference: &str) -> Option<Sensitive<String>> {
    let canonical = canonical_reference(reference);
    let domain = canonical.split('/').next()?;
    let server = if domain == "docker.io" { HUB } else { domain };
    // Older files have the scheme and a path in the key.
    let bare = |key: &str| -> String {
        let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest).to_owned()
    };
    let auths = at(config, &["auths"]).as_object()?;
    let entry = auths
        .get(server)
        .or_else(|| auths.iter().find(|(key, _)| bare(key) == bare(server)).map(|(_, v)| v))?;
    let mut body = json!({ "serveraddress": server });
    if let Some(token) = non_empty(entry, "identitytoken") {
        body["identitytoken"] = token.into();
    } else if let Some(auth) = non_empty(entry, "auth") {
        let decoded = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        body["username"] = user.into();
        body["password"] = password.trim_end_matches('\0').into();
    } else {
        body["username"] = non_empty(entry, "username")?.into();
        body["password"] = non_empty(entry, "password")?.into();
    }
    Some(Sensitive::new(URL_SAFE.encode(body.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(config: &Value, reference: &str) -> Option<Value> {
        let header = from_config(config, reference)?;
        let json = URL_SAFE.decode(header.expose()).expect("base64");
        Some(serde_json::from_slice(&json).expect("JSON"))
    }

    #[test]
    fn credentials_go_only_to_their_own_registry() {
        let auth = STANDARD.encode("me:pass:word");
        let config = json!({"auths": {
            HUB: {"auth": auth},
            "https://registry.example/v2/": {"identitytoken": "tok"},
            "empty.example": {},
        }});
        let hub = json!({"serveraddress": HUB, "username": "me", "password": "pass:word"});
        assert_eq!(sent(&config, "valkey/valkey:8"), Some(hub));
        let own = json!({"serveraddress": "registry.example", "identitytoken": "tok"});
        assert_eq!(sent(&config, "registry.example/a"), Some(own));
        assert_eq!(sent(&config, "other.example/a"), None);
        assert_eq!(sent(&config, "empty.example/a"), None);
        assert_eq!(sent(&json!({"auths": null}), "a"), None);
    }
}
