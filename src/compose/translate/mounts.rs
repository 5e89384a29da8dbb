//! `Binds` and `Mounts`.
//!
//! Compose writes a bind string wherever it can, because only that form makes a missing host
//! folder, and a mount where an option needs it. Both lists are sorted here: Compose ranges over
//! a map.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::BindContext;
use super::error::TranslateError;
use super::fields::Fields;
use crate::compose::types::Project;

type Result<T> = std::result::Result<T, TranslateError>;

/// Image mounts came with API 1.48; Compose refuses them before.
const IMAGE_MOUNTS: (u32, u32) = (1, 48);

/// `Binds` and `Mounts` of a host configuration.
#[derive(Default)]
pub(super) struct Mounts {
    pub binds: Vec<String>,
    pub mounts: Vec<Value>,
}

/// One mount, before it is known which list takes it.
#[derive(Default)]
pub(super) struct Mount {
    kind: String,
    source: String,
    read_only: bool,
    consistency: String,
    options: Map<String, Value>,
    /// What a bind string would say. Only an entry of `volumes` has it.
    string: Option<BindString>,
}

#[derive(Clone)]
struct BindString {
    options: String,
    /// The string can say all of it.
    complete: bool,
    /// The source is a host path or one of the project's volumes.
    sourced: bool,
}

/// Mounts by path in the container; a later one takes the place of an earlier.
pub(super) type ByTarget = BTreeMap<String, Mount>;

impl Mount {
    /// A file of the host for a secret or config.
    pub fn file(source: String, options: Option<Map<String, Value>>) -> Self {
        let mut mount = Self { kind: "bind".into(), source, read_only: true, ..Self::default() };
        if let Some(options) = options {
            mount.options.insert("BindOptions".into(), Value::Object(options));
        }
        mount
    }
}

/// The mounts that `volumes` asks for, over those that a recreated container keeps.
pub(super) fn service_mounts(
    project: &Project,
    fields: &mut Fields<'_>,
    context: &BindContext<'_>,
) -> Result<ByTarget> {
    let mut mounts = ByTarget::new();
    let mut entries = Vec::new();
    for entry in fields.objects("volumes")? {
        entries.push(service_mount(project, entry, context.api)?);
    }
    for (target, mount) in kept_mounts(project, &entries, context) {
        mounts.insert(target, mount);
    }
    for (target, mount) in entries {
        // An anonymous volume keeps the data that the replaced container had there.
        if !(mount.source.is_empty() && mounts.contains_key(&target)) {
            mounts.insert(target, mount);
        }
    }
    Ok(mounts)
}

/// What the replaced container had where the image declares a volume or an entry names none.
fn kept_mounts(
    project: &Project,
    entries: &[(String, Mount)],
    context: &BindContext<'_>,
) -> ByTarget {
    let mut kept = ByTarget::new();
    let Some(replaced) = context.replaces else { return kept };
    for old in replaced.mounts.iter().filter(|old| old.kind != "tmpfs") {
        let anonymous = entries
            .iter()
            .find(|(target, mount)| *target == old.destination && mount.source.is_empty());
        if anonymous.is_none() && !replaced.image_volumes.contains(&old.destination) {
            continue;
        }
        let source = if old.kind == "volume" { &old.name } else { &old.source };
        let sourced = old.kind == "bind" || is_project_volume(project, source);
        let string = anonymous.and_then(|(_, mount)| mount.string.clone());
        let mount = Mount {
            kind: old.kind.clone(),
            source: source.clone(),
            read_only: !old.rw,
            string: string.map(|string| BindString { sourced, ..string }),
            ..Mount::default()
        };
        kept.insert(old.destination.clone(), mount);
    }
    kept
}

fn is_project_volume(project: &Project, name: &str) -> bool {
    project.volumes.values().any(|volume| volume.name == name)
}

fn service_mount(
    project: &Project,
    mut entry: Fields<'_>,
    api: (u32, u32),
) -> Result<(String, Mount)> {
    let kind = entry.string("type")?;
    let mut source = entry.string("source")?;
    let target = entry.string("target")?;
    let read_only = entry.flag("read_only")?;
    let mut options = Map::new();
    let mut string = None;
    match kind.as_str() {
        "bind" => {
            source = absolute(project, &source);
            string = Some(bind_options(&mut entry, read_only, &mut options)?);
        }
        "volume" => {
            let complete = volume_options(&mut entry, &mut options)?;
            if let Some(volume) = project.volumes.get(&source) {
                source.clone_from(&volume.name);
            }
            let sourced = is_project_volume(project, &source);
            let options = bind_words(&mut entry, read_only)?;
            string = Some(BindString { options, complete, sourced });
        }
        "tmpfs" => tmpfs_options(&mut entry, &mut options)?,
        "image" if api < IMAGE_MOUNTS => {
            return Err(TranslateError::NeedsApi { at: entry.path("type"), needed: IMAGE_MOUNTS });
        }
        "image" => {
            if let Some(mut image) = entry.object("image")? {
                let mut body = Map::new();
                insert_text(&mut body, "Subpath", image.string("subpath")?);
                image.finish()?;
                options.insert("ImageOptions".into(), Value::Object(body));
            }
        }
        "npipe" | "cluster" => {}
        _ => return Err(TranslateError::Unsupported { at: entry.path("type") }),
    }
    let consistency = entry.string("consistency")?;
    // Compose warns of options of another kind of mount, and sends none.
    entry.ignore(&["bind", "volume", "tmpfs", "image"]);
    entry.finish()?;
    Ok((target, Mount { kind, source, read_only, consistency, options, string }))
}

/// The loader has made sources absolute; one that isn't starts from the project's folder.
pub(super) fn absolute(project: &Project, source: &str) -> String {
    if Path::new(source).is_absolute() {
        return source.into();
    }
    project.working_dir.join(source).display().to_string()
}

/// The options of a bind string: access, then SELinux label and propagation.
fn bind_words(entry: &mut Fields<'_>, read_only: bool) -> Result<String> {
    let mut words = vec![if read_only { "ro" } else { "rw" }.to_owned()];
    if let Some(mut bind) = entry.object("bind")? {
        words.extend([bind.string("selinux")?, bind.string("propagation")?]);
    }
    words.retain(|word| !word.is_empty());
    Ok(words.join(","))
}

fn bind_options(
    entry: &mut Fields<'_>,
    read_only: bool,
    options: &mut Map<String, Value>,
) -> Result<BindString> {
    let words = bind_words(entry, read_only)?;
    let mut complete = true;
    if let Some(mut bind) = entry.object("bind")? {
        bind.ignore(&["selinux"]);
        let create = bind.optional_flag("create_host_path")?.unwrap_or(true);
        let propagation = bind.string("propagation")?;
        let recursive = bind.string("recursive")?;
        bind.finish()?;
        complete = create && propagation.is_empty() && recursive.is_empty();
        let mut body = Map::new();
        insert_text(&mut body, "Propagation", propagation);
        if create {
            body.insert("CreateMountpoint".into(), true.into());
        }
        let flag = match recursive.as_str() {
            "disabled" => Some("NonRecursive"),
            "writable" => Some("ReadOnlyNonRecursive"),
            "readonly" => Some("ReadOnlyForceRecursive"),
            _ => None,
        };
        if let Some(flag) = flag {
            body.insert(flag.into(), true.into());
        }
        options.insert("BindOptions".into(), Value::Object(body));
    }
    Ok(BindString { options: words, complete, sourced: true })
}

/// True when a bind string can say it all.
fn volume_options(entry: &mut Fields<'_>, options: &mut Map<String, Value>) -> Result<bool> {
    let Some(mut volume) = entry.object("volume")? else { return Ok(true) };
    let labels = volume.string_map("labels")?.filter(|labels| !labels.is_empty());
    let no_copy = volume.flag("nocopy")?;
    let subpath = volume.string("subpath")?;
    volume.finish()?;
    let mut body = Map::new();
    let plain = labels.is_none() && !no_copy && subpath.is_empty();
    if no_copy {
        body.insert("NoCopy".into(), true.into());
    }
    if let Some(labels) = labels {
        body.insert("Labels".into(), json!(labels));
    }
    insert_text(&mut body, "Subpath", subpath);
    options.insert("VolumeOptions".into(), Value::Object(body));
    Ok(plain)
}

fn tmpfs_options(entry: &mut Fields<'_>, options: &mut Map<String, Value>) -> Result<()> {
    let Some(mut tmpfs) = entry.object("tmpfs")? else { return Ok(()) };
    let mut body = Map::new();
    for (key, name) in [("size", "SizeBytes"), ("mode", "Mode")] {
        let amount = tmpfs.integer(key)?;
        if amount != 0 {
            body.insert(name.into(), amount.into());
        }
    }
    tmpfs.finish()?;
    options.insert("TmpfsOptions".into(), Value::Object(body));
    Ok(())
}

fn insert_text(body: &mut Map<String, Value>, key: &str, text: String) {
    if !text.is_empty() {
        body.insert(key.into(), text.into());
    }
}

/// Divides mounts between the two lists.
pub(super) fn divided(by_target: ByTarget) -> Mounts {
    let mut out = Mounts::default();
    for (target, mount) in by_target {
        match &mount.string {
            Some(string) if string.complete && string.sourced => {
                out.binds.push(format!("{}:{target}:{}", mount.source, string.options));
            }
            _ => out.mounts.push(mount_body(target, mount)),
        }
    }
    out.binds.sort();
    out
}

fn mount_body(target: String, mount: Mount) -> Value {
    let mut body = Map::new();
    insert_text(&mut body, "Type", mount.kind);
    insert_text(&mut body, "Source", mount.source);
    insert_text(&mut body, "Target", target);
    if mount.read_only {
        body.insert("ReadOnly".into(), true.into());
    }
    insert_text(&mut body, "Consistency", mount.consistency);
    body.extend(mount.options);
    Value::Object(body)
}
