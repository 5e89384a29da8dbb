//! Which container this process runs in, if it does: homeostat never stops, restarts or replaces
//! itself.

use std::io::Read;

use crate::engine::ContainerId;
use crate::observed::{ContainerState, Observed};

/// Label that marks homeostat's own container where nothing else tells.
pub const LABEL: &str = "dev.homeostat.self";
/// Bytes read of `mountinfo`.
const MOST: u64 = 1024 * 1024;
/// Files that an engine mounts into a container from the folder that bears its ID.
const MOUNTED: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// What tells this process's container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// The ID in the paths of what is mounted over `/etc`.
    mounted: Option<ContainerId>,
    hostname: String,
    /// It runs in some container.
    contained: bool,
}

impl Own {
    /// What this process can know of itself.
    pub fn of_this_process() -> Self {
        let mut text = String::new();
        let read = std::fs::File::open("/proc/self/mountinfo")
            .and_then(|file| file.take(MOST).read_to_string(&mut text));
        if let Err(error) = read {
            tracing::debug!(%error, "can't read the mounts of this process");
        }
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let marks = ["/.dockerenv", "/run/.containerenv"];
        let marked = marks.iter().any(|mark| std::path::Path::new(mark).exists());
        Self::from(&text, hostname, marked)
    }

    fn from(mountinfo: &str, hostname: String, marked: bool) -> Self {
        let mounted = mountinfo.lines().find_map(mounted_from);
        Self { contained: marked || mounted.is_some(), mounted, hostname }
    }

    /// Its container among those of the engine: by what is mounted, then by the host name that an
    /// engine gives, then by [`LABEL`] on the only live container that has it.
    pub fn find(&self, observed: &Observed) -> Option<ContainerId> {
        if !self.contained {
            return None;
        }
        if let Some(id) = self.mounted.as_ref().filter(|id| observed.container(id).is_some()) {
            return Some(id.clone());
        }
        let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        if self.hostname.len() == 12 && self.hostname.chars().all(hex) {
            let mut named = observed.all().filter(|c| c.id.0.starts_with(&self.hostname));
            if let Some(own) = named.next() {
                return Some(own.id.clone());
            }
        }
        let mut labelled = observed
            .all()
            .filter(|c| c.state == ContainerState::Running && c.labels.contains_key(LABEL));
        let own = labelled.next()?;
        labelled.next().is_none().then(|| own.id.clone())
    }
}

/// The ID in a line like `… /var/lib/docker/containers/<64 hex>/hostname /etc/hostname rw …`.
/// Other mounts may be another container's: a host shows all of them.
fn mounted_from(line: &str) -> Option<ContainerId> {
    let mut words = line.split(' ').skip(3);
    let (root, point) = (words.next()?, words.next()?);
    if !MOUNTED.contains(&point) {
        return None;
    }
    let is_id = |part: &&str| {
        part.len() == 64 && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    root.split('/').find(is_id).map(|id| ContainerId(id.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::Container;
    use crate::sensitive::Sensitive;

    const ID: &str = "4f1c0e8c2a5b4f1c0e8c2a5b4f1c0e8c2a5b4f1c0e8c2a5b4f1c0e8c2a5b4f1c";

    fn seen(ids: &[&str], labelled: &[&str]) -> Observed {
        let mut observed = Observed::default();
        for id in ids {
            let mut container = Container {
                id: ContainerId((*id).into()),
                state: ContainerState::Running,
                ..Container::default()
            };
            if labelled.contains(id) {
                container.labels.insert(LABEL.into(), Sensitive::new(String::new()));
            }
            observed.containers.insert(container.id.clone(), container.into());
        }
        observed
    }

    fn mounts(id: &str, point: &str) -> String {
        format!(
            "700 699 0:50 / / rw,relatime - overlay overlay rw\n\
             711 700 254:1 /var/lib/docker/containers/{id}/hostname {point} rw,relatime - ext4 /dev/vda rw\n"
        )
    }

    #[test]
    fn what_the_engine_mounted_tells_first() {
        let own = Own::from(&mounts(ID, "/etc/hostname"), "bot".into(), false);
        assert_eq!(own.find(&seen(&[ID, "other"], &["other"])), Some(ContainerId(ID.into())));
    }

    #[test]
    fn on_the_host_the_mounts_of_others_tell_nothing() {
        let others = mounts(ID, "/var/lib/docker/containers/x/mounts/shm");
        let own = Own::from(&others, ID[..12].into(), false);
        assert_eq!(own.find(&seen(&[ID], &[ID])), None);
    }

    #[test]
    fn then_the_host_name_then_the_label() {
        let by_name = Own::from("", ID[..12].into(), true);
        assert_eq!(by_name.find(&seen(&[ID, "other"], &["other"])), Some(ContainerId(ID.into())));
        let by_label = Own::from("", "bot".into(), true);
        assert_eq!(
            by_label.find(&seen(&[ID, "other"], &["other"])).map(|id| id.0),
            Some("other".into())
        );
        assert_eq!(by_label.find(&seen(&[ID, "other"], &["other", ID])), None, "which of the two?");
    }

    #[test]
    fn an_engine_on_another_machine_has_no_such_container() {
        let own = Own::from(&mounts(ID, "/etc/hostname"), ID[..12].into(), true);
        assert_eq!(own.find(&seen(&["other"], &[])), None);
    }
}
