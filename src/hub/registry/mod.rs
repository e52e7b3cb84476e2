//! The clients of the whole server: who is connected, under which id, name and role.

pub(crate) mod client;
pub(crate) mod directory;
pub(crate) mod rate_limit;
pub(crate) mod role;
