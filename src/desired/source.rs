//! Where a stack's desired state comes from, and how it is loaded again and again.
//!
//! # Which Stack and which Compose files
//! - A folder or file given by name: every Stack in its YAML files (not in folders below), each a
//!   source of its own; without any, the Compose files of that folder.
//! - Otherwise `-f` decides. A file that holds Stacks gives those. Compose files stand alone.
//! - Otherwise the nearest folder at or above the current one that has Stacks or a Compose file.
//!   Stacks that lie beside a Compose file are used.
//!
//! Flags go over what a Stack says. The project is named as Docker Compose names it, so that both
//! work on the same containers.
//!
//! # Environment
//! Interpolation sees `.env` or `envFiles`, then `spec.source.env`, and the process's environment
//! only when that is inherited; what comes later wins. `HOME` is there in any case: without it,
//! `~/data` would become a wrong path, and the engine would make an empty folder there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::assemble::{LoadedStack, Written, assemble};
use super::diagnostics::Diagnostics;
use super::escalation::{Escalation, escalation};
pub use super::files::is_yaml;
use super::files::{ResourceFile, compose_file, name_of, names_compose_file, resource_file, scan};
use crate::api::diagnostic::{Diagnostic, did_you_mean};
use crate::api::document::Document;
use crate::api::stack::{ComposeSource, StackSource};
use crate::compose::{self, LoadOptions, STDIN};
use crate::plan::Scope;
use crate::sensitive::Sensitive;

/// Flags of the command line, as in Docker Compose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `-f/--file`.
    pub files: Vec<PathBuf>,
    /// `-p/--project-name`.
    pub project_name: Option<String>,
    /// `--project-directory`.
    pub project_directory: Option<PathBuf>,
    /// `--env-file`.
    pub env_files: Vec<PathBuf>,
    /// `--profile`.
    pub profiles: Vec<String>,
}

/// The process's environment and who may use it.
#[derive(Clone, Default)]
pub struct Environment {
    /// The variables.
    pub variables: BTreeMap<String, String>,
    /// They take part in interpolation: always for a verb that works without a daemon, for a
    /// daemon with `--inherit-env`. A Stack's `inheritEnv` has the same effect.
    pub inherit: bool,
    /// What standard input held, for the Compose file `-`; a daemon has none.
    pub stdin: Option<Sensitive<String>>,
}

/// What to look for.
#[derive(Clone)]
pub struct Request {
    /// The folder or file of `homeostat run DIR`.
    pub path: Option<PathBuf>,
    /// The current directory, absolute.
    pub cwd: PathBuf,
    /// Flags.
    pub flags: Flags,
    /// Variables.
    pub environment: Environment,
    /// Only these services and what they need.
    pub scope: Scope,
}

/// What was found.
pub struct Found {
    /// One source a stack, by name.
    pub sources: Vec<Source>,
    /// What is wrong with other documents; it stops none of the sources.
    pub findings: Vec<Diagnostic>,
}

/// One stack's files.
#[derive(Clone)]
pub struct Source {
    /// The Stack's name; without a Stack, the folder's.
    pub name: String,
    origin: Origin,
    request: Request,
}

#[derive(Clone)]
enum Origin {
    /// A Stack: looked up by its name in its folder, or by its file while it has no name.
    Stack { folder: PathBuf, file: PathBuf, name: Option<String> },
    /// Compose files named by flags.
    Files,
    /// The Compose files of a folder.
    Folder(PathBuf),
}

/// Finds the stacks that are meant.
///
/// # Errors
/// Nothing to load is there, or the same Stack is there twice.
pub fn find(request: &Request) -> Result<Found, Diagnostics> {
    if let Some(path) = &request.path {
        return given(&request.cwd.join(path), request);
    }
    if let [file] = &request.flags.files[..]
        && !is_stdin(file)
    {
        let path = request.cwd.join(file);
        if let Ok(Some(file)) = resource_file(&path) {
            let folder = parent(&path);
            return stacks(&folder, vec![file], Vec::new(), request);
        }
    }
    let anywhere =
        |key| request.environment.inherit && request.environment.variables.contains_key(key);
    if !request.flags.files.is_empty() || anywhere("COMPOSE_FILE") {
        return Ok(bare(request, Origin::Files, &request.cwd));
    }
    let start = request.flags.project_directory.as_ref();
    let start = start.map_or_else(|| request.cwd.clone(), |d| request.cwd.join(d));
    for folder in start.ancestors() {
        let (files, unreadable) = scan(folder).unwrap_or_else(|finding| (vec![], vec![finding]));
        if files.iter().any(|f| f.stacks().next().is_some()) {
            return stacks(folder, files, unreadable, request);
        }
        if compose_file(folder).is_some() || names_compose_file(folder) {
            refuse_mistakes(&files)?;
            let mut found = bare(request, Origin::Folder(folder.to_owned()), folder);
            found.findings.extend(unreadable);
            found.findings.extend(files.iter().flat_map(ResourceFile::remarks));
            return Ok(found);
        }
    }
    let message = "holds neither a Stack nor a Compose file, and no folder above it does";
    Err(Diagnostics::gone(nothing(&start, message)))
}

fn given(path: &Path, request: &Request) -> Result<Found, Diagnostics> {
    if path.is_dir() {
        let (files, unreadable) = scan(path).map_err(Diagnostics::gone)?;
        if files.iter().any(|f| f.stacks().next().is_some()) {
            return stacks(path, files, unreadable, request);
        }
        if compose_file(path).is_some()
            || names_compose_file(path)
            || !request.flags.files.is_empty()
        {
            refuse_mistakes(&files)?;
            let mut found = bare(request, Origin::Folder(path.to_owned()), path);
            found.findings.extend(files.iter().flat_map(ResourceFile::remarks));
            return Ok(found);
        }
        let message = "holds neither a Stack nor a Compose file";
        return Err(Diagnostics::gone(nothing(path, message)).read([path.to_owned()]));
    }
    match resource_file(path).map_err(Diagnostics::gone)? {
        Some(file) => stacks(&parent(path), vec![file], Vec::new(), request),
        None => {
            let mut request = request.clone();
            request.flags.files.insert(0, path.to_owned());
            Ok(bare(&request, Origin::Files, &parent(path)))
        }
    }
}

/// Compose files don't stand alone beside a resource that is wrong.
fn refuse_mistakes(files: &[ResourceFile]) -> Result<(), Diagnostics> {
    let mistakes: Vec<Diagnostic> = files.iter().flat_map(ResourceFile::mistakes).collect();
    if mistakes.is_empty() { Ok(()) } else { Err(Diagnostics::new(mistakes)) }
}

fn nothing(path: &Path, message: &str) -> Diagnostic {
    let help = "name a folder with a Stack or a compose.yaml, or a file with -f".to_owned();
    Diagnostic::file(path, message).help(help)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == STDIN
}

pub(super) fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

fn bare(request: &Request, origin: Origin, folder: &Path) -> Found {
    let folder = folder.file_name().map(|n| n.to_string_lossy().to_lowercase());
    let name = request.flags.project_name.clone().or(folder).unwrap_or_default();
    Found { sources: vec![Source { name, origin, request: request.clone() }], findings: Vec::new() }
}

fn stacks(
    folder: &Path,
    files: Vec<ResourceFile>,
    mut findings: Vec<Diagnostic>,
    request: &Request,
) -> Result<Found, Diagnostics> {
    let mut sources: BTreeMap<String, Source> = BTreeMap::new();
    for file in &files {
        findings.extend(file.remarks());
        for document in file.stacks() {
            let name = name_of(&document).map(ToOwned::to_owned);
            let stem = || file.path.file_stem().map(|s| s.to_string_lossy().into_owned());
            let shown = name.clone().or_else(stem).unwrap_or_default();
            if name.is_none() && sources.contains_key(&shown) {
                continue;
            }
            let origin = Origin::Stack { folder: folder.to_owned(), file: file.path.clone(), name };
            let source = Source { name: shown.clone(), origin, request: request.clone() };
            if sources.insert(shown.clone(), source).is_some() {
                let at = document.key(&["metadata", "name"]);
                let message = format!("another Stack of this folder is named `{shown}` too");
                return Err(Diagnostic::at(&file.path, &file.text, at, message).into());
            }
        }
    }
    let mut sources: Vec<Source> = sources.into_values().collect();
    // Of several Stacks, `-p` chooses one; a single one it renames.
    if let (Some(name), true) = (&request.flags.project_name, sources.len() > 1) {
        let Some(at) = sources.iter().position(|s| s.name == *name) else {
            let message = format!("no Stack here is named `{name}`");
            let help = did_you_mean(name, sources.iter().map(|s| s.name.as_str()));
            return Err(Diagnostic::file(folder, message).help(help).into());
        };
        let mut chosen = sources.swap_remove(at);
        chosen.request.flags.project_name = None;
        sources = vec![chosen];
    }
    Ok(Found { sources, findings })
}

impl Found {
    /// The only source, for a verb that works on one stack.
    ///
    /// # Errors
    /// There are several.
    pub fn one(mut self, folder: &Path) -> Result<Source, Diagnostics> {
        match (self.sources.pop(), self.sources.last()) {
            (Some(source), None) => Ok(source),
            (last, _) => {
                let names: Vec<&str> =
                    self.sources.iter().chain(&last).map(|s| s.name.as_str()).collect();
                let message = format!("holds several Stacks: {}", names.join(", "));
                let help = "choose one with -p".to_owned();
                Err(Diagnostic::file(folder, message).help(help).into())
            }
        }
    }
}

impl Source {
    /// Files that decide whether and how it loads, known without loading.
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.origin {
            Origin::Stack { file, .. } => vec![file.clone()],
            Origin::Files => self.options(None, &self.request.cwd).files,
            Origin::Folder(folder) => vec![folder.join("compose.yaml")],
        }
    }

    /// The process's environment and who may use it.
    pub(super) const fn environment(&self) -> &Environment {
        &self.request.environment
    }

    /// The same files with another environment.
    pub(super) fn with_environment(&self, environment: Environment) -> Self {
        let mut other = self.clone();
        other.request.environment = environment;
        other
    }

    /// Loads the stack as the files say now. Reads files, so keep it off async threads.
    ///
    /// # Errors
    /// Everything that is wrong with the files, or that they are gone.
    pub fn load(&self, generation: u64) -> Result<LoadedStack, Diagnostics> {
        match &self.origin {
            Origin::Stack { folder, file, name } => {
                let files = self.candidates(folder, file)?;
                let all = || files.iter().map(|f| f.path.clone()).chain([file.clone()]);
                self.load_stack(generation, file, name.as_deref(), &files)
                    .map_err(|e| e.read(all()))
            }
            Origin::Files => {
                let options = self.options(None, &self.request.cwd);
                self.load_compose(generation, options, None, Escalation::default())
            }
            Origin::Folder(folder) => {
                let mut options = self.options(None, &self.request.cwd);
                if options.files.is_empty() {
                    // Once the files are gone, Docker Compose would go on with those of a folder
                    // above: another project.
                    if compose_file(folder).is_none() && !names_compose_file(folder) {
                        let finding = nothing(folder, "holds no Compose file any more");
                        return Err(Diagnostics::gone(finding).read([folder.join("compose.yaml")]));
                    }
                    options.cwd.clone_from(folder);
                }
                let (files, _) = scan(folder)?;
                refuse_mistakes(&files)?;
                let escalation = escalation(&files);
                self.load_all(generation, options, None, escalation)
            }
        }
    }

    /// The Stacks that lie where this source was found, as the files say now: none of a folder
    /// above, and no Compose files without a Stack.
    ///
    /// # Errors
    /// Something there can't be read, so that one may be missing; or the same Stack is there twice.
    pub fn beside(&self) -> Result<Vec<Self>, Diagnostics> {
        let (folder, files): (_, Vec<ResourceFile>) = match &self.origin {
            Origin::Files => return Ok(Vec::new()),
            Origin::Stack { folder, file, .. } if self.by_name(file) => {
                (folder, resource_file(file)?.into_iter().collect())
            }
            Origin::Stack { folder, .. } | Origin::Folder(folder) => {
                let (files, unreadable) = scan(folder)?;
                if !unreadable.is_empty() {
                    return Err(Diagnostics::new(unreadable));
                }
                (folder, files)
            }
        };
        for file in &files {
            let nameless = file.stacks().filter(|document| name_of(document).is_none());
            let mistakes: Vec<Diagnostic> =
                nameless.filter_map(|document| file.decode(&document).err()).flatten().collect();
            if !mistakes.is_empty() {
                return Err(Diagnostics::new(mistakes));
            }
        }
        Ok(stacks(folder, files, Vec::new(), &self.request)?.sources)
    }

    /// Whether a Stack's file was given by name: it is looked for nowhere else.
    fn by_name(&self, file: &Path) -> bool {
        let given = self.request.path.as_ref().map(|p| self.request.cwd.join(p));
        given.map_or(!self.request.flags.files.is_empty(), |p| p == file)
    }

    /// The files in which the Stack may be. A single file given by name is the only one.
    fn candidates(&self, folder: &Path, file: &Path) -> Result<Vec<ResourceFile>, Diagnostics> {
        if self.by_name(file) {
            let found = resource_file(file);
            let found = found.map_err(|e| Diagnostics::gone(e).read([file.to_owned()]))?;
            return Ok(found.into_iter().collect());
        }
        let (files, unreadable) =
            scan(folder).map_err(|e| Diagnostics::gone(e).read([file.to_owned()]))?;
        match unreadable.into_iter().find(|d| d.file == file) {
            Some(finding) => Err(Diagnostics::gone(finding).read([file.to_owned()])),
            None => Ok(files),
        }
    }

    fn load_stack(
        &self,
        generation: u64,
        last: &Path,
        name: Option<&str>,
        files: &[ResourceFile],
    ) -> Result<LoadedStack, Diagnostics> {
        let documents: Vec<(&ResourceFile, Document<'_>)> =
            files.iter().flat_map(|f| f.stacks().map(move |d| (f, d))).collect();
        let ours = |entry: &&(&ResourceFile, Document<'_>)| match name {
            Some(name) => name_of(&entry.1) == Some(name),
            None => entry.0.path == last,
        };
        let mut matches = documents.iter().filter(ours);
        let Some((file, document)) = matches.next() else {
            return Err(self.missing(last, &documents));
        };
        if let (Some(name), Some((other, document))) = (name, matches.next()) {
            let at = document.key(&["metadata", "name"]);
            let message = format!("another Stack of this folder is named `{name}` too");
            return Err(Diagnostic::at(&other.path, &other.text, at, message).into());
        }
        let stack = match file.decode(document) {
            Ok(stack) => stack,
            Err(mistakes) => return Err(self.beyond(Diagnostics::new(mistakes), file, files)),
        };
        let options = self.options(Some(&stack.spec.source), &parent(&file.path));
        let folder = parent(&file.path);
        if options.files.is_empty()
            && compose_file(&folder).is_none()
            && !names_compose_file(&folder)
        {
            let at = document.key(&["spec", "source", "compose"]);
            let message = "no Compose file lies beside the Stack, and it names none";
            let help = "list them under spec.source.compose.files".to_owned();
            return Err(Diagnostic::at(&file.path, &file.text, at, message).help(help).into());
        }
        let written = Written { stack: &stack, document, file };
        self.load_all(generation, options, Some(written), escalation(files))
    }

    pub(super) fn options(&self, source: Option<&StackSource>, folder: &Path) -> LoadOptions {
        let Request { flags, environment, cwd, .. } = &self.request;
        let none = ComposeSource::default();
        let compose = source.and_then(|s| s.compose.as_ref()).unwrap_or(&none);
        let base = |paths: &[PathBuf], from: &Path| {
            let place = |p: &PathBuf| if is_stdin(p) { p.clone() } else { from.join(p) };
            paths.iter().map(place).collect()
        };
        let choose = |flags: &[PathBuf], stack: &[PathBuf]| -> Vec<PathBuf> {
            if flags.is_empty() { base(stack, folder) } else { base(flags, cwd) }
        };
        let mut shell: BTreeMap<String, String> = source
            .into_iter()
            .flat_map(|s| &s.env)
            .map(|(name, value)| (name.clone(), value.0.expose().clone()))
            .collect();
        if let Some(home) = environment.variables.get("HOME") {
            shell.entry("HOME".into()).or_insert_with(|| home.clone());
        }
        if environment.inherit || source.is_some_and(|s| s.inherit_env) {
            shell.extend(environment.variables.clone());
        }
        LoadOptions {
            // `-f` may have named the Stack itself.
            files: if source.is_some() {
                base(&compose.files, folder)
            } else {
                choose(&flags.files, &[])
            },
            project_directory: flags.project_directory.as_ref().map(|d| cwd.join(d)),
            project_name: flags.project_name.clone(),
            env_files: choose(&flags.env_files, &compose.env_files),
            profiles: if flags.profiles.is_empty() {
                compose.profiles.clone()
            } else {
                flags.profiles.clone()
            },
            shell,
            cwd: folder.to_owned(),
            stdin: environment.stdin.clone(),
            ..LoadOptions::default()
        }
    }

    pub(super) fn load_compose(
        &self,
        generation: u64,
        options: LoadOptions,
        written: Option<Written<'_>>,
        escalation: Escalation,
    ) -> Result<LoadedStack, Diagnostics> {
        let asked = options.files.iter().chain(&options.env_files);
        let asked: Vec<PathBuf> = asked.filter(|path| !is_stdin(path)).cloned().collect();
        let folder = options.cwd.clone();
        let project = compose::load(&options).map_err(|error| {
            let list: Vec<Diagnostic> = error.0.into_iter().map(Diagnostic::from).collect();
            let all_missing =
                written.is_none() && !asked.is_empty() && asked.iter().all(|f| !f.exists());
            let mut findings = Diagnostics::new(list).read(asked.clone());
            findings.source_gone = all_missing;
            if options.files.is_empty() && asked.is_empty() {
                findings = findings.read([folder.join("compose.yaml")]);
            }
            findings
        })?;
        let warnings = project.warnings.clone();
        let first = project.config_files.first().cloned().unwrap_or_default();
        let Escalation { policy, file, warnings: remarks } = escalation;
        let mut loaded = assemble(generation, project, written, policy, &self.request.scope)?;
        loaded.files_read.extend(file);
        loaded.files_read.sort();
        loaded.files_read.dedup();
        loaded.warnings.extend(remarks);
        let more = warnings.iter().map(|w| Diagnostic::file(&first, w).warning());
        loaded.warnings.splice(0..0, more);
        Ok(loaded)
    }
}
