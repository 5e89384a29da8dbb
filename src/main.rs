//! The `homeostat` binary: parses arguments, calls the library, maps the exit code.
fn main() {}
