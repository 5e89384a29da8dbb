//! The words for a service's condition, and the state set that shows them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// A service's condition in one word: that of the slot that needs most attention.
pub use crate::plan::SlotStatus as ServiceStatus;

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
                    pair("status", status.word()),
                ]);
                family.mut_metric().push(metric);
            }
        }
        vec![family]
    }
}

pub(super) fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.into());
    pair.set_value(value.into());
    pair
}
