<<<<<<< HEAD
//! Resource kinds and the types that they share.

pub mod quantity;
=======
//! The resource kinds, and what the daemon says about them.

pub mod status;
>>>>>>> server
