//! Checks plans.
