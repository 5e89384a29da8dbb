//! The binary as a daemon, from outside: `homeostat run` on a real engine.

mod files;
mod harness;
