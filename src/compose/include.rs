//! `include`: other projects' resources become this one's.

use std::path::{Path, PathBuf};

use super::construct::{KeyPath, apply_resets};
use super::diagnostic::{Place, Staged};
use super::loader::{Loader, Scope};
use super::merge;
use super::node::{Mapping, Node, Value};
use super::options::{env_files, join};

/// Deepest nesting of includes.
const MAX_INCLUDES: usize = 50;

struct Include {
    paths: Vec<(PathBuf, Place)>,
    directory: PathBuf,
    env_files: Vec<PathBuf>,
}

/// Loads what a document includes, and adds its resources.
pub(super) fn apply(
    loader: &mut Loader,
    root: &mut Mapping,
    file: &Path,
    scope: Scope<'_>,
    resets: &[KeyPath],
) -> Staged<()> {
    let Some(list) = root.remove("include") else { return Ok(()) };
    if list.is_null() {
        return Ok(());
    }
    let Some(items) = list.as_list() else {
        return Err(loader.sources.report(list.place, "`include` must be a list"));
    };
    let mut including = scope.including.to_vec();
    including.push(file.to_owned());
    for item in items {
        let include = entry(loader, item, scope)?;
        let Some((first, place)) = include.paths.first() else { continue };
        if including.contains(first) || including.len() > MAX_INCLUDES {
            let chain: Vec<String> =
                including.iter().chain([first]).map(|p| p.display().to_string()).collect();
            let message = format!("`include` goes in a circle: {}", chain.join(" -> "));
            return Err(loader.sources.report(*place, message));
        }
        let from_files = env_files(&include.env_files, scope.variables, &mut loader.sources)?;
        let mut variables = scope.variables.clone();
        for (name, value) in from_files {
            variables.default_to(name, value);
        }
        let files: Vec<PathBuf> = include.paths.iter().map(|(path, _)| path.clone()).collect();
        for (path, place) in &include.paths {
            if !path.exists() {
                let message = format!("{}: no such file", path.display());
                loader.sources.report(*place, message);
            }
        }
        loader.sources.check()?;
        let inner = Scope {
            directory: &include.directory,
            variables: &variables,
            including: &including,
            extended: false,
        };
        let included = loader.model(&files, inner)?;
        import(loader, included, root, resets)?;
    }
    Ok(())
}

/// One item of `include`, resolved.
fn entry(loader: &mut Loader, item: &Node, scope: Scope<'_>) -> Staged<Include> {
    let texts = |node: Option<&Node>| -> Vec<(String, Place)> {
        match node.map(|n| (&n.value, n.place)) {
            Some((Value::Text(text), place)) => vec![(text.to_string(), place)],
            Some((Value::List(list), _)) => {
                list.iter().filter_map(|n| Some((n.as_str()?.to_owned(), n.place))).collect()
            }
            _ => Vec::new(),
        }
    };
    let (paths, env, directory) = match &item.value {
        Value::Text(_) => (texts(Some(item)), Vec::new(), None),
        Value::Map(map) => {
            for (key, value) in map {
                if !["path", "env_file", "project_directory"].contains(&key.as_ref()) {
                    let message = format!("unknown attribute `{key}` in `include`");
                    let known = "known here: path, env_file, project_directory";
                    loader.sources.report_help(value.key, message, known);
                }
            }
            let directory = map.get("project_directory").and_then(Node::as_str).map(str::to_owned);
            (texts(map.get("path")), texts(map.get("env_file")), directory)
        }
        _ => {
            let message = "an item of `include` must be a path or a mapping";
            return Err(loader.sources.report(item.place, message));
        }
    };
    for (path, place) in &paths {
        let remote = path.contains("://") || path.starts_with("git@") || path.starts_with("oci:");
        if remote {
            loader.sources.report(*place, "including from a remote place is not supported yet");
        }
    }
    if paths.is_empty() {
        loader.sources.report(item.place, "an item of `include` needs `path`");
    }
    loader.sources.check()?;
    let paths: Vec<(PathBuf, Place)> = paths
        .into_iter()
        .map(|(path, place)| (join(scope.directory, Path::new(&path)), place))
        .collect();
    let beside =
        || paths.first().and_then(|(p, _)| p.parent()).unwrap_or(Path::new("/")).to_owned();
    let directory = directory.map_or_else(beside, |given| join(scope.directory, Path::new(&given)));
    let env_files = if env.is_empty() {
        let default = directory.join(".env");
        if default.is_file() { vec![default] } else { Vec::new() }
    } else {
        env.iter()
            .filter(|(path, _)| path != "/dev/null")
            .map(|(path, _)| join(scope.directory, Path::new(path)))
            .collect()
    };
    Ok(Include { paths, directory, env_files })
}

/// Adds resources; where this document has one of the same name, it overrides.
fn import(
    loader: &mut Loader,
    mut included: Mapping,
    root: &mut Mapping,
    resets: &[KeyPath],
) -> Staged<()> {
    apply_resets_to_conflicts(&mut included, root, resets);
    for section in ["services", "volumes", "networks", "secrets", "configs", "models"] {
        let Some(Node { value: Value::Map(from), place, key }) = included.remove(section) else {
            continue;
        };
        let target = root.entry(section.into()).or_insert_with(|| Node {
            value: Value::Map(Mapping::new()),
            place,
            key,
        });
        if target.is_null() {
            target.value = Value::Map(Mapping::new());
        }
        let Some(target) = target.as_map_mut() else { continue };
        for (name, node) in from {
            let merged = match target.remove(&name) {
                None => node,
                Some(own) if own.is_null() => node,
                Some(own) => merge::entry(section, &name, node, own, &mut loader.sources)?,
            };
            target.insert(name, merged);
        }
    }
    Ok(())
}

fn apply_resets_to_conflicts(included: &mut Mapping, root: &Mapping, resets: &[KeyPath]) {
    let conflicting: Vec<KeyPath> = resets
        .iter()
        .filter(|path| match path.as_slice() {
            [section, name, _, ..] => {
                root.get(section).is_some_and(|node| node.get(name).is_some())
            }
            _ => false,
        })
        .cloned()
        .collect();
    apply_resets(included, &conflicting);
}
