//! The daemon that keeps a project, when one runs: it is asked over its control socket.

use std::time::Duration;

use super::error::{CliError, Exit, warn};
use super::output::{count, print};
use super::progress::{Board, Mark};
use super::resolved::Resolved;
use crate::api::status::Status;
use crate::clock::SystemClock;
use crate::server::{ApplyRequest, Client, ClientError, Progress, StepState, reason};

/// How long a daemon may think about a question.
const DEADLINE: Duration = Duration::from_secs(5);

/// A daemon and the stack that is meant.
pub struct Daemon {
    client: Client,
    stack: String,
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

/// The daemon that keeps this project.
///
/// # Errors
/// As [`connect`], or it doesn't answer.
pub async fn of(options: &Resolved, project: &str) -> Result<Option<Daemon>, CliError> {
    let Some(client) = connect(options).await? else { return Ok(None) };
    let status: Status = client.get("/api/v1/status").await?;
    let stack = status.stacks.into_iter().find(|stack| stack.project == project);
    Ok(stack.map(|stack| Daemon { client, stack: stack.name }))
}

impl Daemon {
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

    async fn follow(&self, services: &[String]) -> Result<Exit, CliError> {
        let request = ApplyRequest { services: services.to_vec() };
        let mut lines = self.client.apply(&self.stack, &request).await?;
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
            _ => CliError::Failed(message),
        }
    }
}
