//! In which order services come up: hard edges from `depends_on`, soft ones from `recoveryOrder`.

use std::collections::{BTreeMap, BTreeSet};

use crate::compose::types::Project;

/// Why services can't be ordered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Services wait for one another.
    #[error("dependency cycle: {}; remove one of these `depends_on`", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// `recoveryOrder` names something that isn't in the project.
    #[error("recoveryOrder names `{name}`, which is no service of the project{}", did_you_mean(.nearest))]
    UnknownService {
        /// As written.
        name: String,
        /// The nearest service.
        nearest: Option<String>,
    },
}

fn did_you_mean(name: &Option<String>) -> String {
    name.as_ref().map_or_else(String::new, |n| format!("; did you mean `{n}`?"))
}

/// An order and what shaped it.
#[derive(Debug)]
pub struct Ordering {
    /// Every enabled service once.
    pub order: Vec<String>,
    /// Soft predecessors by service.
    pub soft: BTreeMap<String, BTreeSet<String>>,
    /// Soft edges that were dropped.
    pub dropped: Vec<Dropped>,
}

/// A soft edge against the hard order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// What `recoveryOrder` puts first.
    pub earlier: String,
    /// What it puts after that.
    pub later: String,
    /// The first `depends_on` on the way from `earlier` to `later`, as (service, what it names);
    /// `None` where other soft edges are part of that way.
    pub edge: Option<(String, String)>,
}

impl Dropped {
    /// For people; the places are those of the two lines, where they are known.
    pub fn message(&self, order: &str, depends_on: &str) -> String {
        let Self { earlier, later, edge } = self;
        let why = match edge {
            Some((from, to)) if from == earlier && to == later => {
                format!("{earlier} depends on {later}{depends_on}")
            }
            Some((_, to)) => {
                format!("{earlier} depends on {to}{depends_on}, and that on {later}")
            }
            None => format!("{earlier} comes after {later} by what is before it"),
        };
        format!("recoveryOrder puts {earlier} before {later}{order}, but {why}; depends_on wins")
    }
}

/// Orders the services of a project.
pub fn order(
    project: &Project,
    recovery: &[String],
    optional: &BTreeSet<&str>,
) -> Result<Ordering, OrderError> {
    let hard: BTreeMap<&str, BTreeSet<&str>> = project
        .services
        .values()
        .map(|s| {
            let deps = s.depends_on.keys().map(String::as_str);
            (s.name.as_str(), deps.filter(|d| project.services.contains_key(*d)).collect())
        })
        .collect();
    let rank: BTreeMap<&str, usize> =
        recovery.iter().enumerate().map(|(i, s)| (s.as_str(), i)).collect();
    let by_rank = |a: &&str| (rank.get(*a).copied().unwrap_or(usize::MAX), (*a).to_owned());
    // Hard edges alone decide whether there is an order at all.
    sort(&hard, by_rank)?;
    let (soft, dropped) = soft_edges(project, recovery, optional, &hard)?;
    let mut edges = hard;
    for (name, before) in &soft {
        if let Some(deps) = edges.get_mut(name.as_str()) {
            deps.extend(before.iter().map(String::as_str));
        }
    }
    let order = sort(&edges, by_rank)?;
    Ok(Ordering { order, soft, dropped })
}

/// Kahn's algorithm; among those that could come next, the least key comes first.
fn sort<K: Ord>(
    hard: &BTreeMap<&str, BTreeSet<&str>>,
    key: impl Fn(&&str) -> K,
) -> Result<Vec<String>, OrderError> {
    let mut missing: BTreeMap<&str, usize> = hard.iter().map(|(s, d)| (*s, d.len())).collect();
    let mut dependents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (service, deps) in hard {
        for dep in deps {
            dependents.entry(dep).or_default().push(service);
        }
    }
    let mut ready: BTreeSet<(K, &str)> =
        missing.iter().filter(|(_, n)| **n == 0).map(|(s, _)| (key(s), *s)).collect();
    let mut order = Vec::with_capacity(hard.len());
    while let Some((_, service)) = ready.pop_first() {
        order.push(service.to_owned());
        for dependent in dependents.get(service).into_iter().flatten() {
            if let Some(n) = missing.get_mut(dependent) {
                *n -= 1;
                if *n == 0 {
                    ready.insert((key(dependent), dependent));
                }
            }
        }
    }
    if order.len() == hard.len() {
        return Ok(order);
    }
    let stuck: BTreeSet<&str> = missing.iter().filter(|(_, n)| **n > 0).map(|(s, _)| *s).collect();
    Err(OrderError::Cycle(cycle(hard, &stuck)))
}

/// One cycle among services of which each waits for another of them, first service repeated.
fn cycle(hard: &BTreeMap<&str, BTreeSet<&str>>, stuck: &BTreeSet<&str>) -> Vec<String> {
    let mut path: Vec<&str> = Vec::new();
    let mut next = stuck.first().copied();
    while let Some(service) = next {
        if let Some(start) = path.iter().position(|s| *s == service) {
            let mut found: Vec<String> = path[start..].iter().map(|s| (*s).to_owned()).collect();
            found.push(service.to_owned());
            return found;
        }
        path.push(service);
        next = hard.get(service).and_then(|d| d.iter().find(|d| stuck.contains(*d)).copied());
    }
    path.into_iter().map(str::to_owned).collect()
}

type Soft = (BTreeMap<String, BTreeSet<String>>, Vec<Dropped>);

/// Everything earlier in the recovery order comes before what is later, unless that closes a
/// circle with the edges so far.
fn soft_edges(
    project: &Project,
    recovery: &[String],
    optional: &BTreeSet<&str>,
    hard: &BTreeMap<&str, BTreeSet<&str>>,
) -> Result<Soft, OrderError> {
    let mut soft: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut dropped = Vec::new();
    let mut dependents: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (service, deps) in hard {
        for dep in deps {
            dependents.entry(dep).or_default().insert(service);
        }
    }
    for (i, name) in recovery.iter().enumerate() {
        if !hard.contains_key(name.as_str()) {
            if project.disabled_services.contains_key(name) {
                continue;
            }
            let nearest = nearest_name(name, project.services.keys());
            return Err(OrderError::UnknownService { name: name.clone(), nearest });
        }
        let above = reachable(hard, name);
        let below = reachable(&dependents, name);
        for earlier in &recovery[..i] {
            let unordered = earlier == name
                || optional.contains(earlier.as_str())
                || !hard.contains_key(earlier.as_str())
                || above.contains(earlier.as_str());
            if unordered {
                continue;
            }
            if below.contains(earlier.as_str()) {
                let edge = first_edge(hard, earlier, name);
                dropped.push(Dropped { earlier: earlier.clone(), later: name.clone(), edge });
                continue;
            }
            soft.entry(name.clone()).or_default().insert(earlier.clone());
            dependents.entry(earlier).or_default().insert(name);
        }
    }
    Ok((soft, dropped))
}

/// The first hard edge on a way from one service to another.
fn first_edge(
    hard: &BTreeMap<&str, BTreeSet<&str>>,
    from: &str,
    to: &str,
) -> Option<(String, String)> {
    let next = hard.get(from)?;
    let leads = |dep: &&&str| **dep == to || reachable(hard, dep).contains(to);
    // The edge itself, if there is one, rather than a way around.
    let dep = next.get(to).or_else(|| next.iter().find(leads))?;
    Some((from.to_owned(), (*dep).to_owned()))
}

fn reachable<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = edges.get(from).into_iter().flatten().copied().collect();
    while let Some(service) = open.pop() {
        if seen.insert(service) {
            open.extend(edges.get(service).into_iter().flatten().copied());
        }
    }
    seen
}

/// The name nearest to `wanted`, if it is near enough to be meant.
pub fn nearest_name<'a>(wanted: &str, names: impl Iterator<Item = &'a String>) -> Option<String> {
    names
        .map(|n| (strsim::osa_distance(wanted, n), n))
        .min()
        .filter(|(d, _)| *d <= 2.max(wanted.len() / 3))
        .map(|(_, n)| n.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::types::{Condition, Dependency, Service};

    fn project(edges: &[(&str, &[&str])]) -> Project {
        let mut project = Project { name: "p".into(), ..Project::default() };
        for (name, deps) in edges {
            let depends_on = deps
                .iter()
                .map(|d| {
                    let dep = Dependency {
                        condition: Condition::Started,
                        required: true,
                        restart: false,
                    };
                    ((*d).to_owned(), dep)
                })
                .collect();
            let service =
                Service { name: (*name).into(), depends_on, scale: 1, ..Service::default() };
            project.services.insert((*name).into(), service);
        }
        project
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn hard_edges_come_before_the_recovery_order_and_that_before_names() {
        let p = project(&[("a", &["z"]), ("b", &[]), ("c", &[]), ("z", &[])]);
        let o = order(&p, &names(&["c", "b"]), &BTreeSet::new()).expect("orders");
        assert_eq!(o.order, names(&["c", "b", "z", "a"]));
    }

    #[test]
    fn a_cycle_is_printed() {
        let p = project(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"]), ("d", &[])]);
        let e = order(&p, &[], &BTreeSet::new()).expect_err("a cycle");
        assert_eq!(
            e.to_string(),
            "dependency cycle: b -> c -> b; remove one of these `depends_on`"
        );
    }

    #[test]
    fn a_soft_edge_against_the_hard_order_is_dropped_with_a_warning() {
        let p = project(&[("a", &["b"]), ("b", &[]), ("c", &[])]);
        let o = order(&p, &names(&["a", "b", "c"]), &BTreeSet::new()).expect("orders");
        assert_eq!(o.soft.get("b"), None);
        assert_eq!(o.soft["c"], ["a".to_owned(), "b".to_owned()].into());
        assert_eq!(o.dropped.len(), 1);
        assert_eq!(
            o.dropped[0].message(" (s:1)", " (c:2)"),
            "recoveryOrder puts a before b (s:1), but a depends on b (c:2); depends_on wins"
        );
    }

    #[test]
    fn a_softly_ordered_service_comes_after_what_its_predecessor_depends_on() {
        let p = project(&[("valkey", &["zinit"]), ("web", &[]), ("zinit", &[])]);
        let o = order(&p, &names(&["valkey", "web"]), &BTreeSet::new()).expect("orders");
        assert_eq!(o.order, names(&["zinit", "valkey", "web"]));
    }

    #[test]
    fn soft_and_hard_edges_together_close_no_circle() {
        let p = project(&[("a", &["c"]), ("b", &[]), ("c", &[])]);
        let o = order(&p, &names(&["a", "b", "c"]), &BTreeSet::new()).expect("orders");
        assert_eq!(o.order, names(&["c", "a", "b"]));
        assert_eq!(o.soft["b"], ["a".to_owned()].into());
        assert_eq!(o.soft.get("c"), None);
        assert_eq!(o.dropped.len(), 2);
        let p = project(&[("a", &["x"]), ("b", &[]), ("x", &["b"])]);
        let o = order(&p, &names(&["a", "b"]), &BTreeSet::new()).expect("orders");
        assert_eq!(o.dropped[0].edge, Some(("a".into(), "x".into())), "over another service");
    }

    #[test]
    fn an_unknown_name_gets_the_nearest() {
        let p = project(&[("chromadb", &[]), ("valkey", &[])]);
        let e = order(&p, &names(&["chromdb"]), &BTreeSet::new()).expect_err("unknown");
        assert!(e.to_string().ends_with("did you mean `chromadb`?"), "{e}");
    }

    #[test]
    fn optional_services_keep_nobody_waiting() {
        let p = project(&[("a", &[]), ("b", &[])]);
        let o = order(&p, &names(&["a", "b"]), &["a"].into()).expect("orders");
        assert!(o.soft.is_empty());
    }
}
