//! What Prometheus sees, in controller-runtime's vocabulary.
//!
//! # Guarantees
//! - Every series with closed label values exists from the start, at zero.
//! - No label holds a container ID, an error's text or anything else without bound. Project and
//!   service names come from the loaded files, and [`Metrics::forget_service`] takes theirs away.

mod conditions;
pub mod engine;
pub mod labels;
pub mod meter;
mod status;

use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

pub use labels::{
    Action, AttemptOutcome, CallResult, Controller, Drift, EngineCall, FaultReason, Label,
    ProbeAnswer, ReconcileResult, UpdateResult,
};
pub use status::ServiceStatus;

use crate::clock::Timestamp;
use crate::engine::Fault;
use crate::recovery::Scenario;
use crate::store::Completion;

/// Seconds. From 5 ms (one engine call) to 60 s (a slow start).
const BUCKETS: [f64; 13] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Content type of [`Metrics::expose`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Metrics could not be registered or printed.
#[derive(Debug, thiserror::Error)]
#[error("the metrics are inconsistent: {0}; please report it")]
pub struct MetricsError(#[from] prometheus::Error);

/// Every metric of the daemon. Cheap to update from any thread.
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    reconcile_time: Histogram,
    queue_depth: IntGauge,
    actions: IntCounterVec,
    drift: IntCounterVec,
    updates: IntCounterVec,
    reaction: Histogram,
    services: status::StateSet,
    conditions: conditions::Conditions,
    restarts: IntCounterVec,
    desired: IntGaugeVec,
    ready: IntGaugeVec,
    last_ready: GaugeVec,
    stream_connected: IntGauge,
    gaps: IntCounter,
    skipped_lines: IntCounter,
    last_resync: Gauge,
    resync_time: Histogram,
    engine_up: IntGauge,
    calls: IntCounterVec,
    call_time: Histogram,
    faults: IntCounterVec,
    probes: IntCounterVec,
    config_ok: IntGauge,
    config_time: Gauge,
    config_reloads: IntCounterVec,
    journal_errors: IntCounter,
    http_rejected: IntCounter,
    lease_held: IntGaugeVec,
    incidents: IntGaugeVec,
    attempts: IntCounterVec,
    escalations: IntCounterVec,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Registers everything, at zero, `process_*` included.
    ///
    /// # Errors
    /// [`MetricsError`]: two metrics clash, which a test would have found.
    pub fn new() -> Result<Self, MetricsError> {
        let r = Make(Registry::new());
        let metrics = Self {
            reconciles: r.counters(
                "homeostat_reconcile_total",
                "Reconciles by controller and result.",
                &["controller", "result"],
            )?,
            reconcile_time: r
                .seconds("homeostat_reconcile_time_seconds", "Time that a reconcile took.")?,
            queue_depth: r.gauge(
                "homeostat_workqueue_depth",
                "Stacks that have steps planned or under way.",
            )?,
            actions: r.counters(
                "homeostat_actions_total",
                "Writes to the engine by action and result.",
                &["action", "result"],
            )?,
            drift: r.counters(
                "homeostat_drift_detected_total",
                "Differences between files and engine, by kind.",
                &["kind"],
            )?,
            updates: r.counters(
                "homeostat_updates_total",
                "Updates of services' containers, by how they ended.",
                &["result"],
            )?,
            reaction: r.seconds(
                "homeostat_reaction_seconds",
                "From an event's arrival to the first write that answers it.",
            )?,
            services: status::StateSet::new()?,
            conditions: conditions::Conditions::new()?,
            restarts: r.counters(
                "homeostat_service_restarts_total",
                "Starts of a service's containers by homeostat or the engine.",
                &["project", "service"],
            )?,
            desired: r.gauges(
                "homeostat_service_containers_desired",
                "Containers that the files ask for.",
                &["project", "service"],
            )?,
            ready: r.gauges(
                "homeostat_service_containers_ready",
                "Containers that are ready, or ended well as jobs do.",
                &["project", "service"],
            )?,
            last_ready: r.float_gauges(
                "homeostat_service_last_ready_timestamp_seconds",
                "When the service was last seen ready, 0 if never.",
                &["project", "service"],
            )?,
            stream_connected: r.gauge(
                "homeostat_event_stream_connected",
                "1 while the engine's event stream is connected.",
            )?,
            gaps: r.counter(
                "homeostat_event_gaps_total",
                "Times that events may have been missed; each is followed by a full re-list.",
            )?,
            skipped_lines: r.counter(
                "homeostat_event_lines_skipped_total",
                "Lines of the event stream that were no event, or too long.",
            )?,
            last_resync: r.float_gauge(
                "homeostat_last_resync_timestamp_seconds",
                "When the last complete observation ended, 0 before the first.",
            )?,
            resync_time: r.seconds(
                "homeostat_resync_time_seconds",
                "Time that a complete observation took.",
            )?,
            engine_up: r.gauge("homeostat_engine_up", "1 while the engine answers.")?,
            calls: r.counters(
                "homeostat_engine_requests_total",
                "Calls to the engine by call and result.",
                &["call", "result"],
            )?,
            call_time: r.seconds(
                "homeostat_engine_request_duration_seconds",
                "Time that calls to the engine took, streams excepted.",
            )?,
            faults: r.counters(
                "homeostat_engine_faults_total",
                "Failed calls to the engine by reason.",
                &["reason"],
            )?,
            probes: r.counters(
                "homeostat_probes_total",
                "Probes of services by answer.",
                &["answer"],
            )?,
            config_ok: r.gauge(
                "homeostat_config_last_reload_successful",
                "1 if every stack's files could be loaded the last time that they changed.",
            )?,
            config_time: r.float_gauge(
                "homeostat_config_last_reload_success_timestamp_seconds",
                "When the files were last loaded well, 0 if never.",
            )?,
            config_reloads: r.counters(
                "homeostat_config_reloads_total",
                "Loads of the files by result.",
                &["result"],
            )?,
            journal_errors: r.counter(
                "homeostat_journal_errors_total",
                "Reads and writes of the journal that failed.",
            )?,
            http_rejected: r.counter(
                "homeostat_http_requests_rejected_total",
                "HTTP requests turned away for their Host header.",
            )?,
            lease_held: r.gauges(
                "homeostat_lease_held",
                "1 while this operator holds the project's lease and may change it.",
                &["project"],
            )?,
            incidents: r.gauges(
                "homeostat_incidents_open",
                "Incidents that are open, by scenario.",
                &["project", "scenario"],
            )?,
            attempts: r.counters(
                "homeostat_recovery_attempts_total",
                "Attempts of recoveries that ended, by result.",
                &["result"],
            )?,
            escalations: r.counters(
                "homeostat_escalations_total",
                "Incidents that a person was told of, by scenario.",
                &["scenario"],
            )?,
            registry: r.0,
        };
        metrics.start_at_zero()?;
        Ok(metrics)
    }

    fn start_at_zero(&self) -> Result<(), MetricsError> {
        zero(&self.reconciles, Controller::ALL, ReconcileResult::ALL);
        zero(&self.actions, Action::ALL, <Completion as Label>::ALL);
        zero(&self.calls, EngineCall::ALL, CallResult::ALL);
        zero_one(&self.drift, Drift::ALL);
        zero_one(&self.updates, UpdateResult::ALL);
        zero_one(&self.faults, FaultReason::ALL);
        zero_one(&self.probes, ProbeAnswer::ALL);
        zero_one(&self.attempts, AttemptOutcome::ALL);
        zero_one(&self.escalations, <Scenario as Label>::ALL);
        zero_one(&self.config_reloads, CallResult::ALL);
        self.registry.register(Box::new(self.services.clone()))?;
        self.registry.register(Box::new(self.conditions.clone()))?;
        self.registry.register(Box::new(ProcessCollector::for_self()))?;
        let about = Opts::new("homeostat_build_info", "Constant 1, labelled with the build.")
            .const_label("version", env!("CARGO_PKG_VERSION"))
            .const_label("arch", std::env::consts::ARCH);
        let build = IntGauge::with_opts(about)?;
        build.set(1);
        Ok(self.registry.register(Box::new(build))?)
    }

    /// The text exposition, sorted by name.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub fn expose(&self) -> Result<Vec<u8>, MetricsError> {
        let mut text = Vec::with_capacity(32 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// A reconcile ended.
    pub fn reconciled(&self, controller: Controller, result: ReconcileResult, took: Duration) {
        self.reconciles.with_label_values(&[controller.word(), result.word()]).inc();
        if controller == Controller::Stack {
            self.reconcile_time.observe(took.as_secs_f64());
        }
    }

    /// So many stacks have steps planned or under way.
    pub fn queue_depth(&self, depth: usize) {
        self.queue_depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// An action ended.
    pub fn acted(&self, action: Action, result: Completion) {
        self.actions.with_label_values(&[action.word(), result.word()]).inc();
    }

    /// A difference was found that wasn't there at the last look.
    pub fn drifted(&self, kind: Drift) {
        self.drift.with_label_values(&[kind.word()]).inc();
    }

    /// An update ended.
    pub fn updated(&self, result: UpdateResult) {
        self.updates.with_label_values(&[result.word()]).inc();
    }

    /// Time from an event's arrival to the first write that answers it.
    pub fn reacted(&self, took: Duration) {
        self.reaction.observe(took.as_secs_f64());
    }

    /// A service's present condition; makes all of its series on first sight.
    pub fn service(
        &self,
        project: &str,
        service: &str,
        status: ServiceStatus,
        desired: u32,
        ready: u32,
    ) {
        let key = [project, service];
        self.services.set(project, service, status);
        self.desired.with_label_values(&key).set(i64::from(desired));
        self.ready.with_label_values(&key).set(i64::from(ready));
        self.restarts.with_label_values(&key);
        self.last_ready.with_label_values(&key);
    }

    /// A service was seen ready.
    pub fn service_ready_at(&self, project: &str, service: &str, at: Timestamp) {
        self.last_ready.with_label_values(&[project, service]).set(seconds(at));
    }

    /// A service's containers were started `times` more.
    pub fn service_restarted(&self, project: &str, service: &str, times: u64) {
        self.restarts.with_label_values(&[project, service]).inc_by(times);
    }

    /// Removes every series of a service that is no longer wanted.
    pub fn forget_service(&self, project: &str, service: &str) {
        let key = [project, service];
        self.services.forget(project, service);
        // An error only says that there was no such series.
        let _ = self.desired.remove_label_values(&key);
        let _ = self.ready.remove_label_values(&key);
        let _ = self.restarts.remove_label_values(&key);
        let _ = self.last_ready.remove_label_values(&key);
    }

    /// The event stream connected or ended.
    pub fn stream_connected(&self, connected: bool) {
        self.stream_connected.set(i64::from(connected));
    }

    /// Events may have been missed.
    pub fn event_gap(&self) {
        self.gaps.inc();
    }

    /// A complete observation ended.
    pub fn resynced(&self, at: Timestamp, took: Duration) {
        self.last_resync.set(seconds(at));
        self.resync_time.observe(took.as_secs_f64());
    }

    /// The engine answers, or doesn't.
    pub fn engine_up(&self, up: bool) {
        self.engine_up.set(i64::from(up));
    }

    /// A call to the engine ended. `took` is `None` for streams.
    pub fn called(&self, call: EngineCall, took: Option<Duration>, fault: Option<&Fault>) {
        let result = if fault.is_some() { CallResult::Error } else { CallResult::Success };
        self.calls.with_label_values(&[call.word(), result.word()]).inc();
        if let Some(fault) = fault {
            self.faults.with_label_values(&[fault.reason()]).inc();
        }
        if let Some(took) = took {
            self.call_time.observe(took.as_secs_f64());
        }
    }

    /// A probe answered.
    pub fn probed(&self, answer: ProbeAnswer) {
        self.probes.with_label_values(&[answer.word()]).inc();
    }

    /// Whether the files of all stacks are well.
    pub fn config_successful(&self, well: bool) {
        self.config_ok.set(i64::from(well));
    }

    /// The files of a stack were loaded: `Some(when)` if well.
    pub fn config_loaded(&self, well: Option<Timestamp>) {
        let result = if well.is_some() { CallResult::Success } else { CallResult::Error };
        self.config_reloads.with_label_values(&[result.word()]).inc();
        let result = if well.is_some() { ReconcileResult::Success } else { ReconcileResult::Error };
        self.reconciled(Controller::Config, result, Duration::ZERO);
        if let Some(at) = well {
            self.config_time.set(seconds(at));
        }
    }

    /// A project's lease is ours, or isn't.
    pub fn lease_held(&self, project: &str, held: bool) {
        self.lease_held.with_label_values(&[project]).set(i64::from(held));
    }

    /// A project is kept no longer.
    pub fn forget_lease(&self, project: &str) {
        // An error only says that there was no such series.
        let _ = self.lease_held.remove_label_values(&[project]);
        for scenario in Scenario::ALL {
            let _ = self.incidents.remove_label_values(&[project, scenario.word()]);
        }
    }

    /// The open incidents of a project; makes all of its series on first sight.
    pub fn incidents_open(&self, project: &str, open: &[Scenario]) {
        for scenario in Scenario::ALL {
            let count = open.iter().filter(|other| **other == scenario).count();
            let gauge = self.incidents.with_label_values(&[project, scenario.word()]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// An attempt of a recovery ended.
    pub fn attempt_ended(&self, outcome: AttemptOutcome) {
        self.attempts.with_label_values(&[outcome.word()]).inc();
    }

    /// A person is told of an incident.
    pub fn escalated(&self, scenario: Scenario) {
        self.escalations.with_label_values(&[scenario.word()]).inc();
    }

    /// A line of the event stream made no sense.
    pub fn event_skipped(&self) {
        self.skipped_lines.inc();
    }

    /// The journal failed.
    pub fn journal_failed(&self) {
        self.journal_errors.inc();
    }

    /// A request was turned away for its `Host`.
    pub fn http_rejected(&self) {
        self.http_rejected.inc();
    }
}

fn zero<A: Label, B: Label>(vec: &IntCounterVec, a: &[A], b: &[B]) {
    for a in a {
        for b in b {
            vec.with_label_values(&[a.word(), b.word()]);
        }
    }
}

fn zero_one<A: Label>(vec: &IntCounterVec, a: &[A]) {
    for a in a {
        vec.with_label_values(&[a.word()]);
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.0 as f64 / 1000.0
}

/// Makes and registers.
struct Make(Registry);

impl Make {
    fn add<M: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: prometheus::Result<M>,
    ) -> Result<M, MetricsError> {
        let metric = metric?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricsError> {
        self.add(IntCounter::new(name, help))
    }
    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
        self.add(IntGauge::new(name, help))
    }
    fn float_gauge(&self, name: &str, help: &str) -> Result<Gauge, MetricsError> {
        self.add(Gauge::new(name, help))
    }
    fn seconds(&self, name: &str, help: &str) -> Result<Histogram, MetricsError> {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(BUCKETS.to_vec())))
    }
    fn counters(&self, name: &str, help: &str, l: &[&str]) -> Result<IntCounterVec, MetricsError> {
        self.add(IntCounterVec::new(Opts::new(name, help), l))
    }
    fn gauges(&self, name: &str, help: &str, l: &[&str]) -> Result<IntGaugeVec, MetricsError> {
        self.add(IntGaugeVec::new(Opts::new(name, help), l))
    }
    fn float_gauges(&self, name: &str, help: &str, l: &[&str]) -> Result<GaugeVec, MetricsError> {
        self.add(GaugeVec::new(Opts::new(name, help), l))
    }
}

#[cfg(test)]
mod tests;
