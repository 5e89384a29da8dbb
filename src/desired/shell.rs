//! Which variables of the process's environment matter to a project.
//!
//! The loader says which names it asked for; a variable matters if the project is another one
//! without it. Values are compared by what comes of them, and never told.

use std::collections::BTreeMap;

use super::digest::{Digests, digests};
use super::source::{Environment, Source};

/// Variables that are tried out at most: each costs a load.
const MOST: usize = 64;

/// Variables of the process's environment that change the project when they are used, sorted.
/// Reads files, so keep it off async threads.
pub fn matter(source: &Source) -> Vec<String> {
    let all = &source.environment().variables;
    let Some(whole) = load(source, all.clone(), true) else { return Vec::new() };
    let known = |name: &&String| all.contains_key(*name);
    let without = |name: &&String| {
        let mut fewer = all.clone();
        fewer.remove(*name);
        load(source, fewer, true).is_none_or(|less| less.digests != whole.digests)
    };
    whole.asked.iter().filter(known).take(MOST).filter(without).cloned().collect()
}

/// The same, if the source doesn't use them: what a shell would have made of its files is another
/// project then. Files that can't be loaded either way are no matter of variables.
pub fn unheard(source: &Source) -> Vec<String> {
    let Environment { variables, inherit, .. } = source.environment();
    let Some(own) = load(source, variables.clone(), *inherit) else { return Vec::new() };
    if !own.asked.iter().any(|name| variables.contains_key(name)) {
        return Vec::new();
    }
    match load(source, variables.clone(), true) {
        Some(shell) if shell.digests != own.digests => matter(source),
        _ => Vec::new(),
    }
}

struct Load {
    digests: Digests,
    asked: std::collections::BTreeSet<String>,
}

fn load(source: &Source, variables: BTreeMap<String, String>, inherit: bool) -> Option<Load> {
    let stdin = source.environment().stdin.clone();
    let environment = Environment { variables, inherit, stdin };
    let loaded = source.with_environment(environment).load(1).ok()?;
    let project = &loaded.goal.desired.project;
    Some(Load { digests: digests(project), asked: project.variables.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::digest::differing;
    use crate::desired::source::{Flags, Request, find};
    use crate::plan::Scope;

    const COMPOSE: &str = "\
name: p
services:
  web:
    image: web:${TAG:-1}
    environment: [TOKEN, SAME, \"HOST=${GIVEN}\"]
  db: {image: 'db:1'}
";

    struct Files(tempfile::TempDir);

    impl Files {
        fn new(compose: &str, env: &str) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            std::fs::write(folder.path().join("compose.yaml"), compose).expect("writes");
            std::fs::write(folder.path().join(".env"), env).expect("writes");
            Self(folder)
        }

        fn source(&self, variables: &[(&str, &str)], inherit: bool) -> Source {
            let variables =
                variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let request = Request {
                path: None,
                cwd: self.0.path().to_owned(),
                flags: Flags::default(),
                environment: Environment { variables, inherit, stdin: None },
                scope: Scope::default(),
            };
            find(&request).expect("finds").sources.remove(0)
        }
    }

    const SHELL: &[(&str, &str)] = &[
        ("TAG", "2"),
        ("TOKEN", "t"),
        ("SAME", "s"),
        ("GIVEN", "shell"),
        ("UNUSED", "u"),
        ("HOME", "/home/x"),
    ];

    #[test]
    fn variables_that_would_change_the_project_are_named_and_no_others() {
        let files = Files::new(COMPOSE, "SAME=s\nGIVEN=file\n");
        assert_eq!(unheard(&files.source(SHELL, false)), ["GIVEN", "TAG", "TOKEN"]);
        assert_eq!(matter(&files.source(SHELL, true)), ["GIVEN", "TAG", "TOKEN"]);
    }

    #[test]
    fn who_inherits_hears_all() {
        let files = Files::new(COMPOSE, "");
        assert!(unheard(&files.source(SHELL, true)).is_empty());
        assert!(unheard(&files.source(&[("UNUSED", "u")], false)).is_empty());
    }

    #[test]
    fn a_required_variable_matters() {
        let files = Files::new("services: {web: {image: 'web:${TAG:?set it}'}}", "");
        assert_eq!(matter(&files.source(SHELL, true)), ["TAG"]);
    }

    #[test]
    fn the_parts_that_differ_are_named() {
        let files = Files::new(COMPOSE, "");
        let of = |source: &Source| digests(&source.load(1).expect("loads").goal.desired.project);
        let (own, shell) = (of(&files.source(SHELL, false)), of(&files.source(SHELL, true)));
        assert_eq!(differing(&own, &shell), ["service web"]);
        assert_eq!(differing(&own, &own), Vec::<String>::new());
        let mut fewer = own.clone();
        fewer.remove("service db");
        assert_eq!(differing(&own, &fewer), ["service db"]);
        assert_eq!(differing(&fewer, &own), ["service db"]);
        assert!(!format!("{shell:?}").contains("shell"), "{shell:?}");
    }
}
