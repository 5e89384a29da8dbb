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
    /// It says everything about a bind.
    says_bind: bool,
    /// It says everything about a volume.
    says_volume: bool,
}

/// What one entry says under `bind`, `volume`, `tmpfs` and `image`. Only what fits the entry's
/// type is sent, but the bind string mixes the first two.
struct Options {
    string: BindString,
    bind: Option<Map<String, Value>>,
    volume: Option<Map<String, Value>>,
    tmpfs: Option<Map<String, Value>>,
    image: Option<Map<String, Value>>,
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
            string: string.filter(|_| sourced),
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
    let consistency = entry.string("consistency")?;
    let options = options(&mut entry, read_only)?;
    let chosen = match kind.as_str() {
        "bind" => {
            source = absolute(project, &source);
            ("BindOptions", options.bind)
        }
        "volume" => {
            if let Some(volume) = project.volumes.get(&source) {
                source.clone_from(&volume.name);
            }
            ("VolumeOptions", options.volume)
        }
        "tmpfs" => ("TmpfsOptions", options.tmpfs),
        "image" if api < IMAGE_MOUNTS => {
            return Err(TranslateError::NeedsApi { at: entry.path("type"), needed: IMAGE_MOUNTS });
        }
        "image" => ("ImageOptions", options.image),
        "npipe" | "cluster" => ("", None),
        _ => return Err(TranslateError::Unsupported { at: entry.path("type") }),
    };
    entry.finish()?;
    let body = |(name, body): (&str, Option<_>)| {
        body.map(|body| (name.to_owned(), Value::Object(body))).into_iter().collect()
    };
    // An anonymous volume has no name for a string, but may take over one that has.
    let sourced = kind == "bind" || source.is_empty() || is_project_volume(project, &source);
    let string = Some(options.string).filter(|_| sourced);
    Ok((target, Mount { kind, source, read_only, consistency, options: body(chosen), string }))
}

/// The loader has made sources absolute; one that isn't starts from the project's folder.
pub(super) fn absolute(project: &Project, source: &str) -> String {
    if Path::new(source).is_absolute() {
        return source.into();
    }
    project.working_dir.join(source).display().to_string()
}

fn options(entry: &mut Fields<'_>, read_only: bool) -> Result<Options> {
    let mut words = vec![if read_only { "ro" } else { "rw" }.to_owned()];
    let (mut says_bind, mut says_volume) = (true, true);
    let mut out = Options {
        string: BindString { options: String::new(), says_bind, says_volume },
        bind: None,
        volume: None,
        tmpfs: None,
        image: None,
    };
    if let Some(mut bind) = entry.object("bind")? {
        let create = bind.optional_flag("create_host_path")?.unwrap_or(true);
        let (propagation, recursive) = (bind.string("propagation")?, bind.string("recursive")?);
        words.extend([bind.string("selinux")?, propagation.clone()]);
        bind.finish()?;
        says_bind = create && propagation.is_empty() && recursive.is_empty();
        out.bind = Some(bind_body(create, propagation, &recursive));
    }
    if let Some(mut volume) = entry.object("volume")? {
        let labels = volume.string_map("labels")?.filter(|labels| !labels.is_empty());
        let (no_copy, subpath) = (volume.flag("nocopy")?, volume.string("subpath")?);
        volume.finish()?;
        says_volume = labels.is_none() && !no_copy && subpath.is_empty();
        let mut body = Map::new();
        if no_copy {
            words.push("nocopy".into());
            body.insert("NoCopy".into(), true.into());
        }
        body.extend(labels.map(|labels| ("Labels".to_owned(), json!(labels))));
        insert_text(&mut body, "Subpath", subpath);
        out.volume = Some(body);
    }
    if let Some(mut tmpfs) = entry.object("tmpfs")? {
        let mut body = Map::new();
        for (key, name) in [("size", "SizeBytes"), ("mode", "Mode")] {
            let amount = tmpfs.integer(key)?;
            body.extend((amount != 0).then(|| (name.to_owned(), amount.into())));
        }
        tmpfs.finish()?;
        out.tmpfs = Some(body);
    }
    if let Some(mut image) = entry.object("image")? {
        let mut body = Map::new();
        insert_text(&mut body, "Subpath", image.string("subpath")?);
        image.finish()?;
        out.image = Some(body);
    }
    words.retain(|word| !word.is_empty());
    out.string = BindString { options: words.join(","), says_bind, says_volume };
    Ok(out)
}

fn bind_body(create: bool, propagation: String, recursive: &str) -> Map<String, Value> {
    let mut body = Map::new();
    insert_text(&mut body, "Propagation", propagation);
    if create {
        body.insert("CreateMountpoint".into(), true.into());
    }
    let flag = match recursive {
        "disabled" => Some("NonRecursive"),
        "writable" => Some("ReadOnlyNonRecursive"),
        "readonly" => Some("ReadOnlyForceRecursive"),
        _ => None,
    };
    body.extend(flag.map(|flag| (flag.to_owned(), true.into())));
    body
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
        let says_all = |string: &&BindString| match mount.kind.as_str() {
            "bind" => string.says_bind,
            "volume" => string.says_volume && !mount.source.is_empty(),
            _ => false,
        };
        match mount.string.as_ref().filter(says_all) {
            Some(string) => {
                out.binds.push(format!("{}:{target}:{}", mount.source, string.options));
            }
            None => out.mounts.push(mount_body(target, mount)),
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
