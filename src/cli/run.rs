//! `run`: the daemon.

use std::time::Duration;

use super::args::RunArgs;
use super::error::{CliError, Exit, tell};
use super::goal::request;
use super::resolved::Resolved;
use crate::controller::daemon::{self, DaemonError, DaemonOptions};
use crate::desired::Diagnostics;
use crate::desired::source::{Source, find};
use crate::engine::Tier;
use crate::shutdown;

/// Shortest time between two full lists.
const SHORTEST_RESYNC: Duration = Duration::from_secs(1);

/// Runs the verb until a signal.
///
/// # Errors
/// No stack whose files are well, or a daemon that can't start.
pub async fn run(options: &Resolved, args: &RunArgs) -> Result<Exit, CliError> {
    let resync = args.resync.get();
    if resync < SHORTEST_RESYNC {
        return Err(CliError::Usage("--resync: at least 1s".into()));
    }
    let stop = shutdown::on_signals()?;
    let request = request(options, args.dir.as_deref(), args.inherit_env);
    let found = find(&request)?;
    for finding in &found.findings {
        tell(finding);
    }
    usable(&found.sources)?;
    // The tier is enforced at the engine's seam: a lower one refuses what it must not do.
    let engine = options.engine(Tier::Reconcile)?;
    let daemon = DaemonOptions {
        state_dir: options.state_path()?,
        listen: args.listen,
        metrics_listen: args.metrics_listen,
        resync,
        observe: options.tier == Tier::Observe,
        take_over: args.take_over,
    };
    daemon::run(daemon, engine, found.sources, request, stop).await?;
    Ok(Exit::Well)
}

/// One stack with mistakes is waited for beside others; when there is no good one, nothing would
/// be kept, and whoever started the daemon should hear of it.
fn usable(sources: &[Source]) -> Result<(), Diagnostics> {
    let mut mistakes = Vec::new();
    for source in sources {
        match source.load(1) {
            Ok(_) => return Ok(()),
            Err(found) => mistakes.extend(found.list),
        }
    }
    Err(Diagnostics::new(mistakes))
}

impl From<DaemonError> for CliError {
    fn from(error: DaemonError) -> Self {
        Self::Failed(error.to_string())
    }
}
