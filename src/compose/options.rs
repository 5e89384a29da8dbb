//! Which files, which variables, which name: the options of a load, resolved as Docker Compose
//! resolves them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::canonical::clean;
use super::cast;
use super::diagnostic::{Sources, Staged};
use super::dotenv;
use super::interpolate::{Assignments, Variables};
use super::parse::{STDIN, read, read_within};
use crate::sensitive::Sensitive;

/// What to load, and with which variables. Everything that a shell would add is given, so that a
/// daemon inherits nothing.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Compose files (`-f`), in order of precedence; empty searches for the default ones.
    pub files: Vec<PathBuf>,
    /// `--project-directory`.
    pub project_directory: Option<PathBuf>,
    /// `-p/--project-name`.
    pub project_name: Option<String>,
    /// `--env-file`; empty reads `.env` beside the first file.
    pub env_files: Vec<PathBuf>,
    /// `--profile`; empty takes `COMPOSE_PROFILES`.
    pub profiles: Vec<String>,
    /// The variables of the shell. They win over env files.
    pub shell: BTreeMap<String, String>,
    /// The directory that relative paths of the options start from; absolute.
    pub cwd: PathBuf,
    /// What standard input held, for the file `-`.
    pub stdin: Option<Sensitive<String>>,
    /// Load attributes that homeostat can't act on yet, as `config` does.
    pub allow_unsupported: bool,
}

/// Default file names, the preferred first.
const DEFAULT_FILES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
const DEFAULT_OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// The options, resolved.
pub(super) struct Resolved {
    pub(super) files: Vec<PathBuf>,
    pub(super) working_dir: PathBuf,
    pub(super) variables: Variables,
    pub(super) profiles: Vec<String>,
    /// `-p` or `COMPOSE_PROJECT_NAME`.
    pub(super) name: Option<String>,
}

/// Resolves the options; reads env files, but no Compose file.
pub(super) fn resolve(options: &LoadOptions, sources: &mut Sources) -> Staged<Resolved> {
    let absolute = |path: &Path| match path.as_os_str() == STDIN {
        true => path.to_owned(),
        false => join(&options.cwd, path),
    };
    let mut variables = Variables::new(options.shell.clone());
    let cwd = options.cwd.display().to_string();
    variables.default_to("PWD".into(), cwd);

    let mut files: Vec<PathBuf> = options.files.iter().map(|f| absolute(f)).collect();
    sources.stdin = options.stdin.as_ref().map(|text| text.expose().as_str().into());
    let directory = |files: &[PathBuf]| {
        let given = options.project_directory.as_deref().map(absolute);
        let named = || files.iter().find(|f| f.as_os_str() != STDIN);
        let beside = || named().and_then(|f| f.parent()).map(Path::to_owned);
        given.or_else(beside).unwrap_or_else(|| options.cwd.clone())
    };
    let mut env_files: Vec<PathBuf> = options.env_files.iter().map(|f| absolute(f)).collect();
    if env_files.is_empty() {
        let listed = variables.get("COMPOSE_ENV_FILES").filter(|list| !list.is_empty());
        env_files
            .extend(listed.into_iter().flat_map(|l| l.split(',')).map(|f| absolute(Path::new(f))));
    }

    // Once before the files are known, as .env may name them, and once beside them.
    let first = directory(&files);
    dot_env(&first, &env_files, &mut variables, sources)?;
    if files.is_empty() {
        files = from_variable(&variables, &options.cwd, sources)?;
    }
    if files.is_empty() {
        files = search(&directory(&[]));
    }
    let working_dir = directory(&files);
    if working_dir != first || !env_files.is_empty() {
        dot_env(&working_dir, &env_files, &mut variables, sources)?;
    }
    if files.is_empty() {
        let message =
            format!("no Compose file here: looked for {} and upwards", DEFAULT_FILES.join(", "));
        return Err(sources.report_file(&working_dir, message));
    }
    let profiles = match &options.profiles[..] {
        [] => {
            let listed = variables.get("COMPOSE_PROFILES").map_or("", String::as_str);
            listed.split(',').map(|p| p.trim().to_owned()).collect()
        }
        given => given.to_vec(),
    };
    let name = match options.project_name.clone().filter(|name| !name.is_empty()) {
        Some(name) => Some(name),
        None => variables.get("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty()).cloned(),
    };
    if let Some(name) = &name
        && normalise_name(name) != *name
    {
        let message = format!(
            "invalid project name `{name}`: only lowercase letters, digits, `-` and `_`, beginning \
             with a letter or digit"
        );
        return Err(sources.report_file(&working_dir, message));
    }
    Ok(Resolved { files, working_dir, variables, profiles, name })
}

/// Joins and cleans, without following links.
pub(super) fn join(base: &Path, path: &Path) -> PathBuf {
    PathBuf::from(clean(&base.join(path).display().to_string()))
}

/// A project name from any text.
pub(super) fn normalise_name(text: &str) -> String {
    let lower = text.to_lowercase();
    let kept: String = lower
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
        .collect();
    kept.trim_start_matches(['_', '-']).to_owned()
}

fn from_variable(variables: &Variables, cwd: &Path, sources: &mut Sources) -> Staged<Vec<PathBuf>> {
    let Some(list) = variables.get("COMPOSE_FILE") else { return Ok(Vec::new()) };
    let separator = variables.get("COMPOSE_PATH_SEPARATOR").filter(|s| !s.is_empty());
    let separator = separator.map_or(":", String::as_str);
    let files: Vec<PathBuf> = list.split(separator).map(|f| join(cwd, Path::new(f))).collect();
    for file in &files {
        if !file.exists() {
            sources.report_file(file, "no such file (named by COMPOSE_FILE)");
        }
    }
    sources.check()?;
    Ok(files)
}

/// The default files of a directory, or of the nearest one above that has some.
fn search(from: &Path) -> Vec<PathBuf> {
    for directory in from.ancestors() {
        let find = |names: &[&str]| names.iter().map(|n| directory.join(n)).find(|f| f.exists());
        if let Some(file) = find(&DEFAULT_FILES) {
            return std::iter::once(file).chain(find(&DEFAULT_OVERRIDES)).collect();
        }
    }
    Vec::new()
}

/// Reads the env files, or `.env`; what is already set stays.
fn dot_env(
    directory: &Path,
    given: &[PathBuf],
    variables: &mut Variables,
    sources: &mut Sources,
) -> Staged<()> {
    let default = directory.join(".env");
    let disabled = variables
        .get("COMPOSE_DISABLE_ENV_FILE")
        .is_some_and(|v| matches!(v.as_str(), "1" | "t" | "T") || cast::boolean(v) == Some(true));
    let files = match given {
        [] if disabled || !default.is_file() => return Ok(()),
        [] => std::slice::from_ref(&default),
        given => given,
    };
    let read = env_files(files, variables, sources)?;
    for (name, value) in read {
        variables.default_to(name, value);
    }
    Ok(())
}

/// Reads env files in order; later ones win, but `outside` wins in expansion.
pub(super) fn env_files(
    files: &[PathBuf],
    outside: &Variables,
    sources: &mut Sources,
) -> Staged<Assignments> {
    let mut found = Assignments::new();
    for file in files {
        note(file, sources);
        let text = read(file, sources)?;
        let lookup = |name: &str| outside.get(name).cloned();
        dotenv::parse(&text, &mut found, &lookup)
            .map_err(|e| sources.report_line(file, e.line, e.message))?;
    }
    Ok(found)
}

/// Remembers a file that the project depends on.
pub(super) fn note(file: &Path, sources: &mut Sources) {
    if !sources.others.iter().any(|known| known == file) {
        sources.others.push(file.to_owned());
    }
}

/// Reads one `env_file` or `label_file` of a service into `into`.
pub(super) fn mapping_file(
    file: &Path,
    raw: bool,
    into: &mut Assignments,
    lookup: super::interpolate::Lookup<'_>,
    sources: &mut Sources,
) -> Result<(), (u32, String)> {
    note(file, sources);
    let text = read_within(file).map_err(|problem| (0, problem))?;
    let parse = if raw { dotenv::parse_raw } else { dotenv::parse };
    parse(&text, into, lookup).map_err(|e| (e.line, e.message))
}
