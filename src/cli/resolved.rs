//! The one resolved configuration: arguments, environment and defaults put together.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::level_filters::LevelFilter;

use super::args::{Cli, Verb};
use super::error::CliError;
use super::options::{CommonArgs, ProjectArgs};
use crate::compose::{LoadOptions, MAX_FILE, STDIN};
use crate::engine::docker::{Docker, Endpoint, Surroundings};
use crate::engine::{DynEngine, Tier};
use crate::sensitive::Sensitive;
use crate::store::{StateDir, default_state_dir};
use crate::telemetry::{self, TelemetryError};

/// Everything that a verb needs to know.
#[derive(Debug)]
pub struct Resolved {
    /// What to load.
    pub load: LoadOptions,
    /// What may be done to the engine.
    pub tier: Tier,
    common: CommonArgs,
    around: Surroundings,
}

impl Resolved {
    /// Puts arguments and environment together.
    ///
    /// # Errors
    /// The current folder is gone.
    pub fn new(cli: Cli) -> Result<(Self, Verb), CliError> {
        let Cli { project, common, mut verb } = cli;
        let ProjectArgs { file, source } = project.merged(verb.take_project());
        let cwd = std::env::current_dir().map_err(|error| {
            CliError::Usage(format!("the current folder can't be used: {error}; change to another"))
        })?;
        let around = Surroundings::of_process();
        let cwd = as_named(around.env.get("PWD").map(Path::new), cwd);
        let stdin = match reads_stdin(&file.files, &verb)? {
            true => Some(Sensitive::new(read_stdin(std::io::stdin().lock())?)),
            false => None,
        };
        let load = LoadOptions {
            stdin,
            files: file.files,
            project_directory: source.project_directory,
            project_name: source.project_name,
            env_files: source.env_files,
            profiles: source.profiles,
            shell: around.env.clone(),
            cwd,
            allow_unsupported: false,
        };
        let tier = common.tier.into();
        Ok((Self { load, tier, common, around }, verb))
    }

    /// Starts logging to standard error.
    ///
    /// # Errors
    /// A level that can't be read.
    pub fn start_logging(&self, default: &str) -> Result<(), CliError> {
        let level = self.common.log_level.as_deref().unwrap_or(default);
        // A lone word would pass as the name of a module, and nothing would be logged.
        let directives = level.contains(['=', ',', '[']);
        let given = || TelemetryError::Level { given: level.chars().take(64).collect() };
        if !directives && level.trim().parse::<LevelFilter>().is_err() {
            return Err(CliError::Usage(given().to_string()));
        }
        telemetry::init(self.common.log_format, level)
            .map_err(|error| CliError::Usage(error.to_string()))
    }

    /// The engine, allowing at most `most`.
    ///
    /// # Errors
    /// No endpoint, or one that makes no sense. Nothing is sent yet.
    pub fn engine(&self, most: Tier) -> Result<DynEngine, CliError> {
        let endpoint = Endpoint::resolve(self.common.host.as_deref(), &self.around)?;
        Ok(Arc::new(Docker::new(endpoint, self.tier.min(most))?))
    }

    /// The path of the state folder, which may not exist.
    ///
    /// # Errors
    /// Neither `--state-dir` nor a home folder says where.
    pub fn state_path(&self) -> Result<PathBuf, CliError> {
        match &self.common.state_dir {
            Some(path) => Ok(self.load.cwd.join(path)),
            None => {
                let variable = |name: &str| self.around.env.get(name).map(Into::into);
                default_state_dir(self.around.uid == 0, variable)
                    .map_err(|error| CliError::Usage(error.to_string()))
            }
        }
    }

    /// The state folder, made when it is missing.
    ///
    /// # Errors
    /// It can't be made, or others could write to it.
    pub fn state_dir(&self) -> Result<StateDir, CliError> {
        StateDir::open(&self.state_path()?).map_err(|error| CliError::Failed(error.to_string()))
    }
}

/// Whether a Compose file is to come from standard input.
fn reads_stdin(files: &[PathBuf], verb: &Verb) -> Result<bool, CliError> {
    let is_stdin = |path: &PathBuf| path.as_os_str() == STDIN;
    let given = match verb {
        Verb::Validate(args) => args.paths.iter().any(is_stdin),
        _ => files.iter().any(is_stdin),
    };
    if given && matches!(verb, Verb::Run(_)) {
        let message = "`run` reads its files again and again, which standard input can't be: name a file with -f";
        return Err(CliError::Usage(message.into()));
    }
    Ok(given)
}

fn read_stdin(stdin: impl Read) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    stdin.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(CliError::Usage("standard input is larger than 16 MiB".into()));
    }
    String::from_utf8(bytes).map_err(|_| CliError::Usage("standard input is no UTF-8 text".into()))
}

/// The current folder under the name that the shell gives it, links and all, as Docker Compose has
/// it: relative paths and the project's name begin there. A name that doesn't hold is ignored.
fn as_named(name: Option<&Path>, physical: PathBuf) -> PathBuf {
    let which = |path: &Path| std::fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
    let same = |name: &&Path| {
        let place = which(name);
        name.is_absolute() && place.is_some() && place == which(&physical)
    };
    // Without doubled and closing slashes.
    name.filter(same).map(|name| name.components().collect()).unwrap_or(physical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_folder_has_the_shells_name() {
        let root = tempfile::tempdir().expect("a folder");
        let (real, link) = (root.path().join("real/bot"), root.path().join("link"));
        std::fs::create_dir_all(&real).expect("a folder");
        std::os::unix::fs::symlink(&real, &link).expect("a link");
        let named = |name: &Path| as_named(Some(name), real.clone());
        assert_eq!(named(&link), link);
        assert_eq!(named(&link.join("")).as_os_str(), link.as_os_str());
        for wrong in ["", "link", "."].map(PathBuf::from) {
            assert_eq!(named(&wrong), real, "{}", wrong.display());
        }
        assert_eq!(named(root.path()), real);
        assert_eq!(named(&root.path().join("missing")), real);
        assert_eq!(as_named(None, real.clone()), real);
    }
}
