//! Options that several verbs share: where the project is, which engine, what is logged.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::engine::Tier;
use crate::telemetry::LogFormat;

/// Compose files.
#[derive(Debug, Clone, Default, Args)]
pub struct FileArgs {
    /// Compose file; give several to merge them; `-` is standard input
    #[arg(short, long = "file", value_name = "FILE", help_heading = "Project")]
    pub files: Vec<PathBuf>,
}

/// What Docker Compose takes besides the files.
#[derive(Debug, Clone, Default, Args)]
pub struct SourceArgs {
    /// Project name
    #[arg(short, long, value_name = "NAME", help_heading = "Project")]
    pub project_name: Option<String>,
    /// Folder that relative paths start from
    #[arg(long, value_name = "DIR", help_heading = "Project")]
    pub project_directory: Option<PathBuf>,
    /// Env file; several are read in order
    #[arg(long = "env-file", value_name = "FILE", help_heading = "Project")]
    pub env_files: Vec<PathBuf>,
    /// Profile to enable; `*` is all
    #[arg(long = "profile", value_name = "NAME", help_heading = "Project")]
    pub profiles: Vec<String>,
}

/// Where the project is.
#[derive(Debug, Clone, Default, Args)]
pub struct ProjectArgs {
    /// Its files.
    #[command(flatten)]
    pub file: FileArgs,
    /// The rest.
    #[command(flatten)]
    pub source: SourceArgs,
}

impl ProjectArgs {
    /// These options with those that stand after the verb: lists add up, the later one wins
    /// elsewhere.
    pub fn merged(mut self, later: Self) -> Self {
        self.file.files.extend(later.file.files);
        self.source.env_files.extend(later.source.env_files);
        self.source.profiles.extend(later.source.profiles);
        self.source.project_name = later.source.project_name.or(self.source.project_name);
        self.source.project_directory =
            later.source.project_directory.or(self.source.project_directory);
        self
    }
}

/// Options of every verb.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Engine to connect to (unix://, tcp://, ssh://)
    #[arg(short = 'H', long, value_name = "ENDPOINT", global = true, help_heading = "Global")]
    pub host: Option<String>,
    /// Folder of journal and control socket
    #[arg(
        long,
        value_name = "DIR",
        global = true,
        env = "HOMEOSTAT_STATE_DIR",
        help_heading = "Global"
    )]
    pub state_dir: Option<PathBuf>,
    /// What may be done to the engine
    #[arg(long, value_enum, default_value = "reconcile", global = true, help_heading = "Global")]
    pub tier: TierArg,
    /// error, warn, info, debug, trace, or tracing directives
    #[arg(
        long,
        value_name = "LEVEL",
        global = true,
        env = "HOMEOSTAT_LOG",
        hide_env_values = true,
        help_heading = "Global"
    )]
    pub log_level: Option<String>,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value = "text", global = true, help_heading = "Global")]
    pub log_format: LogFormat,
    /// No colour, whatever standard output is (also NO_COLOR)
    #[arg(long, global = true, help_heading = "Global")]
    pub no_color: bool,
}

/// `--tier`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TierArg {
    /// Reads only
    Observe,
    /// Starts, stops and connects too
    Heal,
    /// Creates and removes too
    Reconcile,
}

impl From<TierArg> for Tier {
    fn from(tier: TierArg) -> Self {
        match tier {
            TierArg::Observe => Self::Observe,
            TierArg::Heal => Self::Heal,
            TierArg::Reconcile => Self::Reconcile,
        }
    }
}
