//! Loads real files from temporary folders.

mod bad_input;
mod sources;

use std::path::{Path, PathBuf};

use super::source::{Environment, Flags, Request, Source, find};
use super::{Diagnostics, LoadedStack};
use crate::plan::Scope;

/// A folder of files that goes away by itself.
pub(super) struct Folder {
    root: tempfile::TempDir,
}

impl Folder {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        // The folder's name is the project's name, so it must be the same each time.
        let folder = Self { root: tempfile::tempdir().expect("a temporary folder") };
        std::fs::create_dir(folder.path()).expect("a folder");
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    pub(super) fn path(&self) -> PathBuf {
        self.root.path().join("bot")
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, text).expect("writes");
    }

    pub(super) fn request(&self) -> Request {
        Request {
            path: Some(self.path()),
            cwd: self.path(),
            flags: Flags::default(),
            environment: Environment::default(),
            scope: Scope::default(),
        }
    }

    /// The only source of the folder.
    pub(super) fn source(&self) -> Source {
        only(&self.request())
    }

    pub(super) fn load(&self) -> Result<LoadedStack, Diagnostics> {
        self.source().load(1)
    }

    /// Text without the temporary folder's path.
    pub(super) fn plain(&self, text: &str) -> String {
        text.replace(&self.root.path().display().to_string(), "")
    }
}

pub(super) fn only(request: &Request) -> Source {
    let mut found = find(request).expect("finds a source");
    assert_eq!(found.sources.len(), 1, "{:?}", found.findings);
    found.sources.remove(0)
}

pub(super) fn stack(spec: &str) -> String {
    format!("apiVersion: homeostat.dev/v1alpha1\nkind: Stack\nmetadata: {{name: bot}}\n{spec}")
}

pub(super) const COMPOSE: &str = "\
services:
  valkey: {image: valkey}
  chromadb: {image: chroma, depends_on: [valkey]}
";

pub(super) fn image(loaded: &LoadedStack, service: &str) -> String {
    loaded.goal.desired.project.services[service].image.clone().unwrap_or_default()
}

pub(super) fn names(path: &[PathBuf], under: &Path) -> Vec<String> {
    path.iter().map(|p| p.strip_prefix(under).unwrap_or(p).display().to_string()).collect()
}
