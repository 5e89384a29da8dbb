//! Black-box tests: of the binary, and against a real engine.

#[path = "../support/engine-proxy/mod.rs"]
mod engine_proxy;

mod cli;
mod daemon;
mod engine_faults;
mod faults;
mod loop_smoke;
mod proxy;
mod support;
