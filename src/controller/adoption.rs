//! What is found rather than made: what others made as it is desired is as good as applied, and
//! what they made otherwise is known for that. Pure changes of [`Memory`]; each returns what is to
//! be written down.

use crate::desired::Desired;
use crate::observed::{Container, Observed, Slot, labels};
use crate::plan::memory::{Memory, Note};

/// What somebody else made as it is desired is as good as applied: its loss is known for a loss.
/// What they made otherwise, and what stays so, makes the present files the ones that it was left
/// alone in spite of: an edit after that counts.
pub fn service(
    memory: &mut Memory,
    desired: &Desired,
    slot: &Slot,
    container: &Container,
    differs: bool,
) -> Vec<(String, String)> {
    let name = &slot.service;
    let Some(wanted) = desired.hashes.get(name) else { return Vec::new() };
    let mut news = Vec::new();
    if container.config_hash.as_ref() == Some(wanted) && !differs {
        note(memory, &mut news, name.clone(), wanted);
        if memory.noted(Note::Found, name).is_some() {
            note(memory, &mut news, Note::Found.of(name), "");
        }
        if !desired.files.is_empty() {
            note(memory, &mut news, Note::Files.of(name), &desired.files);
        }
    } else if differs && !memory.applied.contains_key(name) {
        note(memory, &mut news, name.clone(), wanted);
        note(memory, &mut news, Note::Found.of(name), wanted);
    }
    news
}

/// The same of the networks that this project made.
pub fn networks(
    memory: &mut Memory,
    desired: &Desired,
    observed: &Observed,
) -> Vec<(String, String)> {
    let mut news = Vec::new();
    let project = &desired.project;
    for network in project.networks.values().filter(|network| !network.external) {
        let mut named = observed.networks_named(&network.name);
        let label = |labels: &std::collections::BTreeMap<String, String>, name: &str| {
            labels.get(name).cloned().unwrap_or_default()
        };
        let ours = named.find(|found| label(&found.labels, labels::PROJECT) == project.name);
        let Some(found) = ours else { continue };
        let wanted = crate::compose::network_hash(network);
        let first = memory.noted(Note::Network, &network.key).is_none();
        if first || label(&found.labels, labels::CONFIG_HASH) == wanted {
            note(memory, &mut news, Note::Network.of(&network.key), &wanted);
        }
    }
    news
}

fn note(memory: &mut Memory, news: &mut Vec<(String, String)>, name: String, text: &str) {
    if memory.applied.get(&name).map(String::as_str) != Some(text) {
        memory.applied.insert(name.clone(), text.to_owned());
        news.push((name, text.to_owned()));
    }
}
