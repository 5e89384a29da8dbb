//! Health, readiness, metrics, and a real Prometheus that reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::harness::{Home, SOON, get, series};
use crate::support::IMAGE;

fn tool(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/prometheus/usr/bin");
    let path = PathBuf::from(folder).join(name);
    assert!(path.exists(), "no {name}: run tests/support/fetch-prometheus");
    path
}

fn web(project: &str) -> String {
    format!(
        "\
name: {project}
services:
  web:
    image: {IMAGE}
    command: [listen, '8000']
    stop_grace_period: 1s
    depends_on: {{task: {{condition: service_completed_successfully}}}}
  task:
    image: {IMAGE}
    command: [job, '10']
    restart: 'no'
"
    )
}

/// Name and label names, and the fewest series from the start.
const PROMISED: [(&str, &[&str], usize); 20] = [
    ("homeostat_reconcile_total", &["controller", "result"], 4),
    ("homeostat_reconcile_time_seconds_bucket", &["le"], 10),
    ("homeostat_workqueue_depth", &[], 1),
    ("homeostat_actions_total", &["action", "result"], 20),
    ("homeostat_drift_detected_total", &["kind"], 5),
    ("homeostat_event_stream_connected", &[], 1),
    ("homeostat_event_gaps_total", &[], 1),
    ("homeostat_last_resync_timestamp_seconds", &[], 1),
    ("homeostat_config_last_reload_successful", &[], 1),
    ("homeostat_config_last_reload_success_timestamp_seconds", &[], 1),
    ("homeostat_build_info", &["arch", "version"], 1),
    ("homeostat_engine_requests_total", &["call", "result"], 10),
    ("homeostat_engine_request_duration_seconds_bucket", &["le"], 10),
    ("homeostat_engine_faults_total", &["reason"], 5),
    ("homeostat_probes_total", &["answer"], 3),
    ("homeostat_reaction_seconds_bucket", &["le"], 10),
    ("homeostat_journal_errors_total", &[], 1),
    ("homeostat_http_requests_rejected_total", &[], 1),
    ("process_resident_memory_bytes", &[], 1),
    ("process_open_fds", &[], 1),
];

/// Label names and values of a series, and its name.
fn parts(series: &str) -> (String, BTreeMap<String, String>) {
    let Some((name, labels)) = series.split_once('{') else {
        return (series.to_owned(), BTreeMap::new());
    };
    let labels = labels.trim_end_matches('}').split("\",").filter(|l| !l.is_empty());
    let labels = labels.filter_map(|l| l.split_once("=\""));
    let labels = labels.map(|(k, v)| (k.to_owned(), v.trim_end_matches('"').to_owned()));
    (name.to_owned(), labels.collect())
}

struct Prometheus {
    child: Child,
    address: std::net::SocketAddr,
}

impl Prometheus {
    fn start(home: &Home, target: &str) -> Self {
        let folder = home.stacks().join("..").join("prometheus");
        std::fs::create_dir(&folder).expect("a folder");
        let config = folder.join("prometheus.yml");
        let text = format!(
            "scrape_configs:\n- job_name: homeostat\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  static_configs:\n  - targets: ['{target}']\n"
        );
        std::fs::write(&config, text).expect("writes");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let child = Command::new(tool("prometheus"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        Self { child, address }
    }

    /// The values of a query's answer, by the label `by`.
    fn query(&self, query: &str, by: &str) -> Option<BTreeMap<String, String>> {
        std::net::TcpStream::connect(self.address).ok()?;
        let path = format!("/api/v1/query?query={query}");
        let (status, body) = get(self.address, &path, &self.address.to_string());
        if status != 200 {
            return None;
        }
        let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let result = answer["data"]["result"].as_array().expect("a vector");
        let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
        Some(result.iter().map(|r| (text(&r["metric"][by]), text(&r["value"][1]))).collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn metrics_are_complete_and_prometheus_reads_them() {
    let mut home = Home::new();
    let project = home.project("metrics");
    home.write("compose.yaml", &web(&project));
    // From the start: without an engine nothing has happened yet.
    let host = format!("unix://{}", home.stacks().join("none.sock").display());
    let early = home.daemon(&["-H", &host]);
    let metrics = early.metrics();
    for (name, labels, least) in PROMISED {
        let found: Vec<_> = metrics.keys().map(|s| parts(s)).filter(|(n, _)| n == name).collect();
        assert!(found.len() >= least, "{name}: {} series", found.len());
        let wanted: BTreeSet<&str> = labels.iter().copied().collect();
        for (_, has) in &found {
            assert_eq!(has.keys().map(String::as_str).collect::<BTreeSet<_>>(), wanted, "{name}");
        }
    }
    early.kill();

    let mut daemon = home.daemon(&["--metrics-listen", "127.0.0.1:0"]);
    let prometheus = Prometheus::start(&home, &daemon.address().to_string());
    daemon.until("both are well", || {
        let services = daemon.services();
        services.get(&format!("{project}/web")).is_some_and(|s| s == "ready")
            && services.get(&format!("{project}/task")).is_some_and(|s| s == "completed")
    });
    let (status, text) = daemon.get("/metrics");
    assert_eq!(status, 200);
    let mut of_service: BTreeMap<String, usize> = BTreeMap::new();
    let mut ones: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
    for (series, value) in series(&text) {
        let (name, labels) = parts(&series);
        assert!(!labels.values().any(|v| v.len() > 64), "{series}");
        let Some(service) = labels.get("service") else { continue };
        *of_service.entry(service.clone()).or_default() += 1;
        if name == "homeostat_service_status" {
            *statuses.entry(service.clone()).or_default() += 1;
            if value == 1.0 {
                ones.entry(service.clone()).or_default().push(labels["status"].clone());
            }
        }
    }
    assert_eq!(ones["web"], ["ready"]);
    assert_eq!(ones["task"], ["completed"]);
    assert!(statuses.values().all(|n| *n == 11), "{statuses:?}");
    assert!(of_service.values().all(|n| *n <= 60), "{of_service:?}");
    let metrics = daemon.metrics();
    for service in ["web", "task"] {
        let labels = format!("{{project=\"{project}\",service=\"{service}\"}}");
        assert_eq!(metrics[&format!("homeostat_service_containers_ready{labels}")], 1.0);
    }
    // A command has the files read, and that is no reload.
    let reloads = "homeostat_config_reloads_total{result=\"success\"}";
    let before = daemon.metrics()[reloads];
    assert_eq!(home.run(&["plan"]).code, Some(0));
    assert_eq!(home.run(&["apply"]).code, Some(0));
    assert_eq!(daemon.metrics()[reloads], before);
    // What happened is counted.
    for counted in [
        "homeostat_actions_total{action=\"create_container\",result=\"done\"}",
        "homeostat_drift_detected_total{kind=\"missing\"}",
        "homeostat_engine_requests_total{call=\"write\",result=\"success\"}",
        "homeostat_engine_requests_total{call=\"list_containers\",result=\"success\"}",
        "homeostat_reconcile_total{controller=\"stack\",result=\"success\"}",
        "homeostat_last_resync_timestamp_seconds",
    ] {
        daemon.until(counted, || daemon.metrics()[counted] > 0.0);
    }

    let mut promtool = Command::new(tool("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    promtool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("writes");
    let output = promtool.wait_with_output().expect("ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));

    let deadline = Instant::now() + SOON;
    loop {
        let up = prometheus.query("up", "job").unwrap_or_default();
        let ready = prometheus.query("homeostat_service_status==1", "service").unwrap_or_default();
        if up.get("homeostat").is_some_and(|v| v == "1") && ready.len() == 2 {
            break;
        }
        assert!(Instant::now() < deadline, "{up:?} {ready:?}");
        std::thread::sleep(Duration::from_millis(100));
    }

    doors(&mut daemon);
}

/// Who asks for another name is turned away; the second listener serves two paths.
fn doors(daemon: &mut super::harness::Daemon) {
    let address = daemon.address();
    for host in ["evil.example", "localhost:1", "127.0.0.2"] {
        let (status, body) = get(address, "/api/v1/status", host);
        assert_eq!(status, 421, "{host}: {body}");
        assert!(!body.contains("services"), "{body}");
    }
    assert_eq!(get(address, "/healthz", &format!("localhost:{}", address.port())).0, 200);
    assert_eq!(daemon.metrics()["homeostat_http_requests_rejected_total"], 3.0);
    assert_eq!(daemon.get("/nothing").0, 404);
    let metrics = daemon.metrics_address();
    assert_ne!(metrics, address);
    for (path, expected) in [
        ("/metrics", 200),
        ("/healthz", 200),
        ("/readyz", 404),
        ("/api/v1/status", 404),
        ("/api/v1/events", 404),
    ] {
        assert_eq!(get(metrics, path, "prometheus.example").0, expected, "{path}");
    }
}

#[test]
fn the_api_listens_on_loopback_only() {
    let mut home = Home::new();
    let project = home.project("open");
    home.write("compose.yaml", &web(&project));
    let ran = home.run(&["run", ".", "--listen", "0.0.0.0:0"]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("loopback") && ran.stderr.contains("--metrics-listen"), "{ran:?}");
}
