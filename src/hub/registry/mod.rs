//! The server's clients, with their ids, names, roles and rate limits.

pub(crate) mod client;
pub(crate) mod directory;
pub(crate) mod rate_limit;
pub(crate) mod role;
