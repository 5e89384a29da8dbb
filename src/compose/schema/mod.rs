//! What Compose knows: every attribute with what it accepts and how it prints, in the order in
//! which `docker compose config` v5.6.1 prints. Source: the Compose Specification's schema and
//! the output of v5.6.1.

mod parts;
mod resources;
mod service;

pub(super) use resources::{CONFIG, MODEL, NETWORK, ROOT, SECRET, VOLUME};
pub(super) use service::{HASH_ORDER, SERVICE};

/// Text is accepted.
pub(super) const TEXT: u8 = 1;
/// A whole number is accepted.
pub(super) const INT: u8 = 2;
/// Any number is accepted.
pub(super) const NUM: u8 = 4;
/// A boolean is accepted.
pub(super) const BOOL: u8 = 8;
/// Nothing is accepted.
pub(super) const NULL: u8 = 16;

/// What an attribute accepts, before short forms become long.
#[derive(Debug)]
pub(super) enum Accepts {
    /// A scalar of one of the types in the mask.
    Scalar(u8),
    /// One of these words.
    Word(&'static [&'static str]),
    /// An integer in a range; text too, as it may come from a variable.
    Range(i64, i64),
    /// Text that a check likes, and what it should be.
    Checked(fn(&str) -> bool, &'static str),
    /// A mapping with known keys.
    Object(&'static Object),
    /// A list; the flag forbids repeats.
    List(&'static Accepts, bool),
    /// A mapping with free keys.
    Map(&'static Accepts),
    /// A mapping whose keys are names of services, networks and the like.
    Named(&'static Accepts),
    /// The first that fits the kind of value.
    Any(&'static [Accepts]),
}

/// How an attribute prints, as the Go type behind it does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Prints {
    /// Text; empty is left out.
    Text,
    /// Text, empty or not.
    AlwaysText,
    /// A boolean; `false` is left out.
    Flag,
    /// A boolean as given.
    MaybeFlag,
    /// A boolean that always prints.
    AlwaysFlag,
    /// A boolean that defaults to true; `true` is left out.
    OptOut,
    /// An integer; 0 is left out.
    Integer,
    /// An integer as given.
    MaybeInteger,
    /// An integer that always prints.
    AlwaysInteger,
    /// A 32-bit float; 0 is left out.
    Float,
    /// A size as decimal text; 0 is left out.
    Bytes,
    /// A size as decimal text that always prints.
    AlwaysBytes,
    /// A duration; 0 is left out.
    Duration,
    /// A duration as given.
    MaybeDuration,
    /// A list of texts; a single text counts as one.
    Texts,
    /// A command line: text is split as a shell does, JSON prints `null` when it isn't given.
    Command,
    /// A healthcheck: text runs in a shell.
    Test,
    /// A mapping of texts, `null` as empty.
    TextMap,
    /// A mapping of texts, `null` kept.
    Environment,
    /// A mapping of lists of texts.
    MultiOptions,
    /// `host=ip` texts, sorted.
    Hosts,
    /// SSH keys: `id` or `id: path`.
    Ssh,
    /// A mapping of limits: a number or soft and hard.
    Ulimits,
    /// A file mode, as octal text.
    Mode,
    /// A number of devices; `all` is -1.
    Count,
    /// An object, when given.
    Object(&'static Object),
    /// An object that JSON always prints and YAML only when it isn't empty.
    Inline(&'static Object),
    /// A list of objects.
    Objects(&'static Object),
    /// A mapping of objects, `null` kept.
    ObjectMap(&'static Object),
    /// Not printed.
    Never,
}

/// One attribute.
#[derive(Debug)]
pub(super) struct Attribute {
    pub(super) name: &'static str,
    pub(super) accepts: Accepts,
    pub(super) prints: Prints,
}

/// A mapping with known keys.
#[derive(Debug)]
pub(super) struct Object {
    /// In the order in which they print.
    pub(super) attributes: &'static [Attribute],
    pub(super) required: &'static [&'static str],
    /// `x-` keys are allowed.
    pub(super) extensions: bool,
    /// Its keys print with a capital in JSON (a quirk of two Go types).
    pub(super) capitals: bool,
}

impl Object {
    /// The attribute of a name.
    pub(super) fn attribute(&self, name: &str) -> Option<&'static Attribute> {
        self.attributes.iter().find(|a| a.name == name)
    }
}

const fn object(attributes: &'static [Attribute]) -> Object {
    Object { attributes, required: &[], extensions: true, capitals: false }
}

const fn requiring(attributes: &'static [Attribute], required: &'static [&'static str]) -> Object {
    Object { attributes, required, extensions: true, capitals: false }
}

const fn attr(name: &'static str, accepts: Accepts, prints: Prints) -> Attribute {
    Attribute { name, accepts, prints }
}

const fn text(name: &'static str) -> Attribute {
    attr(name, Accepts::Scalar(TEXT), Prints::Text)
}

const fn flag(name: &'static str) -> Attribute {
    attr(name, Accepts::Scalar(BOOL | TEXT), Prints::Flag)
}

const fn maybe_flag(name: &'static str) -> Attribute {
    attr(name, Accepts::Scalar(BOOL | TEXT), Prints::MaybeFlag)
}

const fn integer(name: &'static str) -> Attribute {
    attr(name, Accepts::Scalar(NUM | TEXT), Prints::Integer)
}

const fn duration(name: &'static str) -> Attribute {
    attr(name, Accepts::Scalar(TEXT), Prints::MaybeDuration)
}

const fn bytes(name: &'static str) -> Attribute {
    attr(name, Accepts::Scalar(NUM | TEXT), Prints::Bytes)
}

const fn texts(name: &'static str) -> Attribute {
    attr(name, Accepts::List(&A_TEXT, true), Prints::Texts)
}

const fn text_or_texts(name: &'static str) -> Attribute {
    attr(name, Accepts::Any(&TEXT_OR_LIST), Prints::Texts)
}

const fn text_map(name: &'static str) -> Attribute {
    attr(name, Accepts::Any(&LIST_OR_MAP), Prints::TextMap)
}

const fn options(name: &'static str) -> Attribute {
    attr(name, Accepts::Map(&TEXT_OR_NUMBER), Prints::TextMap)
}

static A_TEXT: Accepts = Accepts::Scalar(TEXT);
static TEXT_OR_NUMBER: Accepts = Accepts::Scalar(TEXT | NUM);
static A_SCALAR: Accepts = Accepts::Scalar(TEXT | NUM | BOOL | NULL);
static TEXT_OR_LIST: [Accepts; 2] = [Accepts::Scalar(TEXT), Accepts::List(&A_TEXT, true)];
static LIST_OR_MAP: [Accepts; 2] = [Accepts::Map(&A_SCALAR), Accepts::List(&A_TEXT, true)];
static COMMAND: [Accepts; 2] = [Accepts::Scalar(TEXT | NULL), Accepts::List(&A_TEXT, false)];
static HOSTS: [Accepts; 2] =
    [Accepts::Map(&Accepts::Any(&HOST_VALUE)), Accepts::List(&A_TEXT, true)];
static HOST_VALUE: [Accepts; 2] = [Accepts::Scalar(TEXT), Accepts::List(&A_TEXT, false)];
