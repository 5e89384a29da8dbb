//! An operator's dealings with one project's lease: a pure state machine over volume lists.

use std::fmt;
use std::time::Duration;

use super::holder::Holder;
use super::life::Life;
use super::name::{Found, LAST_EPOCH, Lease, OldLease};
use crate::clock::Mono;

/// How long a lease that has gone is left to the one who held it: after a `docker volume prune` it
/// creates the same one again as soon as it hears of that.
pub const LEFT_TO_ITS_HOLDER: Duration = Duration::from_secs(2);

/// What a volume list says to an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody has a lease.
    Free,
    /// We have the highest one.
    Ours {
        /// Its epoch.
        epoch: u64,
    },
    /// Somebody has it who isn't dead for certain.
    Held {
        /// Its epoch.
        epoch: u64,
        /// Who; `None` where the labels don't say.
        by: Option<Holder>,
        /// It certainly lives, or why nobody here can tell.
        life: Life,
    },
    /// Its holder is dead for certain.
    Stale {
        /// Its epoch.
        epoch: u64,
        /// Who it was.
        by: Holder,
        /// How that is known.
        why: String,
    },
    /// We had one, and somebody took over.
    Outbid {
        /// The epoch that counts now.
        epoch: u64,
        /// Who; `None` where the labels don't say.
        by: Option<Holder>,
    },
}

/// Judges the leases of a project for `me`, who had the epoch `had` at the last look.
pub fn judge(
    leases: &[Found],
    me: &Holder,
    had: Option<u64>,
    life: &dyn Fn(&Holder) -> Life,
) -> Verdict {
    let Some(lease) = leases.iter().max_by_key(|lease| lease.epoch) else { return Verdict::Free };
    let (epoch, by) = (lease.epoch, lease.holder.clone());
    match by {
        Some(holder) if holder.id == me.id => Verdict::Ours { epoch },
        by if had.is_some() => Verdict::Outbid { epoch, by },
        None => {
            let life = Life::Unknown("its lease doesn't say who holds it".into());
            Verdict::Held { epoch, by: None, life }
        }
        Some(holder) => match life(&holder) {
            Life::Dead(why) => Verdict::Stale { epoch, by: holder, why },
            life => Verdict::Held { epoch, by: Some(holder), life },
        },
    }
}

/// What is to be done to the engine's lease volumes now. After a `Create` a look must follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Nothing,
    /// Create this one, if nobody has.
    Create(Lease),
    /// Remove these: ours counts more.
    Remove(Vec<OldLease>),
}

/// Whether an operator may change the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseState {
    /// No lease is asked for: it never writes.
    Observing,
    /// It isn't known yet, for this reason.
    Seeking(String),
    /// The engine, or somebody before it, doesn't let us take one, in these words.
    Refused(String),
    /// It may.
    Held {
        /// The lease's epoch.
        epoch: u64,
    },
    /// Somebody else does.
    Standby {
        /// The lease's epoch.
        epoch: u64,
        /// Who; `None` where the labels don't say.
        by: Option<Box<Holder>>,
        /// For people: why, and the mend.
        why: String,
    },
}

impl Default for LeaseState {
    fn default() -> Self {
        Self::Seeking("who keeps the project isn't known yet: the engine hasn't listed its volumes, where leases are".into())
    }
}

impl LeaseState {
    /// CamelCase reason for conditions.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Observing => "Observing",
            Self::Seeking(_) => "Seeking",
            Self::Refused(_) => "PermissionMissing",
            Self::Held { .. } => "Held",
            Self::Standby { .. } => "Standby",
        }
    }

    /// Whether it may change the engine.
    pub const fn is_held(&self) -> bool {
        matches!(self, Self::Held { .. })
    }
}

impl fmt::Display for LeaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Observing => f.write_str("the tier `observe` takes no lease and changes nothing"),
            Self::Seeking(why) | Self::Refused(why) => f.write_str(why),
            Self::Held { epoch } => write!(f, "epoch {epoch}"),
            Self::Standby { why, .. } => f.write_str(why),
        }
    }
}

/// What an operator believes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Belief {
    /// It holds no lease.
    Outside,
    /// It holds this epoch. `seen` is false while the volume is gone and isn't made again yet.
    Holding { epoch: u64, seen: bool },
}

/// A lease that somebody else had when we looked last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Theirs {
    epoch: u64,
    by: Option<Holder>,
    /// When it was first seen to be gone.
    gone: Option<Mono>,
}

/// One operator and one project's lease.
#[derive(Debug, Clone)]
pub struct Tenure {
    project: String,
    me: Holder,
    belief: Belief,
    theirs: Option<Theirs>,
    state: LeaseState,
    /// A person asked to take over whatever lease there is at the first look.
    insists: bool,
    /// The epoch that a person's word is about: whoever takes over later keeps it.
    against: Option<u64>,
}

impl Tenure {
    /// Nothing is known yet. With `take_over` the lease that is there at the first look is outbid.
    pub fn new(project: &str, me: Holder, take_over: bool) -> Self {
        Self {
            project: project.to_owned(),
            me,
            belief: Belief::Outside,
            theirs: None,
            state: LeaseState::default(),
            insists: take_over,
            against: None,
        }
    }

    /// The project.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// Who we are.
    pub const fn me(&self) -> &Holder {
        &self.me
    }

    /// How it stands.
    pub const fn state(&self) -> &LeaseState {
        &self.state
    }

    const fn had(&self) -> Option<u64> {
        match self.belief {
            Belief::Holding { epoch, .. } => Some(epoch),
            Belief::Outside => None,
        }
    }

    /// Whether these leases agree with what is believed, so that nothing is to be done.
    pub fn agrees(&self, leases: &[Found], life: &dyn Fn(&Holder) -> Life, now: Mono) -> bool {
        let mut next = self.clone();
        next.look(leases, life, now) == Act::Nothing && next.state == self.state
    }

    /// Looks at the project's leases. What it returns must be done, and after a `Create` the
    /// leases looked at again, before anything else is written.
    pub fn look(&mut self, leases: &[Found], life: &dyn Fn(&Holder) -> Life, now: Mono) -> Act {
        let verdict = judge(leases, &self.me, self.had(), life);
        let insists = std::mem::take(&mut self.insists);
        match verdict {
            Verdict::Ours { epoch } => {
                self.belief = Belief::Holding { epoch, seen: true };
                (self.theirs, self.against) = (None, None);
                self.state = LeaseState::Held { epoch };
                let old = leases.iter().filter(|lease| lease.epoch < epoch);
                let old: Vec<OldLease> = old.filter_map(Found::removable).collect();
                if old.is_empty() { Act::Nothing } else { Act::Remove(old) }
            }
            Verdict::Free => self.free(life, now),
            Verdict::Stale { epoch, by, why } => {
                self.state = LeaseState::Seeking(format!("taking over from {by}: {why}"));
                self.remember(epoch, Some(by));
                self.outbid(epoch)
            }
            Verdict::Held { epoch, by, life } => {
                self.remember(epoch, by);
                if insists {
                    self.against = Some(epoch);
                }
                if self.against == Some(epoch) && epoch < LAST_EPOCH {
                    self.state = LeaseState::Seeking("taking over, as asked".into());
                    return self.outbid(epoch);
                }
                self.against = None;
                self.stand_by(epoch, Some(&life));
                Act::Nothing
            }
            Verdict::Outbid { epoch, by } => {
                self.belief = Belief::Outside;
                self.remember(epoch, by);
                self.stand_by(epoch, None);
                Act::Nothing
            }
        }
    }

    /// Nobody has a lease: we had one and make it again, or we take it, but not before whoever had
    /// it could do so.
    fn free(&mut self, life: &dyn Fn(&Holder) -> Life, now: Mono) -> Act {
        if let Belief::Holding { epoch, seen } = &mut self.belief {
            *seen = false;
            self.state = LeaseState::Seeking("the lease's volume is gone; making it again".into());
            return Act::Create(Lease::new(&self.project, *epoch, &self.me));
        }
        let Some(theirs) = &mut self.theirs else {
            self.state = LeaseState::Seeking("taking the lease".into());
            return Act::Create(Lease::new(&self.project, 1, &self.me));
        };
        let since = *theirs.gone.get_or_insert(now);
        let dead = theirs.by.as_ref().is_some_and(|by| matches!(life(by), Life::Dead(_)));
        if !dead && now.since(since) < LEFT_TO_ITS_HOLDER {
            let words = "the lease is gone; whoever held it may make it again";
            self.state = LeaseState::Seeking(words.into());
            return Act::Nothing;
        }
        self.state = LeaseState::Seeking("taking the lease, which was given back".into());
        Act::Create(Lease::new(&self.project, theirs.epoch, &self.me))
    }

    fn outbid(&mut self, epoch: u64) -> Act {
        if epoch >= LAST_EPOCH {
            self.stand_by(epoch, None);
            return Act::Nothing;
        }
        Act::Create(Lease::new(&self.project, epoch + 1, &self.me))
    }

    fn remember(&mut self, epoch: u64, by: Option<Holder>) {
        self.theirs = Some(Theirs { epoch, by, gone: None });
    }

    fn stand_by(&mut self, epoch: u64, life: Option<&Life>) {
        let by = self.theirs.as_ref().and_then(|theirs| theirs.by.clone());
        let who = by.as_ref().map_or_else(|| "somebody unknown".to_owned(), Holder::to_string);
        let doubt = match life {
            Some(Life::Unknown(why)) => {
                format!(
                    "; whether it lives can't be told from here ({why}): if it is dead for certain, start with --take-over"
                )
            }
            _ => String::new(),
        };
        let why = format!("{who} keeps {} (lease epoch {epoch}){doubt}", self.project);
        self.state = LeaseState::Standby { epoch, by: by.map(Box::new), why };
    }

    /// The leases that are to be removed when the operator ends: all of its own.
    pub fn leave(&mut self, leases: &[Found]) -> Vec<OldLease> {
        self.belief = Belief::Outside;
        self.state = LeaseState::Seeking("given back".into());
        let ours = |lease: &&Found| lease.holder.as_ref().is_some_and(|h| h.id == self.me.id);
        leases.iter().filter(ours).filter_map(Found::removable).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::of_project;
    use super::*;
    use crate::engine::VolumeSummary;

    fn holder(id: &str) -> Holder {
        let user = match id {
            "a" => "alice",
            _ => "bob",
        };
        Holder { id: id.into(), user: user.into(), ..Holder::default() }
    }

    fn leases(of: &[(u64, &str)]) -> Vec<Found> {
        let volumes: Vec<VolumeSummary> = of
            .iter()
            .map(|(epoch, id)| VolumeSummary {
                name: format!("homeostat-lease-p-{epoch}"),
                labels: if id.is_empty() { Default::default() } else { holder(id).labels("p") },
                ..VolumeSummary::default()
            })
            .collect();
        of_project("p", &volumes)
    }

    fn alive(_: &Holder) -> Life {
        Life::Alive
    }

    fn unknown(_: &Holder) -> Life {
        Life::Unknown("it runs on another host".into())
    }

    fn dead(_: &Holder) -> Life {
        Life::Dead("PID 7 is gone".into())
    }

    fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    /// The act in short.
    fn short(act: Act) -> String {
        match act {
            Act::Nothing => "-".into(),
            Act::Create(lease) => format!("create {}", lease.name()),
            Act::Remove(old) => {
                let names: Vec<&str> = old.iter().map(OldLease::name).collect();
                format!("remove {}", names.join(" "))
            }
        }
    }

    type Judge = fn(&Holder) -> Life;

    fn see(tenure: &mut Tenure, of: &[(u64, &str)], life: Judge, now: Mono) -> String {
        let act = tenure.look(&leases(of), &life, now);
        format!("{} | {}: {}", short(act), tenure.state().reason(), tenure.state())
    }

    fn tenure(take_over: bool) -> Tenure {
        Tenure::new("p", holder("a"), take_over)
    }

    #[test]
    fn a_free_project_is_taken_and_the_labels_decide() {
        let mut t = tenure(false);
        assert_eq!(
            see(&mut t, &[], alive, at(0)),
            "create homeostat-lease-p-1 | Seeking: taking the lease"
        );
        assert_eq!(see(&mut t.clone(), &[(1, "a")], alive, at(0)), "- | Held: epoch 1");
        assert_eq!(
            see(&mut t, &[(1, "b")], alive, at(0)),
            "- | Standby: a homeostat daemon of bob keeps p (lease epoch 1)"
        );
    }

    #[test]
    fn a_lease_that_was_lost_is_made_again_under_its_epoch() {
        let mut t = tenure(false);
        see(&mut t, &[(3, "a")], alive, at(0));
        let again =
            "create homeostat-lease-p-3 | Seeking: the lease's volume is gone; making it again";
        assert_eq!(see(&mut t, &[], alive, at(1)), again);
        assert_eq!(see(&mut t, &[(3, "a")], alive, at(1)), "- | Held: epoch 3");
        see(&mut t, &[], alive, at(2));
        assert!(see(&mut t, &[(3, "b")], alive, at(2)).starts_with("- | Standby: "), "too late");
    }

    #[test]
    fn whoever_is_outbid_stands_by_whatever_was_asked_before() {
        let mut t = tenure(true);
        assert!(see(&mut t, &[], alive, at(0)).starts_with("create homeostat-lease-p-1 "));
        assert_eq!(see(&mut t, &[(1, "a")], alive, at(0)), "- | Held: epoch 1");
        let outbid = "- | Standby: a homeostat daemon of bob keeps p (lease epoch 2)";
        assert_eq!(see(&mut t, &[(1, "a"), (2, "b")], alive, at(1)), outbid);
        assert_eq!(see(&mut t, &[(2, "b")], alive, at(2)), outbid);
    }

    #[test]
    fn the_dead_are_outbid_and_their_leases_removed_afterwards() {
        let mut t = tenure(false);
        assert_eq!(
            see(&mut t, &[(4, "b")], dead, at(0)),
            "create homeostat-lease-p-5 | Seeking: taking over from a homeostat daemon of bob: PID 7 is gone"
        );
        assert_eq!(
            see(&mut t, &[(3, ""), (4, "b"), (5, "a")], dead, at(0)),
            "remove homeostat-lease-p-4 | Held: epoch 5",
            "a volume that is no lease stays"
        );
    }

    #[test]
    fn who_may_live_is_outbid_only_where_a_person_says_so_and_only_once() {
        let mut t = tenure(false);
        assert_eq!(
            see(&mut t, &[(4, "b")], unknown, at(0)),
            "- | Standby: a homeostat daemon of bob keeps p (lease epoch 4); whether it lives can't be told from here (it runs on another host): if it is dead for certain, start with --take-over"
        );
        assert!(see(&mut t, &[(4, "")], dead, at(0)).contains("somebody unknown keeps p"));
        let mut t = tenure(true);
        assert_eq!(
            see(&mut t, &[(4, "b")], alive, at(0)),
            "create homeostat-lease-p-5 | Seeking: taking over, as asked"
        );
        // The create got lost: the word still holds against that epoch, and against no other.
        assert!(see(&mut t.clone(), &[(4, "b")], alive, at(1)).starts_with("create homeo"));
        assert!(see(&mut t, &[(4, "b"), (5, "c")], alive, at(1)).starts_with("- | Standby"));
        assert!(see(&mut t, &[(4, "b")], alive, at(2)).starts_with("- | Standby"));
        let mut t = tenure(true);
        assert!(see(&mut t, &[(4, "")], alive, at(0)).starts_with("create homeostat-lease-p-5 "));
        let last = LAST_EPOCH;
        let mut t = tenure(true);
        assert!(see(&mut t, &[(last, "b")], alive, at(0)).starts_with("- | Standby"), "no number");
        assert!(see(&mut t, &[(last, "b")], dead, at(0)).starts_with("- | Standby"), "is higher");
    }

    #[test]
    fn a_lease_that_goes_is_left_to_its_holder_for_a_moment_unless_that_one_is_dead() {
        let mut t = tenure(false);
        see(&mut t, &[(4, "b")], alive, at(0));
        assert!(see(&mut t, &[], alive, at(10)).starts_with("- | Seeking: the lease is gone"));
        assert!(see(&mut t.clone(), &[(4, "b")], alive, at(11)).starts_with("- | Standby"));
        assert!(see(&mut t.clone(), &[], dead, at(11)).starts_with("create homeostat-lease-p-4 "));
        assert!(see(&mut t, &[], alive, at(11)).starts_with("- | Seeking"));
        assert!(see(&mut t, &[], alive, at(12)).starts_with("create homeostat-lease-p-4 "));
    }

    #[test]
    fn what_agrees_asks_for_no_look_of_its_own() {
        let mut t = tenure(false);
        assert!(!t.agrees(&[], &alive, at(0)));
        see(&mut t, &[(1, "a")], alive, at(0));
        assert!(t.agrees(&leases(&[(1, "a")]), &alive, at(9)));
        for other in [&[][..], &[(1, "b")], &[(1, "a"), (2, "b")], &[(2, "a")]] {
            assert!(!t.agrees(&leases(other), &alive, at(9)), "{other:?}");
        }
        assert_eq!(t.state(), &LeaseState::Held { epoch: 1 }, "asking changes nothing");
    }

    #[test]
    fn who_leaves_takes_its_own_leases_and_no_others() {
        let mut t = tenure(false);
        see(&mut t, &[(2, "a")], alive, at(0));
        let old = t.leave(&leases(&[(1, "b"), (2, "a"), (3, "b")]));
        assert_eq!(short(Act::Remove(old)), "remove homeostat-lease-p-2");
        assert!(!t.state().is_held());
    }
}
