//! Facts that several snapshots hold in common.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A value that is copied only when it is changed while another snapshot still shows it. A picture
/// of a host with many containers is published at each event, and an event changes one of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    /// Whether both are the same copy, so that nothing can differ.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_by_its_own_holder_only_and_costs_a_copy_only_when_shared() {
        let mut mine = Shared::from(vec![1]);
        let before = mine.as_ptr();
        mine[0] = 2;
        assert_eq!(mine.as_ptr(), before, "nobody else holds it");
        let theirs = mine.clone();
        assert_eq!(theirs.as_ptr(), mine.as_ptr());
        mine.push(3);
        assert_eq!((&*theirs, &*mine), (&vec![2], &vec![2, 3]));
    }
}
