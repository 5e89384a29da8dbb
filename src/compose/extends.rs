//! `extends`: a service begins as a copy of another one, of the same file or of another.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::construct::{KeyPath, apply_resets};
use super::diagnostic::{Place, Sources, Staged, nearest};
use super::loader::{Loader, Scope};
use super::merge;
use super::node::{Mapping, Node, Value};
use super::options::join;
use super::paths::{self, Base};

/// The services that an extending service has gone through.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain(Vec<(PathBuf, Rc<str>)>);

/// Longest chain of `extends`.
const MAX_CHAIN: usize = 100;

/// Applies `extends` to every service of a document.
pub(super) fn apply(
    loader: &mut Loader,
    root: &mut Mapping,
    file: &Path,
    scope: Scope<'_>,
    resets: &[KeyPath],
) -> Staged<()> {
    let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) else { return Ok(()) };
    let extending: Vec<Rc<str>> = services
        .iter()
        .filter(|(_, service)| service.get("extends").is_some())
        .map(|(name, _)| name.clone())
        .collect();
    for name in extending {
        let at = Here { file, directory: scope.directory, resets };
        resolve(loader, &name, services, at, scope, &Loader::chain())?;
    }
    Ok(())
}

/// The file that `extends` is read in.
#[derive(Clone, Copy)]
struct Here<'a> {
    file: &'a Path,
    directory: &'a Path,
    resets: &'a [KeyPath],
}

/// Replaces a service by what it extends to.
fn resolve(
    loader: &mut Loader,
    name: &Rc<str>,
    services: &mut Mapping,
    here: Here<'_>,
    scope: Scope<'_>,
    chain: &Chain,
) -> Staged<()> {
    let Some(service) = services.get(name) else { return Ok(()) };
    let Some(extends) = service.get("extends") else { return Ok(()) };
    let place = extends.place;
    let (reference, other) = reference(extends, &mut loader.sources)?;
    let chain = follow(chain, here.file, name, place, &mut loader.sources)?;

    let base = match other {
        Some((path, path_place)) => {
            let target = join(here.directory, Path::new(&expand(&path, loader.home.as_deref())));
            let mut loaded = loader.extended(&target, scope, path_place)?;
            let directory = target.parent().unwrap_or(Path::new("/")).to_owned();
            let home = loader.home.clone();
            paths::resolve(&mut loaded.root, Base { directory: &directory, home: home.as_deref() });
            let mut others = take_services(&mut loaded.root);
            known(&reference, &others, &target, place, &mut loader.sources)?;
            let there = Here { file: &target, directory: &directory, resets: &loaded.resets };
            resolve(loader, &reference, &mut others, there, scope, &chain)?;
            others.remove(&reference)
        }
        None => {
            known(&reference, services, here.file, place, &mut loader.sources)?;
            resolve(loader, &reference, services, here, scope, &chain)?;
            services.get(&reference).cloned()
        }
    };
    let Some(mut own) = services.remove(name) else { return Ok(()) };
    let merged = match base {
        Some(base) if !base.is_null() => {
            // What the extending document resets must not come back from the base.
            let entry = Mapping::from([(name.clone(), base)]);
            let mut wrapped =
                Mapping::from([("services".into(), Node::at(Value::Map(entry), place))]);
            apply_resets(&mut wrapped, here.resets);
            let base = take_services(&mut wrapped).remove(name);
            if let Some(map) = own.as_map_mut() {
                map.remove("extends");
            }
            let key = own.key;
            let mut merged = match base {
                Some(base) => merge::entry("services", name, base, own, &mut loader.sources)?,
                None => own,
            };
            merged.key = key;
            merged
        }
        _ => own,
    };
    services.insert(name.clone(), merged);
    Ok(())
}

fn expand(path: &str, home: Option<&str>) -> String {
    match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) => format!("{home}/{rest}"),
        _ => path.to_owned(),
    }
}

fn take_services(root: &mut Mapping) -> Mapping {
    match root.remove("services").map(|node| node.value) {
        Some(Value::Map(map)) => map,
        _ => Mapping::new(),
    }
}

/// The service that is extended, and the file that it is in with the place that names it.
type Reference = (Rc<str>, Option<(String, Place)>);

fn reference(extends: &Node, sources: &mut Sources) -> Staged<Reference> {
    let named = match &extends.value {
        Value::Text(service) => Some((service.clone(), None)),
        Value::Map(map) => map.get("service").and_then(|service| {
            let Value::Text(service) = &service.value else { return None };
            let file = map.get("file").and_then(|f| Some((f.as_str()?.to_owned(), f.place)));
            Some((service.clone(), file))
        }),
        _ => None,
    };
    named.ok_or_else(|| {
        sources.report_help(
            extends.place,
            "`extends` must name a service",
            "write `extends: {service: NAME}`, with `file:` if it is in another file",
        )
    })
}

fn known(
    reference: &str,
    services: &Mapping,
    file: &Path,
    place: Place,
    sources: &mut Sources,
) -> Staged<()> {
    if services.contains_key(reference) {
        return Ok(());
    }
    let message = format!("can't extend `{reference}`: {} has no such service", file.display());
    Err(match nearest(reference, services.keys().map(AsRef::as_ref)) {
        Some(name) => sources.report_help(place, message, format!("did you mean `{name}`?")),
        None => sources.report(place, message),
    })
}

/// Adds a service to the chain, unless it is there already.
fn follow(
    chain: &Chain,
    file: &Path,
    name: &Rc<str>,
    place: Place,
    sources: &mut Sources,
) -> Staged<Chain> {
    let step = (file.to_owned(), name.clone());
    let mut steps = chain.0.clone();
    let repeated = steps.contains(&step);
    steps.push(step);
    if repeated || steps.len() > MAX_CHAIN {
        let names: Vec<&str> = steps.iter().map(|(_, name)| name.as_ref()).collect();
        let message = format!("`extends` goes in a circle: {}", names.join(" -> "));
        return Err(sources.report(place, message));
    }
    Ok(Chain(steps))
}
