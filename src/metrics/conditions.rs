//! The conditions of stacks as a state set, as kube-state-metrics shows those of objects.

use std::sync::{Arc, Mutex};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, Metric, MetricFamily, MetricType};

use super::status::pair;
use crate::api::status::{ConditionStatus, StackStatus};

const NAME: &str = "homeostat_stack_condition";
const HELP: &str = "Condition of a stack: 1 for the present status, 0 for every other.";
const STATUSES: [(ConditionStatus, &str); 3] = [
    (ConditionStatus::True, "true"),
    (ConditionStatus::False, "false"),
    (ConditionStatus::Unknown, "unknown"),
];

/// `homeostat_stack_condition{stack,status,type}`, made at each scrape.
#[derive(Clone)]
pub(super) struct Conditions {
    desc: Desc,
    /// Stack, type and status of each.
    all: Arc<Mutex<Vec<(String, String, ConditionStatus)>>>,
}

impl Conditions {
    pub(super) fn new() -> prometheus::Result<Self> {
        let labels = ["stack", "status", "type"].map(str::to_owned).to_vec();
        let desc = Desc::new(NAME.into(), HELP.into(), labels, Default::default())?;
        Ok(Self { desc, all: Arc::default() })
    }

    /// Those of these stacks, and of no other.
    pub(super) fn set(&self, stacks: &[StackStatus]) {
        let of = |stack: &StackStatus| {
            let name = stack.name.clone();
            let each =
                stack.conditions.iter().map(move |c| (name.clone(), c.kind.clone(), c.status));
            each.collect::<Vec<_>>()
        };
        let new = stacks.iter().flat_map(of).collect();
        if let Ok(mut all) = self.all.lock() {
            *all = new;
        }
    }
}

impl super::Metrics {
    /// The conditions of all stacks, as they are published.
    pub fn stack_conditions(&self, stacks: &[StackStatus]) {
        self.conditions.set(stacks);
    }
}

impl Collector for Conditions {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(all) = self.all.lock() else { return Vec::new() };
        let mut family = MetricFamily::default();
        family.set_name(NAME.into());
        family.set_help(HELP.into());
        family.set_field_type(MetricType::GAUGE);
        for (stack, kind, present) in all.iter() {
            for (status, word) in STATUSES {
                let mut gauge = Gauge::default();
                gauge.set_value(if status == *present { 1.0 } else { 0.0 });
                let mut metric = Metric::from_gauge(gauge);
                let labels = [("stack", stack.as_str()), ("status", word), ("type", kind)];
                metric.set_label(labels.map(|(name, value)| pair(name, value)).to_vec());
                family.mut_metric().push(metric);
            }
        }
        vec![family]
    }
}
