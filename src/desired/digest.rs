//! Tells two loads of one project apart without showing what is in either.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::compose::Project;

/// A digest of each part of a canonical project, by what it is (`service web`, `name`).
pub type Digests = BTreeMap<String, String>;

/// Bytes of SHA-256 that are kept: enough to tell parts apart.
const KEPT: usize = 16;

/// The digests of a project. Policies of a Stack take no part.
pub fn digests(project: &Project) -> Digests {
    let mut all = Digests::new();
    for (section, value) in project.canonical.expose() {
        let part = section.strip_suffix('s').filter(|_| !section.starts_with("x-"));
        match (part, value) {
            (Some(part), Value::Object(entries)) => {
                for (name, value) in entries {
                    all.insert(format!("{part} {name}"), digest(&value.to_string()));
                }
            }
            _ => {
                all.insert(section.clone(), digest(&value.to_string()));
            }
        }
    }
    all
}

/// The parts that differ, or that only one of the two has, sorted.
pub fn differing(one: &Digests, other: &Digests) -> Vec<String> {
    let of_one = one.iter().filter(|(part, digest)| other.get(*part) != Some(digest));
    let of_other = other.keys().filter(|part| !one.contains_key(*part));
    let mut parts: Vec<String> = of_one.map(|(part, _)| part).chain(of_other).cloned().collect();
    parts.sort();
    parts
}

/// A digest of what is written in these files. One that is gone again counts as empty: the next
/// load finds that out.
pub fn contents(files: &[PathBuf]) -> String {
    let mut all = Sha256::new();
    for file in files {
        let text = std::fs::read(file).unwrap_or_default();
        all.update(text.len().to_le_bytes());
        all.update(text);
    }
    hex(&all.finalize())
}

fn digest(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().take(KEPT).map(|b| format!("{b:02x}")).collect()
}
