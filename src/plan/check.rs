//! Checks plans.
use super::{Memory, Plan};
use crate::desired::Desired;
use crate::observed::Observed;
/// STUB
pub fn check(_: &Plan, _: &Desired, _: &Observed, _: &Memory) -> Result<(), Vec<String>> {
    Ok(())
}
