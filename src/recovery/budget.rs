//! How often a recovery may be tried in each scenario, and after how long a person is told.

use std::fmt;
use std::time::Duration;

use crate::api::quantity::Percent;

/// What kind of trouble an incident is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scenario {
    /// One service is down or doesn't serve.
    SingleServiceDown,
    /// Several are, and not for one common reason.
    MultipleServicesDown,
    /// A GPU fails a service.
    Gpu,
    /// Data may be damaged.
    DataCorruption,
    /// Somebody limits how often a service may call.
    RateLimit,
}

impl Scenario {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 5] = [
        Self::SingleServiceDown,
        Self::MultipleServicesDown,
        Self::Gpu,
        Self::DataCorruption,
        Self::RateLimit,
    ];

    /// The word that resources, metrics and the journal use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::SingleServiceDown => "singleServiceDown",
            Self::MultipleServicesDown => "multipleServicesDown",
            Self::Gpu => "gpu",
            Self::DataCorruption => "dataCorruption",
            Self::RateLimit => "rateLimit",
        }
    }

    /// The scenario of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.word() == word)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What one scenario allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Attempts that may fail.
    pub attempts: u32,
    /// Time down after which a person is told, even if attempts are left.
    pub escalate_after: Duration,
}

/// The budgets of every scenario, and the brake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryPolicy {
    budgets: [Budget; Scenario::ALL.len()],
    /// Share of a project's containers below which recoveries happen one at a time.
    pub min_healthy: Percent,
}

impl RecoveryPolicy {
    /// The budget of a scenario.
    pub const fn budget(&self, scenario: Scenario) -> Budget {
        self.budgets[scenario as usize]
    }

    /// The same with another share that must be healthy, if one is given.
    #[must_use]
    pub fn with_min_healthy(self, share: Option<Percent>) -> Self {
        Self { min_healthy: share.unwrap_or(self.min_healthy), ..self }
    }

    /// Changes the budget of a scenario.
    pub const fn set(&mut self, scenario: Scenario, budget: Budget) {
        self.budgets[scenario as usize] = budget;
    }
}

impl Default for RecoveryPolicy {
    fn default() -> Self {
        let budget = |attempts, minutes: u64| Budget {
            attempts,
            escalate_after: Duration::from_secs(minutes * 60),
        };
        Self {
            budgets: [budget(3, 5), budget(2, 3), budget(1, 0), budget(0, 0), budget(0, 5)],
            min_healthy: Percent::whole(40),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_its_own_budget_and_word() {
        let mut policy = RecoveryPolicy::default();
        let of = |policy: &RecoveryPolicy| {
            Scenario::ALL
                .map(|s| (policy.budget(s).attempts, policy.budget(s).escalate_after.as_secs()))
        };
        assert_eq!(of(&policy), [(3, 300), (2, 180), (1, 0), (0, 0), (0, 300)]);
        policy.set(Scenario::Gpu, Budget { attempts: 9, escalate_after: Duration::from_secs(1) });
        assert_eq!(of(&policy), [(3, 300), (2, 180), (9, 1), (0, 0), (0, 300)]);
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::of(scenario.word()), Some(scenario));
        }
        assert_eq!(Scenario::of("none"), None);
    }
}
