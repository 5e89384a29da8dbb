//! Rows of the fault matrix on a real engine, each test named after its row.

mod containers;
mod edits;
mod holds;
mod limits;
mod namespaces;
mod networks;
mod restarts;
mod updates;
