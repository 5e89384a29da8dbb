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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::Scenario;

    fn read(text: &str) -> Result<Escalation, String> {
        let file = ResourceFile { path: "policy.yaml".into(), text: text.into() };
        let told =
            |e: Diagnostics| e.list.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        escalation(&[file]).map_err(told)
    }

    fn policy(spec: &str) -> String {
        format!(
            "apiVersion: homeostat.dev/v1alpha1\nkind: EscalationPolicy\nmetadata: {{name: default}}\nspec: {spec}\n"
        )
    }

    #[test]
    fn what_is_given_replaces_the_default_and_the_rest_stays() {
        let spec = "{scenarios: {singleServiceDown: {attempts: 5}, gpu: {escalateAfter: 10s}}}";
        let read = read(&policy(spec)).expect("reads");
        let of =
            |s| (read.policy.budget(s).attempts, read.policy.budget(s).escalate_after.as_secs());
        assert_eq!(of(Scenario::SingleServiceDown), (5, 300));
        assert_eq!(of(Scenario::Gpu), (1, 10));
        assert_eq!(of(Scenario::MultipleServicesDown), (2, 180));
        assert!(read.warnings.is_empty());
    }

    #[test]
    fn notifiers_are_checked_and_nothing_acts_on_them_yet() {
        let spec = "{notify: [{discord: {webhookUrlFile: /run/secrets/x}}, {alertmanager: {url: 'http://a:9093'}}]}";
        let told = read(&policy(spec)).expect("reads").warnings;
        assert_eq!(told.len(), 1);
        assert!(
            told[0].to_string().contains("policy.yaml:4:8: warning: notify is not supported yet"),
            "{}",
            told[0]
        );
        let wrong = read(&policy("{notify: [{mail: {to: x}}]}")).expect_err("refused");
        assert!(wrong.contains("mail"), "{wrong}");
    }

    #[test]
    fn mistakes_have_their_place() {
        let wrong =
            read(&policy("{scenarios: {singelServiceDown: {attempts: 1}}}")).expect_err("refused");
        assert!(wrong.contains("did you mean `singleServiceDown`?"), "{wrong}");
        let bare = read(&policy("{scenarios: {gpu: {escalateAfter: 5}}}")).expect_err("refused");
        assert!(bare.contains("has no unit"), "{bare}");
        let many = read(&policy("{scenarios: {gpu: {attempts: 101}}}")).expect_err("refused");
        assert!(many.contains("at most 100 attempts"), "{many}");
        let two = format!("{}---\n{}", policy("{}"), policy("{}"));
        let second = read(&two).expect_err("refused");
        assert!(second.contains("a second EscalationPolicy"), "{second}");
    }
}
