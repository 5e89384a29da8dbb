//! Which container stands for which slot, and which are too many.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::Planner;
use crate::compose::types::Service;
use crate::observed::{Container, ContainerState, Slot};

/// The containers of one service, sorted into its slots.
pub(super) struct Assignment<'a> {
    /// Every wanted slot with its containers, the best first.
    pub slots: Vec<(Slot, Vec<&'a Container>)>,
    /// Containers beyond the wanted scale.
    pub surplus: Vec<&'a Container>,
}

impl<'a> Planner<'a> {
    /// Existing numbers are kept, lowest first; gaps fill up from 1.
    pub(super) fn assign(&self, service: &Service, wanted_hash: Option<&str>) -> Assignment<'a> {
        let mut groups: BTreeMap<u32, Vec<&'a Container>> = BTreeMap::new();
        for container in self.by_service.get(service.name.as_str()).into_iter().flatten() {
            if container.number > 0 {
                groups.entry(container.number).or_default().push(container);
            }
        }
        let scale = service.scale as usize;
        let mut numbers: BTreeSet<u32> = groups.keys().copied().take(scale).collect();
        let mut unused = 1..;
        while numbers.len() < scale {
            numbers.extend(unused.next());
        }
        let wanted_image = service.image.as_deref().and_then(|r| self.image_id(r));
        let goes_back = self.pinned(service).is_some_and(|pin| pin.person.is_none());
        let slots = numbers
            .into_iter()
            .map(|number| {
                let mut group = groups.remove(&number).unwrap_or_default();
                let slot = Slot {
                    project: self.desired.project.name.clone(),
                    service: service.name.clone(),
                    number,
                };
                if group.len() > 1 {
                    let back = self.kept(&slot).filter(|_| goes_back);
                    group.sort_by_key(|c| {
                        Reverse((back == Some(&c.id), rank(c, wanted_hash, wanted_image)))
                    });
                }
                (slot, group)
            })
            .collect();
        Assignment { slots, surplus: groups.into_values().flatten().collect() }
    }
}

/// The better a container can stand for its slot, the higher. Of two that fit, the live one: the
/// other would only interrupt the service.
fn rank<'c>(
    container: &'c Container,
    hash: Option<&str>,
    image: Option<&str>,
) -> impl Ord + use<'c> {
    let usable = !matches!(container.state, ContainerState::Removing | ContainerState::Dead);
    let fits = hash.is_some()
        && container.config_hash.as_deref() == hash
        && image.is_none_or(|i| i == container.image_id);
    (usable, fits, container.is_live(), container.created, container.id.0.as_str())
}

/// The name that a slot's container has in Compose.
pub(super) fn container_name(project: &str, service: &Service, number: u32) -> String {
    match &service.container_name {
        Some(name) => name.clone(),
        None => format!("{project}-{}-{number}", service.name),
    }
}

/// `Some(base)` for `0123456789ab_base`: the name of a container whose replacement isn't over.
pub(super) fn temporary_base(name: &str) -> Option<&str> {
    let (prefix, base) = name.split_once('_')?;
    let hex = prefix.len() == 12 && prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    hex.then_some(base)
}

/// The name under which a replacement is made while the old container holds the real one.
pub(super) fn temporary_name(old: &Container, name: &str) -> String {
    format!("{}_{name}", old.id.short())
}

/// The name under which a replacement is made whose old container is to be kept: that one will
/// have the other temporary name.
pub(super) fn successor_name(kept: &Container, name: &str) -> String {
    let digest = Sha256::digest(kept.id.0.as_bytes());
    let prefix: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}_{name}")
}

#[cfg(test)]
mod tests {
    use super::temporary_base;

    #[test]
    fn only_twelve_hexadecimal_digits_mark_a_temporary_name() {
        assert_eq!(temporary_base("0123456789ab_p-web-1"), Some("p-web-1"));
        assert_eq!(temporary_base("0123456789aX_p-web-1"), None);
        assert_eq!(temporary_base("my_web"), None);
    }
}
