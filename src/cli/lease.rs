//! Who keeps a project: its lease at the engine says so, whatever folder this command uses.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::error::CliError;
use super::resolved::Resolved;
use crate::clock::Clock;
use crate::controller::leasing::{Leasing, Running, Terms};
use crate::controller::observer::Snapshot;
use crate::controller::process;
use crate::engine::{DynEngine, Tier, VolumeSummary};
use crate::execute::lease::Permit;
use crate::lease::{Holder, Life, Role, of_project};
use crate::server::Client;
use crate::store::StateDir;

/// How long a command waits until it is known whose lease it is.
const DECIDED: Duration = Duration::from_secs(20);
/// Bytes of a command line that are repeated.
const WORDS: usize = 200;

/// Who keeps a project.
pub enum Keeper {
    /// Nobody who lives.
    Nobody,
    /// The daemon that holds the lease.
    Daemon(Client),
    /// Somebody who can't be reached from here: a sentence that says who, and the mend.
    Beyond(String),
}

/// Finds out who keeps a project, where nothing else is to be asked of the engine.
///
/// # Errors
/// The engine can't be asked.
pub async fn find(
    options: &Resolved,
    project: &str,
    deadline: Duration,
) -> Result<Keeper, CliError> {
    let volumes = options.engine(Tier::Observe)?.volumes().await?;
    keeper(options, project, &volumes, deadline).await
}

/// Who keeps a project, by the engine's volumes.
///
/// # Errors
/// The state folder can't be read.
pub async fn keeper<'v>(
    options: &Resolved,
    project: &str,
    volumes: impl IntoIterator<Item = &'v VolumeSummary>,
    deadline: Duration,
) -> Result<Keeper, CliError> {
    let Some(lease) = of_project(project, volumes).pop() else { return Ok(Keeper::Nobody) };
    let Some(holder) = lease.holder else {
        return Ok(Keeper::Beyond(format!(
            "{project}: the lease epoch {} doesn't say who holds it; if nobody keeps the project: `homeostat apply --take-over`",
            lease.epoch
        )));
    };
    let around = around(options)?;
    let host = around.host.clone();
    let life = process::judge(around)(&holder);
    if let Life::Dead(_) = life {
        return Ok(Keeper::Nobody);
    }
    let why = match reach(&holder, deadline).await {
        Ok(client) => return Ok(Keeper::Daemon(client)),
        Err(why) => why,
    };
    let mend = mend(&holder, &life, holder.host == host);
    Ok(Keeper::Beyond(format!("{project} is kept by {holder}: {why}; {mend}")))
}

/// The holder's control socket, if it is this holder that answers there.
async fn reach(holder: &Holder, deadline: Duration) -> Result<Client, String> {
    if holder.role == Role::Command {
        return Err("it is at work, and others wait until it is done".into());
    }
    if holder.control.is_empty() {
        return Err("its lease names no control socket".into());
    }
    let client = Client::connect(Path::new(&holder.control), deadline).await.map_err(|error| {
        format!("its control socket {} can't be used from here: {error}", holder.control)
    })?;
    if client.holder() != holder.id {
        return Err(format!("another daemon answers on {} here", holder.control));
    }
    Ok(client)
}

fn mend(holder: &Holder, life: &Life, here: bool) -> String {
    let ours = rustix::process::geteuid().as_raw();
    let user = match (holder.user.as_str(), holder.uid) {
        ("", None) => String::new(),
        ("", Some(uid)) => format!("'#{uid}'"),
        (user, _) => user.to_owned(),
    };
    let command = command_line();
    let mut mend = if holder.role == Role::Command {
        "try again then".to_owned()
    } else if !here {
        format!("run there, as {}: `{command}`", holder.who())
    } else if holder.uid.is_some_and(|uid| uid != ours) && *life == Life::Alive {
        format!("run as that user: `sudo -u {user} {command}`")
    } else {
        format!(
            "run where it runs, as {} (in its container, if it has one): `{command}`",
            holder.who()
        )
    };
    if let Life::Unknown(why) = life {
        mend.push_str(&format!(
            "; {why}, so whether it lives can't be told: if it is dead for certain, `homeostat apply --take-over`"
        ));
    }
    mend
}

/// What was typed, shortened.
fn command_line() -> String {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let line = format!("homeostat {}", words.join(" "));
    line.chars().take(WORDS).collect()
}

/// Where this command judges from. Its state folder isn't made for that.
fn around(options: &Resolved) -> Result<crate::lease::Around, CliError> {
    let failed = |error: crate::store::StateDirError| CliError::Failed(error.to_string());
    let path = options.state_path().ok().filter(|path| path.is_dir());
    let dir = path.map(|path| StateDir::open(&path)).transpose().map_err(failed)?;
    process::around(dir.as_ref(), false).map_err(failed)
}

/// Seeks a project's lease for the time of a command.
///
/// # Errors
/// The state folder can't be used.
pub fn seek(
    options: &Resolved,
    engine: &DynEngine,
    clock: &Arc<dyn Clock>,
    project: &str,
    take_over: bool,
    snapshots: watch::Receiver<Snapshot>,
) -> Result<(Permit, Running), CliError> {
    let failed = |error: crate::store::StateDirError| CliError::Failed(error.to_string());
    let dir = options.state_dir()?;
    let me = process::holder(Role::Command, &dir, None, clock.now().wall).map_err(failed)?;
    let around = process::around(Some(&dir), false).map_err(failed)?;
    let terms = Terms {
        engine: Arc::clone(engine),
        clock: Arc::clone(clock),
        project: project.to_owned(),
        me,
        life: Arc::new(process::judge(around)),
        take_over,
        tell: Box::new(|_| {}),
    };
    Ok(Leasing::start(terms, snapshots))
}

/// A lease for a command that watches nothing else. Waits until it is granted.
pub struct Alone {
    /// Asked before each step.
    pub permit: Permit,
    lease: Running,
    _snapshots: watch::Sender<Snapshot>,
}

impl Alone {
    /// Seeks it.
    ///
    /// # Errors
    /// Somebody else has it, or the engine refuses.
    pub async fn seek(
        options: &Resolved,
        engine: &DynEngine,
        clock: &Arc<dyn Clock>,
        project: &str,
    ) -> Result<Self, CliError> {
        let (_snapshots, seen) = watch::channel(Snapshot::default());
        let (mut permit, lease) = seek(options, engine, clock, project, false, seen)?;
        permit.look();
        let decided = tokio::time::timeout(DECIDED, permit.decided()).await;
        let denied = match decided {
            Ok(Ok(())) => return Ok(Self { permit, lease, _snapshots }),
            Ok(Err(denied)) => denied.0,
            Err(_) => permit.check().err().map(|denied| denied.0).unwrap_or_default(),
        };
        lease.end(true).await;
        Err(CliError::Failed(format!("{project}: {denied}")))
    }

    /// Gives it back.
    pub async fn end(self) {
        self.lease.end(true).await;
    }
}
