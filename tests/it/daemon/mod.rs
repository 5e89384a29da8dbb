//! The binary as a daemon, from outside: `homeostat run` on a real engine.

mod boot;
mod command;
mod crash;
mod drivers;
mod files;
mod harness;
mod incidents;
mod journal;
mod operators;
mod others;
mod probes;
mod secrets;
mod serving;
mod tls;
