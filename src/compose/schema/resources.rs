//! The top level: networks, volumes, secrets, configs, models.

use super::*;

static EXTERNAL: Object = object(&[text("name")]);
static EXTERNAL_FORMS: [Accepts; 2] = [Accepts::Scalar(BOOL | TEXT), Accepts::Object(&EXTERNAL)];
const fn external() -> Attribute {
    attr("external", Accepts::Any(&EXTERNAL_FORMS), Prints::Flag)
}

static POOL: Object = object(&[
    text("subnet"),
    text("gateway"),
    text("ip_range"),
    attr("aux_addresses", Accepts::Map(&A_TEXT), Prints::TextMap),
]);
static IPAM: Object = object(&[
    text("driver"),
    attr("config", Accepts::List(&Accepts::Object(&POOL), false), Prints::Objects(&POOL)),
    attr("options", Accepts::Map(&A_TEXT), Prints::TextMap),
]);

/// A network.
pub(in crate::compose) static NETWORK: Object = object(&[
    text("name"),
    text("driver"),
    options("driver_opts"),
    attr("ipam", Accepts::Object(&IPAM), Prints::Inline(&IPAM)),
    external(),
    flag("internal"),
    flag("attachable"),
    text_map("labels"),
    maybe_flag("enable_ipv4"),
    maybe_flag("enable_ipv6"),
]);

/// A volume.
pub(in crate::compose) static VOLUME: Object =
    object(&[text("name"), text("driver"), options("driver_opts"), external(), text_map("labels")]);

/// A secret.
pub(in crate::compose) static SECRET: Object = object(&[
    text("name"),
    text("file"),
    text("environment"),
    external(),
    text_map("labels"),
    text("driver"),
    options("driver_opts"),
    text("template_driver"),
]);

/// A config.
pub(in crate::compose) static CONFIG: Object = object(&[
    text("name"),
    text("file"),
    text("environment"),
    text("content"),
    external(),
    text_map("labels"),
    text("template_driver"),
]);

/// A model.
pub(in crate::compose) static MODEL: Object = requiring(
    &[
        text("name"),
        text("model"),
        attr("context_size", Accepts::Scalar(INT), Prints::Integer),
        attr("runtime_flags", Accepts::List(&A_TEXT, false), Prints::Texts),
    ],
    &["model"],
);

static INCLUDE: Object = Object {
    attributes: &[text_or_texts("path"), text_or_texts("env_file"), text("project_directory")],
    required: &[],
    extensions: false,
    capitals: false,
};
static INCLUDE_FORMS: [Accepts; 2] = [Accepts::Scalar(TEXT), Accepts::Object(&INCLUDE)];

const fn nullable(forms: &'static [Accepts]) -> Accepts {
    Accepts::Any(forms)
}
static NETWORK_FORMS: [Accepts; 2] = [Accepts::Scalar(NULL), Accepts::Object(&NETWORK)];
static VOLUME_FORMS: [Accepts; 2] = [Accepts::Scalar(NULL), Accepts::Object(&VOLUME)];
static A_NETWORK: Accepts = nullable(&NETWORK_FORMS);
static A_VOLUME: Accepts = nullable(&VOLUME_FORMS);
static A_SERVICE: Accepts = Accepts::Object(&SERVICE);
static A_SECRET: Accepts = Accepts::Object(&SECRET);
static A_CONFIG: Accepts = Accepts::Object(&CONFIG);
static A_MODEL: Accepts = Accepts::Object(&MODEL);

/// A whole Compose file.
pub(in crate::compose) static ROOT: Object = object(&[
    attr("version", Accepts::Scalar(TEXT), Prints::Never),
    text("name"),
    attr("include", Accepts::List(&Accepts::Any(&INCLUDE_FORMS), false), Prints::Never),
    attr("services", Accepts::Named(&A_SERVICE), Prints::Never),
    attr("networks", Accepts::Named(&A_NETWORK), Prints::Never),
    attr("volumes", Accepts::Named(&A_VOLUME), Prints::Never),
    attr("secrets", Accepts::Named(&A_SECRET), Prints::Never),
    attr("configs", Accepts::Named(&A_CONFIG), Prints::Never),
    attr("models", Accepts::Named(&A_MODEL), Prints::Never),
]);
