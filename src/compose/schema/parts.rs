//! Parts of a service: build, deploy, develop, mounts, ports, hooks.

use super::*;

pub(super) static ULIMIT: Object = Object {
    attributes: &[
        attr("soft", Accepts::Scalar(INT | TEXT), Prints::Integer),
        attr("hard", Accepts::Scalar(INT | TEXT), Prints::Integer),
    ],
    required: &["soft", "hard"],
    extensions: true,
    capitals: false,
};
static ULIMIT_FORMS: [Accepts; 2] = [Accepts::Scalar(INT | TEXT), Accepts::Object(&ULIMIT)];
pub(super) static ULIMITS: Accepts = Accepts::Map(&Accepts::Any(&ULIMIT_FORMS));

pub(super) static FILE_MOUNT: Object = object(&[
    text("source"),
    text("target"),
    text("uid"),
    text("gid"),
    attr("mode", Accepts::Scalar(NUM | TEXT), Prints::Mode),
]);
static FILE_MOUNT_FORMS: [Accepts; 2] = [Accepts::Scalar(TEXT), Accepts::Object(&FILE_MOUNT)];
pub(super) static FILE_MOUNTS: Accepts = Accepts::Any(&FILE_MOUNT_FORMS);

static BUILD: Object = object(&[
    text("context"),
    text("dockerfile"),
    text("dockerfile_inline"),
    attr("entitlements", Accepts::List(&A_TEXT, false), Prints::Texts),
    attr("args", Accepts::Any(&LIST_OR_MAP), Prints::Environment),
    attr("provenance", Accepts::Scalar(TEXT | BOOL), Prints::Text),
    attr("sbom", Accepts::Scalar(TEXT | BOOL), Prints::Text),
    attr("ssh", Accepts::Any(&LIST_OR_MAP), Prints::Ssh),
    text_map("labels"),
    attr("cache_from", Accepts::List(&A_TEXT, false), Prints::Texts),
    attr("cache_to", Accepts::List(&A_TEXT, false), Prints::Texts),
    flag("no_cache"),
    text_or_texts("no_cache_filter"),
    text_map("additional_contexts"),
    flag("pull"),
    attr("extra_hosts", Accepts::Any(&HOSTS), Prints::Hosts),
    text("isolation"),
    text("network"),
    text("target"),
    attr("secrets", Accepts::List(&FILE_MOUNTS, false), Prints::Objects(&FILE_MOUNT)),
    attr("shm_size", Accepts::Scalar(INT | TEXT), Prints::Bytes),
    attr("tags", Accepts::List(&A_TEXT, false), Prints::Texts),
    attr("ulimits", Accepts::Map(&Accepts::Any(&ULIMIT_FORMS)), Prints::Ulimits),
    attr("platforms", Accepts::List(&A_TEXT, false), Prints::Texts),
    flag("privileged"),
]);
static BUILD_FORMS: [Accepts; 2] = [Accepts::Scalar(TEXT), Accepts::Object(&BUILD)];
pub(super) const BUILD_ATTRIBUTE: Attribute =
    attr("build", Accepts::Any(&BUILD_FORMS), Prints::Object(&BUILD));

static UPDATE: Object = object(&[
    attr("parallelism", Accepts::Scalar(INT | TEXT), Prints::MaybeInteger),
    attr("delay", Accepts::Scalar(TEXT), Prints::Duration),
    text("failure_action"),
    attr("monitor", Accepts::Scalar(TEXT), Prints::Duration),
    attr("max_failure_ratio", Accepts::Scalar(NUM | TEXT), Prints::Float),
    attr("order", Accepts::Word(&["start-first", "stop-first"]), Prints::Text),
]);

static DEVICE_REQUEST: Object = requiring(
    &[
        texts("capabilities"),
        text("driver"),
        attr("count", Accepts::Scalar(TEXT | INT), Prints::Count),
        texts("device_ids"),
        text_map("options"),
    ],
    &["capabilities"],
);
static GPU: Object = object(&[
    texts("capabilities"),
    text("driver"),
    attr("count", Accepts::Scalar(TEXT | INT), Prints::Count),
    texts("device_ids"),
    text_map("options"),
]);
static A_GPU: Accepts = Accepts::Object(&GPU);
static GPU_FORMS: [Accepts; 2] = [Accepts::Word(&["all"]), Accepts::List(&A_GPU, false)];
pub(super) const GPUS_ATTRIBUTE: Attribute =
    attr("gpus", Accepts::Any(&GPU_FORMS), Prints::Objects(&GPU));

static DISCRETE: Object = object(&[
    attr("kind", Accepts::Scalar(TEXT), Prints::AlwaysText),
    attr("value", Accepts::Scalar(NUM | TEXT), Prints::AlwaysInteger),
]);
static GENERIC: Object = object(&[attr(
    "discrete_resource_spec",
    Accepts::Object(&DISCRETE),
    Prints::Object(&DISCRETE),
)]);
static LIMITS: Object = object(&[
    attr("cpus", Accepts::Scalar(NUM | TEXT), Prints::Float),
    attr("memory", Accepts::Scalar(TEXT), Prints::Bytes),
    attr("pids", Accepts::Scalar(INT | TEXT), Prints::Integer),
]);
static RESERVATIONS: Object = object(&[
    attr("cpus", Accepts::Scalar(NUM | TEXT), Prints::Float),
    attr("memory", Accepts::Scalar(TEXT), Prints::Bytes),
    attr(
        "devices",
        Accepts::List(&Accepts::Object(&DEVICE_REQUEST), false),
        Prints::Objects(&DEVICE_REQUEST),
    ),
    attr(
        "generic_resources",
        Accepts::List(&Accepts::Object(&GENERIC), false),
        Prints::Objects(&GENERIC),
    ),
]);
static RESOURCES: Object = object(&[
    attr("limits", Accepts::Object(&LIMITS), Prints::Object(&LIMITS)),
    attr("reservations", Accepts::Object(&RESERVATIONS), Prints::Object(&RESERVATIONS)),
]);
static RESTART: Object = object(&[
    text("condition"),
    duration("delay"),
    attr("max_attempts", Accepts::Scalar(INT | TEXT), Prints::MaybeInteger),
    duration("window"),
]);
static PREFERENCE: Object = object(&[text("spread")]);
static PLACEMENT: Object = object(&[
    attr("constraints", Accepts::List(&A_TEXT, false), Prints::Texts),
    attr(
        "preferences",
        Accepts::List(&Accepts::Object(&PREFERENCE), false),
        Prints::Objects(&PREFERENCE),
    ),
    attr("max_replicas_per_node", Accepts::Scalar(INT | TEXT), Prints::Integer),
]);
static DEPLOY: Object = object(&[
    text("mode"),
    attr("replicas", Accepts::Scalar(INT | TEXT), Prints::MaybeInteger),
    text_map("labels"),
    attr("update_config", Accepts::Object(&UPDATE), Prints::Object(&UPDATE)),
    attr("rollback_config", Accepts::Object(&UPDATE), Prints::Object(&UPDATE)),
    attr("resources", Accepts::Object(&RESOURCES), Prints::Inline(&RESOURCES)),
    attr("restart_policy", Accepts::Object(&RESTART), Prints::Object(&RESTART)),
    attr("placement", Accepts::Object(&PLACEMENT), Prints::Inline(&PLACEMENT)),
    text("endpoint_mode"),
]);
static DEPLOY_FORMS: [Accepts; 2] = [Accepts::Scalar(NULL), Accepts::Object(&DEPLOY)];
pub(super) const DEPLOY_ATTRIBUTE: Attribute =
    attr("deploy", Accepts::Any(&DEPLOY_FORMS), Prints::Object(&DEPLOY));

pub(super) static HOOK: Object = requiring(
    &[
        attr("command", Accepts::Any(&COMMAND), Prints::Command),
        text("user"),
        flag("privileged"),
        text("working_dir"),
        attr("environment", Accepts::Any(&LIST_OR_MAP), Prints::Environment),
    ],
    &["command"],
);
static WATCH: Object = requiring(
    &[
        attr("path", Accepts::Scalar(TEXT), Prints::AlwaysText),
        attr(
            "action",
            Accepts::Word(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"]),
            Prints::AlwaysText,
        ),
        text("target"),
        attr("exec", Accepts::Object(&HOOK), Prints::Inline(&HOOK)),
        text_or_texts("include"),
        text_or_texts("ignore"),
        attr("initial_sync", Accepts::Scalar(BOOL), Prints::Flag),
    ],
    &["path", "action"],
);
static DEVELOP: Object = object(&[attr(
    "watch",
    Accepts::List(&Accepts::Object(&WATCH), false),
    Prints::Objects(&WATCH),
)]);
static DEVELOP_FORMS: [Accepts; 2] = [Accepts::Scalar(NULL), Accepts::Object(&DEVELOP)];
pub(super) const DEVELOP_ATTRIBUTE: Attribute =
    attr("develop", Accepts::Any(&DEVELOP_FORMS), Prints::Object(&DEVELOP));

static BIND: Object = object(&[
    attr("selinux", Accepts::Word(&["z", "Z"]), Prints::Text),
    text("propagation"),
    attr("create_host_path", Accepts::Scalar(BOOL | TEXT), Prints::OptOut),
    attr(
        "recursive",
        Accepts::Word(&["enabled", "disabled", "writable", "readonly"]),
        Prints::Text,
    ),
]);
static VOLUME_OPTIONS: Object = object(&[text_map("labels"), flag("nocopy"), text("subpath")]);
static TMPFS_OPTIONS: Object = object(&[
    attr("size", Accepts::Range(0, i64::MAX), Prints::Bytes),
    attr("mode", Accepts::Scalar(NUM | TEXT), Prints::Integer),
]);
static IMAGE_OPTIONS: Object = object(&[text("subpath")]);
static MOUNT: Object = requiring(
    &[
        attr(
            "type",
            Accepts::Word(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"]),
            Prints::Text,
        ),
        text("source"),
        text("target"),
        flag("read_only"),
        text("consistency"),
        attr("bind", Accepts::Object(&BIND), Prints::Object(&BIND)),
        attr("volume", Accepts::Object(&VOLUME_OPTIONS), Prints::Object(&VOLUME_OPTIONS)),
        attr("tmpfs", Accepts::Object(&TMPFS_OPTIONS), Prints::Object(&TMPFS_OPTIONS)),
        attr("image", Accepts::Object(&IMAGE_OPTIONS), Prints::Object(&IMAGE_OPTIONS)),
    ],
    &["type"],
);
static MOUNT_FORMS: [Accepts; 2] = [Accepts::Scalar(TEXT), Accepts::Object(&MOUNT)];
static A_MOUNT: Accepts = Accepts::Any(&MOUNT_FORMS);
pub(super) const VOLUMES_ATTRIBUTE: Attribute =
    attr("volumes", Accepts::List(&A_MOUNT, true), Prints::Objects(&MOUNT));

static PORT: Object = object(&[
    text("name"),
    text("mode"),
    text("host_ip"),
    attr("target", Accepts::Scalar(INT | TEXT), Prints::Integer),
    attr("published", Accepts::Scalar(TEXT | INT), Prints::Text),
    text("protocol"),
    text("app_protocol"),
]);
static PORT_FORMS: [Accepts; 2] = [Accepts::Scalar(NUM | TEXT), Accepts::Object(&PORT)];
static A_PORT: Accepts = Accepts::Any(&PORT_FORMS);
pub(super) const PORTS_ATTRIBUTE: Attribute =
    attr("ports", Accepts::List(&A_PORT, true), Prints::Objects(&PORT));

static DEVICE: Object =
    requiring(&[text("source"), text("target"), text("permissions")], &["source"]);
static DEVICE_FORMS: [Accepts; 2] = [Accepts::Scalar(TEXT), Accepts::Object(&DEVICE)];
static A_DEVICE: Accepts = Accepts::Any(&DEVICE_FORMS);
pub(super) const DEVICES_ATTRIBUTE: Attribute =
    attr("devices", Accepts::List(&A_DEVICE, false), Prints::Objects(&DEVICE));

static WEIGHT_DEVICE: Object = Object {
    attributes: &[
        attr("path", Accepts::Scalar(TEXT), Prints::AlwaysText),
        attr("weight", Accepts::Scalar(INT | TEXT), Prints::AlwaysInteger),
    ],
    required: &[],
    extensions: false,
    capitals: true,
};
static THROTTLE: Object = Object {
    attributes: &[
        attr("path", Accepts::Scalar(TEXT), Prints::AlwaysText),
        attr("rate", Accepts::Scalar(INT | TEXT), Prints::AlwaysBytes),
    ],
    required: &[],
    extensions: false,
    capitals: true,
};
static A_THROTTLE: Accepts = Accepts::Object(&THROTTLE);
const fn throttle(name: &'static str) -> Attribute {
    attr(name, Accepts::List(&A_THROTTLE, false), Prints::Objects(&THROTTLE))
}
static BLKIO: Object = Object {
    attributes: &[
        attr("weight", Accepts::Scalar(INT | TEXT), Prints::Integer),
        attr(
            "weight_device",
            Accepts::List(&Accepts::Object(&WEIGHT_DEVICE), false),
            Prints::Objects(&WEIGHT_DEVICE),
        ),
        throttle("device_read_bps"),
        throttle("device_read_iops"),
        throttle("device_write_bps"),
        throttle("device_write_iops"),
    ],
    required: &[],
    extensions: false,
    capitals: false,
};
pub(super) const BLKIO_ATTRIBUTE: Attribute =
    attr("blkio_config", Accepts::Object(&BLKIO), Prints::Object(&BLKIO));
