use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn exposed(metrics: &Metrics) -> String {
    String::from_utf8(metrics.expose().expect("exposes")).expect("text")
}

/// Samples by series, comments left out.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    text.lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| l.rsplit_once(' ').expect("series and value"))
        .map(|(series, value)| (series, value.parse().expect("number")))
        .collect()
}

fn of_service<'a>(text: &'a str, project: &str, service: &str) -> BTreeMap<&'a str, f64> {
    let (project, service) = (format!("project=\"{project}\""), format!("service=\"{service}\""));
    let all = samples(text);
    all.into_iter().filter(|(s, _)| s.contains(&project) && s.contains(&service)).collect()
}

#[test]
fn every_promised_series_is_there_at_zero_from_the_start() {
    let metrics = Metrics::new().expect("registers");
    let text = exposed(&metrics);
    let samples = samples(&text);
    for series in [
        "homeostat_reconcile_total{controller=\"stack\",result=\"success\"}",
        "homeostat_reconcile_time_seconds_count",
        "homeostat_reconcile_time_seconds_bucket{le=\"0.005\"}",
        "homeostat_reconcile_time_seconds_bucket{le=\"60\"}",
        "homeostat_workqueue_depth",
        "homeostat_actions_total{action=\"start_container\",result=\"failed\"}",
        "homeostat_drift_detected_total{kind=\"missing\"}",
        "homeostat_updates_total{result=\"rolled_back\"}",
        "homeostat_event_stream_connected",
        "homeostat_event_gaps_total",
        "homeostat_last_resync_timestamp_seconds",
        "homeostat_config_last_reload_successful",
        "homeostat_engine_requests_total{call=\"list_containers\",result=\"error\"}",
        "homeostat_engine_faults_total{reason=\"Timeout\"}",
    ] {
        assert_eq!(samples.get(series), Some(&0.0), "{series}\n{text}");
    }
    let build = format!(
        "homeostat_build_info{{arch=\"{}\",version=\"{}\"}}",
        std::env::consts::ARCH,
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(samples.get(build.as_str()), Some(&1.0), "{text}");
    assert!(samples.get("process_resident_memory_bytes").is_some_and(|v| *v > 0.0), "{text}");
}

#[test]
fn exactly_one_status_is_one() {
    let metrics = Metrics::new().expect("registers");
    for status in ServiceStatus::ALL {
        metrics.service("p", "valkey", status, 1, 0);
        let text = exposed(&metrics);
        let set: BTreeMap<_, _> = of_service(&text, "p", "valkey")
            .into_iter()
            .filter(|(s, _)| s.starts_with("homeostat_service_status{"))
            .collect();
        assert_eq!(set.len(), ServiceStatus::ALL.len());
        let ones: Vec<_> = set.iter().filter(|(_, v)| **v == 1.0).map(|(s, _)| *s).collect();
        let label = format!("status=\"{}\"", status.word());
        assert!(ones.len() == 1 && ones[0].contains(&label), "{ones:?}");
        assert_eq!(set.values().sum::<f64>(), 1.0);
    }
}

#[test]
fn one_status_is_one_even_while_it_changes() {
    let metrics = Metrics::new().expect("registers");
    metrics.service("p", "a", ServiceStatus::Ready, 1, 1);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for status in ServiceStatus::ALL.into_iter().cycle().take(5_000) {
                metrics.service("p", "a", status, 1, 0);
            }
        });
        while !writer.is_finished() {
            let text = exposed(&metrics);
            let sum: f64 = samples(&text)
                .iter()
                .filter(|(s, _)| s.starts_with("homeostat_service_status{"))
                .map(|(_, v)| v)
                .sum();
            assert_eq!(sum, 1.0);
        }
    });
}

#[test]
fn a_removed_service_leaves_no_series_and_others_keep_theirs() {
    let metrics = Metrics::new().expect("registers");
    let before: BTreeSet<String> =
        samples(&exposed(&metrics)).into_keys().map(str::to_owned).collect();
    for (project, service) in [("p", "a"), ("p", "b"), ("q", "a")] {
        metrics.service(project, service, ServiceStatus::Ready, 1, 1);
        metrics.service_restarted(project, service, 2);
        metrics.service_ready_at(project, service, Timestamp(1_500));
    }
    let text = exposed(&metrics);
    let count = of_service(&text, "p", "a").len();
    assert!((ServiceStatus::ALL.len()..=60).contains(&count), "{count} series");
    metrics.forget_service("p", "a");
    let text = exposed(&metrics);
    assert_eq!(of_service(&text, "p", "a").len(), 0, "{text}");
    assert_eq!(of_service(&text, "p", "b").len(), count);
    assert_eq!(of_service(&text, "q", "a").len(), count);
    metrics.forget_service("p", "b");
    metrics.forget_service("q", "a");
    metrics.forget_service("never", "there");
    let after: BTreeSet<String> =
        samples(&exposed(&metrics)).into_keys().map(str::to_owned).collect();
    assert_eq!(after, before);
}

#[test]
fn updates_arrive_in_their_series() {
    let metrics = Metrics::new().expect("registers");
    let fault = Fault::Timeout { call: "secret-name".into(), after: Duration::from_secs(1) };
    metrics.called(EngineCall::Info, Some(Duration::from_millis(7)), Some(&fault));
    metrics.acted(Action::PullImage, Completion::Unknown);
    metrics.drifted(Drift::Config);
    metrics.reconciled(Controller::Stack, ReconcileResult::Requeue, Duration::from_secs(2));
    metrics.config_loaded(Some(Timestamp(2_000)));
    metrics.config_loaded(None);
    metrics.config_successful(false);
    metrics.resynced(Timestamp(1_234), Duration::ZERO);
    metrics.service("p", "quote\"\n", ServiceStatus::Held, 3, 2);
    let text = exposed(&metrics);
    let samples = samples(&text);
    for (series, value) in [
        ("homeostat_engine_requests_total{call=\"info\",result=\"error\"}", 1.0),
        ("homeostat_engine_faults_total{reason=\"Timeout\"}", 1.0),
        ("homeostat_engine_request_duration_seconds_bucket{le=\"0.01\"}", 1.0),
        ("homeostat_engine_request_duration_seconds_bucket{le=\"0.005\"}", 0.0),
        ("homeostat_actions_total{action=\"pull_image\",result=\"unknown\"}", 1.0),
        ("homeostat_drift_detected_total{kind=\"config\"}", 1.0),
        ("homeostat_reconcile_total{controller=\"stack\",result=\"requeue\"}", 1.0),
        ("homeostat_config_last_reload_successful", 0.0),
        ("homeostat_config_last_reload_success_timestamp_seconds", 2.0),
        ("homeostat_config_reloads_total{result=\"error\"}", 1.0),
        ("homeostat_last_resync_timestamp_seconds", 1.234),
        ("homeostat_service_containers_desired{project=\"p\",service=\"quote\\\"\\n\"}", 3.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}\n{text}");
    }
    assert!(!text.contains("secret-name"), "{text}");
}

#[test]
fn every_fault_has_its_series() {
    let d = Duration::ZERO;
    let s = || "x".to_owned();
    let faults = [
        Fault::Unreachable { endpoint: s(), reason: s() },
        Fault::SocketPermission { endpoint: s() },
        Fault::Forbidden { call: s(), message: s() },
        Fault::NotFound { call: s(), message: s() },
        Fault::Conflict { call: s(), message: s() },
        Fault::Rejected { call: s(), status: 400, message: s() },
        Fault::Server { call: s(), status: 500, message: s() },
        Fault::Timeout { call: s(), after: d },
        Fault::Interrupted { call: s(), reason: s() },
        Fault::Garbage { call: s(), reason: s() },
        Fault::TooLarge { call: s(), limit: 1 },
        Fault::TooOld { what: s(), needs: s(), has: s() },
        Fault::TierForbids { call: s(), tier: s() },
        Fault::BadEndpoint { endpoint: s(), reason: s() },
    ];
    let known: BTreeSet<_> = FaultReason::ALL.iter().map(|r| r.word()).collect();
    let named: BTreeSet<_> = faults.iter().map(Fault::reason).collect();
    assert_eq!(named, known);
}

#[test]
fn every_family_has_a_help_text_and_a_conventional_name() {
    let metrics = Metrics::new().expect("registers");
    metrics.service("p", "a", ServiceStatus::Ready, 1, 1);
    for family in metrics.registry.gather() {
        let name = family.name().to_owned();
        assert!(!family.help().is_empty(), "{name}");
        let counter = family.get_field_type() == prometheus::proto::MetricType::COUNTER;
        assert_eq!(counter, name.ends_with("_total"), "{name}");
        assert!(!name.contains("millis") && !name.ends_with("_ms"), "{name}: base units");
    }
}

#[test]
fn a_condition_has_one_status_and_goes_with_its_stack() {
    use crate::api::status::{Condition, ConditionStatus, StackStatus};
    let metrics = Metrics::new().expect("registers");
    let condition = Condition {
        kind: "UpdateFailed".into(),
        status: ConditionStatus::True,
        reason: "NeedsPerson".into(),
        message: "secret".into(),
        last_transition_time: String::new(),
        observed_generation: 1,
    };
    let stack =
        StackStatus { name: "bot".into(), conditions: vec![condition], ..StackStatus::default() };
    metrics.stack_conditions(&[stack]);
    let text = exposed(&metrics);
    let of = |status: &str, value: u8| {
        format!(
            "homeostat_stack_condition{{stack=\"bot\",status=\"{status}\",type=\"UpdateFailed\"}} {value}"
        )
    };
    for line in [of("true", 1), of("false", 0), of("unknown", 0)] {
        assert!(text.contains(&line), "{line} isn't in\n{text}");
    }
    assert!(!text.contains("secret"), "a condition's message is no label");
    metrics.stack_conditions(&[]);
    assert!(!exposed(&metrics).contains("homeostat_stack_condition{"));
}
