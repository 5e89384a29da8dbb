//! The arguments as clap reads them. Nothing here looks at the environment or at files.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::address::address;
use super::options::{CommonArgs, FileArgs, ProjectArgs, SourceArgs};
use crate::api::quantity::Duration;

/// Keeps a Docker Compose stack in its desired state.
#[derive(Debug, Parser)]
#[command(name = "homeostat", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// Where the project is; the same options may stand after the verb.
    #[command(flatten)]
    pub project: ProjectArgs,
    /// Options of every verb.
    #[command(flatten)]
    pub common: CommonArgs,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

impl Cli {
    /// Whether every error is to be exit code 1, because 2 means changes.
    pub const fn detailed_exit_code(&self) -> bool {
        matches!(&self.verb, Verb::Plan(plan) if plan.detailed_exitcode)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Converge, watch and repair until stopped
    Run(RunArgs),
    /// Show what would be done and why; touch nothing
    Plan(PlanArgs),
    /// Converge once, wait until everything is ready, exit
    Apply(ApplyArgs),
    /// Leave services, or the whole stack, alone as they are
    Pause(HoldArgs),
    /// End holds: what was paused, stopped or taken down is kept again
    Resume(HoldArgs),
    /// Print the canonical project as `docker compose config` does
    Config(ConfigArgs),
    /// Check files without an engine
    Validate(ValidateArgs),
    /// Show stacks, services, networks, volumes, leases or incidents
    Get(GetArgs),
    /// Show everything about one object
    Describe(DescribeArgs),
    /// Show what was done and seen
    Events(EventsArgs),
    /// Take a stack down; volumes stay
    Delete(DeleteArgs),
    /// Say something about an incident: noted, try again, over
    #[command(subcommand)]
    Incident(IncidentVerb),
    /// Show what the containers of services print
    Logs(LogsArgs),
    /// Print a completion script
    Completions(CompletionsArgs),
}

impl Verb {
    /// The project options after the verb, taken out.
    pub fn take_project(&mut self) -> ProjectArgs {
        match self {
            Self::Run(args) => std::mem::take(&mut args.project),
            Self::Get(args) => std::mem::take(&mut args.project),
            Self::Describe(args) => std::mem::take(&mut args.project),
            Self::Events(args) => std::mem::take(&mut args.project),
            Self::Delete(args) => std::mem::take(&mut args.project),
            Self::Plan(args) => std::mem::take(&mut args.project),
            Self::Apply(args) => std::mem::take(&mut args.project),
            Self::Pause(args) | Self::Resume(args) => std::mem::take(&mut args.project),
            Self::Config(args) => std::mem::take(&mut args.project),
            Self::Validate(args) => std::mem::take(&mut args.project),
            Self::Incident(verb) => std::mem::take(&mut verb.args_mut().project),
            Self::Logs(args) => ProjectArgs {
                file: FileArgs { files: std::mem::take(&mut args.files) },
                source: std::mem::take(&mut args.source),
            },
            Self::Completions(_) => ProjectArgs::default(),
        }
    }

    /// The log level where neither `--log-level` nor `HOMEOSTAT_LOG` says.
    pub const fn default_log_level(&self) -> &'static str {
        match self {
            Self::Run(_) => "info",
            // What goes wrong with a step is in the progress already.
            _ => "error",
        }
    }
}

/// `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Only these services and what they depend on
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: PlanOutput,
    /// Exit 0 when there is nothing to do, 2 for changes, 1 for every error
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// Where the project is.
    #[command(flatten)]
    pub project: ProjectArgs,
}

/// `plan -o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanOutput {
    /// For people
    Text,
    /// For machines
    Json,
}

/// `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Only these services and what they depend on
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Give up when not everything is ready after this time
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub timeout: Duration,
    /// Take over from the operator that holds the project's lease now, dead or alive
    #[arg(long)]
    pub take_over: bool,
    /// Where the project is.
    #[command(flatten)]
    pub project: ProjectArgs,
}

/// `pause` and `resume`.
#[derive(Debug, Args)]
pub struct HoldArgs {
    /// Only these services; the whole stack when none is named
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Where the project is.
    #[command(flatten)]
    pub project: ProjectArgs,
}

/// `config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Form of the output
    #[arg(long, value_enum, default_value = "yaml")]
    pub format: ConfigFormat,
    /// Print the configuration hash of these services, comma-separated; `*` is all
    #[arg(long, value_name = "SERVICES", group = "what")]
    pub hash: Option<String>,
    /// Print the services
    #[arg(long, group = "what")]
    pub services: bool,
    /// Print the images
    #[arg(long, group = "what")]
    pub images: bool,
    /// Print the volumes
    #[arg(long, group = "what")]
    pub volumes: bool,
    /// Print the networks
    #[arg(long, group = "what")]
    pub networks: bool,
    /// Print the profiles
    #[arg(long = "profiles", group = "what")]
    pub list_profiles: bool,
    /// Print nothing, only check
    #[arg(short, long)]
    pub quiet: bool,
    /// Write to this file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Where the project is.
    #[command(flatten)]
    pub project: ProjectArgs,
}

/// `config --format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ConfigFormat {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

/// `validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Compose files, Stack files, or folders with them; `-` is a Compose file on standard input
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Where the project is.
    #[command(flatten)]
    pub project: ProjectArgs,
}

/// `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Whose logs
    #[arg(value_name = "SERVICE", required = true)]
    pub services: Vec<String>,
    /// Go on as lines appear, over restarts and replacements, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last lines of each container
    #[arg(short = 'n', long, value_name = "LINES", value_parser = tail)]
    pub tail: Option<Tail>,
    /// Only lines since this time (RFC 3339, or a duration such as 10m)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Show the time of each line
    #[arg(short, long)]
    pub timestamps: bool,
    /// No prefix with the container's name
    #[arg(long)]
    pub no_log_prefix: bool,
    /// Compose file (here without the short form: -f follows)
    #[arg(long = "file", value_name = "FILE", help_heading = "Project")]
    pub files: Vec<PathBuf>,
    /// The rest of the project options.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// `--tail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Everything.
    All,
    /// So many lines.
    Lines(u64),
}

fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail::All),
        number => number.parse().map(Tail::Lines).map_err(|_| "use a number or `all`".into()),
    }
}

/// `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Folder with Stacks or a Compose file; the current one when absent
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Address of the read-only API, health and metrics (loopback)
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9750", value_parser = address)]
    pub listen: SocketAddr,
    /// Address that serves nothing but metrics and liveness
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub metrics_listen: Option<SocketAddr>,
    /// Let this process's variables take part in interpolation
    #[arg(long)]
    pub inherit_env: bool,
    /// Time between two full lists of the engine
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub resync: Duration,
    /// Take over from the operator that holds a project's lease now, dead or alive
    #[arg(long)]
    pub take_over: bool,
    /// Where the project is.
    #[command(flatten)]
    pub project: ProjectArgs,
}

/// What `get` and `describe` know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Stacks
    #[value(alias = "stack")]
    Stacks,
    /// Services, one row a container
    #[value(aliases = ["service", "svc"])]
    Services,
    /// Networks of the projects
    #[value(alias = "network")]
    Networks,
    /// Volumes of the projects
    #[value(alias = "volume")]
    Volumes,
    /// Who keeps which project on the engine
    #[value(alias = "lease")]
    Leases,
    /// What is wrong, what was tried, and what needs a person
    #[value(alias = "incident")]
    Incidents,
}

impl Kind {
    /// `stack`, `service`…
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Stacks => "stack",
            Self::Services => "service",
            Self::Networks => "network",
            Self::Volumes => "volume",
            Self::Leases => "lease",
            Self::Incidents => "incident",
        }
    }
}

/// `KIND/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Kind.
    pub kind: Kind,
    /// Name.
    pub name: String,
}

fn object(text: &str) -> Result<Object, String> {
    let (kind, name) = text.split_once('/').ok_or("write KIND/NAME, such as service/web")?;
    let kind = Kind::from_str(kind, true).map_err(|_| {
        format!("`{kind}` is no kind; use stack, service, network, volume, lease or incident")
    })?;
    if name.is_empty() {
        return Err("the name is missing".into());
    }
    Ok(Object { kind, name: name.into() })
}

/// `get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Of what
    #[arg(value_enum)]
    pub kind: Kind,
    /// Only this one
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: GetOutput,
    /// Go on with what changes
    #[arg(short, long)]
    pub watch: bool,
    /// Where the project is.
    #[command(flatten)]
    pub project: ProjectArgs,
}

/// `get -o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GetOutput {
    /// Columns
    Table,
    /// More columns
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// `describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// What: service/web, stack/demo, network/NAME, volume/NAME, lease/PROJECT, incident/ID
    #[arg(value_name = "KIND/NAME", value_parser = object)]
    pub object: Object,
    /// Where the project is.
    #[command(flatten)]
    pub project: ProjectArgs,
}

/// `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on with what happens
    #[arg(short, long)]
    pub watch: bool,
    /// Where the project is.
    #[command(flatten)]
    pub project: ProjectArgs,
}

/// `delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The stack: stack/NAME
    #[arg(value_name = "stack/NAME", value_parser = object)]
    pub object: Object,
    /// Don't ask
    #[arg(short, long)]
    pub yes: bool,
    /// Where the project is.
    #[command(flatten)]
    pub project: ProjectArgs,
}

/// `incident`.
#[derive(Debug, Subcommand)]
pub enum IncidentVerb {
    /// Take note: nobody is notified for a while, or until its end; recovery goes on
    Ack(AckArgs),
    /// Try again, with one fresh budget
    Retry(IncidentArgs),
    /// Call it over
    Resolve(IncidentArgs),
}

impl IncidentVerb {
    /// Which incident.
    pub const fn args(&self) -> &IncidentArgs {
        match self {
            Self::Ack(ack) => &ack.incident,
            Self::Retry(args) | Self::Resolve(args) => args,
        }
    }

    fn args_mut(&mut self) -> &mut IncidentArgs {
        match self {
            Self::Ack(ack) => &mut ack.incident,
            Self::Retry(args) | Self::Resolve(args) => args,
        }
    }
}

/// `incident ack`.
#[derive(Debug, Args)]
pub struct AckArgs {
    /// Which incident.
    #[command(flatten)]
    pub incident: IncidentArgs,
    /// For how long; until its end when absent
    #[arg(long = "for", value_name = "DURATION")]
    pub time: Option<Duration>,
}

/// Which incident.
#[derive(Debug, Args)]
pub struct IncidentArgs {
    /// Its ID, as `get incidents` shows it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Where the project is.
    #[command(flatten)]
    pub project: ProjectArgs,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn project_options_stand_before_and_after_the_verb() {
        let mut cli = Cli::parse_from([
            "homeostat",
            "-f",
            "a.yaml",
            "-p",
            "one",
            "apply",
            "-f",
            "b.yaml",
            "-p",
            "two",
            "web",
        ]);
        let merged = cli.project.clone().merged(cli.verb.take_project());
        assert_eq!(merged.file.files, [PathBuf::from("a.yaml"), PathBuf::from("b.yaml")]);
        assert_eq!(merged.source.project_name.as_deref(), Some("two"));
    }

    #[test]
    fn the_f_of_logs_follows() {
        let cli = Cli::parse_from(["homeostat", "-f", "a.yaml", "logs", "-f", "-n", "5", "web"]);
        let Verb::Logs(logs) = &cli.verb else { panic!("{cli:?}") };
        assert!(logs.follow);
        assert_eq!(
            (logs.tail, &logs.services[..]),
            (Some(Tail::Lines(5)), &["web".to_owned()][..])
        );
        assert_eq!(cli.project.file.files, [PathBuf::from("a.yaml")]);
    }
}
