//! Which stack keeps which Compose project: two stacks on one project would undo each other's work.

use std::collections::{BTreeMap, BTreeSet};

/// Who keeps what. Of two stacks that begin together the first by name wins, so that a restart of
/// the daemon doesn't swap them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Stacks whose files haven't been loaded even once.
    undecided: BTreeSet<String>,
    /// Stack by project.
    holders: BTreeMap<String, String>,
    /// Stacks whose files are gone.
    gone: BTreeSet<String>,
    /// Projects of such stacks that another stack would go on with.
    awaited: BTreeSet<String>,
}

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The stack keeps the project.
    Granted,
    /// A stack that goes first hasn't said yet what it keeps.
    Wait,
    /// That stack keeps it.
    TakenBy(String),
}

impl Claims {
    /// No project is kept yet by any of these stacks.
    pub fn new(stacks: impl IntoIterator<Item = String>) -> Self {
        Self { undecided: stacks.into_iter().collect(), ..Self::default() }
    }

    /// The files of `stack` were loaded, and it wants to keep `project` if they were well. Returns
    /// whether that was the first time, which others may wait for.
    pub fn decided(&mut self, stack: &str, project: Option<&str>) -> bool {
        if !self.undecided.contains(stack) {
            return false;
        }
        // Before the others hear of it: they would be first.
        if let Some(project) = project {
            self.claim(stack, project);
        }
        self.undecided.remove(stack)
    }

    /// `stack` wants to keep `project`.
    pub fn claim(&mut self, stack: &str, project: &str) -> Claim {
        match self.holders.get(project) {
            Some(holder) if holder == stack => return Claim::Granted,
            Some(holder) => return Claim::TakenBy(holder.clone()),
            None => {}
        }
        if self.undecided.iter().any(|other| other.as_str() < stack) {
            return Claim::Wait;
        }
        self.holders.insert(project.to_owned(), stack.to_owned());
        Claim::Granted
    }

    /// `stack` keeps `project` no longer.
    pub fn release(&mut self, stack: &str, project: &str) {
        if self.holders.get(project).is_some_and(|holder| holder == stack) {
            self.holders.remove(project);
            self.awaited.remove(project);
        }
    }

    /// The files of `stack` are gone, or back. Returns whether that is new.
    pub fn absent(&mut self, stack: &str, gone: bool) -> bool {
        if gone {
            return self.gone.insert(stack.to_owned());
        }
        let holders = &self.holders;
        self.awaited.retain(|p| holders.get(p).is_none_or(|holder| holder != stack));
        self.gone.remove(stack)
    }

    /// A stack would go on with `project`. Returns whether it may hope: the one that keeps it is
    /// gone, most likely renamed, and lets go when it hears of this.
    pub fn await_heir(&mut self, project: &str) -> bool {
        let hope = self.holders.get(project).is_some_and(|holder| self.gone.contains(holder));
        if hope {
            self.awaited.insert(project.to_owned());
        }
        hope
    }

    /// Whether `stack`, which is gone, should leave `project` to another.
    pub fn should_leave(&self, stack: &str, project: &str) -> bool {
        self.awaited.contains(project)
            && self.gone.contains(stack)
            && self.holders.get(project).is_some_and(|holder| holder == stack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_by_name_wins_whoever_loads_first() {
        let mut claims = Claims::new(["a", "b"].map(str::to_owned));
        claims.decided("b", Some("p"));
        assert_eq!(claims.claim("b", "p"), Claim::Wait);
        assert!(claims.decided("a", Some("p")));
        assert!(!claims.decided("a", Some("q")));
        assert_eq!(claims.claim("b", "p"), Claim::TakenBy("a".into()));
        assert_eq!(claims.claim("a", "p"), Claim::Granted);
        assert_eq!(claims.claim("a", "p"), Claim::Granted);
        assert_eq!(claims.claim("b", "p"), Claim::TakenBy("a".into()));
        assert_eq!(claims.claim("b", "q"), Claim::Granted);
        claims.release("b", "p");
        assert_eq!(claims.claim("b", "p"), Claim::TakenBy("a".into()));
        claims.release("a", "p");
        assert_eq!(claims.claim("b", "p"), Claim::Granted);
    }

    #[test]
    fn a_stack_that_is_gone_leaves_its_project_to_one_that_asks() {
        let mut claims = Claims::new(["a".to_owned()]);
        claims.decided("a", Some("p"));
        assert!(!claims.await_heir("p"), "it is there");
        assert!(claims.absent("a", true));
        assert!(!claims.absent("a", true));
        assert!(!claims.should_leave("a", "p"), "nobody asks: it is kept as it was");
        assert!(!claims.await_heir("q"));
        assert!(claims.await_heir("p"));
        assert_eq!(claims.claim("b", "p"), Claim::TakenBy("a".into()), "not before it let go");
        assert!(claims.should_leave("a", "p"));
        assert!(!claims.should_leave("a", "q") && !claims.should_leave("b", "p"));
        // Back in time.
        assert!(claims.absent("a", false));
        assert!(!claims.should_leave("a", "p") && !claims.await_heir("p"));
        claims.absent("a", true);
        assert!(!claims.should_leave("a", "p"), "who asked before has to ask again");
        claims.await_heir("p");
        claims.release("a", "p");
        assert_eq!(claims.claim("b", "p"), Claim::Granted);
        assert!(!claims.should_leave("b", "p"));
    }
}
