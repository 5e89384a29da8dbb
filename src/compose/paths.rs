//! Relative paths become absolute.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::canonical::clean;
use super::node::{Mapping, Node, Value};

/// Where relative paths start, and where `~` leads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Base<'a> {
    pub(super) directory: &'a Path,
    pub(super) home: Option<&'a str>,
}

impl Base<'_> {
    /// A path, absolute.
    pub(super) fn absolute(self, path: &str) -> String {
        let expanded = self.expand(path);
        if expanded.starts_with('/') || expanded.is_empty() {
            return expanded;
        }
        clean(&format!("{}/{expanded}", self.directory.display()))
    }

    fn expand(self, path: &str) -> String {
        match (path.strip_prefix('~'), self.home) {
            (Some(rest), Some(home)) => clean(&format!("{home}/{rest}")),
            _ => path.to_owned(),
        }
    }

    /// A path that may be a Windows path.
    fn mount(self, path: &str) -> String {
        let bytes = path.as_bytes();
        let drive = bytes.len() > 2
            && bytes[0].is_ascii_alphabetic()
            && bytes[1] == b':'
            && matches!(bytes[2], b'\\' | b'/');
        if drive || path.starts_with("\\\\") || path.starts_with('/') {
            return path.to_owned();
        }
        let expanded = self.expand(path);
        if expanded.starts_with('/') {
            return expanded;
        }
        clean(&format!("{}/{expanded}", self.directory.display()))
    }

    /// A build context: a path, an address or another service.
    fn context(self, path: &str) -> String {
        let remote = ["https://", "http://", "git://", "ssh://", "github.com/", "git@"];
        if path.contains("://")
            || path.starts_with("service:")
            || remote.iter().any(|prefix| path.starts_with(prefix))
        {
            return path.to_owned();
        }
        self.absolute(path)
    }
}

/// Resolves every path of a canonical tree.
pub(super) fn resolve(root: &mut Mapping, base: Base<'_>) {
    for service in section(root, "services") {
        for (key, value) in service.iter_mut() {
            attribute(key, value, base);
        }
    }
    for name in ["configs", "secrets"] {
        for resource in section(root, name) {
            if let Some(file) = resource.get_mut("file") {
                rewrite(file, |p| base.mount(p));
            }
        }
    }
    for volume in section(root, "volumes") {
        // The local driver's bind mounts name a path of the host.
        if volume.get("driver").and_then(Node::as_str) != Some("local") {
            continue;
        }
        let Some(options) = volume.get_mut("driver_opts") else { continue };
        if options.get_str("o") == Some("bind")
            && let Some(device) = options.get_mut("device")
        {
            rewrite(device, |p| base.mount(p));
        }
    }
}

fn section<'m>(root: &'m mut Mapping, name: &str) -> impl Iterator<Item = &'m mut Mapping> {
    let entries = root.get_mut(name).and_then(Node::as_map_mut);
    entries.into_iter().flat_map(|m| m.values_mut()).filter_map(Node::as_map_mut)
}

fn attribute(key: &str, value: &mut Node, base: Base<'_>) {
    match key {
        "build" => {
            if let Some(context) = value.get_mut("context") {
                rewrite(context, |p| base.context(p));
            }
            for (key, mount) in [("additional_contexts", false), ("ssh", true)] {
                let map = value.get_mut(key).and_then(Node::as_map_mut);
                for node in map.into_iter().flat_map(|m| m.values_mut()) {
                    rewrite(node, |p| if mount { base.mount(p) } else { base.context(p) });
                }
            }
        }
        "env_file" => {
            for item in value.as_list_mut().into_iter().flatten() {
                if let Some(path) = item.get_mut("path") {
                    rewrite(path, |p| base.absolute(p));
                }
            }
        }
        "label_file" => {
            for item in value.as_list_mut().into_iter().flatten() {
                rewrite(item, |p| base.absolute(p));
            }
        }
        "extends" => {
            if let Some(file) = value.get_mut("file") {
                rewrite(file, |p| base.absolute(p));
            }
        }
        "develop" => {
            let watch = value.get_mut("watch").and_then(Node::as_list_mut);
            for trigger in watch.into_iter().flatten() {
                if let Some(path) = trigger.get_mut("path") {
                    rewrite(path, |p| follow(&base.absolute(p)));
                }
            }
        }
        "volumes" => {
            for mount in value.as_list_mut().into_iter().flatten() {
                if mount.get_str("type") == Some("bind")
                    && let Some(source) = mount.get_mut("source")
                {
                    rewrite(source, |p| base.mount(p));
                }
            }
        }
        _ => {}
    }
}

fn rewrite(node: &mut Node, change: impl Fn(&str) -> String) {
    if let Value::Text(text) = &mut node.value {
        let changed = change(text);
        if **text != *changed {
            *text = Rc::from(changed);
        }
    }
}

/// Replaces the first symbolic link on a path by its target.
fn follow(path: &str) -> String {
    let mut current = PathBuf::from("/");
    for part in path.split('/').filter(|part| !part.is_empty()) {
        current.push(part);
        if current.is_symlink() {
            let Ok(target) = current.canonicalize() else { return path.to_owned() };
            let linked = current.display().to_string();
            return path.replacen(&linked, &target.display().to_string(), 1);
        }
    }
    path.to_owned()
}
