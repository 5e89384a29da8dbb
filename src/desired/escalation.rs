//! The EscalationPolicy that holds for the stacks of a folder.

use std::path::PathBuf;

use super::diagnostics::Diagnostics;
use super::files::{POLICY, ResourceFile};
use crate::api::diagnostic::Diagnostic;
use crate::api::escalation::MOST_ATTEMPTS;
use crate::recovery::RecoveryPolicy;

/// What the files beside a stack say of its recoveries.
#[derive(Debug, Clone, Default)]
pub struct Escalation {
    /// Budgets.
    pub policy: RecoveryPolicy,
    /// The file that says so.
    pub file: Option<PathBuf>,
    /// What a person should know.
    pub warnings: Vec<Diagnostic>,
}

/// Reads the one EscalationPolicy among these files; without any, the defaults hold.
///
/// # Errors
/// Its mistakes, or a second one: nobody could tell which holds.
pub fn escalation(files: &[ResourceFile]) -> Result<Escalation, Diagnostics> {
    let mut found = Escalation::default();
    for file in files {
        for document in file.policies() {
            let at = |path: &[&str], message: String| {
                Diagnostic::at(&file.path, &file.text, document.key(path), message)
            };
            if let Some(first) = &found.file {
                let message = format!("a second {POLICY}; the first one is in {}", first.display());
                let help = "keep one for all stacks of the folder".to_owned();
                return Err(at(&["metadata", "name"], message).help(help).into());
            }
            let policy = file.decode_policy(&document).map_err(Diagnostics::new)?;
            for (scenario, budget) in policy.spec.scenarios.given() {
                if budget.attempts.is_some_and(|attempts| attempts > MOST_ATTEMPTS) {
                    let path = ["spec", "scenarios", scenario.word(), "attempts"];
                    return Err(at(&path, format!("at most {MOST_ATTEMPTS} attempts")).into());
                }
            }
            if !policy.spec.notify.is_empty() {
                let message =
                    "notify is not supported yet by this version: it does nothing".to_owned();
                found.warnings.push(at(&["spec", "notify"], message).warning());
            }
            found.policy = policy.spec.policy();
            found.file = Some(file.path.clone());
        }
    }
    Ok(found)
}
