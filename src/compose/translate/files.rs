//! Secrets and configs: a file becomes a read-only bind, inline content is copied into the
//! container between create and start.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::TranslateError;
use super::fields::Fields;
use super::mounts::{ByTarget, Mount, absolute};
use crate::compose::types::{FileObject, Project};
use crate::sensitive::Sensitive;

type Result<T> = std::result::Result<T, TranslateError>;

/// One file to put into a container after its create and before each start: Compose packs it
/// into a tar archive that the engine unpacks at `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileToCopy {
    /// Path in the container; without a leading `/` it starts from `/` all the same.
    pub target: String,
    /// The whole content.
    pub content: Sensitive<String>,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The engine shall keep `uid` and `gid` (query `copyUIDGID`).
    pub copy_ids: bool,
}

/// One kind of file object.
struct Kind<'a> {
    key: &'static str,
    folder: &'static str,
    defined: &'a BTreeMap<String, FileObject>,
    /// Compose sends empty `BindOptions` for secrets and none for configs.
    options: Option<Map<String, Value>>,
}

/// Adds the binds of file-based secrets and configs, and lists what has to be copied.
pub(super) fn add_files(
    project: &Project,
    fields: &mut Fields<'_>,
    mounts: &mut ByTarget,
    warnings: &mut Vec<String>,
) -> Result<Vec<FileToCopy>> {
    let mut copies = Vec::new();
    let secrets = Kind {
        key: "secrets",
        folder: "/run/secrets/",
        defined: &project.secrets,
        options: Some(Map::new()),
    };
    let configs = Kind { key: "configs", folder: "/", defined: &project.configs, options: None };
    for kind in [secrets, configs] {
        let mut binds = ByTarget::new();
        for mut reference in fields.objects(kind.key)? {
            let source = reference.string("source")?;
            let Some(object) = kind.defined.get(&source) else {
                let what = format!("{} {source}", kind.key);
                return Err(TranslateError::Undefined { at: reference.path("source"), what });
            };
            check_driver(&kind, object)?;
            let target = match reference.string("target")? {
                target if target.is_empty() => format!("{}{source}", kind.folder),
                target if target.starts_with('/') => target,
                target => format!("{}{target}", kind.folder),
            };
            if let Some(content) = content(&kind, object)? {
                copies.extend(copy(reference, target, content)?);
                continue;
            }
            let owned = ["uid", "gid", "mode"].map(|key| reference.value(key).is_some());
            if owned.contains(&true) {
                let at = reference.path("mode");
                warnings.push(format!("{at}, uid and gid have no effect on a file-based source"));
            }
            reference.finish()?;
            let file = object.file.as_ref().map(|file| file.display().to_string());
            let file = absolute(project, &file.unwrap_or_default());
            binds.insert(target, Mount::file(file, kind.options.clone()));
        }
        for (target, mount) in binds {
            mounts.entry(target).or_insert(mount);
        }
    }
    Ok(copies)
}

/// Compose refuses what only Swarm can do.
fn check_driver(kind: &Kind<'_>, object: &FileObject) -> Result<()> {
    let at = format!("{}.{}", kind.key, object.key);
    if object.external {
        return Err(TranslateError::Unsupported { at: format!("{at}.external") });
    }
    let mut fields = Fields::new(at, object.canonical.expose());
    for key in ["driver", "template_driver"] {
        if !fields.string(key)?.is_empty() {
            return Err(TranslateError::Unsupported { at: fields.path(key) });
        }
    }
    Ok(())
}

/// Inline content, or that of a variable, which the loader puts into `content`.
fn content<'a>(kind: &Kind<'_>, object: &'a FileObject) -> Result<Option<&'a Sensitive<String>>> {
    match (&object.content, &object.environment) {
        (Some(content), _) => Ok(Some(content)),
        (None, Some(variable)) => {
            let at = format!("{}.{}.environment", kind.key, object.key);
            let what = format!("the variable {variable}");
            Err(TranslateError::Undefined { at, what })
        }
        (None, None) => Ok(None),
    }
}

fn copy(
    mut reference: Fields<'_>,
    target: String,
    content: &Sensitive<String>,
) -> Result<Option<FileToCopy>> {
    let id = |text: String, at: String| -> Result<u32> {
        let bad = |_| TranslateError::invalid(at, "expected a number");
        if text.is_empty() { Ok(0) } else { text.parse().map_err(bad) }
    };
    let (uid, gid) = (reference.string("uid")?, reference.string("gid")?);
    let copy_ids = !uid.is_empty() || !gid.is_empty();
    let uid = id(uid, reference.path("uid"))?;
    let gid = id(gid, reference.path("gid"))?;
    let mode = match reference.string("mode")? {
        mode if mode.is_empty() => 0o444,
        mode => u32::from_str_radix(&mode, 8).map_err(|_| {
            TranslateError::invalid(reference.path("mode"), "expected octal digits")
        })?,
    };
    reference.finish()?;
    if content.expose().is_empty() {
        return Ok(None);
    }
    let content = content.clone();
    Ok(Some(FileToCopy { target, content, mode, uid, gid, copy_ids }))
}
