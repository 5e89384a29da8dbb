//! Names of lease volumes, and what a volume list shows of them.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::holder::Holder;
use crate::engine::VolumeSummary;

const PREFIX: &str = "homeostat-lease-";
/// Bytes of a project's name that a volume's name takes whole: a file's name has at most 255.
const WHOLE: usize = 200;
/// Highest epoch that counts. A higher number in a name is nobody's: nothing could outbid it.
pub const LAST_EPOCH: u64 = u32::MAX as u64;
/// Label prefix of Docker Compose: what carries it is a project's own volume, whatever its name.
const COMPOSE: &str = "com.docker.compose.";

/// A lease that may be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    name: String,
    labels: BTreeMap<String, String>,
}

impl Lease {
    pub(super) fn new(project: &str, epoch: u64, holder: &Holder) -> Self {
        Self { name: format!("{}{epoch}", stem(project)), labels: holder.labels(project) }
    }

    /// Name of its volume.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Labels of its volume.
    pub const fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }
}

/// A lease volume that may be removed. There is no way to make one but from a volume that the
/// engine listed with a lease's name and a holder's labels, and with none of Docker Compose: no
/// other volume can ever be named to [`crate::engine::Write::RemoveLease`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldLease(String);

impl OldLease {
    /// Name of its volume.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A lease as a volume list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its epoch.
    pub epoch: u64,
    /// Who holds it; `None` where the labels don't say.
    pub holder: Option<Holder>,
    name: String,
    bare: bool,
}

impl Found {
    /// What may be removed of it: nothing unless its labels are a lease's.
    pub(super) fn removable(&self) -> Option<OldLease> {
        (self.bare && self.holder.is_some()).then(|| OldLease(self.name.clone()))
    }
}

/// The leases of a project, by epoch.
pub fn of_project<'v>(
    project: &str,
    volumes: impl IntoIterator<Item = &'v VolumeSummary>,
) -> Vec<Found> {
    let stem = stem(project);
    let mut found: Vec<Found> = volumes
        .into_iter()
        .filter_map(|volume| Some((epoch(volume.name.strip_prefix(&stem)?)?, volume)))
        .map(|(epoch, volume)| read(epoch, volume))
        .collect();
    found.sort_by_key(|lease| lease.epoch);
    found
}

/// The lease that counts of each project whose leases say whose they are, by project.
pub fn strongest<'v>(
    volumes: impl IntoIterator<Item = &'v VolumeSummary>,
) -> BTreeMap<String, Found> {
    let mut strongest: BTreeMap<String, Found> = BTreeMap::new();
    for volume in volumes {
        let project = Holder::project(&volume.labels);
        let Some(rest) = volume.name.strip_prefix(&stem(project)) else { continue };
        let Some(epoch) = epoch(rest) else { continue };
        if strongest.get(project).is_none_or(|known| known.epoch < epoch) {
            strongest.insert(project.to_owned(), read(epoch, volume));
        }
    }
    strongest
}

fn read(epoch: u64, volume: &VolumeSummary) -> Found {
    let bare = !volume.labels.keys().any(|key| key.starts_with(COMPOSE));
    let holder = Holder::read(&volume.labels);
    Found { epoch, holder, name: volume.name.clone(), bare }
}

/// `homeostat-lease-<project>-`. A dot, which no project's name has, marks one that was shortened.
fn stem(project: &str) -> String {
    if project.len() <= WHOLE {
        return format!("{PREFIX}{project}-");
    }
    let digest = Sha256::digest(project.as_bytes());
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let head: String = project.chars().take(WHOLE / 2).collect();
    format!("{PREFIX}{head}.{hex}-")
}

/// An epoch as we write it: no sign, no leading zero.
fn epoch(text: &str) -> Option<u64> {
    let plain = text.len() <= 10 && text.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = plain.then(|| text.parse().ok()).flatten()?;
    ((1..=LAST_EPOCH).contains(&number) && !text.starts_with('0')).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, labels: BTreeMap<String, String>) -> VolumeSummary {
        VolumeSummary { name: name.into(), driver: "local".into(), labels }
    }

    fn holder(id: &str) -> Holder {
        Holder { id: id.into(), ..Holder::default() }
    }

    #[test]
    fn only_a_leases_own_name_is_one() {
        let names = [
            "homeostat-lease-p-2",
            "homeostat-lease-p-10",
            "homeostat-lease-p-0",
            "homeostat-lease-p-01",
            "homeostat-lease-p-+1",
            "homeostat-lease-p--1",
            "homeostat-lease-p-4294967296",
            "homeostat-lease-p-99999999999999999999",
            "homeostat-lease-p-1-2",
            "homeostat-lease-p-",
            "homeostat-lease-pp-1",
            "p_homeostat-lease-p-1",
            "homeostat-lease-p-3x",
        ];
        let volumes: Vec<_> = names.iter().map(|name| volume(name, BTreeMap::new())).collect();
        let epochs = |project| -> Vec<u64> {
            of_project(project, &volumes).iter().map(|lease| lease.epoch).collect()
        };
        assert_eq!(epochs("p"), [2, 10]);
        assert_eq!(epochs("p-1"), [2], "the project ends where the last number begins");
    }

    #[test]
    fn names_fit_the_engine_and_differ_for_long_projects() {
        let long = |end: &str| format!("{}{end}", "a".repeat(300));
        let names: Vec<String> = ["x", "y"]
            .iter()
            .map(|end| Lease::new(&long(end), LAST_EPOCH, &holder("1")).name().to_owned())
            .collect();
        assert_ne!(names[0], names[1]);
        assert!(names.iter().all(|name| name.len() <= 255), "{names:?}");
        let volumes = [volume(&names[0], holder("1").labels(&long("x")))];
        assert_eq!(of_project(&long("x"), &volumes).len(), 1);
        assert_eq!(of_project(&long("y"), &volumes).len(), 0);
    }

    #[test]
    fn only_what_is_labelled_as_a_lease_may_be_removed() {
        let name = "homeostat-lease-p-1";
        let one = |labels| of_project("p", &[volume(name, labels)])[0].removable();
        assert_eq!(one(holder("1").labels("p")), Some(OldLease(name.into())));
        assert_eq!(one(BTreeMap::new()), None, "anybody's volume with our name");
        let mut theirs = holder("1").labels("p");
        theirs.insert("com.docker.compose.volume".into(), "data".into());
        assert_eq!(one(theirs), None, "a project's volume with our name");
    }

    #[test]
    fn the_strongest_lease_of_each_project_is_found_by_its_labels() {
        let volumes = [
            volume("homeostat-lease-p-9", holder("1").labels("p")),
            volume("homeostat-lease-p-10", holder("2").labels("p")),
            volume("homeostat-lease-q-1", holder("3").labels("q")),
            volume("homeostat-lease-q-2", holder("4").labels("other")),
            volume("homeostat-lease-r-1", BTreeMap::new()),
            volume("data", BTreeMap::new()),
        ];
        let found: Vec<(String, u64)> =
            strongest(&volumes).into_iter().map(|(p, lease)| (p, lease.epoch)).collect();
        assert_eq!(found, [("p".into(), 10), ("q".into(), 1)]);
    }
}
