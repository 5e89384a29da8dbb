//! Black-box tests: of the binary, and against a real engine.
#![allow(clippy::disallowed_methods, reason = "black-box tests wait in real time")]
#![allow(clippy::disallowed_methods, reason = "a real engine lives in real time")]

#[path = "../support/engine-proxy/mod.rs"]
mod engine_proxy;

mod chaos;
mod cli;
mod daemon;
mod engine_faults;
mod faults;
mod interop;
mod loop_smoke;
mod proxy;
mod support;
