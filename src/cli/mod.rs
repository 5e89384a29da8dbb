//! The command line: arguments become one resolved configuration, and each verb has its file.

mod address;
mod apply;
mod args;
mod completions;
mod config;
mod daemon;
mod delete;
mod describe;
mod error;
mod events;
mod get;
mod goal;
mod hold;
mod incident;
mod journal;
mod lease;
mod logs;
mod look;
mod options;
mod output;
mod plan;
mod progress;
mod resolved;
mod run;
mod shown;
mod status;
mod table;
mod validate;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

pub use args::Cli;
pub use error::{CliError, Exit};

use args::Verb;
use resolved::Resolved;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    crate::store::restrict_umask();
    let (outcome, detailed) = match Cli::try_parse() {
        Ok(cli) => {
            output::choose_colour(!cli.common.no_color);
            let detailed = cli.detailed_exit_code();
            (carry_out(cli), detailed)
        }
        Err(error) if !error.use_stderr() => {
            // Help or version was asked for.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            let _ = error.print();
            let detailed = std::env::args_os().any(|a| a == "--detailed-exitcode");
            return ExitCode::from(if detailed { 1 } else { 2 });
        }
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            let _ = std::io::stdout().flush();
            error.print();
            let code = error.code();
            ExitCode::from(if detailed && code == 2 { 1 } else { code })
        }
    }
}

fn carry_out(cli: Cli) -> Result<Exit, CliError> {
    let (options, verb) = Resolved::new(cli)?;
    options.start_logging(verb.default_log_level())?;
    // One thread: each hop to another may wait for a processor that a container's end keeps busy.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(dispatch(&options, verb));
    // A blocked read of standard input must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(options: &Resolved, verb: Verb) -> Result<Exit, CliError> {
    match verb {
        Verb::Run(args) => run::run(options, &args).await,
        Verb::Get(args) => get::run(options, &args).await,
        Verb::Describe(args) => describe::run(options, &args).await,
        Verb::Events(args) => events::run(options, &args).await,
        Verb::Delete(args) => delete::run(options, &args).await,
        Verb::Plan(args) => plan::run(options, &args).await,
        Verb::Incident(verb) => incident::run(options, &verb).await,
        Verb::Apply(args) => apply::run(options, &args).await,
        Verb::Pause(args) => hold::pause(options, &args).await,
        Verb::Resume(args) => hold::resume(options, &args).await,
        Verb::Config(args) => config::run(options, &args),
        Verb::Validate(args) => validate::run(options, &args),
        Verb::Logs(args) => logs::run(options, &args).await,
        Verb::Completions(args) => completions::run(&args),
    }
}
