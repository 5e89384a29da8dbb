//! homeostat.
