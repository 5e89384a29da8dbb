//! Checks files without any effect: what `homeostat validate PATH…` prints.

use std::path::{Path, PathBuf};

use super::diagnostics::Diagnostics;
use super::source::{Environment, Flags, Request, find};
use crate::api::diagnostic::Diagnostic;
use crate::compose::STDIN;
use crate::plan::Scope;

/// Most paths that are checked in one call.
const MAX_PATHS: usize = 1000;

/// Everything that is wrong or doubtful with Stack files, Compose files and folders of either,
/// sorted by place. Without errors among it, all of them load.
pub fn validate(paths: &[PathBuf], cwd: &Path, environment: &Environment) -> Vec<Diagnostic> {
    let mut all = Vec::new();
    for path in paths.iter().take(MAX_PATHS) {
        let stdin = path.as_os_str() == STDIN;
        let files = if stdin { vec![path.clone()] } else { Vec::new() };
        let request = Request {
            path: (!stdin).then(|| path.clone()),
            cwd: cwd.to_owned(),
            flags: Flags { files, ..Flags::default() },
            environment: environment.clone(),
            scope: Scope::default(),
        };
        match find(&request) {
            Ok(found) => {
                all.extend(found.findings);
                for source in found.sources {
                    match source.load(1) {
                        Ok(loaded) => all.extend(loaded.warnings.into_iter().chain(loaded.doubts)),
                        Err(Diagnostics { list, .. }) => all.extend(list),
                    }
                }
            }
            Err(Diagnostics { list, .. }) => all.extend(list),
        }
    }
    if let Some(path) = paths.get(MAX_PATHS) {
        all.push(Diagnostic::file(path, format!("not checked: more than {MAX_PATHS} paths")));
    }
    all.sort();
    all.dedup();
    all
}
