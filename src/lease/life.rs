//! Whether a holder is dead for certain. Pure: what the system says is given.

use super::holder::{Holder, Role};

/// Where somebody judges from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    /// Host name.
    pub host: String,
    /// The kernel's boot ID.
    pub boot_id: String,
    /// Own PID and time namespaces.
    pub namespaces: String,
    /// Digest of the own state folder.
    pub home: String,
    /// This process is the daemon of that folder and has its lock, which every daemon of that
    /// folder takes for life.
    pub locked: bool,
}

/// What the system says of a PID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// There is none, or only its remains.
    Gone,
    /// One that started at this time, in clock ticks since boot; `None` where that is hidden.
    Runs(Option<u64>),
}

/// Whether a holder lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// It does, certainly.
    Alive,
    /// It doesn't, certainly, for this reason.
    Dead(String),
    /// Nobody here can tell, for this reason.
    Unknown(String),
}

/// Judges a holder. The proof of death is one of three:
/// - this host and boot, these namespaces, and the process is gone or is another one;
/// - this state folder, whose only daemon we are;
/// - this state folder and host, which has booted since.
pub fn judge(holder: &Holder, around: &Around, ask: &dyn Fn(u32) -> Process) -> Life {
    let known = |ours: &str, theirs: &str| !ours.is_empty() && ours == theirs;
    let same_boot = known(&around.boot_id, &holder.boot_id);
    let same_host = known(&around.host, &holder.host);
    let same_space = known(&around.namespaces, &holder.namespaces);
    if same_boot
        && same_host
        && same_space
        && let (Some(pid), Some(started)) = (holder.pid, holder.started)
    {
        return by_process(pid, started, ask(pid));
    }
    if known(&around.home, &holder.home) {
        if around.locked && holder.role == Role::Daemon {
            return Life::Dead("it was the daemon of this state folder".into());
        }
        if same_host && !same_boot && !holder.boot_id.is_empty() && !around.boot_id.is_empty() {
            return Life::Dead("this host has booted since".into());
        }
    }
    Life::Unknown(match (same_boot, same_host) {
        (true, true) if !same_space => "it runs in another PID namespace".into(),
        (true, true) => "its lease doesn't say which process it is".into(),
        (true, false) => "it runs under another host name".into(),
        (false, true) => "it ran before the last boot, from another state folder".into(),
        (false, false) => "it runs on another host".into(),
    })
}

fn by_process(pid: u32, started: u64, process: Process) -> Life {
    match process {
        Process::Gone => Life::Dead(format!("PID {pid} is gone")),
        Process::Runs(Some(since)) if since != started => {
            Life::Dead(format!("PID {pid} is another process now"))
        }
        Process::Runs(_) => Life::Alive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around() -> Around {
        Around {
            host: "box".into(),
            boot_id: "boot1".into(),
            namespaces: "pid:[1]".into(),
            home: "h1".into(),
            locked: false,
        }
    }

    fn holder() -> Holder {
        Holder {
            id: "a".into(),
            host: "box".into(),
            boot_id: "boot1".into(),
            namespaces: "pid:[1]".into(),
            home: "h2".into(),
            pid: Some(7),
            started: Some(100),
            ..Holder::default()
        }
    }

    fn life(holder: &Holder, around: &Around, process: Process) -> String {
        match judge(holder, around, &|_| process) {
            Life::Alive => "alive".into(),
            Life::Dead(why) => format!("dead: {why}"),
            Life::Unknown(why) => format!("unknown: {why}"),
        }
    }

    #[test]
    fn a_process_of_this_boot_is_known_by_pid_and_start() {
        let of = |process| life(&holder(), &around(), process);
        assert_eq!(of(Process::Runs(Some(100))), "alive");
        assert_eq!(of(Process::Runs(None)), "alive", "hidden from us, but there");
        assert_eq!(of(Process::Gone), "dead: PID 7 is gone");
        assert_eq!(of(Process::Runs(Some(101))), "dead: PID 7 is another process now");
    }

    #[test]
    fn elsewhere_a_pid_proves_nothing() {
        let gone = |change: fn(&mut Holder)| {
            let mut holder = holder();
            change(&mut holder);
            life(&holder, &around(), Process::Gone)
        };
        assert_eq!(
            gone(|h| h.namespaces = "pid:[2]".into()),
            "unknown: it runs in another PID namespace"
        );
        assert_eq!(gone(|h| h.namespaces.clear()), "unknown: it runs in another PID namespace");
        assert_eq!(gone(|h| h.host = "twin".into()), "unknown: it runs under another host name");
        assert_eq!(gone(|h| h.pid = None), "unknown: its lease doesn't say which process it is");
        assert_eq!(
            gone(|h| h.boot_id = "boot2".into()),
            "unknown: it ran before the last boot, from another state folder"
        );
        assert_eq!(
            gone(|h| (h.boot_id, h.host) = ("boot2".into(), "far".into())),
            "unknown: it runs on another host"
        );
        let nowhere = Around::default();
        assert!(life(&holder(), &nowhere, Process::Gone).starts_with("unknown"));
        let blank = Holder { id: "a".into(), ..Holder::default() };
        assert!(life(&blank, &nowhere, Process::Gone).starts_with("unknown"));
    }

    #[test]
    fn after_a_boot_and_in_a_new_container_the_state_folder_tells() {
        let ours = Holder { home: "h1".into(), ..holder() };
        let rebooted = Holder { boot_id: "boot0".into(), ..ours.clone() };
        assert_eq!(life(&rebooted, &around(), Process::Gone), "dead: this host has booted since");
        let elsewhere = Holder { host: "far".into(), ..rebooted.clone() };
        assert!(
            life(&elsewhere, &around(), Process::Gone).starts_with("unknown"),
            "a copied folder"
        );
        let unnamed = Holder { boot_id: String::new(), ..ours.clone() };
        assert!(life(&unnamed, &around(), Process::Gone).starts_with("unknown"));
        // A container gets a new PID namespace at each start.
        let contained = Holder { namespaces: "pid:[9]".into(), ..ours };
        let locked = Around { locked: true, ..around() };
        assert_eq!(
            life(&contained, &locked, Process::Gone),
            "dead: it was the daemon of this state folder"
        );
        let command = Holder { role: Role::Command, ..contained.clone() };
        assert!(life(&command, &locked, Process::Gone).starts_with("unknown"), "takes no lock");
        assert!(life(&contained, &around(), Process::Gone).starts_with("unknown"), "no lock");
        // What is seen to live is alive whatever else is said.
        let same = Holder { namespaces: "pid:[1]".into(), ..contained };
        assert_eq!(life(&same, &locked, Process::Runs(Some(100))), "alive");
    }
}
