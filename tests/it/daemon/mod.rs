//! The binary as a daemon, from outside: `homeostat run` on a real engine.

mod boot;
mod clock;
mod command;
mod crash;
mod day;
mod disk;
mod drivers;
mod engine;
mod files;
mod harness;
mod holds;
mod incidents;
mod journal;
mod operators;
mod others;
mod probes;
mod rows;
mod secrets;
mod serving;
mod tiers;
mod tls;
mod updates;
