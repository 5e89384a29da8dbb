//! The daemon that keeps a project, when one runs: it is asked over its control socket.

use std::time::Duration;

use super::error::{CliError, Exit, warn};
use super::goal::Meant;
use super::lease::{self, Keeper};
use super::output::{count, print};
use super::progress::{Board, Mark};
use super::resolved::Resolved;
use crate::api::plan::PlanAnswer;
use crate::api::status::{StackStatus, Status};
use crate::clock::SystemClock;
use crate::desired::digest::digests;
use crate::desired::shell;
use crate::observed::Observed;
use crate::server::{Client, ClientError, Progress, StepState, Wanted, reason};

/// How long a daemon may think about a question.
const DEADLINE: Duration = Duration::from_secs(5);

/// A daemon and the stack that is meant.
pub struct Daemon<'a> {
    client: Client,
    stack: String,
    options: &'a Resolved,
    meant: &'a Meant,
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The daemon of this state folder; `None` when none runs.
///
/// # Errors
/// One runs, but it is another user's or another version.
pub async fn connect(options: &Resolved) -> Result<Option<Client>, CliError> {
    connect_within(options, DEADLINE).await
}

/// The same with another deadline for each answer.
///
/// # Errors
/// As [`connect`].
pub async fn connect_within(
    options: &Resolved,
    deadline: Duration,
) -> Result<Option<Client>, CliError> {
    // Without a folder there is no daemon; where the folder is unknown there is none of ours.
    let Ok(path) = options.state_path() else { return Ok(None) };
    // Opening the folder would make it, so only the path is used.
    let socket = path.join("control.sock");
    match Client::connect(&socket, deadline).await {
        Ok(client) => Ok(Some(client)),
        Err(ClientError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The daemon that keeps this project, by the project's lease in what was seen.
///
/// # Errors
/// Somebody keeps it who can't be reached from here, or the daemon doesn't answer.
pub async fn of<'a>(
    options: &'a Resolved,
    meant: &'a Meant,
    observed: &Observed,
) -> Result<Option<Daemon<'a>>, CliError> {
    match seek(options, meant, observed).await? {
        Ok(daemon) => Ok(daemon),
        Err(beyond) => Err(CliError::Failed(beyond)),
    }
}

/// The same; who can't be reached is no error, but told.
///
/// # Errors
/// The daemon doesn't answer.
pub async fn seek<'a>(
    options: &'a Resolved,
    meant: &'a Meant,
    observed: &Observed,
) -> Result<Result<Option<Daemon<'a>>, String>, CliError> {
    let project = &meant.goal.desired.project.name;
    let client = match lease::keeper(options, project, observed.volumes.values(), DEADLINE).await? {
        Keeper::Nobody => return Ok(Ok(None)),
        Keeper::Beyond(why) => return Ok(Err(why)),
        Keeper::Daemon(client) => client,
    };
    let status: Status = client.get("/api/v1/status").await?;
    Ok(match keeps(status.stacks, project) {
        Some(stack) => Ok(Some(Daemon { client, stack: stack.name, options, meant })),
        None => Err(format!("{project}: its daemon is just letting go of it; try again")),
    })
}

/// Of the stacks with this project, the one whose loop runs: the others are refused.
fn keeps(stacks: Vec<StackStatus>, project: &str) -> Option<StackStatus> {
    let ours = stacks.into_iter().filter(|stack| stack.project == project);
    ours.min_by_key(|stack| {
        let taken = stack.conditions.iter().any(|c| c.reason == "ProjectTaken");
        (taken, stack.observed_generation == 0)
    })
}

impl Daemon<'_> {
    /// Asks it to converge, and shows what it does.
    ///
    /// # Errors
    /// It refuses, fails, or isn't done in time.
    pub async fn apply(&self, services: &[String], limit: Duration) -> Result<Exit, CliError> {
        let call = self.follow(services);
        match tokio::time::timeout(limit, call).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CliError::Failed(format!(
                "{}: the daemon isn't done after {limit:?}; it goes on by itself (`homeostat get services`)",
                self.stack
            ))),
        }
    }

    /// Asks it what it would do.
    ///
    /// # Errors
    /// It refuses or fails.
    pub async fn plan(&self, services: &[String]) -> Result<PlanAnswer, CliError> {
        let mut lines = self.client.plan(&self.stack, &self.wanted(services)).await?;
        while let Some(line) = lines.next().await? {
            match line {
                Progress::Planned(answer) => return Ok(*answer),
                Progress::Failed { reason, message } => return Err(self.failed(&reason, &message)),
                _ => {}
            }
        }
        Err(CliError::Failed(format!("{}: the daemon gave no plan", self.stack)))
    }

    /// Asks it to leave services alone, or to end holds. Returns what changed.
    ///
    /// # Errors
    /// It refuses or fails.
    pub async fn hold(&self, pause: bool, services: &[String]) -> Result<Vec<String>, CliError> {
        let wanted = Wanted { services: services.to_vec(), project: None };
        let mut lines = match pause {
            true => self.client.pause(&self.stack, &wanted).await?,
            false => self.client.resume(&self.stack, &wanted).await?,
        };
        while let Some(line) = lines.next().await? {
            match line {
                Progress::Held { changes } => return Ok(changes),
                Progress::Failed { reason, message } => return Err(self.failed(&reason, &message)),
                _ => {}
            }
        }
        Err(CliError::Failed(format!("{}: the daemon gave no answer", self.stack)))
    }

    fn wanted(&self, services: &[String]) -> Wanted {
        let project = Some(digests(&self.meant.goal.desired.project));
        Wanted { services: services.to_vec(), project }
    }

    async fn follow(&self, services: &[String]) -> Result<Exit, CliError> {
        let mut lines = self.client.apply(&self.stack, &self.wanted(services)).await?;
        let mut board = Board::new(std::sync::Arc::new(SystemClock::new()));
        let mut outcome = Ok(Exit::Well);
        while let Some(line) = lines.next().await? {
            match line {
                Progress::Step { object, op, state, message, .. } => {
                    let (mark, word) = match state {
                        StepState::Working => (Mark::Working, format!("{op} …")),
                        StepState::Done => (Mark::Done, op),
                        StepState::Skipped => continue,
                        StepState::Failed | StepState::Unknown => (Mark::Failed, op),
                    };
                    board.show(&object, mark, &word, &message);
                }
                Progress::LeftAlone { object, message } => {
                    warn(&format!("{}: {object}: {message}", self.stack));
                }
                Progress::Finished { changed } => {
                    let changes = count(changed as usize, "change");
                    print(&format!("{}: ready; {changes} (by the daemon)\n", self.stack))?;
                }
                Progress::Planned(_) | Progress::Held { .. } => {}
                Progress::Failed { reason, message } => {
                    outcome = Err(self.failed(&reason, &message));
                }
            }
        }
        board.close();
        outcome
    }

    fn failed(&self, reason: &str, message: &str) -> CliError {
        let message = format!("{}: {message}", self.stack);
        match reason {
            reason::UNKNOWN_SERVICE => CliError::Usage(message),
            reason::PROJECT_DIFFERS => {
                let mends = match self.mends() {
                    mends if mends.is_empty() => {
                        "\n  run the command in the daemon's folder and as its user".to_owned()
                    }
                    mends => mends,
                };
                CliError::Usage(message + &mends)
            }
            // A variable that only the shell has may be the one that the files require.
            reason::SOURCE_INVALID => CliError::Failed(message + &self.mends()),
            _ => CliError::Failed(message),
        }
    }

    /// What this command line sees and the daemon may not, a line each, with the mend.
    fn mends(&self) -> String {
        let mut lines = String::new();
        let variables = shell::matter(&self.meant.source).join(", ");
        if !variables.is_empty() {
            lines.push_str(&format!(
                "\n  variables of this shell: {variables}; put them into .env or spec.source.env, or start the daemon with --inherit-env"
            ));
        }
        let load = &self.options.load;
        let flags: Vec<&str> = [
            ("-f", !load.files.is_empty()),
            ("--project-directory", load.project_directory.is_some()),
            ("--env-file", !load.env_files.is_empty()),
            ("--profile", !load.profiles.is_empty()),
        ]
        .into_iter()
        .filter_map(|(flag, given)| given.then_some(flag))
        .collect();
        if !flags.is_empty() {
            let flags = flags.join(", ");
            lines.push_str(&format!(
                "\n  flags of this command: {flags}; start the daemon with the same ones, or put them into spec.source.compose"
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::{Condition, ConditionStatus};

    #[test]
    fn the_stack_that_holds_the_project_is_asked() {
        let stack = |name: &str, project: &str, reason: &str, seen: u64| StackStatus {
            name: name.into(),
            project: project.into(),
            observed_generation: seen,
            conditions: vec![Condition {
                kind: "SourceValid".into(),
                status: ConditionStatus::False,
                reason: reason.into(),
                message: String::new(),
                last_transition_time: String::new(),
                observed_generation: seen,
            }],
            ..StackStatus::default()
        };
        let one = |stacks: Vec<StackStatus>| keeps(stacks, "p").map(|stack| stack.name);
        let refused = stack("a", "p", "ProjectTaken", 0);
        let kept = stack("b", "p", "Valid", 3);
        assert_eq!(one(vec![refused.clone(), kept.clone()]).as_deref(), Some("b"));
        assert_eq!(one(vec![refused.clone(), stack("b", "p", "Valid", 0)]).as_deref(), Some("b"));
        // What is wrong with its files may hide that it is refused.
        assert_eq!(one(vec![stack("a", "p", "SourceGone", 0), kept]).as_deref(), Some("b"));
        assert_eq!(one(vec![stack("c", "q", "Valid", 1)]), None);
    }
}
