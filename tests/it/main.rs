//! Black-box tests: of the binary, and against a real engine.

#![allow(clippy::disallowed_methods, reason = "a real engine lives in real time")]

#[path = "../support/engine-proxy/mod.rs"]
mod engine_proxy;

mod engine_faults;
mod faults;
mod loop_smoke;
mod proxy;
mod support;
