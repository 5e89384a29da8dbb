//! The stages in order, for each file and document: parse, interpolate, include, resets, extends,
//! merge, uniqueness, validate, canonical.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::construct::{self, apply_resets};
use super::diagnostic::{Place, Sources, Staged};
use super::extends::{self, Chain};
use super::interpolate::{self, Variables};
use super::node::{Mapping, Node, Value};
use super::parse::{parse, read};
use super::paths::Base;
use super::{canonical, include, merge, paths, unique, validate};

/// What all stages of one load share.
pub(super) struct Loader {
    pub(super) sources: Sources,
    /// Values built so far, over all files.
    pub(super) nodes: usize,
    /// Files opened so far.
    pub(super) opened: usize,
    /// `HOME`, for `~`.
    pub(super) home: Option<String>,
}

/// Most files that one load may open, included and extended ones counted each time.
const MAX_FILES: usize = 1000;

/// How to load a file.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// Where relative paths of the file start.
    pub(super) directory: &'a Path,
    pub(super) variables: &'a Variables,
    /// Files being included, outermost first.
    pub(super) including: &'a [PathBuf],
    /// The file is read for one of its services, which someone extends.
    pub(super) extended: bool,
}

/// What came of a file: the merged tree and the last document's resets.
pub(super) struct Loaded {
    pub(super) root: Mapping,
    pub(super) resets: Vec<construct::KeyPath>,
}

impl Loader {
    pub(super) fn new(sources: Sources, home: Option<String>) -> Self {
        Self { sources, nodes: 0, opened: 0, home }
    }

    /// Loads files over one another, and resolves their paths.
    pub(super) fn model(&mut self, files: &[PathBuf], scope: Scope<'_>) -> Staged<Mapping> {
        let mut root = Mapping::new();
        for (number, file) in files.iter().enumerate() {
            match self.file(file, root, scope, Place::default()) {
                Ok(loaded) => root = loaded.root,
                Err(failed) => {
                    files[number + 1..].iter().for_each(|file| self.syntax(file));
                    return Err(failed);
                }
            }
        }
        canonical::defaults(&mut root);
        super::consistency::objects(&root, &mut self.sources);
        self.sources.check()?;
        let home = self.home.clone();
        paths::resolve(&mut root, Base { directory: scope.directory, home: home.as_deref() });
        resolve_environment(&mut root, scope.variables);
        Ok(root)
    }

    /// Notes the mistakes of a file that need no other one to be seen.
    fn syntax(&mut self, file: &Path) {
        let Ok(text) = read(file, &mut self.sources) else { return };
        let index = self.sources.add(file, text.clone());
        if let Ok(tree) = parse(&text, index, &mut self.sources) {
            let _ = construct::documents(&tree, &mut self.nodes, &mut self.sources);
        }
    }

    /// Loads one file over what earlier ones made. `from` names the place that asked for it.
    pub(super) fn file(
        &mut self,
        file: &Path,
        mut root: Mapping,
        scope: Scope<'_>,
        from: Place,
    ) -> Staged<Loaded> {
        self.opened += 1;
        if self.opened > MAX_FILES {
            let message = format!("the project opens more than {MAX_FILES} files");
            return Err(self.sources.report(from, message));
        }
        let text = self.read(file, from)?;
        let index = self.sources.add(file, text.clone());
        let tree = parse(&text, index, &mut self.sources)?;
        let documents = construct::documents(&tree, &mut self.nodes, &mut self.sources)?;
        drop(tree);
        let mut resets = Vec::new();
        for document in documents {
            let place = document.root.place;
            let mut node = document.root;
            if node.as_map().is_none() {
                return Err(self.sources.report(place, "the top level must be a mapping"));
            }
            interpolate::document(&mut node, scope.variables, &mut self.sources)?;
            let Value::Map(mut own) = node.value else { continue };
            if !scope.extended {
                include::apply(self, &mut own, file, scope, &document.resets)?;
            }
            apply_resets(&mut root, &document.resets);
            if !scope.extended {
                extends::apply(self, &mut own, file, scope, &document.resets)?;
            }
            root = merge::documents(root, own, &mut self.sources)?;
            unique::enforce(&mut root, &mut self.sources)?;
            if !scope.extended {
                validate::document(&root, &mut self.sources)?;
                root.remove("version");
            }
            canonical::document(&mut root, &mut self.sources)?;
            unique::enforce(&mut root, &mut self.sources)?;
            resets = document.resets;
        }
        Ok(Loaded { root, resets })
    }

    /// Reads a file; a mistake is shown where another file names it.
    fn read(&mut self, file: &Path, from: Place) -> Staged<Rc<str>> {
        if from.line == 0 {
            return read(file, &mut self.sources);
        }
        super::parse::read_within(file).map_err(|problem| {
            let message = format!("{}: {problem}", file.display());
            self.sources.report(from, message)
        })
    }

    /// A service of another file, ready to be extended.
    pub(super) fn extended(
        &mut self,
        file: &Path,
        scope: Scope<'_>,
        from: Place,
    ) -> Staged<Loaded> {
        let scope = Scope { extended: true, ..scope };
        self.file(file, Mapping::new(), scope, from)
    }

    /// A chain of `extends` that has just begun.
    pub(super) fn chain() -> Chain {
        Chain::default()
    }
}

/// Gives a value to variables that are only named, and to secrets and configs from a variable.
fn resolve_environment(root: &mut Mapping, variables: &Variables) {
    let services = root.get_mut("services").and_then(Node::as_map_mut);
    for service in services.into_iter().flat_map(|m| m.values_mut()) {
        let list = service.get_mut("environment").and_then(Node::as_list_mut);
        for item in list.into_iter().flatten() {
            if let Some(value) = item.as_str().and_then(|name| variables.get(name)) {
                let name = item.as_str().unwrap_or_default();
                item.value = Value::Text(format!("{name}={value}").into());
            }
        }
    }
    let configs = root.get_mut("configs").and_then(Node::as_map_mut);
    for config in configs.into_iter().flat_map(|m| m.values_mut()) {
        let place = config.place;
        let value = config.get_str("environment").and_then(|name| variables.get(name)).cloned();
        if let (Some(value), Some(map)) = (value, config.as_map_mut()) {
            map.insert("content".into(), Node::text(value, place));
        }
    }
}
