//! The attributes of a service.

use super::parts::*;
use super::*;

static PROVIDER_VALUE: [Accepts; 2] =
    [Accepts::Scalar(TEXT | NUM | BOOL), Accepts::List(&A_SCALAR, false)];
static PROVIDER: Object = requiring(
    &[
        text("type"),
        attr("options", Accepts::Map(&Accepts::Any(&PROVIDER_VALUE)), Prints::MultiOptions),
    ],
    &["type"],
);

static CREDENTIAL_SPEC: Object = object(&[text("config"), text("file"), text("registry")]);

static DEPENDENCY: Object = requiring(
    &[
        attr(
            "condition",
            Accepts::Word(&[
                "service_started",
                "service_healthy",
                "service_completed_successfully",
            ]),
            Prints::Text,
        ),
        flag("restart"),
        attr("required", Accepts::Scalar(BOOL), Prints::AlwaysFlag),
    ],
    &["condition"],
);
static DEPENDS_ON: [Accepts; 2] =
    [Accepts::List(&A_TEXT, true), Accepts::Named(&Accepts::Object(&DEPENDENCY))];

static ENV_FILE: Object = Object {
    attributes: &[
        text("path"),
        attr("required", Accepts::Scalar(BOOL | TEXT), Prints::OptOut),
        text("format"),
    ],
    required: &["path"],
    extensions: false,
    capitals: false,
};
static ENV_FILE_FORMS: [Accepts; 2] = [Accepts::Scalar(TEXT), Accepts::Object(&ENV_FILE)];
static ENV_FILES: [Accepts; 2] =
    [Accepts::Scalar(TEXT), Accepts::List(&Accepts::Any(&ENV_FILE_FORMS), false)];

static EXTENDS: Object = Object {
    attributes: &[text("service"), text("file")],
    required: &["service"],
    extensions: false,
    capitals: false,
};
static EXTENDS_FORMS: [Accepts; 2] = [Accepts::Scalar(TEXT), Accepts::Object(&EXTENDS)];

static TEST_FORMS: [Accepts; 2] = [Accepts::Scalar(TEXT), Accepts::List(&A_TEXT, false)];
static HEALTHCHECK: Object = object(&[
    attr("test", Accepts::Any(&TEST_FORMS), Prints::Test),
    duration("timeout"),
    duration("interval"),
    attr("retries", Accepts::Scalar(NUM | TEXT), Prints::MaybeInteger),
    duration("start_period"),
    duration("start_interval"),
    flag("disable"),
]);

static LOG_OPTION: Accepts = Accepts::Scalar(TEXT | NUM | NULL);
static LOGGING: Object =
    object(&[text("driver"), attr("options", Accepts::Map(&LOG_OPTION), Prints::TextMap)]);

static SERVICE_MODEL: Object = object(&[text("endpoint_var"), text("model_var")]);
static SERVICE_MODEL_FORMS: [Accepts; 2] = [Accepts::Scalar(NULL), Accepts::Object(&SERVICE_MODEL)];
static MODELS: [Accepts; 2] =
    [Accepts::List(&A_TEXT, true), Accepts::Named(&Accepts::Any(&SERVICE_MODEL_FORMS))];

static SERVICE_NETWORK: Object = object(&[
    texts("aliases"),
    options("driver_opts"),
    attr("gw_priority", Accepts::Scalar(NUM), Prints::Integer),
    text("interface_name"),
    text("ipv4_address"),
    text("ipv6_address"),
    texts("link_local_ips"),
    text("mac_address"),
    attr("priority", Accepts::Scalar(NUM), Prints::Integer),
]);
static SERVICE_NETWORK_FORMS: [Accepts; 2] =
    [Accepts::Scalar(NULL), Accepts::Object(&SERVICE_NETWORK)];
static NETWORKS: [Accepts; 2] =
    [Accepts::List(&A_TEXT, true), Accepts::Named(&Accepts::Any(&SERVICE_NETWORK_FORMS))];

static PRE_START: Object = object(&[
    attr("command", Accepts::Any(&COMMAND), Prints::Command),
    text("image"),
    text("user"),
    flag("privileged"),
    text("working_dir"),
    attr("environment", Accepts::Any(&LIST_OR_MAP), Prints::Environment),
    flag("per_replica"),
]);

const fn hooks(name: &'static str, hook: &'static Accepts, object: &'static Object) -> Attribute {
    attr(name, Accepts::List(hook, false), Prints::Objects(object))
}
static A_HOOK: Accepts = Accepts::Object(&HOOK);
static A_PRE_START: Accepts = Accepts::Object(&PRE_START);

/// Docker Compose's pattern, which isn't anchored: the engine's own is checked later.
fn container_name(text: &str) -> bool {
    let more = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    text.as_bytes().windows(2).any(|pair| pair[0].is_ascii_alphanumeric() && more(pair[1]))
}

/// One of the policies, or `every_` and a duration.
fn pull_policy(text: &str) -> bool {
    let words =
        ["always", "never", "build", "if_not_present", "missing", "refresh", "daily", "weekly"];
    words.contains(&text)
        || text
            .strip_prefix("every_")
            .is_some_and(|d| crate::compose::number::duration(d).is_some())
}

/// A service.
pub(in crate::compose) static SERVICE: Object = object(&[
    texts("profiles"),
    attr("provider", Accepts::Object(&PROVIDER), Prints::Object(&PROVIDER)),
    DEPLOY_ATTRIBUTE,
    DEVELOP_ATTRIBUTE,
    text("restart"),
    attr("scale", Accepts::Scalar(INT | TEXT), Prints::MaybeInteger),
    maybe_flag("attach"),
    attr(
        "container_name",
        Accepts::Checked(container_name, "a name of at least two letters, digits, `_`, `.` or `-`"),
        Prints::Text,
    ),
    texts("external_links"),
    texts("links"),
    hooks("pre_start", &A_PRE_START, &PRE_START),
    hooks("post_start", &A_HOOK, &HOOK),
    hooks("pre_stop", &A_HOOK, &HOOK),
    text_map("annotations"),
    BLKIO_ATTRIBUTE,
    texts("cap_add"),
    texts("cap_drop"),
    text("cgroup_parent"),
    attr("cgroup", Accepts::Word(&["host", "private"]), Prints::Text),
    attr("cpu_count", Accepts::Range(0, i64::MAX), Prints::Integer),
    attr("cpu_percent", Accepts::Range(0, 100), Prints::Float),
    integer("cpu_period"),
    integer("cpu_quota"),
    integer("cpu_rt_period"),
    integer("cpu_rt_runtime"),
    attr("cpus", Accepts::Scalar(NUM | TEXT), Prints::Float),
    text("cpuset"),
    integer("cpu_shares"),
    attr("command", Accepts::Any(&COMMAND), Prints::Command),
    attr("configs", Accepts::List(&FILE_MOUNTS, false), Prints::Objects(&FILE_MOUNT)),
    attr("credential_spec", Accepts::Object(&CREDENTIAL_SPEC), Prints::Object(&CREDENTIAL_SPEC)),
    texts("device_cgroup_rules"),
    DEVICES_ATTRIBUTE,
    text_or_texts("dns"),
    texts("dns_opt"),
    text_or_texts("dns_search"),
    text("domainname"),
    attr("entrypoint", Accepts::Any(&COMMAND), Prints::Command),
    attr("environment", Accepts::Any(&LIST_OR_MAP), Prints::Environment),
    attr("env_file", Accepts::Any(&ENV_FILES), Prints::Objects(&ENV_FILE)),
    attr("extra_hosts", Accepts::Any(&HOSTS), Prints::Hosts),
    attr("group_add", Accepts::List(&TEXT_OR_NUMBER, true), Prints::Texts),
    GPUS_ATTRIBUTE,
    text("hostname"),
    text("image"),
    maybe_flag("init"),
    text("ipc"),
    text("isolation"),
    text_map("labels"),
    text_or_texts("label_file"),
    attr("logging", Accepts::Object(&LOGGING), Prints::Object(&LOGGING)),
    bytes("mem_limit"),
    attr("mem_reservation", Accepts::Scalar(INT | TEXT), Prints::Bytes),
    bytes("memswap_limit"),
    attr("mem_swappiness", Accepts::Scalar(INT | TEXT), Prints::Bytes),
    text("mac_address"),
    attr("models", Accepts::Any(&MODELS), Prints::ObjectMap(&SERVICE_MODEL)),
    text("network_mode"),
    attr("networks", Accepts::Any(&NETWORKS), Prints::ObjectMap(&SERVICE_NETWORK)),
    flag("oom_kill_disable"),
    attr("oom_score_adj", Accepts::Range(-1000, 1000), Prints::Integer),
    attr("pid", Accepts::Scalar(TEXT | NULL), Prints::Text),
    integer("pids_limit"),
    text("platform"),
    flag("privileged"),
    attr(
        "pull_policy",
        Accepts::Checked(
            pull_policy,
            "always, never, build, missing, refresh, daily, weekly or every_ and a duration",
        ),
        Prints::Text,
    ),
    flag("read_only"),
    text("runtime"),
    attr("secrets", Accepts::List(&FILE_MOUNTS, false), Prints::Objects(&FILE_MOUNT)),
    texts("security_opt"),
    bytes("shm_size"),
    duration("stop_grace_period"),
    text("stop_signal"),
    attr("storage_opt", Accepts::Map(&A_SCALAR), Prints::TextMap),
    text_map("sysctls"),
    text_or_texts("tmpfs"),
    attr("ulimits", Accepts::Any(std::slice::from_ref(&ULIMITS)), Prints::Ulimits),
    attr("use_api_socket", Accepts::Scalar(BOOL), Prints::Flag),
    text("user"),
    text("userns_mode"),
    text("uts"),
    VOLUMES_ATTRIBUTE,
    texts("volumes_from"),
    text("working_dir"),
    BUILD_ATTRIBUTE,
    attr("depends_on", Accepts::Any(&DEPENDS_ON), Prints::ObjectMap(&DEPENDENCY)),
    attr("expose", Accepts::List(&TEXT_OR_NUMBER, true), Prints::Texts),
    attr("healthcheck", Accepts::Object(&HEALTHCHECK), Prints::Object(&HEALTHCHECK)),
    PORTS_ATTRIBUTE,
    flag("stdin_open"),
    flag("tty"),
    attr("extends", Accepts::Any(&EXTENDS_FORMS), Prints::Never),
]);

/// The order in which v5.6.1 hashes a service's attributes. `build`, `depends_on`, `profiles`,
/// `pull_policy` and `scale` aren't hashed at all.
pub(in crate::compose) static HASH_ORDER: [&str; 86] = [
    "annotations",
    "attach",
    "develop",
    "blkio_config",
    "cap_add",
    "cap_drop",
    "cgroup_parent",
    "cgroup",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpus",
    "cpuset",
    "cpu_shares",
    "command",
    "configs",
    "container_name",
    "credential_spec",
    "deploy",
    "device_cgroup_rules",
    "devices",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "entrypoint",
    "provider",
    "environment",
    "env_file",
    "expose",
    "external_links",
    "extra_hosts",
    "group_add",
    "gpus",
    "hostname",
    "healthcheck",
    "image",
    "init",
    "ipc",
    "isolation",
    "labels",
    "label_file",
    "links",
    "logging",
    "mem_limit",
    "mem_reservation",
    "memswap_limit",
    "mem_swappiness",
    "mac_address",
    "models",
    "network_mode",
    "networks",
    "oom_kill_disable",
    "oom_score_adj",
    "pid",
    "pids_limit",
    "platform",
    "ports",
    "privileged",
    "read_only",
    "restart",
    "runtime",
    "secrets",
    "security_opt",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "storage_opt",
    "sysctls",
    "tmpfs",
    "tty",
    "ulimits",
    "use_api_socket",
    "user",
    "userns_mode",
    "uts",
    "volumes",
    "volumes_from",
    "working_dir",
    "pre_start",
    "post_start",
    "pre_stop",
];
