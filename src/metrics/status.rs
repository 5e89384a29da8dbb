//! The words for a service's condition, and the state set that shows them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};
use serde::{Deserialize, Serialize};

/// A service's condition in one word.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum ServiceStatus {
    /// Runs and serves.
    Ready,
    /// Runs, not yet ready, within its start deadline.
    Starting,
    /// Docker says unhealthy, its driver says ready.
    Degraded,
    /// Runs and doesn't serve.
    Unhealthy,
    /// Its container exists and doesn't run.
    Stopped,
    /// It has no container.
    Missing,
    /// Waits for something else: a dependency, a backoff.
    Waiting,
    /// A person stopped it or changed it; left alone.
    Held,
    /// Its container is frozen.
    Paused,
    /// Nobody can tell.
    #[default]
    Unknown,
    /// A job that ran to its end.
    Completed,
}

impl ServiceStatus {
    /// Every status, in the order in which people read them.
    pub const ALL: [Self; 11] = [
        Self::Ready,
        Self::Starting,
        Self::Degraded,
        Self::Unhealthy,
        Self::Stopped,
        Self::Missing,
        Self::Waiting,
        Self::Held,
        Self::Paused,
        Self::Unknown,
        Self::Completed,
    ];

    /// The lowercase word, as in the metric's label and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Stopped => "stopped",
            Self::Missing => "missing",
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Paused => "paused",
            Self::Unknown => "unknown",
            Self::Completed => "completed",
        }
    }
}

impl std::fmt::Display for ServiceStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

const NAME: &str = "homeostat_service_status";
const HELP: &str = "Condition of a service: 1 for the present status, 0 for every other.";

/// `homeostat_service_status`: made at each scrape from one word a service, so that exactly one
/// status is 1 even while another thread changes it.
#[derive(Clone)]
pub(super) struct StateSet {
    desc: Desc,
    services: Arc<Mutex<BTreeMap<(String, String), ServiceStatus>>>,
}

impl StateSet {
    pub(super) fn new() -> prometheus::Result<Self> {
        let labels = ["project", "service", "status"].map(str::to_owned).to_vec();
        let desc = Desc::new(NAME.into(), HELP.into(), labels, Default::default())?;
        Ok(Self { desc, services: Arc::default() })
    }

    pub(super) fn set(&self, project: &str, service: &str, status: ServiceStatus) {
        if let Ok(mut services) = self.services.lock() {
            services.insert((project.to_owned(), service.to_owned()), status);
        }
    }

    pub(super) fn forget(&self, project: &str, service: &str) {
        if let Ok(mut services) = self.services.lock() {
            services.remove(&(project.to_owned(), service.to_owned()));
        }
    }
}

impl Collector for StateSet {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(services) = self.services.lock() else { return Vec::new() };
        let mut family = MetricFamily::default();
        family.set_name(NAME.into());
        family.set_help(HELP.into());
        family.set_field_type(MetricType::GAUGE);
        for ((project, service), present) in services.iter() {
            for status in ServiceStatus::ALL {
                let mut gauge = Gauge::default();
                gauge.set_value(if status == *present { 1.0 } else { 0.0 });
                let mut metric = Metric::from_gauge(gauge);
                metric.set_label(vec![
                    pair("project", project),
                    pair("service", service),
                    pair("status", status.as_str()),
                ]);
                family.mut_metric().push(metric);
            }
        }
        vec![family]
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.into());
    pair.set_value(value.into());
    pair
}
