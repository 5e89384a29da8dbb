//! Who holds a lease, as the labels of its volume say.

use std::collections::BTreeMap;
use std::fmt;

/// Prefix of every label of a lease.
const PREFIX: &str = "dev.homeostat.lease.";
/// Bytes of a holder's ID.
const ID_BYTES: usize = 64;
/// Bytes of any other text; a longer one is left out.
const TEXT_BYTES: usize = 256;
/// Digits of any number.
const DIGITS: usize = 20;

/// What a holder does with its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// It keeps the project, and has a control socket.
    #[default]
    Daemon,
    /// A command that converges once and goes.
    Command,
}

impl Role {
    const fn word(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Command => "command",
        }
    }
}

/// A process that holds a lease, or wants one. Empty and `None` is what nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// Drawn anew by each process.
    pub id: String,
    /// What it does.
    pub role: Role,
    /// Host name.
    pub host: String,
    /// The kernel's boot ID.
    pub boot_id: String,
    /// PID in its own namespace.
    pub pid: Option<u32>,
    /// Its PID and time namespaces: a PID and a start time mean nothing in others.
    pub namespaces: String,
    /// Start of the process, in clock ticks since boot.
    pub started: Option<u64>,
    /// Which state folder it uses, as a digest.
    pub home: String,
    /// User ID.
    pub uid: Option<u32>,
    /// User name.
    pub user: String,
    /// Absolute path of its control socket.
    pub control: String,
    /// Version of homeostat.
    pub version: String,
    /// When it took the lease, in milliseconds since the epoch.
    pub since: Option<i64>,
}

impl Holder {
    /// The labels of its lease.
    pub fn labels(&self, project: &str) -> BTreeMap<String, String> {
        let number = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
        [
            ("project", project.to_owned()),
            ("holder", self.id.clone()),
            ("role", self.role.word().to_owned()),
            ("host", self.host.clone()),
            ("boot-id", self.boot_id.clone()),
            ("pid", number(self.pid.map(u64::from))),
            ("namespaces", self.namespaces.clone()),
            ("started", number(self.started)),
            ("home", self.home.clone()),
            ("uid", number(self.uid.map(u64::from))),
            ("user", self.user.clone()),
            ("control", self.control.clone()),
            ("version", self.version.clone()),
            ("since", self.since.map(|at| at.to_string()).unwrap_or_default()),
        ]
        .into_iter()
        .filter(|(_, value)| is_text(value))
        .map(|(key, value)| (format!("{PREFIX}{key}"), value))
        .collect()
    }

    /// Reads labels that anybody may have written. What makes no sense counts as unknown; `None`
    /// without the ID of a holder.
    pub fn read(labels: &BTreeMap<String, String>) -> Option<Self> {
        let text = |key: &str| -> String {
            let value = labels.get(&format!("{PREFIX}{key}"));
            value.filter(|value| is_text(value)).cloned().unwrap_or_default()
        };
        let id = text("holder");
        let hex = |c: u8| c.is_ascii_hexdigit();
        if id.is_empty() || id.len() > ID_BYTES || !id.bytes().all(hex) {
            return None;
        }
        let control = text("control");
        Some(Self {
            id,
            role: if text("role") == Role::Command.word() { Role::Command } else { Role::Daemon },
            host: text("host"),
            boot_id: text("boot-id"),
            pid: number(&text("pid")).filter(|pid| *pid > 0 && *pid <= i32::MAX as u32),
            namespaces: text("namespaces"),
            started: number(&text("started")),
            home: text("home"),
            uid: number(&text("uid")),
            user: text("user"),
            control: if control.starts_with('/') { control } else { String::new() },
            version: text("version"),
            since: number(&text("since")),
        })
    }

    /// The project that a lease's labels name; empty where they don't.
    pub(super) fn project(labels: &BTreeMap<String, String>) -> &str {
        labels.get(&format!("{PREFIX}project")).map_or("", String::as_str)
    }

    /// `alice (uid 1000)`, as far as it is known.
    pub fn who(&self) -> String {
        match (self.user.as_str(), self.uid) {
            ("", None) => "an unknown user".to_owned(),
            ("", Some(uid)) => format!("uid {uid}"),
            (user, None) => user.to_owned(),
            (user, Some(uid)) => format!("{user} (uid {uid})"),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.role {
            Role::Daemon => f.write_str("a homeostat daemon of ")?,
            Role::Command => f.write_str("a homeostat command of ")?,
        }
        f.write_str(&self.who())?;
        if !self.host.is_empty() {
            write!(f, " on host {}", self.host)?;
        }
        match self.pid {
            Some(pid) => write!(f, ", PID {pid}"),
            None => Ok(()),
        }
    }
}

/// Short, and harmless for a terminal.
fn is_text(value: &str) -> bool {
    !value.is_empty() && value.len() <= TEXT_BYTES && !value.chars().any(char::is_control)
}

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = text.len() <= DIGITS && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn alice() -> Holder {
        Holder {
            id: "0a1b".into(),
            role: Role::Command,
            host: "box".into(),
            boot_id: "b".into(),
            pid: Some(7),
            namespaces: "pid:[1]".into(),
            started: Some(99),
            home: "h".into(),
            uid: Some(1000),
            user: "alice".into(),
            control: "/run/c.sock".into(),
            version: "0.1.0".into(),
            since: Some(5),
        }
    }

    #[test]
    fn labels_say_all_and_read_back() {
        let labels = alice().labels("p");
        assert_eq!(Holder::read(&labels), Some(alice()));
        assert_eq!(Holder::project(&labels), "p");
        assert!(labels.keys().all(|key| key.starts_with("dev.homeostat.lease.")));
        let nobody = Holder { id: "1".into(), ..Holder::default() };
        assert_eq!(Holder::read(&nobody.labels("p")), Some(nobody));
    }

    #[test]
    fn garbage_is_unknown_and_never_more() {
        let mut labels = alice().labels("p");
        let mut set =
            |key: &str, value: &str| labels.insert(format!("{PREFIX}{key}"), value.into());
        set("host", &"x".repeat(257));
        set("user", "a\x1b[2J");
        set("pid", "-1");
        set("started", "99999999999999999999999");
        set("uid", "1e3");
        set("control", "../relative");
        set("since", "");
        let read = Holder::read(&labels).expect("a holder");
        let known = Holder {
            host: String::new(),
            user: String::new(),
            pid: None,
            started: None,
            uid: None,
            control: String::new(),
            since: None,
            ..alice()
        };
        assert_eq!(read, known);
        assert_eq!(read.to_string(), "a homeostat command of an unknown user");
        for pid in ["0", "2147483648", "4294967296", " 1", "+1"] {
            labels.insert(format!("{PREFIX}pid"), pid.into());
            assert_eq!(Holder::read(&labels).expect("a holder").pid, None, "{pid}");
        }
        for id in ["", "xyz", "a b", &"a".repeat(65), "á"] {
            labels.insert(format!("{PREFIX}holder"), id.into());
            assert_eq!(Holder::read(&labels), None, "{id}");
        }
        assert_eq!(Holder::read(&BTreeMap::new()), None);
    }

    #[test]
    fn a_holder_is_named_for_people() {
        let holder = Holder { role: Role::Daemon, ..alice() };
        assert_eq!(holder.to_string(), "a homeostat daemon of alice (uid 1000) on host box, PID 7");
    }
}
