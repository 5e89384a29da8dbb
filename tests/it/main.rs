//! Black-box tests: of the binary, and against a real engine.

#[path = "../support/engine-proxy/mod.rs"]
mod engine_proxy;

mod chaos;
mod engine_faults;
mod faults;
mod interop;
mod loop_smoke;
mod proxy;
mod support;
