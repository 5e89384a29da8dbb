//! Finds resources: the YAML files of a folder, their documents, the Stacks among them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::api::diagnostic::{Diagnostic, Position, Severity, did_you_mean};
use crate::api::document::{Document, MAX_RESOURCE_FILE, Value, documents};
use crate::api::escalation::EscalationPolicy;
use crate::api::meta::{API_VERSION, GROUP, KINDS};
use crate::api::stack::Stack;
use crate::api::walk::walk;

/// Most files that one folder may hold before it is refused.
const MAX_FILES: usize = 1000;
/// Names of Compose files, the preferred first.
pub const COMPOSE_FILES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// The kind that says how often recoveries are tried.
pub const POLICY: &str = "EscalationPolicy";

static POLICY_SCHEMA: LazyLock<schemars::Schema> =
    LazyLock::new(|| schemars::schema_for!(EscalationPolicy));
static STACK_SCHEMA: LazyLock<schemars::Schema> = LazyLock::new(|| schemars::schema_for!(Stack));

/// A file that holds resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceFile {
    /// Its path.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl ResourceFile {
    /// The resources in it.
    pub fn resources(&self) -> impl Iterator<Item = Document<'_>> {
        documents(&self.text).into_iter().filter(is_resource)
    }

    /// The Stacks in it, also those that can't be decoded.
    pub fn stacks(&self) -> impl Iterator<Item = Document<'_>> {
        self.resources().filter(|d| d.header("kind") == Some("Stack"))
    }

    /// The EscalationPolicies in it, also those that can't be decoded.
    pub fn policies(&self) -> impl Iterator<Item = Document<'_>> {
        self.resources().filter(|d| d.header("kind") == Some(POLICY))
    }

    /// What should be said of its documents other than Stacks and what belongs to them.
    pub fn remarks(&self) -> Vec<Diagnostic> {
        let others =
            self.resources().filter(|d| !matches!(d.header("kind"), Some("Stack" | POLICY)));
        others.map(|document| self.remark(&document)).collect()
    }

    fn remark(&self, document: &Document<'_>) -> Diagnostic {
        if let Err(mistake) = &document.root {
            return Diagnostic::at(&self.path, &self.text, mistake.at, &mistake.message);
        }
        let Some(kind) = document.header("kind") else {
            let message = "a resource without `kind`";
            return Diagnostic::at(&self.path, &self.text, document.key(&[]), message)
                .help(Some(format!("known kinds: {}", KINDS.join(", "))));
        };
        let at = document.value(&["kind"]).map(|n| document.place(n)).unwrap_or_default();
        if KINDS.contains(&kind) {
            let message = format!("{kind} is not supported yet by this version: it does nothing");
            return Diagnostic::at(&self.path, &self.text, at, message).warning();
        }
        let message = format!("unknown kind `{}`", kind.chars().take(60).collect::<String>());
        Diagnostic::at(&self.path, &self.text, at, message).help(did_you_mean(kind, KINDS))
    }

    /// Of those the mistakes: whoever wrote them meant a Stack, and without it another stack, or
    /// none of its policies, would come of the files.
    pub fn mistakes(&self) -> Vec<Diagnostic> {
        self.remarks().into_iter().filter(|remark| remark.severity == Severity::Error).collect()
    }

    /// Decodes one of its Stacks.
    ///
    /// # Errors
    /// Every mistake of shape at once, or else the first value that can't be read.
    pub fn decode(&self, document: &Document<'_>) -> Result<Stack, Vec<Diagnostic>> {
        let hidden = secret_lines(document);
        let at = |place: Position, message: &str| {
            let mut finding = Diagnostic::at(&self.path, &self.text, place, message);
            finding.excerpt = finding.excerpt.filter(|_| !hidden.contains(&place.line));
            finding
        };
        if let Err(mistake) = &document.root {
            return Err(vec![at(mistake.at, &mistake.message)]);
        }
        if let Some(chart) = document.value(&["spec", "source", "chart"]) {
            let message = "charts are not supported yet by this version";
            let help = "name Compose files under spec.source.compose".to_owned();
            return Err(vec![at(document.place(chart), message).help(help)]);
        }
        let findings = walk(document, &STACK_SCHEMA);
        if !findings.is_empty() {
            let list = findings.into_iter();
            return Err(list.map(|f| at(f.at, &f.message).help(f.help)).collect());
        }
        document.decode().map_err(|mistake| vec![at(mistake.at, &mistake.message)])
    }

    /// Decodes one of its EscalationPolicies.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_policy(
        &self,
        document: &Document<'_>,
    ) -> Result<EscalationPolicy, Vec<Diagnostic>> {
        let at =
            |place: Position, message: &str| Diagnostic::at(&self.path, &self.text, place, message);
        if let Err(mistake) = &document.root {
            return Err(vec![at(mistake.at, &mistake.message)]);
        }
        let findings = walk(document, &POLICY_SCHEMA);
        if !findings.is_empty() {
            let list = findings.into_iter();
            return Err(list.map(|f| at(f.at, &f.message).help(f.help)).collect());
        }
        document.decode().map_err(|mistake| vec![at(mistake.at, &mistake.message)])
    }
}

/// Lines that hold values of variables: they aren't shown.
fn secret_lines(document: &Document<'_>) -> BTreeSet<u32> {
    match document.value(&["spec", "source", "env"]).map(|n| &n.value) {
        Some(Value::Map(entries)) => entries.iter().map(|(_, v)| document.place(v).line).collect(),
        _ => BTreeSet::new(),
    }
}

/// The metadata.name of a document, if it can be read.
pub fn name_of<'a>(document: &'a Document<'_>) -> Option<&'a str> {
    match &document.value(&["metadata", "name"])?.value {
        Value::Text(name) => Some(name),
        _ => None,
    }
}

/// A document of our group, or one of our kinds with the group misspelt.
fn is_resource(document: &Document<'_>) -> bool {
    let Some(version) = document.header("apiVersion") else {
        // Its key may be misspelt: what has our kinds and a `spec` is no Compose file.
        let spec = match &document.root {
            Ok(_) => document.value(&["spec"]).is_some(),
            Err(_) => document.header("spec").is_some(),
        };
        return spec && document.header("kind").is_some_and(|k| KINDS.contains(&k));
    };
    version.split('/').next() == Some(GROUP)
        || (document.header("kind").is_some_and(|k| KINDS.contains(&k))
            && crate::api::diagnostic::nearest(version, [API_VERSION]).is_some())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    let message = match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied: make it readable".to_owned(),
        _ => format!("can't be read: {error}"),
    };
    Diagnostic::file(path, message)
}

/// Reads a file if it holds resources.
///
/// # Errors
/// A file that can't be read, or that is too large for one of resources.
pub fn resource_file(path: &Path) -> Result<Option<ResourceFile>, Diagnostic> {
    let fail = |e| unreadable(path, &e);
    // Before it is opened: opening a named pipe waits for its writer.
    if !std::fs::metadata(path).map_err(fail)?.is_file() {
        return Ok(None);
    }
    let file = File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(MAX_RESOURCE_FILE + 1).read_to_end(&mut bytes).map_err(fail)?;
    let complete = bytes.len() as u64 <= MAX_RESOURCE_FILE;
    let text = String::from_utf8_lossy(&bytes);
    // Spares parsing Compose files and whatever else lies there.
    let begins = ["apiVersion", "\"apiVersion", "kind", "\"kind"];
    if !text.lines().any(|line| begins.iter().any(|begin| line.starts_with(begin)))
        && !text.trim_start().starts_with(['{', '-'])
    {
        return Ok(None);
    }
    if !complete {
        if text.contains(GROUP) {
            return Err(Diagnostic::file(path, "is larger than 1 MiB: split it"));
        }
        return Ok(None);
    }
    let file = ResourceFile { path: path.to_owned(), text: text.into_owned() };
    let holds = file.resources().next().is_some();
    Ok(holds.then_some(file))
}

/// The text of a plain file of at most 1 MiB; `None` for all else.
pub(super) fn read_bounded(path: &Path) -> Option<String> {
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_RESOURCE_FILE {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_RESOURCE_FILE).read_to_end(&mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}

/// Files of resources in a folder, by name; and those that can't be read.
///
/// # Errors
/// The folder can't be read, or holds too many files.
pub fn scan(folder: &Path) -> Result<(Vec<ResourceFile>, Vec<Diagnostic>), Diagnostic> {
    let fail = |e| unreadable(folder, &e);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if is_yaml(&path) {
            paths.push(path);
        }
        if paths.len() > MAX_FILES {
            let message = format!("holds more than {MAX_FILES} YAML files");
            return Err(Diagnostic::file(folder, message));
        }
    }
    paths.sort();
    let (mut files, mut unreadable) = (Vec::new(), Vec::new());
    for path in paths {
        match resource_file(&path) {
            Ok(Some(file)) => files.push(file),
            Ok(None) => {}
            Err(finding) => unreadable.push(finding),
        }
    }
    Ok((files, unreadable))
}

/// Whether a path ends in `.yaml` or `.yml`. Hidden files are editors' own.
pub fn is_yaml(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|e| e == "yaml" || e == "yml")
}

/// Whether `.env` of a folder names the Compose files.
pub fn names_compose_file(folder: &Path) -> bool {
    let path = folder.join(".env");
    if !path.is_file() {
        return false;
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|f| f.take(MAX_RESOURCE_FILE).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    read.is_ok() && text.lines().any(|line| line.trim_start().starts_with("COMPOSE_FILE="))
}

/// The default Compose file of a folder.
pub fn compose_file(folder: &Path) -> Option<PathBuf> {
    COMPOSE_FILES.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}
