//! The public entry: from options to a [`Project`].

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Value as Json};

use super::consistency::{self, Parts};
use super::diagnostic::{LoadError, Sources, Staged};
use super::environment;
use super::interpolate::{self, Variables};
use super::loader::{Loader, Scope};
use super::node::{Mapping, Node, Value};
use super::options::{LoadOptions, Resolved, normalise_name, resolve};
use super::parse::{parse, read};
use super::print::{Form, Printer, any};
use super::schema::{CONFIG, MODEL, NETWORK, Object, SECRET, SERVICE, VOLUME};
use super::types::Project;
use super::{construct, normalise, support, typed};
use crate::sensitive::Sensitive;

/// Loads a project: reads files, talks to no engine.
///
/// # Errors
/// Everything that is wrong with the files, each with its place, as far as it can be found in one
/// go: a stage reports all its mistakes, later stages need the earlier ones to succeed.
pub fn load(options: &LoadOptions) -> Result<Project, LoadError> {
    let mut sources = Sources::default();
    let resolved = match resolve(options, &mut sources) {
        Ok(resolved) => resolved,
        Err(_) => return Err(sources.into_error()),
    };
    let mut loader = Loader::new(sources, options.shell.get("HOME").cloned());
    match run(&mut loader, resolved, options) {
        Ok(project) => Ok(project),
        Err(_) => Err(loader.sources.into_error()),
    }
}

fn run(loader: &mut Loader, resolved: Resolved, options: &LoadOptions) -> Staged<Project> {
    let Resolved { files, working_dir, mut variables, profiles, name } = resolved;
    let name = match name {
        Some(name) => name,
        None => project_name(&files, &working_dir, &variables, &mut loader.sources)?,
    };
    variables.insert("COMPOSE_PROJECT_NAME".into(), name.clone());
    let scope =
        Scope { directory: &working_dir, variables: &variables, including: &[], extended: false };
    let mut root = loader.model(&files, scope)?;
    let sources = &mut loader.sources;
    if root.is_empty() {
        return Err(sources.report_file(&files[0], "the Compose file is empty"));
    }
    if name.is_empty() {
        let message = "the folder's name gives no project name: use -p or `name:`";
        return Err(sources.report_file(&files[0], message));
    }
    normalise::project(&mut root, &name, &variables);
    root.remove("name");

    let active = |service: &Node| is_active(service, &profiles);
    let (mut enabled, mut disabled) = (BTreeMap::new(), BTreeMap::new());
    for (name, service) in root.get("services").and_then(Node::as_map).into_iter().flatten() {
        let into = if active(service) { &mut enabled } else { &mut disabled };
        into.insert(name.clone(), service);
    }
    consistency::project(&Parts { root: &root, enabled: &enabled, disabled: &disabled }, sources);
    if !options.allow_unsupported {
        support::check(&enabled, sources);
    }
    sources.check()?;
    let enabled: Vec<Rc<str>> = enabled.into_keys().collect();
    prune(&mut root, &enabled);
    environment::resolve(&mut root, &enabled, &variables, sources)?;

    let mut project = typed::project(print(&root, &enabled, &name, Form::Json, sources), &name);
    project.canonical_yaml = Sensitive::new(print(&root, &enabled, &name, Form::Yaml, sources));
    for (name, service) in root.get("services").and_then(Node::as_map).into_iter().flatten() {
        if !enabled.contains(name) {
            let map = object(service, &SERVICE, Form::Json, sources);
            project.disabled_services.insert(name.to_string(), typed::service(name, map));
        }
    }
    sources.check()?;
    project.working_dir = working_dir;
    if !options.allow_unsupported {
        support::translatable(&project, &root, sources);
        sources.check()?;
    }
    project.read_files = read_files(&files, sources);
    project.config_files = files;
    project.variables = variables.asked();
    project.warnings = std::mem::take(&mut sources.warnings);
    Ok(project)
}

fn is_active(service: &Node, profiles: &[String]) -> bool {
    match service.get("profiles").and_then(Node::as_list) {
        None | Some([]) => true,
        Some(own) => profiles
            .iter()
            .any(|p| p == "*" || own.iter().any(|own| own.as_str() == Some(p.as_str()))),
    }
}

/// `name:` of the files (the last wins), or the folder's name.
fn project_name(
    files: &[std::path::PathBuf],
    directory: &std::path::Path,
    variables: &Variables,
    sources: &mut Sources,
) -> Staged<String> {
    let mut found = None;
    for file in files {
        let text = read(file, sources)?;
        // A quick look spares the second parse in nearly every file.
        if !text.contains("name") {
            continue;
        }
        let mut scratch = Sources::default();
        let index = scratch.add(file, text.clone());
        // Mistakes are reported by the real load.
        let Ok(tree) = parse(&text, index, &mut scratch) else { continue };
        for &document in &tree.documents {
            if let Some(name) = construct::top_level_text(&tree, document, "name") {
                found = Some(name);
            }
        }
    }
    let base =
        || directory.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let Some(template) = found.filter(|name| !name.is_empty()) else {
        return Ok(normalise_name(&base()));
    };
    let lookup = |name: &str| variables.get(name).cloned();
    match interpolate::substitute(&template, &lookup, &mut Vec::new()) {
        Ok(name) => Ok(normalise_name(&name)),
        // The load itself reports it with its place.
        Err(_) => Ok(normalise_name(&base())),
    }
}

/// Drops the resources that no enabled service uses.
fn prune(root: &mut Mapping, enabled: &[Rc<str>]) {
    let mut used: BTreeMap<&str, std::collections::BTreeSet<Rc<str>>> = BTreeMap::new();
    for name in enabled {
        let Some(service) = root.get("services").and_then(|s| s.get(name)) else { continue };
        for key in ["networks", "models"] {
            used.entry(key).or_default().extend(service.section(key).map(|(name, _)| name.clone()));
        }
        let mut add = |section: &'static str, list: Option<&Node>, only_volumes: bool| {
            for item in list.and_then(Node::as_list).unwrap_or_default() {
                if only_volumes && item.get_str("type") != Some("volume") {
                    continue;
                }
                if let Some(Value::Text(source)) = item.get("source").map(|s| &s.value) {
                    used.entry(section).or_default().insert(source.clone());
                }
            }
        };
        add("volumes", service.get("volumes"), true);
        add("secrets", service.get("secrets"), false);
        add("secrets", service.get("build").and_then(|b| b.get("secrets")), false);
        add("configs", service.get("configs"), false);
    }
    for section in ["networks", "volumes", "secrets", "configs", "models"] {
        let used = used.remove(section).unwrap_or_default();
        if let Some(map) = root.get_mut(section).and_then(Node::as_map_mut) {
            map.retain(|name, _| used.contains(name));
        }
    }
}

fn object(node: &Node, object: &Object, form: Form, sources: &mut Sources) -> Map<String, Json> {
    let empty = Mapping::new();
    Printer { sources, form }.object(node.as_map().unwrap_or(&empty), object)
}

/// The whole project as `config` prints it.
fn print(
    root: &Mapping,
    enabled: &[Rc<str>],
    name: &str,
    form: Form,
    sources: &mut Sources,
) -> Map<String, Json> {
    let mut sections: Vec<(&str, Json)> = vec![("name", Json::String(name.into()))];
    let mut services = Map::new();
    for name in enabled {
        if let Some(service) = root.get("services").and_then(|s| s.get(name)) {
            let map = object(service, &SERVICE, form, sources);
            services.insert(name.to_string(), Json::Object(map));
        }
    }
    sections.push(("services", Json::Object(services)));
    for (section, schema) in [
        ("networks", &NETWORK),
        ("volumes", &VOLUME),
        ("secrets", &SECRET),
        ("configs", &CONFIG),
        ("models", &MODEL),
    ] {
        let mut printed = Map::new();
        for (name, node) in root.get(section).and_then(Node::as_map).into_iter().flatten() {
            let mut map = object(node, schema, form, sources);
            // A config's content that comes from a variable isn't printed.
            if section == "configs" && map.contains_key("environment") {
                map.shift_remove("content");
            }
            printed.insert(name.to_string(), Json::Object(map));
        }
        // v5.6.1 leaves models out of its JSON.
        if !printed.is_empty() && (section != "models" || form == Form::Yaml) {
            sections.push((section, Json::Object(printed)));
        }
    }
    let extensions = root.iter().filter(|(key, _)| key.starts_with("x-"));
    sections.extend(extensions.map(|(key, node)| (key.as_ref(), any(node))));
    if form == Form::Json {
        sections.sort_by_key(|(name, _)| *name);
    }
    sections.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Everything that was read besides the files given.
fn read_files(files: &[std::path::PathBuf], sources: &Sources) -> Vec<std::path::PathBuf> {
    let mut read: Vec<_> = sources.others.clone();
    read.extend(sources.paths().filter(|p| !files.iter().any(|f| f == p)).map(ToOwned::to_owned));
    read.sort();
    read.dedup();
    read
}
