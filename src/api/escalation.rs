//! The `EscalationPolicy` resource: how often recoveries may be tried, and when a person is told.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::meta::Metadata;
use super::quantity::Duration;
use super::stack::ApiVersion;
use crate::recovery::{Budget, RecoveryPolicy, Scenario};

/// How often recoveries of the stacks beside it may be tried, and when a person is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EscalationPolicy {
    /// `homeostat.dev/v1alpha1`.
    pub api_version: ApiVersion,
    /// `EscalationPolicy`.
    pub kind: EscalationPolicyKind,
    /// Its name.
    pub metadata: Metadata,
    /// What is wanted.
    #[serde(default)]
    pub spec: EscalationSpec,
}

/// The kind of the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EscalationPolicyKind {
    /// `EscalationPolicy`.
    EscalationPolicy,
}

/// What is wanted of escalation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EscalationSpec {
    /// Budgets by scenario; one that isn't named keeps its default.
    #[serde(default)]
    pub scenarios: Scenarios,
    /// Who is told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub notify: Vec<Notifier>,
}

/// Budgets by scenario.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenarios {
    /// One service is down. Default 3 attempts, `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_service_down: Option<BudgetSpec>,
    /// Several are, for different reasons. Default 2 attempts, `3m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiple_services_down: Option<BudgetSpec>,
    /// A GPU fails a service. Default 1 attempt, `0s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<BudgetSpec>,
    /// Data may be damaged. Default 0 attempts, `0s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_corruption: Option<BudgetSpec>,
    /// Somebody limits how often a service may call. Default 0 attempts, `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<BudgetSpec>,
}

/// What one scenario allows. What isn't given keeps its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BudgetSpec {
    /// Attempts that may fail, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub attempts: Option<u32>,
    /// Time down after which a person is told, even if attempts are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_after: Option<Duration>,
}

/// Who is told. Exactly one of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Notifier {
    /// A Discord webhook.
    Discord(DiscordNotifier),
    /// Prometheus' Alertmanager.
    Alertmanager(UrlNotifier),
}

/// A Discord webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiscordNotifier {
    /// File with the webhook's address, which is a secret.
    pub webhook_url_file: PathBuf,
}

/// A server that is told over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UrlNotifier {
    /// Its address.
    #[schemars(length(max = 2048))]
    pub url: String,
}

/// Most attempts that a scenario may allow.
pub const MOST_ATTEMPTS: u32 = 100;

impl Scenarios {
    /// The budgets that are given, with the keys under which they are.
    pub fn given(&self) -> impl Iterator<Item = (Scenario, BudgetSpec)> {
        let all = [
            (Scenario::SingleServiceDown, self.single_service_down),
            (Scenario::MultipleServicesDown, self.multiple_services_down),
            (Scenario::Gpu, self.gpu),
            (Scenario::DataCorruption, self.data_corruption),
            (Scenario::RateLimit, self.rate_limit),
        ];
        all.into_iter().filter_map(|(scenario, spec)| Some((scenario, spec?)))
    }
}

impl EscalationSpec {
    /// The defaults with what is given here.
    pub fn policy(&self) -> RecoveryPolicy {
        let mut policy = RecoveryPolicy::default();
        for (scenario, spec) in self.scenarios.given() {
            let before = policy.budget(scenario);
            policy.set(
                scenario,
                Budget {
                    attempts: spec.attempts.unwrap_or(before.attempts),
                    escalate_after: spec
                        .escalate_after
                        .map_or(before.escalate_after, Duration::get),
                },
            );
        }
        policy
    }
}
