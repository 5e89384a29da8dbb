//! Given a project and what the engine shows, the plan's text. Every plan here passes the checker.

mod fixture;
mod model;
mod cold_start;
mod faults;
mod network;
mod replace;
mod restart;
mod supply;
