//! Given a project and what the engine shows, the plan's text. Every plan here passes the checker.

mod cold_start;
mod faults;
mod fixture;
mod model;
mod network;
mod property;
mod replace;
mod restart;
mod supply;
