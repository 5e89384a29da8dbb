//! The brake: when most of a project is down, recoveries happen one at a time.

use std::fmt;

use crate::api::quantity::Percent;

/// Why recoveries happen one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brake {
    /// Containers that no incident says are down.
    pub healthy: usize,
    /// Containers that the files ask for.
    pub total: usize,
    /// The share that must be healthy.
    pub least: Percent,
}

impl Brake {
    /// Whether to brake: less than `least` of `total` is healthy. One that is down alone has
    /// nobody to wait for.
    pub fn needed(down: usize, total: usize, least: Percent) -> Option<Self> {
        let healthy = total.saturating_sub(down);
        let brakes = down > 1 && (healthy as f64) < least.ratio() * (total as f64);
        brakes.then_some(Self { healthy, total, least })
    }
}

impl fmt::Display for Brake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { healthy, total, least } = self;
        write!(f, "{healthy} of {total} healthy, below {least}: one recovery at a time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_brakes_below_the_share_and_never_for_one_alone() {
        let brakes = |down, total| Brake::needed(down, total, Percent::whole(40)).is_some();
        assert!(brakes(4, 5), "80 % down");
        assert!(!brakes(3, 5), "40 % healthy is enough");
        assert!(!brakes(0, 0));
        assert!(!brakes(1, 1));
        assert!(brakes(2, 2));
        assert!(Brake::needed(5, 5, Percent::whole(0)).is_none(), "switched off");
        let brake = Brake::needed(4, 5, Percent::whole(40)).expect("brakes");
        assert_eq!(brake.to_string(), "1 of 5 healthy, below 40%: one recovery at a time");
    }
}
