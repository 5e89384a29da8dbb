//! homeostat.
fn main() {}
