//! What the system says of this process and of others: the facts that leases go by.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Pid, geteuid, test_kill_process};
use sha2::{Digest, Sha256};

use super::recall;
use crate::clock::Timestamp;
use crate::lease::{Around, Holder, Life, Process, Role, judge_life};
use crate::store::{StateDir, StateDirError};

/// Bytes read of a file under `/proc` or of the user database.
const MOST: u64 = 1024 * 1024;

/// This process as the holder of leases.
///
/// # Errors
/// No random bytes, or a state folder that can't be used.
pub fn holder(
    role: Role,
    dir: &StateDir,
    control: Option<PathBuf>,
    now: Timestamp,
) -> Result<Holder, StateDirError> {
    let around = around(Some(dir), false)?;
    let uid = geteuid().as_raw();
    let text = |path: PathBuf| path.to_str().map(str::to_owned).unwrap_or_default();
    Ok(Holder {
        id: dir.random_id()?,
        role,
        host: around.host,
        boot_id: around.boot_id,
        pid: Some(std::process::id()),
        namespaces: around.namespaces,
        started: stat("self").map(|(_, started)| started),
        home: around.home,
        uid: Some(uid),
        user: user_name(uid),
        control: control.map(text).unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").into(),
        since: Some(now.0),
    })
}

/// Where this process judges from. `locked` says that it is the daemon of the state folder.
///
/// # Errors
/// A state folder that can't be used.
pub fn around(dir: Option<&StateDir>, locked: bool) -> Result<Around, StateDirError> {
    let space = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).ok();
    let spaces: Vec<String> = ["pid", "time"]
        .into_iter()
        .filter_map(|name| Some(space(name)?.to_str()?.to_owned()))
        .collect();
    Ok(Around {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        boot_id: recall::boot_id(),
        namespaces: spaces.join(" "),
        home: dir.map(home).transpose()?.unwrap_or_default(),
        locked,
    })
}

/// Judges holders by what the system says now.
pub fn judge(around: Around) -> impl Fn(&Holder) -> Life + Send + Sync + 'static {
    move |holder| judge_life(holder, &around, &ask)
}

/// A digest of the state folder: of its key, and of its place on the disk, which a copy hasn't.
fn home(dir: &StateDir) -> Result<String, StateDirError> {
    let place = std::fs::metadata(dir.path()).map(|data| data.ino()).unwrap_or_default();
    let digest = Sha256::new()
        .chain_update(b"homeostat lease home")
        .chain_update(dir.redaction_key()?)
        .chain_update(place.to_le_bytes())
        .finalize();
    Ok(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// Asks for a process of this PID namespace. A signal tells of processes that `/proc` may hide.
fn ask(pid: u32) -> Process {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    match number.map(test_kill_process) {
        None | Some(Err(Errno::SRCH)) => Process::Gone,
        Some(_) => match stat(&pid.to_string()) {
            // Killed, and its parent hasn't asked for its end.
            Some(('Z' | 'X' | 'x', _)) => Process::Gone,
            known => Process::Runs(known.map(|(_, started)| started)),
        },
    }
}

/// State and start of a process, by `/proc/PID/stat` (proc(5): fields 3 and 22).
fn stat(pid: &str) -> Option<(char, u64)> {
    parse(&read(Path::new(&format!("/proc/{pid}/stat")))?)
}

/// The name in parentheses may hold anything, parentheses too.
fn parse(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_ascii_whitespace();
    let state = words.next()?.chars().next()?;
    Some((state, words.nth(18)?.parse().ok()?))
}

/// A user, for people: the name, or the number where it has none.
pub fn user(uid: u32) -> String {
    match user_name(uid) {
        name if name.is_empty() => format!("user {uid}"),
        name => name,
    }
}

/// The user of this process, for people.
pub fn this_user() -> String {
    user(geteuid().as_raw())
}

fn user_name(uid: u32) -> String {
    let users = read(Path::new("/etc/passwd")).unwrap_or_default();
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    found.unwrap_or_default()
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MOST).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_whatever_the_name_of_the_process() {
        let numbers: Vec<String> = (4..=22).map(|n| n.to_string()).collect();
        let line = format!("7 (a) b) Z 1) S {}", numbers.join(" "));
        assert_eq!(parse(&line), Some(('S', 22)));
        assert_eq!(parse("7 (a) S 1 2"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn this_process_lives_and_one_that_was_ended_doesnt() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = StateDir::open(folder.path()).expect("opens");
        let me = holder(Role::Daemon, &dir, None, Timestamp(0)).expect("known");
        let judge = judge(around(None, false).expect("known"));
        assert_eq!(judge(&me), Life::Alive);
        assert_ne!(me.id, holder(Role::Daemon, &dir, None, Timestamp(0)).expect("known").id);
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("starts");
        let started = stat(&child.id().to_string()).map(|(_, started)| started);
        let other = Holder { pid: Some(child.id()), started, ..me.clone() };
        assert_eq!(judge(&other), Life::Alive);
        let later = Holder { started: started.map(|at| at + 1), ..other.clone() };
        assert!(matches!(judge(&later), Life::Dead(_)), "another process under its number");
        child.kill().expect("ends");
        // Its remains are still there.
        let gone = |_| matches!(judge(&other), Life::Dead(_));
        let soon = (0..200).any(|n| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            gone(n)
        });
        assert!(soon, "{:?}", judge(&other));
        child.wait().expect("ended");
        assert!(gone(0));
    }

    #[test]
    fn a_copied_state_folder_is_another_home() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let first = StateDir::open(&one).expect("opens");
        let home_of = |dir: &StateDir| around(Some(dir), false).expect("known").home;
        let known = home_of(&first);
        assert_eq!(known, home_of(&StateDir::open(&one).expect("opens")));
        let second = StateDir::open(&two).expect("opens");
        std::fs::copy(one.join("redaction.key"), two.join("redaction.key")).expect("copies");
        assert_ne!(known, home_of(&second));
    }
}
