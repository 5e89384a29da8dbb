//! `config`: the canonical project, as `docker compose config` prints it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::args::{ConfigArgs, ConfigFormat};
use super::error::{CliError, Exit, warn};
use super::output::print;
use super::resolved::Resolved;
use crate::compose::{self, LoadOptions, Project, config};
use crate::desired::scope::known;

/// Runs the verb. It needs no engine.
///
/// # Errors
/// Wrong files, or an output that can't be written.
pub fn run(options: &Resolved, args: &ConfigArgs) -> Result<Exit, CliError> {
    let load = LoadOptions { allow_unsupported: true, ..options.load.clone() };
    let project = compose::load(&load)?;
    for warning in &project.warnings {
        warn(warning);
    }
    let text = text(&project, args)?;
    match &args.output {
        _ if args.quiet => {}
        Some(path) => write(&options.load.cwd.join(path), &text)?,
        None => print(&text)?,
    }
    Ok(Exit::Well)
}

fn text(project: &Project, args: &ConfigArgs) -> Result<String, CliError> {
    if let Some(services) = &args.hash {
        return config::hashes(project, services).ok_or_else(|| {
            let unknown = services.split(',').find_map(|name| known(project, name).err());
            let all = || CliError::Usage(format!("no services `{services}`"));
            unknown.map_or_else(all, CliError::from)
        });
    }
    Ok(match args.format {
        _ if args.services => config::services(project),
        _ if args.images => config::images(project),
        _ if args.volumes => config::volumes(project),
        _ if args.networks => config::networks(project),
        _ if args.list_profiles => config::profiles(project),
        ConfigFormat::Yaml => config::yaml(project),
        ConfigFormat::Json => {
            let mut text = config::json(project);
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text
        }
    })
}

/// For the owner only: the project holds its secrets' values.
fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |error| CliError::Failed(format!("can't write {}: {error}", path.display()));
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600);
    let mut file = open.open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}
